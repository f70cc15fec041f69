//! Hostile inputs for every parser of bytes from outside. Each target gets a number of changed inputs on every test
//! run, the same ones each time, and every input that once broke something; `scripts/verify-fuzz` lets them run by the
//! hour.
//!
//! What counts as broken: a panic, memory beyond the target's bound, and a case that never ends. An input that is
//! answered in a way not seen before (another kind of error, say) joins those that are changed further.
//!
//! | variable | meaning |
//! |---|---|
//! | `VGPO_FUZZ_CASES` | changed inputs of each target (400) |
//! | `VGPO_FUZZ_SECONDS` | run for so long instead, shared by the targets |
//! | `VGPO_FUZZ_TARGET` | one target alone |
//! | `VGPO_FUZZ_SEED` | other inputs |
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::pedantic,
    missing_docs
)]

mod memory;
mod mutate;
mod seeds;
mod targets;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mutate::{MAX_BYTES, Rng, mutate};
use targets::{Scratch, TARGETS, Target};
use vgpo::clock::Stopwatch;

/// A case that takes longer hangs. Nothing here takes a second; machines may be slow, and processes may be stopped.
const HANGS_AFTER: u64 = 120;
/// Inputs that are changed further, besides the seeds.
const MOST_KEPT: usize = 4_000;

#[global_allocator]
static MEMORY: memory::Counting = memory::Counting;

/// Rises with every case, so that a watcher sees progress.
static CASES: AtomicU64 = AtomicU64::new(0);

/// Does a case run?
static IN_CASE: AtomicBool = AtomicBool::new(false);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn main() {
    let seconds = number("VGPO_FUZZ_SECONDS");
    let cases = number("VGPO_FUZZ_CASES").unwrap_or(400);
    let only = std::env::var("VGPO_FUZZ_TARGET").ok();
    let chosen: Vec<_> = TARGETS.iter().filter(|t| only.as_ref().is_none_or(|name| name == t.name)).collect();
    assert!(!chosen.is_empty(), "there is no target {only:?}");
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Those of a case are told when they are kept.
        if !IN_CASE.load(Ordering::Relaxed) {
            loud(panic);
        }
    }));
    // As much stack as the server's threads have.
    let fuzzing = std::thread::Builder::new().stack_size(2 << 20).spawn(move || run(&chosen, seconds, cases)).unwrap();
    if fuzzing.join().unwrap() > 0 {
        std::process::exit(1);
    }
}

/// How many cases broke something.
fn run(chosen: &[&'static Target], seconds: Option<u64>, cases: u64) -> usize {
    let scratch = Scratch::new();
    let mut broken = 0;
    watch(scratch.running());
    for target in chosen {
        let budget = match seconds {
            Some(seconds) => Budget::Seconds(seconds as f64 / chosen.len() as f64),
            None => Budget::Cases(cases),
        };
        broken += Run::new(target, &scratch).all(&budget);
    }
    broken
}

/// Ends the process when one case takes too long. It counts its own seconds, so that a stopped process is not blamed.
fn watch(running: PathBuf) {
    std::thread::spawn(move || {
        let (mut before, mut seconds) = (CASES.load(Ordering::Relaxed), 0);
        while seconds < HANGS_AFTER {
            std::thread::sleep(Duration::from_secs(1));
            let now = CASES.load(Ordering::Relaxed);
            seconds = if now == before { seconds + 1 } else { 0 };
            before = now;
        }
        println!("a case takes longer than {HANGS_AFTER} s; it is in {}", running.display());
        std::process::exit(1);
    });
}

/// When a target has had enough.
enum Budget {
    Cases(u64),
    Seconds(f64),
}

struct Run<'a> {
    target: &'a Target,
    scratch: &'a Scratch,
    seen: HashSet<u64>,
    kept: Vec<Vec<u8>>,
    broken: Vec<String>,
    most_memory: usize,
    slowest: f64,
}

impl<'a> Run<'a> {
    fn new(target: &'a Target, scratch: &'a Scratch) -> Self {
        let (seen, kept, broken) = (HashSet::new(), Vec::new(), Vec::new());
        Self { target, scratch, seen, kept, broken, most_memory: 0, slowest: 0.0 }
    }

    /// How many cases broke something.
    fn all(mut self, budget: &Budget) -> usize {
        let clock = Stopwatch::start();
        for seed in (self.target.seeds)().into_iter().chain(found(self.target.name)) {
            assert!(seed.len() <= MAX_BYTES, "{}: a seed of {} bytes", self.target.name, seed.len());
            self.case(&seed);
            self.kept.push(seed);
        }
        let mut rng = Rng::new(number("VGPO_FUZZ_SEED").unwrap_or(1));
        let mut cases = 0;
        while match budget {
            Budget::Cases(most) => cases < *most,
            Budget::Seconds(most) => clock.seconds() < *most,
        } {
            let (input, other) = (rng.below(self.kept.len()), rng.below(self.kept.len()));
            let bytes = mutate(&mut rng, &self.kept[input], &self.kept[other]);
            if self.case(&bytes) && self.kept.len() < MOST_KEPT {
                self.kept.push(bytes);
            }
            cases += 1;
        }
        println!(
            "{}: {cases} cases in {:.0} s, {} kinds of answers, at most {:.1} MB, slowest {:.0} ms, {} broken",
            self.target.name,
            clock.seconds(),
            self.seen.len(),
            self.most_memory as f64 / 1e6,
            self.slowest * 1e3,
            self.broken.len()
        );
        self.broken.len()
    }

    /// Runs one input; true where its answer is of a new kind.
    fn case(&mut self, bytes: &[u8]) -> bool {
        CASES.fetch_add(1, Ordering::Relaxed);
        std::fs::write(self.scratch.running(), bytes).unwrap();
        let before = memory::start();
        let clock = Stopwatch::start();
        IN_CASE.store(true, Ordering::Relaxed);
        let answer = catch_unwind(AssertUnwindSafe(|| (self.target.run)(bytes, self.scratch)));
        IN_CASE.store(false, Ordering::Relaxed);
        self.slowest = self.slowest.max(clock.seconds());
        let peak = memory::peak().saturating_sub(before);
        self.most_memory = self.most_memory.max(peak);
        if peak > self.target.memory {
            self.breaks(bytes, &format!("took {peak} bytes of memory, the bound is {}", self.target.memory));
        }
        match answer {
            Ok(answer) => self.seen.insert(kind(&answer)),
            Err(panic) => {
                let told = panic.downcast_ref::<String>().cloned();
                let told = told.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                self.breaks(bytes, &format!("panicked: {}", told.unwrap_or_default()));
                false
            }
        }
    }

    /// Keeps an input that broke something, once for each way in which things broke.
    fn breaks(&mut self, bytes: &[u8], how: &str) {
        let kind = kind(how);
        if !self.seen.insert(kind) {
            return;
        }
        let path = std::env::temp_dir().join(format!("vgpo-fuzz-{}-{kind:016x}", self.target.name));
        std::fs::write(&path, bytes).unwrap();
        println!("{}: an input of {} bytes {how}; it is in {}", self.target.name, bytes.len(), path.display());
        self.broken.push(how.to_owned());
    }
}

/// What kind of answer that is: numbers and quoted values do not count.
fn kind(answer: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (index, part) in answer.split(['`', '"', '\'']).enumerate().filter(|(index, _)| index % 2 == 0) {
        let words = part.chars().filter(|c| !c.is_ascii_digit()).take(120);
        (index.min(4), words.collect::<String>()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Inputs that once broke a target.
fn found(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/found").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}
