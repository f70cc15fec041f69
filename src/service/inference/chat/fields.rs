//! Fields of `OpenAI`'s request that have no effect here, and fields that are accepted with neutral values only.

use serde_json::{Map, Value};

use crate::domain::field_error::FieldError;
use crate::domain::nearest::{nearest, suggestion};

/// Fields without an effect on an answer, whatever their value.
const IGNORED: [&str; 12] = [
    "cache_salt",
    "metadata",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "request_id",
    "rid",
    "safety_identifier",
    "service_tier",
    "store",
    "user",
];

/// A field's name, whether a value asks for what happens anyway, and what to do where it does not.
type Neutral = (&'static str, fn(&Value) -> bool, &'static str);

const LEAVE_OUT: &str = "leave it out";
const NO_TOOLS: &str = "tools are not supported";
const NO_GRAMMAR: &str = "structured output is not supported";
const TEMPLATE: &str = "the model's own chat template is used as it is";

/// Fields that are accepted only with the value of what happens anyway: those of `OpenAI`'s request, and those that
/// `vLLM`, `SGLang` and `mistral.rs` add to it. Null is as good as nothing for all of them.
const NEUTRAL: [Neutral; 71] = [
    ("adapters", is_empty, LEAVE_OUT),
    ("add_generation_prompt", is_true, TEMPLATE),
    ("add_special_tokens", is_false, TEMPLATE),
    ("allowed_token_ids", is_empty, LEAVE_OUT),
    ("audio", never, "only text is generated"),
    ("bad_words", is_empty, LEAVE_OUT),
    ("best_of", is_one, "request `n` responses and choose one"),
    ("chat_template", never, TEMPLATE),
    ("continue_final_message", is_false, TEMPLATE),
    ("custom_logit_processor", never, LEAVE_OUT),
    ("custom_params", is_empty, LEAVE_OUT),
    ("documents", is_empty, LEAVE_OUT),
    ("dry_allowed_length", never, LEAVE_OUT),
    ("dry_base", never, LEAVE_OUT),
    ("dry_multiplier", is_zero, "leave it out or send 0"),
    ("dry_sequence_breakers", is_empty, LEAVE_OUT),
    ("ebnf", never, NO_GRAMMAR),
    ("echo", is_false, "the prompt is not repeated"),
    ("frequency_penalty", is_zero, "leave it out or send 0"),
    ("function_call", is_no_tool, NO_TOOLS),
    ("functions", is_empty, NO_TOOLS),
    ("grammar", never, NO_GRAMMAR),
    ("guided_choice", is_empty, NO_GRAMMAR),
    ("guided_decoding_backend", never, NO_GRAMMAR),
    ("guided_grammar", never, NO_GRAMMAR),
    ("guided_json", never, NO_GRAMMAR),
    ("guided_regex", never, NO_GRAMMAR),
    ("guided_whitespace_pattern", never, NO_GRAMMAR),
    ("ignore_eos", is_false, "responses end at the end token"),
    ("include_reasoning", is_true, LEAVE_OUT),
    ("include_stop_str_in_output", is_false, "stop strings are not part of a response"),
    ("kv_transfer_params", is_empty, LEAVE_OUT),
    ("length_penalty", is_one, "leave it out or send 1"),
    ("logit_bias", is_empty, LEAVE_OUT),
    ("logits_processors", is_empty, LEAVE_OUT),
    ("lora_path", never, "name the checkpoint as `model`"),
    ("min_p", is_zero, "leave it out or send 0; `top_p` is supported"),
    ("min_tokens", is_zero, "leave it out or send 0"),
    ("mm_processor_kwargs", is_empty, "set `min_pixels` and `max_pixels` next to each `image_url`"),
    ("modalities", is_text_only, "only [\"text\"] is supported"),
    ("moderation", never, LEAVE_OUT),
    ("no_stop_trim", is_false, "stop strings are not part of a response"),
    ("presence_penalty", is_zero, "leave it out or send 0"),
    ("priority", is_zero, "requests are answered in the order of arrival"),
    ("prompt_logprobs", is_zero, "use POST /v1/score for the log-probs of given texts"),
    ("reasoning_effort", is_none_text, LEAVE_OUT),
    ("regex", never, NO_GRAMMAR),
    ("repetition_penalty", is_one, "leave it out or send 1"),
    ("response_format", is_plain_text, "only {\"type\": \"text\"} is supported"),
    ("return_hidden_states", is_false, LEAVE_OUT),
    ("return_tokens_as_token_ids", is_false, LEAVE_OUT),
    ("separate_reasoning", is_true, LEAVE_OUT),
    ("session_params", is_empty, LEAVE_OUT),
    ("spaces_between_special_tokens", is_true, LEAVE_OUT),
    ("stop_regex", is_empty, "use `stop`"),
    ("stop_token_ids", is_empty, "use `stop`"),
    ("stream_reasoning", is_true, LEAVE_OUT),
    ("structured_outputs", is_empty, NO_GRAMMAR),
    ("tool_choice", is_no_tool, NO_TOOLS),
    ("tools", is_empty, NO_TOOLS),
    ("top_k", is_all, "leave it out or send -1; `top_p` is supported"),
    ("top_n_sigma", is_zero, LEAVE_OUT),
    ("truncate_prompt_tokens", never, "prompts are never truncated"),
    ("truncate_sequence", is_false, "prompts are never truncated"),
    ("typical_p", is_one, "leave it out or send 1; `top_p` is supported"),
    ("use_beam_search", is_false, "responses are sampled"),
    ("verbosity", is_medium, LEAVE_OUT),
    ("vllm_xargs", is_empty, LEAVE_OUT),
    ("web_search_options", never, "there is no web search"),
    ("xtc_probability", is_zero, LEAVE_OUT),
    ("xtc_threshold", never, LEAVE_OUT),
];

