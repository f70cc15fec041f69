//! The trainer's output: metrics, samples and events go to the writer, checkpoints to the artifact store.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::artifacts::{ArtifactError, ArtifactStore};
use crate::clock::{Clock, new_id};
use crate::domain::checkpoint::{Checkpoint, NewCheckpoint, checkpoint_folder};
use crate::domain::eval_row::{chunk_key, evaluation_key};
use crate::domain::job::LeaseToken;
use crate::domain::log::LogLevel;
use crate::domain::metric::{STEP_SECONDS, StepMetrics, TimedMetrics, headlines};
use crate::domain::sample::SampleGroup;
use crate::store::{Database, StoreError};
use crate::train::reporter::Reporter;
use crate::train::sink::{CheckpointNotice, Control, ControlSignal, RunSink, SinkError};

use super::joblog::JobLog;
use super::patience::patiently;
use super::shared::Shared;
use super::writer::{Message, Record};

/// [`RunSink`] over store and artifacts; used on the trainer's thread, which may block.
pub(super) struct StoreSink {
    pub(super) runtime: Handle,
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) store: Arc<dyn Database>,
    pub(super) artifacts: Arc<dyn ArtifactStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) token: LeaseToken,
    pub(super) shared: Arc<Shared>,
    pub(super) log: JobLog,
    /// Number of newest checkpoints to keep.
    pub(super) keep: u64,
}

/// The checkpoint that an artifact key names.
fn key_id(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

impl StoreSink {
    fn send(&self, message: Message) -> Result<(), SinkError> {
        self.messages.blocking_send(message).map_err(|_| self.ended())
    }

    fn ended(&self) -> SinkError {
        SinkError(self.shared.failure().unwrap_or_else(|| "the lease was lost".to_owned()))
    }

    fn lost(&self, error: &StoreError) -> SinkError {
        if matches!(error, StoreError::LeaseLost { .. }) {
            self.shared.lose();
        }
        SinkError(error.to_string())
    }

    /// Waits until everything sent so far is durable.
    pub(super) fn flush(&self) -> Result<(), SinkError> {
        let (done, wait) = oneshot::channel();
        self.send(Message::Flush(done))?;
        wait.blocking_recv().map_err(|_| self.ended())
    }

    fn publish_rows(&self, dir: &Path, key: &str) -> Result<(), SinkError> {
        match self.artifacts.publish_dir(dir, key) {
            // An attempt that was presumed dead wrote the same rows.
            Ok(_) | Err(ArtifactError::Exists(_)) => Ok(()),
            Err(error) => Err(SinkError(error.to_string())),
        }
    }

    /// Deletes the checkpoints that are neither among the newest nor best, last, promoted or needed by a job.
    fn prune(&self) -> Result<(), SinkError> {
        let all = patiently(|| self.store.run_checkpoints(&self.token.run_id));
        let all = self.runtime.block_on(all).map_err(|e| self.lost(&e))?;
        for old in all.iter().skip(usize::try_from(self.keep.max(1)).unwrap_or(usize::MAX)) {
            let deleting = patiently(|| self.store.delete_checkpoint(&old.id, "superseded by newer checkpoints"));
            match self.runtime.block_on(deleting) {
                Ok(gone) => delete_files(&*self.artifacts, &gone),
                Err(StoreError::Held { .. } | StoreError::NotFound { .. }) => (),
                Err(error) => return Err(self.lost(&error)),
            }
        }
        Ok(())
    }
}

/// Removes a checkpoint's files after its record was deleted. Files that cannot be deleted are removed by the run's
/// next attempt.
pub(super) fn delete_files(artifacts: &dyn ArtifactStore, checkpoint: &Checkpoint) {
    if let Err(error) = artifacts.delete(&checkpoint.key) {
        tracing::warn!(checkpoint = %checkpoint.id, %error, "cannot delete the files of a checkpoint");
    }
}

impl RunSink for StoreSink {
    fn metrics(&mut self, metrics: &StepMetrics) -> Result<(), SinkError> {
        let told = headlines().map(|(key, _)| key).chain([STEP_SECONDS]);
        let known = told.filter_map(|key| Some(format!("{key} {:.4}", metrics.values.get(key)?)));
        let known = known.collect::<Vec<_>>().join("  ");
        if !known.is_empty() {
            self.log.say(LogLevel::Info, format!("step {}: {known}", metrics.step));
        }
        self.send(Message::Metrics(TimedMetrics { time: self.clock.now(), metrics: metrics.clone() }))
    }

    fn samples(&mut self, step: u64, groups: &[SampleGroup]) -> Result<(), SinkError> {
        self.send(Message::Record(Record::Samples(step, groups.to_vec())))
    }

    fn event(&mut self, kind: &str, message: &str, data: serde_json::Value) -> Result<(), SinkError> {
        let level = if kind.starts_with("warning") { LogLevel::Warn } else { LogLevel::Info };
        self.log.say(level, format!("{kind}: {message}"));
        let data = serde_json::json!({"message": message, "data": data});
        self.send(Message::Record(Record::Event(kind.to_owned(), data)))
    }

    fn checkpoint(&mut self, notice: CheckpointNotice<'_>) -> Result<(), SinkError> {
        // A resume starts after this checkpoint, so everything measured before it must be recorded first.
        self.flush()?;
        let id = new_id("ckpt");
        let key = format!("{}/{id}", checkpoint_folder(&self.token.run_id));
        let manifest = self.artifacts.publish_dir(notice.dir, &key).map_err(|e| SinkError(e.to_string()))?;
        let new = NewCheckpoint {
            id,
            step: notice.step,
            key: key.clone(),
            accuracy: notice.accuracy,
            score: notice.score,
            last: notice.last,
            manifest,
        };
        let adding = patiently(|| self.store.add_checkpoint(&self.token, new.clone()));
        if let Err(error) = self.runtime.block_on(adding) {
            // It may be recorded if the database did not answer; otherwise the run's next attempt removes the files.
            if !matches!(error, StoreError::Unavailable(_))
                && let Err(error) = self.artifacts.delete(&key)
            {
                tracing::warn!(%key, %error, "cannot delete a checkpoint that could not be recorded");
            }
            return Err(self.lost(&error));
        }
        self.log.say(LogLevel::Info, format!("checkpoint {} at step {}", key_id(&key), notice.step));
        self.prune()
    }

    fn rows(&mut self, chunk: u64, dir: &Path) -> Result<(), SinkError> {
        // A resume starts after this chunk, so everything measured before it must be recorded first.
        self.flush()?;
        self.publish_rows(dir, &chunk_key(&self.token.run_id, chunk))
    }

    fn evaluated(&mut self, step: u64, dir: &Path) -> Result<(), SinkError> {
        self.publish_rows(dir, &evaluation_key(&self.token.run_id, step))
    }

    fn control(&mut self) -> Control {
        self.shared.control()
    }

    fn signal(&self) -> ControlSignal {
        let shared = Arc::clone(&self.shared);
        ControlSignal::new(move || shared.control())
    }

    fn reporter(&self) -> Reporter {
        let log = self.log.clone();
        Reporter::new(move |message| log.say(LogLevel::Info, message))
    }

    fn progress(&mut self, message: &str) {
        self.log.say(LogLevel::Info, message.to_owned());
    }
}
