//! Scores pairs with one checkpoint.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use image::RgbImage;
use parking_lot::Mutex;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::config::Config;
use super::error::SimilarityError;
use super::folder::{self, Blueprint};
use super::network::Network;
use super::pictures::{PictureKey, Remembered, key};
use super::preprocessor::Preprocessor;
use super::tokens::Tokens;
use crate::domain::device::DeviceName;
use crate::domain::spec::ImageTextScore;
use crate::model::device::open_device;
use crate::reward::{ImageText, ImageTextModel, RewardError};

/// Number of cached image vectors: at 768 numbers each about 12 MB, at most twice that.
const REMEMBERED: usize = 4096;
/// Batch size: images or texts on a GPU, texts on a core of a CPU.
const BATCH: usize = 16;

/// A checked checkpoint; its weights are loaded for the first pair.
pub(super) struct Scorer {
    dir: PathBuf,
    device: DeviceName,
    config: Config,
    preprocessor: Preprocessor,
    tokens: Tokens,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

/// A checkpoint in memory.
struct Loaded {
    network: Network,
    device: Device,
    /// Its own threads, because a worker's other products use one.
    pool: ThreadPool,
    remembered: Remembered,
}

impl Scorer {
    /// Checks everything that does not require reading the weights themselves.
    pub(super) fn open(dir: &Path, device: DeviceName) -> Result<Self, SimilarityError> {
        let config = Config::read(dir)?;
        let preprocessor = Preprocessor::read(dir, &config)?;
        let tokens = Tokens::read(dir, &config)?;
        let blueprint = VarBuilder::from_backend(Box::new(Blueprint::read(dir)?), DType::F32, Device::Cpu);
        Network::new(&config, blueprint).map_err(|error| weight_fault(dir, &error))?;
        Ok(Self { dir: dir.to_owned(), device, config, preprocessor, tokens, loaded: Mutex::new(None) })
    }

    /// The model; the first caller loads it, others wait.
    fn loaded(&self) -> Result<Arc<Loaded>, SimilarityError> {
        let mut loaded = self.loaded.lock();
        if let Some(known) = loaded.as_ref() {
            return Ok(known.clone());
        }
        let device = open_device(self.device)?;
        let weights = VarBuilder::from_tensors(folder::weights(&self.dir, &device)?, DType::F32, &device);
        let network = Network::new(&self.config, weights).map_err(|error| weight_fault(&self.dir, &error))?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let pool = ThreadPoolBuilder::new().num_threads(cores).build();
        let pool = pool.map_err(|error| SimilarityError::Input(format!("its threads cannot start: {error}")))?;
        let new = Arc::new(Loaded { network, device, pool, remembered: Remembered::new(REMEMBERED) });
        *loaded = Some(new.clone());
        Ok(new)
    }

    /// The vectors of all images of these pairs; each image is encoded once.
    fn pictures(
        &self,
        loaded: &Loaded,
        keyed: &[(PictureKey, &RgbImage)],
    ) -> Result<HashMap<PictureKey, Arc<[f32]>>, SimilarityError> {
        let mut vectors = HashMap::new();
        let (mut seen, mut new) = (HashSet::new(), Vec::new());
        for (key, picture) in keyed.iter().filter(|(key, _)| seen.insert(*key)) {
            match loaded.remembered.get(key) {
                Some(known) => drop(vectors.insert(*key, known)),
                None => new.push((*key, *picture)),
            }
        }
        let see = |part: &[(PictureKey, &RgbImage)]| -> Result<Vec<(PictureKey, Vec<f32>)>, SimilarityError> {
            let side = self.config.image_side;
            let mut pixels = Vec::with_capacity(part.len() * 3 * side * side);
            for (_, picture) in part {
                self.preprocessor.pixels(picture, &mut pixels)?;
            }
            let pixels = Tensor::from_vec(pixels, (part.len(), 3, side, side), &loaded.device)?;
            Ok(part.iter().map(|(key, _)| *key).zip(loaded.network.pictures(&pixels)?).collect())
        };
        // On a CPU each image is encoded alone, so that its vector does not depend on which others are cached.
        for (key, vector) in loaded.in_parts(&new, 1, see)? {
            let vector: Arc<[f32]> = vector.into();
            loaded.remembered.add(key, vector.clone());
            vectors.insert(key, vector);
        }
        Ok(vectors)
    }