/// Fields of a message that only pass where they are empty.
const MESSAGE_NEUTRAL: [&str; 8] = [
    "annotations",
    "audio",
    "function_call",
    "reasoning",
    "reasoning_content",
    "refusal",
    "tool_call_id",
    "tool_calls",
];

/// Faults of the fields that a request has beyond those that are read; `known` are the latter's names.
pub(super) fn faults(other: &Map<String, Value>, known: &[&str]) -> Vec<FieldError> {
    let fault = |(name, value): (&String, &Value)| {
        if IGNORED.contains(&name.as_str()) || value.is_null() && is_name(name) {
            return None;
        }
        let detail = match NEUTRAL.iter().find(|(neutral, ..)| neutral == name) {
            Some((_, passes, _)) if passes(value) => return None,
            Some((_, _, way_out)) => format!("`{name}` is not supported: {way_out}"),
            None => {
                let others = IGNORED.into_iter().chain(NEUTRAL.iter().map(|(name, ..)| *name));
                let way_out = match nearest(name, others) {
                    Some(near) if nearest(name, known.iter().copied()).is_none() => format!("did you mean `{near}`?"),
                    _ => suggestion(name, known),
                };
                format!("unknown field `{name}`: {way_out}")
            }
        };
        Some(FieldError::new(format!("/{name}"), detail))
    };
    other.iter().filter_map(fault).collect()
}

/// Errors in the additional fields of message `index`.
pub(super) fn message_faults(index: usize, other: &Map<String, Value>) -> Vec<FieldError> {
    let fault = |(name, value): (&String, &Value)| {
        let detail =
            if name == "name" || MESSAGE_NEUTRAL.contains(&name.as_str()) && (value.is_null() || is_empty(value)) {
                return None;
            } else if MESSAGE_NEUTRAL.contains(&name.as_str()) {
                format!("`{name}` is not supported: tools and audio are not supported; send text and images")
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

fn is_one(value: &Value) -> bool {
    value.as_f64() == Some(1.0)
}

/// All tokens of the vocabulary.
fn is_all(value: &Value) -> bool {
    value.as_f64().is_some_and(|count| count == 0.0 || count == -1.0)
}

fn is_true(value: &Value) -> bool {
    *value == Value::Bool(true)
}

fn is_false(value: &Value) -> bool {
    *value == Value::Bool(false)
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
