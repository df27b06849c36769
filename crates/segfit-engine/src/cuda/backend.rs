//! The backend that compiles for a GPU.

use std::sync::Arc;

use segfit::network::NetworkSpec;
use segfit::network::schedule::{Mode, Schedule};

use super::device::Device;
use super::executor::CudaExecutor;
use crate::backend::{Backend, Executor, TrainingSpec};
use crate::error::{Error, Result};

/// A GPU that computes in f32.
#[derive(Clone, Debug)]
pub struct CudaBackend {
    device: Arc<dyn Device>,
}

impl CudaBackend {
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
        if (schedule.mode == Mode::Train) != training.is_some() {
            return Err(Error::Unsupported {
                what: "this schedule".into(),
                device: self.name(),
                reason: "a training schedule and a training specification belong together".into(),
            });
        }
        Ok(Box::new(CudaExecutor::new(Arc::clone(&self.device), spec, schedule, training)?))
    }
}
