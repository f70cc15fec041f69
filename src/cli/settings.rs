//! Flags of the program's settings, and the settings themselves.
#![allow(clippy::doc_markdown, reason = "the texts are printed as help")]

use std::path::PathBuf;

use crate::config::app::{AppSettings, ConfigError, Sources};

/// Flags shared by every command that works on the data folder.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingFlags {
    /// Folder of everything the program keeps [default: ./vgpo-data; VGPO_DATA_DIR]
    #[arg(long = "data", value_name = "DIR")]
    pub data: Option<String>,
    /// Settings file [default: ./vgpo.toml, if there is one; VGPO_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Flags of commands that listen.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ListenFlags {
    /// Address to listen on [default: 127.0.0.1; VGPO_HOST]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Port to listen on, 0 for a free one [default: 8080; VGPO_PORT]
    #[arg(long, value_name = "PORT")]
    pub port: Option<String>,
    /// What the server does: any of api, engine and worker, separated by commas [default: api,engine,worker; VGPO_ROLES]
    #[arg(long, value_name = "ROLES")]
    pub roles: Option<String>,
    /// Address under which servers without an engine reach this one's, e.g. http://gpu-1:8080 [VGPO_ADVERTISE]
    #[arg(long, value_name = "URL")]
    pub advertise: Option<String>,
    /// Devices of local workers, separated by commas; `none` for no workers [default: cpu; VGPO_DEVICES]
    #[arg(long, value_name = "DEVICES")]
    pub devices: Option<String>,
    /// Device that models are served on [default: cpu; VGPO_ENGINE_DEVICE]
    #[arg(long, value_name = "DEVICE")]
    pub engine_device: Option<String>,
    /// How served weights are held: native, q8_0 or q4_0 [default: native; VGPO_ENGINE_WEIGHTS]
    #[arg(long, value_name = "FORMAT")]
    pub engine_weights: Option<String>,
    /// Rows that the engine decodes together [default: 32; VGPO_ENGINE_BATCH_ROWS]
    #[arg(long, value_name = "ROWS")]
    pub engine_batch_rows: Option<String>,
    /// Prompt tokens that the engine reads between two decoding steps [default: 512; VGPO_ENGINE_PREFILL_CHUNK_TOKENS]
    #[arg(long, value_name = "TOKENS")]
    pub engine_prefill_chunk_tokens: Option<String>,
    /// Bytes per model for prompts that were read before [default: 268435456; VGPO_ENGINE_PROMPT_MEMORY_BYTES]
    #[arg(long, value_name = "BYTES")]
    pub engine_prompt_memory_bytes: Option<String>,
    /// Models that the engine keeps in memory [default: 3; VGPO_ENGINE_LOADED_MODELS]
    #[arg(long, value_name = "MODELS")]
    pub engine_loaded_models: Option<String>,
    /// Tokens that the accepted requests of one model may still take [default: 524288; VGPO_MAX_QUEUED_TOKENS]
    #[arg(long, value_name = "TOKENS")]
    pub max_queued_tokens: Option<String>,
}

/// Settles the settings from flags, environment and file.
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
