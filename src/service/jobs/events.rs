//! Events: pages of the past, and live streams that poll the database (the in-process hint only saves waiting).

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use crate::domain::event::{Event, EventFilter, JobChanged, kind};
use crate::domain::job::JobState;
use crate::domain::page::{Listing, Page};
use crate::service::jobs::Jobs;
use crate::service::{Result, ServiceError};

/// Pause between two looks at the database.
const POLL: Duration = Duration::from_millis(250);
/// Events read at once.
const BATCH: u32 = 256;

/// Where a live stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest event that is kept.
    Start,
    /// With what happens from now on.
    Now,
    /// After this sequence number.
    After(i64),
}

/// What a live stream follows.
#[derive(Debug, Clone)]
pub struct Follow {
    /// Which events.
    pub filter: EventFilter,
    /// Where it begins.
    pub from: StartAt,
    /// The job whose end ends the stream; none: the stream does not end.
    pub until: Option<String>,
}

/// One frame of a live stream.
#[derive(Debug)]
pub enum Frame {
    /// Something happened.
    Event(Event),
    /// Events after the requested position are no longer available: read the lists again; the stream continues after
    /// `after`.
    Reset {
        /// The position from which the stream continues.
        after: i64,
    },
    /// The job has ended and everything was sent.
    End {
        /// Its last state.
        state: JobState,
        /// The position of the end.
        seq: i64,
    },
    /// The stream failed.
    Failed(ServiceError),
}

impl Jobs {
    /// Past events in order, after the sequence number `page.after`.
    pub async fn events(&self, filter: &EventFilter, page: &Page) -> Result<Listing<Event>> {
        let after = match page.after.as_deref().map(str::parse) {
            None => 0,
            Some(Ok(after)) => after,
            Some(Err(_)) => {
                return Err(ServiceError::field("?after", "`after` must be the `next` of a page of events"));
            }
        };
        let events = self.store.events_after(after, filter, page.limit + 1).await?;
        Ok(Listing::from_overfull(events, page.limit, |event| event.seq.to_string()))
    }

    /// A live stream. It reads on only as fast as it is read, and ends when it is dropped or the server stops.
    pub async fn follow(&self, follow: Follow) -> Result<impl Stream<Item = Frame> + Send + use<>> {
        let span = self.store.event_span().await?;
        let oldest = span.first.map_or(span.last, |first| first - 1);
        let mut ready = VecDeque::new();
        let position = match follow.from {
            StartAt::Start => 0,
            StartAt::Now => span.last,
            // Pruned in the meantime, or a number of another database.
            StartAt::After(seq) if seq < oldest || seq > span.last => {
                ready.push_back(Frame::Reset { after: oldest });
                oldest
            }
            StartAt::After(seq) => seq,
        };
        let news = self.news.subscribe();
        let follower = Follower {
            service: self.clone(),
            position,
            ready,
            news,
            // A job that has ended already ends the stream after its history.
            ending: true,
            over: false,
            follow,
        };
        Ok(stream::unfold(follower, |mut follower| async move {
            let frame = follower.next().await?;
            Some((frame, follower))
        }))
    }
}

struct Follower {
    service: Jobs,
    follow: Follow,
    position: i64,
    ready: VecDeque<Frame>,
    news: watch::Receiver<u64>,
    /// The job may have ended: its state is read after its last event.
    ending: bool,
    over: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(frame);
            }
            if self.over || self.service.stopping.is_cancelled() {
                return None;
            }
            match self.read().await {
                Ok(true) => {}
                Ok(false) => self.wait().await,
                Err(error) => {
                    self.over = true;
                    return Some(Frame::Failed(error));
                }
            }
        }
    }

    /// Reads new events; false when there are none.
    async fn read(&mut self) -> Result<bool> {
        // The state is read before the events: an end seen here has its event in the batch.
        let ended = match (&self.follow.until, self.ending) {
            (Some(job), true) => Some(self.service.store.job(job).await?.state).filter(|state| state.is_final()),
            _ => None,
        };
        let events = self.service.store.events_after(self.position, &self.follow.filter, BATCH).await?;
        let complete = events.len() < BATCH as usize;
        if let Some(last) = events.last() {
            self.position = last.seq;
        }
        if events.iter().any(ends_a_job) {
            self.ending = true;
        } else if complete && ended.is_none() {
            // Where the filter hides the job's own events, only its state shows the end.
            self.ending = !wants_job_events(&self.follow.filter);
        }
        let has_events = !events.is_empty();
        self.ready.extend(events.into_iter().map(Frame::Event));
        match ended {
            Some(state) if complete => {
                self.over = true;
                self.ready.push_back(Frame::End { state, seq: self.position });
                Ok(true)
            }
            _ => Ok(has_events),
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = self.news.changed() => {}
            () = self.service.stopping.cancelled() => {}
        }
    }
}

fn wants_job_events(filter: &EventFilter) -> bool {
    filter.kinds.is_empty() || filter.kinds.iter().any(|wanted| wanted == kind::JOB)
}

fn ends_a_job(event: &Event) -> bool {
    event.kind == kind::JOB
        && serde_json::from_value::<JobChanged>(event.data.clone()).is_ok_and(|change| change.to.is_final())
}
