//! What every handler can reach: the service on behalf of the caller, and what all requests share.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::budget::Budget;
use super::limits::KeyLimits;
use super::streams::Streams;
use crate::domain::access::Caller;
use crate::service::Service;

/// What every handler can reach.
#[derive(Clone)]
pub struct AppState {
    /// The program itself, which sees everything: for this door and for health.
    pub(super) root: Service,
    /// What every key may ask for.
    pub(super) limits: Arc<KeyLimits>,
    /// What all bodies together may hold.
    bodies: Arc<Budget>,
    /// Live streams by key.
    pub(super) streams: Streams,
    /// The service on behalf of the caller; before the caller is known, of no user.
    pub(super) service: Service,
}

impl AppState {
    /// The state of a server over this service.
    pub fn new(service: Service) -> Self {
        let settings = &service.settings().limits;
        let (limits, bodies) = (Arc::new(KeyLimits::new(settings)), Arc::new(Budget::new(settings)));
        let (anonymous, streams) = (service.for_caller(Caller::unauthenticated()), Streams::new(service.clone()));
        Self { service: anonymous, limits, bodies, streams, root: service }
    }

    /// What all bodies together may hold.
    pub(super) fn bodies(&self) -> &Budget {
        &self.bodies
    }

    /// The service that knows no callers; never for what a request names.
    pub(super) fn root(&self) -> &Service {
        &self.root
    }
}

impl FromRequestParts<Self> for AppState {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &Self) -> Result<Self, Infallible> {
        let service = parts.extensions.get::<Service>().unwrap_or(&state.service);
        Ok(Self { service: service.clone(), ..state.clone() })
    }
}
