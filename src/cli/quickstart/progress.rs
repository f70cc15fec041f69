//! The live progress of a job, read from its run's metrics stream.

use std::collections::VecDeque;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::words;
use crate::cli::client::{Client, ClientError, Frame};
use crate::cli::jobs::text;
use crate::cli::progress::summary;
use crate::cli::say;
use crate::domain::metric::{EVAL_ACCURACY, STEP_SECONDS};

/// Steps over which the time of a step is averaged.
const RECENT: usize = 8;
/// Maximum number of attempts to reconnect a broken stream.
const PATIENCE: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// Shows progress until the job has ended.
pub async fn show(client: &Client, job: &Value) -> Result<(), String> {
    let mut view = View::new(job["spec"]["steps"].as_u64().unwrap_or_default());
    let path = format!("/v1/runs/{}/metrics/stream", text(job, "run_id"));
    let (mut after, mut ended, mut failures) = (String::new(), false, 0);
    while !ended {
        let followed = client
            .follow(&path, &after.clone(), |frame| {
                after.clone_from(&frame.id);
                failures = 0;
                view.take(&frame);
                ended = frame.event == "end";
                !ended
            })
            .await;
        match followed {
            Err(error @ ClientError::Refused { .. }) => return Err(words(error)),
            Err(error) if failures >= PATIENCE => return Err(words(error)),
            _ => failures += 1,
        }
        if !ended {
            tokio::time::sleep(PAUSE).await;
        }
    }
    view.bar.finish_and_clear();
    Ok(())
}

struct View {
    bar: ProgressBar,
    steps: u64,
    /// Seconds of the newest steps.
    recent: VecDeque<f64>,
    /// Without a terminal, print occasional lines instead of a bar.
    plain: bool,
}

impl View {
    fn new(steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {wide_msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message("waiting for the worker");
        let plain = bar.is_hidden();
        bar.tick();
        Self { bar, steps, recent: VecDeque::new(), plain }
    }

    fn take(&mut self, frame: &Frame) {
        let data = &frame.data["data"];
        match frame.event.as_str() {
            "metrics" => self.step(data),
            "rewind" => {
                let to = data["to_step"].as_u64().unwrap_or_default();
                self.bar.set_position(to);
                self.tell(&format!("the job resumes from its checkpoint at step {to}"));
            }
            "job" if data["to"] == "queued" && !data["from"].is_null() => {
                self.tell(&format!("back in the queue: {}", text(data, "reason")));
            }
            _ => {}
        }
    }

    fn step(&mut self, data: &Value) {
        let step = data["step"].as_u64().unwrap_or_default();
        let value = |key: &str| data["values"][key].as_f64();
        if let Some(accuracy) = value(EVAL_ACCURACY) {
            self.tell(&format!("step {step:>3}: held-out accuracy {:.1}%", 100.0 * accuracy));
        }
        let Some(seconds) = value(STEP_SECONDS) else { return };
        self.bar.set_position(step);
        self.recent.push_back(seconds);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let message = format!("{}  {} left", summary(value), self.left(step));
        if self.plain && (step.is_multiple_of(RECENT as u64) || step == self.steps) {
            say(format!("step {step}/{}  {message}", self.steps));
        }
        self.bar.set_message(message);
    }

    fn left(&self, step: u64) -> String {
        if self.recent.is_empty() {
            return "-".to_owned();
        }
        let mean = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        let seconds = (mean * self.steps.saturating_sub(step) as f64).round() as u64;
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }

    /// A line above the bar.
    fn tell(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }
}
