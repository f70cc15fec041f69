//! Errors of the prompt room.

/// An error of the prompt room. [`PromptError::is_input`] distinguishes a bad request from a bad model folder.
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
    /// A file of the model's folder has unsupported content.
    #[error("{path}: {problem}")]
    Config {
        /// The file.
        path: String,
        /// The problem and its solution.
        problem: String,
    },
    /// The tokenizer rejected a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template failed on these messages.
    #[error("chat template: {0}")]
    ChatTemplate(String),
    /// An argument that the chat template does not use.
    #[error("`{0}` in `chat_template_kwargs` is not an argument of the model's chat template: leave it out")]
    TemplateArgument(String),
    /// The user's own prompt template is wrong.
    #[error("prompt_template: {0}")]
    PromptTemplate(String),
    /// An image cannot be used.
    #[error("image: {0}")]
    Image(String),
    /// A `data:` URL cannot be used.
    #[error("image URL: {0}")]
    DataUrl(String),
    /// Limits that contradict each other.
    #[error("image area limits: {0}")]
    Limits(String),
    /// A message contains a video.
    #[error("message {message} contains a video; only still images are supported: send single frames as images")]
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
        /// Image tokens among them.
        image_tokens: usize,
        /// `max_prompt_tokens`.
        limit: usize,
    },
    /// A prompt and its demonstration do not fit.
    #[error(
        "the prompt and its demonstration have {tokens} tokens, the model's context is {limit}: shorten them, or lower \
        max_pixels"
    )]
    DemonstrationTooLong {
        /// Tokens of both.
        tokens: usize,
        /// The model's context.
        limit: usize,
    },
    /// The prompt is far too long; it was not tokenized completely.
    #[error("the prompt's text has {bytes} bytes, far too many for the limit of {limit} tokens: shorten the text")]
    FarTooLong {
        /// Bytes of all texts.
        bytes: usize,
        /// `max_prompt_tokens`.
        limit: usize,
    },
}

impl PromptError {
    /// Is the row too large: too many tokens, or an image that the model's image processor rejects?
    pub fn does_not_fit(&self) -> bool {
        matches!(
            self,
            Self::TooLong { .. } | Self::FarTooLong { .. } | Self::DemonstrationTooLong { .. } | Self::Image(_)
        )
    }

    /// True if the error is in the request or the row, false if it is in the model's folder.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::File { .. } | Self::Config { .. } | Self::Tokenizer(_))
    }
}
