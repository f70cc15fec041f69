//! Attention maps of an evaluation's responses: the row is read from its data set again, and the response by the model
//! that wrote it, as far as that was kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Evaluation;
use crate::data::Split;
use crate::domain::eval_row::EvalRow;
use crate::domain::message::Message;
use crate::domain::spec::RowSplit;
use crate::images::{self, ImageError};
use crate::prompt::{PromptError, PromptTemplate};
use crate::service::runs::Runs;
use crate::service::runs::maps::conversation;
use crate::service::{Result, ServiceError};
use crate::serving::answer::ScoredResponse;
use crate::serving::request::AttentionOptions;

/// Which response.
#[derive(Debug, Clone)]
pub struct RowMapsQuery {
    /// Row of the data set.
    pub row: String,
    /// The newest evaluation at this step or before; none: the newest one.
    pub step: Option<u64>,
    /// Which response of the row.
    pub response: usize,
    /// Which maps.
    pub attention: AttentionOptions,
}

/// Attention of a response of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalRowMaps {
    /// The run.
    pub run_id: String,
    /// Row of the data set.
    pub row: u64,
    /// Which of its responses.
    pub response: usize,
    /// The step that was evaluated; null for a run of method `eval`.
    pub step: Option<u64>,
    /// The model that computed the maps.
    pub model: String,
    /// The step of this checkpoint: another one than `step` where the evaluated weights were not kept. Null for a run
    /// of method `eval`.
    pub model_step: Option<u64>,
    /// The row's images as PNG, base64.
    pub images: Vec<String>,
    /// The response's tokens with their log-probs, focus and attention under that model, and the maps.
    pub scored: ScoredResponse,
}

impl Runs {
    /// Maps of one response of an evaluation.
    pub async fn eval_row_maps(&self, run_id: &str, query: RowMapsQuery) -> Result<EvalRowMaps> {
        let RowMapsQuery { row, step, response, attention } = query;
        let evaluation = self.evaluation(run_id, step).await?;
        let index = &evaluation.index;
        let missing = || ServiceError::NotFound { kind: "row of this evaluation", id: row.clone() };
        let row: u64 = row.parse().map_err(|_| missing())?;
        let place = index.find(row).ok_or_else(missing)?;
        let stored = index.load(&[place])?.pop().ok_or_else(missing)?;
        let Some(written) = stored.responses.get(response) else {
            let detail = format!("the row has {} responses; `response` counts from 0", stored.responses.len());
            return Err(ServiceError::field("?response", detail));
        };
        let (messages, images) = self.prompt_of(&evaluation, &stored).await?;
        let (model, model_step) = match evaluation.step {
            None => (evaluation.run.model.clone(), None),
            Some(step) => {
                let (model, at) = self.nearest(&evaluation.run, step).await?;
                (model, Some(at))
            }
        };
        let text = (written.text.as_str(), written.cut_off);
        let (model, scored) = self.read_response(&model, messages, text, attention).await?;
        let (run_id, step) = (evaluation.run.id, evaluation.step);
        Ok(EvalRowMaps { run_id, row, response, step, model, model_step, images, scored })
    }

    /// The conversation that a row was asked in, and its images.
    async fn prompt_of(&self, evaluation: &Evaluation, stored: &EvalRow) -> Result<(Vec<Message>, Vec<String>)> {
        let (spec, name) = (&evaluation.spec, &evaluation.dataset);
        let columns = (*name == spec.dataset).then_some(&spec.data.columns);
        let record = self.store.dataset(name).await?;
        let dataset = self.datasets().open(&record, columns).await?;
        let split = if evaluation.split == RowSplit::Eval { Split::Eval } else { Split::Train };
        let (row, question, name) = (stored.row, stored.prompt.clone(), name.clone());
        let (template, system) = (spec.data.prompt_template.clone(), spec.data.system.clone());
        let unusable = |error: PromptError| ServiceError::Conflict(error.to_string());
        self.previews
            .run(move |_| {
                let example = dataset.example(split, row).map_err(|error| ServiceError::Conflict(error.to_string()))?;
                if example.prompt != question {
                    let detail = format!("row {row} of data set `{name}` has changed since it was answered");
                    return Err(ServiceError::Conflict(detail));
                }
                let text = PromptTemplate::parse(&template).and_then(|template| template.apply(&question));
                let pngs = example.images.iter().map(|image| Ok(STANDARD.encode(images::png(image)?)));
                let images = pngs.collect::<std::result::Result<Vec<_>, ImageError>>();
                let images = images.map_err(|error| ServiceError::Internal(error.to_string()))?;
                let system = system.or(example.system);
                let messages = conversation(&text.map_err(unusable)?, &images, system.as_deref())?;
                Ok((messages, images))
            })
            .await
    }
}
