//! Submitting a job: settle its settings, check that it can work, store it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::alerts::take_webhook;
use super::image_text::{check_audit, check_images, missing_images};
use super::memory_check::MemoryCheck;
use super::preview::{Preview, needs_demonstrations};
use super::row_warnings::{missing_columns, row_warnings};
use super::trackers::check_trackers;
use super::truths::unreadable_truths;
use super::warning::JobWarning;
use crate::config;
use crate::config::job::{Origin, Recommended, ResolvedJob, resolve};
use crate::domain::dataset::{DatasetRecord, DatasetState};
use crate::domain::job::{Job, NewJob};
use crate::domain::model::Model;
use crate::domain::nearest::suggestion;
use crate::domain::spec::{JobSpec, Method, RewardSpec, RowSplit};
use crate::domain::unused::is_unused;
use crate::reward::check_filter;
use crate::service::jobs::Jobs;
use crate::service::models::ModelSource;
use crate::service::{Result, ServiceError};
use crate::store::StoreError;

/// Body of `POST /v1/jobs`: a partial job. Only `model` and `dataset` are required; unknown fields are errors. The full
/// set of fields is that of `JobSpec`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"model": "starter", "dataset": "digits"}))]
#[allow(dead_code, reason = "describes the body; its fields are checked one by one in config::job")]
pub struct JobRequest {
    /// The model to start from: a registered name, `ckpt_…`, `run_…@best`, `run_…@last`, or `job_…`: the last
    /// checkpoint of that job, which the new one waits for.
    pub model: String,
    /// The data set to train on.
    pub dataset: String,
    /// Any other field of `JobSpec`.
    #[serde(flatten)]
    pub settings: BTreeMap<String, Value>,
}

/// A submitted job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SubmittedJob {
    /// The job, queued.
    #[serde(flatten)]
    pub job: Job,
    /// Warnings about settings that may be unintended.
    pub warnings: Vec<JobWarning>,
}

/// A job with resolved settings, and what they name.
pub(in crate::service) struct SettledJob {
    pub(in crate::service) resolved: ResolvedJob,
    /// What it starts from.
    pub(in crate::service) source: ModelSource,
    /// What it trains on.
    pub(in crate::service) data: DatasetRecord,
    /// The whole address that its alerts are sent to.
    pub(in crate::service) alert_webhook: Option<String>,
}

/// A job that has passed every check.
pub(super) struct CheckedJob {
    pub(super) resolved: ResolvedJob,
    /// The registered model that its model grew from.
    pub(super) base_model: String,
    pub(super) alert_webhook: Option<String>,
    pub(super) warnings: Vec<JobWarning>,
    pub(super) preview: Preview,
    pub(super) memory: MemoryCheck,
}

impl Jobs {
    /// Checks and stores a job.
    pub async fn submit(&self, request: &Value, created_by: Option<String>) -> Result<SubmittedJob> {
        // Boxed, like the checks themselves: their state is large, and every caller's future would hold it.
        let checked = Box::pin(self.check(request)).await?;
        let CheckedJob { resolved, base_model, alert_webhook, warnings, memory, .. } = checked;
        memory.refuse()?;
        self.access().storage_left(&resolved.spec.project).await?;
        let origins = serde_json::to_value(&resolved.origins).map_err(|e| ServiceError::Internal(e.to_string()))?;
        let base_model = Some(base_model);
        let new = NewJob { spec: resolved.spec, origins, created_by, base_model, alert_webhook };
        let (job, _) = self.store.submit(new).await.map_err(after_fault)?;
        self.access().tell_waiting(std::slice::from_ref(&job)).await?;
        tracing::info!(job = %job.id, run = %job.run_id, name = %job.name, "job submitted");
        self.tell_news();
        Ok(SubmittedJob { job, warnings })
    }

    /// Settles a job's settings and checks everything that can be known before it runs.
    pub(super) async fn check(&self, request: &Value) -> Result<CheckedJob> {
        let job = Box::pin(self.settle(request)).await?;
        let preview = self.preview(&job.source, &job.resolved.spec, &job.data).await?;
        let (warnings, memory) = self.vet(&job, &preview).await?;
        let SettledJob { resolved, source, alert_webhook, .. } = job;
        Ok(CheckedJob { resolved, base_model: source.base.name, alert_webhook, warnings, preview, memory })
    }

