//! Compares a held-out image before and after training, through `POST /generate`.

use std::path::{Path, PathBuf};

use crate::data::{self, Example, Split};
use crate::domain::spec::RewardSpec;
use crate::images::{png, png_url};
use crate::reward::{self, Reward, RewardInput};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::imageops::FilterType;
use serde_json::{Value, json};

use super::words;
use crate::cli::client::Client;
use crate::cli::files::write_whole;
use crate::cli::jobs::text;
use crate::cli::say;

/// Held-out rows to search for one that training repaired.
const LOOK_AT: u64 = 24;
/// Minimum width of heat maps in pixels, to make them easy to see.
const PICTURE_WIDTH: u32 = 448;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One held-out question and both answers.
pub struct Comparison {
    example: Example,
    repaired: bool,
    answers: [Value; 2],
}

impl Comparison {
    /// Uses the first held-out row that `before` answers incorrectly and `after` correctly, else the first row.
    pub async fn make(client: &Client, before: &str, after: &str, dataset: &str) -> Result<Self, String> {
        let dataset = data::open(dataset).map_err(|error| error.to_string())?;
        let judge = reward::build(&RewardSpec::Math).map_err(|error| error.to_string())?;
        let mut chosen = 0;
        let mut repaired = false;
        for row in 0..LOOK_AT.min(dataset.len(Split::Eval)) {
            let example = dataset.example(Split::Eval, row).map_err(|error| error.to_string())?;
            let wrong_before = !right(&*judge, &example, &ask(client, before, &example, false).await?);
            if wrong_before && right(&*judge, &example, &ask(client, after, &example, false).await?) {
                (chosen, repaired) = (row, true);
                break;
            }
        }
        let example = dataset.example(Split::Eval, chosen).map_err(|error| error.to_string())?;
        let answers = [ask(client, before, &example, true).await?, ask(client, after, &example, true).await?];
        Ok(Self { example, repaired, answers })
    }

    /// Prints question and answers, each token with its visual focus.
    pub fn print(&self) {
        let why = if self.repaired { "the first held-out row that training repaired" } else { "a held-out row" };
        say(format!("\nQuestion ({why}, row {}): {}", self.example.index, question(&self.example)));
        say(format!("Correct answer: {}", self.example.answer()));
        for (name, answer) in ["starter", "trained"].into_iter().zip(&self.answers) {
            let choice = &answer["choices"][0];
            let visual =
                |key: &str| choice["visual"][key].as_f64().map_or("-".to_owned(), |value| format!("{value:.3}"));
            say(format!("\n{name} ({}): {}", text(answer, "model"), text(choice, "text")));
            say(format!("  visual focus: mean {}, late/early {}", visual("focus_mean"), visual("late_early_ratio")));
            say(format!("  by token: {}", focus_line(choice)));
        }
    }

    /// Writes both heat maps and returns their files.
    pub fn write_heatmaps(&self, data_dir: &Path) -> Result<[PathBuf; 2], String> {
        let paths = ["quickstart-before.png", "quickstart-after.png"].map(|name| data_dir.join(name));
        for (path, answer) in paths.iter().zip(&self.answers) {
            let encoded = answer["choices"][0]["attention"]["summary"][0]["png"]
                .as_str()
                .ok_or("the answer contains no heat map")?;
            let bytes =
                STANDARD.decode(encoded).map_err(|error| format!("the heat map is not valid base64: {error}"))?;
            write_whole(path, &enlarged(&bytes)?)?;
        }
        Ok(paths)
    }
}

fn right(judge: &dyn Reward, example: &Example, answer: &Value) -> bool {
    let response = text(&answer["choices"][0], "text");
    let input = RewardInput { response: &response, ground_truth: &example.answer(), ..RewardInput::default() };
    judge.judge(input).accuracy.is_some_and(|accuracy| accuracy > 0.5)
}

/// The question without image marks.
fn question(example: &Example) -> String {
    example.prompt.replace("<image>", "").trim().to_owned()
}

async fn ask(client: &Client, model: &str, example: &Example, maps: bool) -> Result<Value, String> {
    let mut content = Vec::new();
    for image in &example.images {
        let url = png_url(image).map_err(|error| error.to_string())?;
        content.push(json!({"type": "image", "image": url}));
    }
    content.push(json!({"type": "text", "text": question(example)}));
    let mut request = json!({
        "model": model, "messages": [{"role": "user", "content": content}],
        "max_new_tokens": 64, "temperature": 0.0, "seed": 1,
    });
    if maps {
        request["attention"] = json!({"maps": "summary", "format": "png", "overlay": true});
    }
    client.post("/generate", &request).await.map_err(words)
}

fn enlarged(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let picture =
        image::load_from_memory(bytes).map_err(|error| format!("the heat map is not an image: {error}"))?.to_rgb8();
    let factor = PICTURE_WIDTH.div_ceil(picture.width().max(1)).max(1);
    let (width, height) = (picture.width() * factor, picture.height() * factor);
    let picture = image::imageops::resize(&picture, width, height, FilterType::Nearest);
    png(&picture).map_err(|error| error.to_string())
}

/// Every token with its focus: a bar scaled to the range of the response, and the number.
fn focus_line(choice: &Value) -> String {
    let tokens = choice["tokens"].as_array().cloned().unwrap_or_default();
    let focus: Vec<Option<f64>> = tokens.iter().map(|token| token["focus"].as_f64()).collect();
    let known = || focus.iter().copied().flatten();
    let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let bar = |value: f64| {
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        BARS[((share * 7.0).round() as usize).min(7)]
    };
    let shown = tokens.iter().zip(&focus).map(|(token, focus)| match focus {
        Some(value) => format!("{}{}{:.2}", text(token, "text").trim(), bar(*value), value),
        None => text(token, "text"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_focus_line_spans_the_bars() {
        let choice = json!({"tokens": [{"text": " a", "focus": 0.5}, {"text": "b", "focus": 0.6},
            {"text": "c", "focus": null}]});
        assert_eq!(focus_line(&choice), "a▁0.50 b█0.60 c");
    }

    #[test]
    fn small_pictures_are_enlarged_by_whole_factors() {
        let bytes = enlarged(&png(&image::RgbImage::new(56, 28)).unwrap()).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap();
        assert_eq!((picture.width(), picture.height()), (448, 224));
        assert!(enlarged(b"no picture").is_err());
    }
}
