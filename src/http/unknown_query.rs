//! Addresses without query parameters refuse them, as all others refuse those that they do not know.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

use super::extract::query_fault;

/// The calls that take no query parameter, by method and path.
#[derive(Clone)]
pub struct WithoutQuery(Arc<HashSet<(Method, String)>>);

impl WithoutQuery {
    /// Those of the document.
    pub fn of(document: &OpenApi) -> Self {
        let calls = document.paths.paths.iter().flat_map(|(path, item)| {
            let plain = operations(item).into_iter().filter(|(_, operation)| !has_query(operation));
            plain.map(|(method, _)| (method, path.clone())).collect::<Vec<_>>()
        });
        Self(Arc::new(calls.collect()))
    }
}

fn operations(item: &PathItem) -> Vec<(Method, &Operation)> {
    let all = [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::DELETE, &item.delete),
        (Method::PATCH, &item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?))).collect()
}

fn has_query(operation: &Operation) -> bool {
    operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Query,
        // What is named elsewhere may be one.
        RefOr::Ref(_) => true,
    })
}

/// Refuses a query parameter where there is none. Reads outside of `/v1`, such as checks of health, ignore it.
pub async fn refuse(State(calls): State<WithoutQuery>, request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let name = query.split('&').filter_map(|pair| pair.split('=').next()).find(|name| !name.is_empty());
    let (Some(name), Some(path)) = (name, request.extensions().get::<MatchedPath>()) else {
        return next.run(request).await;
    };
    let method = if *request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let call = (method, path.as_str().to_owned());
    let lenient = call.0 == Method::GET && !call.1.starts_with("/v1/");
    if lenient || !calls.0.contains(&call) {
        return next.run(request).await;
    }
    query_fault(name, format!("`{name}`: {} {} has no query parameters", call.0, call.1)).into_response()
}
