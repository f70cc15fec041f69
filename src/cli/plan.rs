//! The plan of a job, as `vgpo jobs submit --dry-run` prints it.

use std::fmt::Write as _;

use serde_json::Value;

use super::listing::text;
use crate::domain::counted::counted;
use crate::domain::plain::plain;

/// The plan in words; `--json` prints all of it.
pub fn words(plan: &Value) -> String {
    let spec = &plan["spec"];
    let mut out = format!(
        "{}: {} of {} on {}\n",
        text(spec, "name"),
        text(&spec["method"], "type"),
        text(spec, "model"),
        text(spec, "dataset")
    );
    let _ = writeln!(out, "{}", work(&plan["work"]));
    let engine = &spec["rollout"]["engine"];
    if engine["type"].as_str().is_some_and(|kind| kind != "local") {
        let urls = engine["urls"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let _ = writeln!(
            out,
            "Engine  {} samples at {}; weights through {} (sync: {}), at most {} steps old",
            text(engine, "type"),
            urls.collect::<Vec<_>>().join(", "),
            text(engine, "shared_dir"),
            text(engine, "sync"),
            engine["staleness"]
        );
    }
    let limit = plan["memory"]["limit_bytes"].as_u64().map(|bytes| format!(" of {}", megabytes(bytes)));
    let peak = plan["memory"]["peak_bytes"].as_u64().unwrap_or_default();
    let _ = writeln!(out, "Memory  about {} at its peak{}", megabytes(peak), limit.unwrap_or_default());
    let prompt = &plan["prompt"];
    let _ = writeln!(
        out,
        "Prompt  {} tokens, {} of them for images; ground truth {}",
        prompt["tokens"],
        prompt["image_tokens"],
        text(prompt, "answer")
    );
    for origin in ["request", "recommended"] {
        let named = plan["origins"].as_object().into_iter().flatten().filter(|(_, from)| *from == origin);
        for (number, (pointer, _)) in named.enumerate() {
            if number == 0 {
                let _ = writeln!(out, "\n{}", if origin == "request" { "Yours" } else { "Recommended" });
            }
            let value = spec.pointer(pointer).unwrap_or(&Value::Null);
            let _ = writeln!(out, "  {} = {}", pointer.trim_start_matches('/').replace('/', "."), plain(value));
        }
    }
    for warning in plan["warnings"].as_array().into_iter().flatten() {
        let _ = write!(out, "\nwarning: {}: {}", text(warning, "pointer"), text(warning, "detail"));
    }
    out.trim_end().to_owned()
}

/// The work of a job, or of all jobs of a sweep, in a line.
pub fn work(work: &Value) -> String {
    let updates = match work["updates"].as_u64() {
        Some(0) | None => String::new(),
        Some(updates) => format!(" ({})", counted(updates as usize, "update", "updates")),
    };
    let steps = counted(work["steps"].as_u64().unwrap_or_default() as usize, "step", "steps");
    format!(
        "Work    {steps}{updates}, {} responses for {} prompts, at most {} response tokens",
        work["responses"], work["prompts"], work["max_response_tokens"]
    )
}

fn megabytes(bytes: u64) -> String {
    let megabytes = bytes.div_ceil(1_000_000);
    if megabytes < 10_000 { format!("{megabytes} MB") } else { format!("{:.1} GB", megabytes as f64 / 1000.0) }
}
