//! MLflow's file store: `EXPERIMENT/RUN/{meta.yaml,metrics,params,tags}`. MLflow reads it as it is, and copies it into
//! a database with `mlflow migrate-filestore`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Result;
use super::error::{ExportError, io};
use super::run::ExportedRun;

/// Longest value of a parameter that MLflow takes.
pub const MAX_VALUE: usize = 6_000;
/// The label that holds the id of our run.
pub const RUN_TAG: &str = "vgpo.run";
/// `mlflow.entities.SourceType`: a local program.
const SOURCE: u8 = 4;
/// The description of an experiment, and of a run.
const META: &str = "meta.yaml";

/// Is there a file store? Each experiment is a folder with a description; MLflow adds others, such as `.trash`.
pub(super) fn is_store(place: &Path) -> bool {
    fs::read_dir(place).is_ok_and(|entries| entries.flatten().any(|entry| entry.path().join(META).is_file()))
}

/// Moves the run of the store `from` into the store `to`.
pub(super) fn add(run: &ExportedRun, from: &Path, to: &Path) -> Result<()> {
    let experiment = experiment_id(&run.project);
    let inner = format!("{experiment}/{}", run_id(&run.id));
    if to.join(&inner).exists() {
        return Err(ExportError::Present { store: to.to_path_buf(), run: inner });
    }
    let moved = if to.join(&experiment).exists() { inner } else { experiment };
    fs::rename(from.join(&moved), to.join(&moved)).map_err(io("name", &to.join(&moved)))
}

/// Writes the store `to` with one experiment (the project) and one run.
pub(super) fn write(run: &ExportedRun, to: &Path) -> Result<()> {
    let experiment = experiment_id(&run.project);
    let (outer, id) = (to.join(&experiment), run_id(&run.id));
    let inner = outer.join(&id);
    let started = run.started_at.timestamp_millis();
    let ended = run.finished_at.map_or("null".to_owned(), |time| time.timestamp_millis().to_string());
    let meta = format!(
        "artifact_location: {location}\ncreation_time: {started}\nexperiment_id: '{experiment}'\n\
         last_update_time: {started}\nlifecycle_stage: active\nname: {name}\n",
        location = quoted(&format!("mlflow-artifacts:/{experiment}")),
        name = quoted(&run.project),
    );
    file(&outer, META, &meta)?;
    let meta = format!(
        "artifact_uri: {uri}\nend_time: {ended}\nentry_point_name: ''\nexperiment_id: '{experiment}'\n\
         lifecycle_stage: active\nrun_id: {id}\nrun_name: {name}\nrun_uuid: {id}\nsource_name: ''\n\
         source_type: {SOURCE}\nsource_version: ''\nstart_time: {started}\nstatus: {status}\ntags: []\nuser_id: vgpo\n",
        uri = quoted(&format!("mlflow-artifacts:/{experiment}/{id}/artifacts")),
        name = quoted(&run.name),
        status = status(&run.state).0,
    );
    file(&inner, META, &meta)?;
    fs::create_dir_all(inner.join("artifacts")).map_err(io("create", &inner))?;
    write_metrics(run, &inner.join("metrics"))?;
    for (name, value) in &run.settings {
        let value: String = value.chars().take(MAX_VALUE).collect();
        // A name with slashes is a path of folders.
        file(&inner.join("params"), &name_of(name), &value)?;
    }
    for (name, value) in own_tags(run) {
        file(&inner.join("tags"), name, value)?;
    }
    for (name, value) in &run.tags {
        file(&inner.join("tags"), &name_of(name), value)?;
    }
    Ok(())
}

/// One file a key, one line a point: time, value, step.
fn write_metrics(run: &ExportedRun, folder: &Path) -> Result<()> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let keys: BTreeSet<&str> = run.rows.iter().flat_map(|row| &row.values).map(|(key, _)| key.as_str()).collect();
    for row in &run.rows {
        let time = row.time.timestamp_millis();
        let mut line = |name: String, value: f64| {
            let value = if value.is_finite() { value.to_string() } else { value.to_string().to_lowercase() };
            // Writing into memory cannot fail.
            let _ = writeln!(files.entry(name).or_default(), "{time} {value} {}", row.step);
        };
        for (key, value) in &row.values {
            line(metric_name(key, &keys), *value);
        }
        line("progress/samples".to_owned(), row.samples as f64);
        line("progress/tokens".to_owned(), row.tokens as f64);
    }
    files.iter().try_for_each(|(name, lines)| file(folder, name, lines))
}

