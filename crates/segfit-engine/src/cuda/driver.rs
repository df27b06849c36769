//! An NVIDIA GPU through the driver's library, which is looked for when it is first needed.
//!
//! All calls hold one lock, also those of other [`Driver`]s of the process, which share the GPU's context: while launches are captured
//! into a graph nothing else must happen. Launches only put work into the GPU's queue; reading and waiting take as long as it.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{DriverError, result, sys};
use cudarc::nvrtc;

use super::device::{Device, Prepared};
use super::kernels::{SOURCE, THREADS, names};
use super::launch::Launch;
use crate::error::{Error, Result};

static LOCK: Mutex<()> = Mutex::new(());

/// The oldest driver that has all calls, as CUDA counts versions (12.0).
const OLDEST_DRIVER: i32 = 12000;

/// The first NVIDIA GPU that the driver shows.
#[derive(Debug)]
pub struct Driver {
    name: String,
    context: sys::CUcontext,
    device: sys::CUdevice,
    stream: sys::CUstream,
    module: sys::CUmodule,
    kernels: HashMap<&'static str, sys::CUfunction>,
}

// SAFETY: the handles are names that the driver accepts from any thread; every use makes the context current first and holds
// the lock.
unsafe impl Send for Driver {}
// SAFETY: as above.
unsafe impl Sync for Driver {}

/// What is missing for a GPU to be used.
fn missing(reason: impl Into<String>, hint: &str) -> Error {
    Error::Device { device: "CUDA".into(), reason: reason.into(), hint: hint.into() }
}

/// A GPU that fails, most often because others use it.
fn busy(gpu: &str, what: &str, error: DriverError) -> Error {
    Error::Device {
        device: gpu.into(),
        reason: format!("{what}: {}", text(error)),
        hint: "look at nvidia-smi; other programs may use the GPU's memory".into(),
    }
}

/// What the driver says about an error.
fn text(error: DriverError) -> String {
    let words = |found: std::result::Result<&CStr, DriverError>| found.map(|s| s.to_string_lossy().into_owned()).ok();
    match (words(error.error_name()), words(error.error_string())) {
        (Some(name), Some(string)) => format!("{string} ({name})"),
        _ => format!("error {:?}", error.0),
    }
}

const DRIVER_HINT: &str = "install NVIDIA's driver; start a container with the GPU (docker run --gpus all)";

impl Driver {
    /// Opens the GPU and compiles the kernels for it, which takes a few seconds.
    ///
    /// # Errors
    /// [`Error::Device`] says what is missing: the driver, a GPU, NVRTC, or its knowledge of the GPU's architecture.
    pub fn open() -> Result<Arc<Self>> {
        // SAFETY: loading a library runs its initialisers; these are NVIDIA's own.
        if !unsafe { sys::is_culib_present() } {
            return Err(missing("NVIDIA's driver library (libcuda) is not installed", DRIVER_HINT));
        }
        let failed = |what: &str, e: DriverError| missing(format!("{what}: {}", text(e)), DRIVER_HINT);
        result::init().map_err(|e| failed("the driver does not start", e))?;
        let mut version = 0;
        // SAFETY: the driver writes one number.
        unsafe { sys::cuDriverGetVersion(&raw mut version).result() }
            .map_err(|e| failed("the driver has no version", e))?;
        if version < OLDEST_DRIVER {
            let reason =
                format!("the driver is of CUDA {}.{}, 12.0 or newer is needed", version / 1000, version % 1000 / 10);
            return Err(missing(reason, DRIVER_HINT));
        }
        if result::device::get_count().map_err(|e| failed("the driver does not count GPUs", e))? == 0 {
            return Err(missing("the driver shows no GPU", DRIVER_HINT));
        }
        let device = result::device::get(0).map_err(|e| failed("the driver does not open the GPU", e))?;
        let gpu = result::device::get_name(device).map_err(|e| failed("the GPU has no name", e))?;
        // SAFETY: `device` is from the driver.
        let attribute = |which| unsafe { result::device::get_attribute(device, which) };
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        };
        let (major, minor) = attribute(MAJOR)
            .and_then(|major| Ok((major, attribute(MINOR)?)))
            .map_err(|e| failed("the GPU has no architecture", e))?;
        let code = compile(&format!("sm_{major}{minor}"), &[])?.code;
        // SAFETY: `device` is from the driver.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(|e| busy(&gpu, "no context", e))?;
        let (stream, module) = (std::ptr::null_mut(), std::ptr::null_mut());
        // What has been opened is given back where something behind it fails.
        let mut driver = Self { name: gpu, context, device, stream, module, kernels: HashMap::new() };
        driver.load(&code)?;
        Ok(Arc::new(driver))
    }

    /// Makes the stream and loads the kernels.
    fn load(&mut self, code: &[u8]) -> Result<()> {
        let _entered = self.enter()?;
        let mismatch = |what: &str, e: DriverError| Error::Device {
            device: self.name.clone(),
            reason: format!("{what}: {}", text(e)),
            hint: "NVRTC and the driver may be of different CUDA versions: the driver must not be older".into(),
        };
        // SAFETY: the context is current; the module's image is NVRTC's and lives until it is loaded; functions are asked of this
        // module by the names in its source.
        unsafe {
            // A stream that waits for copies and that copies wait for.
            self.stream = result::stream::create(result::stream::StreamKind::Default)
                .map_err(|e| busy(&self.name, "no stream", e))?;
            self.module =
                result::module::load_data(code.as_ptr().cast()).map_err(|e| mismatch("the kernels do not load", e))?;
            for name in names() {
                let c_name = CString::new(name).expect("a name of the source");
                let function = result::module::get_function(self.module, c_name)
                    .map_err(|e| mismatch(&format!("the kernel {name} is missing"), e))?;
                self.kernels.insert(name, function);
            }
        }
        Ok(())
    }

    /// The lock, with the context current in this thread.
    fn enter(&self) -> Result<MutexGuard<'static, ()>> {
        let guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.context) }.map_err(|e| self.failed("the context is lost", e))?;
        Ok(guard)
    }

    fn failed(&self, what: &str, error: DriverError) -> Error {
        busy(&self.name, what, error)
    }

    /// Puts one launch into the queue, or into the graph that is being captured.
    fn launch(&self, launch: &Launch) -> std::result::Result<(), DriverError> {
        let [x, y, z] = launch.grid;
        if x == 0 {
            return Ok(());
        }
        let mut parameters = [launch.parameters.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: the one parameter is a structure of the kernel's own size and layout (checked by the tests for every kernel),
        // and the addresses in it are of memory that the executor holds longer than its launches.
        unsafe {
            let function = self.kernels[launch.kernel];
            result::launch_kernel(function, (x, y, z), (THREADS as u32, 1, 1), 0, self.stream, &mut parameters)
        }
    }
}

