//! How much of a project may be at work at the same time.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ConfigError, Found, Setting, found, number};

/// Limits of projects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Jobs of a project that workers may hold at the same time; 0: any number.
    pub running_jobs: u32,
    /// The same for single projects.
    pub projects: BTreeMap<String, u32>,
}

/// `[projects.NAME]` of the settings file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Project {
    running_jobs: u32,
}

#[derive(Debug, Deserialize)]
struct Projects {
    projects: BTreeMap<String, Project>,
}

impl Quotas {
    /// The limits among the settings.
    pub(super) fn settle(values: &[(&Setting, Found)]) -> Result<Self, ConfigError> {
        let running_jobs = number(values, "max_running_jobs_per_project", 0, u64::from(u32::MAX))? as u32;
        let (value, source) = found(values, "projects");
        if value.trim().is_empty() {
            return Ok(Self { running_jobs, projects: BTreeMap::new() });
        }
        let read: Projects = toml::from_str(&format!("projects = {value}")).map_err(|error| ConfigError::Value {
            key: "projects".to_owned(),
            source_name: source.to_string(),
            value,
            problem: format!("expected a table such as {{ vision = {{ running_jobs = 2 }} }}: {}", error.message()),
        })?;
        let projects = read.projects.into_iter().map(|(name, project)| (name, project.running_jobs)).collect();
        Ok(Self { running_jobs, projects })
    }
}
