//! Server and program settings: flags over environment over `vgpo.toml` over defaults.

mod access;
mod limits;
mod quotas;
mod ranks;
mod roles;
mod sources;
mod storage;
mod table;
mod trackers;
mod values;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::domain::access::Role;
use crate::domain::device::{DeviceName, UnknownDevice};
use crate::domain::retention::RetentionPolicy;
use crate::domain::weights::WeightFormat;
use sources::{SettingValue, find, mask, read_file};
use table::{SETTINGS, Setting};
use values::{list, number, one_of, parsed, value_of};

pub use access::AuthMode;
pub use limits::Limits;
pub use quotas::{ProjectLimits, Quotas};
pub use ranks::{PLACE, RankSettings};
pub use roles::{RoleError, Roles};
pub use storage::S3Settings;
pub use table::{FILE, FILE_VARIABLE, setting, settings};
pub use trackers::TrackerSettings;

/// Where a program setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A command-line flag.
    Flag,
    /// An environment variable, named.
    Environment(String),
    /// A settings file, named.
    File(PathBuf),
    /// The program's default.
    Default,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting as `vgpo config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub key: &'static str,
    /// Its value, secrets masked.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

/// The settings of the program, with every value decided.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// Folder of everything the program keeps.
    pub data_dir: PathBuf,
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 picks a free one.
    pub port: u16,
    /// Where `/metrics` is served instead of at `host` and `port`; none: there.
    pub metrics_listen: Option<SocketAddr>,
    /// Collector that traces are sent to, e.g. `http://127.0.0.1:4318`; empty: none.
    pub otlp_endpoint: String,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// How long results are kept.
    pub retention: RetentionPolicy,
    /// Database address, e.g. `sqlite:./vgpo-data/vgpo.db`.
    pub database_url: String,
    /// Migrate the database at a start? Otherwise one that is not up to date is refused.
    pub migrate: bool,
    /// Who may register models of the hub: admins, or users too.
    pub hub_models: Role,
    /// Where checkpoints and other files are kept, e.g. `file:./vgpo-data/artifacts` or `s3://bucket/prefix`.
    pub artifacts_url: String,
    /// Most bytes of the cache of files from `s3://…`, besides those in use; 0: no limit.
    pub artifact_cache_bytes: u64,
    /// Access to a store at `s3://…`.
    pub s3: S3Settings,
    /// What this server does.
    pub roles: Roles,
    /// Devices for local workers, e.g. `["cpu"]`; empty: none.
    pub devices: Vec<String>,
    /// How local workers start the ranks of a job.
    pub ranks: RankSettings,
    /// Where models are served.
    pub engine_device: DeviceName,
    /// May a GPU serve and train at the same time?
    pub share_gpu: bool,
    /// Address under which servers without an engine reach the engine of this one, e.g. `http://gpu-1:8080`; empty:
    /// `host` and `port`, where this server has the role `engine` only.
    pub advertise: String,
    /// Secret that servers and engines share, which proves that they belong together; empty: no engine serves another
    /// server.
    pub engine_secret: String,
    /// Number format of their weights in memory.
    pub engine_weights: WeightFormat,
    /// Host names that are accepted besides loopback names and `host`.
    pub allowed_hosts: Vec<String>,
    /// Origins that may write besides the server's own.
    pub allowed_origins: Vec<String>,
    /// When an API key is required.
    pub auth: AuthMode,
    /// Hosts (`host`, or `host:port` for unusual ports) that images may be fetched from; empty: none.
    pub image_hosts: Vec<String>,
    /// Hosts (`host` or `host:port`) that webhooks of rewards and alerts may name; empty: none.
    pub webhook_hosts: Vec<String>,
    /// Signs requests to webhooks; empty: they are not signed.
    pub webhook_secret: String,
    /// Hosts (`host` or `host:port`) whose servers may sample for jobs; empty: none.
    pub rollout_hosts: Vec<String>,
    /// The key that those servers ask for; empty: none is sent.
    pub rollout_key: String,
    /// Trackers that get the metrics of runs.
    pub trackers: TrackerSettings,
    /// Folders from which data sets may be registered in place; empty: none.
    pub dataset_roots: Vec<PathBuf>,
    /// Folders from which models may be registered in place; empty: none.
    pub model_roots: Vec<PathBuf>,
    /// Address of the hub that models and data sets are fetched from.
    pub hf_endpoint: String,
    /// Folder of the files that were fetched, in the layout of Hugging Face's own cache.
    pub hf_cache: PathBuf,
    /// Access token for the hub; empty: anonymous requests.
    pub hf_token: String,
    /// Most bytes that a job may need; none: the memory of its device.
    pub memory_limit: Option<u64>,
    /// Limits of projects.
    pub quotas: Quotas,
    /// Limits on requests.
    pub limits: Limits,
    shown: Vec<Shown>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl LogFormat {
    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value of the wrong kind.
    #[error("setting `{key}` ({source_name}) is `{value}`: {problem}")]
    Value {
        /// The setting.
        key: String,
        /// Where the value came from.
        source_name: String,
        /// The value, masked when secret.
        value: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// An unknown name.
    #[error("{file}: unknown setting `{key}`: {suggestion}")]
    Unknown {
        /// The settings file.
        file: String,
        /// The name.
        key: String,
        /// The known name that it resembles.
        suggestion: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {file}: {problem}")]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

/// Where settings are read from.
pub struct Sources<'a> {
    /// Flags that were given, by setting name.
    pub flags: &'a [(&'static str, String)],
    /// The environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The settings file: an explicit one must exist.
    pub file: Option<&'a Path>,
}

