//! A look at the first row of a data set as the model would read it, which finds what cannot work.

use std::path::Path;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::data::{Dataset, Split};
use crate::domain::dataset::DatasetRecord;
use crate::domain::spec::{JobSpec, Method, RowSplit};
use crate::domain::template_arguments::TemplateArguments;
use crate::footprint::RowShape;
use crate::model;
use crate::model::footprint::ModelSize;
use crate::prompt::{Processor, PromptError, PromptLimits, PromptTemplate, messages_for};
use crate::service::jobs::Jobs;
use crate::service::models::ModelSource;
use crate::service::{Result, ServiceError};

/// The first row of the data set as a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PromptPreview {
    /// The row.
    pub row: u64,
    /// The text after the chat template, one placeholder an image.
    pub text: String,
    /// The ground truth.
    pub answer: String,
    /// Tokens of the prompt, image tokens included.
    pub tokens: u64,
    /// Those of images.
    pub image_tokens: u64,
    /// Its images.
    pub images: Vec<ImagePreview>,
}

/// An image of a [`PromptPreview`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImagePreview {
    /// Width and height as it came.
    pub original: [u32; 2],
    /// Width and height as the model sees it.
    pub processed: [u32; 2],
    /// Its tokens.
    pub tokens: u64,
}

/// Rows whose ground truths are looked at.
const TRUTHS: u64 = 8;

/// Results of rendering the first rows.
pub(in crate::service) struct Preview {
    pub(super) prompt: PromptPreview,
    pub(super) unknown_words: Vec<String>,
    /// What the chat template begins the response with.
    pub(super) opened: String,
    /// Does the first demonstration think again where the template has closed a thought?
    pub(super) thinks_again: bool,
    /// Ground truths of the first rows.
    pub(super) truths: Vec<Vec<String>>,
    /// Rows of the split that the job reads.
    pub(super) rows: u64,
    pub(super) size: ModelSize,
    /// The row with the longest response.
    pub(super) row: RowShape,
}

impl Jobs {
    /// Renders the data set's first row as the model would read it, and reports what cannot work.
    pub(in crate::service) async fn preview(
        &self,
        source: &ModelSource,
        spec: &JobSpec,
        data: &DatasetRecord,
    ) -> Result<Preview> {
        let dataset = self.datasets().open(data, Some(&spec.data.columns)).await.map_err(|error| match error {
            ServiceError::Conflict(detail) => ServiceError::field("/dataset", detail),
            other => other,
        })?;
        // A checkpoint keeps its model's tokenizer, template and sizes.
        let dir = self.models().dir(&source.base).await?;
        let spec = spec.clone();
        self.previews.run(move |_| look(&dir, &spec, dataset.as_ref())).await
    }
}

