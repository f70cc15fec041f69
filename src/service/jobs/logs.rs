//! Logs of jobs: parts of them, and live streams.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{self, Stream};

use crate::artifacts::JobLogs;
use crate::domain::job::JobState;
use crate::domain::log::{LogLine, LogPage};
use crate::service::jobs::Jobs;
use crate::service::{Result, ServiceError};

/// Pause between two looks at the file.
const POLL: Duration = Duration::from_millis(250);
/// The same, where every look may be a request to a bucket.
const POLL_SHARED: Duration = Duration::from_secs(1);
/// Lines read at once by a stream.
const BATCH: usize = 500;

/// Which lines of a log are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPart {
    /// This number of last lines.
    Tail(usize),
    /// This number of lines after a position.
    After(u64, usize),
}

/// One frame of a live log.
#[derive(Debug)]
pub enum LogFrame {
    /// A line; the last one of a batch also has the position after it.
    Line(LogLine, Option<String>),
    /// The job has ended and everything was sent.
    End(JobState),
    /// The stream failed.
    Failed(ServiceError),
}

impl Jobs {
    async fn logs(&self) -> Result<JobLogs> {
        Ok(JobLogs::new(&self.settings.logs_dir()).shared_by(self.artifacts().await?))
    }

    /// A part of a job's log. Empty while nothing was written, and for jobs that ran on a host with which this one
    /// shares neither disk nor bucket.
    pub async fn log(&self, job_id: &str, part: LogPart) -> Result<LogPage> {
        self.store.job(job_id).await?;
        self.read_log(job_id, part).await
    }

    async fn read_log(&self, job_id: &str, part: LogPart) -> Result<LogPage> {
        let (logs, id) = (self.logs().await?, job_id.to_owned());
        let read = move || match part {
            LogPart::Tail(lines) => logs.tail(&id, lines),
            LogPart::After(position, lines) => logs.read(&id, position, lines),
        };
        let read =
            tokio::task::spawn_blocking(read).await.map_err(|error| ServiceError::Internal(error.to_string()))?;
        read.map_err(|error| ServiceError::Internal(format!("the log of job `{job_id}`: {error}")))
    }

    /// Removes the logs of deleted jobs; failures go to the program's log.
    pub(in crate::service) async fn drop_logs(&self, jobs: Vec<String>) -> Result<()> {
        let logs = self.logs().await?;
        let remove = move || {
            for job in &jobs {
                if let Err(error) = logs.remove(job) {
                    tracing::warn!(%job, %error, "cannot remove the log of a job");
                }
            }
        };
        tokio::task::spawn_blocking(remove).await.map_err(|error| ServiceError::Internal(error.to_string()))
    }

    /// A job's log as it is written, from `part` on, until the job has ended.
    pub async fn follow_log(&self, job_id: &str, part: LogPart) -> Result<impl Stream<Item = LogFrame> + Send + use<>> {
        self.store.job(job_id).await?;
        let pause = if self.artifacts().await?.is_shared() { POLL_SHARED } else { POLL };
        let follower = Follower {
            pause,
            service: self.clone(),
            job_id: job_id.to_owned(),
            part,
            ready: VecDeque::new(),
            over: false,
        };
        Ok(stream::unfold(follower, |mut follower| async move {
            let frame = follower.next().await?;
            Some((frame, follower))
        }))
    }
}

struct Follower {
    service: Jobs,
    job_id: String,
    part: LogPart,
    pause: Duration,
    ready: VecDeque<LogFrame>,
    over: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<LogFrame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.over || self.service.stopping.is_cancelled() {
                return None;
            }
            if let Err(error) = self.read().await {
                self.over = true;
                return Some(LogFrame::Failed(error));
            }
            if self.ready.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(self.pause) => {}
                    () = self.service.stopping.cancelled() => {}
                }
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        // The state is read before the lines: the lines of an end seen here are in the batch.
        let state = self.service.store.job(&self.job_id).await?.state;
        let page = self.service.read_log(&self.job_id, self.part).await?;
        self.part = LogPart::After(page.next.parse().unwrap_or_default(), BATCH);
        let last = page.data.len().saturating_sub(1);
        let lines = page.data.into_iter().enumerate();
        self.ready.extend(lines.map(|(at, line)| LogFrame::Line(line, (at == last).then(|| page.next.clone()))));
        if state.is_final() && !page.has_more {
            self.over = true;
            self.ready.push_back(LogFrame::End(state));
        }
        Ok(())
    }
}
