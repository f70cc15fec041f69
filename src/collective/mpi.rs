//! Ranks that are processes, joined by MPI.
//!
//! One thread of each process makes every call of MPI. It carries messages without ever waiting inside of MPI, so it
//! keeps sending signs of life and keeps counting the time: rank 0 hears every rank and every rank hears rank 0, which
//! is where a rank that was stopped, killed or cut off is noticed and named.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mpi::Tag;
use mpi::environment::Threading;
use mpi::request::{LocalScope, Request, StaticScope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, Destination as _, Equivalence, Source as _};
use parking_lot::Mutex;

use super::{Collective, CollectiveError, Fault, Part};
use crate::clock::Stopwatch;

const BEAT: Tag = 1;
const HEADER: Tag = 2;
const CONTENT: Tag = 3;

/// Time between signs of life.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// An idle thread looks after signs of life this often.
const IDLE: Duration = Duration::from_millis(20);
/// Ranks that are alive have this long to come to an operation: far longer than the longest step of a rank alone.
const STUCK: Duration = Duration::from_hours(2);
/// A rank that fails gives the others this long to take its message.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A rank leaves it to rank 0 to notice a loss first, because that one reports it.
const PATIENCE: u32 = 2;
/// Longest single message in bytes: MPI counts in 32 bits.
const MOST_BYTES: usize = 1 << 30;
/// Looks without any progress before the thread starts to sleep between them.
const EAGER: u32 = 200;

/// A sign of life.
static SIGN: [u8; 1] = [0];

/// The kinds of a header: a part of an operation follows, or a fault.
const PART: u64 = 0;
const FAULT: u64 = 1;
/// Kind, number of the operation, hash of its name, bytes that follow.
type Header = [u64; 4];

type Reply = Result<Vec<Vec<u8>>, CollectiveError>;

enum Command {
    Exchange { what: &'static str, parts: Vec<Part>, reply: Sender<Reply> },
    Fail { fault: Fault, told: Sender<()> },
    Close,
}

/// This process as a rank of an MPI job.
#[derive(Debug)]
pub struct MpiRank {
    rank: usize,
    size: usize,
    ended: AtomicBool,
    commands: Mutex<Sender<Command>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl MpiRank {
    /// Joins the ranks that a launcher has started. One that is silent for `silence` counts as lost.
    ///
    /// # Errors
    /// MPI cannot be used by several threads, or not at all.
    pub fn join(silence: Duration) -> Result<Self, CollectiveError> {
        let (commands, inbox) = channel();
        let (joined, wait) = channel();
        let unavailable = |problem: &str| CollectiveError::Unavailable(format!("MPI: {problem}"));
        let run = move || match mpi::initialize_with_threading(Threading::Funneled) {
            Some((universe, Threading::Funneled | Threading::Serialized | Threading::Multiple)) => {
                let link = Link::new(universe.world(), silence, inbox);
                let _ = joined.send(Some((link.rank, link.size)));
                link.run();
            }
            _ => {
                let _ = joined.send(None);
            }
        };
        let thread = std::thread::Builder::new().name("ranks".to_owned()).spawn(run);
        let thread = thread.map_err(|error| unavailable(&error.to_string()))?;
        let Ok(Some((rank, size))) = wait.recv() else {
            return Err(unavailable("it cannot be started in a program of several threads"));
        };
        let (commands, thread) = (Mutex::new(commands), Mutex::new(Some(thread)));
        Ok(Self { rank, size, ended: AtomicBool::new(false), commands, thread })
    }

    fn command(&self, command: Command) -> Result<(), CollectiveError> {
        self.commands.lock().send(command).map_err(|_| CollectiveError::Ended)
    }
}

impl Collective for MpiRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, what: &'static str, parts: &[Part]) -> Reply {
        if self.ended.load(Ordering::Relaxed) {
            return Err(CollectiveError::Ended);
        }
        let (reply, wait) = channel();
        self.command(Command::Exchange { what, parts: parts.to_vec(), reply })?;
        let received = wait.recv().unwrap_or(Err(CollectiveError::Ended));
        received.inspect_err(|_| self.ended.store(true, Ordering::Relaxed))
    }

    fn fail(&self, fault: &Fault) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let (told, wait) = channel();
        if self.command(Command::Fail { fault: fault.clone(), told }).is_ok() {
            // A thread that has ended tells nobody any more.
            let _ = wait.recv_timeout(2 * LAST_WORDS);
        }
    }

    fn close(&self) -> Result<(), CollectiveError> {
        self.barrier("the end")?;
        self.ended.store(true, Ordering::Relaxed);
        self.command(Command::Close)?;
        let thread = self.thread.lock().take();
        thread.map_or(Ok(()), |thread| thread.join().map_err(|_| CollectiveError::Ended))
    }
}

