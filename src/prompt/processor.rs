//! Renders messages and images to a prompt for the model.

use std::path::Path;
use std::sync::Arc;

use image::RgbImage;

use super::chat_template::{ChatTemplate, TemplateContent, TemplateMessage, TemplatePart};
use super::decoder::Decoder;
use super::image_processor::{ImageProcessor, TargetSize};
use super::masking::Masking;
use super::tokenizer::{Piece, TextTokenizer};
use super::{ImageLayout, PromptError, RenderedPrompt};
use crate::domain::counted::counted;
use crate::domain::message::{AreaLimits, Content, Message, Part};
use crate::domain::template_arguments::TemplateArguments;
use crate::model::ModelInfo;

/// Texts with at most this number of bytes per allowed token are tokenized in one piece.
const BYTES_PER_TOKEN: usize = 16;
/// Bytes of a slice of a longer text.
const SLICE: usize = 1 << 16;
/// Additional tokens that a slice may have because of its cut ends.
const CUT_SLACK: usize = 8;

/// Limits of one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptLimits {
    /// Smallest image area in pixels; none: the checkpoint's own.
    pub min_pixels: Option<u64>,
    /// Largest image area in pixels; none: the checkpoint's own.
    pub max_pixels: Option<u64>,
    /// Maximum length of a prompt in tokens, image tokens included.
    pub max_prompt_tokens: usize,
}

/// The processor of a checkpoint: tokenizer, chat template and image processor.
#[derive(Debug)]
pub struct Processor {
    tokenizer: TextTokenizer,
    template: ChatTemplate,
    /// The image processor, and the token that stands for an image; none: the model reads text alone.
    images: Option<(ImageProcessor, u32)>,
    /// Tokens that stand for images and videos.
    placeholders: Vec<u32>,
}

impl Processor {
    /// Reads a model's folder in the Hugging Face layout.
    pub fn from_dir(dir: &Path, model: &ModelInfo) -> Result<Self, PromptError> {
        Ok(Self {
            tokenizer: TextTokenizer::from_dir(dir)?,
            template: ChatTemplate::from_dir(dir)?,
            images: match &model.image {
                Some(input) => Some((ImageProcessor::from_dir(dir, input)?, input.token_id)),
                None => None,
            },
            placeholders: model.placeholders.clone(),
        })
    }

    /// Checks everything in a folder except its weights.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn check_folder(dir: &Path) -> Result<(), String> {
        let info = crate::model::check_settings(dir).map_err(|error| error.to_string())?;
        Self::from_dir(dir, &info).map(drop).map_err(|error| error.to_string())
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// The image processor.
    ///
    /// # Errors
    /// A model that reads text alone.
    pub fn image_processor(&self) -> Result<&ImageProcessor, PromptError> {
        let images = self.images.as_ref().map(|(images, _)| images);
        images.ok_or_else(|| PromptError::Image("cannot be shown to this model, which reads text alone".to_owned()))
    }

    /// Notes on unused settings, for the user who registers the model.
    pub fn notes(&self) -> &[String] {
        self.images.as_ref().map_or(&[], |(images, _)| images.notes())
    }

    /// Renders messages; `images` are the decoded images of their image parts, in order.
    ///
    /// Special tokens in message texts stay plain text: they cannot add image slots or forge turns. A prompt over the
    /// limit is an error with its counts; it is never truncated.
    pub fn render(
        &self,
        messages: &[Message],
        images: &[Arc<RgbImage>],
        limits: &PromptLimits,
        add_generation_prompt: bool,
    ) -> Result<RenderedPrompt, PromptError> {
        self.render_with(messages, images, limits, add_generation_prompt, &TemplateArguments::default())
    }

    /// The same with arguments of the chat template.
    pub fn render_with(
        &self,
        messages: &[Message],
        images: &[Arc<RgbImage>],
        limits: &PromptLimits,
        add_generation_prompt: bool,
        arguments: &TemplateArguments,
    ) -> Result<RenderedPrompt, PromptError> {
        self.check_arguments(arguments)?;
        let (mut prompt, targets) = self.lay_out(messages, images, limits, add_generation_prompt, arguments)?;
        // Pixels last: they are the expensive part, and all checks are done.
        let patches = |(image, target): (&Arc<RgbImage>, TargetSize)| {
            Ok(Arc::new(self.image_processor()?.patches(image, target)))
        };
        prompt.images = images.iter().zip(targets).map(patches).collect::<Result<_, PromptError>>()?;
        Ok(prompt)
    }

