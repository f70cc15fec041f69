//! `vgpo openapi`: the API's description.

use std::process::ExitCode;

use super::{fail, say};

/// Prints the `OpenAPI` document that the server serves and that openapi/vgpo.json holds.
pub fn run() -> ExitCode {
    match crate::http::openapi_json() {
        Ok(document) => say(document.trim_end()),
        Err(error) => fail(error),
    }
}
