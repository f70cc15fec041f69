//! Ids to text: whole, by token and streamed.

use proptest::prelude::*;
use vgpo::prompt::{Processor, TextTokenizer};

use super::{FAMILIES, processor};

fn stream(tokenizer: &TextTokenizer, ids: &[u32], skip_special: bool) -> Vec<String> {
    let mut decoder = tokenizer.decoder(skip_special);
    let mut pieces: Vec<String> = ids.iter().filter_map(|id| decoder.push(*id).unwrap()).collect();
    pieces.extend(decoder.finish().unwrap());
    pieces
}

#[test]
fn a_stream_never_splits_a_character() {
    let processor = processor("qwen2_5_vl_tiny");
    let text = "数学 caf\u{e9} 😀👨\u{200d}👩 done";
    let ids = processor.encode_response(text).unwrap();
    let pieces = stream(processor.tokenizer(), &ids, true);
    assert!(pieces.iter().all(|p| !p.contains('\u{FFFD}') && !p.is_empty()));
    assert_eq!(pieces.concat(), text);
    assert!(ids.len() > pieces.len(), "the emoji's bytes were to arrive one by one");
}

#[test]
fn token_bytes_concatenate_to_the_text() {
    let processor = processor("qwen3_vl_tiny");
    let text = "π ≈ 3.14 <think>数</think><|im_end|>\n";
    let ids = processor.encode_response(text).unwrap();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| processor.token_bytes(*id)).collect();
    assert_eq!(bytes, text.as_bytes());
    assert_eq!(processor.token_text(525), "<|im_end|>");
}

#[test]
fn ids_without_a_token_are_empty() {
    let processor = processor("qwen2_5_vl_tiny");
    for id in [656, 671, 672, u32::MAX] {
        assert_eq!(processor.token_bytes(id), Vec::<u8>::new());
        assert_eq!(processor.decode(&[id], false).unwrap(), "");
        assert!(stream(processor.tokenizer(), &[id], false).is_empty());
    }
    assert_eq!(processor.decode(&[71, 660, 72], false).unwrap(), "hi");
}

/// A vocabulary of whole words has no byte-level decoder: tokens are joined by spaces.
fn word_level() -> TextTokenizer {
    let dir = tempfile::tempdir().unwrap();
    let json = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [{"id": 0, "content": "<|im_end|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<unk>",
            "vocab": {"<|im_end|>": 0, "<unk>": 1, "what": 2, "is": 3, "the": 4, "sum": 5, "?": 6}}
    });
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    TextTokenizer::from_dir(dir.path()).unwrap()
}

#[test]
fn words_outside_a_vocabulary_are_named() {
    let words = word_level();
    assert_eq!(words.encode("what is the sum ?<|im_end|>").unwrap(), [2, 3, 4, 5, 6, 0]);
    assert_eq!(words.out_of_vocabulary("what is the colour of the colour ?"), ["colour", "of"]);
    let bytes = processor("qwen2_5_vl_tiny");
    assert!(bytes.tokenizer().out_of_vocabulary("жук").is_empty());
}

proptest! {
    #[test]
    fn streams_concatenate_to_the_whole(ids in prop::collection::vec(0u32..680, 0..60), skip in any::<bool>()) {
        thread_local!(static ALL: Vec<Processor> = FAMILIES.iter().map(|f| processor(f)).collect());
        ALL.with(|all| for processor in all {
            let whole = processor.decode(&ids, skip).unwrap();
            assert_eq!(stream(processor.tokenizer(), &ids, skip).concat(), whole);
        });
    }

    #[test]
    fn word_streams_concatenate_to_the_whole(ids in prop::collection::vec(0u32..9, 0..40), skip in any::<bool>()) {
        thread_local!(static WORDS: TextTokenizer = word_level());
        WORDS.with(|words| assert_eq!(stream(words, &ids, skip).concat(), words.decode(&ids, skip).unwrap()));
    }

    #[test]
    fn any_text_survives_a_prompt(text in "\\PC{0,40}") {
        thread_local!(static ONE: Processor = processor("qwen2_5_vl_tiny"));
        ONE.with(|one| {
            let rendered = one.render(&[super::user(&text)], &[], &super::LIMITS, true).unwrap();
            assert!(rendered.text.contains(&text));
            if !text.contains("<|") {
                assert_eq!(rendered.ids, one.encode_response(&rendered.text).unwrap());
            }
        });
    }
}
