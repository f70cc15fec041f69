//! Flags of the program's settings, and the settings themselves.

use std::path::PathBuf;

use crate::domain::job_field::find;

use crate::config::app::{AppSettings, ConfigError, FILE, FILE_VARIABLE, Sources, setting};

/// What a setting means, its default and its variable, as the table of settings has them.
pub fn about(key: &str) -> String {
    let Some(setting) = setting(key) else { return String::new() };
    let default = if setting.default.is_empty() { String::new() } else { format!("default: {}; ", setting.default) };
    format!("{} [{default}{}]", setting.about.replace('`', ""), setting.variable)
}

/// A flag's text, and what it may hold by the table of job settings.
pub fn ranged(text: &str, pointer: &str) -> String {
    find(pointer).map_or_else(|| text.to_owned(), |field| format!("{text}: {}", field.kind.describe()))
}

/// The address of a server with default settings.
pub fn usual_address() -> String {
    let default = |key: &str| setting(key).map(|setting| setting.default).unwrap_or_default();
    format!("http://{}:{}", default("host"), default("port"))
}

/// Flags shared by every command that works on the data folder.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingFlags {
    #[arg(long = "data", value_name = "DIR", help = about("data_dir"))]
    pub data: Option<String>,
    #[arg(long, value_name = "FILE", help = format!("Settings file [default: {FILE}, if there is one; \
        {FILE_VARIABLE}]"))]
    pub config: Option<PathBuf>,
}

/// Flags of commands that listen.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ListenFlags {
    #[arg(long, value_name = "HOST", help = about("host"))]
    pub host: Option<String>,
    #[arg(long, value_name = "PORT", help = about("port"))]
    pub port: Option<String>,
    #[arg(long, value_name = "ROLES", help = about("roles"))]
    pub roles: Option<String>,
    #[arg(long, value_name = "URL", help = about("advertise"))]
    pub advertise: Option<String>,
    #[arg(long, value_name = "DEVICES", help = about("devices"))]
    pub devices: Option<String>,
    #[arg(long, value_name = "DEVICE", help = about("engine_device"))]
    pub engine_device: Option<String>,
    #[arg(long, value_name = "FORMAT", help = about("engine_weights"))]
    pub engine_weights: Option<String>,
    #[arg(long, value_name = "ROWS", help = about("engine_batch_rows"))]
    pub engine_batch_rows: Option<String>,
    #[arg(long, value_name = "TOKENS", help = about("engine_prefill_chunk_tokens"))]
    pub engine_prefill_chunk_tokens: Option<String>,
    #[arg(long, value_name = "BYTES", help = about("engine_prompt_memory_bytes"))]
    pub engine_prompt_memory_bytes: Option<String>,
    #[arg(long, value_name = "MODELS", help = about("engine_loaded_models"))]
    pub engine_loaded_models: Option<String>,
    #[arg(long, value_name = "TOKENS", help = about("max_queued_tokens"))]
    pub max_queued_tokens: Option<String>,
}

/// Resolves the settings from flags, environment and file.
pub fn load(flags: &SettingFlags, listen: &ListenFlags) -> Result<AppSettings, ConfigError> {
    let given = [
        ("data_dir", &flags.data),
        ("host", &listen.host),
        ("port", &listen.port),
        ("roles", &listen.roles),
        ("advertise", &listen.advertise),
        ("devices", &listen.devices),
        ("engine_device", &listen.engine_device),
        ("engine_weights", &listen.engine_weights),
        ("engine_batch_rows", &listen.engine_batch_rows),
        ("engine_prefill_chunk_tokens", &listen.engine_prefill_chunk_tokens),
        ("engine_prompt_memory_bytes", &listen.engine_prompt_memory_bytes),
        ("engine_loaded_models", &listen.engine_loaded_models),
        ("max_queued_tokens", &listen.max_queued_tokens),
    ];
    let flags_given: Vec<_> = given.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
    let environment = |name: &str| std::env::var(name).ok();
    AppSettings::load(&Sources { flags: &flags_given, environment: &environment, file: flags.config.as_deref() })
}
