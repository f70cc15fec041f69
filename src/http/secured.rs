//! What the `OpenAPI` document says about keys: derived from the check itself, so that the two cannot differ.

use axum::http::Method;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use super::access::needed;
use super::openai_error;
use crate::domain::access::Role;

const SCHEME: &str = "key";

/// Adds to every operation whether it needs a key, and the answers without one.
pub fn describe(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let openai = openai_error::expects(path);
            match needed(&method, path) {
                None => operation.security = Some(Vec::new()),
                Some(role) => secure(operation, role, openai),
            }
        }
    }
    let components = document.components.get_or_insert_with(Components::new);
    let mut scheme = Http::new(HttpAuthScheme::Bearer);
    scheme.description = Some("An API key, `vgpo_…`; required as described in docs/security.md".to_owned());
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme));
    let problem = |text: &str| refusal(text, "application/problem+json", "Problem");
    let openai = |text: &str| refusal(text, "application/json", "OpenAiError");
    let (no_key, wrong_role) = ("A key is required, or the given one is unknown", "The key does not allow this");
    components.responses.extend([
        ("Unauthorized".to_owned(), problem(no_key)),
        ("Forbidden".to_owned(), problem(wrong_role)),
        ("OpenAiUnauthorized".to_owned(), openai(no_key)),
        ("OpenAiForbidden".to_owned(), openai(wrong_role)),
    ]);
}

/// The calls of a path, each with its method.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let PathItem { get, put, post, patch, delete, .. } = item;
    let all = [
        (Method::GET, get),
        (Method::PUT, put),
        (Method::POST, post),
        (Method::PATCH, patch),
        (Method::DELETE, delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn secure(operation: &mut Operation, role: Role, openai: bool) {
    operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(SCHEME, [])]);
    let prefix = if openai { "OpenAi" } else { "" };
    let answers = [("401", "Unauthorized"), ("403", "Forbidden")];
    for (status, name) in answers {
        // A viewer's key is the least there is: only others can be too little.
        if status == "403" && role == Role::Viewer {
            continue;
        }
        let answer = RefOr::Ref(Ref::from_response_name(format!("{prefix}{name}")));
        operation.responses.responses.entry(status.to_owned()).or_insert(answer);
    }
}

fn refusal(text: &str, kind: &str, schema: &str) -> RefOr<Response> {
    let content = utoipa::openapi::ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    RefOr::T(ResponseBuilder::new().description(text).content(kind, content).build())
}
