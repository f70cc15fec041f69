//! `vgpo runs compare`: two evaluations of the same rows.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Client, ClientFlags};
use super::listing::{Outcome, text};
use super::{say, table};

/// Arguments of `vgpo runs compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first run: one of method `eval`, or one that was evaluated while it trained.
    a: String,
    /// The second run; the same one compares two of its steps.
    b: String,
    /// The step of the first, or its newest evaluation before it; default: its newest.
    #[arg(long)]
    step: Option<u64>,
    /// The same for the second (default: `--step`).
    #[arg(long)]
    with_step: Option<u64>,
    /// Rows to list, fixed and broken ones, up to 200.
    #[arg(long, default_value_t = 10)]
    rows: u32,
}

/// Characters of an answer in the list.
const ANSWER: usize = 40;

/// Prints how the answers differ.
pub async fn run(args: &Args, flags: &ClientFlags) -> Outcome {
    let at = |name: &str, step: Option<u64>| step.map(|step| format!("&{name}={step}")).unwrap_or_default();
    let steps = at("step", args.step) + &at("with_step", args.with_step);
    let (a, b, limit) = (&args.a, &args.b, args.rows.max(1));
    let path = format!("/v1/runs/{a}/eval-rows/compare?with={b}&change=fixed,broken&limit={limit}{steps}");
    let compared = Client::new(&flags.server).get(&path).await?;
    if flags.json {
        return Ok(say(&compared));
    }
    for (letter, side) in [("a", &compared["a"]), ("b", &compared["b"])] {
        let step = side["step"].as_u64().map(|step| format!(", step {step}")).unwrap_or_default();
        say(format!(
            "{letter}  {}  {} (model {}{step})",
            text(side, "run_id"),
            text(side, "name"),
            text(side, "model")
        ));
    }
    let changes = &compared["changes"];
    let count = |name: &str| changes[name].as_u64().unwrap_or_default();
    let chance = compared["p_value"].as_f64().map(|p| format!(" (p = {p:.3})")).unwrap_or_default();
    say(format!(
        "{} rows in common: {} fixed, {} broken{chance}, {} right in both, {} wrong in both",
        text(&compared, "rows"),
        count("fixed"),
        count("broken"),
        count("both_right"),
        count("both_wrong")
    ));
    say("");
    let rows = compared["differences"].as_array().into_iter().flatten().map(difference).collect();
    table(&["MEASURE", "ROWS", "A", "B", "B - A", "95% INTERVAL"], rows);
    let rows: Vec<Vec<String>> = compared["data"].as_array().into_iter().flatten().map(changed).collect();
    if args.rows > 0 && !rows.is_empty() {
        say("");
        table(&["ROW", "CHANGE", "TRUTH", "ANSWER OF A", "ANSWER OF B", "QUESTION"], rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn difference(measure: &Value) -> Vec<String> {
    let name = text(measure, "measure");
    let share = name == "accuracy";
    let plain = |value: &Value| {
        let value = value.as_f64().unwrap_or(f64::NAN);
        if share { format!("{:.1}%", 100.0 * value) } else { format!("{value:.4}") }
    };
    let signed = |value: &Value| {
        let value = value.as_f64().unwrap_or(f64::NAN);
        if share { format!("{:+.1}", 100.0 * value) } else { format!("{value:+.4}") }
    };
    let between = &measure["difference"];
    let (mean, ends) = if between.is_null() {
        (String::new(), String::new())
    } else {
        (signed(&between["mean"]), format!("{} to {}", signed(&between["low"]), signed(&between["high"])))
    };
    vec![name, text(measure, "rows"), plain(&measure["a"]), plain(&measure["b"]), mean, ends]
}

fn changed(row: &Value) -> Vec<String> {
    let answer = |side: &str| row[side].get(0).map(|response| short(&text(response, "text"))).unwrap_or_default();
    let [a, b] = ["a", "b"].map(answer);
    vec![text(row, "row"), text(row, "change"), short(&text(row, "answer")), a, b, short(&text(row, "prompt"))]
}

/// The end of a text, on one line: answers end with what counts.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let length = line.chars().count();
    if length <= ANSWER { line } else { format!("…{}", line.chars().skip(length - ANSWER).collect::<String>()) }
}
