//! A complaint about one field of a request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Faults that an answer names; who sends a thousand bad fields learns of the first ones.
pub const MOST_ERRORS: usize = 20;
/// Characters of a pointer in an answer.
pub const POINTER: usize = 80;

/// One bad field: its JSON pointer and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the request's body (RFC 6901), e.g. `/rollout/group_size`; `?name` for a query parameter.
    pub pointer: String,
    /// What is wrong, what is allowed and what to do.
    pub detail: String,
}

impl FieldError {
    /// A complaint about `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.pointer, self.detail)
    }
}
