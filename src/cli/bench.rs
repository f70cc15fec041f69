//! `vgpo bench`: measurements of the program's own parts on this machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::bench::policy::PolicySettings;
use crate::bench::reference::write_model;
use crate::bench::shape::BatchShape;
use crate::bench::shapes::{ModelShape, SHAPES};
use crate::bench::{BenchError, Memory, Seconds, device, generate, rollout, step, update, weights};
use crate::domain::spec::DType;
use crate::domain::weights::WeightFormat;
use serde::Serialize;

use super::inference::{find_model, weight_format};
use super::settings::{ListenFlags, SettingFlags, load};
use super::{block_on, fail, on_large_stack, say};

/// Arguments of `vgpo bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write a model with random weights, so that other programs can be measured with it.
    #[command(after_help = shapes_help())]
    Model {
        /// The folder to write; must exist.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Its shape.
        #[arg(long, default_value = ModelShape::reference().name, value_parser = ModelShape::named)]
        shape: &'static ModelShape,
    },
    /// Measure one GRPO update: seconds, tokens per second, peak memory.
    Update(Update),
    /// Measure sampling: from prompts with images to tokens.
    Rollout(Rollout),
    /// Measure requests to the serving engine, several at a time, without HTTP.
    Generate(Generate),
    /// Measure whole steps of the trainer: rollout, reward, log-probs, update.
    Step(Step),
    /// Compare a device with the CPU: numbers, tokens per second, memory, transfers. Prints one JSON object.
    Device(OnDevice),
    /// Measure the effect of quantisation: size of the weights, log-probs and answers on a generated task.
    Weights(Quantization),
}

impl Args {
    /// Does it run the trainer, with one graph per core?
    pub fn runs_one_graph_per_core(&self) -> bool {
        !matches!(self.command, Command::Generate(_) | Command::Weights(_))
    }
}

#[derive(Debug, clap::Args)]
struct Common {
    /// A Hugging Face folder; by default the reference model is generated.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Timed runs; one more warms up.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    repeats: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Shape {
    /// Tokens of a prompt, its image included.
    #[arg(long, default_value_t = 40)]
    prompt_tokens: usize,
    /// Tokens of a response.
    #[arg(long, default_value_t = 64)]
    response_tokens: usize,
    /// Side of the image in patches (0: no image).
    #[arg(long, default_value_t = 8)]
    image_patches: usize,
}

