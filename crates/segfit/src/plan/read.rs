//! Reading a plan file.

use std::path::Path;

use super::{PLAN_FORMAT, Plan};
use crate::error::{Error, Result};

impl Plan {
    /// Reads a plan file.
    ///
    /// # Errors
    /// As [`crate::files::read_json`]; [`Error::Content`] when its network does not fit together.
    pub fn read(path: &Path) -> Result<Self> {
        let plan: Self = crate::files::read_json(path, PLAN_FORMAT)?;
        plan.spec.validate_file(path)?;
        let have = crate::cost::parameters(&plan.spec)?;
        if have != plan.network.params {
            return Err(Error::Json {
                path: path.into(),
                expected: PLAN_FORMAT.into(),
                reason: format!("network.params is {}, its spec has {have}", plan.network.params),
            });
        }
        Ok(plan)
    }
}
