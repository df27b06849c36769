//! A device that runs the CUDA kernels on the CPU: the kernels' source as C++, behind `emulated.cpp`.

#![allow(dead_code, reason = "every test program uses a part of it")]

pub mod libraries;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use libloading::Library;
use segfit_engine::Result;
use segfit_engine::cuda::CudaBackend;
use segfit_engine::cuda::device::{Device, Prepared};
use segfit_engine::cuda::driver::Driver;
use segfit_engine::cuda::launch::Launch;

/// Bytes around every piece of memory that nobody may touch.
const GUARD: usize = 4096;
const UNTOUCHED: u8 = 0xA5;

/// Kernels on the CPU.
pub struct Emulated {
    library: Library,
    /// By the address of its inside.
    memory: Mutex<HashMap<u64, Piece>>,
    /// One kernel at a time, from one list at a time: the emulated blocks share memory.
    running: &'static Mutex<()>,
}

/// Memory with guards around it.
struct Piece {
    bytes: Box<[u8]>,
    /// Where the inside begins.
    first: usize,
    length: usize,
}

impl Piece {
    fn inside(&mut self) -> &mut [u8] {
        &mut self.bytes[self.first..self.first + self.length]
    }

    fn is_intact(&self) -> bool {
        let (before, rest) = self.bytes.split_at(self.first);
        before.iter().chain(&rest[self.length..]).all(|&b| b == UNTOUCHED)
    }
}

impl fmt::Debug for Emulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Emulated")
    }
}

static RUNNING: Mutex<()> = Mutex::new(());

/// The kernels compiled by the machine's C++ compiler; `None`, which is said, where there is none.
fn compiled() -> Option<Library> {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = libraries::kernels(folder.path()) else {
        eprintln!("skipped: there is no C++ compiler to run the CUDA kernels on the CPU");
        return None;
    };
    Some(load(&library))
}

fn load(path: &Path) -> Library {
    // SAFETY: the library was made of this crate's sources just now; it has no initialisers.
    unsafe { Library::new(path) }.unwrap()
}

impl Emulated {
    fn new() -> Option<Arc<Self>> {
        Some(Arc::new(Self { library: compiled()?, memory: Mutex::default(), running: &RUNNING }))
    }

    /// Pieces of memory that have not been given back.
    pub fn pieces(&self) -> usize {
        self.memory.lock().unwrap().len()
    }

    fn run(&self, launch: &Launch) {
        type Kernel = unsafe extern "C" fn(*const u32, *const u8);
        type Size = unsafe extern "C" fn() -> i32;
        let name = launch.kernel;
        let _one = self.running.lock().unwrap();
        // SAFETY: the library defines both with these types for every kernel (`KERNEL` in emulated.cpp); the structure has the
        // kernel's size, and addresses in it are of memory that `allocate` made.
        unsafe {
            let size: libloading::Symbol<'_, Size> = self.library.get(format!("{name}_size").as_bytes()).unwrap();
            let expected = (size() as usize).next_multiple_of(8);
            assert_eq!(launch.parameters.len(), expected, "bytes of the parameters of {name}");
            let kernel: libloading::Symbol<'_, Kernel> = self.library.get(name.as_bytes()).unwrap();
            kernel(launch.grid.as_ptr(), launch.parameters.as_ptr());
        }
    }

    /// The bytes from `address` on.
    fn with<R>(&self, address: u64, length: usize, act: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut memory = self.memory.lock().unwrap();
        let holds =
            |start: u64, piece: &Piece| start <= address && address + length as u64 <= start + piece.length as u64;
        let found = memory.iter_mut().find(|(start, piece)| holds(**start, piece));
        let (start, piece) = found.expect("the address is of memory that was allocated, and so is its end");
        let first = (address - start) as usize;
        act(&mut piece.inside()[first..first + length])
    }
}

impl Device for Emulated {
    fn name(&self) -> String {
        "cuda/emulated".into()
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        // As aligned as CUDA's.
        let bytes_all = vec![UNTOUCHED; bytes + 2 * GUARD + 256].into_boxed_slice();
        let start = bytes_all.as_ptr() as u64;
        let address = (start + GUARD as u64).next_multiple_of(256);
        let mut piece = Piece { bytes: bytes_all, first: (address - start) as usize, length: bytes };
        piece.inside().fill(0);
        self.memory.lock().unwrap().insert(address, piece);
        Ok(address)
    }

