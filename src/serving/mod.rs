//! Generating and scoring with models: the engine, batching, attention maps, heat-map pictures.
//!
//! The path of a request: [`parse`] (JSON, bad fields by name) -> [`Engine::generate`] -> `prepare` (images decoded,
//! prompt rendered, limits checked) -> the queue of the model's compute thread -> `local::prefill` (prompts, in chunks)
//! -> `local::decode` (continuous batching over the sequences of many requests) -> `local::output` (text, maps,
//! pictures) -> [`GenerateStream`].

pub mod answer;
mod attention_capture;
mod card;
mod check;
mod engine;
mod error;
mod heatmap;
mod local;
mod maps;
mod model;
mod parse;
mod pictures;
mod prepare;
pub mod request;
mod scored;
mod text;
mod usage;
mod visual;
pub mod wire;

pub use card::{Card, PromptSettings, TaskLimits};
pub use engine::{CancelFlag, Engine, GenerateEvent, GenerateStream, LoadedModel, ModelRef};
pub use error::ServingError;
pub use local::{Loader, LocalEngine};
pub use model::ServedModel;
pub use parse::parse;
