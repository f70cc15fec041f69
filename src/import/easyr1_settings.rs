//! The settings of an `EasyR1` configuration: the file's values over the defaults of their code.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Values of keys that a file leaves out.
const DEFAULTS: &[(&str, &str)] = &[
    ("data.prompt_key", "prompt"),
    ("data.answer_key", "answer"),
    ("data.image_key", "images"),
    ("data.max_prompt_length", "512"),
    ("data.max_response_length", "512"),
    ("data.rollout_batch_size", "512"),
    ("data.shuffle", "true"),
    ("data.seed", "1"),
    ("data.min_pixels", "262144"),
    ("data.max_pixels", "4194304"),
    ("data.filter_overlong_prompts", "true"),
    ("algorithm.adv_estimator", "grpo"),
    ("algorithm.disable_kl", "false"),
    ("algorithm.use_kl_loss", "false"),
    ("algorithm.kl_penalty", "kl"),
    ("algorithm.kl_coef", "0.001"),
    ("algorithm.online_filtering", "false"),
    ("algorithm.filter_key", "overall"),
    ("algorithm.filter_low", "0.01"),
    ("algorithm.filter_high", "0.99"),
    ("algorithm.visual_compensation_type", "linear"),
    ("algorithm.visual_compensation_strength", "0.5"),
    ("algorithm.visual_compensation_start_ratio", "0.0"),
    ("algorithm.visual_compensation_exponent", "2.0"),
    ("algorithm.visual_compensation_step_ratio", "0.5"),
    ("algorithm.visual_attention_threshold", "0.4"),
    ("algorithm.gated_visual_compensation_start_ratio", "0.5"),
    ("worker.actor.global_batch_size", "256"),
    ("worker.actor.ppo_epochs", "1"),
    ("worker.actor.max_grad_norm", "1.0"),
    ("worker.actor.clip_ratio_low", "0.2"),
    ("worker.actor.clip_ratio_high", "0.3"),
    ("worker.actor.clip_ratio_dual", "3.0"),
    ("worker.actor.loss_avg_mode", "token"),
    ("worker.actor.loss_type", "default"),
    ("worker.actor.optim.lr", "1e-6"),
    ("worker.actor.optim.betas", "[0.9, 0.999]"),
    ("worker.actor.optim.weight_decay", "0.01"),
    ("worker.actor.optim.lr_warmup_ratio", "0.0"),
    ("worker.actor.optim.warmup_style", "constant"),
    ("worker.actor.model.freeze_vision_tower", "false"),
    ("worker.rollout.n", "1"),
    ("worker.rollout.temperature", "1.0"),
    ("worker.rollout.top_p", "1.0"),
    ("trainer.total_epochs", "15"),
    ("trainer.max_try_make_batch", "20"),
    ("trainer.val_freq", "-1"),
    ("trainer.val_before_train", "true"),
    ("trainer.save_freq", "-1"),
    ("trainer.save_limit", "-1"),
    ("trainer.project_name", "easy_r1"),
    ("trainer.experiment_name", "demo"),
];

/// What is known about the settings: the file's values over the defaults of their code.
pub(super) struct Settings {
    pub(super) given: BTreeMap<String, Value>,
    pub(super) rows: Option<u64>,
}

impl Settings {
    /// A value; null when neither the file nor the defaults have it.
    pub(super) fn get(&self, key: &str) -> Value {
        let default = || DEFAULTS.iter().find(|(name, _)| *name == key).map(|(_, text)| parse(text));
        self.given.get(key).cloned().or_else(default).unwrap_or(Value::Null)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key) == Value::Bool(true)
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.get(key).as_f64()
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.get(key).as_str().unwrap_or_default().to_owned()
    }

    /// Is a part of VGPO switched on?
    pub(super) fn is_vgpo(&self) -> bool {
        let switches = ["use_intra_trajectory_reweighting", "use_inter_trajectory_reweighting"];
        switches.iter().any(|name| self.flag(&format!("algorithm.{name}")))
    }

    /// Optimizer steps, where they can be told: given as such, or epochs over a known number of rows.
    pub(super) fn steps(&self) -> Option<u64> {
        let epochs = || {
            let steps_per_epoch = self.rows? / self.get("data.rollout_batch_size").as_u64()?.max(1);
            Some(steps_per_epoch.max(1) * self.get("trainer.total_epochs").as_u64()?)
        };
        self.get("trainer.max_steps").as_u64().or_else(epochs)
    }
}

/// A value as a command line or a table writes it. `1e-6` is a number to them, and to JSON.
pub(super) fn parse(text: &str) -> Value {
    match text {
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        "None" => Value::Null,
        _ => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
    }
}