    fn release(&self, address: u64) {
        let piece = self.memory.lock().unwrap().remove(&address).expect("memory that was allocated");
        assert!(piece.is_intact() || std::thread::panicking(), "a kernel wrote outside of its memory");
    }

    fn write_floats(&self, address: u64, values: &[f32]) -> Result<()> {
        self.write_bytes(address, &values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>())
    }

    fn write_bytes(&self, address: u64, values: &[u8]) -> Result<()> {
        self.with(address, values.len(), |to| to.copy_from_slice(values));
        Ok(())
    }

    fn read_floats(&self, address: u64, values: &mut [f32]) -> Result<()> {
        self.with(address, 4 * values.len(), |from| {
            for (value, bytes) in values.iter_mut().zip(from.as_chunks::<4>().0) {
                *value = f32::from_ne_bytes(*bytes);
            }
        });
        Ok(())
    }

    fn read_doubles(&self, address: u64, values: &mut [f64]) -> Result<()> {
        self.with(address, 8 * values.len(), |from| {
            for (value, bytes) in values.iter_mut().zip(from.as_chunks::<8>().0) {
                *value = f64::from_ne_bytes(*bytes);
            }
        });
        Ok(())
    }

    fn prepare(self: Arc<Self>, launches: Vec<Launch>) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(List { device: self, launches }))
    }

    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

/// An emulated device that leaves out all launches of one kernel.
#[derive(Debug)]
pub struct Without {
    pub device: Arc<Emulated>,
    pub kernel: &'static str,
    /// Launches of it that were left out.
    pub left_out: AtomicUsize,
}

impl Device for Without {
    fn name(&self) -> String {
        self.device.name()
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.device.allocate(bytes)
    }

    fn release(&self, address: u64) {
        self.device.release(address);
    }

    fn write_floats(&self, address: u64, values: &[f32]) -> Result<()> {
        self.device.write_floats(address, values)
    }

    fn write_bytes(&self, address: u64, values: &[u8]) -> Result<()> {
        self.device.write_bytes(address, values)
    }

    fn read_floats(&self, address: u64, values: &mut [f32]) -> Result<()> {
        self.device.read_floats(address, values)
    }

    fn read_doubles(&self, address: u64, values: &mut [f64]) -> Result<()> {
        self.device.read_doubles(address, values)
    }

    fn prepare(self: Arc<Self>, mut launches: Vec<Launch>) -> Result<Box<dyn Prepared>> {
        let all = launches.len();
        launches.retain(|launch| launch.kernel != self.kernel);
        self.left_out.fetch_add(all - launches.len(), Ordering::Relaxed);
        Arc::clone(&self.device).prepare(launches)
    }

    fn wait(&self) -> Result<()> {
        self.device.wait()
    }
}

struct List {
    device: Arc<Emulated>,
    launches: Vec<Launch>,
}

impl Prepared for List {
    fn run(&self) -> Result<()> {
        self.launches.iter().for_each(|launch| self.device.run(launch));
        Ok(())
    }
}

/// The devices to test: the emulated one where there is a C++ compiler, and a GPU where there is one.
pub fn devices() -> Vec<Arc<dyn Device>> {
    static DEVICES: OnceLock<Vec<Arc<dyn Device>>> = OnceLock::new();
    let all = DEVICES.get_or_init(|| {
        let emulated = Emulated::new().map(|d| d as Arc<dyn Device>);
        let real = match Driver::open() {
            Ok(driver) => Some(driver as Arc<dyn Device>),
            Err(error) => {
                eprintln!("skipped on a GPU: {error}");
                None
            }
        };
        emulated.into_iter().chain(real).collect()
    });
    all.clone()
}

/// Backends on [`devices`].
pub fn backends() -> Vec<CudaBackend> {
    devices().into_iter().map(CudaBackend::on).collect()
}

/// A device of this test's own, to look at its memory.
pub fn emulated() -> Option<Arc<Emulated>> {
    Emulated::new()
}
