//! Flags of the program's settings, and the settings themselves.
#![allow(clippy::doc_markdown, reason = "the texts are printed as help")]

use std::path::PathBuf;

use vgpo::config::app::{AppSettings, ConfigError, Sources};

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
    /// Devices of local workers, separated by commas; `none` for no workers [default: cpu; VGPO_DEVICES]
    #[arg(long, value_name = "DEVICES")]
    pub devices: Option<String>,
    /// Device that models are served on [default: cpu; VGPO_ENGINE_DEVICE]
    #[arg(long, value_name = "DEVICE")]
    pub engine_device: Option<String>,
}

/// Settles the settings from flags, environment and file.
pub fn load(flags: &SettingFlags, listen: &ListenFlags) -> Result<AppSettings, ConfigError> {
    let given = [
        ("data_dir", &flags.data),
        ("host", &listen.host),
        ("port", &listen.port),
        ("devices", &listen.devices),
        ("engine_device", &listen.engine_device),
    ];
    let flags_given: Vec<_> = given.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
    let environment = |name: &str| std::env::var(name).ok();
    AppSettings::load(&Sources { flags: &flags_given, environment: &environment, file: flags.config.as_deref() })
}
