//! The log of the job that a worker runs.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::artifacts::{JobLogWriter, JobLogs};
use crate::clock::Clock;
use crate::domain::job::LeaseToken;
use crate::domain::log::{LogLevel, LogLine};

/// Target of this program's events; those of libraries are not logged.
const PROGRAM: &str = "vgpo";

/// Pause between two copies of a log for other hosts, and the bytes of a log for which it is doubled.
const SHARE_PAUSE: Duration = Duration::from_secs(2);
const SHARE_BYTES: u64 = 1 << 20;

/// The log of the current job. As a [`Layer`] it also receives the process's tracing events.
#[derive(Clone)]
pub struct JobLog {
    logs: JobLogs,
    clock: Arc<dyn Clock>,
    open: Arc<Mutex<Option<Open>>>,
}

struct Open {
    writer: JobLogWriter,
    attempt: u32,
}

impl JobLog {
    /// A log without a job.
    pub fn new(logs: JobLogs, clock: Arc<dyn Clock>) -> Self {
        Self { logs, clock, open: Arc::default() }
    }

    /// Starts the log of an attempt. A log that cannot be opened does not prevent the job from running.
    pub(super) async fn begin(&self, token: &LeaseToken) {
        let (logs, job) = (self.logs.clone(), token.job_id.clone());
        match blocking(move || logs.writer(&job)).await {
            Ok(writer) => self.set(Some(Open { writer, attempt: token.attempt })),
            Err(error) => tracing::warn!(job = %token.job_id, %error, "cannot write the job's log"),
        }
    }

    /// Copies the job's log to shared storage for other hosts, if needed, until aborted. A long log is copied less
    /// often, because it is always copied as a whole.
    pub(super) async fn keep_shared(self, job_id: String) {
        let mut known = 0;
        while self.logs.are_shared() {
            let doubled = u32::try_from(known / SHARE_BYTES).unwrap_or(u32::MAX);
            tokio::time::sleep(SHARE_PAUSE.saturating_mul(doubled.saturating_add(1))).await;
            known = self.share(&job_id, known).await;
        }
    }

    /// Copies the job's log for other hosts if it has changed since it had `known` bytes; returns its size in bytes.
    pub(super) async fn share(&self, job_id: &str, known: u64) -> u64 {
        let (logs, job) = (self.logs.clone(), job_id.to_owned());
        if !logs.are_shared() {
            return known;
        }
        blocking(move || logs.share(&job, known)).await.unwrap_or_else(|error| {
            tracing::warn!(job = %job_id, %error, "cannot share the job's log");
            known
        })
    }

    /// Ends the log of the attempt.
    pub(super) fn end(&self) {
        self.set(None);
    }

    fn set(&self, open: Option<Open>) {
        *self.open.lock() = open;
    }

    /// Writes a line if a job is running.
    pub(super) fn say(&self, level: LogLevel, message: impl Into<String>) {
        let mut open = self.open.lock();
        let Some(Open { writer, attempt }) = open.as_mut() else { return };
        let line = LogLine { time: self.clock.now(), level, attempt: *attempt, message: message.into() };
        // A tracing event would end up here again; a full disk is reported by everything else that writes.
        if writer.write(&line).is_err() {
            *open = None;
        }
    }

    /// Writes a line about a job of another process, e.g. one whose worker died.
    pub(super) fn say_of(&self, job_id: &str, attempt: u32, message: &str) -> io::Result<()> {
        let (time, message) = (self.clock.now(), message.to_owned());
        self.logs.writer(job_id)?.write(&LogLine { time, level: LogLevel::Error, attempt, message })
    }
}

/// Runs file or bucket operations on a blocking thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl<S: Subscriber> Layer<S> for JobLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            _ => return,
        };
        if event.metadata().target().starts_with(PROGRAM) {
            let mut text = Text::default();
            event.record(&mut text);
            self.say(level, text.message + &text.fields);
        }
    }
}

/// The text of an event: its message, then its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        // Writing into memory cannot fail.
        let _ = written;
    }
}
