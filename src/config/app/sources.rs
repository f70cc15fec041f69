//! A setting's value: flags over environment over the settings file over defaults.

use std::path::{Path, PathBuf};

use super::table::{FILE, FILE_VARIABLE, SETTINGS, Setting};
use super::{ConfigError, Source, Sources};
use crate::domain::nearest::suggestion;

/// A settings file that was read.
pub(super) struct SettingsFile {
    path: PathBuf,
    table: toml::Table,
}

/// The settings file, if there is one.
pub(super) fn read_file(sources: &Sources<'_>) -> Result<Option<SettingsFile>, ConfigError> {
    let explicit =
        sources.file.map(Path::to_path_buf).or_else(|| (sources.environment)(FILE_VARIABLE).map(PathBuf::from));
    let path = explicit.clone().unwrap_or_else(|| PathBuf::from(FILE));
    let fault = |problem: String| ConfigError::File { file: path.display().to_string(), problem };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if explicit.is_none() && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error.to_string())),
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| fault(error.to_string()))?;
    let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
        let suggestion = suggestion(key, &known);
        return Err(ConfigError::Unknown { file: path.display().to_string(), key: key.clone(), suggestion });
    }
    Ok(Some(SettingsFile { path, table }))
}

/// A value and where it came from.
pub(super) type SettingValue = (String, Source);

/// A setting's value.
pub(super) fn find(
    setting: &Setting,
    sources: &Sources<'_>,
    file: Option<&SettingsFile>,
) -> Result<SettingValue, ConfigError> {
    if let Some((_, value)) = sources.flags.iter().find(|(key, _)| *key == setting.key) {
        return Ok((value.clone(), Source::Flag));
    }
    if let Some(value) = (sources.environment)(setting.variable) {
        return Ok((value, Source::Environment(setting.variable.to_owned())));
    }
    // A secret may also be mounted as a file, so that it never appears in a process list.
    let indirect = format!("{}_FILE", setting.variable);
    if let Some(path) = (sources.environment)(&indirect) {
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError::File { file: format!("{path} ({indirect})"), problem: error.to_string() })?;
        return Ok((text.trim_end().to_owned(), Source::Environment(indirect)));
    }
    if let Some((file, value)) = file.and_then(|file| Some((file, file.table.get(setting.key)?))) {
        return Ok((toml_text(value), Source::File(file.path.clone())));
    }
    Ok((setting.default.to_owned(), Source::Default))
}

fn toml_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(toml_text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Hides a secret; of an address such as `postgres://user:password@host/db` the password alone.
pub(super) fn mask(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        let address = url.is_empty() || url.starts_with("sqlite:");
        return if address { url.to_owned() } else { "***".to_owned() };
    };
    // The last `@` before the path ends the credentials; a password may hold one itself.
    let authority = rest.find(['/', '?']).map_or(rest, |end| &rest[..end]);
    let Some((credentials, _)) = authority.rsplit_once('@') else { return url.to_owned() };
    let user = credentials.split(':').next().unwrap_or_default();
    let hidden = if credentials.contains(':') { format!("{user}:***") } else { user.to_owned() };
    format!("{scheme}://{hidden}{}", &rest[credentials.len()..])
}