impl Device for Driver {
    fn name(&self) -> String {
        format!("cuda/{}", self.name)
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let _entered = self.enter()?;
        // SAFETY: the context is current; the new memory is written before anybody else knows its address.
        unsafe {
            let address = result::malloc_sync(bytes).map_err(|e| {
                let free = result::mem_get_info().map_or(0, |(free, _)| free);
                let mib = |bytes: usize| bytes.div_ceil(1 << 20);
                self.failed(&format!("{} MiB of memory are needed, {} MiB are free", mib(bytes), mib(free)), e)
            })?;
            result::memset_d8_sync(address, 0, bytes).map_err(|e| self.failed("memory cannot be cleared", e))?;
            Ok(address)
        }
    }

    fn release(&self, address: u64) {
        if let Ok(_entered) = self.enter() {
            // SAFETY: memory of `allocate` that its owner gives up; work that uses it is done first, because freeing waits.
            let _ = unsafe { result::free_sync(address) };
        }
    }

    fn write_floats(&self, address: u64, values: &[f32]) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: the caller has memory of this length at the address; the copy waits for the stream's work, later work waits for
        // the copy, and `values` is not needed behind the call.
        unsafe { result::memcpy_htod_sync(address, values) }.map_err(|e| self.failed("memory cannot be written", e))
    }

    fn write_bytes(&self, address: u64, values: &[u8]) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: as above.
        unsafe { result::memcpy_htod_sync(address, values) }.map_err(|e| self.failed("memory cannot be written", e))
    }

    fn read_floats(&self, address: u64, values: &mut [f32]) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: as above.
        unsafe { result::memcpy_dtoh_sync(values, address) }.map_err(|e| self.failed("memory cannot be read", e))
    }

    fn read_doubles(&self, address: u64, values: &mut [f64]) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: as above.
        unsafe { result::memcpy_dtoh_sync(values, address) }.map_err(|e| self.failed("memory cannot be read", e))
    }

    fn prepare(self: Arc<Self>, launches: Vec<Launch>) -> Result<Box<dyn Prepared>> {
        let graph = {
            let _entered = self.enter()?;
            let failed = |e| self.failed("launches cannot be captured", e);
            // SAFETY: the stream is this device's, and the lock keeps others from it while it captures. The capture is ended
            // whether launches succeed or not.
            unsafe {
                let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
                result::stream::begin_capture(self.stream, mode).map_err(failed)?;
                let launched = launches.iter().try_for_each(|launch| self.launch(launch));
                let captured = result::stream::end_capture(self.stream);
                let graph = captured.map_err(|e| failed(launched.err().unwrap_or(e)))?;
                let made = launched.and_then(|()| result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)));
                let _ = result::graph::destroy(graph);
                made.map_err(failed)?
            }
        };
        Ok(Box::new(Graph { driver: self, graph }))
    }

    fn wait(&self) -> Result<()> {
        let _entered = self.enter()?;
        // SAFETY: the stream is this device's.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|e| self.failed("the GPU has failed", e))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Ok(_entered) = self.enter() {
            // SAFETY: nothing uses them any more: executors hold the driver while they live.
            unsafe {
                if !self.stream.is_null() {
                    let _ = result::stream::destroy(self.stream);
                }
                if !self.module.is_null() {
                    let _ = result::module::unload(self.module);
                }
                let _ = result::primary_ctx::release(self.device);
            }
        }
    }
}

