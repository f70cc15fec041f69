//! Problems in the shape that `OpenAI`'s clients expect, for the calls that have `OpenAI`'s shape.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::problem::{self, Problem};
use crate::domain::field_error::FieldError;

/// The body of an error in `OpenAI`'s format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenAiError {
    /// The error.
    pub error: OpenAiErrorBody,
}

/// The error itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenAiErrorBody {
    /// What happened and what to do.
    pub message: String,
    /// `invalid_request_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field at fault.
    pub param: Option<String>,
    /// A stable name.
    pub code: Option<String>,
}

/// Does a request to `path` expect `OpenAI`'s errors?
pub fn expects(path: &str) -> bool {
    path.starts_with("/v1/chat/")
}

/// The status that `OpenAI`'s clients know for a problem: wrong fields are a 400 there.
pub fn status(problem: &Problem) -> u16 {
    if problem.code.status == 422 { 400 } else { problem.code.status }
}

/// The body.
pub fn error_body(problem: &Problem) -> Value {
    let kind = match problem.code.status {
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let unknown_model = problem.code == problem::NOT_FOUND;
    let param =
        if unknown_model { Some("model".to_owned()) } else { problem.errors.first().map(|e| param(&e.pointer)) };
    let code = match problem.code.status {
        404 if unknown_model => "model_not_found",
        401 => "invalid_api_key",
        429 => "rate_limit_exceeded",
        _ => problem.code.name,
    };
    let message = match problem.errors.as_slice() {
        [] => problem.detail.clone(),
        errors => errors.iter().map(sentence).collect::<Vec<_>>().join("; "),
    };
    json!(OpenAiError { error: OpenAiErrorBody { message, kind: kind.to_owned(), param, code: Some(code.to_owned()) } })
}

/// A fault with the field's name, which is separate from the message in a problem.
fn sentence(error: &FieldError) -> String {
    if error.detail.starts_with("is ") {
        return format!("`{}` {}", param(&error.pointer), error.detail);
    }
    error.detail.clone()
}

/// `/messages/0/content` as `messages[0].content`.
fn param(pointer: &str) -> String {
    let mut out = String::new();
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            out.extend(["[", part, "]"]);
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(part);
        }
    }
    out
}
