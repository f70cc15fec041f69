//! What was measured, as a table with its limits.

use std::fmt::Write as _;
use std::path::Path;

use vgpo::clock::{Clock as _, SystemClock};

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Bound {
    Most(f64),
    Least(f64),
}

/// Rows, in the order in which they were measured.
pub struct Report {
    rows: String,
    missed: Vec<String>,
    load_before: String,
}

impl Report {
    pub fn new() -> Self {
        Self { rows: String::new(), missed: Vec::new(), load_before: load() }
    }

    /// Adds a figure.
    pub fn row(&mut self, part: &str, what: &str, value: f64, unit: &str, bound: Bound) {
        let (met, target) = match bound {
            Bound::Most(most) => (value <= most, format!("at most {}", shown(most))),
            Bound::Least(least) => (value >= least, format!("at least {}", shown(least))),
        };
        println!("{part}: {what}: {} {unit} ({target})", shown(value));
        let verdict = if met { "yes" } else { "**no**" };
        let _ = writeln!(self.rows, "| {part} | {what} | {target} {unit} | {} {unit} | {verdict} |", shown(value));
        if !met {
            self.missed.push(format!("{part}, {what}: {} {unit} instead of {target}", shown(value)));
        }
    }

    /// A figure that could not be taken.
    pub fn skipped(&mut self, part: &str, why: &str) {
        println!("{part}: SKIPPED: {why}");
        let _ = writeln!(self.rows, "| {part} | not measured: {why} | | | |");
    }

    /// Writes the table into the page at `path`, in the place of the last one.
    pub fn write(&self, path: &Path) {
        let page = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (head, rest) = page.split_once(BEGIN).expect("the page has a place for the table");
        let (_, tail) = rest.split_once(END).expect("the place for the table has an end");
        let missed = match self.missed.as_slice() {
            [] => "Every target is met.".to_owned(),
            missed => format!("Missed:\n\n- {}", missed.join("\n- ")),
        };
        let table =
            format!("| part | what | target | measured | met |\n|---|---|---|---|---|\n{}\n{missed}", self.rows);
        let page = format!("{head}{BEGIN}\n{}\n\n{table}\n{END}{tail}", self.circumstances());
        std::fs::write(path, page).unwrap();
    }

    fn circumstances(&self) -> String {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("an unknown processor");
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let build = if cfg!(debug_assertions) { "a DEBUG build" } else { "a release build" };
        format!(
            "Measured on {}, {}, {cores} cores, {build}. Load of the machine (1, 5, 15 minutes) before: {}, after: {}.",
            SystemClock.now().format("%Y-%m-%d %H:%M UTC"),
            name.trim_start_matches(['\t', ' ', ':']).trim(),
            self.load_before,
            load(),
        )
    }
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn shown(value: f64) -> String {
    match value {
        big if big >= 1_000.0 => {
            let digits = format!("{big:.0}");
            let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
            groups.join(",")
        }
        middle if middle >= 100.0 || middle.fract() == 0.0 => format!("{middle:.0}"),
        small if small >= 10.0 => format!("{small:.1}"),
        small => format!("{small:.2}"),
    }
}

/// The value at a share of the sorted values.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}
