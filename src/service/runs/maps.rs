//! Attention maps of a stored sample: computed anew from the checkpoint nearest to the sample's step.
//!
//! Maps are not stored: those of one group of eight responses would take more room than the rest of a step. What a
//! model looked at changes slowly, and the answer names the checkpoint, so that its maps are not mistaken for those of
//! the moment.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::data::Split;
use crate::domain::message::{Content, Message, Part};
use crate::domain::run::Run;
use crate::domain::sample::SampleRecord;
use crate::domain::spec::JobSpec;
use crate::domain::template_arguments::TemplateArguments;
use crate::prompt::{PromptTemplate, messages_for};
use crate::service::core::pool::Stop;
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};
use crate::serving::answer::ScoredResponse;
use crate::serving::request::{AttentionOptions, ScoreRequest};

/// Ends a response that the length limit did not cut off.
const END: &str = "<|im_end|>";

/// Attention of a sampled response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SampleMaps {
    /// The sample.
    pub sample_id: String,
    /// The step it was sampled at.
    pub sample_step: u64,
    /// Which response of its group.
    pub response: usize,
    /// The model that computed the maps: a checkpoint, or the model that the run started from.
    pub model: String,
    /// The step of that checkpoint; 0 for the model at the start.
    pub model_step: u64,
    /// The response's tokens with their log-probs, focus and attention under that checkpoint, and the maps.
    pub scored: ScoredResponse,
}

impl Runs {
    /// Maps of one response of a sample.
    pub async fn sample_maps(
        &self,
        run_id: &str,
        sample_id: &str,
        response: usize,
        attention: AttentionOptions,
    ) -> Result<SampleMaps> {
        let run = self.store.run(run_id).await?;
        let sample = self.store.sample(run_id, sample_id).await?;
        let Some(sampled) = sample.group.responses.get(response) else {
            let detail = format!("the sample has {} responses; `response` counts from 0", sample.group.responses.len());
            return Err(ServiceError::field("?response", detail));
        };
        let (model, model_step) = self.nearest(&run, sample.step).await?;
        let job = self.store.job(&run.job_id).await?;
        let spec = job.spec.known().ok_or_else(|| {
            ServiceError::Conflict(format!(
                "job `{}` was stored by a newer version, which is needed for its maps",
                job.id
            ))
        })?;
        let messages = self.messages_of(&sample, spec).await?;
        let written = (sampled.text.as_str(), sampled.cut_off);
        let (model, scored) = self.read_response(&model, messages, written, attention).await?;
        let (sample_id, sample_step) = (sample.id, sample.step);
        Ok(SampleMaps { sample_id, sample_step, response, model, model_step, scored })
    }

    /// The checkpoint of a run that is nearest to `step`, the earlier of two; the model at the start counts as step 0.
    pub(super) async fn nearest(&self, run: &Run, step: u64) -> Result<(String, u64)> {
        let mut states = vec![(run.model.clone(), 0)];
        states.extend(self.store.run_checkpoints(&run.id).await?.into_iter().map(|c| (c.id, c.step)));
        let nearest = states.into_iter().min_by_key(|(_, at)| (at.abs_diff(step), *at));
        Ok(nearest.unwrap_or_else(|| (run.model.clone(), 0)))
    }

    /// The conversation that a sample's prompt was made from: the row's text in the job's template, with the stored
    /// images.
    async fn messages_of(&self, sample: &SampleRecord, spec: &JobSpec) -> Result<Vec<Message>> {
        let name = if sample.group.eval { spec.eval_dataset.as_ref().unwrap_or(&spec.dataset) } else { &spec.dataset };
        let columns = (name == &spec.dataset).then_some(&spec.data.columns);
        let record = self.store.dataset(name).await?;
        let dataset = self.datasets().open(&record, columns).await?;
        let (row, split) = (sample.group.row, if sample.group.eval { Split::Eval } else { Split::Train });
        let unusable = |error: crate::prompt::PromptError| ServiceError::Conflict(error.to_string());
        let source = spec.data.prompt_template.clone();
        let write = move |_: &Stop| {
            let example = dataset.example(split, row).map_err(|error| ServiceError::Conflict(error.to_string()))?;
            let text = PromptTemplate::parse(&source).and_then(|template| template.apply(&example.prompt));
            Ok((text.map_err(unusable)?, example.system))
        };
        let (text, own) = self.previews.run(write).await?;
        conversation(&text, &sample.group.images, spec.data.system.as_deref().or(own.as_deref()))
    }

    /// A response that was written before, read by a model.
    pub(super) async fn read_response(
        &self,
        model: &str,
        messages: Vec<Message>,
        (text, cut_off): (&str, bool),
        attention: AttentionOptions,
    ) -> Result<(String, ScoredResponse)> {
        let request = ScoreRequest {
            model: model.to_owned(),
            messages: Some(messages),
            prompt: None,
            images: None,
            chat_template_kwargs: TemplateArguments::default(),
            responses: vec![format!("{text}{}", if cut_off { "" } else { END })],
            rewards: None,
            method: None,
            attention,
            ablate: None,
        };
        let answer = self.inference().score(request).await?;
        let scored = answer.responses.into_iter().next();
        let scored = scored.ok_or_else(|| ServiceError::Internal("no response was scored".to_owned()))?;
        Ok((answer.model, scored))
    }
}

/// The conversation of a prompt whose images are PNGs in base64.
pub(super) fn conversation(text: &str, images: &[String], system: Option<&str>) -> Result<Vec<Message>> {
    let unusable = |error: crate::prompt::PromptError| ServiceError::Conflict(error.to_string());
    let mut messages = messages_for(text, images.len(), system).map_err(unusable)?;
    let mut pictures = images.iter();
    for part in messages.iter_mut().flat_map(parts) {
        if let (Part::Image { image, .. }, Some(png)) = (part, pictures.next()) {
            *image = format!("data:image/png;base64,{png}");
        }
    }
    Ok(messages)
}

/// The image parts of a message, in order.
fn parts(message: &mut Message) -> Vec<&mut Part> {
    match &mut message.content {
        Content::Text(_) => Vec::new(),
        Content::Parts(parts) => parts.iter_mut().filter(|part| matches!(part, Part::Image { .. })).collect(),
    }
}
