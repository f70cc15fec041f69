//! `vgpo reward`: judge responses outside of training.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use vgpo::domain::spec::RewardSpec;
use vgpo::reward::{Reward, RewardInput, build};

use super::fail;

/// Arguments of `vgpo reward`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The reward as in a job: JSON such as `{"type": "math"}`, or a file that holds it.
    #[arg(long, value_name = "FILE_OR_JSON")]
    spec: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    response: String,
    ground_truth: String,
}

#[derive(Serialize)]
struct Judged {
    reward: f64,
    parts: BTreeMap<String, f64>,
    extracted: Option<String>,
}

/// Judges every row of standard input; stops at the first bad one and names its line.
pub fn run(args: &Args) -> ExitCode {
    let reward = match read_spec(&args.spec) {
        Ok(reward) => reward,
        Err(message) => return fail(message),
    };
    match judge_rows(reward.as_ref(), std::io::stdin().lock(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(message),
    }
}

fn read_spec(spec: &str) -> Result<Box<dyn Reward>, String> {
    let json = if spec.trim_start().starts_with('{') {
        spec.to_owned()
    } else {
        std::fs::read_to_string(spec).map_err(|e| format!("--spec: cannot read {spec}: {e}"))?
    };
    let mut reader = serde_json::Deserializer::from_str(&json);
    let spec: RewardSpec =
        serde_path_to_error::deserialize(&mut reader).map_err(|e| match e.path().to_string().as_str() {
            "." => format!("--spec: {}", e.inner()),
            path => format!("--spec: {path}: {}", e.inner()),
        })?;
    build(&spec).map_err(|e| format!("--spec: {e}"))
}

fn judge_rows(reward: &dyn Reward, rows: impl BufRead, out: &mut impl Write) -> Result<(), String> {
    for (index, line) in rows.lines().enumerate() {
        let number = index + 1;
        let line = line.map_err(|e| format!("line {number}: cannot be read: {e}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let row: Row = serde_json::from_str(&line)
            .map_err(|e| format!("line {number}: not a row {{\"response\": …, \"ground_truth\": …}}: {e}"))?;
        let verdict = reward.judge(RewardInput { response: &row.response, ground_truth: &row.ground_truth });
        let judged = Judged { reward: verdict.reward, parts: verdict.parts, extracted: verdict.extracted };
        let json = serde_json::to_string(&judged).map_err(|e| format!("line {number}: {e}"))?;
        writeln!(out, "{json}").map_err(|e| format!("cannot write the verdict of line {number}: {e}"))?;
    }
    Ok(())
}
