//! Writes the trainer's reports in order and in batches, while the trainer continues.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::domain::job::LeaseToken;
use crate::domain::metric::TimedMetrics;
use crate::domain::sample::SampleGroup;
use crate::store::{Database, Result, StoreError};

use super::patience::patiently;
use super::shared::Shared;

/// Capacity of the queue; a trainer that is faster than the database waits here.
pub(super) const QUEUE: usize = 1_024;
/// Metric entries of one transaction.
const BATCH: usize = 512;
/// Number of tries of a failed write, with growing pauses.
const TRIES: u32 = 5;

/// What the trainer's thread sends.
pub(super) enum Message {
    /// Metrics of a step.
    Metrics(TimedMetrics),
    /// Another record.
    Record(Record),
    /// Answered when everything before is durable; the sender is dropped if it failed.
    Flush(oneshot::Sender<()>),
}

/// One write.
pub(super) enum Record {
    /// Metrics, gathered.
    Metrics(Vec<TimedMetrics>),
    /// Sample rollouts of a step.
    Samples(u64, Vec<SampleGroup>),
    /// An event: kind and data.
    Event(String, serde_json::Value),
}

/// The writer of an attempt.
pub(super) struct Writer {
    pub(super) store: Arc<dyn Database>,
    pub(super) token: LeaseToken,
    pub(super) shared: Arc<Shared>,
    pub(super) flush_after: Duration,
}

impl Writer {
    /// Writes until every sender is gone. After a lost lease or a permanent failure, which the trainer learns through
    /// `shared`, everything later is dropped, because the attempt ends anyway.
    pub(super) async fn run(self, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.recv().await {
            let written = match message {
                Message::Metrics(first) => {
                    let (gathered, next) = self.gather(first, &mut messages).await;
                    self.lasting(&Record::Metrics(gathered)).await
                        && match next {
                            Some(next) => self.handle(next).await,
                            None => true,
                        }
                }
                other => self.handle(other).await,
            };
            if !written {
                messages.close();
                while messages.recv().await.is_some() {}
                return;
            }
        }
    }

    /// Collects metrics until the batch is full, its time is over or something else comes, which is returned as well.
    async fn gather(
        &self,
        first: TimedMetrics,
        messages: &mut mpsc::Receiver<Message>,
    ) -> (Vec<TimedMetrics>, Option<Message>) {
        let mut gathered = vec![first];
        let over = tokio::time::sleep(self.flush_after);
        tokio::pin!(over);
        while gathered.len() < BATCH {
            tokio::select! {
                biased;
                message = messages.recv() => match message {
                    Some(Message::Metrics(metrics)) => gathered.push(metrics),
                    other => return (gathered, other),
                },
                () = &mut over => break,
            }
        }
        (gathered, None)
    }

    async fn handle(&self, message: Message) -> bool {
        match message {
            Message::Metrics(metrics) => self.lasting(&Record::Metrics(vec![metrics])).await,
            Message::Record(record) => self.lasting(&record).await,
            Message::Flush(done) => {
                // The receiver may have gone.
                let _ = done.send(());
                true
            }
        }
    }

    /// Writes, with retries; false if it failed permanently.
    async fn lasting(&self, record: &Record) -> bool {
        let mut pause = Duration::from_millis(200);
        for tried in 1..=TRIES {
            match patiently(|| self.write(record)).await {
                Ok(()) => return true,
                Err(StoreError::LeaseLost { .. }) => {
                    self.shared.lose();
                    return false;
                }
                Err(error @ StoreError::Database(_)) if tried < TRIES => {
                    tracing::warn!(job = %self.token.job_id, %error, "cannot write, trying again");
                    tokio::time::sleep(pause).await;
                    pause *= 3;
                }
                Err(error) => {
                    self.shared.fail(format!("results could not be stored: {error}"));
                    return false;
                }
            }
        }
        false
    }

    async fn write(&self, record: &Record) -> Result<()> {
        match record {
            Record::Metrics(batch) => self.store.append_metrics(&self.token, batch).await,
            Record::Samples(step, groups) => self.store.append_samples(&self.token, *step, groups).await,
            Record::Event(kind, data) => self.store.append_job_event(&self.token, kind, data.clone()).await.map(drop),
        }
    }
}
