//! `vgpo train`: one job in the foreground, without a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::new_id;
use crate::collective::{Collective, Fault, launch};
use crate::config::app::AppSettings;
use crate::config::job::{self, Recommended};
use crate::data::Split;
use crate::domain::field_error::FieldError;
use crate::domain::model::CARD_FILE;
use crate::domain::spec::{DeviceClass, Method, RowSplit};
use crate::footprint::{Site, machine, sampling_room};
use crate::samplers::Samplers;
use crate::train::engine::ForeignEngines;
use crate::train::sink::ResumePoint;
use crate::train::{RunEnd, TrainRequest};
use serde_json::Value;

use super::files::read_json;
use super::inference::find_model;
use super::progress::{Foreground, finished_chunks};
use super::settings::{ListenFlags, SettingFlags, load};
use super::{fail, local_data, results};

/// A rank that fails leaves it to rank 0 to report it.
const LEAVE_AFTER: Duration = Duration::from_secs(10);

/// Arguments of `vgpo train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job, as for `POST /v1/jobs`; `model` is a folder or a name of the data folder, `dataset`
    /// the name of a generated task or the path of a folder or file.
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,
    /// Folder for metrics, samples and checkpoints; a stopped run of the same job in it is resumed.
    #[arg(long, value_name = "DIR", default_value = "vgpo-run")]
    out: PathBuf,
    /// Device to train on: `cpu`, `cuda:N` or `metal:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(flatten)]
    flags: SettingFlags,
}

/// Runs the job.
pub fn run(args: &Args) -> ExitCode {
    let settings = match load(&args.flags, &ListenFlags::default()) {
        Ok(settings) => settings,
        Err(error) => return fail(error),
    };
    let ranks = match launch::join(settings.ranks.silence) {
        Ok(ranks) => ranks,
        Err(error) => return fail(error),
    };
    match train(args, &settings, &ranks) {
        Ok(code) => code,
        Err(message) => {
            // The trainer has told the others already where it was the trainer that failed.
            ranks.fail(&Fault::new(message.clone(), true));
            if ranks.rank() > 0 {
                // Rank 0 reports it; when it ends, the launcher ends all.
                std::thread::sleep(LEAVE_AFTER);
            }
            fail(message)
        }
    }
}

/// The newest checkpoint of an earlier run in this folder. Checkpoints appear by one rename, so each is complete.
fn resume_point(dir: &Path) -> Option<ResumePoint> {
    let step = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("step-")?.parse::<u64>().ok();
    let entries = std::fs::read_dir(dir).ok()?;
    let found = entries.filter_map(Result::ok).map(|e| e.path()).filter_map(|p| Some((step(&p)?, p)));
    found.max_by_key(|(step, _)| *step).map(|(step, dir)| ResumePoint { dir, step })
}

#[allow(clippy::print_stdout)]
fn train(args: &Args, settings: &AppSettings, ranks: &Arc<dyn Collective>) -> Result<ExitCode, String> {
    let end = foreground(&read_json(&args.spec)?, &args.out, &args.device, settings, ranks)?;
    match end {
        _ if ranks.rank() > 0 => {}
        RunEnd::Finished { accuracy, stopped_early } => {
            if let Some(why) = stopped_early {
                println!("stopped early: {why}");
            }
            let accuracy = accuracy.map_or(String::new(), |a| format!(", held-out accuracy {:.1}%", 100.0 * a));
            println!("done{accuracy}; results in {}", args.out.display());
        }
        RunEnd::Yielded | RunEnd::Cancelled => println!("stopped; run the same command to resume"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The faults of a job, one in a line.
pub(super) fn told(errors: &[FieldError]) -> String {
    errors.iter().map(|e| format!("{}: {}", e.pointer, e.detail)).collect::<Vec<_>>().join("\n")
}

/// Runs a job with its results in `out`.
pub(super) fn foreground(
    request: &Value,
    out: &Path,
    device: &str,
    settings: &AppSettings,
    ranks: &Arc<dyn Collective>,
) -> Result<RunEnd, String> {
    let device = super::worker::device(device)?;
    let model = request.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    let rewards = super::reward_backends(settings, device);
    let model_dir = super::block_on(find_model(&model, settings.clone()))?.dir;
    let card_path = model_dir.join(CARD_FILE);
    let card = if card_path.exists() { read_json(&card_path)? } else { Value::Null };
    let source = format!("model `{model}`");
    let recommended = card.get("recommended").unwrap_or(&Value::Null);
    let data = request.get("dataset").and_then(Value::as_str).unwrap_or_default().to_owned();
    let advice = crate::data::recommended(&data).unwrap_or(Value::Null);
    let data_source = format!("data set `{data}`");
    let layers = [
        Recommended { source: &source, settings: recommended },
        Recommended { source: &data_source, settings: &advice },
    ];
    let resolved = job::resolve(request, &layers).map_err(|errors| told(&errors))?;
    let spec = resolved.spec;
    if spec.alerts.webhook.is_some() {
        return Err(
            "/alerts/webhook: alerts are sent by a server; leave `webhook` out, or submit the job to one".into()
        );
    }
    if !spec.report_to.is_empty() {
        return Err("/report_to: trackers are told by a server; leave it out, or submit the job to one".into());
    }
    let first = ranks.rank() == 0;
    if first {
        results::claim(out, &spec)?;
    }
    let open = |name: &str, index: &str| local_data::open(name, &spec.data.columns, &out.join(index), settings);
    // Rank 0 prepares files for all.
    if !first {
        ranks.barrier("data sets").map_err(|e| e.to_string())?;
    }
    let dataset = open(&spec.dataset, "dataset")?;
    let eval_dataset = match &spec.eval_dataset {
        Some(name) => open(name, "eval_dataset")?,
        None => Arc::clone(&dataset),
    };
    if first {
        ranks.barrier("data sets").map_err(|e| e.to_string())?;
    }
    let work_dir = out.join("checkpoints");
    std::fs::create_dir_all(&work_dir).map_err(|e| format!("cannot create {}: {e}", work_dir.display()))?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_interrupt(&stop)?;
    let resume = resume_point(&work_dir);
    let (steps, rows) = match &spec.method {
        Method::Eval(method) => {
            let split = if method.split == RowSplit::Eval { Split::Eval } else { Split::Train };
            (spec.evaluation_chunks(dataset.len(split)), finished_chunks(out))
        }
        _ => (spec.steps, Vec::new()),
    };
    let mut sink = Foreground::new(out, steps, stop, true);
    let site = Site::new(device.class() == DeviceClass::Cpu, machine::device_memory(device));
    let request = TrainRequest {
        room: sampling_room(crate::model::size(&model_dir).map_err(|e| e.to_string())?, &spec, site),
        rows,
        spec,
        model_dir,
        device,
        dataset,
        eval_dataset,
        work_dir: work_dir.clone(),
        run: out.display().to_string(),
        base: None,
        rewards,
        engines: ForeignEngines { opener: Some(Samplers::of(settings)), attempt: format!("{}-1", new_id("train")) },
        resume,
    };
    let collective = Arc::clone(ranks);
    let end = super::on_large_stack(move || crate::train::run_on(request, &mut sink, collective))?;
    end.map_err(|e| e.to_string())
}

/// The first Ctrl-C requests a checkpoint and the end.
fn stop_on_interrupt(stop: &Arc<AtomicBool>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}
