//! State shared by the heartbeat, the writer and the trainer's thread of one attempt.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::domain::job::Wanted;
use crate::train::sink::Control;

const CONTINUE: u8 = 0;
const PAUSE: u8 = 1;
const CANCEL: u8 = 2;

/// State of one attempt.
pub(super) struct Shared {
    wanted: AtomicU8,
    lost: AtomicBool,
    failure: Mutex<Option<String>>,
    drain: CancellationToken,
}

impl Shared {
    /// The state of a new attempt, which runs until `drain` is cancelled or a request arrives.
    pub(super) fn new(drain: CancellationToken) -> Self {
        Self { wanted: AtomicU8::new(CONTINUE), lost: AtomicBool::new(false), failure: Mutex::new(None), drain }
    }

    /// Records a user's request that a heartbeat received.
    pub(super) fn want(&self, wanted: Wanted) {
        let value = match wanted {
            Wanted::Continue => CONTINUE,
            Wanted::Pause => PAUSE,
            Wanted::Cancel => CANCEL,
        };
        self.wanted.store(value, Ordering::SeqCst);
    }

    /// Records that the lease was lost: results of this attempt are no longer valid.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }

    /// Was the lease lost?
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// The first thing that went wrong outside the trainer.
    pub(super) fn fail(&self, message: String) {
        let mut failure = self.failure.lock();
        failure.get_or_insert(message);
    }

    /// What went wrong outside the trainer, if anything.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Was the job cancelled?
    pub(super) fn is_cancelled(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) == CANCEL
    }

    /// Was the job paused?
    pub(super) fn is_paused(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) == PAUSE
    }

    /// What the trainer should do.
    pub(super) fn control(&self) -> Control {
        if self.is_lost() || self.is_cancelled() || self.failure().is_some() {
            Control::Cancel
        } else if self.is_paused() || self.drain.is_cancelled() {
            Control::Yield
        } else {
            Control::Continue
        }
    }
}
