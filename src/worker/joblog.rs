//! What a worker says while it runs a job, in that job's own log.

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::artifacts::{JobLogWriter, JobLogs};
use crate::clock::Clock;
use crate::domain::job::LeaseToken;
use crate::domain::log::{LogLevel, LogLine};

/// Lines of this program begin with this target; those of libraries stay out.
const PROGRAM: &str = "vgpo";

/// Pause between two copies of a log for other hosts, and the bytes of a log for which it is doubled.
const SHARE_PAUSE: Duration = Duration::from_secs(2);
const SHARE_BYTES: u64 = 1 << 20;

/// The log of the job that runs now. As a [`Layer`] it also takes what the process logs meanwhile.
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
    /// A worker that runs no job yet.
    pub fn new(logs: JobLogs, clock: Arc<dyn Clock>) -> Self {
        Self { logs, clock, open: Arc::default() }
    }

    /// From now on lines belong to this attempt. A log that cannot be opened does not keep a job from running.
    pub(super) async fn begin(&self, token: &LeaseToken) {
        let (logs, job) = (self.logs.clone(), token.job_id.clone());
        match blocking(move || logs.writer(&job)).await {
            Ok(writer) => self.set(Some(Open { writer, attempt: token.attempt })),
            Err(error) => tracing::warn!(job = %token.job_id, %error, "cannot write the job's log"),
        }
    }

    /// Copies the job's log for other hosts, where they need one, until aborted. A long log is copied less often: it is always
    /// copied whole.
    pub(super) async fn keep_shared(self, job_id: String) {
        let mut known = 0;
        while self.logs.are_shared() {
            let doubled = u32::try_from(known / SHARE_BYTES).unwrap_or(u32::MAX);
            tokio::time::sleep(SHARE_PAUSE.saturating_mul(doubled.saturating_add(1))).await;
            known = self.share(&job_id, known).await;
        }
    }

    /// Copies the job's log for other hosts, where it has changed since it had `known` bytes; returns how many they know now.
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

    /// The attempt is over.
    pub(super) fn end(&self) {
        self.set(None);
    }

    fn set(&self, open: Option<Open>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// Writes a line, if a job runs.
    pub(super) fn say(&self, level: LogLevel, message: impl Into<String>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Open { writer, attempt }) = open.as_mut() else { return };
        let line = LogLine { time: self.clock.now(), level, attempt: *attempt, message: message.into() };
        // Telling would come here again; a full disk is told by everything else that writes.
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

/// Work with files, and perhaps with a bucket, on a thread that may block.
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

/// The words of an event: its message, then its fields.
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
