//! What a worker says while it runs a job, in that job's own log.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::artifacts::{JobLogWriter, JobLogs};
use crate::clock::Clock;
use crate::domain::job::LeaseToken;
use crate::domain::log::{LogLevel, LogLine};

/// Lines of this program begin with this target; those of libraries stay out.
const PROGRAM: &str = "vgpo";

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
    pub(super) fn begin(&self, token: &LeaseToken) {
        match self.logs.writer(&token.job_id) {
            Ok(writer) => self.set(Some(Open { writer, attempt: token.attempt })),
            Err(error) => tracing::warn!(job = %token.job_id, %error, "cannot write the job's log"),
        }
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
    pub(super) fn say_of(&self, job_id: &str, attempt: u32, message: &str) -> std::io::Result<()> {
        let (time, message) = (self.clock.now(), message.to_owned());
        self.logs.writer(job_id)?.write(&LogLine { time, level: LogLevel::Error, attempt, message })
    }
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
