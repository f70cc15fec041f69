//! Prepares a request for the compute thread: checks its numbers, decodes images, renders the prompt.

use std::sync::Arc;

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::ServingError;
use super::answer::{ImageInfo, Warning};
use super::check::{check_generate, check_score};
use super::model::ServedModel;
use super::pictures::{ImageAddress, image_parts, read_images};
use super::request::{AttentionOptions, GenerateRequest, LayerName, Layers, MapFormat, MapScope, ScoreRequest};
use crate::config::serving::{EngineLimits, MAX_IMAGES};
use crate::domain::message::{AreaLimits, Content, Message};
use crate::domain::template_arguments::TemplateArguments;
use crate::model::ImagePatches;
use crate::prompt::{PromptLimits, RenderedPrompt, messages_for};

/// The cost of a picture against the limit of map values, in numbers; a byte costs an eighth of a number.
const PNG_COST: usize = 16_384;

/// SHA-256 of an image's size and patches.
pub type ImageHash = [u8; 32];

/// A prompt that is ready for the model.
pub struct PreparedPrompt {
    /// Tokens and patches.
    pub rendered: RenderedPrompt,
    /// Hashes that identify the processed images.
    pub image_hashes: Vec<ImageHash>,
    /// The original images, for heat-map pictures.
    pub pixels: Vec<Arc<RgbImage>>,
    /// Warnings about the prompt.
    pub warnings: Vec<Warning>,
}

impl PreparedPrompt {
    /// Tokens of the prompt.
    pub fn len(&self) -> usize {
        self.rendered.ids.len()
    }

    /// Image tokens of the prompt.
    pub fn image_tokens(&self) -> usize {
        self.rendered.layout.iter().map(|l| l.rows * l.cols).sum()
    }

    /// How the cells of maps correspond to the images.
    pub fn image_infos(&self) -> Vec<ImageInfo> {
        let pair = |(width, height)| [width, height];
        self.rendered
            .layout
            .iter()
            .map(|l| ImageInfo {
                rows: l.rows,
                cols: l.cols,
                original: pair(l.original),
                processed: pair(l.processed),
                cell_px: l.cell_px,
            })
            .collect()
    }
}

/// The ways in which a request may give its prompt.
struct Source<'a> {
    messages: Option<&'a [Message]>,
    prompt: Option<&'a str>,
    images: Option<&'a [String]>,
    arguments: &'a TemplateArguments,
}

/// Renders a generation's prompt and checks that prompt and response fit the model's context; also returns the maximum
/// length of a response.
///
/// # Errors
/// A bad message or image, a prompt over the context, more map values than allowed.
pub fn prepare_generate(
    request: &GenerateRequest,
    served: &ServedModel,
    limits: &EngineLimits,
) -> Result<(PreparedPrompt, usize), ServingError> {
    check_generate(request, served, limits)?;
    let source = Source {
        messages: request.messages.as_deref(),
        prompt: request.prompt.as_deref(),
        images: request.images.as_deref(),
        arguments: &request.chat_template_kwargs,
    };
    let prepared = render(&source, served, limits)?;
    let context = served.model.info().max_positions;
    let wanted = match request.max_new_tokens {
        Some(tokens) => tokens,
        None => room(&prepared, request, context, limits),
    };
    if prepared.len() + wanted > context {
        return Err(ServingError::field(
            "/max_new_tokens",
            format!(
                "the prompt has {} tokens ({} of them image tokens) and max_new_tokens is {}, together more than the \
                 model's context of {context}: ask for at most {} tokens, or shorten the prompt",
                prepared.len(),
                prepared.image_tokens(),
                wanted,
                context.saturating_sub(prepared.len())
            ),
        ));
    }
    check_map_values(&request.attention, &prepared, wanted, request.n, limits)?;
    Ok((prepared, wanted))
}

/// The default of `max_new_tokens`: the rest of the context, within the limits on what is accepted at once.
fn room(prompt: &PreparedPrompt, request: &GenerateRequest, context: usize, limits: &EngineLimits) -> usize {
    let rest = context.saturating_sub(prompt.len());
    let queued = limits.queued_tokens.saturating_sub(prompt.len()) / request.n.max(1);
    let mapped = match cost_of_map(&request.attention, prompt) {
        Some(cost) if request.attention.maps == MapScope::Tokens && request.attention.tokens_range.is_none() => {
            (limits.map_values / (cost * request.n.max(1))).saturating_sub(1)
        }
        _ => rest,
    };
    rest.min(queued).min(mapped).max(1)
}

