//! How `SGLang` is spoken to (0.5.13 or newer): its chat requests tell token ids on request, and one call replaces all
//! weights and empties its caches.

use std::path::Path;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exchange::{Fault, json as read};
use super::protocol::{Identity, Peer, Protocol, Version};
use super::question::Question;
use super::reply::{Reply, Response};
use crate::train::EngineError;

/// `SGLang`.
pub(super) struct Sglang;

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

#[derive(Deserialize)]
struct Completion {
    model: String,
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    prompt_token_ids: Option<Vec<u32>>,
    #[serde(default)]
    meta_info: Option<Meta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Meta {
    /// Log-prob, id and text of every token.
    #[serde(default)]
    output_token_logprobs: Option<Vec<(f64, u32, Option<String>)>>,
}

#[derive(Deserialize)]
struct Updated {
    success: bool,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct ModelInfo {
    #[serde(default)]
    weight_version: Option<String>,
}

#[async_trait]
impl Protocol for Sglang {
    async fn identify(&self, peer: Peer<'_>, wanted: Option<&str>, _: f64) -> Result<Identity, Fault> {
        let listed = peer.get("/v1/models").await.map_err(|fault| fault.into_final(peer.url))?;
        let models = read::<Models>(&listed)?.data;
        let found = models.iter().find(|model| wanted.is_none_or(|wanted| model.id == wanted));
        let model = found.ok_or_else(|| {
            let names = models.iter().map(|model| format!("`{}`", model.id)).collect::<Vec<_>>().join(", ");
            let wanted = wanted.unwrap_or_default();
            let problem = format!("{} serves no model `{wanted}`; it serves {names}", peer.url);
            Fault::Final(EngineError::Setting { field: "model", problem })
        })?;
        Ok(Identity { model: model.id.clone(), vgpo: false })
    }

    fn body(&self, question: &Question<'_>, _: &Identity) -> Value {
        let mut body = question.common();
        body.insert("return_prompt_token_ids".to_owned(), true.into());
        body.insert("return_meta_info".to_owned(), true.into());
        body.insert("stop_token_ids".to_owned(), json!(question.setup.end_tokens));
        Value::Object(body)
    }

    fn read(&self, bytes: &[u8]) -> Result<Reply, Fault> {
        let Completion { model, choices } = read(bytes)?;
        let mut reply = Reply { model, ..Reply::default() };
        for Choice { prompt_token_ids, meta_info, finish_reason } in choices {
            reply.prompt_ids = reply.prompt_ids.or(prompt_token_ids);
            let tokens = meta_info.and_then(|meta| meta.output_token_logprobs);
            reply.responses.push(Response {
                ids: tokens.as_ref().map(|tokens| tokens.iter().map(|(_, id, _)| *id).collect()),
                logprobs: tokens.map(|tokens| tokens.iter().map(|(logprob, ..)| *logprob).collect()),
                ended: finish_reason.unwrap_or_default(),
            });
        }
        Ok(reply)
    }

    async fn load_adapter(&self, peer: Peer<'_>, _: &Identity, _: &Version, _: &Path) -> Result<(), Fault> {
        let problem = format!("{}: adapters are not sent to SGLang: set it to \"weights\"", peer.url);
        Err(Fault::Final(EngineError::Setting { field: "sync", problem }))
    }

    async fn unload_adapter(&self, _: Peer<'_>, _: &str) -> Result<(), Fault> {
        Ok(())
    }

    async fn load_weights(&self, peer: Peer<'_>, version: &Version, dir: &Path) -> Result<(), Fault> {
        let body = json!({ "model_path": dir, "weight_version": version.name, "flush_cache": true });
        let bytes = peer.post("/update_weights_from_disk", &body).await.map_err(|fault| fault.into_final(peer.url))?;
        let Updated { success, message } = read(&bytes)?;
        if success {
            return Ok(());
        }
        let problem = format!("{} did not take the weights in {}: {message}", peer.url, dir.display());
        Err(Fault::Final(EngineError::Setting { field: "shared_dir", problem }))
    }

    async fn weight_version(&self, peer: Peer<'_>) -> Result<String, Fault> {
        let bytes = match peer.get("/model_info").await {
            Err(Fault::Unknown(_)) => peer.get("/get_model_info").await,
            answered => answered,
        };
        let bytes = bytes.map_err(|fault| fault.into_final(peer.url))?;
        Ok(read::<ModelInfo>(&bytes)?.weight_version.unwrap_or_default())
    }
}
