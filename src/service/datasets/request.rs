//! The request of a registration, checked.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::config;
use crate::config::datasets::EVAL_SHARE;
use crate::data::files::relative;
use crate::domain::dataset::{BadRows, DatasetSettings, SplitRule};
use crate::domain::nearest::suggestion;
use crate::domain::repository::Repository;
use crate::service::core::hub::repository;
use crate::service::{Result, ServiceError};

const MAX_NAME: usize = 100;
const MAX_TEXT: usize = 10_000;

/// Body of `POST /v1/datasets`. In a form, the same fields are parts before the files, without `source`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "mine", "source": {"path": "/data/mine"}}))]
pub struct DatasetRequest {
    /// Its name: letters, digits, `.`, `_`, `-`. In a form the default is the name of the first file.
    pub name: Option<String>,
    /// Location of its files.
    pub source: Option<DatasetSource>,
    /// The project it belongs to.
    pub project: Option<String>,
    /// A description for display.
    pub description: Option<String>,
    /// Column names that differ from the defaults, e.g. `{"prompt": "question"}`.
    #[schema(value_type = Option<Object>)]
    pub columns: Option<Map<String, Value>>,
    /// How training and held-out rows are distinguished (default `auto`).
    pub split: Option<SplitRule>,
    /// The column with a row's split (default `split`); empty: none.
    pub split_column: Option<String>,
    /// Share of the rows that is held out if nothing defines the split (default 0.05).
    pub eval_share: Option<f64>,
    /// Index of the first row (default 0).
    pub seed: Option<u64>,
    /// The model whose tokens are counted (default `starter`).
    pub model: Option<String>,
    /// What becomes of rows that cannot be used (default `refuse`).
    pub bad_rows: Option<BadRows>,
}

/// Where the files of a data set are: one of its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetSource {
    /// A folder or file of the server's machine below one of `dataset_roots`. It is read in place.
    pub path: Option<String>,
    /// A repository on the hub: `org/name`. Its data files, archives and images are downloaded.
    pub hub: Option<String>,
    /// Its branch, tag or commit (default `main`), which is resolved to a commit when the data set is registered.
    pub revision: Option<String>,
    /// The folder of the repository whose files are meant (default: all of them).
    pub folder: Option<String>,
    /// How missing files will be uploaded.
    pub upload: Option<UploadKind>,
}

/// Where the files of a data set are, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Path(String),
    Hub { repository: Repository, folder: Option<String> },
    Parts,
}

impl DatasetSource {
    pub(super) fn origin(&self) -> Result<Origin> {
        let Self { path, hub, revision, folder, upload } = self;
        if hub.is_none() {
            for (name, value) in [("revision", revision), ("folder", folder)] {
                if value.is_some() {
                    return Err(ServiceError::field(format!("/source/{name}"), "only applies to `hub`; omit it"));
                }
            }
        }
        match (path, hub, upload) {
            (Some(path), None, None) => Ok(Origin::Path(path.clone())),
            (None, Some(hub), None) => {
                let repository = repository(hub, revision.as_deref())?;
                if let Some(folder) = folder {
                    relative(folder).map_err(|problem| ServiceError::field("/source/folder", problem))?;
                }
                Ok(Origin::Hub { repository, folder: folder.clone() })
            }
            (None, None, Some(UploadKind::Parts)) => Ok(Origin::Parts),
            _ => Err(ServiceError::field("/source", "needs one of `path`, `hub` and `upload`")),
        }
    }
}

/// How missing files are uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UploadKind {
    /// In parts: `PUT /v1/datasets/{id}/files/{path}?offset=`, then `POST /v1/datasets/{id}/finish`.
    Parts,
}

impl DatasetRequest {
    /// The settings, with defaults.
    pub(super) fn settings(&self) -> Result<DatasetSettings> {
        let mut settings = config::datasets::settings();
        if let Some(columns) = &self.columns {
            let internal = |e: serde_json::Error| ServiceError::Internal(e.to_string());
            let mut merged = serde_json::to_value(&settings.columns).map_err(internal)?;
            let known: Vec<String> = merged.as_object().into_iter().flat_map(Map::keys).cloned().collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            for (name, column) in columns {
                if !known.contains(&name.as_str()) {
                    let detail = format!("there is no column role `{name}`: {}", suggestion(name, &known));
                    return Err(ServiceError::field(format!("/columns/{name}"), detail));
                }
                merged[name] = column.clone();
            }
            settings.columns = serde_json::from_value(merged)
                .map_err(|e| ServiceError::field("/columns", format!("column names must be strings: {e}")))?;
        }
        if let Some(share) = self.eval_share {
            if let Some(complaint) = EVAL_SHARE.complaint(&share.into()) {
                return Err(ServiceError::field("/eval_share", complaint));
            }
            settings.eval_share = share;
        }
        settings.split = self.split.unwrap_or(settings.split);
        if let Some(column) = &self.split_column {
            settings.split_column = Some(column.clone()).filter(|column| !column.is_empty());
        }
        settings.seed = self.seed.unwrap_or(settings.seed);
        settings.bad_rows = self.bad_rows.unwrap_or(settings.bad_rows);
        Ok(settings)
    }

    /// Its name, else one made of the file name `file`.
    pub(super) fn name(&self, file: &str) -> Result<String> {
        if let Some(name) = &self.name {
            return check_name(name).map(|()| name.clone());
        }
        let file = file.rsplit(['/', '\\']).next().unwrap_or_default();
        let stem = file.split('.').next().unwrap_or_default();
        let name = stem.replace(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')), "-");
        check_name(&name).map(|()| name)
    }

    pub(super) fn check_texts(&self) -> Result<()> {
        let texts = [("/project", &self.project, MAX_NAME), ("/description", &self.description, MAX_TEXT)];
        for (pointer, text, most) in texts {
            if text.as_ref().is_some_and(|text| text.chars().count() > most) {
                return Err(ServiceError::field(pointer, format!("is longer than {most} characters")));
            }
        }
        Ok(())
    }

    /// The settings that jobs should take over.
    pub(super) fn recommended(settings: &DatasetSettings) -> Value {
        // The job's own defaults apply if the data set has no such column.
        let mut columns = json!(settings.columns);
        if let Some(columns) = columns.as_object_mut() {
            columns.retain(|_, name| !name.is_null());
        }
        json!({"data": {"columns": columns}})
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let bad = |why: &str| {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
        Err(ServiceError::field("/name", format!("`{shown}` {why}")))
    };
    if name.is_empty()
        || name.len() > MAX_NAME
        || !name.chars().all(fits)
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return bad("must be 1 to 100 letters, digits, `.`, `_` or `-`, with a letter or digit first");
    }
    if name.starts_with("ds_") { bad("must not begin with `ds_`, as ids do") } else { Ok(()) }
}
