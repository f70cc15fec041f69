//! `vgpo openapi`: the API's description.

use std::process::ExitCode;

use super::{fail, say};

/// Prints the `OpenAPI` document of the server, which is also in openapi/vgpo.json.
pub fn run() -> ExitCode {
    match crate::http::openapi_json() {
        Ok(document) => say(document.trim_end()),
        Err(error) => fail(error),
    }
}
