//! The `OpenAPI` document: what the routes say of themselves, and what holds for all of them.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{Components, ContentBuilder, Object, Ref, RefOr, Response, ResponseBuilder, Schema};

use super::problem::ProblemBody;
use super::secured::operations;
use super::{examples, openai_error, sse};
use crate::domain::reward_kind::REWARDS;
use crate::domain::{alert, event, reward};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "VGPO",
        description = "Train vision-language models with Visually-Guided Policy Optimization, and serve them with \
                      attention maps. Errors are application/problem+json (RFC 9457); lists are {data, has_more, next} \
                      with ?limit=&after=; every response carries x-request-id."
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
        alert::AlertEvent,
        alert::AlertMessage,
        sse::ResetFrame,
        sse::EndFrame,
        reward::WeightedReward,
        crate::serving::answer::TokenEvent
    ))
)]
struct Document;

/// The parts of the document other than the routes.
pub fn frame() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Completes what the routes say of themselves: the errors that every call may end with, and addresses in the
/// document's own notation.
pub fn complete(document: &mut utoipa::openapi::OpenApi) {
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    // The crate's licence and authors add nothing to the contract.
    document.info.license = None;
    document.info.contact = None;
    if let Some(components) = &mut document.components {
        merge_forms(components);
        close_methods(components);
        show_rewards(components);
        show_events(components);
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
        for (method, operation) in operations(item) {
            describe_answers(operation);
            show_examples(&method, path, operation);
            let errors = [("4XX", "The request cannot be answered"), ("5XX", "The server cannot answer now")];
            for (status, description) in errors {
                let known = &mut operation.responses.responses;
                known.entry(status.to_owned()).or_insert_with(|| error(description, schema, kind).into());
            }
        }
    }
}

/// Puts the examples of a call where readers of the document look for them.
fn show_examples(method: &Method, path: &str, operation: &mut Operation) {
    let samples: Vec<Value> = examples::of(method.as_str(), path)
        .map(|example| json!({"lang": "Shell", "label": example.title, "source": example.curl()}))
        .collect();
    if !samples.is_empty() {
        operation.extensions.get_or_insert_default().insert("x-codeSamples".to_owned(), samples.into());
    }
}

/// A form that is put together from a named schema and a tag becomes one object with the fields of both: a schema that
/// forbids other fields would forbid the tag, and generators of clients understand it better.
fn merge_forms(components: &mut Components) {
    let named = components.schemas.clone();
    let mut bases = BTreeSet::new();
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::OneOf(forms)) = schema else { continue };
        for form in &mut forms.items {
            if let Some(merged) = merged(form, &named) {
                bases.extend(base(form));
                *form = RefOr::T(Schema::Object(merged));
            }
        }
    }
    // The same holds for a base that is itself put together.
    for name in bases {
        if let Some(whole) = object(&name, &named) {
            components.schemas.insert(name, RefOr::T(Schema::Object(whole)));
        }
    }
}

/// The name of the schema that a form adds its tag to.
fn base(form: &RefOr<Schema>) -> Option<String> {
    let RefOr::T(Schema::AllOf(whole)) = form else { return None };
    let RefOr::Ref(base) = whole.items.first()? else { return None };
    target(base).map(ToOwned::to_owned)
}

/// The name of the schema that a reference leads to.
fn target(reference: &Ref) -> Option<&str> {
    reference.ref_location.rsplit('/').next()
}

/// A named object; one that is put together from others, with the fields of all of them.
fn object(name: &str, named: &BTreeMap<String, RefOr<Schema>>) -> Option<Object> {
    match named.get(name)? {
        RefOr::T(Schema::Object(object)) => Some(object.clone()),
        RefOr::T(Schema::AllOf(parts)) => {
            let mut whole = Object::new();
            whole.description.clone_from(&parts.description);
            whole.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            for part in &parts.items {
                let part = match part {
                    RefOr::Ref(reference) => object(target(reference)?, named)?,
                    RefOr::T(Schema::Object(own)) => own.clone(),
                    RefOr::T(_) => return None,
                };
                whole.schema_type = part.schema_type;
                whole.required.extend(part.required);
                whole.properties.extend(part.properties);
            }
            Some(whole)
        }
        _ => None,
    }
}

/// Merges an object and its tag into one object.
fn merged(form: &RefOr<Schema>, named: &BTreeMap<String, RefOr<Schema>>) -> Option<Object> {
    let RefOr::T(Schema::AllOf(whole)) = form else { return None };
    let [RefOr::Ref(base), RefOr::T(Schema::Object(tag))] = whole.items.as_slice() else { return None };
    let mut merged = object(target(base)?, named)?;
    merged.description.clone_from(&whole.description);
    merged.required.extend(tag.required.iter().cloned());
    merged.properties.extend(tag.properties.clone());
    Some(merged)
}

/// A setting that a method does not know is refused, also where its settings are those that several methods share.
fn close_methods(components: &mut Components) {
    let Some(RefOr::T(Schema::OneOf(forms))) = components.schemas.get_mut("Method") else { return };
    for form in &mut forms.items {
        if let RefOr::T(Schema::Object(form)) = form {
            form.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
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

/// Names the schema of an event's data by its kind.
fn show_events(components: &mut Components) {
    let Some(RefOr::T(Schema::Object(event))) = components.schemas.get_mut("Event") else { return };
    let Some(RefOr::T(Schema::Object(data))) = event.properties.get_mut("data") else { return };
    let by_kind: Vec<String> = event::SCHEMAS.iter().map(|(kind, schema)| format!("`{kind}`: `{schema}`")).collect();
    data.description = Some(format!("Details; their schema depends on the kind: {}.", by_kind.join(", ")));
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

fn error(description: &str, schema: &str, kind: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build();
    ResponseBuilder::new().description(description).content(kind, content).build()
}
