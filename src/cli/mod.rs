//! The command line: one file per command.

mod audit;
mod backup;
mod bench;
mod checkpoints;
mod client;
mod config;
mod convert;
mod datasets;
mod eval_compare;
mod eval_rows;
mod explain;
mod export;
mod files;
mod generate;
mod health;
mod hub;
mod inference;
mod jobs;
mod keys;
mod listing;
mod local_data;
mod migrate;
mod models;
mod openapi;
mod plan;
mod progress;
mod prune;
mod quickstart;
mod rank;
mod report;
mod results;
mod reward;
mod runs;
mod samples;
mod score;
mod serve;
mod settings;
mod settings_document;
mod starter;
mod sweeps;
mod train;
mod watch;
mod worker;
mod workers;

use std::process::ExitCode;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::config::app::{AppSettings, LogFormat};
use crate::domain::brief::for_terminal;
use crate::domain::device::DeviceName;
use crate::outbound::HttpWebhooks;
use crate::reward::Backends;
use crate::similarity::Checkpoints;
use crate::store::{self, Database, Migrations};
use crate::telemetry::traces::Traces;
use clap::{Parser, Subcommand};

/// Threads of one matrix product, as candle and rayon read it.
pub const PRODUCT_THREADS: &str = "RAYON_NUM_THREADS";

/// Train vision-language models that keep looking at the image, and serve them with attention maps.
#[derive(Debug, Parser)]
#[command(name = "vgpo", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Quick tour: train the starter with VGPO, compare before and after, and keep serving.
    Quickstart(quickstart::Args),
    /// Serve the API, with local workers.
    Serve(serve::Args),
    /// Run jobs on one device; several hosts may share a database.
    Worker(worker::Args),
    /// List the workers of a server.
    Workers(workers::Args),
    /// Submit, list, watch, pause, resume, retry and cancel jobs of a server, and read their logs.
    Jobs(jobs::Args),
    /// Submit a job over a grid of settings, and compare the results.
    Sweeps(sweeps::Args),
    /// List, show, continue, delete and export runs of a server, or write a report.
    Runs(runs::RunsArgs),
    /// List, download, serve and delete checkpoints of a server.
    Checkpoints(checkpoints::Args),
    /// List, show, add and delete models of a server.
    Models(models::Args),
    /// Upload, list, view and delete data sets of a server.
    Datasets(datasets::Args),
    /// Create, list and revoke API keys.
    Keys(keys::Args),
    /// Measure how much a model's answers to a data set depend on the image, and how well its focus tells where.
    Audit(audit::Args),
    /// Show all intermediate values of VGPO for one group of responses (JSON in, JSON out).
    Explain(explain::Args),
    /// Judge responses: rows `{"response", "ground_truth"}` in, rows `{"reward", "parts", "extracted"}` out (JSON
    /// lines).
    Reward(reward::Args),
    /// Answer a request of `POST /generate` without a server (JSON in, JSON out).
    Generate(inference::Args),
    /// Answer a request of `POST /v1/score` without a server (JSON in, JSON out).
    Score(inference::Args),
    /// Build the starter model from scratch.
    Starter(starter::Args),
    /// Run one job in the foreground, without a server.
    Train(train::Args),
    /// Run one rank of a job of several; workers start it.
    #[command(hide = true)]
    Rank(rank::Args),
    /// Convert settings of other programs to a job.
    Convert(convert::Args),
    /// Run benchmarks on this machine.
    Bench(bench::Args),
    /// Show the program's settings.
    Config(config::Args),
    /// Bring the database up to date without starting a server.
    Migrate(migrate::Args),
    /// Check whether a server is ready; fails if it is not.
    Health(health::Args),
    /// Save database, artifacts and logs in a folder, while the server is running.
    Backup(backup::BackupArgs),
    /// Restore a backup into an empty data folder.
    Restore(backup::RestoreArgs),
    /// Delete results older than the retention settings; a server does this every hour.
    Prune(prune::Args),
    /// Print the API's `OpenAPI` document.
    Openapi,
}

impl Cli {
    /// Does the command train, with one graph per core? Then each graph should use one thread.
    pub fn runs_one_graph_per_core(&self) -> bool {
        matches!(
            self.command,
            Command::Starter(_) | Command::Train(_) | Command::Audit(_) | Command::Worker(_) | Command::Rank(_)
        ) || matches!(&self.command, Command::Bench(args) if args.runs_one_graph_per_core())
    }

    /// Runs the chosen command.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Quickstart(args) => quickstart::run(&args),
            Command::Serve(args) => serve::run(&args),
            Command::Worker(args) => worker::run(&args),
            Command::Workers(args) => workers::run(&args),
            Command::Jobs(args) => jobs::run(&args),
            Command::Sweeps(args) => sweeps::run(&args),
            Command::Runs(args) => runs::runs(&args),
            Command::Checkpoints(args) => checkpoints::run(&args),
            Command::Convert(args) => convert::run(&args),
            Command::Models(args) => models::run(&args),
            Command::Datasets(args) => datasets::run(&args),
            Command::Keys(args) => keys::run(&args),
            Command::Audit(args) => audit::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Reward(args) => reward::run(&args),
            Command::Generate(args) => generate::run(&args),
            Command::Score(args) => score::run(&args),
            Command::Starter(args) => starter::run(&args),
            Command::Train(args) => train::run(&args),
            Command::Rank(args) => rank::run(&args),
            Command::Bench(args) => bench::run(args),
            Command::Config(args) => config::run(&args),
            Command::Migrate(args) => migrate::run(&args),
            Command::Health(args) => health::run(&args),
            Command::Backup(args) => backup::run_backup(&args),
            Command::Restore(args) => backup::run_restore(&args),
            Command::Prune(args) => prune::run(&args),
            Command::Openapi => openapi::run(),
        }
    }
}

