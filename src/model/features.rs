//! Cached image features of a frozen vision tower.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use candle_core::Tensor;
use parking_lot::{Mutex, MutexGuard};

use super::error::ModelError;
use super::input::ImagePatches;

/// Features by image, for as long as the image is in use: those of a step's prompts are dropped with the step.
#[derive(Debug, Default)]
pub struct FeatureCache {
    seen: Mutex<HashMap<usize, CachedFeatures>>,
}

#[derive(Debug)]
struct CachedFeatures {
    image: Weak<ImagePatches>,
    features: Tensor,
}

impl FeatureCache {
    fn seen(&self) -> MutexGuard<'_, HashMap<usize, CachedFeatures>> {
        self.seen.lock()
    }

    /// The features of `image`, from `encode` unless they are known. Two threads may compute the same at once; `encode`
    /// must run on the image alone, so that its result does not depend on the rest of the batch.
    pub(super) fn of(
        &self,
        image: &Arc<ImagePatches>,
        encode: impl FnOnce() -> Result<Tensor, ModelError>,
    ) -> Result<Tensor, ModelError> {
        // The address identifies an image while it is alive; the weak pointer detects an address that was reused.
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
        seen.insert(name, CachedFeatures { image: Arc::downgrade(image), features: features.clone() });
        Ok(features)
    }

    /// Number of cached images.
    pub fn len(&self) -> usize {
        self.seen().len()
    }

    /// Is the cache empty?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
