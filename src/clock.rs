//! The only door for the wall clock and for ambient randomness, so that tests can replace both.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use chrono::{DateTime, Local, NaiveDateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use uuid::Uuid;

/// Where a component reads the time.
pub trait Clock: Send + Sync {
    /// The current UTC time, to the millisecond (the resolution that the databases keep).
    fn now(&self) -> DateTime<Utc>;
    /// A moment for measuring how much time has passed: setting the clock does not move it.
    fn instant(&self) -> Instant;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        truncate(Utc::now())
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The machine's clock in its own time zone, for texts that tell the date.
pub fn local_time() -> NaiveDateTime {
    Local::now().naive_local()
}

/// A clock that moves only when told to; for tests of leases and retention.
#[derive(Debug)]
pub struct FakeClock(Mutex<(DateTime<Utc>, Instant)>);

impl FakeClock {
    /// A clock that is stopped at `start`.
    pub fn new(start: DateTime<Utc>) -> Self {
        Self(Mutex::new((truncate(start), Instant::now())))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut time = self.0.lock();
        time.0 += TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX);
        time.1 += by;
    }

    /// Sets the clock forward or back, while no time passes.
    pub fn jump(&self, by: TimeDelta) {
        self.0.lock().0 += by;
    }
}

impl Clock for FakeClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.lock().0
    }

    fn instant(&self) -> Instant {
        self.0.lock().1
    }
}

fn truncate(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

/// A stopwatch for phase timings.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

/// The pause after this number of failures in a row: `first`, twice as long after each further one, at most `most`.
pub fn doubling_pause(first: Duration, failures: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(31)).min(most)
}

/// A new identifier: `prefix`, an underscore and 32 hexadecimal digits that sort by creation time (UUID version 7).
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7().simple())
}

/// 256 unpredictable bits from the operating system.
///
/// # Errors
/// When the operating system has none to give.
pub fn secret_bits() -> std::io::Result<[u8; 32]> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(bits)
}

/// An unpredictable seed, for requests without one.
pub fn random_seed() -> u64 {
    (Uuid::new_v4().as_u128() >> 64) as u64 >> 11
}
