//! The default value of every job setting, by method.

use std::collections::BTreeMap;

use crate::config::method;
use crate::domain::metric::EVAL_ACCURACY;
use crate::domain::spec::{
    AlertFormat, AlertRules, AlertsSpec, BatchSpec, BestSpec, Columns, DType, DataSpec, DeviceClass, Direction,
    EarlyStopSpec, EngineKind, EngineSpec, EvalSpec, FilterMetric, FilterSpec, JobSpec, LearningRateSchedule, LoraSpec,
    Method, OptimizerSpec, Overlong, ResourceSpec, RewardSpec, RolloutSpec, TrainSpec, TrainedParameters, WeightSync,
    WeightedReward,
};
use crate::domain::weights::WeightFormat;

/// Dynamic sampling as the paper does it; the limits drop groups that are all right or all wrong.
pub fn filter() -> FilterSpec {
    FilterSpec { metric: FilterMetric::Accuracy, low: 0.01, high: 0.99, max_tries: 4 }
}

/// Truncation limit of the importance correction where another program samples.
pub const FOREIGN_CORRECTION_CAP: f64 = 2.0;

/// Early stopping, once a job asks for it.
pub fn early_stop() -> EarlyStopSpec {
    EarlyStopSpec { metric: EVAL_ACCURACY.to_owned(), better: Direction::Higher, patience: 3, min_delta: 0.0 }
}

/// Common settings of low-rank adapters.
pub fn lora() -> LoraSpec {
    LoraSpec { rank: 16, alpha: 32.0, dropout: 0.0, targets: vec!["q_proj".to_owned(), "v_proj".to_owned()] }
}

/// A job's settings where neither the request nor a recommendation sets them.
pub fn job(method: Method, model: &str, dataset: &str) -> JobSpec {
    let rollout = RolloutSpec {
        group_size: 8,
        temperature: 1.0,
        top_p: 1.0,
        max_new_tokens: 64,
        correction_cap: None,
        filter: method::samples_dynamically(&method).then(filter),
        mask_truncated: false,
        engine: EngineSpec {
            kind: EngineKind::Local,
            urls: None,
            model: None,
            sync: WeightSync::Auto,
            shared_dir: None,
            staleness: 0,
            timeout_seconds: 600.0,
            patience_seconds: 600.0,
        },
    };
    JobSpec {
        name: format!("{dataset}-{}", method.name()),
        model: model.to_owned(),
        dataset: dataset.to_owned(),
        eval_dataset: None,
        seed: 0,
        project: "default".to_owned(),
        tags: BTreeMap::new(),
        data: data(),
        reward: reward(),
        rollout,
        batch: BatchSpec { prompts_per_step: 32, minibatch_prompts: 32, microbatch_tokens: 4096, epochs_per_batch: 1 },
        optimizer: optimizer(),
        train: TrainSpec {
            parameters: TrainedParameters::Full,
            lora: None,
            freeze_vision: false,
            gradient_checkpointing: false,
            dtype: DType::Auto,
            base: WeightFormat::Native,
        },
        steps: 40,
        eval_before: true,
        eval_every: 8,
        eval_rows: 512,
        eval: EvalSpec { samples: 1, temperature: 0.0, top_p: 1.0, image_dependence: false },
        best: BestSpec { metric: EVAL_ACCURACY.to_owned(), better: Direction::Higher },
        early_stop: None,
        checkpoint_every: 8,
        keep_checkpoints: 3,
        log_samples_every: 8,
        resources: ResourceSpec { device: DeviceClass::Any, devices: 1, ranks: 1 },
        priority: 0,
        max_attempts: 3,
        after: None,
        not_before: None,
        alerts: alerts(),
        report_to: Vec::new(),
        deterministic: true,
        method,
    }
}

/// The columns that published sets for visual reasoning have.
pub fn columns() -> Columns {
    Columns::usual()
}

fn data() -> DataSpec {
    DataSpec {
        columns: columns(),
        system: None,
        prompt_template: "{{ prompt }}".to_owned(),
        min_pixels: None,
        max_pixels: None,
        enable_thinking: None,
        max_prompt_tokens: 2048,
        overlong: Overlong::Error,
        shuffle: true,
    }
}

fn reward() -> RewardSpec {
    RewardSpec::Weighted {
        parts: vec![
            WeightedReward { weight: 0.9, reward: RewardSpec::Math },
            WeightedReward { weight: 0.1, reward: RewardSpec::Format },
        ],
    }
}

/// Bounds of KL and entropy depend on the model and the objective, so there are none.
fn alerts() -> AlertsSpec {
    let rules = AlertRules {
        nan: true,
        reward_constant: Some(20),
        reward_collapse: Some(0.5),
        kl_above: None,
        entropy_below: None,
        entropy_above: None,
        stalled_seconds: Some(3600),
        finished: true,
        failed: true,
    };
    AlertsSpec { webhook: None, format: AlertFormat::Json, rules }
}

fn optimizer() -> OptimizerSpec {
    OptimizerSpec {
        // The paper's rate for full fine-tuning of a 7B model; small models recommend their own.
        learning_rate: 1e-6,
        betas: [0.9, 0.999],
        weight_decay: 0.01,
        warmup_steps: 5,
        schedule: LearningRateSchedule::Constant,
        schedule_floor: 0.05,
        max_grad_norm: 1.0,
        offload: false,
        shard: false,
    }
}
