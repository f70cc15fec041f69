//! `vgpo serve`: the server with its local workers, or the part defined by its roles.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::artifacts::JobLogs;
use crate::clock::SystemClock;
use crate::config::app::{AppSettings, AuthMode, Roles};
use crate::config::worker::{GRACE, WorkerTimings};
use crate::http::{AppState, Connections};
use crate::model::device::supported;
use crate::service::Service;
use crate::worker::supervisor::{self, SupervisorConfig};
use crate::worker::{JobLog, host_name};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::settings::{ListenFlags, SettingFlags, load};
use super::{block_on, fail, say};

/// Grace time of open requests when the server stops.
const OPEN_REQUESTS: Duration = Duration::from_secs(10);

/// Grace time for closing the database.
const LAST: Duration = Duration::from_secs(5);
/// Connections to the listener of figures.
const METRICS_CONNECTIONS: usize = 32;
/// File descriptors that the server requests from the system.
const FILES: u64 = 65_536;
/// File descriptors reserved for the database, artifacts, logs and workers.
const KEPT_FILES: u64 = 256;

/// Arguments of `vgpo serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: SettingFlags,
    #[command(flatten)]
    listen: ListenFlags,
    /// Seconds that local workers have for saving a checkpoint of running jobs when the server stops.
    #[arg(long, value_name = "SECONDS", default_value_t = GRACE.as_secs())]
    grace: u64,
}

/// Serves until it is interrupted.
pub fn run(args: &Args) -> ExitCode {
    let settings = match load(&args.flags, &args.listen) {
        Ok(settings) => settings,
        Err(error) => return fail(error),
    };
    let _traces = match super::logging(&settings) {
        Ok(traces) => traces,
        Err(error) => return fail(error),
    };
    end_for_sure(patience(&settings, args.grace));
    let served = block_on(async {
        let server = Box::pin(Server::start(settings, super::LOG, args.grace)).await?;
        say(format!("vgpo {}{} serves at {}", env!("CARGO_PKG_VERSION"), server.part(), server.url()));
        interrupted().await;
        say("stopping: jobs return to the queue and resume at the next start");
        server.stop().await;
        Ok::<_, String>(())
    });
    served.map_or_else(fail, |()| ExitCode::SUCCESS)
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    service: Service,
    serving: JoinHandle<std::io::Result<()>>,
    workers: JoinHandle<()>,
    /// Keeps the engine registered for other servers.
    registered: JoinHandle<()>,
    stop_workers: CancellationToken,
}

impl Server {
    /// Binds the port, opens the data folder, registers the built-in models and data sets, serves, and keeps local
    /// workers alive, which log with the filter `log`.
    pub async fn start(settings: AppSettings, log: &'static str, grace: u64) -> Result<Self, String> {
        settings.check_roles().map_err(|error| error.to_string())?;
        // The port first, so that nothing is changed if it is in use.
        let listener = listen(&settings).await?;
        let metrics = listen_for_metrics(&settings).await?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        std::fs::create_dir_all(&settings.data_dir)
            .map_err(|error| format!("cannot create the data folder {}: {error}", settings.data_dir.display()))?;
        let roles = settings.roles;
        let workers = if roles.worker { super::worker::commands(&settings, log, grace)? } else { Vec::new() };
        if roles.engine {
            supported(settings.engine_device).map_err(|error| error.to_string())?;
        }
        let clock = Arc::new(SystemClock);
        let log = JobLog::new(JobLogs::new(&settings.logs_dir()), clock.clone());
        let store = super::open_store(&settings, clock.clone()).await?;
        let service = Service::new(store, clock, settings);
        if roles.api {
            prepare_api(&service).await?;
        } else {
            service.admin().refuse_foreign_artifacts().await.map_err(|error| error.to_string())?;
        }
        let state = AppState::new(service.clone());
        if let Some(metrics) = metrics {
            serve_metrics(metrics, state.clone(), service.stopping().clone());
        }
        let router = crate::http::router(state);
        let stopping = service.stopping().clone();
        let connections = service.settings().limits.connections.min(room_for_connections());
        let serving = tokio::spawn(crate::http::serve(listener, router, Connections::at_most(connections), stopping));
        let registered = tokio::spawn(keep_registered(service.clone(), address));
        let stop_workers = CancellationToken::new();
        let supervised = SupervisorConfig {
            store: Arc::clone(service.database()),
            workers,
            log,
            timings: WorkerTimings::with_grace(grace),
        };
        let workers = tokio::spawn(supervisor::run(supervised, stop_workers.clone()));
        Ok(Self { address, service, serving, workers, registered, stop_workers })
    }

