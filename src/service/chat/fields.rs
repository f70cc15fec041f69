//! The fields of `OpenAI`'s request that do nothing here, and those that only pass where they ask for nothing.

use serde_json::{Map, Value};

use crate::config::nearest::suggestion;
use crate::domain::field_error::FieldError;

/// Fields that change nothing in an answer of this program, whatever they say.
const IGNORED: [&str; 9] = [
    "metadata",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

/// A field's name, whether a value asks for what happens anyway, and what to do where it does not.
type Neutral = (&'static str, fn(&Value) -> bool, &'static str);

/// Fields that can only be honoured where they ask for what happens anyway.
const NEUTRAL: [Neutral; 14] = [
    ("audio", never, "only text is generated"),
    ("frequency_penalty", is_zero, "leave it out or send 0"),
    ("function_call", is_no_tool, "tools are not supported"),
    ("functions", is_empty, "tools are not supported"),
    ("logit_bias", is_empty, "leave it out"),
    ("modalities", is_text_only, "only [\"text\"] is supported"),
    ("moderation", never, "leave it out"),
    ("presence_penalty", is_zero, "leave it out or send 0"),
    ("reasoning_effort", is_none_text, "leave it out"),
    ("response_format", is_plain_text, "only {\"type\": \"text\"} is supported"),
    ("tool_choice", is_no_tool, "tools are not supported"),
    ("tools", is_empty, "tools are not supported"),
    ("verbosity", is_medium, "leave it out"),
    ("web_search_options", never, "there is no web search"),
];

/// Fields of a message that only pass where they are empty.
const MESSAGE_NEUTRAL: [&str; 6] = ["annotations", "audio", "function_call", "refusal", "tool_call_id", "tool_calls"];

/// Faults of the fields that a request has beyond those that are read; `known` are the latter's names.
pub(super) fn faults(other: &Map<String, Value>, known: &[&str]) -> Vec<FieldError> {
    let fault = |(name, value): (&String, &Value)| {
        if IGNORED.contains(&name.as_str()) || value.is_null() && is_name(name) {
            return None;
        }
        let detail = match NEUTRAL.iter().find(|(neutral, ..)| neutral == name) {
            Some((_, passes, _)) if passes(value) => return None,
            Some((_, _, way_out)) => format!("`{name}` cannot be honoured here: {way_out}"),
            None => {
                let names: Vec<&str> =
                    known.iter().copied().chain(IGNORED).chain(NEUTRAL.iter().map(|(name, ..)| *name)).collect();
                format!("unknown field `{name}`: {}", suggestion(name, &names))
            }
        };
        Some(FieldError::new(format!("/{name}"), detail))
    };
    other.iter().filter_map(fault).collect()
}

/// Faults of the fields that the message `index` has beside role and content.
pub(super) fn message_faults(index: usize, other: &Map<String, Value>) -> Vec<FieldError> {
    let fault = |(name, value): (&String, &Value)| {
        let detail =
            if name == "name" || MESSAGE_NEUTRAL.contains(&name.as_str()) && (value.is_null() || is_empty(value)) {
                return None;
            } else if MESSAGE_NEUTRAL.contains(&name.as_str()) {
                format!("`{name}` cannot be honoured here: tools and audio are not supported; send text and images")
            } else {
                format!("unknown field `{name}`: a message has `role` and `content`")
            };
        Some(FieldError::new(format!("/messages/{index}/{name}"), detail))
    };
    other.iter().filter_map(fault).collect()
}

fn is_name(name: &str) -> bool {
    NEUTRAL.iter().any(|(neutral, ..)| *neutral == name)
}

fn never(_: &Value) -> bool {
    false
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty) || value == ""
}

fn is_no_tool(value: &Value) -> bool {
    value == "none" || value == "auto"
}

fn is_none_text(value: &Value) -> bool {
    value == "none"
}

fn is_medium(value: &Value) -> bool {
    value == "medium"
}

fn is_plain_text(value: &Value) -> bool {
    value["type"] == "text"
}

fn is_text_only(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(|entry| entry == "text"))
}
