//! Features of images that a vision tower which does not change has seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use candle_core::Tensor;

use super::error::ModelError;
use super::input::ImagePatches;

/// Features by image, for as long as somebody holds the image: those of a step's prompts vanish with the step.
#[derive(Debug, Default)]
pub struct FeatureCache {
    seen: Mutex<HashMap<usize, Seen>>,
}

#[derive(Debug)]
struct Seen {
    image: Weak<ImagePatches>,
    features: Tensor,
}

impl FeatureCache {
    fn seen(&self) -> MutexGuard<'_, HashMap<usize, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The features of `image`, from `encode` unless they are known. Two threads may compute the same at once; `encode`
    /// must see the image alone, so that its result does not depend on who asks.
    pub(super) fn of(
        &self,
        image: &Arc<ImagePatches>,
        encode: impl FnOnce() -> Result<Tensor, ModelError>,
    ) -> Result<Tensor, ModelError> {
        // Where an image lies names it while it lives; one that took the place of a dead one is told by the weak pointer.
        let name = Arc::as_ptr(image) as usize;
        if let Some(known) = self
            .seen()
            .get(&name)
            .filter(|seen| Weak::as_ptr(&seen.image) == Arc::as_ptr(image) && seen.image.strong_count() > 0)
        {
            return Ok(known.features.clone());
        }
        let features = encode()?.detach();
        let mut seen = self.seen();
        seen.retain(|_, seen| seen.image.strong_count() > 0);
        seen.insert(name, Seen { image: Arc::downgrade(image), features: features.clone() });
        Ok(features)
    }

    /// Images whose features are held.
    pub fn len(&self) -> usize {
        self.seen().len()
    }

    /// Is nothing held?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