/// The thread's side: what MPI needs, and what has been heard of other ranks.
struct Link {
    world: SimpleCommunicator,
    rank: usize,
    size: usize,
    silence: Duration,
    commands: Receiver<Command>,
    operation: u64,
    /// Who waits for the operation in progress.
    reply: Option<Sender<Reply>>,
    /// Since the last sign of each rank.
    heard: Vec<Stopwatch>,
    /// Since the last signs were sent, and since others' were looked for.
    beaten: Stopwatch,
    looked: Stopwatch,
    /// Signs on their way to each rank.
    beats: Vec<Option<Request<'static, [u8], StaticScope>>>,
}

/// A message on its way: the other rank, whether it comes from there, and the request.
type Pending<'s, 'a, T> = (usize, bool, Request<'a, [T], &'s LocalScope<'a>>);

impl Link {
    fn new(world: SimpleCommunicator, silence: Duration, commands: Receiver<Command>) -> Self {
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        Self {
            world,
            rank,
            size,
            silence,
            commands,
            operation: 0,
            reply: None,
            heard: (0..size).map(|_| Stopwatch::start()).collect(),
            beaten: Stopwatch::start(),
            looked: Stopwatch::start(),
            beats: (0..size).map(|_| None).collect(),
        }
    }

    /// Carries out commands until the connection is closed. After an error it never returns, because messages may be on
    /// their way from and to memory that has to stay: the process ends with the thread waiting.
    fn run(mut self) {
        loop {
            match self.commands.recv_timeout(IDLE) {
                Ok(Command::Exchange { what, parts, reply }) => {
                    self.reply = Some(reply);
                    let received = self.exchange(what, &parts);
                    if let Some(reply) = self.reply.take() {
                        let _ = reply.send(Ok(received));
                    }
                }
                Ok(Command::Fail { fault, told }) => self.fail(&fault, &told),
                Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.live(),
            }
        }
        self.beats.into_iter().flatten().for_each(Request::wait_without_status);
    }

    /// Hands an error to whoever waits, and waits for the end of the process.
    fn give_up(&mut self, error: CollectiveError) -> ! {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error));
        }
        loop {
            match self.commands.recv() {
                Ok(Command::Exchange { reply, .. }) => drop(reply.send(Err(CollectiveError::Ended))),
                Ok(Command::Fail { told, .. }) => drop(told.send(())),
                Ok(Command::Close) | Err(_) => std::thread::park(),
            }
        }
    }

    fn exchange(&mut self, what: &'static str, parts: &[Part]) -> Vec<Vec<u8>> {
        self.operation += 1;
        let header = |part: &Part| [PART, self.operation, name_hash(what), part.len() as u64];
        let own: Vec<Header> = parts.iter().map(header).collect();
        let mut theirs: Vec<Header> = vec![[0; 4]; self.size];
        theirs[self.rank] = own[self.rank];
        let own: Vec<&[u64]> = own.iter().map(<[u64; 4]>::as_slice).collect();
        self.transfer(what, HEADER, &own, theirs.iter_mut().map(|header| &mut header[..]).collect(), false);
        if let Some(rank) = theirs.iter().position(|header| header[0] == FAULT) {
            let fault = self.fault(rank, theirs[rank][3] as usize, what);
            self.give_up(CollectiveError::Fault { rank, fault });
        }
        let same = |header: &Header| header[1..3] == [self.operation, name_hash(what)];
        if let Some(rank) = theirs.iter().position(|header| !same(header)) {
            let problem = format!(
                "is at operation {}, while rank {} is at {} ({what})",
                theirs[rank][1], self.rank, self.operation
            );
            self.give_up(CollectiveError::Different { rank, problem });
        }
        let mut received: Vec<Vec<u8>> = theirs.iter().map(|header| vec![0; header[3] as usize]).collect();
        received[self.rank].copy_from_slice(&parts[self.rank]);
        let own: Vec<&[u8]> = parts.iter().map(|part| part.as_slice()).collect();
        self.transfer(what, CONTENT, &own, received.iter_mut().map(Vec::as_mut_slice).collect(), false);
        received
    }

    /// The fault that `rank` tells.
    fn fault(&mut self, rank: usize, bytes: usize, what: &'static str) -> Fault {
        let mut message = vec![0; bytes];
        let receive = (0..self.size).map(|_| &mut [][..]).collect::<Vec<&mut [u8]>>();
        let mut receive = receive;
        receive[rank] = &mut message;
        self.transfer(what, CONTENT, &vec![&[][..]; self.size], receive, false);
        serde_json::from_slice(&message).unwrap_or_else(|_| Fault::new("failed", false))
    }

    /// Tells every other rank that this one cannot continue.
    fn fail(&mut self, fault: &Fault, told: &Sender<()>) -> ! {
        self.operation += 1;
        let message = serde_json::to_vec(fault).unwrap_or_default();
        let header: Header = [FAULT, self.operation, 0, message.len() as u64];
        let nothing = || (0..self.size).map(|_| &mut [][..]).collect::<Vec<_>>();
        self.transfer("a fault", HEADER, &vec![&header[..]; self.size], nothing(), true);
        let nothing = || (0..self.size).map(|_| &mut [][..]).collect::<Vec<_>>();
        self.transfer("a fault", CONTENT, &vec![&message[..]; self.size], nothing(), true);
        let _ = told.send(());
        self.give_up(CollectiveError::Ended)
    }

    /// Sends `own[r]` to every other rank `r` while it receives `theirs[r]` from it; empty ones are not sent. With
    /// `last_words` only for a while, and whether or not anyone takes them.
    fn transfer<T: Equivalence>(
        &mut self,
        what: &'static str,
        tag: Tag,
        own: &[&[T]],
        theirs: Vec<&mut [T]>,
        last_words: bool,
    ) {
        let most = MOST_BYTES / size_of::<T>();
        scope(|scope| {
            let mut pending: Vec<Pending<'_, '_, T>> = Vec::new();
            for (rank, theirs) in theirs.into_iter().enumerate().filter(|(rank, _)| *rank != self.rank) {
                for part in theirs.chunks_mut(most) {
                    let other = self.world.process_at_rank(rank as i32);
                    pending.push((rank, true, other.immediate_receive_into_with_tag(scope, part, tag)));
                }
            }
            for (rank, own) in own.iter().enumerate().filter(|(rank, _)| *rank != self.rank) {
                for part in own.chunks(most) {
                    let other = self.world.process_at_rank(rank as i32);
                    pending.push((rank, false, other.immediate_send_with_tag(scope, part, tag)));
                }
            }
            self.complete(what, pending, last_words);
        });
    }

    /// Waits for messages on their way.
    fn complete<T>(&mut self, what: &'static str, mut pending: Vec<Pending<'_, '_, T>>, last_words: bool) {
        let (clock, mut idle) = (Stopwatch::start(), 0);
        loop {
            let before = pending.len();
            let mut waiting = Vec::with_capacity(before);
            for (rank, receiving, request) in pending {
                match request.test() {
                    Ok(_) if receiving => self.heard[rank] = Stopwatch::start(),
                    Ok(_) => {}
                    Err(request) => waiting.push((rank, receiving, request)),
                }
            }
            pending = waiting;
            if pending.is_empty() {
                return;
            }
            idle = if pending.len() < before { 0 } else { idle + 1 };
            if last_words && clock.seconds() > LAST_WORDS.as_secs_f64() {
                // Their memory stays: the thread does not return.
                pending.into_iter().for_each(std::mem::forget);
                self.give_up(CollectiveError::Ended);
            }
            self.live();
            if let Some(error) = self.lost(what).or_else(|| Self::stuck(what, &pending, clock.seconds())) {
                pending.into_iter().for_each(std::mem::forget);
                self.give_up(error);
            }
            match idle {
                0..EAGER => std::thread::yield_now(),
                _ if clock.seconds() < 1.0 => std::thread::sleep(Duration::from_micros(50)),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Sends signs of life when it is time to, and takes those of others.
    fn live(&mut self) {
        if self.looked.seconds() < IDLE.as_secs_f64() {
            return;
        }
        self.looked = Stopwatch::start();
        while let Some(status) = self.world.any_process().immediate_probe_with_tag(BEAT) {
            let (from, mut sign) = (status.source_rank(), [0_u8; 1]);
            self.world.process_at_rank(from).receive_into_with_tag(&mut sign[..], BEAT);
            self.heard[from as usize] = Stopwatch::start();
        }
        if self.beaten.seconds() < BEAT_EVERY.as_secs_f64() {
            return;
        }
        self.beaten = Stopwatch::start();
        let listeners = if self.rank == 0 { 1..self.size } else { 0..1 };
        for rank in listeners {
            // A sign that has not been taken yet is enough.
            let under_way = self.beats[rank].take().and_then(|request| request.test().err());
            let other = self.world.process_at_rank(rank as i32);
            let send = || other.immediate_send_with_tag(StaticScope, &SIGN[..], BEAT);
            self.beats[rank] = Some(under_way.unwrap_or_else(send));
        }
    }

    /// The error that names the ranks that have been silent for too long.
    fn lost(&self, what: &'static str) -> Option<CollectiveError> {
        let (listened_to, allowed) =
            if self.rank == 0 { (1..self.size, self.silence) } else { (0..1, self.silence * PATIENCE) };
        let silent = |rank: &usize| self.heard[*rank].seconds() > allowed.as_secs_f64();
        let ranks: Vec<usize> = listened_to.filter(silent).collect();
        let seconds = allowed.as_secs();
        (!ranks.is_empty()).then(|| CollectiveError::Missing { what, ranks, names: Vec::new(), seconds })
    }

    /// The error that names ranks that are alive but do not come.
    fn stuck<T>(what: &'static str, pending: &[Pending<'_, '_, T>], waited: f64) -> Option<CollectiveError> {
        if waited < STUCK.as_secs_f64() {
            return None;
        }
        let mut ranks: Vec<usize> = pending.iter().map(|(rank, ..)| *rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        Some(CollectiveError::Stuck { what, ranks, names: Vec::new(), seconds: STUCK.as_secs() })
    }
}

/// A hash of an operation's name (FNV-1a), so that ranks notice that they are at different ones.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
