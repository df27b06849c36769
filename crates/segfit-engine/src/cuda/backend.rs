//! The backend that compiles for a GPU.

use std::sync::Arc;

use segfit::network::NetworkSpec;
use segfit::network::schedule::Schedule;

use super::check::check;
use super::device::Device;
use super::driver::Driver;
use super::executor::CudaExecutor;
use crate::backend::{Backend, Executor, TrainingSpec};
use crate::error::Result;

/// A GPU that computes in f32.
#[derive(Clone, Debug)]
pub struct CudaBackend {
    device: Arc<dyn Device>,
}

impl CudaBackend {
    /// A backend on the first NVIDIA GPU that the driver shows, after it has passed [`check`]. Takes a few seconds.
    ///
    /// # Errors
    /// [`crate::Error::Device`] says what is missing (driver, GPU, NVRTC), or what the GPU computes otherwise than the CPU.
    pub fn open() -> Result<Self> {
        let backend = Self::on(Driver::open()?);
        check(&backend)?;
        Ok(backend)
    }

    /// A backend on this device.
    #[must_use]
    pub fn on(device: Arc<dyn Device>) -> Self {
        Self { device }
    }
}

impl Backend for CudaBackend {
    fn name(&self) -> String {
        self.device.name()
    }

    fn compile(
        &self,
        spec: &NetworkSpec,
        schedule: Schedule,
        training: Option<TrainingSpec>,
    ) -> Result<Box<dyn Executor>> {
        self.check_mode(&schedule, training)?;
        Ok(Box::new(CudaExecutor::new(Arc::clone(&self.device), spec, schedule, training)?))
    }
}
