//! One server that samples: which weights it has, how busy it is, how long it rests after a failure.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::RwLock;

use super::protocol::Identity;
use crate::clock::Stopwatch;

/// Requests that a server gets at a time; more only wait in its queue.
const MOST_REQUESTS: usize = 64;
/// How long a server rests after its first failure; each further one doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);
/// Longest rest.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A server.
pub(super) struct Server {
    pub(super) url: String,
    /// What it is known to have; held while that changes.
    pub(super) has: tokio::sync::Mutex<Has>,
    /// Held for reading by every request, for writing while all weights are replaced.
    pub(super) gate: RwLock<()>,
    load: Mutex<Load>,
}

/// What a server is known to have.
#[derive(Debug, Default)]
pub(super) struct Has {
    pub(super) identity: Option<Identity>,
    /// Names of adapters, the newest last.
    pub(super) adapters: Vec<String>,
    /// Has it failed since they were loaded? Then they may be gone.
    pub(super) unsure: bool,
    /// The name of all weights.
    pub(super) weights: Option<String>,
    /// The batch before which that was checked.
    pub(super) checked: u64,
}

#[derive(Debug, Default)]
struct Load {
    requests: usize,
    tokens: u64,
    /// Since when it rests, and for how long.
    rest: Option<(Stopwatch, Duration)>,
    /// How long it rests after the next failure; zero: it has answered since the last one.
    next_rest: Duration,
    /// Why it failed last.
    problem: Option<String>,
}

/// A request in progress.
pub(super) struct Busy<'a> {
    server: &'a Server,
    tokens: u64,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut load = self.server.load.lock();
        load.requests = load.requests.saturating_sub(1);
        load.tokens = load.tokens.saturating_sub(self.tokens);
    }
}

impl Server {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            has: tokio::sync::Mutex::default(),
            gate: RwLock::default(),
            load: Mutex::default(),
        }
    }

    /// The tokens that it works on, if it can take one more request. One that failed gets a single request at first.
    pub(super) fn room(&self) -> Option<u64> {
        let load = self.load.lock();
        let rests = load.rest.is_some_and(|(since, rest)| since.seconds() < rest.as_secs_f64());
        let most = if load.next_rest.is_zero() { MOST_REQUESTS } else { 1 };
        (!rests && load.requests < most).then_some(load.tokens)
    }

    /// Counts a request of this many tokens until the guard is dropped.
    pub(super) fn begin(&self, tokens: u64) -> Busy<'_> {
        let mut load = self.load.lock();
        load.requests += 1;
        load.tokens += tokens;
        Busy { server: self, tokens }
    }

    pub(super) fn answered(&self) {
        let mut load = self.load.lock();
        (load.rest, load.next_rest) = (None, Duration::ZERO);
    }

    /// Lets it rest. Requests that were in progress fail together, which counts as one failure.
    pub(super) fn failed(&self, problem: &str) {
        let mut load = self.load.lock();
        load.problem = Some(format!("{}: {problem}", self.url));
        if load.rest.is_some_and(|(since, rest)| since.seconds() < rest.as_secs_f64()) {
            return;
        }
        let rest = load.next_rest.max(FIRST_REST);
        let seconds = rest.as_secs();
        tracing::warn!(server = %self.url, %problem, seconds, "a server that samples failed; it rests");
        load.rest = Some((Stopwatch::start(), rest));
        load.next_rest = (rest * 2).min(LONGEST_REST);
    }

    /// Why it failed last.
    pub(super) fn problem(&self) -> Option<String> {
        self.load.lock().problem.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_rests_after_a_failure_and_is_tried_with_one_request() {
        let server = Server::new("http://a:1/");
        let (first, second) = (server.begin(10), server.begin(5));
        assert_eq!(server.room(), Some(15));
        server.failed("it broke");
        assert_eq!(server.room(), None, "it rests");
        drop((first, second));
        server.load.lock().rest = None;
        assert_eq!(server.room(), Some(0));
        let _busy = server.begin(10);
        assert_eq!(server.room(), None, "one request until it answers");
        server.answered();
        assert_eq!(server.room(), Some(10));
        assert_eq!(server.problem().as_deref(), Some("http://a:1: it broke"));
    }
}
