//! The events of a job as `vgpo jobs watch` prints them: a line each.

use serde_json::{Value, json};

use super::client::Frame;
use super::listing::text;
use super::say;
use crate::domain::counted::counted;
use crate::domain::event::kind;
use crate::domain::metric::headlines;

/// Prints an event.
pub fn show(frame: &Frame, as_json: bool) {
    if as_json {
        say(json!({"id": frame.id, "event": frame.event, "data": frame.data}));
    } else if let Some(line) = line(&frame.event, &frame.data) {
        say(line);
    }
}

/// An event in words; nothing for what comes later of a step that has its line.
fn line(event: &str, frame: &Value) -> Option<String> {
    let data = &frame["data"];
    Some(match event {
        kind::JOB => job(data),
        kind::METRICS => return metrics(data),
        kind::SAMPLES => {
            let groups = data["groups"].as_u64().and_then(|groups| usize::try_from(groups).ok()).unwrap_or_default();
            format!("step {}  samples of {} saved", data["step"], counted(groups, "prompt", "prompts"))
        }
        kind::CHECKPOINT => {
            let accuracy = data["accuracy"].as_f64().map(|share| format!(", accuracy {:.1}%", 100.0 * share));
            format!("step {}  checkpoint {}{}", data["step"], text(data, "checkpoint_id"), accuracy.unwrap_or_default())
        }
        kind::CHECKPOINT_DELETED | kind::CHECKPOINT_DAMAGED => {
            let what = if event == kind::CHECKPOINT_DAMAGED { "damaged" } else { "deleted" };
            let id = text(data, "checkpoint_id");
            format!("step {}  checkpoint {id} {what}{}", data["step"], because(data))
        }
        kind::REWIND if data["to_step"].is_null() => "begins again".to_owned(),
        kind::REWIND => format!("continues after step {}", data["to_step"]),
        kind::JOB_WAITING => format!("waits: {}", text(data, "reason")),
        kind::JOB_UPDATED => format!("priority {}", data["priority"]),
        kind::ALERT => format!("alert {}: {}", text(data, "rule"), text(data, "message")),
        kind::WORKER_CRASHED => format!("worker {} crashed: {}", text(data, "worker_id"), text(data, "message")),
        "end" => format!("end: {}", text(frame, "state")),
        other => match text(data, "message") {
            message if message.is_empty() => format!("{other} {data}"),
            message => format!("{other}: {message}"),
        },
    })
}

fn job(data: &Value) -> String {
    let to = text(data, "to");
    let from = text(data, "from");
    let change = if from.is_empty() { to } else { format!("{from} -> {to}") };
    format!("{change}{}", because(data))
}

fn because(data: &Value) -> String {
    let reason = text(data, "reason");
    if reason.is_empty() { reason } else { format!(": {reason}") }
}

fn metrics(data: &Value) -> Option<String> {
    let values = headlines().filter_map(|(key, _)| Some(format!("{key} {:.3}", data["values"][key].as_f64()?)));
    let values = values.collect::<Vec<_>>().join("  ");
    (!values.is_empty()).then(|| format!("step {}  {values}", data["step"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::line;

    #[test]
    fn events_are_lines_without_json() {
        for (event, data, expected) in [
            ("job", json!({"from": null, "to": "queued", "reason": ""}), Some("queued")),
            (
                "job",
                json!({"from": "queued", "to": "running", "reason": "claimed"}),
                Some("queued -> running: claimed"),
            ),
            ("samples", json!({"step": 4, "groups": 1}), Some("step 4  samples of 1 prompt saved")),
            (
                "checkpoint",
                json!({"checkpoint_id": "ckpt_1", "step": 8, "accuracy": 0.5, "reason": null}),
                Some("step 8  checkpoint ckpt_1, accuracy 50.0%"),
            ),
            ("rewind", json!({"to_step": 4}), Some("continues after step 4")),
            (
                "warning.constant_reward",
                json!({"message": "always 1", "reward": 1}),
                Some("warning.constant_reward: always 1"),
            ),
            ("metrics", json!({"step": 3, "values": {"time/checkpoint": 1.0}}), None),
        ] {
            assert_eq!(line(event, &json!({"data": data})).as_deref(), expected, "{event}");
        }
        assert_eq!(line("end", &json!({"state": "failed"})).as_deref(), Some("end: failed"));
    }
}
