//! Compiles the emulated GPU: the CUDA kernels as C++, and NVIDIA's driver and NVRTC as far as segfit calls them.

#![allow(dead_code, reason = "every test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use segfit_engine::cuda::kernels::SOURCE;

/// The kernels alone; `None` where there is no C++ compiler.
pub fn kernels(folder: &Path) -> Option<PathBuf> {
    compile(folder, "libkernels.so", &format!("{}{SOURCE}", include_str!("emulated.cpp")))
}

/// Libraries by the names of NVIDIA's, in a folder; `None` where there is no C++ compiler.
pub fn driver_and_nvrtc(folder: &Path) -> Option<[PathBuf; 2]> {
    let driver = format!("{}{SOURCE}{}", include_str!("emulated.cpp"), include_str!("driver.cpp"));
    Some([compile(folder, "libcuda.so", &driver)?, compile(folder, "libnvrtc.so", include_str!("nvrtc.cpp"))?])
}

fn compile(folder: &Path, name: &str, text: &str) -> Option<PathBuf> {
    let (source, library) = (folder.join(name).with_extension("cpp"), folder.join(name));
    std::fs::write(&source, text).unwrap();
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut words = compiler.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("c++"));
    command.args(words).args(["-std=c++17", "-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    if cfg!(target_os = "linux") {
        command.arg(format!("-Wl,-soname,{name}")).arg("-ldl");
    }
    let output = command.output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(library)
}
