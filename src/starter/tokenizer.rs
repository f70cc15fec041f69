//! The starter's tokenizer: whole words with their leading space, digits one by one, in Qwen's chat layout.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::train::error::{TrainError, file_error};

/// Qwen's control tokens, in the order of their ids after the words.
pub const SPECIAL: [&str; 8] = [
    "<unk>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

/// A turn is a role, a line break and its content; no system message is put in front.
const CHAT_TEMPLATE: &str = "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\\n' -}}{%- if m.content is \
string -%}{{- m.content -}}{%- else -%}{%- for c in m.content -%}{%- if c.type == 'image' or 'image' in c or \
'image_url' in c -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}{%- elif 'text' in c -%}{{- c.text -}}{%- \
endif -%}{%- endfor -%}{%- endif -%}{{- '<|im_end|>\\n' -}}{%- endfor -%}{%- if add_generation_prompt -%}{{- \
'<|im_start|>assistant\\n' -}}{%- endif -%}";

/// A word with its leading space, a single digit with its leading space, or one white-space character.
const SPLIT: &str = r" ?\p{N}| ?[^\s\p{N}]+|\s";

/// Cuts a text as [`SPLIT`] does.
fn pieces(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        let mut piece = String::from(first);
        let mut head = first;
        if first == ' ' {
            match chars.peek() {
                Some(next) if !next.is_whitespace() => {
                    head = *next;
                    piece.push(head);
                    chars.next();
                }
                _ => {}
            }
        }
        if !head.is_whitespace() && !head.is_numeric() {
            while let Some(next) = chars.peek().filter(|c| !c.is_whitespace() && !c.is_numeric()) {
                piece.push(*next);
                chars.next();
            }
        }
        out.push(piece);
    }
    out
}

/// How the byte-level alphabet writes a piece (all bytes here are printable ASCII, spaces or line breaks).
fn byte_level(piece: &str) -> String {
    piece.replace(' ', "\u{120}").replace('\n', "\u{10a}")
}

/// Ids of the special tokens, by name.
pub fn special_id(words: usize, name: &str) -> u32 {
    let at = SPECIAL.iter().position(|s| *s == name).unwrap_or(0);
    (words + at) as u32
}

/// `config` with the ids of control tokens that every family names at its top; `end` ends a response.
pub fn with_token_ids(mut config: Value, words: usize, end: &str) -> Value {
    let id = |name| special_id(words, name);
    let ids = json!({
        "bos_token_id": id("<|endoftext|>"), "eos_token_id": id(end), "pad_token_id": id("<|endoftext|>"),
        "image_token_id": id("<|image_pad|>"), "video_token_id": id("<|video_pad|>"),
        "vision_start_token_id": id("<|vision_start|>"), "vision_end_token_id": id("<|vision_end|>"),
    });
    if let (Some(config), Value::Object(ids)) = (config.as_object_mut(), ids) {
        config.extend(ids);
    }
    config
}

/// Every piece of the texts and of the chat layout, sorted.
pub fn vocabulary<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let layout = ["user", "assistant", "system", "\n"];
    let mut all: BTreeSet<String> = layout.iter().map(|p| byte_level(p)).collect();
    for digit in 0..10 {
        all.insert(digit.to_string());
        all.insert(byte_level(&format!(" {digit}")));
    }
    for text in texts {
        all.extend(pieces(text).iter().map(|p| byte_level(p)));
    }
    all.into_iter().collect()
}

/// Writes `tokenizer.json`, `tokenizer_config.json` and `chat_template.json`.
pub fn write(dir: &Path, words: &[String]) -> Result<(), TrainError> {
    let special = SPECIAL.iter().map(|name| {
        json!({ "id": special_id(words.len(), name), "content": name, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true })
    });
    let mut vocabulary = serde_json::Map::new();
    for (id, word) in words.iter().enumerate() {
        vocabulary.insert(word.clone(), json!(id));
    }
    for name in SPECIAL {
        vocabulary.insert(name.to_owned(), json!(special_id(words.len(), name)));
    }
    let byte_level =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": special.collect::<Vec<Value>>(),
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": SPLIT }, "behavior": "Isolated", "invert": false },
            byte_level,
        ]},
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>" },
    });
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>", "clean_up_tokenization_spaces": false, "model_max_length": 1024,
        "chat_template": CHAT_TEMPLATE,
    });
    let template = json!({ "chat_template": CHAT_TEMPLATE });
    for (name, value) in
        [("tokenizer.json", tokenizer), ("tokenizer_config.json", config), ("chat_template.json", template)]
    {
        let path = dir.join(name);
        std::fs::write(&path, format!("{value:#}\n")).map_err(file_error(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fall_into_words_and_single_digits() {
        assert_eq!(
            pieces("what is 12 ?\n<think> see"),
            ["what", " is", " 1", "2", " ?", "\n", "<think>", " see"].map(str::to_owned)
        );
    }
}
