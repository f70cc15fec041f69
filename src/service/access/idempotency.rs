//! `Idempotency-Key`: a creating request that is sent twice is carried out once.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::service::access::Access;
use crate::service::{Result, ServiceError};
use crate::store::IdempotencyState;

pub use crate::store::IdempotencyRequest;

const KEEP: Duration = Duration::from_hours(24);
const IN_FLIGHT_FOR: Duration = Duration::from_mins(2);
const MAX_KEY: usize = 255;

/// What to do with a request that carries a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idempotent {
    /// Carry it out, then call [`Access::finish_idempotent`].
    CarryOut(IdempotencyRequest),
    /// It was carried out, and the server died before it could keep the answer: answer with what it made, then call
    /// [`Access::finish_idempotent`].
    Made {
        /// The request.
        request: IdempotencyRequest,
        /// Id of what it made.
        target: String,
    },
    /// It was answered before, with this.
    Replay {
        /// HTTP status.
        status: u16,
        /// Body.
        body: Vec<u8>,
    },
}

impl Access {
    /// Looks up a request by its key; `body` is everything that makes it this request and no other.
    pub async fn begin_idempotent(&self, key: &str, route: &str, body: &[u8]) -> Result<Idempotent> {
        if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let detail = format!("`Idempotency-Key` must be 1 to {MAX_KEY} visible ASCII characters, e.g. a UUID");
            return Err(ServiceError::field("Idempotency-Key", detail));
        }
        let request = IdempotencyRequest {
            key: key.to_owned(),
            route: route.to_owned(),
            body_hash: format!("{:x}", Sha256::digest(body)),
            keep: KEEP,
            in_flight_for: IN_FLIGHT_FOR,
        };
        match self.store.begin_idempotent(&request).await? {
            IdempotencyState::New => Ok(Idempotent::CarryOut(request)),
            IdempotencyState::InFlight => Err(ServiceError::IdempotencyInFlight),
            IdempotencyState::OtherBody => Err(ServiceError::IdempotencyMismatch),
            IdempotencyState::Made { target } => Ok(Idempotent::Made { request, target }),
            IdempotencyState::Done { status, body } => Ok(Idempotent::Replay { status, body }),
        }
    }

    /// Keeps the answer of a request that succeeded; one that failed may be tried again with the same key.
    pub async fn finish_idempotent(&self, request: &IdempotencyRequest, answer: Option<(u16, &[u8])>) -> Result<()> {
        match answer {
            Some((status, body)) => self.store.finish_idempotent(request, status, body).await?,
            None => self.store.forget_idempotent(request).await?,
        }
        Ok(())
    }
}