impl Shape {
    fn batch(&self, groups: usize, group_size: usize) -> BatchShape {
        let Self { prompt_tokens, response_tokens, image_patches } = *self;
        BatchShape { groups, group_size, prompt_tokens, response_tokens, image_patches }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    F32,
    Bf16,
}

#[derive(Debug, clap::Args)]
struct Policy {
    /// Train low-rank adapters of this rank on every linear layer (default: all parameters).
    #[arg(long, value_name = "RANK")]
    lora: Option<u64>,
    /// Number format of the weights.
    #[arg(long, value_enum, default_value_t = Format::F32)]
    dtype: Format,
    /// Freeze the vision tower.
    #[arg(long)]
    freeze_vision: bool,
    /// Gradient checkpointing: recompute every block in the backward pass.
    #[arg(long)]
    checkpointing: bool,
    /// Keep the optimizer's state in main memory.
    #[arg(long)]
    offload: bool,
    /// Maximum number of padded tokens of a micro-batch.
    #[arg(long, default_value_t = 4096)]
    microbatch_tokens: u64,
}

impl Policy {
    fn settings(&self) -> PolicySettings {
        let Self { lora, dtype, freeze_vision, checkpointing, offload, microbatch_tokens } = *self;
        let dtype = if dtype == Format::F32 { DType::F32 } else { DType::Bf16 };
        PolicySettings { lora_rank: lora, dtype, freeze_vision, checkpointing, offload, microbatch_tokens }
    }
}

#[derive(Debug, clap::Args)]
struct Update {
    /// Prompts of the update, each with its own image.
    #[arg(long, default_value_t = 16)]
    groups: usize,
    /// Responses of each prompt.
    #[arg(long, default_value_t = 1)]
    group_size: usize,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Rollout {
    /// Prompts, each with its own image.
    #[arg(long, default_value_t = 32)]
    groups: usize,
    /// Responses of each prompt.
    #[arg(long, default_value_t = 1)]
    group_size: usize,
    /// Do not capture attention, which training does.
    #[arg(long)]
    without_attention: bool,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Generate {
    /// Concurrent requests.
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Request the attention map of every token.
    #[arg(long)]
    maps: bool,
    /// Format of the weights: `native`, `q8_0` or `q4_0`.
    #[arg(long, value_name = "FORMAT", default_value = "native", value_parser = weight_format)]
    weights: WeightFormat,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, clap::Args)]
struct Quantization {
    /// A model folder, `hf:org/name@revision`, or the name of a model in the data folder.
    #[arg(long, value_name = "DIR_OR_NAME", default_value = "starter")]
    model: String,
    /// The generated task whose held-out rows are used.
    #[arg(long, default_value = "digits")]
    task: String,
    /// Rows.
    #[arg(long, default_value_t = 200)]
    rows: u64,
    /// The format to compare with the native one: `q8_0` or `q4_0`.
    #[arg(long, value_name = "FORMAT", value_parser = weight_format)]
    weights: WeightFormat,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct OnDevice {
    /// A Hugging Face folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// `cpu`, which works as a GPU would, `cuda:N` or `metal:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Prompts, each with its own image.
    #[arg(long, default_value_t = 4)]
    groups: usize,
    /// Responses of each prompt.
    #[arg(long, default_value_t = 8)]
    group_size: usize,
    /// Maximum number of tokens of a micro-batch.
    #[arg(long, default_value_t = 4096)]
    microbatch_tokens: u64,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, clap::Args)]
struct Step {
    /// Prompts of a step, each with its own image.
    #[arg(long, default_value_t = 8)]
    groups: usize,
    /// Responses of each prompt.
    #[arg(long, default_value_t = 8)]
    group_size: usize,
    /// The method, e.g. `grpo` or `vgpo`.
    #[arg(long, default_value = "grpo")]
    method: String,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    common: Common,
}

/// The shapes of models, for help.
fn shapes_help() -> String {
    let lines: Vec<String> = SHAPES.iter().map(|shape| format!("  {:18} {}", shape.name, shape.about)).collect();
    format!("Shapes:\n{}", lines.join("\n"))
}

/// Runs a benchmark.
pub fn run(args: Args) -> ExitCode {
    match args.command {
        Command::Model { out, shape } => write_model(&out, shape).map_or_else(fail, |()| ExitCode::SUCCESS),
        Command::Update(args) => args.run(),
        Command::Rollout(args) => args.run(),
        Command::Generate(args) => args.run(),
        Command::Step(args) => args.run(),
        Command::Weights(args) => args.run(),
        Command::Device(args) => args.run(),
    }
}

impl Update {
    fn run(self) -> ExitCode {
        let (batch, policy) = (self.shape.batch(self.groups, self.group_size), self.policy.settings());
        measure(
            self.common,
            move |dir, repeats| update::run(dir, update::Settings { batch, policy, repeats }),
            |report| line("update", report.tokens, &report.seconds, report.tokens_per_second, report.memory),
        )
    }
}

impl Rollout {
    fn run(self) -> ExitCode {
        let (batch, attention) = (self.shape.batch(self.groups, self.group_size), !self.without_attention);
        measure(
            self.common,
            move |dir, repeats| rollout::run(dir, rollout::Settings { batch, attention, repeats }),
            |report| line("rollout", report.tokens, &report.seconds, report.tokens_per_second, report.memory),
        )
    }
}

impl Generate {
    fn run(self) -> ExitCode {
        let (batch, maps, weights) = (self.shape.batch(self.clients, 1), self.maps, self.weights);
        let work = move |dir: &Path, repeats| {
            block_on(generate::run(dir, generate::Settings { batch, maps, weights, repeats }))
        };
        measure(self.common, work, |report| {
            let line = line("requests", report.tokens, &report.seconds, report.tokens_per_second, report.memory);
            format!("{line}, first token after {:.4} s", report.first_token.median)
        })
    }
}

impl Quantization {
    fn run(self) -> ExitCode {
        let Self { model, task, rows, weights, json } = self;
        let work = async {
            let settings =
                load(&SettingFlags::default(), &ListenFlags::default()).map_err(|error| error.to_string())?;
            let model = Box::pin(find_model(&model, settings)).await?;
            let measured = weights::run(&model.dir, weights::Settings { task, rows, weights }).await;
            measured.map_err(|error| error.to_string())
        };
        match block_on(work) {
            Ok(report) if json => serde_json::to_string(&report).map_or_else(fail, say),
            Ok(report) => say(format!(
                "{}: {:.0} % of the bytes; log-probs of {} tokens change by {:.4} on average, by {:.3} at most; {:.1} \
                % of the answers are the same",
                weights.name(),
                100.0 * report.bytes as f64 / report.native_bytes as f64,
                report.tokens,
                report.mean_change,
                report.largest_change,
                100.0 * report.same_answers,
            )),
            Err(error) => fail(error),
        }
    }
}

impl OnDevice {
    fn run(self) -> ExitCode {
        let batch = self.shape.batch(self.groups, self.group_size);
        let settings = device::Settings { batch, microbatch_tokens: self.microbatch_tokens };
        let work = move || {
            let name = super::worker::device(&self.device)?;
            device::run(&self.model, name, settings).map_err(|error| error.to_string())
        };
        match on_large_stack(work).and_then(std::convert::identity) {
            Ok(report) => serde_json::to_string(&report).map_or_else(fail, say),
            Err(error) => fail(error),
        }
    }
}

impl Step {
    fn run(self) -> ExitCode {
        let (batch, policy) = (self.shape.batch(self.groups, self.group_size), self.policy.settings());
        let method = self.method;
        let work = move |dir: &Path, repeats| {
            let checkpoints = tempfile::tempdir().map_err(|error| BenchError::Settings(error.to_string()))?;
            step::run(dir, checkpoints.path(), step::Settings { batch, policy, method, repeats })
        };
        measure(self.common, work, |report| {
            line("step", report.tokens, &report.seconds, report.tokens_per_second, report.memory)
        })
    }
}

/// Runs `work` on the selected model and prints the result: as JSON, or as the line that `show` formats.
fn measure<R: Serialize + Send + 'static>(
    common: Common,
    work: impl FnOnce(&Path, usize) -> Result<R, BenchError> + Send + 'static,
    show: impl FnOnce(&R) -> String,
) -> ExitCode {
    let Common { model, repeats, json } = common;
    let found = on_large_stack(move || match &model {
        Some(dir) => work(dir, repeats as usize).map_err(|error| error.to_string()),
        None => on_reference(|dir| work(dir, repeats as usize)),
    });
    match found.and_then(std::convert::identity) {
        Ok(report) if json => serde_json::to_string(&report).map_or_else(fail, say),
        Ok(report) => say(show(&report)),
        Err(error) => fail(error),
    }
}

fn on_reference<R>(work: impl FnOnce(&Path) -> Result<R, BenchError>) -> Result<R, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    write_model(dir.path(), ModelShape::reference()).and_then(|()| work(dir.path())).map_err(|error| error.to_string())
}

fn line(work: &str, tokens: usize, seconds: &Seconds, per_second: f64, memory: Memory) -> String {
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    let peak = memory.peak_bytes.map_or_else(|| "unknown".to_owned(), mib);
    format!(
        "{work} of {tokens} tokens: median {:.3} s, minimum {:.3} s, {per_second:.0} tokens/s, peak memory {peak}",
        seconds.median, seconds.minimum,
    )
}