impl AppSettings {
    /// Decides the value of every setting.
    pub fn load(sources: &Sources<'_>) -> Result<Self, ConfigError> {
        let file = read_file(sources)?;
        let mut values = Vec::with_capacity(SETTINGS.len());
        for setting in SETTINGS {
            values.push((setting, find(setting, sources, file.as_ref())?));
        }
        settle(&values)
    }

    /// Every setting with its origin, secrets masked.
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// Can other hosts reach the server?
    pub fn is_off_host(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']).to_ascii_lowercase();
        let here = host.parse::<IpAddr>().map_or_else(|_| host == "localhost", |address| address.is_loopback());
        !here
    }

    /// Folder of the logs of jobs: in the data folder, or next to the artifacts where those have a folder of their own,
    /// which hosts may share.
    pub fn logs_dir(&self) -> PathBuf {
        let own = folder_of(&self.artifacts_url).filter(|folder| *folder != self.data_dir.join("artifacts"));
        own.unwrap_or(&self.data_dir).join("logs")
    }

    /// Folder of registered models.
    pub fn models_dir(&self) -> PathBuf {
        self.data_dir.join("models")
    }
}

fn settle(values: &[(&Setting, SettingValue)]) -> Result<AppSettings, ConfigError> {
    let text =
        |key: &str| values.iter().find(|(s, _)| s.key == key).map(|(_, (value, _))| value.clone()).unwrap_or_default();
    let data_dir = PathBuf::from(text("data_dir"));
    let or_inside = |key: &str, inside: String| Some(text(key)).filter(|value| !value.is_empty()).unwrap_or(inside);
    let database_url = or_inside("database_url", format!("sqlite:{}", data_dir.join("vgpo.db").display()));
    let artifacts_url = or_inside("artifacts_url", format!("file:{}", data_dir.join("artifacts").display()));
    let hf_cache = or_inside("hf_cache", data_dir.join("hub").display().to_string());
    let shown = values.iter().map(|(setting, (value, source))| {
        let settled = match setting.key {
            "database_url" => database_url.clone(),
            "artifacts_url" => artifacts_url.clone(),
            "hf_cache" => hf_cache.clone(),
            _ => value.clone(),
        };
        Shown { key: setting.key, value: if setting.secret { mask(&settled) } else { settled }, source: source.clone() }
    });
    Ok(AppSettings {
        shown: shown.collect(),
        host: text("host"),
        port: number(values, "port", 0, u64::from(u16::MAX))? as u16,
        metrics_listen: parsed(values, "metrics_listen", "an address and a port, such as 127.0.0.1:9090")?,
        otlp_endpoint: text("otlp_endpoint"),
        log_format: log_format(values)?,
        retention: retention(values)?,
        migrate: one_of(values, "migrate", ["auto", "check"])? == "auto",
        hub_models: match one_of(values, "hub_models", ["admin", "user"])? {
            "user" => Role::User,
            _ => Role::Admin,
        },
        roles: Roles::settle(values)?,
        devices: list(&text("devices")).into_iter().filter(|device| device != "none").collect(),
        ranks: RankSettings::settle(values)?,
        engine_device: device(values, "engine_device")?,
        share_gpu: one_of(values, "share_gpu", ["false", "true"])? == "true",
        advertise: roles::advertised(values)?,
        engine_secret: roles::secret(values)?,
        engine_weights: weight_format(values)?,
        allowed_hosts: list(&text("allowed_hosts")),
        allowed_origins: list(&text("allowed_origins")),
        auth: AuthMode::settle(values)?,
        image_hosts: list(&text("image_hosts")),
        webhook_hosts: list(&text("webhook_hosts")),
        webhook_secret: text("webhook_secret"),
        rollout_hosts: list(&text("rollout_hosts")),
        rollout_key: text("rollout_key"),
        trackers: TrackerSettings::settle(values)?,
        dataset_roots: list(&text("dataset_roots")).into_iter().map(PathBuf::from).collect(),
        model_roots: list(&text("model_roots")).into_iter().map(PathBuf::from).collect(),
        hf_endpoint: text("hf_endpoint"),
        hf_cache: hf_cache.into(),
        hf_token: text("hf_token"),
        s3: S3Settings::settle(values),
        artifact_cache_bytes: number(values, "artifact_cache_bytes", 0, 1 << 50)?,
        memory_limit: Some(number(values, "memory_limit", 0, 1 << 50)?).filter(|bytes| *bytes > 0),
        quotas: Quotas::settle(values)?,
        limits: Limits::settle(values)?,
        data_dir,
        database_url,
        artifacts_url,
    })
}

