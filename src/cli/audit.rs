//! `vgpo audit`: does looking decide a model's answers to a data set, and does its focus tell where?

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::algorithm::forecast::{MAP, forecast};
use crate::collective::{Collective, Solo};
use crate::config::app::AppSettings;
use crate::config::audit;
use crate::domain::metric::{EVAL_ACCURACY, StepMetrics, of_evaluation};
use crate::train::RunEnd;
use serde_json::{Map, Value, json};

use super::files::read_json;
use super::settings::{ListenFlags, SettingFlags, load};
use super::train::{foreground, told};
use super::{fail, say};

/// Arguments of `vgpo audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: a folder, or a name of the data folder.
    model: String,
    /// The data set: the name of a generated task, or the path of a folder or file.
    dataset: String,
    /// Rows to answer [default: 128].
    #[arg(long)]
    rows: Option<u64>,
    /// Responses to each row [default: 2].
    #[arg(long)]
    samples: Option<u64>,
    /// Further settings, as for `POST /v1/audits`.
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Folder for metrics and rows; a stopped audit in it is resumed.
    #[arg(long, value_name = "DIR", default_value = "vgpo-audit")]
    out: PathBuf,
    /// Device: `cpu`, `cuda:N` or `metal:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: SettingFlags,
}

/// Runs the audit and prints its results.
pub fn run(args: &Args) -> ExitCode {
    let settings = load(&args.flags, &ListenFlags::default()).map_err(|error| error.to_string());
    settings.and_then(|settings| audit(args, &settings)).map_or_else(fail, say)
}

/// The results in words, or as JSON.
fn audit(args: &Args, settings: &AppSettings) -> Result<String, String> {
    let job = audit::job(&request(args)?).map_err(|errors| told(&errors))?;
    let alone: Arc<dyn Collective> = Arc::new(Solo);
    match foreground(&job, &args.out, &args.device, settings, &alone)? {
        RunEnd::Finished { .. } => {}
        RunEnd::Yielded | RunEnd::Cancelled => return Ok("stopped; run the same command to resume".to_owned()),
    }
    let values = results(&args.out)?;
    let forecast = forecast(&MAP, &values);
    if args.json {
        return serde_json::to_string(&json!({ "metrics": values, "forecast": forecast })).map_err(|e| e.to_string());
    }
    Ok(format!("Audit of {} on {}\n{}\n{}\n", args.model, args.dataset, table(&values), forecast.text))
}

fn request(args: &Args) -> Result<Value, String> {
    let mut request = match &args.spec {
        None => Map::new(),
        Some(path) => match read_json(path)? {
            Value::Object(fields) => fields,
            _ => return Err(format!("{} must be a JSON object", path.display())),
        },
    };
    request.insert("model".to_owned(), json!(args.model));
    request.insert("dataset".to_owned(), json!(args.dataset));
    if let Some(rows) = args.rows {
        request.insert("eval_rows".to_owned(), json!(rows));
    }
    if let Some(samples) = args.samples {
        let eval = request.entry("eval").or_insert_with(|| json!({}));
        eval.as_object_mut().ok_or("`eval` must be an object")?.insert("samples".to_owned(), json!(samples));
    }
    Ok(Value::Object(request))
}

/// The metrics of the last chunk, which are those of the whole audit.
fn results(out: &Path) -> Result<BTreeMap<String, f64>, String> {
    let path = out.join("metrics.jsonl");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let last = text.lines().last().unwrap_or_default();
    let point: StepMetrics = serde_json::from_str(last).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(point.values.into_iter().filter(|(key, _)| of_evaluation(key)).collect())
}

/// Lines of the table: what it says, its key, and the decimals.
const LINES: [(&str, &str, usize); 14] = [
    ("responses", "responses", 0),
    ("focus against dependency: rank correlation", "spearman", 3),
    ("  with focus_position predicting", "spearman_predicting", 3),
    ("  AUC", "auc", 3),
    ("  AUC, predicting", "auc_predicting", 3),
    ("  AUC, first third", "auc_early", 3),
    ("  AUC, middle third", "auc_middle", 3),
    ("  AUC, last third", "auc_late", 3),
    ("tokens that depend on the image", "dependent_mean", 3),
    ("  first third", "dependent_early", 3),
    ("  last third", "dependent_late", 3),
    ("dependency, first third (nats)", "dependency_early", 3),
    ("dependency, last third (nats)", "dependency_late", 3),
    ("gradient variance on tokens that do not depend", "independent_gradient", 3),
];

fn table(values: &BTreeMap<String, f64>) -> String {
    let mut out = format!("{:<48}{:>9}{:>9}{:>9}\n", "", "all", "right", "wrong");
    for (name, key, decimals) in LINES {
        let _ = write!(out, "{name:<48}");
        for suffix in ["", "_right", "_wrong"] {
            let value = values.get(&format!("audit/{key}{suffix}"));
            let text = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"));
            let _ = write!(out, "{text:>9}");
        }
        out.push('\n');
    }
    if let Some(accuracy) = values.get(EVAL_ACCURACY) {
        let _ = writeln!(out, "{:<48}{accuracy:>9.3}", "accuracy");
    }
    out
}
