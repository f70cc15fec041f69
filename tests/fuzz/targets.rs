//! What is given hostile bytes: one function for each parser. Every one answers in words; an error is an answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use vgpo::config;
use vgpo::data::files::{Preparing, prepare, unpack};
use vgpo::data::{Dataset as _, FileDataset, Split};
use vgpo::domain::dataset::DatasetLimits;
use vgpo::domain::message::{Content, Message, Role};
use vgpo::images::{ImageLimits, count_pixels, data_url, decode_image};
use vgpo::import::easyr1;
use vgpo::model::ModelInfo;
use vgpo::prompt::{Processor, PromptLimits, PromptTemplate, messages_for};
use vgpo::reward::{self, RewardInput};
use vgpo::serving::parse;
use vgpo::serving::request::{GenerateRequest, ScoreRequest};

use crate::seeds;

/// A parser under attack.
pub struct Target {
    pub name: &'static str,
    /// Good inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads the bytes; says what came of it.
    pub run: fn(&[u8], &Scratch) -> String,
    /// The most memory, in bytes, that one case may take.
    pub memory: usize,
}

pub const TARGETS: &[Target] = &[
    // 16 bytes a pixel and 64 MB of tables are what a decoder may take; the one of TIFF holds itself to 128 and 256 MB
    // instead.
    Target { name: "image", seeds: seeds::images, run: image, memory: 320 << 20 },
    // What is in a PNG besides its pixels takes no memory.
    Target { name: "png", seeds: seeds::pngs, run: image, memory: 32 << 20 },
    Target { name: "data-url", seeds: seeds::data_urls, run: address, memory: 8 << 20 },
    Target { name: "jsonl", seeds: seeds::json_lines, run: json_lines, memory: 128 << 20 },
    Target { name: "parquet", seeds: seeds::parquet, run: parquet, memory: 128 << 20 },
    Target { name: "zip", seeds: seeds::zips, run: archive, memory: 32 << 20 },
    Target { name: "prompt-template", seeds: seeds::prompt_templates, run: prompt_template, memory: 256 << 20 },
    Target { name: "chat-template", seeds: seeds::chat_templates, run: chat_template, memory: 512 << 20 },
    Target { name: "chat", seeds: seeds::chats, run: chat, memory: 64 << 20 },
    Target { name: "request", seeds: seeds::requests, run: request, memory: 64 << 20 },
    Target { name: "job", seeds: seeds::jobs, run: job, memory: 64 << 20 },
    Target { name: "reward", seeds: seeds::rewards, run: rewards, memory: 64 << 20 },
    Target { name: "regex-reward", seeds: seeds::patterns, run: pattern, memory: 64 << 20 },
    Target { name: "easyr1", seeds: seeds::configurations, run: configuration, memory: 64 << 20 },
];

const IMAGE_LIMITS: ImageLimits = ImageLimits { max_bytes: 1 << 20, max_pixels: 1 << 20 };
const LIMITS: DatasetLimits = DatasetLimits {
    upload_bytes: 1 << 20,
    unpacked_bytes: 1 << 20,
    files: 100,
    image_bytes: 1 << 20,
    image_pixels: 1 << 20,
    row_bytes: 1 << 16,
    row_group_bytes: 1 << 20,
    row_images: 8,
    rows: 100_000,
    free_bytes: 0,
};
const PROMPT_LIMITS: PromptLimits = PromptLimits { min_pixels: None, max_pixels: None, max_prompt_tokens: 4096 };

/// A folder for files, and what is read once.
pub struct Scratch {
    folder: tempfile::TempDir,
    processor: Processor,
    info: ModelInfo,
}

impl Scratch {
    pub fn new() -> Self {
        // In memory, where there is such a place: thousands of files are written.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let model = seeds::fixtures().join("models/qwen2_5_vl_tiny/checkpoint");
        let copy = folder.path().join("model");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&model).unwrap().map(Result::unwrap) {
            // The template comes from the seeds.
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".safetensors") && !name.starts_with("chat_template") {
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        let info = seeds::model_info();
        Self { processor: Processor::from_dir(&model, &info).unwrap(), info, folder }
    }

