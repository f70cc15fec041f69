//! Signals and the parent pipe, which tell a worker process to stop.

use std::io::Read as _;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels the returned token at the first SIGTERM or SIGINT. Must be called inside a runtime.
pub fn stop_signals() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        stop.cancel();
    });
    Ok(token)
}

/// Listens to the parent on standard input. A line means "save your job and stop": `drain` is
/// cancelled. The end of input means that the parent is gone, even by `kill -9`: the returned token is cancelled, and
/// the process exits after `grace` at the latest, whatever its other threads do.
pub fn follow_parent(drain: CancellationToken, grace: Duration) -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let gone = token.clone();
    std::thread::Builder::new().name("parent-pipe".to_owned()).spawn(move || {
        let mut buffer = [0u8; 64];
        while matches!(std::io::stdin().read(&mut buffer), Ok(n) if n > 0) {
            drain.cancel();
        }
        gone.cancel();
        std::thread::sleep(grace);
        std::process::exit(1);
    })?;
    Ok(token)
}