/// A key as MLflow can hold it. Where another key (`eval/accuracy`) is the folder of this one (`eval/accuracy/sum`),
/// which no file system allows, a dot takes the place of that slash. A name that lost characters ends in a mark of the
/// whole key, so that two keys never share a file.
pub fn metric_name(key: &str, keys: &BTreeSet<&str>) -> String {
    let mut name = key.to_owned();
    for (at, _) in key.match_indices('/') {
        if keys.contains(&key[..at]) {
            name.replace_range(at..=at, ".");
        }
    }
    let fitting = name_of(&name);
    if fitting == name && (name == key || !keys.contains(name.as_str())) {
        return fitting;
    }
    let digest = Sha256::digest(key.as_bytes());
    let mark = &format!("{digest:x}")[..8];
    format!("{fitting}-{mark}")
}

/// MLflow's alphabet: letters, digits, `_`, `-`, `.`, ` `, `:` and `/` between parts that are not only dots.
pub fn name_of(name: &str) -> String {
    let fits = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
    let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    let part = |part: &str| if part.trim_matches('.').is_empty() { "_".to_owned() } else { part.to_owned() };
    name.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// A run's id as MLflow writes its own: 32 hexadecimal digits, which ours end with.
fn run_id(id: &str) -> String {
    let digits = id.rsplit('_').next().unwrap_or_default();
    if digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return digits.to_owned();
    }
    format!("{:x}", Sha256::digest(id.as_bytes()))[..32].to_owned()
}

/// The same number for the same project, so that stores can be laid over each other; 0 is MLflow's default experiment.
fn experiment_id(project: &str) -> String {
    let digest = Sha256::digest(project.as_bytes());
    let number = digest.iter().take(7).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (number | 1 << 56).to_string()
}

/// Labels that every run has there: MLflow's own for name and source, and ours, by which it is found again.
pub fn own_tags(run: &ExportedRun) -> [(&'static str, &str); 3] {
    [("mlflow.runName", &run.name), ("mlflow.source.name", "vgpo"), (RUN_TAG, &run.id)]
}

/// `mlflow.entities.RunStatus`, as a number and by its name.
pub fn status(state: &str) -> (u8, &'static str) {
    match state {
        "succeeded" => (3, "FINISHED"),
        "failed" => (4, "FAILED"),
        "cancelled" => (5, "KILLED"),
        "queued" => (2, "SCHEDULED"),
        _ => (1, "RUNNING"),
    }
}

/// A string in YAML: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn file(folder: &Path, name: &str, content: &str) -> Result<()> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io("create", parent))?;
    }
    fs::write(&path, content).map_err(io("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_mlflow_and_the_file_system() {
        let keys = BTreeSet::from(["eval/accuracy", "eval/accuracy/sum of 2", "reward/mean"]);
        assert_eq!(metric_name("eval/accuracy", &keys), "eval/accuracy");
        assert_eq!(metric_name("eval/accuracy/sum of 2", &keys), "eval/accuracy.sum of 2");
        assert_eq!(metric_name("reward/mean", &keys), "reward/mean");
        let told: BTreeSet<String> =
            ["t/≤10", "t/≥10", "t/_10", "t/<5", "t/>5"].map(|key| metric_name(key, &keys)).into();
        assert_eq!(told.len(), 5, "{told:?}");
        let dotted = BTreeSet::from(["a", "a/b", "a.b"]);
        assert_ne!(metric_name("a/b", &dotted), metric_name("a.b", &dotted));
        assert_eq!(name_of("a/../b@c"), "a/_/b_c");
        assert_eq!(name_of("/etc"), "_/etc");
    }

    #[test]
    fn ids_are_stable() {
        let id = "0191f0e0aa7b7cc2b2a3d1e2f3a4b5c6";
        assert_eq!(run_id(&format!("run_{id}")), id);
        assert_eq!(run_id("run_x").len(), 32);
        assert_eq!(experiment_id("default"), experiment_id("default"));
        assert_ne!(experiment_id("default"), experiment_id("other"));
    }
}
