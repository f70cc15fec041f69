//! The adapters that this process serves under names of their own.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::service::{Result, ServiceError};
use crate::serving::ModelRef;

/// Adapters of a server at a time.
const MOST: usize = 64;

/// The adapters that this process serves.
#[derive(Debug, Default)]
pub(in crate::service) struct ServedAdapters(Mutex<BTreeMap<String, ModelRef>>);

impl ServedAdapters {
    /// The model that answers under this name.
    pub(in crate::service) fn find(&self, name: &str) -> Option<ModelRef> {
        self.0.lock().get(name).cloned()
    }

    /// Serves one more.
    pub(in crate::service) fn add(&self, model: ModelRef) -> Result<()> {
        let mut served = self.0.lock();
        if served.contains_key(&model.id) {
            return Err(ServiceError::Conflict(format!(
                "adapter `{}` has already been loaded: unload it first, or choose another name",
                model.id
            )));
        }
        if served.len() >= MOST {
            return Err(ServiceError::Conflict(format!("{MOST} adapters are loaded, the limit; unload one")));
        }
        served.insert(model.id.clone(), model);
        Ok(())
    }

    /// Forgets one; false where there is none of this name.
    pub(in crate::service) fn remove(&self, name: &str) -> bool {
        self.0.lock().remove(name).is_some()
    }
}