    /// Its roles, unless it has all of them.
    fn part(&self) -> String {
        let roles = self.service.settings().roles;
        if roles == Roles::ALL { String::new() } else { format!(" with the roles {roles}") }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends streams, open requests and workers, then the database. A second interrupt does not wait for them.
    pub async fn stop(self) {
        self.service.stopping().cancel();
        self.stop_workers.cancel();
        let ended = async {
            if tokio::time::timeout(OPEN_REQUESTS, self.serving).await.is_err() {
                tracing::warn!("some requests did not finish in time");
            }
            if let Err(error) = self.workers.await {
                tracing::error!(%error, "the supervisor of the workers failed");
            }
            if let Err(error) = self.registered.await {
                tracing::error!(%error, "the engine's registration could not be renewed");
            }
        };
        tokio::select! {
            () = ended => {}
            () = interrupted() => {}
        }
        self.service.database().close().await;
    }
}

/// Prepares the API: keys, limits, what ships with the program, uploads that were cut off, and pruning.
async fn prepare_api(service: &Service) -> Result<(), String> {
    guarded(service).await?;
    service.admin().own_artifacts().await.map_err(|error| error.to_string())?;
    service.access().settle_quotas().await.map_err(|error| error.to_string())?;
    service.admin().register_builtins().await.map_err(|error| error.to_string())?;
    service.datasets().recover().await.map_err(|error| error.to_string())?;
    service.admin().finish_removals().await.map_err(|error| error.to_string())?;
    let watch = service.clone();
    tokio::spawn(async move { watch.admin().keep_watch(&host_name()).await });
    let alerts = service.clone();
    tokio::spawn(async move { alerts.runs().keep_alerting().await });
    let trackers = service.clone();
    tokio::spawn(async move { trackers.runs().keep_tracking().await });
    let pruner = service.clone();
    tokio::spawn(async move { pruner.admin().keep_pruning(pruner.settings().retention).await });
    Ok(())
}

/// Registers this server's engine for other servers, if it serves them.
async fn keep_registered(service: Service, bound: SocketAddr) {
    let settings = service.settings();
    if !settings.serves_others() {
        return;
    }
    let advertised = Some(settings.advertise.clone()).filter(|address| !address.is_empty());
    service.inference().keep_registered(advertised.unwrap_or_else(|| format!("http://{bound}")), host_name()).await;
}

/// A server that requires keys must have at least one.
async fn guarded(service: &Service) -> Result<(), String> {
    let settings = service.settings();
    let (host, data) = (&settings.host, settings.data_dir.display());
    match (settings.auth, settings.is_off_host()) {
        (AuthMode::Off, off_host) => {
            if off_host {
                tracing::warn!(host, "authentication is off: anyone who can reach this server has full access");
            }
            return Ok(());
        }
        (AuthMode::Auto, false) => return Ok(()),
        (AuthMode::Auto, true) | (AuthMode::Required, _) => {}
    }
    if service.access().has_keys().await.map_err(|error| error.to_string())? {
        return Ok(());
    }
    Err(format!(
        "a server at {host} requires API keys, but there are none yet; create the first one with `vgpo keys create \
         --role admin --data {data}`, or serve this machine only with --host 127.0.0.1"
    ))
}

/// Raises the limit of open files as far as the system allows; returns the number of possible connections.
fn room_for_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(FILES).min(FILES);
    let mut files = limit.current.unwrap_or(FILES);
    if files < wanted {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }) {
            Ok(()) => files = wanted,
            Err(error) => tracing::warn!(%error, files, "the limit of open files cannot be raised"),
        }
    }
    if files < 2 * KEPT_FILES {
        tracing::warn!(files, "the limit of open files leaves little room for connections; raise it (ulimit -n)");
    }
    usize::try_from(files.saturating_sub(KEPT_FILES).max(files / 2)).unwrap_or(usize::MAX)
}

async fn listen(settings: &AppSettings) -> Result<TcpListener, String> {
    let host = settings.host.trim_matches(['[', ']']);
    TcpListener::bind((host, settings.port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "port {} of {host} is in use by another program; choose another one with --port (0 picks a free one), e.g. \
            --port {}",
            settings.port,
            settings.port.saturating_add(1)
        ),
        _ => format!("cannot listen on {host}:{}: {error}; see --host and --port", settings.port),
    })
}

async fn listen_for_metrics(settings: &AppSettings) -> Result<Option<TcpListener>, String> {
    let Some(address) = settings.metrics_listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    listener.map(Some).map_err(|error| format!("cannot listen on {address} for /metrics: {error}; see metrics_listen"))
}

/// Serves `/metrics` alone, to the end of the process.
fn serve_metrics(listener: TcpListener, state: AppState, stopping: CancellationToken) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "metrics are served");
    }
    let router = crate::http::metrics_router(state);
    tokio::spawn(async move {
        if let Err(error) =
            crate::http::serve(listener, router, Connections::at_most(METRICS_CONNECTIONS), stopping).await
        {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
}

/// Time limit of a shutdown: open requests, and local workers that save their jobs.
fn patience(settings: &AppSettings, grace: u64) -> Duration {
    let workers = settings.roles.worker && !settings.devices.is_empty();
    let workers = if workers { Duration::from_secs(grace) } else { Duration::ZERO };
    OPEN_REQUESTS.max(workers) + LAST
}

/// Ends the process when it is asked to stop and does not in time: on a thread of its own, because the threads of the
/// runtime may hang. A second interrupt shortens the wait.
pub fn end_for_sure(patience: Duration) {
    let wait = async move {
        interrupted().await;
        tokio::select! {
            () = tokio::time::sleep(patience) => {}
            () = async { interrupted().await; tokio::time::sleep(LAST).await } => {}
        }
        tracing::error!("the server did not stop in time; it exits now, interrupting what was in progress");
        std::process::exit(1);
    };
    let watch = move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(wait);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("end".to_owned()).spawn(watch) {
        tracing::warn!(%error, "the shutdown watchdog could not be started");
    }
}

/// Returns at Ctrl-C or when the process is asked to end.
pub async fn interrupted() {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    let terminated = async {
        match &mut terminate {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