    /// What works in a settled job but may not be meant, and the memory that it needs.
    ///
    /// # Errors
    /// It cannot work.
    pub(in crate::service) async fn vet(
        &self,
        job: &SettledJob,
        preview: &Preview,
    ) -> Result<(Vec<JobWarning>, MemoryCheck)> {
        let SettledJob { resolved, source, data, .. } = job;
        let spec = &resolved.spec;
        check_images(spec, preview, data)?;
        check_audit(spec, preview, data)?;
        let missing = missing_columns(spec, data, |pointer| origin(resolved, pointer));
        if !missing.is_empty() {
            return Err(ServiceError::invalid(missing));
        }
        let mut warnings = warnings(resolved, &source.base, preview, data);
        warnings.extend(missing_images(spec, data));
        warnings.extend(unreadable_truths(spec, &preview.truths));
        let context = preview.size.info.max_positions as u64;
        warnings.extend(row_warnings(spec, data, context));
        if let Some(name) = &spec.eval_dataset {
            let held_out = self.store.dataset(name).await?;
            let evaluated = JobSpec { method: Method::Eval(config::method::eval()), ..spec.clone() };
            warnings.extend(row_warnings(&evaluated, &held_out, context));
        }
        self.check_ranks(spec).await?;
        warnings.extend(self.missing_device(spec).await?);
        Ok((warnings, self.memory_check(spec, preview).await?))
    }

    /// Settles a job's settings, and checks everything but its prompts.
    pub(in crate::service) async fn settle(&self, request: &Value) -> Result<SettledJob> {
        let text = |name: &str| request.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // Recommendations need the two names; without them `resolve` says what is missing.
        let (Some(model), Some(dataset)) = (text("model"), text("dataset")) else {
            let resolved = resolve(request, &[]).map_err(ServiceError::invalid)?;
            return Err(ServiceError::Internal(format!("job `{}` resolved without its names", resolved.spec.name)));
        };
        let source = self.models().start_of_job(model, text("after")).await;
        let data = self.ready_dataset(dataset, "/dataset").await;
        let ((source, awaited), data) = both(source, data)?;
        let model_name = format!("model `{}`", source.base.name);
        let data_name = format!("data set `{}`", data.name);
        let recommended = [
            Recommended { source: &model_name, settings: &source.base.recommended },
            Recommended { source: &data_name, settings: &data.recommended },
        ];
        let mut resolved = resolve(request, &recommended).map_err(ServiceError::invalid)?;
        if request.get("project").is_none() {
            resolved.spec.project.clone_from(&self.caller.project);
        }
        // `run_…@best` means the best of today: a job that is resumed must start from the same weights.
        resolved.spec.model.clone_from(&source.id);
        if let Some(after) = awaited.filter(|_| resolved.spec.after.is_none()) {
            resolved.spec.after = Some(after);
            resolved.origins.insert("/after".to_owned(), origin(&resolved, "/model"));
        }
        if let Some(name) = resolved.spec.eval_dataset.clone() {
            let held_out = self.ready_dataset(&name, "/eval_dataset").await?;
            if held_out.eval_rows == 0 {
                let detail = format!("data set `{name}` has no held-out rows; register it with `split`: `eval`");
                return Err(ServiceError::field("/eval_dataset", detail));
            }
        }
        if let Method::Eval(method) = &resolved.spec.method {
            let rows = if method.split == RowSplit::Eval { data.eval_rows } else { data.train_rows };
            resolved.spec.steps = resolved.spec.evaluation_chunks(rows).max(1);
        }
        let alert_webhook = take_webhook(&mut resolved.spec.alerts, &self.settings.webhook_hosts)?;
        check_trackers(&resolved.spec.report_to, &self.settings.trackers)?;
        let reward = self.open_reward(&mut resolved.spec.reward).await?;
        if resolved.spec.method.is_reinforcement() {
            check_filter(reward.as_ref(), resolved.spec.rollout.filter.as_ref())
                .map_err(|error| ServiceError::field("/rollout/filter/metric", error.to_string()))?;
        }
        self.check_targets(&source, &resolved.spec).await?;
        self.check_engine(&source, &resolved.spec).await?;
        Ok(SettledJob { resolved, source, data, alert_webhook })
    }

