//! Image-text similarity by a CLIP or SigLIP checkpoint, for the reward `image_text`.
//!
//! A folder is checked when it is opened (configuration, tokenizer, image processor, names, shapes and formats of the
//! weights); its weights are read for the first score.

mod config;
mod error;
mod folder;
mod network;
mod pictures;
mod preprocessor;
mod scorer;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::device::DeviceName;
use crate::reward::{ImageTextModel, ImageTextModels, RewardError};
use folder::Stamp;
use parking_lot::Mutex;
use scorer::Scorer;

/// Opens checkpoints for one device, and caches the last one, so that consecutive trial requests read its weights once.
pub struct Checkpoints {
    device: DeviceName,
    last: Mutex<Option<Opened>>,
}

struct Opened {
    folder: PathBuf,
    stamp: Stamp,
    scorer: Arc<Scorer>,
}

impl Checkpoints {
    /// Checkpoints that compute on `device`.
    pub fn on(device: DeviceName) -> Arc<dyn ImageTextModels> {
        Arc::new(Self { device, last: Mutex::new(None) })
    }
}

impl ImageTextModels for Checkpoints {
    fn open(&self, folder: &str) -> Result<Arc<dyn ImageTextModel>, RewardError> {
        let folder = Path::new(folder);
        let stamp = folder::stamp(folder)?;
        let mut last = self.last.lock();
        if let Some(known) = last.as_ref().filter(|known| known.folder == folder && known.stamp == stamp) {
            return Ok(known.scorer.clone());
        }
        let scorer = Arc::new(Scorer::open(folder, self.device)?);
        *last = Some(Opened { folder: folder.to_owned(), stamp, scorer: scorer.clone() });
        Ok(scorer)
    }
}
