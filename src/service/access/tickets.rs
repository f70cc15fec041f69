//! What a key is exchanged for: a browser's session, and tokens that open one live stream.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Identity;
use super::secret::{self, Secret};
use crate::domain::access::{Caller, NewTicket, TicketKind};
use crate::service::access::Access;
use crate::service::{Result, ServiceError};

/// How long a session lasts.
pub const SESSION: TimeDelta = TimeDelta::hours(12);
/// How long a stream token may wait for its stream.
const STREAM: TimeDelta = TimeDelta::seconds(60);

/// A session that was opened: its secret belongs into a cookie.
#[derive(Debug)]
pub struct OpenedSession {
    /// For the cookie.
    pub secret: Secret,
    /// For the page.
    pub identity: Identity,
}

/// A token that opens one live stream.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StreamToken {
    /// Value of `?stream_token=…`, for one use.
    pub token: String,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
}

impl Access {
    /// Opens a session for the key with this secret.
    pub async fn open_session(&self, key: &str) -> Result<OpenedSession> {
        let caller = self.authenticate(key).await?;
        let secret = Secret::of_ticket()?;
        self.issue(TicketKind::Session, &caller, &secret, self.clock.now() + SESSION).await?;
        let identity = Identity::of(&caller, Some(csrf(secret.reveal())), self.settings.auth);
        Ok(OpenedSession { secret, identity })
    }

    /// Whose session it is.
    pub async fn session(&self, cookie: &str) -> Result<Caller> {
        let key = self.database.ticket(TicketKind::Session, &secret::hash(cookie)).await?;
        let key = key.ok_or_else(|| ServiceError::Unauthorized("the session has ended; sign in again".to_owned()))?;
        self.used(&key).await?;
        Ok(Caller::from(&key))
    }

    /// Ends a session; one that has ended already is fine.
    pub async fn close_session(&self, cookie: &str) -> Result<()> {
        self.database.take_ticket(TicketKind::Session, &secret::hash(cookie)).await?;
        Ok(())
    }

    /// Makes a token that opens one live stream on the caller's behalf; none where the server requires no keys.
    pub async fn stream_token(&self) -> Result<StreamToken> {
        let secret = Secret::of_ticket()?;
        let expires_at = self.clock.now() + STREAM;
        if self.caller.key_id.is_some() {
            self.issue(TicketKind::Stream, &self.caller, &secret, expires_at).await?;
        }
        Ok(StreamToken { token: secret.reveal().to_owned(), expires_at })
    }

    /// The caller of a stream token, which can only be used once.
    pub async fn take_stream_token(&self, token: &str) -> Result<Caller> {
        let key = self.database.take_ticket(TicketKind::Stream, &secret::hash(token)).await?;
        let gone = || {
            ServiceError::Unauthorized("the stream token was already used or has expired; request a new one".to_owned())
        };
        Ok(Caller::from(&key.ok_or_else(gone)?))
    }

    async fn issue(&self, kind: TicketKind, caller: &Caller, secret: &Secret, expires_at: DateTime<Utc>) -> Result<()> {
        let Some(key_id) = caller.key_id.clone() else { return Ok(()) };
        let ticket = NewTicket { kind, key_id, hash: secret::hash(secret.reveal()), expires_at };
        Ok(self.database.issue_ticket(ticket).await?)
    }
}

/// What proves that a request comes from a page that could read the session's answer. It reveals nothing about the
/// cookie.
pub fn csrf(cookie: &str) -> String {
    secret::hash(&format!("csrf {cookie}"))
}

/// Is this the session's CSRF token?
pub fn is_csrf(sent: &str, cookie: &str) -> bool {
    secret::matches(&format!("csrf {cookie}"), sent)
}
