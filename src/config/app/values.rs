//! Values of settings, read from their texts.

use std::str::FromStr;

use super::sources::SettingValue;
use super::{ConfigError, Setting, Source};

pub(super) fn number(values: &[(&Setting, SettingValue)], key: &str, min: u64, max: u64) -> Result<u64, ConfigError> {
    let (value, source) = value_of(values, key);
    value.trim().parse().ok().filter(|number| (min..=max).contains(number)).ok_or_else(|| ConfigError::Value {
        key: key.to_owned(),
        source_name: source.to_string(),
        value,
        problem: format!("it must be a whole number from {min} to {max}"),
    })
}

/// A setting that may be empty.
pub(super) fn parsed<T: FromStr>(
    values: &[(&Setting, SettingValue)],
    key: &str,
    wanted: &str,
) -> Result<Option<T>, ConfigError> {
    let (value, source) = value_of(values, key);
    if value.trim().is_empty() {
        return Ok(None);
    }
    let fault = |value: String| ConfigError::Value {
        key: key.to_owned(),
        source_name: source.to_string(),
        value,
        problem: format!("it must be {wanted}"),
    };
    value.trim().parse().map(Some).map_err(|_| fault(value))
}

/// A setting with few values.
pub(super) fn one_of(
    values: &[(&Setting, SettingValue)],
    key: &str,
    allowed: [&'static str; 2],
) -> Result<&'static str, ConfigError> {
    let (value, source) = value_of(values, key);
    allowed.into_iter().find(|name| *name == value).ok_or_else(|| ConfigError::Value {
        key: key.to_owned(),
        source_name: source.to_string(),
        value,
        problem: format!("it must be {} or {}", allowed[0], allowed[1]),
    })
}

pub(super) fn value_of(values: &[(&Setting, SettingValue)], key: &str) -> SettingValue {
    let known = values.iter().find(|(setting, _)| setting.key == key);
    known.map_or_else(|| (String::new(), Source::Default), |(_, value)| value.clone())
}

pub(super) fn list(text: &str) -> Vec<String> {
    text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}
