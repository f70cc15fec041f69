//! What a server with the API does all the time: it tells that it is alive, ends leases that ran out (nobody else does
//! where no worker lives), and ends uploads whose server is gone.

use std::time::Duration;

use crate::clock::Stopwatch;
use crate::service::Result;
use crate::service::admin::Admin;
use crate::service::datasets::SILENT;

/// Between two looks at the leases.
const LEASES: Duration = Duration::from_secs(2);
/// Between two signs of life.
const BEAT: f64 = 10.0;
/// Between two looks at the data sets on their way in, and at what is to be removed.
const UPLOADS: f64 = 30.0;

impl Admin {
    /// Watches until the server stops; `host` is the machine's name.
    pub async fn keep_watch(&self, host: &str) {
        let (mut beat, mut uploads) = (None::<Stopwatch>, Stopwatch::start());
        loop {
            if beat.is_none_or(|last| last.seconds() >= BEAT) {
                beat = Some(Stopwatch::start());
                said(
                    "cannot send the server's heartbeat",
                    self.database.server_heartbeat(&self.server_id, host).await.map_err(Into::into),
                );
            }
            said("expired leases cannot be ended now", self.end_leases().await);
            if uploads.seconds() >= UPLOADS {
                uploads = Stopwatch::start();
                said("interrupted uploads cannot be ended now", self.datasets().recover_of(SILENT).await);
                said("files of deleted records cannot be removed now", self.finish_removals().await);
            }
            tokio::select! {
                () = tokio::time::sleep(LEASES) => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    async fn end_leases(&self) -> Result<()> {
        for job in self.database.expire_leases().await? {
            tracing::warn!(job = %job.id, state = %job.state, "the lease of a job expired");
            self.tell_news();
        }
        Ok(())
    }
}

/// What does not succeed now is tried again soon.
fn said(problem: &str, done: Result<()>) {
    if let Err(error) = done {
        tracing::warn!(%error, "{problem}");
    }
}
