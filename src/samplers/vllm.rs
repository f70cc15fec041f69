//! How vLLM is spoken to, and this program's own server, which answers the same calls for adapters.
//!
//! Adapters need `--enable-lora` and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`; all weights `VLLM_SERVER_DEV_MODE=1`.

use std::path::Path;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::exchange::{Fault, json as read};
use super::protocol::{Identity, Peer, Protocol, Version};
use super::question::Question;
use super::reply::{Reply, Response};
use crate::train::EngineError;

/// vLLM.
pub(super) struct Vllm;

/// Shown where a call needs a way of starting the server that is not the usual one.
const FOR_WEIGHTS: &str = "start vLLM with VLLM_SERVER_DEV_MODE=1, or use `sync`: \"adapter\"";
const FOR_ADAPTERS: &str =
    "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or use `sync`: \"weights\"";

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    owned_by: Option<String>,
    /// What an adapter belongs to.
    #[serde(default)]
    parent: Option<String>,
    /// Only entries of this program have it.
    #[serde(default)]
    family: Option<String>,
}

#[derive(Deserialize)]
struct Completion {
    model: String,
    #[serde(default)]
    prompt_token_ids: Option<Vec<u32>>,
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    token_ids: Option<Vec<u32>>,
    #[serde(default)]
    logprobs: Option<Logprobs>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    content: Option<Vec<Logprob>>,
}

#[derive(Deserialize)]
struct Logprob {
    logprob: f64,
}

#[derive(Deserialize)]
struct WeightInfo {
    weight_version: String,
}

#[async_trait]
impl Protocol for Vllm {
    async fn identify(&self, peer: Peer<'_>, wanted: Option<&str>, temperature: f64) -> Result<Identity, Fault> {
        let listed = peer.get("/v1/models").await.map_err(|fault| fault.into_final(peer.url))?;
        let models: Vec<Model> = read::<Models>(&listed)?.data;
        let served: Vec<&Model> = models.iter().filter(|model| model.parent.is_none()).collect();
        let names = || served.iter().map(|model| format!("`{}`", model.id)).collect::<Vec<_>>().join(", ");
        let setting = |problem: String| Fault::Final(EngineError::Setting { field: "model", problem });
        let model = match (wanted, served.as_slice()) {
            (Some(wanted), served) => served
                .iter()
                .find(|model| model.id == wanted)
                .ok_or_else(|| setting(format!("{} serves no model `{wanted}`; it serves {}", peer.url, names())))?,
            (None, [only]) => only,
            (None, _) => {
                return Err(setting(format!("{} serves {}: name the one that is trained", peer.url, names())));
            }
        };
        let vgpo = model.family.is_some() && model.owned_by.as_deref() != Some("vllm");
        let identity = Identity { model: model.id.clone(), vgpo };
        check_temperature(peer, &identity, temperature).await?;
        Ok(identity)
    }