/// The cost of one map of each image; none if no maps are requested.
fn cost_of_map(options: &AttentionOptions, prompt: &PreparedPrompt) -> Option<usize> {
    let images = prompt.rendered.layout.len();
    let cost = match options.format {
        MapFormat::Values => prompt.image_tokens(),
        MapFormat::U8 => prompt.image_tokens().div_ceil(8),
        MapFormat::Png => images * PNG_COST,
    };
    (options.maps != MapScope::None && images > 0).then_some(cost.max(1))
}

/// Renders a score request's prompt and tokenises its responses.
///
/// # Errors
/// A bad message, image or response, a response over the context, more map values than allowed.
pub fn prepare_score(
    request: &ScoreRequest,
    served: &ServedModel,
    limits: &EngineLimits,
) -> Result<(PreparedPrompt, Vec<Vec<u32>>), ServingError> {
    check_score(request, served)?;
    let source = Source {
        messages: request.messages.as_deref(),
        prompt: request.prompt.as_deref(),
        images: request.images.as_deref(),
        arguments: &request.chat_template_kwargs,
    };
    let prepared = render(&source, served, limits)?;
    let mut responses = Vec::with_capacity(request.responses.len());
    for (index, text) in request.responses.iter().enumerate() {
        let pointer = format!("/responses/{index}");
        let ids =
            served.processor.encode_response(text).map_err(|e| ServingError::of_prompt(&e, &pointer, &served.id))?;
        check_response(&ids, prepared.len(), served).map_err(|detail| ServingError::field(pointer, detail))?;
        responses.push(ids);
    }
    let longest = responses.iter().map(Vec::len).max().unwrap_or(0);
    check_map_values(&request.attention, &prepared, longest, responses.len(), limits)?;
    Ok((prepared, responses))
}

fn check_response(ids: &[u32], prompt: usize, served: &ServedModel) -> Result<(), String> {
    let info = served.model.info();
    if ids.is_empty() {
        return Err("is empty: a response needs at least one token".to_owned());
    }
    if ids.iter().any(|id| info.placeholders.contains(id)) {
        return Err("contains an image or video placeholder, which a model never generates".to_owned());
    }
    if prompt + ids.len() > info.max_positions {
        let (tokens, context) = (ids.len(), info.max_positions);
        return Err(format!(
            "has {tokens} tokens after a prompt of {prompt}, more than the model's context of {context}"
        ));
    }
    Ok(())
}

/// Checks the number of map values before anything is computed, so that a request is rejected immediately or not at
/// all.
fn check_map_values(
    options: &AttentionOptions,
    prompt: &PreparedPrompt,
    tokens: usize,
    rows: usize,
    limits: &EngineLimits,
) -> Result<(), ServingError> {
    let Some(one_each) = cost_of_map(options, prompt) else { return Ok(()) };
    let mapped = match (options.maps, options.tokens_range) {
        (MapScope::Tokens, Some([first, end])) => end.min(tokens).saturating_sub(first),
        (MapScope::Tokens, None) => tokens,
        _ => 0,
    };
    let values = one_each * (mapped + 1) * rows;
    if values <= limits.map_values {
        return Ok(());
    }
    let way_out = match options.format {
        MapFormat::Values => {
            "ask for `format: \"u8\"` (an eighth of the cost), a shorter `tokens_range`, or `maps: \"summary\"`"
        }
        MapFormat::U8 => "ask for a shorter `tokens_range` or `maps: \"summary\"`",
        MapFormat::Png => "ask for `format: \"u8\"`, a shorter `tokens_range`, or `maps: \"summary\"`",
    };
    Err(ServingError::field(
        "/attention",
        format!("the maps would take {values} values, the limit (max_map_values) is {}: {way_out}", limits.map_values),
    ))
}

