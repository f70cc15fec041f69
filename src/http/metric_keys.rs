//! `keys` of a query: a parameter that may come several times, since keys hold free text (tags) and with it commas and
//! spaces.

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::AppState;
use super::extract::query_fault;
use super::problem::Problem;

const NAME: &str = "keys";

/// The values of every `keys` of a query, as they were sent. They are taken out of the query: later extractors see
/// the rest.
#[derive(Debug)]
pub struct Keys(pub Vec<String>);

impl FromRequestParts<AppState> for Keys {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Problem> {
        let mut values = Vec::new();
        let mut rest = Vec::new();
        for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                (NAME, value) => values.push(decoded(value)?),
                _ => rest.push(pair),
            }
        }
        if !values.is_empty() {
            parts.uri = without(&parts.uri, &rest.join("&"))?;
        }
        Ok(Self(values.into_iter().filter(|value| !value.trim().is_empty()).collect()))
    }
}

fn decoded(value: &str) -> Result<String, Problem> {
    let value = value.replace('+', " ");
    let text = percent_decode_str(&value).decode_utf8();
    let text = text.map_err(|_| query_fault(NAME, "`keys` is not valid UTF-8 once its percent signs are decoded"))?;
    if text.contains('\0') {
        return Err(query_fault(NAME, "`keys` contains a NUL character (U+0000)"));
    }
    Ok(text.into_owned())
}

fn without(uri: &Uri, query: &str) -> Result<Uri, Problem> {
    let path = uri.path();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    target.parse().map_err(|_| query_fault(NAME, "the query cannot be read"))
}
