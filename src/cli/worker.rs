//! `vgpo worker`: one process that runs jobs on one device.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::artifacts::{JobLogs, ownership};
use crate::clock::{SystemClock, new_id};
use crate::config::app::{AppSettings, LogFormat, RankSettings, S3Settings};
use crate::config::worker::{GRACE, WorkerTimings};
use crate::domain::device::{DeviceName, UnknownDevice};
use crate::model::device::supported;
use crate::samplers::Samplers;
use crate::worker::ranks::Launcher;
use crate::worker::supervisor::WorkerCommand;
use crate::worker::{JobLog, TrainRunner, WorkerConfig, follow_parent, stop_signals};
use tokio_util::sync::CancellationToken;

use super::settings::{ListenFlags, SettingFlags, load};
use super::{PRODUCT_THREADS, block_on, fail};

/// Arguments of `vgpo worker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SettingFlags,
    /// Device to work on: `cpu`, `cuda:N` or `metal:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Seconds for saving a checkpoint of the running job on stop; then it is returned to the queue without saving.
    #[arg(long, value_name = "SECONDS", default_value_t = GRACE.as_secs())]
    grace: u64,
    /// Its id; by default a new one.
    #[arg(long, hide = true)]
    id: Option<String>,
    /// Exit when the parent closes standard input.
    #[arg(long, hide = true)]
    supervised: bool,
}

/// Runs until it is asked to stop; a running job is saved and returned to the queue.
pub fn run(args: &Args) -> ExitCode {
    match block_on(work(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

async fn work(args: &Args) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let settings = load(&args.flags, &ListenFlags::default()).map_err(|error| text(&error))?;
    let clock = Arc::new(SystemClock);
    let artifacts = crate::artifacts::open_configured(&settings).map_err(|error| text(&error))?;
    let log = JobLog::new(JobLogs::new(&settings.logs_dir()).shared_by(&artifacts), clock.clone());
    let _traces = super::worker_logging(log.clone(), &settings)?;
    let device = device(&args.device)?;
    let launcher = launcher(&settings)?;
    let timings = WorkerTimings::with_grace(args.grace);
    let drain =
        if args.supervised { CancellationToken::new() } else { stop_signals().map_err(|error| text(&error))? };
    let abandon = if args.supervised {
        follow_parent(drain.clone(), timings.orphan_grace).map_err(|error| text(&error))?
    } else {
        CancellationToken::new()
    };
    let store = super::open_store(&settings, clock.clone()).await?;
    let database = store.database_id().await.map_err(|error| text(&error))?;
    ownership(&*artifacts, &database).map_err(|error| text(&error))?;
    let rewards = super::reward_backends(&settings, device);
    let runner = TrainRunner::new(store.clone(), artifacts.clone(), device, rewards);
    let config = WorkerConfig {
        id: args.id.clone().unwrap_or_else(|| new_id("wrk")),
        device,
        ranks: settings.ranks.most,
        runner: Arc::new(runner.with_engines(Samplers::of(&settings)).with_launcher(launcher)),
        store: store.clone(),
        artifacts,
        clock,
        log,
        timings,
        work_dir: settings.data_dir.join("work"),
        lock_dir: settings.data_dir.join("locks"),
    };
    let ended = crate::worker::run(config, drain, abandon).await.map_err(|error| text(&error));
    store.close().await;
    ended
}

/// The device `name`, which this build must support.
pub fn device(name: &str) -> Result<DeviceName, String> {
    let device: DeviceName = name.parse().map_err(|error: UnknownDevice| error.to_string())?;
    supported(device).map_err(|error| error.to_string())?;
    Ok(device)
}

/// How jobs of several ranks are started; none where the settings allow one rank only.
///
/// # Errors
/// The settings ask for what this build or this machine cannot do.
pub fn launcher(settings: &AppSettings) -> Result<Option<Launcher>, String> {
    let RankSettings { most, launcher, silence } = &settings.ranks;
    if *most == 1 {
        return Ok(None);
    }
    let environment = vec![
        ("VGPO_WEBHOOK_HOSTS", settings.webhook_hosts.join(",")),
        ("VGPO_WEBHOOK_SECRET", settings.webhook_secret.clone()),
        ("VGPO_LOG_FORMAT", settings.log_format.name().to_owned()),
        ("VGPO_RANK_SILENCE_SECONDS", silence.as_secs().to_string()),
    ];
    let launcher = Launcher::new(launcher, *most, own_program()?, &settings.data_dir, environment);
    launcher.map(Some).map_err(|error| error.to_string())
}

fn own_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))
}

