//! The numbers of a request, checked before anything is read: all errors at once.

use serde_json::Value;

use super::ServingError;
use super::model::ServedModel;
use super::request::{AttentionOptions, GenerateRequest, Layers, ScoreRequest};
use crate::config::serving::{
    EngineLimits, MAX_RESPONSES, MAX_STOP_BYTES, MAX_STOPS, TEMPERATURE, TOP_LOGPROBS, TOP_P,
};
use crate::domain::field_error::FieldError;
use crate::domain::kind::Kind;
use crate::model::ModelInfo;

/// Checks a generation's numbers. They are checked together, so that all errors are reported at once.
///
/// # Errors
/// Every bad field.
pub(super) fn check_generate(
    request: &GenerateRequest,
    served: &ServedModel,
    limits: &EngineLimits,
) -> Result<(), ServingError> {
    let context = served.model.info().max_positions;
    let mut check = Check::default();
    if let Some(tokens) = request.max_new_tokens {
        check.range("/max_new_tokens", tokens, 1, context);
    }
    check.range("/n", request.n, 1, limits.batch_rows);
    check.kind("/logprobs", TOP_LOGPROBS, &request.logprobs.into());
    check.kind("/temperature", TEMPERATURE, &request.temperature.into());
    check.kind("/top_p", TOP_P, &request.top_p.into());
    check.range_of("/stop", "stop strings", request.stop.len(), 0, MAX_STOPS);
    for (index, stop) in request.stop.iter().enumerate() {
        check.that(!stop.is_empty() && stop.len() <= MAX_STOP_BYTES, &format!("/stop/{index}"), || {
            format!("has {} bytes, but a stop string has 1 to {MAX_STOP_BYTES}", stop.len())
        });
    }
    check.attention(&request.attention, served.model.info());
    check.done()
}

/// Checks a score request's lists.
///
/// # Errors
/// Every bad field.
pub(super) fn check_score(request: &ScoreRequest, served: &ServedModel) -> Result<(), ServingError> {
    let mut check = Check::default();
    let responses = request.responses.len();
    check.range_of("/responses", "responses", responses, 1, MAX_RESPONSES);
    if let Some(rewards) = &request.rewards {
        check.that(rewards.len() == responses, "/rewards", || {
            format!("has {} rewards for {responses} responses: give one reward per response, or null", rewards.len())
        });
    }
    check.attention(&request.attention, served.model.info());
    check.done()
}

#[derive(Default)]
struct Check(Vec<FieldError>);

impl Check {
    fn that(&mut self, holds: bool, pointer: &str, detail: impl FnOnce() -> String) {
        if !holds {
            self.0.push(FieldError::new(pointer, detail()));
        }
    }

    fn kind(&mut self, pointer: &str, kind: Kind, value: &Value) {
        self.0.extend(kind.complaint(value).map(|complaint| FieldError::new(pointer, complaint)));
    }

    fn range(&mut self, pointer: &str, value: usize, min: usize, max: usize) {
        self.that((min..=max).contains(&value), pointer, || {
            format!("is {value}, but must be a whole number from {min} to {max}")
        });
    }

    fn range_of(&mut self, pointer: &str, what: &str, value: usize, min: usize, max: usize) {
        self.that((min..=max).contains(&value), pointer, || {
            format!("has {value} {what}, but must have {min} to {max}")
        });
    }

    fn attention(&mut self, options: &AttentionOptions, info: &ModelInfo) {
        if let Some([first, end]) = options.tokens_range {
            self.that(first < end, "/attention/tokens_range", || {
                format!("is [{first}, {end}], but must be [first, end] with first < end; end is not included")
            });
        }
        if let Layers::List(list) = &options.layers {
            self.that(!list.is_empty(), "/attention/layers", || {
                "is empty: name at least one layer, or \"mean\"".to_owned()
            });
            for (index, layer) in list.iter().enumerate() {
                let pointer = format!("/attention/layers/{index}");
                self.that(*layer < info.layers, &pointer, || {
                    format!("is {layer}, but the model has layers 0 to {}", info.layers - 1)
                });
                self.that(*layer >= info.layers || info.attention_layers.contains(layer), &pointer, || {
                    format!("is {layer}, but only these layers have attention: {}", listed(&info.attention_layers))
                });
            }
        }
    }

    fn done(self) -> Result<(), ServingError> {
        if self.0.is_empty() { Ok(()) } else { Err(ServingError::Invalid(self.0)) }
    }
}

/// Numbers as an error lists them.
fn listed(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
