//! The backend that compiles for a GPU.

use std::sync::Arc;

use segfit::network::NetworkSpec;
use segfit::network::schedule::Schedule;

use super::device::Device;
use super::executor::CudaExecutor;
use crate::backend::{Backend, Executor, TrainingSpec};
use crate::error::Result;

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
        self.check_mode(&schedule, training)?;
        Ok(Box::new(CudaExecutor::new(Arc::clone(&self.device), spec, schedule, training)?))
    }
}
