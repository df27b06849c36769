//! What is asked of a GPU.

use std::fmt::Debug;
use std::sync::Arc;

use super::launch::Launch;
use crate::error::Result;

/// A GPU: memory, and the kernels of [`super::kernels`].
pub trait Device: Debug + Send + Sync {
    /// Name for records, for example `cuda/NVIDIA H200`.
    fn name(&self) -> String;

    /// Memory of `bytes` bytes, all zero; its address.
    ///
    /// # Errors
    /// When there is not enough, with what is free.
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// Gives memory of [`Self::allocate`] back.
    fn release(&self, address: u64);

    /// Writes values behind all work that was begun before.
    ///
    /// # Errors
    /// When the device has failed.
    fn write_floats(&self, address: u64, values: &[f32]) -> Result<()>;

    /// As [`Self::write_floats`].
    ///
    /// # Errors
    /// When the device has failed.
    fn write_bytes(&self, address: u64, values: &[u8]) -> Result<()>;

    /// Reads values behind all work that was begun before.
    ///
    /// # Errors
    /// When the device has failed.
    fn read_floats(&self, address: u64, values: &mut [f32]) -> Result<()>;

    /// As [`Self::read_floats`].
    ///
    /// # Errors
    /// When the device has failed.
    fn read_doubles(&self, address: u64, values: &mut [f64]) -> Result<()>;

    /// Makes a list of launches ready to run again and again.
    ///
    /// # Errors
    /// When the device has failed.
    fn prepare(self: Arc<Self>, launches: Vec<Launch>) -> Result<Box<dyn Prepared>>;

    /// Waits for all work that was begun.
    ///
    /// # Errors
    /// When the device has failed.
    fn wait(&self) -> Result<()>;
}

/// Launches, one after the other.
pub trait Prepared: Send {
    /// Begins the work.
    ///
    /// # Errors
    /// When the device has failed.
    fn run(&self) -> Result<()>;
}

/// Memory of a device, given back when dropped.
#[derive(Debug)]
pub(super) struct Memory {
    device: Arc<dyn Device>,
    pub address: u64,
    pub bytes: usize,
}

impl Memory {
    /// Zeros; nothing is asked of the device for no bytes.
    pub fn new(device: &Arc<dyn Device>, bytes: usize) -> Result<Self> {
        let address = if bytes == 0 { 0 } else { device.allocate(bytes)? };
        Ok(Self { device: Arc::clone(device), address, bytes })
    }

    /// Floats.
    pub fn floats(device: &Arc<dyn Device>, count: usize) -> Result<Self> {
        Self::new(device, 4 * count)
    }

    pub fn write(&self, values: &[f32]) -> Result<()> {
        debug_assert!(4 * values.len() <= self.bytes);
        if values.is_empty() { Ok(()) } else { self.device.write_floats(self.address, values) }
    }

    pub fn read(&self, count: usize) -> Result<Vec<f32>> {
        debug_assert!(4 * count <= self.bytes);
        let mut values = vec![0.0; count];
        if count > 0 {
            self.device.read_floats(self.address, &mut values)?;
        }
        Ok(values)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.device.release(self.address);
        }
    }
}