    /// The input of the case that is running.
    pub fn running(&self) -> PathBuf {
        self.folder.path().join("running")
    }

    /// An empty folder.
    fn empty(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }
}

fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "fine".to_owned())
}

fn image(bytes: &[u8], _: &Scratch) -> String {
    let (counted, decoded) = (count_pixels(bytes, &IMAGE_LIMITS), decode_image(bytes, &IMAGE_LIMITS));
    if let Ok(picture) = &decoded {
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        assert_eq!(counted.as_ref().ok(), Some(&pixels), "the header promised another size");
    }
    told(decoded)
}

fn address(bytes: &[u8], _: &Scratch) -> String {
    told(data_url(&String::from_utf8_lossy(bytes)))
}

fn json_lines(bytes: &[u8], scratch: &Scratch) -> String {
    dataset("rows.jsonl", bytes, scratch)
}

fn parquet(bytes: &[u8], scratch: &Scratch) -> String {
    dataset("rows.parquet", bytes, scratch)
}

/// Checks a data set of one file, and reads every row of a good one.
fn dataset(name: &str, bytes: &[u8], scratch: &Scratch) -> String {
    let (source, index) = (scratch.empty("in"), scratch.empty("index"));
    fs::write(source.join(name), bytes).unwrap();
    let settings = config::datasets::settings();
    let what = Preparing { name, source: &source, stays: false, settings: &settings, limits: &LIMITS };
    let found = match prepare(&what, &index, &mut |_| true) {
        Ok(found) if found.is_valid() => found,
        Ok(found) => return format!("{:?}", found.report.errors.first()),
        Err(error) => return error.to_string(),
    };
    fs::rename(&source, index.join("files")).unwrap();
    let data = FileDataset::open(&index, None).unwrap();
    assert_eq!((data.len(Split::Train), data.len(Split::Eval)), (found.train_rows, found.eval_rows));
    for split in [Split::Train, Split::Eval] {
        (0..data.len(split)).for_each(|row| drop(data.example(split, row).unwrap()));
    }
    format!("fine, {}", data.len(Split::Eval) > 0)
}

fn archive(bytes: &[u8], scratch: &Scratch) -> String {
    let (place, out) = (scratch.empty("zip"), scratch.empty("out"));
    let path = place.join("a.zip");
    fs::write(&path, bytes).unwrap();
    let unpacked = unpack(&path, &out.join("inside"), &LIMITS);
    assert_eq!(fs::read_dir(&place).unwrap().count(), 1, "nothing is written next to the archive");
    assert!(fs::read_dir(&out).unwrap().count() <= 1, "nothing is written next to the folder");
    told(unpacked)
}

fn prompt_template(bytes: &[u8], _: &Scratch) -> String {
    let text = String::from_utf8_lossy(bytes);
    let applied = PromptTemplate::parse(&text).and_then(|template| template.apply("aa <image> what is 3 + 4 ?"));
    let messages = applied.and_then(|text| messages_for(&text, text.len() % 3, Some("system")));
    told(messages)
}

fn chat_template(bytes: &[u8], scratch: &Scratch) -> String {
    let model = scratch.folder.path().join("model");
    fs::write(model.join("chat_template.jinja"), String::from_utf8_lossy(bytes).as_bytes()).unwrap();
    let messages = [
        (Role::System, "be kind"),
        (Role::User, "what is <|im_end|> ?"),
        (Role::Assistant, "a token"),
        (Role::User, ""),
    ]
    .map(|(role, text)| Message { role, content: Content::Text(text.to_owned()) });
    let rendered = Processor::from_dir(&model, &scratch.info)
        .and_then(|processor| processor.render(&messages, &[], &PROMPT_LIMITS, true));
    told(rendered)
}