    /// Number of tokens of the prompt that [`Processor::render`] would make, image tokens included, without reading
    /// pixels.
    pub fn count_tokens(
        &self,
        messages: &[Message],
        images: &[Arc<RgbImage>],
        limits: &PromptLimits,
    ) -> Result<usize, PromptError> {
        let usual = TemplateArguments::default();
        self.lay_out(messages, images, limits, true, &usual).map(|(prompt, _)| prompt.ids.len())
    }

    /// Checks that the chat template uses these arguments: one that it does not know would have no effect.
    ///
    /// # Errors
    /// The first argument that it does not use.
    pub fn check_arguments(&self, arguments: &TemplateArguments) -> Result<(), PromptError> {
        match arguments.iter().find(|(name, _)| !self.template.takes(name)) {
            Some((name, _)) => Err(PromptError::TemplateArgument(name.to_owned())),
            None => Ok(()),
        }
    }

    /// The prompt without its pixels, and the sizes that its images are resized to.
    fn lay_out(
        &self,
        messages: &[Message],
        images: &[Arc<RgbImage>],
        limits: &PromptLimits,
        add_generation_prompt: bool,
        arguments: &TemplateArguments,
    ) -> Result<(RenderedPrompt, Vec<TargetSize>), PromptError> {
        check_parts(messages, images.len())?;
        let texts = texts_of(messages);
        self.refuse_far_too_long(&texts, limits.max_prompt_tokens)?;
        let everything = texts.iter().copied().chain([self.template.source()]);
        let masking = Masking::new(self.tokenizer.special_texts(), everything)?;
        let masked: Vec<_> = messages.iter().map(|m| template_message(m, &masking)).collect();
        let rendered = self.template.render(&masked, add_generation_prompt, arguments)?;
        let pieces = self.tokenizer.split(&rendered);
        self.check_slots(&pieces, images.len())?;
        let usual = AreaLimits { min_pixels: limits.min_pixels, max_pixels: limits.max_pixels };
        let target = |(image, area): (&Arc<RgbImage>, AreaLimits)| {
            let AreaLimits { min_pixels, max_pixels } = area.over(usual);
            self.image_processor()?.target_size(image.width(), image.height(), min_pixels, max_pixels)
        };
        let targets = images.iter().zip(areas_of(messages)).map(target).collect::<Result<Vec<_>, _>>()?;
        let limit = limits.max_prompt_tokens;
        let (ids, layout) = self.expand(&pieces, &masking, images, &targets, limit)?;
        let opened = if add_generation_prompt {
            self.template.opened(&masked, &rendered, self.tokenizer.special_texts(), arguments)
        } else {
            String::new()
        };
        Ok((RenderedPrompt { text: masking.unmask(&rendered), ids, images: Vec::new(), layout, opened }, targets))
    }

    /// Rejects texts that are far over the limit before they are tokenized completely, because megabytes take seconds.
    fn refuse_far_too_long(&self, texts: &[&str], limit: usize) -> Result<(), PromptError> {
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        if bytes <= limit.saturating_mul(BYTES_PER_TOKEN) {
            return Ok(());
        }
        let mut tokens = 0;
        for slice in texts.iter().flat_map(|text| slices(text)) {
            tokens += self.tokenizer.encode_plain(slice)?.len().saturating_sub(CUT_SLACK);
            if tokens > limit {
                return Err(PromptError::FarTooLong { bytes, limit });
            }
        }
        Ok(())
    }

