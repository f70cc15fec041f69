//! From rows of a data set to prompts for the model.

use std::sync::Arc;

use crate::data::{Dataset, Example, Split};
use crate::domain::message::Message;
use crate::domain::spec::{DataSpec, Overlong};
use crate::domain::template_arguments::TemplateArguments;
use crate::model::{ModelInfo, Sequence};
use crate::prompt::{Processor, PromptError, PromptLimits, PromptTemplate, RenderedPrompt, messages_for};

use super::error::TrainError;
use super::order::RowOrder;

/// This many skipped rows in succession end the run: the limit does not fit the data set.
const MAX_SKIPPED: u64 = 10_000;

/// One prompt of a batch.
#[derive(Debug)]
pub struct Prompt {
    /// Position in the order of rows; selects the prompt's random streams.
    pub cursor: u64,
    /// The row.
    pub example: Example,
    /// The row as messages; the parts of its images name them by number.
    pub messages: Vec<Message>,
    /// The rendered prompt.
    pub rendered: RenderedPrompt,
    /// Its tokens and images.
    pub sequence: Sequence,
}

/// Renders rows of one data set.
pub struct PromptSource {
    processor: Arc<Processor>,
    dataset: Arc<dyn Dataset>,
    split: Split,
    template: PromptTemplate,
    system: Option<String>,
    arguments: TemplateArguments,
    limits: PromptLimits,
    overlong: Overlong,
    /// Most tokens of a prompt with its demonstration, where demonstrations are trained on.
    demonstrated: Option<usize>,
}

impl PromptSource {
    /// A source of `split`'s rows. The longest prompt also leaves room for the response in the model's context.
    pub fn new(
        processor: Arc<Processor>,
        dataset: Arc<dyn Dataset>,
        split: Split,
        spec: &DataSpec,
        info: &ModelInfo,
        max_new_tokens: u64,
    ) -> Result<Self, TrainError> {
        let context = info.max_positions as u64;
        let room = context.checked_sub(max_new_tokens).filter(|room| *room > 0).ok_or_else(|| TrainError::Setting {
            field: "rollout.max_new_tokens",
            problem: format!("{max_new_tokens} leaves no room for a prompt in the model's context of {context} tokens"),
        })?;
        Ok(Self {
            processor,
            dataset,
            split,
            template: PromptTemplate::parse(&spec.prompt_template).map_err(TrainError::PromptSettings)?,
            system: spec.system.clone(),
            arguments: TemplateArguments::thinking(spec.enable_thinking),
            limits: PromptLimits {
                min_pixels: spec.min_pixels,
                max_pixels: spec.max_pixels,
                max_prompt_tokens: spec.max_prompt_tokens.min(room) as usize,
            },
            overlong: spec.overlong,
            demonstrated: None,
        })
    }

    /// The same for training on demonstrations: prompt and demonstration must fit into the model's context.
    #[must_use]
    pub fn with_demonstrations(self, info: &ModelInfo) -> Self {
        Self { demonstrated: Some(info.max_positions), ..self }
    }

    /// The data set.
    pub fn dataset(&self) -> &dyn Dataset {
        self.dataset.as_ref()
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.dataset.len(self.split)
    }

    /// Tokenizer, template and image processor.
    pub fn processor(&self) -> &Processor {
        &self.processor
    }

    /// The same, for another source.
    pub(super) fn shared_processor(&self) -> Arc<Processor> {
        Arc::clone(&self.processor)
    }

    /// The next `count` prompts of `order` from position `cursor`, which moves on. Rows that do not fit are skipped
    /// where the job says so.
    pub fn next_prompts(&self, order: &RowOrder, cursor: &mut u64, count: u64) -> Result<Vec<Prompt>, TrainError> {
        let mut prompts = Vec::with_capacity(count as usize);
        let mut skipped = 0;
        while (prompts.len() as u64) < count {
            let at = *cursor;
            *cursor += 1;
            match self.prompt(at, order.row(at))? {
                Some(prompt) => prompts.push(prompt),
                None => skipped += 1,
            }
            if skipped >= self.rows().min(MAX_SKIPPED) {
                return Err(TrainError::Setting {
                    field: "data.max_prompt_tokens",
                    problem: format!(
                        "{skipped} rows in succession do not fit: they have more than {} tokens, or pictures of a \
                         shape that the model refuses; raise the limit or lower `data.max_pixels`",
                        self.limits.max_prompt_tokens
                    ),
                });
            }
        }
        Ok(prompts)
    }

    /// The prompt of row `row`; none where the model cannot read it, because of its length or the shape of a picture,
    /// and the job drops such rows.
    pub fn prompt(&self, cursor: u64, row: u64) -> Result<Option<Prompt>, TrainError> {
        let example = self.dataset.example(self.split, row)?;
        let place = example.place(self.split);
        let failed =
            |source| TrainError::Prompt { dataset: self.dataset.name().to_owned(), place: place.clone(), source };
        let text = self.template.apply(&example.prompt).map_err(failed)?;
        let messages = messages_for(&text, example.images.len(), self.system.as_deref().or(example.system.as_deref()))
            .map_err(failed)?;
        let rendered = self.processor.render_with(&messages, &example.images, &self.limits, true, &self.arguments);
        let rendered = match rendered.and_then(|rendered| self.fits(rendered, &example)) {
            Err(error) if error.does_not_fit() && self.overlong == Overlong::Drop => {
                return Ok(None);
            }
            other => other.map_err(failed)?,
        };
        let sequence = Sequence { ids: rendered.ids.clone(), images: rendered.images.clone() };
        Ok(Some(Prompt { cursor, example, messages, rendered, sequence }))
    }

    /// Fails where a demonstration that is trained on does not fit after its prompt.
    fn fits(&self, rendered: RenderedPrompt, example: &Example) -> Result<RenderedPrompt, PromptError> {
        let (Some(limit), Some(text)) = (self.demonstrated, &example.demonstration) else { return Ok(rendered) };
        // One more token ends the response.
        let tokens = rendered.ids.len() + self.processor.encode_response(rendered.continuation(text))?.len() + 1;
        if tokens <= limit { Ok(rendered) } else { Err(PromptError::DemonstrationTooLong { tokens, limit }) }
    }
}
