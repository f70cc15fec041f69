//! Runs in the forms of other programs, as those programs lay them out. `scripts/verify-exports` reads them with the
//! real ones.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use vgpo::export::{ExportError, ExportFormat, ExportedRun, write};

use crate::http::support::Api;

/// A run on a server with three steps, one value missing, one not a number, and a key below another key.
async fn exported() -> ExportedRun {
    let api = Api::start().await;
    let job = api.submit(json!({"name": "digits | try", "tags": {"team": "vision"}, "steps": 3})).await;
    let leased = api.claim().await;
    api.report(&leased, 0, &[("eval/accuracy", 0.25), ("eval/accuracy/sum of 2", 0.5)]).await;
    api.report(&leased, 1, &[("reward/mean", 0.1), ("loss/total", f64::NAN)]).await;
    api.report(&leased, 2, &[("reward/mean", 1.0 / 3.0), ("loss/total", f64::INFINITY)]).await;
    let run = job["run_id"].as_str().unwrap();
    let csv = api.request("GET", &format!("/v1/runs/{run}/metrics.csv")).send().await.unwrap().text().await.unwrap();
    let job = api.get(&format!("/v1/jobs/{}", job["id"].as_str().unwrap())).await.body;
    let run = api.get(&format!("/v1/runs/{run}")).await.body;
    ExportedRun::read(&run, &job, csv).unwrap()
}

/// The scalars of an event file by tag, read anew from TensorFlow's descriptions of the format.
fn scalars(bytes: &[u8]) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut found: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        let event = fields(&rest[12..12 + length]);
        rest = &rest[12 + length + 4..];
        let number = |fields: &[(u64, Vec<u8>)], field: u64| {
            let bytes = fields.iter().find(|(number, _)| *number == field).map(|(_, bytes)| bytes.clone());
            bytes.map_or(0, |bytes| bytes.iter().rev().fold(0_u64, |n, byte| n << 7 | u64::from(byte & 0x7f)))
        };
        let step = number(&event, 2);
        for (_, summary) in event.iter().filter(|(field, _)| *field == 5) {
            let value = fields(&fields(summary)[0].1);
            let tag = String::from_utf8(value[0].1.clone()).unwrap();
            if let Some((_, bytes)) = value.iter().find(|(field, _)| *field == 2) {
                let scalar = f32::from_le_bytes(bytes[..].try_into().unwrap());
                found.entry(tag).or_default().push((step, scalar));
            }
        }
    }
    found
}

/// The fields of a protocol-buffer message: number and raw bytes (a varint still in its groups).
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((key, rest)) = message.split_first() {
        let varint = |bytes: &[u8]| 1 + bytes.iter().take_while(|byte| **byte & 0x80 != 0).count();
        let (skip, length) = match key & 7 {
            0 => (0, varint(rest)),
            1 => (0, 8),
            5 => (0, 4),
            _ => {
                let n = varint(rest);
                (n, rest[..n].iter().rev().fold(0, |l, byte| l << 7 | usize::from(byte & 0x7f)))
            }
        };
        found.push((u64::from(key >> 3), rest[skip..skip + length].to_vec()));
        message = &rest[skip + length..];
    }
    found
}

#[tokio::test]
async fn tensorboard_gets_every_point() {
    let (run, folder) = (exported().await, tempfile::tempdir().unwrap());
    let to = folder.path().join("board");
    write(&run, ExportFormat::Tensorboard, &to).unwrap();
    let files: Vec<_> = std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
    let scalars = scalars(&std::fs::read(file).unwrap());
    assert_eq!(scalars["reward/mean"], [(1, 0.1), (2, 1.0 / 3.0)]);
    assert_eq!(scalars["eval/accuracy"], [(0, 0.25)]);
    assert!(scalars["loss/total"][0].1.is_nan() && scalars["loss/total"][1].1.is_infinite());
    assert_eq!(scalars["progress/tokens"], [(0, 0.0), (1, 80.0), (2, 160.0)]);
}