    fn texts(&self, loaded: &Loaded, texts: &[&str]) -> Result<Vec<Vec<f32>>, SimilarityError> {
        let ids: Vec<Vec<u32>> =
            loaded.pool.install(|| texts.par_iter().map(|text| self.tokens.ids(text)).collect::<Result<_, _>>())?;
        loaded.in_parts(&ids, BATCH, |part| Ok(loaded.network.texts(&self.tokens.even(part), &loaded.device)?))
    }
}

impl Loaded {
    /// Processes `all` in chunks, in order: on a CPU in chunks of `on_cpu` on all cores in parallel, on a GPU in
    /// consecutive batches.
    fn in_parts<A: Sync, B: Send>(
        &self,
        all: &[A],
        on_cpu: usize,
        work: impl Fn(&[A]) -> Result<Vec<B>, SimilarityError> + Sync,
    ) -> Result<Vec<B>, SimilarityError> {
        let parts: Vec<Vec<B>> = if self.device.is_cpu() {
            self.pool.install(|| all.par_chunks(on_cpu).map(&work).collect::<Result<_, _>>())?
        } else {
            all.chunks(BATCH).map(work).collect::<Result<_, _>>()?
        };
        Ok(parts.into_iter().flatten().collect())
    }
}

impl ImageTextModel for Scorer {
    fn check(&self, score: ImageTextScore) -> Result<(), RewardError> {
        match (score, &self.config.architecture) {
            (ImageTextScore::Probability, super::config::Architecture::Clip(_)) => Err(RewardError::Setting {
                field: "score",
                value: "probability".to_owned(),
                allowed: "cosine for a CLIP checkpoint: it says which of several texts fits best, not whether one does"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn scores(&self, pairs: &[ImageText<'_>], score: ImageTextScore) -> Result<Vec<f64>, RewardError> {
        self.check(score)?;
        let loaded = self.loaded()?;
        let all: Vec<&RgbImage> = pairs.iter().flat_map(|pair| pair.images).map(AsRef::as_ref).collect();
        let keyed: Vec<(PictureKey, &RgbImage)> =
            loaded.pool.install(|| all.into_par_iter().map(|picture| (key(picture), picture)).collect());
        let vectors = self.pictures(&loaded, &keyed)?;
        let texts: Vec<&str> = pairs.iter().map(|pair| pair.text).collect();
        let texts = self.texts(&loaded, &texts)?;
        let odds = loaded.network.odds().filter(|_| score == ImageTextScore::Probability);
        let mut keys = keyed.iter().map(|(key, _)| key);
        let mut scores = Vec::with_capacity(pairs.len());
        for (pair, text) in pairs.iter().zip(&texts) {
            let of_pair = keys.by_ref().take(pair.images.len()).filter_map(|key| vectors.get(key));
            let values = of_pair.map(|picture| cosine(picture, text)).map(|cosine| match odds {
                Some(odds) => odds.probability(cosine),
                None => cosine,
            });
            scores.push(values.sum::<f64>() / pair.images.len() as f64);
        }
        Ok(scores)
    }
}

/// Of unit vectors.
fn cosine(one: &[f32], two: &[f32]) -> f64 {
    one.iter().zip(two).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn weight_fault(dir: &Path, error: &candle_core::Error) -> SimilarityError {
    let text = error.to_string();
    // Candle appends a backtrace if the environment requests one.
    SimilarityError::content(dir, text.split("\n   0: ").next().unwrap_or(&text))
}
