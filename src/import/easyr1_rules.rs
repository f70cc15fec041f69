//! What each key of an `EasyR1` configuration becomes.
//!
//! Names and defaults: `verl/trainer/config.py` and `verl/workers/*/config.py` of hiyouga/EasyR1 and of the released
//! VGPO code.

use serde_json::{Value, json};

use super::easyr1_settings::Settings;

/// What becomes of a key.
pub(super) enum Rule {
    /// A setting of the job, by JSON pointer.
    Set(&'static str, Value),
    /// Nothing: another key says it, or it is what happens here anyway.
    Nothing,
    /// It has no counterpart with this value; why.
    Drop(String),
}

use Rule::{Drop, Nothing, Set};

/// Keys without a counterpart; `*` stands for any end.
pub(super) const DROPPED: &[(&str, &str)] = &[
    ("data.val_batch_size", "evaluation fills its batches by itself; `eval_rows` bounds it"),
    ("data.mini_rollout_batch_size", "rollouts fill their batches by themselves"),
    (
        "data.format_prompt",
        "put the file's text into `data.prompt_template`, with `{{ prompt }}` for its `{{ content }}`",
    ),
    ("data.override_chat_template", "the model folder's own chat template is used"),
    ("data.video*", "only still images are supported"),
    ("data.image_dir", "images come with the data set: `vgpo datasets upload`"),
    ("data.filter_overlong_prompts_workers", "rows are checked while they are read"),
    ("algorithm.gamma", "discounts need a critic, which none of the methods has"),
    ("algorithm.lam", "discounts need a critic, which none of the methods has"),
    ("algorithm.kl_type", "the KL coefficient is constant"),
    ("algorithm.kl_horizon", "the KL coefficient is constant"),
    ("algorithm.kl_target", "the KL coefficient is constant"),
    ("algorithm.use_entropy_penalty", "there is a bonus on entropy (`method.entropy_coef`), no penalty"),
    ("algorithm.entropy_penalty_coef", "there is a bonus on entropy (`method.entropy_coef`), no penalty"),
    ("algorithm.inter_reweighting_gamma_late", "trajectories are weighed by the whole response, as in the paper"),
    ("worker.hybrid_engine", "one process samples and trains"),
    ("worker.actor.strategy", "one process trains on one device"),
    ("worker.actor.micro_batch_size*", "`batch.microbatch_tokens` bounds memory by tokens instead"),
    ("worker.actor.dynamic_batching", "micro-batches are always filled by tokens: `batch.microbatch_tokens`"),
    ("worker.actor.padding_free", "a matter of speed alone"),
    ("worker.actor.use_torch_compile", "a matter of speed alone"),
    ("worker.actor.ulysses*", "one process trains on one device"),
    ("worker.actor.fsdp*", "one process trains on one device"),
    ("worker.actor.offload*", "one process trains on one device"),
    ("worker.actor.model.enable_gradient_checkpointing", "a matter of memory alone"),
    ("worker.actor.model.trust_remote_code", "no code of a model folder is ever run"),
    ("worker.actor.model.tokenizer_path", "the tokenizer is in the model folder"),
    ("worker.actor.model.override_config*", "the configuration is in the model folder"),
    ("worker.actor.optim.strategy", "AdamW in 32-bit floats"),
    ("worker.actor.optim.min_lr_ratio", "a cosine falls to 5% of the peak"),
    ("worker.rollout.val_override_config*", "evaluation is greedy, one response a row"),
    ("worker.rollout.*", "sampling runs in the trainer's own process"),
    ("worker.ref*", "the reference model runs in the trainer's own process"),
    ("worker.critic*", "none of the methods has a critic"),
    ("worker.reward.reward_type", "the kind of a reward is `reward.type`"),
    ("worker.reward*", "write the reward as `reward`; call your own function with `\"type\": \"webhook\"`"),
    ("trainer.logger", "metrics are in the database: dashboard, API, `vgpo runs`"),
    ("trainer.nnodes", "one process trains on one device; several jobs run side by side"),
    ("trainer.n_gpus_per_node", "one process trains on one device; several jobs run side by side"),
    ("trainer.critic_warmup", "none of the methods has a critic"),
    ("trainer.val_only", "`\"method\": {\"type\": \"eval\"}` evaluates without training"),
    ("trainer.val_generations_to_log", "`log_samples_every` says how often samples are kept"),
    ("trainer.save_model_only", "checkpoints always hold the optimizer, so that a run can resume"),
    ("trainer.save_checkpoint_path", "checkpoints are kept by the server"),
    ("trainer.load_checkpoint_path", "name a checkpoint as `model`, or continue a run: `vgpo runs continue`"),
    ("trainer.find_last_checkpoint", "an interrupted job always resumes from its last checkpoint"),
    ("trainer.ray_timeline", "there is no Ray"),
];

type RuleOf = fn(&Settings) -> Rule;

/// One rule a key that may have a counterpart.
pub(super) const RULES: &[(&str, RuleOf)] = &[
    ("worker.actor.model.model_path", |s| named("/model", &s.text("worker.actor.model.model_path"))),
    ("data.train_files", |s| named("/dataset", &s.text("data.train_files"))),
    ("data.val_files", |s| named("/eval_dataset", &s.text("data.val_files"))),
    ("trainer.experiment_name", |s| named("/name", &s.text("trainer.experiment_name"))),
    ("trainer.project_name", |s| named("/project", &s.text("trainer.project_name"))),
    ("data.seed", |s| Set("/seed", s.get("data.seed"))),
    ("data.prompt_key", |s| Set("/data/columns/prompt", s.get("data.prompt_key"))),
    ("data.answer_key", |s| Set("/data/columns/answer", s.get("data.answer_key"))),
    ("data.image_key", |s| Set("/data/columns/images", s.get("data.image_key"))),
    ("data.max_prompt_length", |s| Set("/data/max_prompt_tokens", s.get("data.max_prompt_length"))),
    ("data.min_pixels", |s| Set("/data/min_pixels", s.get("data.min_pixels"))),
    ("data.max_pixels", |s| Set("/data/max_pixels", s.get("data.max_pixels"))),
    ("data.shuffle", |s| Set("/data/shuffle", s.get("data.shuffle"))),
    ("data.filter_overlong_prompts", |s| {
        Set("/data/overlong", json!(if s.flag("data.filter_overlong_prompts") { "drop" } else { "error" }))
    }),
    ("worker.reward.reward_function", reward),
    ("worker.rollout.n", |s| Set("/rollout/group_size", s.get("worker.rollout.n"))),
    ("worker.rollout.temperature", |s| Set("/rollout/temperature", s.get("worker.rollout.temperature"))),
    ("worker.rollout.top_p", |s| Set("/rollout/top_p", s.get("worker.rollout.top_p"))),
    ("data.max_response_length", |s| Set("/rollout/max_new_tokens", s.get("data.max_response_length"))),
    ("algorithm.online_filtering", filter),
    ("algorithm.filter_key", |_| Nothing),
    ("algorithm.filter_low", |_| Nothing),
    ("algorithm.filter_high", |_| Nothing),
    ("trainer.max_try_make_batch", |s| match s.get("trainer.max_try_make_batch").as_i64() {
        Some(tries) if tries < 1 => Drop("tries are always bounded: `rollout.filter.max_tries` is 1000".to_owned()),
        _ => Nothing,
    }),
    ("worker.actor.loss_type", method),
    ("algorithm.use_intra_trajectory_reweighting", |s| {
        vgpo_flag(s, "/method/intra", "use_intra_trajectory_reweighting")
    }),
    ("algorithm.use_inter_trajectory_reweighting", |s| {
        vgpo_flag(s, "/method/inter", "use_inter_trajectory_reweighting")
    }),
    ("algorithm.use_visual_compensation", |s| vgpo_flag(s, "/method/compensation", "use_visual_compensation")),
    ("algorithm.use_gated_visual_compensation", |s| vgpo_flag(s, "/method/gate", "use_gated_visual_compensation")),
    ("algorithm.visual_compensation_strength", |s| vgpo(s, "/method/beta", "visual_compensation_strength")),
    ("algorithm.visual_attention_threshold", |s| vgpo(s, "/method/kappa", "visual_attention_threshold")),
    ("algorithm.gated_visual_compensation_start_ratio", |s| {
        vgpo(s, "/method/gamma", "gated_visual_compensation_start_ratio")
    }),
    ("algorithm.visual_compensation_exponent", |s| vgpo(s, "/method/exponent", "visual_compensation_exponent")),
    ("algorithm.visual_compensation_step_ratio", |s| vgpo(s, "/method/step", "visual_compensation_step_ratio")),
    ("algorithm.visual_compensation_start_ratio", |s| {
        vgpo(s, "/method/compensation_start", "visual_compensation_start_ratio")
    }),
    ("algorithm.visual_compensation_type", |s| match s.text("algorithm.visual_compensation_type").as_str() {
        _ if !s.is_vgpo() => Drop(VGPO_OFF.to_owned()),
        "step-function" => Set("/method/schedule", json!("step")),
        other => Set("/method/schedule", json!(other)),
    }),
    ("worker.actor.clip_ratio_low", |s| Set("/method/clip_low", s.get("worker.actor.clip_ratio_low"))),
    ("worker.actor.clip_ratio_high", |s| Set("/method/clip_high", s.get("worker.actor.clip_ratio_high"))),
    ("worker.actor.clip_ratio_dual", |s| match s.text("worker.actor.loss_type").as_str() {
        "cispo" => Drop("`cispo` has no dual clip".to_owned()),
        _ => Set("/method/dual_clip", s.get("worker.actor.clip_ratio_dual")),
    }),
    ("worker.actor.loss_avg_mode", |s| {
        Set(
            "/method/loss_average",
            json!(if s.text("worker.actor.loss_avg_mode") == "seq" { "sequence" } else { "token" }),
        )
    }),
    ("algorithm.adv_estimator", |s| match s.text("algorithm.adv_estimator").as_str() {
        name @ ("grpo" | "rloo") => Set("/method/estimator", json!(name)),
        "reinforce_plus_plus" => Set("/method/estimator", json!("reinforce++")),
        other => Drop(format!(
            "`{other}` has no counterpart: choose grpo, dr_grpo, gdpo, rloo or reinforce++ as `method.estimator`"
        )),
    }),
    ("algorithm.kl_coef", kl),
    ("algorithm.disable_kl", |_| Nothing),
    ("algorithm.use_kl_loss", |s| {
        let in_reward = !s.flag("algorithm.disable_kl") && !s.flag("algorithm.use_kl_loss");
        if in_reward {
            Drop("a KL term in the reward has no counterpart, only one in the loss".to_owned())
        } else {
            Nothing
        }
    }),
    ("algorithm.kl_penalty", |s| match s.text("algorithm.kl_penalty").as_str() {
        "low_var_kl" => Nothing,
        _ if s.flag("algorithm.disable_kl") => Nothing,
        other => Drop(format!("`{other}` has no counterpart: the KL term is the low-variance one")),
    }),
    ("data.rollout_batch_size", |s| Set("/batch/prompts_per_step", s.get("data.rollout_batch_size"))),
    ("worker.actor.global_batch_size", |s| Set("/batch/minibatch_prompts", s.get("worker.actor.global_batch_size"))),
    ("worker.actor.ppo_epochs", |s| Set("/batch/epochs_per_batch", s.get("worker.actor.ppo_epochs"))),
    ("worker.actor.optim.lr", |s| Set("/optimizer/learning_rate", s.get("worker.actor.optim.lr"))),
    ("worker.actor.optim.betas", |s| Set("/optimizer/betas", s.get("worker.actor.optim.betas"))),
    ("worker.actor.optim.weight_decay", |s| Set("/optimizer/weight_decay", s.get("worker.actor.optim.weight_decay"))),
    ("worker.actor.optim.warmup_style", |s| Set("/optimizer/schedule", s.get("worker.actor.optim.warmup_style"))),
    ("worker.actor.optim.lr_warmup_steps", |_| Nothing),
    ("worker.actor.optim.lr_warmup_ratio", warmup),
    ("worker.actor.max_grad_norm", |s| Set("/optimizer/max_grad_norm", s.get("worker.actor.max_grad_norm"))),
    ("worker.actor.fsdp.torch_dtype", |s| match s.text("worker.actor.fsdp.torch_dtype").as_str() {
        "bf16" | "bfloat16" => Set("/train/dtype", json!("bf16")),
        "fp32" | "float32" => Set("/train/dtype", json!("f32")),
        "" => Nothing,
        _ => Drop("weights are held as f32 or bf16 here".to_owned()),
    }),
    ("worker.actor.model.freeze_vision_tower", |s| {
        Set("/train/freeze_vision", s.get("worker.actor.model.freeze_vision_tower"))
    }),
    ("trainer.max_steps", |s| s.steps().map_or(Nothing, |steps| Set("/steps", json!(steps)))),
    ("trainer.total_epochs", |s| match s.steps() {
        Some(_) => Nothing,
        None => Drop(
            "`steps` counts batches: epochs x rows / batch.prompts_per_step (give --rows to have it counted)"
                .to_owned(),
        ),
    }),
    ("trainer.val_before_train", |s| Set("/eval_before", s.get("trainer.val_before_train"))),
    ("trainer.val_freq", |s| Set("/eval_every", every(s, "trainer.val_freq"))),
    ("trainer.save_freq", |s| Set("/checkpoint_every", every(s, "trainer.save_freq"))),
    ("trainer.save_limit", |s| match s.get("trainer.save_limit").as_u64() {
        Some(limit) if limit > 0 => Set("/keep_checkpoints", json!(limit)),
        _ => Set("/keep_checkpoints", json!(1_000_000)),
    }),
];

const VGPO_OFF: &str = "both of VGPO's weights are off in this configuration";
/// Most batches that dynamic sampling may try, where the configuration sets no limit.
const MOST_TRIES: u64 = 1_000;

/// A name, where there is one.
fn named(pointer: &'static str, name: &str) -> Rule {
    if name.is_empty() { Nothing } else { Set(pointer, json!(name)) }
}

/// 0 means "only at the end", as -1 does there.
fn every(settings: &Settings, key: &str) -> Value {
    json!(settings.get(key).as_u64().unwrap_or(0))
}

fn vgpo(settings: &Settings, pointer: &'static str, name: &str) -> Rule {
    if !settings.is_vgpo() {
        return Drop(VGPO_OFF.to_owned());
    }
    Set(pointer, settings.get(&format!("algorithm.{name}")))
}

fn vgpo_flag(settings: &Settings, pointer: &'static str, name: &str) -> Rule {
    if !settings.is_vgpo() {
        return Drop(VGPO_OFF.to_owned());
    }
    Set(pointer, json!(settings.flag(&format!("algorithm.{name}"))))
}

/// The whole method's type comes from the loss and VGPO's switches.
fn method(settings: &Settings) -> Rule {
    match settings.text("worker.actor.loss_type").as_str() {
        // Their formulae are those of the released variant.
        "default" if settings.is_vgpo() => Set("/method", json!({"type": "vgpo", "variant": "released"})),
        "default" => Set("/method", json!({"type": "grpo"})),
        "cispo" => Set("/method", json!({"type": "cispo", "variant": "released"})),
        "gspo" => Set("/method", json!({"type": "gspo"})),
        other => Drop(format!("`{other}` has no counterpart: choose a `method.type`")),
    }
}

fn kl(settings: &Settings) -> Rule {
    if settings.flag("algorithm.disable_kl") {
        return Set("/method/kl_coef", json!(0.0));
    }
    if !settings.flag("algorithm.use_kl_loss") {
        return Drop("a KL term in the reward has no counterpart, only one in the loss".to_owned());
    }
    Set("/method/kl_coef", settings.get("algorithm.kl_coef"))
}

fn filter(settings: &Settings) -> Rule {
    if !settings.flag("algorithm.online_filtering") {
        return Set("/rollout/filter", Value::Null);
    }
    let metric = if settings.text("algorithm.filter_key") == "accuracy" { "accuracy" } else { "reward" };
    let tries = settings.get("trainer.max_try_make_batch").as_u64().filter(|tries| *tries > 0);
    let (low, high) = (settings.get("algorithm.filter_low"), settings.get("algorithm.filter_high"));
    let max_tries = tries.unwrap_or(MOST_TRIES).min(MOST_TRIES);
    Set("/rollout/filter", json!({"metric": metric, "low": low, "high": high, "max_tries": max_tries}))
}

/// Their example rewards for mathematics; other reward functions cannot be converted.
fn reward(settings: &Settings) -> Rule {
    let name = settings.text("worker.reward.reward_function");
    let (file, function) = name.rsplit_once(':').unwrap_or((&name, "compute_score"));
    match (file.rsplit('/').next().unwrap_or_default(), function) {
        ("math.py", "compute_score_wo_format") => Set("/reward", json!({"type": "math"})),
        ("math.py", "compute_score") => {
            let (math, format) = (json!({"type": "math"}), json!({"type": "format"}));
            let parts = json!([{"weight": 0.9, "reward": math}, {"weight": 0.1, "reward": format}]);
            Set("/reward", json!({"type": "weighted", "parts": parts}))
        }
        _ => Drop("write the reward as `reward`; call your own function with `\"type\": \"webhook\"`".to_owned()),
    }
}

fn warmup(settings: &Settings) -> Rule {
    if let Some(steps) = settings.get("worker.actor.optim.lr_warmup_steps").as_u64() {
        return Set("/optimizer/warmup_steps", json!(steps));
    }
    match (settings.number("worker.actor.optim.lr_warmup_ratio"), settings.steps()) {
        (Some(0.0) | None, _) => Set("/optimizer/warmup_steps", json!(0)),
        (Some(ratio), Some(steps)) => Set("/optimizer/warmup_steps", json!((ratio * steps as f64).floor() as u64)),
        (Some(_), None) => Drop("`optimizer.warmup_steps` counts steps, which are not known here".to_owned()),
    }
}