/// The commands of the local workers that a server with these settings keeps alive; `log` is their log filter unless
/// `RUST_LOG` is set.
pub fn commands(settings: &AppSettings, log: &'static str, grace: u64) -> Result<Vec<WorkerCommand>, String> {
    let program = own_program()?;
    // Workers would end at once, again and again.
    launcher(settings)?;
    let mut commands: Vec<WorkerCommand> = Vec::new();
    for device in &settings.devices {
        let device = self::device(device)?.to_string();
        commands.push(Arc::new(Launch { grace, ..Launch::new(program.clone(), settings, device, log) }.command()));
    }
    Ok(commands)
}

/// The arguments and environment of a worker process.
struct Launch {
    program: PathBuf,
    data_dir: PathBuf,
    database_url: String,
    artifacts_url: String,
    s3: S3Settings,
    webhook_hosts: String,
    webhook_secret: String,
    rollout_hosts: String,
    rollout_key: String,
    device: String,
    log: &'static str,
    log_format: LogFormat,
    otlp_endpoint: String,
    ranks: RankSettings,
    grace: u64,
}

impl Launch {
    fn new(program: PathBuf, settings: &AppSettings, device: String, log: &'static str) -> Self {
        Self {
            program,
            data_dir: settings.data_dir.clone(),
            database_url: settings.database_url.clone(),
            artifacts_url: settings.artifacts_url.clone(),
            s3: settings.s3.clone(),
            webhook_hosts: settings.webhook_hosts.join(","),
            webhook_secret: settings.webhook_secret.clone(),
            rollout_hosts: settings.rollout_hosts.join(","),
            rollout_key: settings.rollout_key.clone(),
            device,
            log,
            log_format: settings.log_format,
            otlp_endpoint: settings.otlp_endpoint.clone(),
            ranks: settings.ranks.clone(),
            grace: GRACE.as_secs(),
        }
    }

    fn command(self) -> impl Fn(&str) -> std::process::Command + Send + Sync + 'static {
        move |id| {
            let mut command = std::process::Command::new(&self.program);
            command
                .args(["worker", "--supervised", "--device", &self.device, "--id", id])
                .args(["--grace", &self.grace.to_string(), "--data"])
                .arg(&self.data_dir);
            // URLs may contain secrets, so they are passed in the environment, not in the process list.
            command.env("VGPO_DATABASE_URL", &self.database_url).env("VGPO_ARTIFACTS_URL", &self.artifacts_url);
            command.env("VGPO_S3_ENDPOINT", &self.s3.endpoint).env("VGPO_S3_REGION", &self.s3.region);
            command.env("VGPO_S3_ACCESS_KEY_ID", &self.s3.access_key_id);
            command.env("VGPO_S3_SECRET_ACCESS_KEY", &self.s3.secret_access_key);
            command.env("VGPO_WEBHOOK_HOSTS", &self.webhook_hosts).env("VGPO_WEBHOOK_SECRET", &self.webhook_secret);
            command.env("VGPO_ROLLOUT_HOSTS", &self.rollout_hosts).env("VGPO_ROLLOUT_KEY", &self.rollout_key);
            // The server has migrated the database; its workers need no permission for that.
            command.env("VGPO_LOG_FORMAT", self.log_format.name()).env("VGPO_MIGRATE", "check");
            command.env("VGPO_OTLP_ENDPOINT", &self.otlp_endpoint);
            command.env("VGPO_RANKS", self.ranks.most.to_string()).env("VGPO_LAUNCHER", &self.ranks.launcher);
            command.env("VGPO_RANK_SILENCE_SECONDS", self.ranks.silence.as_secs().to_string());
            // A worker trains with one graph per core; the server's own products may use all cores.
            command.env(PRODUCT_THREADS, "1");
            if std::env::var_os("RUST_LOG").is_none() {
                command.env("RUST_LOG", self.log);
            }
            command
        }
    }
}