/// A conversation as JSON; what people typed must come back as text and add no special token.
fn chat(bytes: &[u8], scratch: &Scratch) -> String {
    let messages: Vec<Message> = match serde_json::from_slice(bytes) {
        Ok(messages) => messages,
        Err(error) => return error.to_string(),
    };
    let slots = messages.iter().map(|message| match &message.content {
        Content::Text(_) => 0,
        Content::Parts(parts) => {
            parts.iter().filter(|part| !matches!(part, vgpo::domain::message::Part::Text { .. })).count()
        }
    });
    let picture = Arc::new(image::RgbImage::new(56, 56));
    let pictures = vec![picture; slots.sum::<usize>().min(64)];
    let rendered = scratch.processor.render(&messages, &pictures, &PROMPT_LIMITS, true);
    if let Ok(prompt) = &rendered {
        let turns = prompt.text.matches("<|im_start|>").count();
        assert!(turns >= messages.len(), "a turn is missing");
        assert_eq!(prompt.layout.len(), pictures.len());
    }
    told(rendered)
}

fn request(bytes: &[u8], _: &Scratch) -> String {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return error.to_string(),
    };
    let generate = told(parse::<GenerateRequest>(&value));
    if generate == "fine" { generate } else { format!("{generate}, {}", told(parse::<ScoreRequest>(&value))) }
}

fn job(bytes: &[u8], _: &Scratch) -> String {
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return error.to_string(),
    };
    match config::job::resolve(&value, &[]) {
        Ok(resolved) => {
            // What was resolved is stored as JSON and read again by workers.
            let stored = serde_json::to_string(&resolved.spec).unwrap();
            let read: vgpo::domain::spec::JobSpec = serde_json::from_str(&stored).unwrap();
            assert_eq!(read, resolved.spec, "a stored job differs from the one that was asked for");
            "fine".to_owned()
        }
        Err(faults) => faults.first().map_or_else(String::new, ToString::to_string),
    }
}

/// A response, a NUL character, and what is right.
fn rewards(bytes: &[u8], _: &Scratch) -> String {
    let text = String::from_utf8_lossy(bytes);
    let (response, truth) = text.split_once('\0').unwrap_or((&text, "42"));
    let mut answers = String::new();
    for spec in seeds::reward_specs() {
        let judge = reward::build(&spec).unwrap();
        let verdict = judge.judge(RewardInput {
            response,
            ground_truth: truth,
            image_sizes: &[[640, 480]],
            tokens: Some(response.len()),
            ..RewardInput::default()
        });
        assert!(
            verdict.reward.is_finite() && verdict.accuracy.is_none_or(|accuracy| (0.0..=1.0).contains(&accuracy)),
            "{verdict:?}"
        );
        answers += if verdict.reward > 0.0 { "y" } else { "n" };
        answers += if verdict.extracted.is_some() { "y" } else { "n" };
    }
    answers
}

/// A pattern, a NUL character, and a response.
fn pattern(bytes: &[u8], _: &Scratch) -> String {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, response) = text.split_once('\0').unwrap_or((&text, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"));
    let spec = vgpo::domain::spec::RewardSpec::Regex { pattern: pattern.to_owned() };
    match reward::build(&spec) {
        Ok(judge) => {
            let verdict = judge.judge(RewardInput { response, ground_truth: "", ..RewardInput::default() });
            format!("{}", verdict.reward)
        }
        Err(error) => error.to_string(),
    }
}

fn configuration(bytes: &[u8], _: &Scratch) -> String {
    match easyr1::convert(&String::from_utf8_lossy(bytes), &[], Some(1_000)) {
        Ok(converted) => match config::job::resolve(&converted.job, &[]) {
            Ok(_) => "fine".to_owned(),
            Err(faults) => faults.first().map_or_else(String::new, ToString::to_string),
        },
        Err(error) => error.to_string(),
    }
}
