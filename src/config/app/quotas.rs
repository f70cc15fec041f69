//! Limits of a project: jobs and GPUs that run at the same time, and bytes that it stores.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::values::{number, value_of};
use super::{ConfigError, Setting, SettingValue};

/// Limits of one project; 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProjectLimits {
    /// Jobs that may run at the same time.
    pub running_jobs: u32,
    /// GPUs that these jobs may hold.
    pub gpus: u32,
    /// Bytes of its checkpoints and data sets.
    pub bytes: u64,
}

/// Limits of projects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Of every project that is not named.
    pub general: ProjectLimits,
    /// Of single projects; a limit that they leave out is that of all others.
    pub projects: BTreeMap<String, ProjectLimits>,
}

/// `[projects.NAME]` of the settings file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Project {
    running_jobs: Option<u32>,
    gpus: Option<u32>,
    bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Projects {
    projects: BTreeMap<String, Project>,
}

impl Quotas {
    /// The limits of a project.
    pub fn of(&self, project: &str) -> ProjectLimits {
        self.projects.get(project).copied().unwrap_or(self.general)
    }

    /// The limits among the settings.
    pub(super) fn settle(values: &[(&Setting, SettingValue)]) -> Result<Self, ConfigError> {
        let general = ProjectLimits {
            running_jobs: number(values, "max_running_jobs_per_project", 0, u64::from(u32::MAX))? as u32,
            gpus: number(values, "max_gpus_per_project", 0, u64::from(u32::MAX))? as u32,
            bytes: number(values, "max_bytes_per_project", 0, 1 << 60)?,
        };
        let (value, source) = value_of(values, "projects");
        if value.trim().is_empty() {
            return Ok(Self { general, projects: BTreeMap::new() });
        }
        let read: Projects = toml::from_str(&format!("projects = {value}")).map_err(|error| ConfigError::Value {
            key: "projects".to_owned(),
            source_name: source.to_string(),
            value,
            problem: format!("expected a table such as {{ vision = {{ running_jobs = 2 }} }}: {}", error.message()),
        })?;
        let limits = |project: Project| ProjectLimits {
            running_jobs: project.running_jobs.unwrap_or(general.running_jobs),
            gpus: project.gpus.unwrap_or(general.gpus),
            bytes: project.bytes.unwrap_or(general.bytes),
        };
        let projects = read.projects.into_iter().map(|(name, project)| (name, limits(project))).collect();
        Ok(Self { general, projects })
    }
}