    fn body(&self, question: &Question<'_>, identity: &Identity) -> Value {
        let mut body = question.common();
        body.insert("return_token_ids".to_owned(), true.into());
        let limits = [("min_pixels", question.data().min_pixels), ("max_pixels", question.data().max_pixels)];
        let limits: Map<String, Value> =
            limits.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), limit?.into()))).collect();
        if identity.vgpo {
            // It ends at the model's own end tokens, and draws no token that stands for an image.
            limit_images(&mut body, &limits);
            return Value::Object(body);
        }
        body.insert("stop_token_ids".to_owned(), json!(question.setup.end_tokens));
        let never: Map<String, Value> =
            question.setup.placeholders.iter().map(|id| (id.to_string(), (-100).into())).collect();
        if !never.is_empty() {
            body.insert("logit_bias".to_owned(), never.into());
        }
        if !limits.is_empty() {
            body.insert("mm_processor_kwargs".to_owned(), limits.into());
        }
        Value::Object(body)
    }

    fn read(&self, bytes: &[u8]) -> Result<Reply, Fault> {
        let Completion { model, prompt_token_ids, choices } = read(bytes)?;
        let response = |Choice { token_ids, logprobs, finish_reason }: Choice| {
            let content = logprobs.and_then(|logprobs| logprobs.content);
            Response {
                ids: token_ids,
                logprobs: content.map(|content| content.into_iter().map(|entry| entry.logprob).collect()),
                ended: finish_reason.unwrap_or_default(),
            }
        };
        let responses = choices.into_iter().map(response).collect();
        Ok(Reply { model, prompt_ids: prompt_token_ids, responses })
    }

    async fn load_adapter(
        &self,
        peer: Peer<'_>,
        identity: &Identity,
        version: &Version,
        dir: &Path,
    ) -> Result<(), Fault> {
        let mut body = json!({ "lora_name": version.name, "lora_path": dir });
        if identity.vgpo {
            // vLLM serves one model; this program may serve several.
            body["base_model"] = identity.model.clone().into();
        }
        match peer.post("/v1/load_lora_adapter", &body).await {
            // It has it already, e.g. because the answer to an earlier request was lost.
            Err(Fault::Refused(problem) | Fault::Passing(problem)) if problem.contains("already been loaded") => Ok(()),
            Err(Fault::Unknown(problem)) if problem.contains("Not Found") => Err(Fault::Final(EngineError::Setting {
                field: "sync",
                problem: format!("{}: {FOR_ADAPTERS}", peer.url),
            })),
            Err(Fault::Unknown(problem) | Fault::Refused(problem)) => Err(not_taken(peer.url, dir, &problem)),
            answered => answered.map(drop),
        }
    }

    async fn unload_adapter(&self, peer: Peer<'_>, name: &str) -> Result<(), Fault> {
        peer.post("/v1/unload_lora_adapter", &json!({ "lora_name": name })).await.map(drop)
    }

    /// What may be in a cache belongs to other weights: without emptying all three, the next image ends the engine.
    async fn load_weights(&self, peer: Peer<'_>, version: &Version, dir: &Path) -> Result<(), Fault> {
        let needs_dev_mode = |fault: Fault| match fault {
            Fault::Unknown(_) => {
                Fault::Final(EngineError::Setting { field: "sync", problem: format!("{}: {FOR_WEIGHTS}", peer.url) })
            }
            fault => fault.into_final(peer.url),
        };
        peer.post("/pause?mode=wait", &Value::Null).await.map_err(needs_dev_mode)?;
        let reload = json!({ "method": "reload_weights", "kwargs": { "weights_path": dir } });
        let loaded = async {
            peer.post("/collective_rpc", &reload).await.map_err(|fault| match fault {
                Fault::Refused(problem) => not_taken(peer.url, dir, &problem),
                fault => fault,
            })?;
            for cache in ["/reset_prefix_cache", "/reset_mm_cache", "/reset_encoder_cache"] {
                peer.post(cache, &Value::Null).await?;
            }
            peer.post("/update_weight_version", &json!({ "new_version": version.name })).await
        };
        let loaded = loaded.await;
        // Whatever happened, others may use the server.
        let resumed = peer.post("/resume", &Value::Null).await;
        loaded.and(resumed).map(drop).map_err(|fault| fault.into_final(peer.url))
    }

    async fn weight_version(&self, peer: Peer<'_>) -> Result<String, Fault> {
        let bytes = peer.get("/weight_info").await.map_err(|fault| fault.into_final(peer.url))?;
        Ok(read::<WeightInfo>(&bytes)?.weight_version)
    }
}

/// Log-probs at another temperature than 1 are those that were sampled from only where the server is told so. Only a
/// server in development mode tells its configuration; elsewhere the drift between sampler and trainer shows it.
async fn check_temperature(peer: Peer<'_>, identity: &Identity, temperature: f64) -> Result<(), Fault> {
    if (temperature - 1.0).abs() < f64::EPSILON {
        return Ok(());
    }
    let setting = |way_out: &str| {
        let problem = format!(
            "{} tells log-probs at temperature 1, but `rollout.temperature` is {temperature}: {way_out}",
            peer.url
        );
        Err(Fault::Final(EngineError::Setting { field: "type", problem }))
    };
    if identity.vgpo {
        return setting("set it to 1");
    }
    let told = match peer.get("/server_info?config_format=json").await {
        Ok(bytes) => read::<Value>(&bytes)?,
        Err(Fault::Passing(problem)) => return Err(Fault::Passing(problem)),
        Err(_) => return Ok(()),
    };
    match told.pointer("/vllm_config/model_config/logprobs_mode").and_then(Value::as_str) {
        Some(mode) if mode.starts_with("raw") => setting("start vLLM with --logprobs-mode processed_logprobs"),
        _ => Ok(()),
    }
}

/// Weights that the server could not read.
fn not_taken(url: &str, dir: &Path, problem: &str) -> Fault {
    let problem = format!(
        "{url} did not take the weights in {} ({problem}): every server must read the folder under this path (this \
         program below its `model_roots`), and serve the model that is trained",
        dir.display()
    );
    Fault::Final(EngineError::Setting { field: "shared_dir", problem })
}

/// This program takes limits of pixels next to each image.
fn limit_images(body: &mut Map<String, Value>, limits: &Map<String, Value>) {
    let messages = body.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten();
    let parts = messages.filter_map(|message| message["content"].as_array_mut()).flatten();
    for part in parts.filter(|part| part["type"] == "image_url").filter_map(Value::as_object_mut) {
        part.extend(limits.clone());
    }
}
