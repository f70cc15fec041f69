//! How long leases stay unchanged, by the monotonic clock of the process that watches them.
//!
//! A lease names its end in the time of day of the host that holds it, which no other host should judge: clocks are set,
//! drift and jump. So every process that looks at leases remembers since when it has seen each of them unchanged, and
//! ends those that were not extended for their full time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A look counts for at most a third of a lease's time, however long ago the last one was: the database or this process
/// may have stood still meanwhile, and the holder must get the chance of a heartbeat.
const LOOKS: u32 = 3;

/// Between two looks of a process that has other reasons to ask the database often.
const INTERVAL: Duration = Duration::from_secs(1);

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldLease {
    /// The job that it is for.
    pub job_id: String,
    /// The attempt that holds it.
    pub attempt: i64,
    /// Its end by its holder's clock, in milliseconds: every heartbeat changes it.
    pub expires_at: i64,
    /// How long it holds without a heartbeat.
    pub ttl: Duration,
}

/// The leases that this process has seen.
#[derive(Debug, Default)]
pub(super) struct LeaseWatch(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    last_look: Option<Instant>,
    leases: BTreeMap<String, Unchanged>,
}

#[derive(Debug)]
struct Unchanged {
    lease: HeldLease,
    lasted: Duration,
}

impl LeaseWatch {
    /// Is it time for a look?
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.0.lock().last_look.is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL)
    }

    /// Notes every lease that there is at `now`. Is one of them overdue?
    pub(super) fn look(&self, now: Instant, held: Vec<HeldLease>) -> bool {
        let mut watched = self.0.lock();
        let passed = watched.last_look.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let mut known = std::mem::take(&mut watched.leases);
        for lease in held {
            let lasted = match known.remove(&lease.job_id) {
                Some(before) if before.lease == lease => before.lasted + passed.min(lease.ttl / LOOKS),
                _ => Duration::ZERO,
            };
            watched.leases.insert(lease.job_id.clone(), Unchanged { lease, lasted });
        }
        watched.last_look = Some(now);
        watched.leases.values().any(Unchanged::is_overdue)
    }

    /// The leases that the last look found to have stayed as they are for their whole time, in the order of their jobs.
    pub(super) fn overdue(&self) -> Vec<HeldLease> {
        let watched = self.0.lock();
        watched.leases.values().filter(|seen| seen.is_overdue()).map(|seen| seen.lease.clone()).collect()
    }
}

impl Unchanged {
    fn is_overdue(&self) -> bool {
        self.lasted >= self.lease.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const TTL: Duration = Duration::from_secs(30);

    fn lease(job: &str, expires_at: i64) -> HeldLease {
        HeldLease { job_id: job.to_owned(), attempt: 1, expires_at, ttl: TTL }
    }

    /// Looks once a second for so many seconds; when was something overdue?
    fn watched(watch: &LeaseWatch, from: Instant, seconds: u64, held: &[HeldLease]) -> Option<u64> {
        (0..seconds).find(|second| watch.look(from + Duration::from_secs(*second), held.to_vec()))
    }

    #[test]
    fn a_lease_ends_when_it_stayed_for_its_whole_time() {
        let (watch, start) = (LeaseWatch::default(), SystemClock.instant());
        // What the end is called does not matter: the holder's clock may be years off.
        let held = [lease("a", 0), lease("b", i64::MAX)];
        assert_eq!(watched(&watch, start, 40, &held), Some(30));
        assert_eq!(watch.overdue(), held);
    }

    #[test]
    fn a_heartbeat_begins_it_anew() {
        let (watch, start) = (LeaseWatch::default(), SystemClock.instant());
        assert_eq!(watched(&watch, start, 30, &[lease("a", 0)]), None);
        // Also one that names an earlier end, as it does when the holder's clock was set back.
        let later = start + Duration::from_secs(30);
        assert_eq!(watched(&watch, later, 30, &[lease("a", -3_600_000)]), None);
        assert_eq!(watched(&watch, later + Duration::from_secs(30), 30, &[lease("a", 7)]), None);
    }

    #[test]
    fn a_pause_between_looks_counts_for_a_third() {
        let (watch, start) = (LeaseWatch::default(), SystemClock.instant());
        let held = || vec![lease("a", 0)];
        for hours in 0..3 {
            assert!(!watch.look(start + Duration::from_hours(hours), held()), "{hours}");
        }
        assert!(watch.look(start + Duration::from_hours(3), held()));
    }

    #[test]
    fn one_that_is_gone_is_forgotten() {
        let (watch, start) = (LeaseWatch::default(), SystemClock.instant());
        assert_eq!(watched(&watch, start, 31, &[lease("a", 0)]), Some(30));
        assert!(!watch.look(start + TTL, Vec::new()));
        assert_eq!(watch.overdue(), []);
    }
}
