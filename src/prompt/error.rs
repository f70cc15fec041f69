//! What can go wrong between a message and a model input.

/// An error of the prompt room. [`PromptError::is_input`] tells a bad request from a bad model folder.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A file of the model's folder cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the model's folder says something we cannot follow.
    #[error("{path}: {problem}")]
    Config {
        /// The file.
        path: String,
        /// What is wrong and the way out.
        problem: String,
    },
    /// The tokenizer refused a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template failed on these messages.
    #[error("chat template: {0}")]
    ChatTemplate(String),
    /// The user's own prompt template is wrong.
    #[error("prompt_template: {0}")]
    PromptTemplate(String),
    /// An image cannot be used.
    #[error("image: {0}")]
    Image(String),
    /// A `data:` URL cannot be used.
    #[error("image address: {0}")]
    DataUrl(String),
    /// Limits that contradict each other.
    #[error("image area limits: {0}")]
    Limits(String),
    /// A message holds a video.
    #[error("message {message} holds a video; only still images are supported: send single frames as images")]
    Video {
        /// Position of the message, from 0.
        message: usize,
    },
    /// Messages and images do not fit together.
    #[error("{0}")]
    ImageCount(String),
    /// The prompt does not fit.
    #[error(
        "the prompt has {tokens} tokens ({image_tokens} of them image tokens), the limit is {limit}: \
         shorten the text, send fewer images or lower max_pixels"
    )]
    TooLong {
        /// Tokens of the whole prompt.
        tokens: usize,
        /// Those that stand for images.
        image_tokens: usize,
        /// `max_prompt_tokens`.
        limit: usize,
    },
    /// A prompt and the response that is to be learnt do not fit.
    #[error(
        "the prompt and its demonstration have {tokens} tokens, the model's context is {limit}: shorten them, or lower max_pixels"
    )]
    DemonstrationTooLong {
        /// Tokens of both.
        tokens: usize,
        /// What the model can hold.
        limit: usize,
    },
    /// The prompt does not fit by far; it was not read to its end.
    #[error(
        "the prompt's text has {bytes} bytes, far more than the limit of {limit} tokens can hold: shorten the text"
    )]
    FarTooLong {
        /// Bytes of all texts.
        bytes: usize,
        /// `max_prompt_tokens`.
        limit: usize,
    },
}

impl PromptError {
    /// Is the row at fault by its size: too many tokens, or a picture that the model's image processor refuses?
    pub fn does_not_fit(&self) -> bool {
        matches!(
            self,
            Self::TooLong { .. } | Self::FarTooLong { .. } | Self::DemonstrationTooLong { .. } | Self::Image(_)
        )
    }

    /// True when the request or the row is at fault, false when the model's folder is.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Config { .. } | Self::Tokenizer(_))
    }
}
