//! What `vgpo generate` and `vgpo score` share: the request from a file, images from files, the model from a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::SystemClock;
use crate::config::app::AppSettings;
use crate::config::serving::EngineLimits;
use crate::domain::repository::Repository;
use crate::domain::weights::WeightFormat;
use crate::service::Service;
use crate::serving::{LocalEngine, ModelRef};
use crate::starter::NAME as STARTER;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::settings::{ListenFlags, SettingFlags, load};
use super::{hub, read_input};

/// Arguments of both commands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model folder, `hf:org/name@revision`, or the name of a model in the data folder; by default the request's
    /// `model`.
    #[arg(long, value_name = "DIR_OR_NAME")]
    model: Option<String>,
    /// The request: JSON as the API takes it, in which images may also be file paths. `-` reads standard input.
    #[arg(long, value_name = "FILE|-")]
    request: String,
    /// Device to work on: `cpu`, `cuda:N` or `metal:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Format of the weights: `native`, `q8_0` or `q4_0`.
    #[arg(long, value_name = "FORMAT", default_value = "native", value_parser = weight_format)]
    weights: WeightFormat,
    #[command(flatten)]
    flags: SettingFlags,
}

/// Reads the name of a weight format.
pub fn weight_format(name: &str) -> Result<WeightFormat, String> {
    let known = || WeightFormat::ALL.map(WeightFormat::name).join(", ");
    WeightFormat::from_name(name).ok_or_else(|| format!("it must be one of {}", known()))
}

/// A request that is ready for the engine.
pub struct Ready {
    /// The request's fields, with images inlined.
    pub request: Value,
    /// Its model.
    pub model: ModelRef,
    /// The engine for it.
    pub engine: LocalEngine,
}

impl Args {
    /// Reads the request and finds its model.
    pub async fn read(&self) -> Result<Ready, String> {
        let device = super::worker::device(&self.device)?;
        let text = read_input(&self.request)?;
        let mut request: Value =
            serde_json::from_str(&text).map_err(|e| format!("{} is not valid JSON: {e}", self.request))?;
        let Some(fields) = request.as_object_mut() else {
            return Err(format!(
                "{} must contain an object, e.g. {{\"prompt\": \"…\", \"images\": [\"a.png\"]}}",
                self.request
            ));
        };
        if let Some(model) = &self.model {
            fields.insert("model".to_owned(), Value::String(model.clone()));
        }
        let name = fields.get("model").and_then(Value::as_str).ok_or("name a model: --model DIR_OR_NAME")?;
        let settings = load(&self.flags, &ListenFlags::default()).map_err(|e| e.to_string())?;
        let limits = EngineLimits::from(&settings.limits);
        let model = Box::pin(find_model(name, settings)).await?;
        inline_images(&mut request)?;
        Ok(Ready { request, model, engine: LocalEngine::on(device, self.weights, limits) })
    }
}

/// The model of a folder, `hf:org/name@revision` or a name in the data folder.
pub async fn find_model(name: &str, settings: AppSettings) -> Result<ModelRef, String> {
    if let Some(wanted) = Repository::with_scheme(name) {
        let wanted = wanted.map_err(|error| error.to_string())?;
        let fetched = tokio::task::spawn_blocking(move || hub::fetch_model(&wanted, &settings)).await;
        return fetched.map_err(|error| error.to_string())?;
    }
    let folder = PathBuf::from(name);
    if folder.join("config.json").is_file() {
        let id = folder.canonicalize().ok().and_then(|f| Some(f.file_name()?.to_string_lossy().into_owned()));
        return Ok(ModelRef { id: id.unwrap_or_else(|| name.to_owned()), dir: folder, adapter: None });
    }
    let data = &settings.data_dir;
    if !data.is_dir() && name != STARTER {
        let data = data.display();
        return Err(format!(
            "model `{name}` is not a folder with a config.json, and there is no data folder {data} (--data)"
        ));
    }
    std::fs::create_dir_all(data).map_err(|e| format!("cannot create the data folder {}: {e}", data.display()))?;
    let clock = Arc::new(SystemClock);
    let store = super::open_store(&settings, clock.clone()).await?;
    let service = Service::new(store, clock, settings);
    service.admin().register_builtins().await.map_err(|e| e.to_string())?;
    let model = service.inference().served_model(name).await.map_err(|e| e.to_string());
    service.database().close().await;
    model
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

/// The URL of an image part.
fn image_of(part: &mut Value) -> Option<&mut Value> {
    if part.get("image").is_some() {
        return part.get_mut("image");
    }
    part.get_mut("image_url")?.get_mut("url")
}

/// Prints a value as one line of JSON; a closed pipe (`| head`) is not an error.
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