/// Days; 0: forever.
fn retention(values: &[(&Setting, SettingValue)]) -> Result<RetentionPolicy, ConfigError> {
    let days = |key: &str| -> Result<Option<u32>, ConfigError> {
        Ok(Some(number(values, key, 0, 36_500)? as u32).filter(|days| *days > 0))
    };
    Ok(RetentionPolicy {
        events_days: days("retain_events_days")?,
        samples_days: days("retain_samples_days")?,
        metrics_days: days("retain_metrics_days")?,
        checkpoints_days: days("retain_checkpoints_days")?,
    })
}

fn log_format(values: &[(&Setting, SettingValue)]) -> Result<LogFormat, ConfigError> {
    let name = one_of(values, "log_format", [LogFormat::Text.name(), LogFormat::Json.name()])?;
    Ok(if name == LogFormat::Json.name() { LogFormat::Json } else { LogFormat::Text })
}

fn weight_format(values: &[(&Setting, SettingValue)]) -> Result<WeightFormat, ConfigError> {
    let (value, source) = value_of(values, "engine_weights");
    WeightFormat::from_name(value.trim()).ok_or_else(|| ConfigError::Value {
        key: "engine_weights".to_owned(),
        source_name: source.to_string(),
        value,
        problem: format!("it must be one of {}", WeightFormat::ALL.map(WeightFormat::name).join(", ")),
    })
}

fn device(values: &[(&Setting, SettingValue)], key: &str) -> Result<DeviceName, ConfigError> {
    let (value, source) = value_of(values, key);
    value.parse().map_err(|error: UnknownDevice| ConfigError::Value {
        key: key.to_owned(),
        source_name: source.to_string(),
        value,
        problem: error.to_string(),
    })
}

/// The folder that an address such as `file:vgpo-data/artifacts` or `file:///srv/vgpo` names.
pub fn folder_of(url: &str) -> Option<&Path> {
    let rest = url.strip_prefix("file:")?;
    Some(Path::new(rest.strip_prefix("//").unwrap_or(rest)))
}

#[cfg(test)]
mod tests;
