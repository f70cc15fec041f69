//! The model of a run in its views: tracked for updates, detached for rollouts, and the reference.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};

use crate::domain::spec::{self, JobSpec, LoraSpec};
use crate::domain::weights::WeightFormat;
use crate::model::device::usual_format;
use crate::model::logprob::Vocabulary;
use crate::model::lora::{LoraConfig, peft};
use crate::model::{Frozen, Holding, ModelError, ModelFolder, View, VisionLanguageModel};

use super::error::TrainError;
use super::learner::Learner;
use super::micro_batch::Packing;
use super::parallel::Pool;

/// The model of a run.
pub struct Policy {
    /// Its folder and its variables.
    pub folder: ModelFolder,
    /// For updates: operations on trained variables are recorded.
    pub tracked: Arc<dyn VisionLanguageModel>,
    /// The same weights for rollouts and scores; nothing is recorded.
    pub detached: Arc<dyn VisionLanguageModel>,
    /// The model that the run began with, where the objective needs it.
    pub reference: Option<Arc<dyn VisionLanguageModel>>,
}

impl Policy {
    /// Opens the model that the job begins with, or that of the checkpoint `resume`.
    ///
    /// Adapters are kept apart from the base weights, which no step changes: only the adapters are read from a
    /// checkpoint. For the same reason the reference is the same model without them, and needs no second copy. What is
    /// never trained stays as its file has it.
    pub fn open(
        spec: &JobSpec,
        model_dir: &Path,
        resume: Option<&Path>,
        device: &Device,
        with_reference: bool,
    ) -> Result<Self, TrainError> {
        let dtype = number_format(spec.train.dtype, device);
        let lora = spec.train.lora.as_ref();
        let dir = resume.filter(|_| lora.is_none()).unwrap_or(model_dir);
        let frozen = match lora {
            Some(_) => Frozen::Everything,
            None if spec.train.freeze_vision => Frozen::Vision,
            None => Frozen::Nothing,
        };
        if spec.train.base != WeightFormat::Native && !device.is_cpu() {
            let problem = format!(
                "`{}` has a gradient on a CPU only: set `resources.device` to \"cpu\", or leave it out",
                spec.train.base.name()
            );
            return Err(TrainError::Setting { field: "train.base", problem });
        }
        let holding = Holding { dtype, frozen, format: spec.train.base };
        let mut folder = ModelFolder::open_with(dir, device, holding)?;
        if spec.train.freeze_vision {
            folder.freeze_vision();
        }
        if let Some(lora) = lora {
            adapt(&mut folder, lora, spec.seed, resume)?;
        }
        let reference = match (with_reference, lora) {
            (false, _) => None,
            (true, Some(_)) => Some(folder.model(View::Base)?),
            (true, None) => {
                // With trained 16-bit weights operands are rounded: the reference is computed as the policy is.
                let frozen = if dtype == DType::F32 { Frozen::Everything } else { frozen };
                let holding = Holding { frozen, ..holding };
                Some(ModelFolder::open_with(model_dir, device, holding)?.model(View::Detached)?)
            }
        };
        Ok(Self { tracked: folder.model(View::Tracked)?, detached: folder.model(View::Detached)?, reference, folder })
    }

    /// A learner over the current weights: log-probs at the rollout's `temperature`, and micro-batches of at most
    /// `microbatch_tokens` tokens.
    pub fn learner<'a>(&'a self, pool: &'a Pool, temperature: f64, microbatch_tokens: u64) -> Learner<'a> {
        Learner {
            pool,
            tracked: self.tracked.as_ref(),
            detached: self.detached.as_ref(),
            parameters: self.folder.parameters(),
            vocabulary: Vocabulary::rollout(self.tracked.info(), temperature),
            packing: Packing::Shared,
            microbatch_tokens,
            checkpointing: false,
            predicting: false,
        }
    }
}

fn adapt(folder: &mut ModelFolder, lora: &LoraSpec, seed: u64, resume: Option<&Path>) -> Result<(), TrainError> {
    let config = LoraConfig { rank: lora.rank as usize, alpha: lora.alpha, targets: lora.targets.clone() };
    folder.add_adapters(&config, seed).map_err(|error| match error {
        ModelError::Target { .. } => TrainError::Setting { field: "train.lora.targets", problem: error.to_string() },
        other => other.into(),
    })?;
    if let (Some(dir), Some(adapters)) = (resume, folder.parameters().adapters()) {
        peft::read(&dir.join(peft::FOLDER), adapters)?;
    }
    Ok(())
}

/// The number format of weights on `device`.
pub(super) fn number_format(wanted: spec::DType, device: &Device) -> DType {
    match wanted {
        spec::DType::Auto => usual_format(device),
        spec::DType::F32 => DType::F32,
        spec::DType::Bf16 => DType::BF16,
    }
}