/// Launches as a CUDA graph.
struct Graph {
    driver: Arc<Driver>,
    graph: sys::CUgraphExec,
}

// SAFETY: a name that the driver accepts from any thread; every use holds the driver's lock.
unsafe impl Send for Graph {}

impl Prepared for Graph {
    fn run(&self) -> Result<()> {
        let _entered = self.driver.enter()?;
        // SAFETY: graph and stream live, and so does the memory that the executor holds.
        unsafe { result::graph::launch(self.graph, self.driver.stream) }
            .map_err(|e| self.driver.failed("a graph cannot be launched", e))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(_entered) = self.driver.enter() {
            // SAFETY: the graph is this one's; a launch that still runs keeps what it needs.
            let _ = unsafe { result::graph::exec_destroy(self.graph) };
        }
    }
}

/// What NVRTC made of the source.
#[derive(Debug)]
pub struct Compiled {
    /// Machine code for one architecture.
    pub code: Vec<u8>,
    /// Warnings and what was asked for by options.
    pub log: String,
}

/// The kernels compiled for `architecture`, for example `sm_90`, with further options of NVRTC. Needs no GPU.
///
/// # Errors
/// [`Error::Device`] when NVRTC is missing, does not know the architecture or does not accept the source.
pub fn compile(architecture: &str, options: &[&str]) -> Result<Compiled> {
    let hint = "install NVRTC: it is part of the CUDA toolkit, and of the Python package nvidia-cuda-nvrtc; LD_LIBRARY_PATH must \
                name its folder, or CUDA_PATH the toolkit's";
    find_nvrtc();
    // SAFETY: loading a library runs its initialisers; these are NVIDIA's own.
    if !unsafe { nvrtc::sys::is_culib_present() } {
        return Err(missing("NVIDIA's run-time compiler (libnvrtc) is not installed", hint));
    }
    let source = CString::new(SOURCE).expect("the source has no zeros");
    let failed = |e: nvrtc::result::NvrtcError| missing(format!("NVRTC fails: {e:?}"), hint);
    let program = nvrtc::result::create_program(&source, Some(c"segfit.cu")).map_err(failed)?;
    // Division, roots and small numbers as IEEE 754 has them: NVRTC's defaults.
    let target = format!("--gpu-architecture={architecture}");
    let options: Vec<&str> = [target.as_str()].into_iter().chain(options.iter().copied()).collect();
    // SAFETY: the program is alive until the end of this block; code and log are read into memory of the length that NVRTC
    // names.
    unsafe {
        let compiled = nvrtc::result::compile_program(program, &options);
        let log = nvrtc::result::get_program_log(program).map_or(String::new(), |log| {
            log.into_iter().take_while(|&c| c != 0).map(|c| char::from(c as u8)).collect()
        });
        let code = compiled.map_err(|_| {
            missing(
                format!("NVRTC cannot compile for {architecture}: {}", log.lines().next().unwrap_or_default()),
                hint,
            )
        });
        let code = code.and_then(|()| {
            let mut length = 0;
            nvrtc::sys::nvrtcGetCUBINSize(program, &raw mut length).result().map_err(failed)?;
            let mut code = vec![0_u8; length];
            nvrtc::sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast()).result().map_err(failed)?;
            Ok(code)
        });
        let _ = nvrtc::result::destroy_program(program);
        Ok(Compiled { code: code?, log })
    }
}

/// Loads NVRTC from the places where it is installed without the loader's knowledge, if it is there; the loader then finds it by
/// its name.
fn find_nvrtc() {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let named = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&named).filter(|p| !p.as_os_str().is_empty()).collect();
    folders.extend(["CUDA_PATH", "CUDA_HOME"].into_iter().filter_map(variable).map(|p| p.join("lib64")));
    folders.extend(variable("CONDA_PREFIX").map(|p| p.join("lib")));
    folders.push("/usr/local/cuda/lib64".into());
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let is_nvrtc =
            |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("libnvrtc.so"));
        for path in entries.filter_map(|e| Some(e.ok()?.path())).filter(is_nvrtc) {
            // SAFETY: loading a library runs its initialisers; this is NVIDIA's own. It is never unloaded.
            if let Ok(library) = unsafe { libloading::Library::new(&path) } {
                std::mem::forget(library);
                return;
            }
        }
    }
}