#[tokio::test]
async fn mlflow_gets_points_parameters_and_tags() {
    let (run, folder) = (exported().await, tempfile::tempdir().unwrap());
    let to = folder.path().join("mlruns");
    write(&run, ExportFormat::Mlflow, &to).unwrap();
    let only = |folder: &Path| {
        let dirs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        dirs.collect::<Vec<_>>().pop().unwrap()
    };
    let experiment = only(&to);
    let inner = only(&experiment);
    let read = |name: &str| std::fs::read_to_string(inner.join(name)).unwrap();
    let lines: Vec<_> = read("metrics/reward/mean").lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect();
    assert_eq!(lines, ["0.1 1", "0.3333333333333333 2"]);
    assert!(read("metrics/eval/accuracy").ends_with(" 0.25 0\n"));
    assert!(read("metrics/eval/accuracy.sum of 2").ends_with(" 0.5 0\n"), "a file cannot be a folder as well");
    assert!(read("metrics/loss/total").contains(" nan 1\n") && read("metrics/loss/total").ends_with(" inf 2\n"));
    assert_eq!((read("params/seed"), read("params/method/type")), ("0".to_owned(), "vgpo".to_owned()));
    assert_eq!((read("tags/team"), read("tags/mlflow.runName")), ("vision".to_owned(), "digits | try".to_owned()));
    assert_eq!(read("tags/vgpo.run"), run.id);
    let meta = read("meta.yaml");
    assert!(meta.contains("status: 1\n") && meta.contains("run_name: \"digits | try\"\n"), "{meta}");
    let meta = std::fs::read_to_string(experiment.join("meta.yaml")).unwrap();
    assert!(meta.contains("name: \"default\"\n"), "{meta}");
}

#[tokio::test]
async fn mlflow_stores_take_run_after_run() {
    let (first, folder) = (exported().await, tempfile::tempdir().unwrap());
    let to = folder.path().join("mlruns");
    write(&first, ExportFormat::Mlflow, &to).unwrap();
    // MLflow's own.
    std::fs::create_dir(to.join(".trash")).unwrap();
    let (second, third) = (exported().await, ExportedRun { project: "vision".to_owned(), ..exported().await });
    for run in [&second, &third] {
        write(run, ExportFormat::Mlflow, &to).unwrap();
    }
    let folders = |place: &Path| {
        let entries = std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let mut runs: Vec<usize> = folders(&to).iter().map(|experiment| folders(experiment).len()).collect();
    runs.sort_unstable();
    assert_eq!(runs, [0, 1, 2]);
    let again = write(&first, ExportFormat::Mlflow, &to).unwrap_err();
    assert!(matches!(again, ExportError::Present { .. }), "{again}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[tokio::test]
async fn an_export_is_whole_or_absent() {
    let (run, folder) = (exported().await, tempfile::tempdir().unwrap());
    let to = folder.path().join("run.csv");
    write(&run, ExportFormat::Csv, &to).unwrap();
    let text = std::fs::read_to_string(&to).unwrap();
    assert!(text.starts_with("step,time,samples,tokens,"), "{text}");
    assert_eq!(text.lines().count(), 4);
    for format in [ExportFormat::Csv, ExportFormat::Mlflow, ExportFormat::Tensorboard] {
        assert!(matches!(write(&run, format, &to), Err(ExportError::Taken(_))));
    }
    assert_eq!(std::fs::read_to_string(&to).unwrap(), text);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    for broken in ["", "step,time\n1,2\n", "step,time,samples,tokens,a\n1,2026-01-01T00:00:00Z,1,1,x\n"] {
        let run = json!({"id": "run_1", "name": "n", "project": "p", "state": "failed",
            "created_at": "2026-01-01T00:00:00Z"});
        let error = ExportedRun::read(&run, &json!({}), broken.to_owned()).unwrap_err().to_string();
        assert!(error.contains("metrics"), "{error}");
    }
}