fn look(dir: &Path, spec: &JobSpec, dataset: &dyn Dataset) -> Result<Preview> {
    let at =
        |pointer: &'static str| move |error: &dyn std::fmt::Display| ServiceError::field(pointer, error.to_string());
    let size = model::size(dir).map_err(|error| at("/model")(&error))?;
    let info = &size.info;
    let processor = Processor::from_dir(dir, info).map_err(|error| at("/model")(&error))?;
    let split = match &spec.method {
        Method::Eval(method) if method.split == RowSplit::Eval => Split::Eval,
        _ => Split::Train,
    };
    if dataset.len(split) == 0 {
        return Err(no_rows(spec, split));
    }
    let example = dataset.example(split, 0).map_err(|error| at("/dataset")(&error))?;
    if needs_demonstrations(spec) && example.demonstration.is_none() {
        let detail = format!("data set `{}` has no demonstrations, which method `sft` learns from", spec.dataset);
        return Err(ServiceError::field("/method/type", detail));
    }
    let text = PromptTemplate::parse(&spec.data.prompt_template)
        .and_then(|template| template.apply(&example.prompt))
        .map_err(prompt_fault)?;
    let system = spec.data.system.as_deref().or(example.system.as_deref());
    let messages = messages_for(&text, example.images.len(), system).map_err(prompt_fault)?;
    let limits = PromptLimits {
        min_pixels: spec.data.min_pixels,
        max_pixels: spec.data.max_pixels,
        max_prompt_tokens: spec.data.max_prompt_tokens as usize,
    };
    let arguments = TemplateArguments::thinking(spec.data.enable_thinking);
    let rendered =
        processor.render_with(&messages, &example.images, &limits, true, &arguments).map_err(prompt_fault)?;
    let (tokens, room) = (rendered.ids.len() as u64, info.max_positions as u64);
    if tokens + spec.rollout.max_new_tokens > room {
        let detail = format!(
            "`max_new_tokens` is {}; with a prompt of {tokens} tokens it exceeds the model's {room} positions: at most \
            {} fit",
            spec.rollout.max_new_tokens,
            room.saturating_sub(tokens)
        );
        return Err(ServiceError::field("/rollout/max_new_tokens", detail));
    }
    let images: Vec<ImagePreview> = rendered
        .layout
        .iter()
        .map(|image| ImagePreview {
            original: image.original.into(),
            processed: image.processed.into(),
            tokens: (image.rows * image.cols) as u64,
        })
        .collect();
    let image_tokens: u64 = images.iter().map(|image| image.tokens).sum();
    let row = RowShape {
        prompt_tokens: rendered.ids.len(),
        image_tokens: image_tokens as usize,
        response_tokens: spec.rollout.max_new_tokens as usize,
        images: rendered.images.iter().map(|image| image.grid).collect(),
    };
    let closed = rendered.opened.contains("</think>");
    let demonstration = example.demonstration.as_deref().unwrap_or_default();
    let thinks_again = closed && rendered.continuation(demonstration).trim_start().starts_with("<think>");
    let unknown_words = processor.tokenizer().out_of_vocabulary(&text.replace("<image>", " "));
    let prompt = PromptPreview { row: 0, text: rendered.text, answer: example.answer(), tokens, image_tokens, images };
    let first = 0..dataset.len(split).min(TRUTHS);
    let truths = first.filter_map(|row| Some(dataset.example(split, row).ok()?.answers)).collect();
    let rows = dataset.len(split);
    Ok(Preview { prompt, unknown_words, opened: rendered.opened, thinks_again, truths, rows, size, row })
}

fn no_rows(spec: &JobSpec, split: Split) -> ServiceError {
    let name = &spec.dataset;
    if split == Split::Eval {
        let detail =
            format!("data set `{name}` has no held-out rows; set `split` to `train` to evaluate its other rows");
        return ServiceError::field("/method/split", detail);
    }
    let detail = format!(
        "data set `{name}` has no rows to train on: all are held out; register it with another `split`, or name it as \
         `eval_dataset`"
    );
    ServiceError::field("/dataset", detail)
}

/// A fault of the prompt room as a complaint about the setting that caused it.
#[allow(clippy::needless_pass_by_value)]
fn prompt_fault(error: PromptError) -> ServiceError {
    let pointer = match &error {
        PromptError::PromptTemplate(_) => "/data/prompt_template",
        PromptError::TooLong { .. } | PromptError::FarTooLong { .. } | PromptError::DemonstrationTooLong { .. } => {
            "/data/max_prompt_tokens"
        }
        PromptError::Limits(_) => "/data/max_pixels",
        PromptError::TemplateArgument(_) => "/data/enable_thinking",
        PromptError::Image(_) | PromptError::DataUrl(_) | PromptError::ImageCount(_) | PromptError::Video { .. } => {
            "/dataset"
        }
        PromptError::File { .. }
        | PromptError::Config { .. }
        | PromptError::Tokenizer(_)
        | PromptError::ChatTemplate(_) => "/model",
    };
    ServiceError::field(pointer, error.to_string())
}

/// What a method needs of its data set.
pub(super) fn needs_demonstrations(spec: &JobSpec) -> bool {
    spec.method.name() == "sft"
}
