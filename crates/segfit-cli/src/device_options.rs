//! `--device`: what runs a network.

use anyhow::Result;
use segfit_engine::backend::{Backend, Precision};
use segfit_engine::cpu::CpuBackend;
use segfit_engine::cuda::CudaBackend;

use crate::context::Global;

/// What runs the network
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct DeviceOptions {
    /// What runs the network
    #[arg(long, value_enum, default_value_t = DeviceName::Cpu)]
    device: DeviceName,
}

/// A device's name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DeviceName {
    /// The CPU
    Cpu,
    /// The first NVIDIA GPU, in f32; needs NVIDIA's driver and NVRTC, which is part of the CUDA toolkit
    Cuda,
    /// A GPU where there is one that can be used, else the CPU
    Auto,
}

impl DeviceOptions {
    /// Whether nothing but a GPU will do.
    pub fn is_cuda(self) -> bool {
        self.device == DeviceName::Cuda
    }

    /// Opens the device for training and inference in f32.
    ///
    /// # Errors
    /// With `--device cuda`, [`segfit_engine::Error::Device`] says what is missing for a GPU to be used.
    pub fn open(self, global: &Global) -> Result<Box<dyn Backend>> {
        self.open_for(Precision::F32, global)
    }

    /// Opens the device for inference in a precision, which a GPU may not have.
    ///
    /// # Errors
    /// As [`Self::open`]; [`segfit_engine::Error::Unsupported`] with `--device cuda` in another precision than f32.
    pub fn open_for(self, precision: Precision, global: &Global) -> Result<Box<dyn Backend>> {
        let opened = match self.device {
            DeviceName::Cpu => return Ok(Box::new(CpuBackend::detect())),
            _ => cuda(precision),
        };
        match opened {
            Ok(backend) => {
                global.note(&format!("device: {}", backend.name()));
                Ok(Box::new(backend))
            }
            Err(error) if self.device == DeviceName::Auto => {
                let backend = CpuBackend::detect();
                global.note(&format!("device: {} ({error})", backend.name()));
                Ok(Box::new(backend))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The GPU, if it computes in this precision.
fn cuda(precision: Precision) -> segfit_engine::Result<CudaBackend> {
    if precision == Precision::F32 {
        return CudaBackend::open();
    }
    Err(segfit_engine::Error::Unsupported {
        what: format!("inference in {}", precision.name()),
        device: "CUDA".into(),
        reason: "it computes in f32 only".into(),
    })
}
