//! The worker's side of a job of several ranks: it starts the launcher, stores what rank 0 says, and ends them all.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};

use super::messages::{Answer, Ended, RankPlan, Said};
use crate::clock::Stopwatch;
use crate::collective::launch::{NOT_BUILT_IN, is_built_in};
use crate::config::app::PLACE;
use crate::domain::metric::StepMetrics;
use crate::train::sink::{CheckpointNotice, Control, RunSink};
use crate::worker::runner::{RunEnd, RunnerError};

/// Longest line of rank 0: sample rollouts with their pictures.
const MOST_BYTES: u64 = 1 << 30;
/// Lines of standard error that explain an end: the first ones name what failed, the last ones what followed.
const FIRST_LINES: usize = 3;
/// See [`FIRST_LINES`].
const LAST_LINES: usize = 9;
/// A run that had ranks before waits this long for hosts that cannot be reached: a machine that is started anew takes
/// minutes. A run that never had any fails at once, because its launcher may be wrong.
const HOSTS_WITHIN: Duration = Duration::from_mins(10);
/// Pause before the second try to start ranks; it doubles with every further one.
const AGAIN_FIRST: Duration = Duration::from_secs(2);
/// Longest such pause.
const AGAIN_MOST: Duration = Duration::from_secs(30);
/// After the run has ended, or was asked to, its processes have this long to go.
const GO_WITHIN: Duration = Duration::from_secs(10);
/// Time between looks whether a launcher that says nothing is still there.
const LOOK: Duration = Duration::from_secs(1);
/// Open MPI passes the variables that this one names on to ranks of other hosts; MPICH and Slurm pass on all of them.
const OPEN_MPI_PASSES_ON: &str = "OMPI_MCA_mca_base_env_list";
/// The option that does the same. Open MPI refuses to have both.
const OPEN_MPI_EXPORT: &str = "-x";

/// Why a worker cannot start ranks.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program lacks MPI.
    #[error("`ranks` is {most}, but {NOT_BUILT_IN}; or set `ranks` to 1")]
    NotBuiltIn {
        /// The setting.
        most: u32,
    },
    /// The launcher is not on this machine.
    #[error(
        "`launcher`: the program `{program}` is not installed or not in PATH (on Debian: \
        `apt-get install openmpi-bin`); install it, name another launcher, or set `ranks` to 1"
    )]
    NotInstalled {
        /// Its name.
        program: String,
    },
}