    async fn ready_dataset(&self, name: &str, pointer: &str) -> Result<DatasetRecord> {
        match self.store.dataset(name).await {
            Ok(dataset) if dataset.state == DatasetState::Ready => Ok(dataset),
            Ok(dataset) => {
                let detail = format!("data set `{name}` is {}, but must be ready", dataset.state.name());
                Err(ServiceError::field(pointer, detail))
            }
            Err(StoreError::NotFound { .. }) => {
                let known = self.store.datasets().await?;
                let names: Vec<&str> = known.iter().map(|dataset| dataset.name.as_str()).collect();
                let detail = format!("there is no data set `{name}`: {}", suggestion(name, &names));
                Err(ServiceError::field(pointer, detail))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Errors of the store about `after`, as errors of the field.
pub(in crate::service) fn after_fault(error: StoreError) -> ServiceError {
    match error {
        StoreError::NotFound { id, .. } => ServiceError::field("/after", format!("there is no job `{id}`")),
        StoreError::Conflict(detail) => ServiceError::field("/after", detail),
        other => other.into(),
    }
}

/// Both results, or the field errors of both.
fn both<A, B>(a: Result<A>, b: Result<B>) -> Result<(A, B)> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(ServiceError::Invalid { errors: mut all, .. }), Err(ServiceError::Invalid { errors, .. })) => {
            all.extend(errors);
            Err(ServiceError::invalid(all))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// What works but may not be meant.
fn warnings(resolved: &ResolvedJob, model: &Model, preview: &Preview, data: &DatasetRecord) -> Vec<JobWarning> {
    let spec = &resolved.spec;
    let mut warnings = Vec::new();
    let mut warn = |code: &str, pointer: &str, detail: String| {
        warnings.push(JobWarning { code: code.to_owned(), pointer: pointer.to_owned(), detail });
    };
    // What the template begins itself need not be in the prompt.
    let opens = preview.opened.starts_with("<think>");
    let asked = |text: &str| (opens || text.contains("<think>")) && text.contains("\\boxed");
    if uses_format(&spec.reward) && !asked(&preview.prompt.text) && !asked(&text_of(&model.card)) {
        let begun = if opens { " (the chat template writes the beginning)" } else { "" };
        let detail = format!(
            "the reward `format` expects `<think> … </think> … \\boxed{{…}}`{begun}, but the prompt never asks for it \
             and the model's card does not promise it: ask for it in `data.system` or `data.prompt_template`"
        );
        warn("format_not_asked", "/reward", detail);
    }
    if preview.thinks_again && needs_demonstrations(spec) {
        let detail = "the model's chat template closes an empty thought (`<think> </think>`) before every response, \
                      and the demonstrations begin with a thought of their own: the model learns to think twice; use a \
                      template that leaves the thought open, or demonstrations without one";
        warn("second_thought", "/model", detail.to_owned());
    }
    for note in &preview.size.info.notes {
        warn("model", "/model", note.clone());
    }
    if !preview.unknown_words.is_empty() {
        let words = preview.unknown_words.join(" ");
        warn(
            "out_of_vocabulary",
            "/dataset",
            format!("these words of the prompt are not in the model's vocabulary: {words}"),
        );
    }
    let named = resolved.origins.iter().filter(|(_, origin)| **origin == Origin::Request);
    for (pointer, _) in named.filter(|(pointer, _)| is_unused(pointer, &spec.method)) {
        warn("unused", pointer, format!("a job of method `{}` does not use it", spec.method.name()));
    }
    if !spec.method.trains() {
        return warnings;
    }
    if spec.batch.prompts_per_step > data.train_rows {
        let detail = format!(
            "a step needs {} prompts, but the data set has {} rows",
            spec.batch.prompts_per_step, data.train_rows
        );
        warn("few_rows", "/batch/prompts_per_step", detail);
    }
    if data.eval_rows == 0 && spec.eval_dataset.is_none() {
        let detail =
            "the data set has no held-out rows, so accuracy is not measured: name another one as `eval_dataset`";
        warn("no_held_out_rows", "/eval_dataset", detail.to_owned());
    }
    let rate = "/optimizer/learning_rate";
    if model.parameters < SMALL_MODEL
        && spec.optimizer.learning_rate <= 1e-6
        && origin(resolved, rate) == Origin::Default
    {
        let detail = "the default learning rate of 1e-6 is meant for models with billions of parameters; a small one \
                     may not learn";
        warn("low_learning_rate", rate, detail.to_owned());
    }
    warnings
}

/// Below this many parameters the published learning rate is too low to learn anything.
const SMALL_MODEL: u64 = 100_000_000;

fn origin(resolved: &ResolvedJob, pointer: &str) -> Origin {
    resolved.origins.get(pointer).copied().unwrap_or(Origin::Default)
}

/// Every text of a card, joined.
fn text_of(card: &Value) -> String {
    match card {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join("\n"),
        Value::Object(fields) => fields.values().map(text_of).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

fn uses_format(reward: &RewardSpec) -> bool {
    match reward {
        RewardSpec::Format => true,
        RewardSpec::Weighted { parts } => parts.iter().any(|part| part.weight != 0.0 && uses_format(&part.reward)),
        _ => false,
    }
}