fn render(source: &Source<'_>, served: &ServedModel, limits: &EngineLimits) -> Result<PreparedPrompt, ServingError> {
    let (messages, images) = match (source.messages, source.prompt) {
        (Some(_), Some(_)) => {
            return Err(ServingError::field("/prompt", "cannot be combined with `messages`: give one of the two"));
        }
        (None, None) => {
            return Err(ServingError::field(
                "/messages",
                "is missing; a request has `messages`, or `prompt` with `images`",
            ));
        }
        (Some(messages), None) => {
            if source.images.is_some() {
                return Err(ServingError::field(
                    "/images",
                    "belongs to `prompt`: put images into the parts of `messages`",
                ));
            }
            refuse_limits_inside(messages)?;
            (messages.to_vec(), image_parts(messages))
        }
        (None, Some(prompt)) => prompt_messages(prompt, source.images.unwrap_or_default(), served)?,
    };
    if messages.is_empty() {
        return Err(ServingError::field("/messages", "is empty: there must be at least one message"));
    }
    if images.len() > MAX_IMAGES {
        return Err(ServingError::field(
            "/messages",
            format!("contain {} images, the limit is {MAX_IMAGES}", images.len()),
        ));
    }
    let pixels = read_images(&images, served, limits)?;
    let pointer = if source.prompt.is_some() { "/prompt" } else { "/messages" };
    let prompt_limits = PromptLimits {
        min_pixels: served.card.prompt.min_pixels,
        max_pixels: served.card.prompt.max_pixels,
        // One position is reserved for the answer.
        max_prompt_tokens: served.model.info().max_positions.saturating_sub(1),
    };
    let fault = |e| ServingError::of_prompt(&e, "/chat_template_kwargs", &served.id);
    served.processor.check_arguments(source.arguments).map_err(fault)?;
    let arguments = source.arguments.over(&TemplateArguments::thinking(served.card.prompt.enable_thinking));
    let rendered = served
        .processor
        .render_with(&messages, &pixels, &prompt_limits, true, &arguments)
        .map_err(|e| ServingError::of_prompt(&e, pointer, &served.id))?;
    let warnings = served.card.warnings(&rendered, &messages, served.processor.tokenizer());
    let image_hashes = rendered.images.iter().map(|image| hash(image)).collect();
    Ok(PreparedPrompt { rendered, image_hashes, pixels, warnings })
}

/// Pixel limits belong next to `image_url`; chat completions accept them inside it and move them.
fn refuse_limits_inside(messages: &[Message]) -> Result<(), ServingError> {
    for (m, message) in messages.iter().enumerate() {
        let Content::Parts(parts) = &message.content else { continue };
        for (p, part) in parts.iter().enumerate() {
            if let Some(name) = part.limit_inside() {
                let detail = format!("`{name}` belongs next to `image_url`, not inside it");
                return Err(ServingError::field(format!("/messages/{m}/content/{p}/image_url/{name}"), detail));
            }
        }
    }
    Ok(())
}

fn hash(image: &ImagePatches) -> ImageHash {
    let grid = image.grid;
    let mut hash = Sha256::new();
    for side in [grid.time, grid.height, grid.width] {
        hash.update(side.to_le_bytes());
    }
    let bytes: Vec<u8> = image.values.iter().flat_map(|value| value.to_le_bytes()).collect();
    hash.update(&bytes);
    hash.finalize().into()
}

fn prompt_messages(
    prompt: &str,
    images: &[String],
    served: &ServedModel,
) -> Result<(Vec<Message>, Vec<ImageAddress>), ServingError> {
    let fault = |e: crate::prompt::PromptError| ServingError::of_prompt(&e, "/prompt", &served.id);
    let text = served.card.prompt_text(prompt).map_err(fault)?;
    let messages = messages_for(&text, images.len(), served.card.prompt.system.as_deref()).map_err(fault)?;
    let images = images.iter().enumerate();
    let images = images.map(|(i, url)| ImageAddress {
        pointer: format!("/images/{i}"),
        url: url.clone(),
        area: AreaLimits::default(),
    });
    let images = images.collect();
    Ok((messages, images))
}

/// The selected ones of the decoder layers with attention, in ascending order and without duplicates.
pub fn layer_indices(choice: &Layers, with_attention: &[usize]) -> Vec<usize> {
    match choice {
        Layers::Named(LayerName::Mean) => with_attention.to_vec(),
        Layers::Named(LayerName::Last) => with_attention.last().copied().into_iter().collect(),
        Layers::List(list) => {
            let mut list = list.clone();
            list.sort_unstable();
            list.dedup();
            list
        }
    }
}