/// Default log filter.
const LOG: &str = "warn,vgpo=info";
/// Log filter of commands that draw on the terminal.
const QUIET_LOG: &str = "error";

/// Prints on standard error why a command failed.
#[allow(clippy::print_stderr)]
fn fail(message: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {}", for_terminal(&message.to_string()));
    ExitCode::FAILURE
}

/// The text of a file, or of standard input for `-`.
fn read_input(source: &str) -> Result<String, String> {
    let read = if source == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(source) };
    read.map_err(|error| format!("cannot read {source}: {error}"))
}

/// Runs compute on a thread whose stack is large enough for a backward pass.
fn on_large_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(work).map_err(|e| e.to_string())?;
    thread.join().map_err(|_| "the compute thread panicked".to_owned())
}

/// Prints a line; a reader that went away (`| head`) is not a failure. Names may come from others: what a terminal
/// would obey is spelt out.
fn say(line: impl std::fmt::Display) -> ExitCode {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", for_terminal(&line.to_string())).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

/// Prints rows as an aligned table.
fn table(heads: &[&str], rows: Vec<Vec<String>>) -> ExitCode {
    let mut lines = vec![heads.iter().map(ToString::to_string).collect()];
    lines.extend(rows);
    let width =
        |column: usize| lines.iter().filter_map(|row: &Vec<String>| Some(row.get(column)?.chars().count())).max();
    let widths: Vec<usize> = (0..heads.len()).map(|column| width(column).unwrap_or_default()).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        say(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    ExitCode::SUCCESS
}

/// Minimum number of threads of the runtime, so that one long answer does not block half of them on small machines.
const THREADS: usize = 4;
/// Grace time for blocking threads at the end of a command.
const LAST_WORK: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs an asynchronous command to its end.
fn block_on<T, E: From<String>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(cores.max(THREADS)).enable_all().build();
    let runtime = runtime.map_err(|error| E::from(format!("cannot start the runtime: {error}")))?;
    let done = runtime.block_on(work);
    // Blocking threads that are still running are abandoned.
    runtime.shutdown_timeout(LAST_WORK);
    done
}

/// Log lines on standard error, of which `RUST_LOG` chooses, and traces where the settings name a collector. The traces
/// are sent until what is returned is dropped.
fn logging(settings: &AppSettings) -> Result<Option<Traces>, String> {
    observe(settings, None)
}

/// The same for a worker, whose lines from information upward also go to the log of the job it runs, whatever
/// the terminal shows.
fn worker_logging(job_log: crate::worker::JobLog, settings: &AppSettings) -> Result<Option<Traces>, String> {
    observe(settings, Some(job_log))
}

fn observe(settings: &AppSettings, job_log: Option<crate::worker::JobLog>) -> Result<Option<Traces>, String> {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    use tracing_subscriber::{EnvFilter, Layer as _, fmt, registry};
    let filter = || EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    // Colours are for terminals: a file keeps plain text.
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours());
    let lines = match settings.log_format {
        LogFormat::Json => lines.json().with_filter(filter()).boxed(),
        LogFormat::Text => lines.with_filter(filter()).boxed(),
    };
    let endpoint = Some(settings.otlp_endpoint.as_str()).filter(|endpoint| !endpoint.is_empty());
    let traces = endpoint.map(Traces::to).transpose()?;
    let spans = traces.as_ref().map(|traces| traces.layer().with_filter(EnvFilter::new(LOG)));
    let job_log = job_log.map(|job_log| job_log.with_filter(EnvFilter::new(LOG)));
    // A second call (a command inside a command) has no effect.
    let _ = registry().with(lines).with(job_log).with(spans).try_init();
    Ok(traces)
}

/// The same for commands that draw on the terminal, which only log errors.
fn quiet_logging() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(QUIET_LOG));
    // A second call (a command inside a command) has no effect.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = lines.with_ansi(colours()).try_init();
}

/// May the log have colours? Only on a terminal whose user has not turned them off (`NO_COLOR`).
fn colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The backends of rewards of jobs on `device`.
fn reward_backends(settings: &AppSettings, device: DeviceName) -> Backends {
    let webhooks = HttpWebhooks::of(settings, Arc::new(SystemClock));
    Backends { webhooks, image_text: Some(Checkpoints::on(device)) }
}

/// Opens the database as the settings say.
async fn open_store(settings: &AppSettings, clock: Arc<dyn Clock>) -> Result<Arc<dyn Database>, String> {
    let migrations = if settings.migrate { Migrations::Apply } else { Migrations::Check };
    store::open_with(&settings.database_url, clock, migrations).await.map_err(|error| error.to_string())
}