/// How a worker starts the ranks of a job.
#[derive(Debug, Clone)]
pub struct Launcher {
    words: Vec<String>,
    program: PathBuf,
    data_dir: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Launcher {
    /// Starts up to `most` ranks by the command `launcher`, each of them this `program` with its settings in
    /// `environment`.
    ///
    /// # Errors
    /// This build or this machine cannot.
    pub fn new(
        launcher: &str,
        most: u32,
        program: PathBuf,
        data_dir: &Path,
        environment: Vec<(&'static str, String)>,
    ) -> Result<Self, LaunchError> {
        if !is_built_in() {
            return Err(LaunchError::NotBuiltIn { most });
        }
        let words: Vec<String> = launcher.split_whitespace().map(str::to_owned).collect();
        let name = words.first().cloned().unwrap_or_default();
        let found = if name.contains('/') {
            Path::new(&name).is_file()
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| dir.join(&name).is_file())
        };
        if !found {
            return Err(LaunchError::NotInstalled { program: name });
        }
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Ok(Self { words, program, data_dir, environment })
    }

    /// Runs an attempt to its end.
    pub(in crate::worker) fn run(&self, plan: &RankPlan, sink: &mut dyn RunSink) -> Result<RunEnd, RunnerError> {
        let path = plan.work_dir.join("plan.json");
        // Ranks of other hosts may begin in another folder.
        let path = std::path::absolute(&path).unwrap_or(path);
        let text = serde_json::to_vec(plan).map_err(|error| transient("the plan of the ranks", &error))?;
        std::fs::write(&path, text).map_err(|error| transient(&path.display().to_string(), &error))?;
        let (clock, mut pause) = (Stopwatch::start(), AGAIN_FIRST);
        loop {
            let why = match self.once(&path, plan.spec.resources.ranks, sink)? {
                Course::Ended(ended) => return ended.result(),
                Course::Broken { why } => return Err(RunnerError::Transient(why)),
                Course::Silent { why } => why,
            };
            if plan.resume.is_none() || clock.seconds() >= HOSTS_WITHIN.as_secs_f64() {
                return Err(RunnerError::Transient(why));
            }
            let (again, limit) = (pause.as_secs(), HOSTS_WITHIN.as_secs() / 60);
            sink.progress(&format!("{why}; trying again in {again} s, for up to {limit} minutes"));
            if let Some(asked) = wait(pause, sink) {
                return Ok(asked);
            }
            pause = (pause * 2).min(AGAIN_MOST);
        }
    }

    /// Starts the ranks and follows them to their end.
    fn once(&self, plan: &Path, ranks: u32, sink: &mut dyn RunSink) -> Result<Course, RunnerError> {
        let mut group = self.start(plan, ranks).map_err(|error| transient("the launcher", &error))?;
        let (input, output, errors) = group.pipes().ok_or_else(|| transient("the launcher", &"it has no pipes"))?;
        let told = Arc::new(Mutex::new(Told::default()));
        let lines = Arc::clone(&told);
        let span = tracing::Span::current();
        let reader = std::thread::spawn(move || span.in_scope(|| pass_on(BufReader::new(errors), &lines)));
        let (said, hear) = sync_channel(1);
        std::thread::spawn(move || listen(BufReader::new(output), &said));
        let mut heard = false;
        let ended =
            converse(&hear, &mut group, input, sink, &mut heard).map_err(|error| transient("the ranks", &error))?;
        let status = group.end(ended.is_some());
        // It ends with the last process that holds the pipe, which may be a connection to a host that is cut off.
        let clock = Stopwatch::start();
        while status.is_some() && !reader.is_finished() && clock.seconds() < LOOK.as_secs_f64() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let why = || unexplained(status.as_deref(), &told.lock());
        Ok(match ended {
            Some(ended) => Course::Ended(ended),
            None if heard => Course::Broken { why: why() },
            None => Course::Silent { why: why() },
        })
    }

    fn start(&self, plan: &Path, ranks: u32) -> std::io::Result<Group> {
        let words: Vec<String> = self.words.iter().map(|word| word.replace(PLACE, &ranks.to_string())).collect();
        let mut command = Command::new(words.first().map_or("", String::as_str));
        command.args(words.iter().skip(1)).arg(&self.program).arg("rank").arg("--plan").arg(plan);
        command.arg("--data").arg(&self.data_dir).envs(self.environment.iter().map(|(name, value)| (name, value)));
        if !words.iter().any(|word| word == OPEN_MPI_EXPORT) && std::env::var_os(OPEN_MPI_PASSES_ON).is_none() {
            let names: Vec<&str> = self.environment.iter().map(|(name, _)| *name).collect();
            command.env(OPEN_MPI_PASSES_ON, names.join(";"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its own process group, which is ended as a whole.
        Ok(Group(command.process_group(0).spawn()?))
    }
}

/// The launcher and what it started.
struct Group(Child);

impl Group {
    fn pipes(&mut self) -> Option<(ChildStdin, std::process::ChildStdout, std::process::ChildStderr)> {
        Some((self.0.stdin.take()?, self.0.stdout.take()?, self.0.stderr.take()?))
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)))
    }

    /// Waits until the processes have gone, and ends them when they do not. Returns how the launcher ended.
    fn end(&mut self, by_themselves: bool) -> Option<String> {
        for (signal, wait) in [(None, by_themselves), (Some(Signal::TERM), true), (Some(Signal::KILL), true)] {
            if let Some(signal) = signal {
                let sent = kill_process_group(Pid::from_child(&self.0), signal);
                tracing::debug!(?signal, ?sent, "ending the ranks");
            }
            let clock = Stopwatch::start();
            while wait && clock.seconds() < GO_WITHIN.as_secs_f64() {
                if let Ok(Some(status)) = self.0.try_wait() {
                    return Some(status.to_string());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.end(false);
        }
    }
}

/// How far ranks came that a launcher was asked for.
enum Course {
    /// Rank 0 told how the run ended.
    Ended(Ended),
    /// They are gone in the middle of the run.
    Broken { why: String },
    /// They are gone before rank 0 said anything: they may never have been there.
    Silent { why: String },
}

/// Lets time pass, unless the run is asked to end.
fn wait(pause: Duration, sink: &mut dyn RunSink) -> Option<RunEnd> {
    let clock = Stopwatch::start();
    while clock.seconds() < pause.as_secs_f64() {
        match sink.control() {
            Control::Continue => std::thread::sleep(Duration::from_millis(100)),
            Control::Yield => return Some(RunEnd::Yielded),
            Control::Cancel => return Some(RunEnd::Cancelled),
        }
    }
    None
}

fn transient(what: &str, error: &dyn std::fmt::Display) -> RunnerError {
    RunnerError::Transient(format!("{what}: {error}"))
}

/// What a launcher told on its standard error: the beginning, and the end.
#[derive(Default)]
struct Told {
    first: Vec<String>,
    last: VecDeque<String>,
}

impl Told {
    fn add(&mut self, line: String) {
        if self.first.len() < FIRST_LINES {
            return self.first.push(line);
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// Passes lines of standard error to the log of the job, and keeps some of them.
fn pass_on(errors: impl BufRead, told: &Mutex<Told>) {
    for line in errors.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        // Launchers draw lines.
        if line.trim_matches('-').is_empty() {
            continue;
        }
        tracing::info!(target: "vgpo::ranks", "{line}");
        told.lock().add(line);
    }
}

/// Hands on the lines of rank 0, until its output ends or the listener has gone.
fn listen(mut output: impl BufRead, said: &SyncSender<std::io::Result<Vec<u8>>>) {
    loop {
        let mut line = Vec::new();
        let read = output.by_ref().take(MOST_BYTES).read_until(b'\n', &mut line);
        if matches!(read, Ok(0)) || said.send(read.map(|_| line)).is_err() {
            return;
        }
    }
}

/// Stores what rank 0 says until it ends; none where its output ends before that, or its launcher does: a process that
/// outlives both (a connection to a host that is cut off) may hold the output open for long.
fn converse(
    hear: &Receiver<std::io::Result<Vec<u8>>>,
    group: &mut Group,
    mut input: ChildStdin,
    sink: &mut dyn RunSink,
    heard: &mut bool,
) -> std::io::Result<Option<Ended>> {
    loop {
        let line = match hear.recv_timeout(LOOK) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Timeout) if !group.has_ended() => continue,
            Err(_) => return Ok(None),
        };
        let Ok(said) = serde_json::from_slice::<Said>(&line) else {
            // Launchers and MPI have things to say too.
            tracing::info!(target: "vgpo::ranks", "{}", String::from_utf8_lossy(&line).trim_end());
            continue;
        };
        *heard = true;
        let reply = match said {
            Said::Ended(ended) => {
                answer(&mut input, &Answer::Done);
                return Ok(Some(ended));
            }
            said => store(said, sink),
        };
        answer(&mut input, &reply);
    }
}

fn answer(input: &mut ChildStdin, answer: &Answer) {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    // A rank 0 that has died is noticed by the end of its output.
    if let Err(error) = input.write_all(&line).and_then(|()| input.flush()) {
        tracing::debug!(%error, "rank 0 takes no answers");
    }
}

fn store(said: Said, sink: &mut dyn RunSink) -> Answer {
    let stored = match said {
        Said::Metrics { step, samples, tokens, values } => {
            let values = values.into_iter().map(|(key, value)| (key, value.unwrap_or(f64::NAN))).collect();
            sink.metrics(&StepMetrics { step, samples, tokens, values })
        }
        Said::Samples { step, groups } => sink.samples(step, &groups),
        Said::Event { kind, message, data } => sink.event(&kind, &message, data),
        Said::Checkpoint { step, dir, accuracy, score, last } => {
            sink.checkpoint(CheckpointNotice { step, dir: &dir, accuracy, score, last })
        }
        Said::Rows { chunk, dir } => sink.rows(chunk, &dir),
        Said::Evaluated { step, dir } => sink.evaluated(step, &dir),
        Said::Progress { message } => {
            sink.progress(&message);
            Ok(())
        }
        Said::Control => return sink.control().into(),
        Said::Ended(_) => Ok(()),
    };
    stored.map_or_else(|error| Answer::Failed(error.to_string()), |()| Answer::Done)
}

/// Why ranks that said nothing are gone, as far as their launcher tells.
fn unexplained(status: Option<&str>, told: &Told) -> String {
    let status = status.map_or(String::new(), |status| format!(" ({status})"));
    let lines: Vec<&str> = told.first.iter().chain(&told.last).map(String::as_str).collect();
    format!("the ranks ended before the run did{status}; the launcher says: {}", lines.join(" | "))
}
