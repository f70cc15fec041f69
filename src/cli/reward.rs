//! `vgpo reward`: computes rewards outside of training.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;

use crate::clock;
use crate::config::job;
use crate::domain::device::DeviceName;
use crate::domain::field_error::FieldError;
use crate::domain::spec::RewardSpec;
use crate::images::{ImageLimits, data_url, decode_image};
use crate::prompt::usual_sizes;
use crate::reward::{Backends, Reward, RewardBatch, RewardInput, build_with};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::fail;
use super::settings::{ListenFlags, SettingFlags, load};

/// Arguments of `vgpo reward`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The reward as in a job: JSON such as `{"type": "math"}`, or a file with it.
    #[arg(long, value_name = "FILE_OR_JSON")]
    spec: String,
    #[command(flatten)]
    flags: SettingFlags,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    response: String,
    ground_truth: String,
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    tokens: Option<usize>,
    #[serde(default)]
    image_sizes: Vec<[u32; 2]>,
    #[serde(default)]
    resized_sizes: Vec<[u32; 2]>,
    /// Files, or `data:` URLs.
    #[serde(default)]
    images: Vec<String>,
}

#[derive(Serialize)]
struct Judged {
    reward: f64,
    parts: BTreeMap<String, f64>,
    extracted: Option<String>,
}

/// Computes the reward of every row of standard input; stops at the first invalid one and names its line.
pub fn run(args: &Args) -> ExitCode {
    let settings = match load(&args.flags, &ListenFlags::default()) {
        Ok(settings) => settings,
        Err(error) => return fail(error.to_string()),
    };
    let limits = ImageLimits { max_bytes: settings.limits.image_bytes, max_pixels: settings.limits.image_pixels };
    let reward = match read_spec(&args.spec, &super::reward_backends(&settings, DeviceName::CPU)) {
        Ok(reward) => reward,
        Err(message) => return fail(message),
    };
    match judge_rows(reward.as_ref(), limits, std::io::stdin().lock(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(message),
    }
}

fn read_spec(spec: &str, backends: &Backends) -> Result<Box<dyn Reward>, String> {
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
    let value = serde_json::to_value(&spec).map_err(|e| e.to_string())?;
    let faults = |errors: Vec<FieldError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let spec = job::reward(&value).map_err(|errors| format!("--spec: {}", faults(errors)))?;
    build_with(&spec, backends).map_err(|e| format!("--spec: {e}"))
}

/// A file, or a `data:` URL.
fn read_image(address: &str, limits: ImageLimits) -> Result<Arc<RgbImage>, String> {
    let bytes = if address.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        data_url(address).map_err(|error| error.to_string())?
    } else {
        std::fs::read(address).map_err(|error| format!("cannot read {address}: {error}"))?
    };
    let image = decode_image(&bytes, &limits).map_err(|error| error.to_string())?;
    Ok(Arc::new(image))
}

fn judge_rows(
    reward: &dyn Reward,
    limits: ImageLimits,
    rows: impl BufRead,
    out: &mut impl Write,
) -> Result<(), String> {
    // Unique, so that webhooks can distinguish runs.
    let run = clock::new_id("rewards");
    for (index, line) in rows.lines().enumerate() {
        let number = index + 1;
        let line = line.map_err(|e| format!("line {number}: cannot be read: {e}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let row: Row = serde_json::from_str(&line)
            .map_err(|e| format!("line {number}: not a row {{\"response\": …, \"ground_truth\": …}}: {e}"))?;
        if reward.needs_images() && row.images.is_empty() {
            return Err(format!("line {number}: the reward needs images, but the row has none in `images`"));
        }
        let images = row.images.iter().map(|address| read_image(address, limits)).collect::<Result<Vec<_>, _>>();
        let images = images.map_err(|error| format!("line {number}: {error}"))?;
        let [sizes, resized] = usual_sizes(&images, &row.image_sizes, &row.resized_sizes);
        let id = number.to_string();
        let input = RewardInput {
            id: &id,
            prompt: &row.prompt,
            response: &row.response,
            ground_truth: &row.ground_truth,
            row: index as u64,
            image_sizes: &sizes,
            resized_sizes: &resized,
            images: &images,
            tokens: row.tokens,
        };
        let batch = RewardBatch { run: "vgpo reward", step: 0, id: &format!("{run}:{id}"), inputs: &[input] };
        let mut verdicts = reward.judge_all(&batch).map_err(|e| format!("line {number}: {e}"))?;
        let judged = verdicts.pop().flatten().map(|verdict| Judged {
            reward: verdict.reward,
            parts: verdict.parts,
            extracted: verdict.extracted,
        });
        let json = serde_json::to_string(&judged).map_err(|e| format!("line {number}: {e}"))?;
        writeln!(out, "{json}").map_err(|e| format!("cannot write the verdict of line {number}: {e}"))?;
    }
    Ok(())
}