    /// Ids of the pieces, every image placeholder expanded to its image's tokens; at most `limit` of them.
    fn expand(
        &self,
        pieces: &[Piece<'_>],
        masking: &Masking<'_>,
        images: &[Arc<RgbImage>],
        targets: &[TargetSize],
        limit: usize,
    ) -> Result<(Vec<u32>, Vec<ImageLayout>), PromptError> {
        let (cell_px, image_token) =
            self.images.as_ref().map_or((1, None), |(images, id)| (images.cell_px(), Some(*id)));
        let mut sizes = images.iter().zip(targets);
        let mut ids = Vec::new();
        let mut layout: Vec<ImageLayout> = Vec::with_capacity(images.len());
        // Counted separately, so that huge sizes are rejected without allocating their tokens.
        let mut image_tokens = 0;
        let mut text_tokens = 0;
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    let new = self.tokenizer.encode_plain(&masking.unmask(text))?;
                    text_tokens += new.len();
                    ids.extend(new);
                }
                Piece::Special(id) if Some(*id) == image_token => {
                    let Some((image, target)) = sizes.next() else { continue };
                    let (rows, cols) = ((target.height / cell_px) as usize, (target.width / cell_px) as usize);
                    layout.push(ImageLayout {
                        start: ids.len(),
                        rows,
                        cols,
                        original: image.dimensions(),
                        processed: (target.width, target.height),
                        cell_px,
                    });
                    image_tokens += rows * cols;
                    if image_tokens <= limit {
                        ids.resize(ids.len() + rows * cols, *id);
                    }
                }
                Piece::Special(id) => {
                    text_tokens += 1;
                    ids.push(*id);
                }
            }
        }
        let tokens = text_tokens + image_tokens;
        if tokens > limit {
            return Err(PromptError::TooLong { tokens, image_tokens, limit });
        }
        Ok((ids, layout))
    }

    fn check_slots(&self, pieces: &[Piece<'_>], images: usize) -> Result<(), PromptError> {
        let count = |id: u32| pieces.iter().filter(|p| **p == Piece::Special(id)).count();
        let image_token = self.images.as_ref().map(|(_, id)| *id);
        if self.placeholders.iter().any(|id| Some(*id) != image_token && count(*id) > 0) {
            return Err(PromptError::ChatTemplate(
                "it wrote a video placeholder; only still images are supported".into(),
            ));
        }
        let slots = image_token.map_or(0, count);
        if slots != images {
            return Err(PromptError::ImageCount(format!(
                "the messages contain {}, but the model's chat template made {}",
                counted(images, "image", "images"),
                counted(slots, "image slot", "image slots")
            )));
        }
        Ok(())
    }

    /// Ids of a response; special tokens are recognised, since a response may end in `<|im_end|>`.
    pub fn encode_response(&self, text: &str) -> Result<Vec<u32>, PromptError> {
        self.tokenizer.encode(text)
    }

    /// The text of ids; unknown ids are skipped.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, PromptError> {
        self.tokenizer.decode(ids, skip_special)
    }

    /// The bytes of one id; empty for an unknown id.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.tokenizer.token_bytes(id)
    }

    /// The text of one id alone; an incomplete character is shown as U+FFFD.
    pub fn token_text(&self, id: u32) -> String {
        String::from_utf8_lossy(&self.token_bytes(id)).into_owned()
    }

    /// A decoder for one stream of ids.
    pub fn decoder(&self, skip_special: bool) -> Decoder<'_> {
        self.tokenizer.decoder(skip_special)
    }
}

/// A text in slices that end at white space, if possible.
fn slices(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let most = &rest[..rest.floor_char_boundary(SLICE)];
        let end = if most.len() < rest.len() { most.rfind(char::is_whitespace).filter(|at| *at > 0) } else { None };
        let (slice, left) = rest.split_at(end.unwrap_or(most.len()));
        rest = left;
        (!slice.is_empty()).then_some(slice)
    })
}

/// Rejects videos and a wrong number of images.
fn check_parts(messages: &[Message], images: usize) -> Result<(), PromptError> {
    let mut parts = 0;
    for (index, message) in messages.iter().enumerate() {
        let Content::Parts(content) = &message.content else { continue };
        for part in content {
            match part {
                Part::Video { .. } => return Err(PromptError::Video { message: index }),
                Part::Image { .. } | Part::ImageUrl { .. } => parts += 1,
                Part::Text { .. } => {}
            }
        }
    }
    if parts != images {
        return Err(PromptError::ImageCount(format!(
            "the messages have {}, but {} given",
            counted(parts, "image part", "image parts"),
            counted(images, "image was", "images were")
        )));
    }
    Ok(())
}

/// The size limits of each image part.
fn areas_of(messages: &[Message]) -> impl Iterator<Item = AreaLimits> {
    messages.iter().flat_map(parts_of).filter(|part| part.image().is_some()).map(Part::area_limits)
}

fn parts_of(message: &Message) -> &[Part] {
    match &message.content {
        Content::Text(_) => &[],
        Content::Parts(parts) => parts,
    }
}

fn texts_of(messages: &[Message]) -> Vec<&str> {
    let mut texts = Vec::new();
    for message in messages {
        match &message.content {
            Content::Text(text) => texts.push(text.as_str()),
            Content::Parts(parts) => texts.extend(parts.iter().filter_map(|part| match part {
                Part::Text { text } => Some(text.as_str()),
                _ => None,
            })),
        }
    }
    texts
}

fn template_message(message: &Message, masking: &Masking<'_>) -> TemplateMessage {
    let content = match &message.content {
        Content::Text(text) => TemplateContent::Text(masking.mask(text)),
        Content::Parts(parts) => TemplateContent::Parts(
            parts
                .iter()
                .map(|part| match part {
                    Part::Text { text } => TemplatePart::Text { text: masking.mask(text) },
                    Part::Image { .. } | Part::ImageUrl { .. } | Part::Video { .. } => TemplatePart::Image,
                })
                .collect(),
        ),
    };
    TemplateMessage { role: message.role, content }
}
