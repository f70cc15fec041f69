//! Connections: how many there may be, how long one may stay without a request, and which one is closed when
//! there is no room for a new one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::Holding;

/// Bytes of the head of a request.
const HEAD_BYTES: usize = 64 << 10;
/// Time for the head of a request, and between two requests. Not 30 seconds: a client that asks that often would send
/// its request just when its connection ends.
const HEAD: Duration = Duration::from_secs(35);
/// How long a client may read nothing of an answer that is there for it.
const STALL: Duration = Duration::from_mins(1);
/// Pause after a connection could not be accepted, for lack of a file descriptor.
const PAUSE: Duration = Duration::from_millis(50);
/// The answer where every connection is being answered.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// How many there may be at the same time.
    pub most: usize,
    /// How long one may take for the head of a request; the time between two requests counts.
    pub head: Duration,
}

impl Connections {
    /// Maximum number at the same time.
    pub fn at_most(most: usize) -> Self {
        Self { most, head: HEAD }
    }
}

/// Serves until `stopping`, and then finishes the requests that were sent before.
///
/// When all slots are taken, a new connection gets that of the one which has been idle for longest. So
/// clients that only hold connections do not keep others out.
///
/// # Errors
/// The listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Connections,
    stopping: CancellationToken,
) -> io::Result<()> {
    let room = Arc::new(Room::new(connections.most));
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => match Room::enter(&room) {
                Some(slot) => {
                    open.spawn(connection(stream, router.clone(), slot, connections.head, stopping.clone()));
                }
                None => turn_away(stream),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                room.make_room();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    open.close();
    open.wait().await;
    Ok(())
}

/// It went before it was taken.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Says that there is no room. The few bytes fit into a new connection's buffer, so this does not block.
fn turn_away(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = io::Write::write_all(&mut stream, FULL);
    }
}

async fn connection(stream: TcpStream, router: Router, slot: Slot, head: Duration, stopping: CancellationToken) {
    // Events and tokens are small, and a reader waits for each of them.
    let _ = stream.set_nodelay(true);
    let slot = Arc::new(slot);
    let (router, asking) = (TowerToHyperService::new(router), Arc::clone(&slot));
    let service = service_fn(move |request: Request<Incoming>| {
        let asked = Asked::by(&asking);
        let answer = router.call(request);
        async move {
            let response: Response = answer.await?;
            Ok::<_, Infallible>(response.map(|body| Holding::new(body, asked)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head).max_buf_size(HEAD_BYTES);
    let mut served = std::pin::pin!(http.serve_connection(TokioIo::new(Patient::new(stream)), service));
    let mut told = false;
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                break;
            }
            () = slot.leave.cancelled() => break,
            () = stopping.cancelled(), if !told => {
                told = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The places of all connections.
struct Room {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Grows with every change: it orders idle connections.
    turn: u64,
    slots: HashMap<u64, Held>,
}

struct Held {
    /// Since which turn nothing has been asked; none while it is being answered.
    quiet_since: Option<u64>,
    leave: CancellationToken,
}

/// A connection's place; free again when it is dropped.
struct Slot {
    room: Arc<Room>,
    id: u64,
    leave: CancellationToken,
}

impl Room {
    fn new(most: usize) -> Self {
        Self { most: most.max(1), taken: Mutex::default() }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Taken) -> T) -> T {
        let mut taken = self.taken.lock();
        taken.turn += 1;
        change(&mut taken)
    }

    /// A place, if need be that of the connection that has been quiet for the longest time; none where all are being
    /// answered.
    fn enter(room: &Arc<Self>) -> Option<Slot> {
        room.change(|taken| {
            if taken.slots.len() >= room.most && !taken.send_quietest_away() {
                return None;
            }
            let (id, leave) = (taken.turn, CancellationToken::new());
            taken.slots.insert(id, Held { quiet_since: Some(id), leave: leave.clone() });
            Some(Slot { room: Arc::clone(room), id, leave })
        })
    }

    /// Sends one away that asks nothing.
    fn make_room(&self) {
        self.change(Taken::send_quietest_away);
    }
}

impl Taken {
    fn send_quietest_away(&mut self) -> bool {
        let quiet = self.slots.iter().filter_map(|(id, held)| Some((held.quiet_since?, *id)));
        let Some((_, id)) = quiet.min() else { return false };
        if let Some(held) = self.slots.remove(&id) {
            held.leave.cancel();
        }
        true
    }
}

impl Slot {
    fn asks(&self, asks: bool) {
        self.room.change(|taken| {
            let turn = taken.turn;
            if let Some(held) = taken.slots.get_mut(&self.id) {
                held.quiet_since = (!asks).then_some(turn);
            }
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.room.change(|taken| taken.slots.remove(&self.id));
    }
}

/// A request, to the end of its answer.
struct Asked(Arc<Slot>);

impl Asked {
    fn by(slot: &Arc<Slot>) -> Self {
        slot.asks(true);
        Self(Arc::clone(slot))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.asks(false);
    }
}

/// A stream that gives a client up which reads nothing.
struct Patient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Self {
        Self { stream, stalled: None }
    }

    fn timed<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quietest_makes_room_and_who_is_answered_stays() {
        let room = Arc::new(Room::new(2));
        let (one, two) = (Room::enter(&room).unwrap(), Arc::new(Room::enter(&room).unwrap()));
        let asked = Asked::by(&two);
        let three = Room::enter(&room).unwrap();
        assert!(one.leave.is_cancelled() && !two.leave.is_cancelled());
        let three = Arc::new(three);
        let also = Asked::by(&three);
        assert!(Room::enter(&room).is_none(), "all are being answered");
        drop(asked);
        drop(also);
        // Two has been quiet for longer now.
        let four = Room::enter(&room).unwrap();
        assert!(two.leave.is_cancelled() && !three.leave.is_cancelled());
        drop(three);
        assert!(Room::enter(&room).is_some() && !four.leave.is_cancelled(), "a place that was left is free");
    }
}
