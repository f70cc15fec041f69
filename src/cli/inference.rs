//! What `vgpo generate` and `vgpo score` share: the request from a file, images from files, the model from a folder.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use vgpo::serving::ModelRef;

/// Arguments of both commands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model folder, or the name of a model in the data folder; the request's `model` when absent.
    #[arg(long, value_name = "DIR_OR_NAME")]
    model: Option<String>,
    /// The request: JSON as the API takes it, in which images may also be file paths. `-` reads standard input.
    #[arg(long, value_name = "FILE|-")]
    request: String,
}

impl Args {
    /// The request with its images put in, and the model it is for.
    pub fn read(&self) -> Result<(Value, ModelRef), String> {
        let mut text = String::new();
        let read = if self.request == "-" {
            std::io::stdin().read_to_string(&mut text).map(|_| ())
        } else {
            std::fs::read_to_string(&self.request).map(|t| text = t)
        };
        read.map_err(|e| format!("cannot read {}: {e}", self.request))?;
        let mut request: Value =
            serde_json::from_str(&text).map_err(|e| format!("{} is not valid JSON: {e}", self.request))?;
        let Some(fields) = request.as_object_mut() else {
            return Err(format!(
                "{} must hold an object, e.g. {{\"prompt\": \"…\", \"images\": [\"a.png\"]}}",
                self.request
            ));
        };
        if let Some(model) = &self.model {
            fields.insert("model".to_owned(), Value::String(model.clone()));
        }
        let name = fields.get("model").and_then(Value::as_str).ok_or("name a model: --model DIR_OR_NAME")?;
        let model = find_model(name)?;
        inline_images(&mut request)?;
        Ok((request, model))
    }
}

/// A folder with a model, else a model of that name in the data folder.
fn find_model(name: &str) -> Result<ModelRef, String> {
    let folder = PathBuf::from(name);
    if folder.join("config.json").is_file() {
        let id = folder.canonicalize().ok().and_then(|f| Some(f.file_name()?.to_string_lossy().into_owned()));
        return Ok(ModelRef { id: id.unwrap_or_else(|| name.to_owned()), dir: folder });
    }
    super::model_dir(name).map(|dir| ModelRef { id: name.to_owned(), dir })
}

/// Replaces file paths of images by `data:` URLs.
fn inline_images(request: &mut Value) -> Result<(), String> {
    let mut places: Vec<&mut Value> = Vec::new();
    let Some(fields) = request.as_object_mut() else { return Ok(()) };
    for (key, value) in fields.iter_mut() {
        match key.as_str() {
            "images" => places.extend(value.as_array_mut().into_iter().flatten()),
            "messages" => {
                for message in value.as_array_mut().into_iter().flatten() {
                    let parts = message.get_mut("content").and_then(Value::as_array_mut);
                    places.extend(parts.into_iter().flatten().filter_map(image_of));
                }
            }
            _ => {}
        }
    }
    for place in places {
        let Some(path) = place.as_str().filter(|text| !text.starts_with("data:")) else { continue };
        let bytes = std::fs::read(Path::new(path)).map_err(|e| format!("cannot read the image {path}: {e}"))?;
        *place = Value::String(format!("data:image/*;base64,{}", STANDARD.encode(bytes)));
    }
    Ok(())
}

/// The address of an image part.
fn image_of(part: &mut Value) -> Option<&mut Value> {
    if part.get("image").is_some() {
        return part.get_mut("image");
    }
    part.get_mut("image_url")?.get_mut("url")
}

/// Runs an asynchronous command to its end and tells how it went.
pub fn run<E: std::fmt::Display>(work: impl Future<Output = Result<(), E>>) -> std::process::ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(work) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => super::fail(error),
    }
}

/// Prints a value as one line of JSON; a reader that went away (`| head`) is no failure.
pub fn print(value: &impl Serialize) -> Result<(), String> {
    use std::io::Write as _;
    let line = serde_json::to_string(value).map_err(|e| e.to_string())?;
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write the answer: {error}"))
        }
        _ => Ok(()),
    }
}
