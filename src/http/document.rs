//! The `OpenAPI` document: what the routes say of themselves, and what holds for all of them.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{Components, ContentBuilder, Object, Ref, RefOr, Response, ResponseBuilder, Schema};

use super::problem::ProblemBody;
use super::{openai_error, sse};
use crate::domain::reward_kind::REWARDS;
use crate::domain::{event, reward};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "VGPO",
        description = "Train vision-language models with Visually-Guided Policy Optimization, and serve them with attention maps. Errors are application/problem+json (RFC 9457); lists are {data, has_more, next} with ?limit=&after=; every response carries x-request-id."
    ),
    components(schemas(
        ProblemBody,
        openai_error::OpenAiError,
        event::Event,
        event::JobChanged,
        event::JobUpdated,
        event::JobWaiting,
        event::RunDeleted,
        event::MetricsEvent,
        event::SamplesEvent,
        event::CheckpointEvent,
        event::RewindEvent,
        event::DatasetChanged,
        event::ModelChanged,
        event::CrashEvent,
        sse::ResetFrame,
        sse::EndFrame,
        reward::WeightedReward,
        crate::serving::answer::TokenEvent
    ))
)]
struct Document;

/// What is said beside the routes.
pub fn frame() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Completes what the routes say of themselves: the errors that every call may end with, and addresses in the document's
/// own notation.
pub fn complete(document: &mut utoipa::openapi::OpenApi) {
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    // The crate's licence and authors add nothing to the contract.
    document.info.license = None;
    document.info.contact = None;
    if let Some(components) = &mut document.components {
        merge_forms(components);
        show_rewards(components);
    }
    let paths = std::mem::take(&mut document.paths.paths);
    // The router marks a parameter that may hold slashes by a star, which the document does not know.
    document.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    for (path, item) in &mut document.paths.paths {
        let (schema, kind) = if openai_error::expects(path) {
            ("OpenAiError", "application/json")
        } else {
            ("Problem", "application/problem+json")
        };
        for operation in operations(item) {
            describe_answers(operation);
            let errors = [("4XX", "The request cannot be answered"), ("5XX", "The server cannot answer now")];
            for (status, description) in errors {
                let known = &mut operation.responses.responses;
                known.entry(status.to_owned()).or_insert_with(|| error(description, schema, kind).into());
            }
        }
    }
}

/// A form that is put together from a named schema and a tag becomes one object with the fields of both: a schema that
/// forbids other fields would forbid the tag, and generators of clients understand it better.
fn merge_forms(components: &mut Components) {
    let named = components.schemas.clone();
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::OneOf(forms)) = schema else { continue };
        for form in &mut forms.items {
            if let Some(merged) = merged(form, &named) {
                *form = RefOr::T(Schema::Object(merged));
            }
        }
    }
}

/// The one object that a form of a named object and a tag stands for.
fn merged(form: &RefOr<Schema>, named: &BTreeMap<String, RefOr<Schema>>) -> Option<Object> {
    let RefOr::T(Schema::AllOf(whole)) = form else { return None };
    let [RefOr::Ref(base), RefOr::T(Schema::Object(tag))] = whole.items.as_slice() else { return None };
    let RefOr::T(Schema::Object(base)) = named.get(base.ref_location.rsplit('/').next()?)? else { return None };
    let mut merged = base.clone();
    merged.description.clone_from(&whole.description);
    merged.required.extend(tag.required.iter().cloned());
    merged.properties.extend(tag.properties.clone());
    Some(merged)
}

/// Shows what a reward of each type begins with.
fn show_rewards(components: &mut Components) {
    let Some(RefOr::T(Schema::OneOf(forms))) = components.schemas.get_mut("RewardSpec") else { return };
    for (form, kind) in forms.items.iter_mut().zip(&REWARDS) {
        if let (RefOr::T(Schema::Object(form)), Some(start)) = (form, kind.start) {
            form.examples = vec![start()];
        }
    }
}

/// Every answer must say what it is; where a route does not, its status does.
fn describe_answers(operation: &mut Operation) {
    for (status, answer) in &mut operation.responses.responses {
        if let RefOr::T(answer) = answer
            && answer.description.is_empty()
        {
            let reason = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()?.canonical_reason());
            reason.unwrap_or("An error").clone_into(&mut answer.description);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

fn error(description: &str, schema: &str, kind: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(description).content(kind, content).build()
}
