//! Known settings of `config.json`: those that a family reads, those that cannot change what a model computes, and
//! those that must have the value that the code assumes. Settings that transformers' own classes of the family ignore
//! are reported as a note, unless their name indicates a different architecture.

use serde_json::Value;

use super::reader::Reader;
use crate::model::error::ModelError;

/// What a setting may be; null is as good as absent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::model) enum Must {
    /// One of these texts.
    Text(&'static [&'static str]),
    /// This switch.
    Switch(bool),
    /// This number.
    Number(f64),
    /// Absent.
    Absent,
}

impl Must {
    fn allows(self, value: &Value) -> bool {
        match self {
            Self::Text(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
            Self::Switch(switch) => value.as_bool() == Some(switch),
            Self::Number(number) => value.as_f64() == Some(number),
            Self::Absent => value.is_null(),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Text(texts) => texts.iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(" or "),
            Self::Switch(switch) => switch.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Absent => "left out".to_owned(),
        }
    }
}

/// The fields of one part of the configuration.
pub(in crate::model) struct Part {
    /// Those that are read.
    pub(in crate::model) read: &'static [&'static str],
    /// Those with one right value.
    pub(in crate::model) fixed: &'static [(&'static str, Must)],
}

/// Settings about files, training, generation or other programs.
const IDLE: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "attn_implementation",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "eos_token_id",
    "id2label",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "max_window_layers",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "problem_type",
    "return_dict",
    "sliding_window",
    "task_specific_params",
    "tokenizer_class",
    "tokens_per_second",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "vision_end_token_id",
    "vision_start_token_id",
    "vision_token_id",
    // Older versions of transformers wrote all of their defaults.
    "add_cross_attention",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "is_decoder",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "prefix",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "top_k",
    "top_p",
    "typical_p",
];

/// Settings of other architectures that change the computation: here they must be off.
const FOREIGN: &[(&str, Must)] = &[
    ("alibi", Must::Switch(false)),
    ("attention_chunk_size", Must::Absent),
    ("attention_multiplier", Must::Number(1.0)),
    ("attn_logit_softcapping", Must::Absent),
    ("attn_output_gate", Must::Switch(false)),
    ("embedding_multiplier", Must::Number(1.0)),
    ("final_logit_softcapping", Must::Absent),
    ("full_attention_interval", Must::Number(1.0)),
    ("kv_lora_rank", Must::Absent),
    ("logit_scale", Must::Number(1.0)),
    ("logits_scaling", Must::Number(1.0)),
    ("mlp_bias", Must::Switch(false)),
    ("moe_intermediate_size", Must::Absent),
    ("n_routed_experts", Must::Number(0.0)),
    ("no_rope_layers", Must::Absent),
    ("num_experts", Must::Number(0.0)),
    ("num_local_experts", Must::Number(0.0)),
    ("partial_rotary_factor", Must::Number(1.0)),
    ("per_layer_config", Must::Absent),
    ("q_lora_rank", Must::Absent),
    ("query_pre_attn_scalar", Must::Absent),
    ("residual_multiplier", Must::Number(1.0)),
    ("rope_interleave", Must::Switch(false)),
    ("rope_local_base_freq", Must::Absent),
    ("rotary_pct", Must::Number(1.0)),
    ("scale_embeddings", Must::Switch(false)),
    ("sliding_window_pattern", Must::Absent),
    ("use_dynamic_ntk", Must::Switch(false)),
    ("use_logn_attn", Must::Switch(false)),
];

/// Checks every field of a part and collects the unused ones.
///
/// # Errors
/// Names a setting whose value would change the computation.
pub(in crate::model) fn check(
    reader: &Reader<'_>,
    parts: &[&Part],
    unknown: &mut Vec<String>,
) -> Result<(), ModelError> {
    for (name, value) in reader.fields().filter(|(_, value)| !value.is_null()) {
        let read = parts.iter().any(|part| part.read.contains(&name));
        let fixed = parts.iter().flat_map(|part| part.fixed).chain(FOREIGN).find(|(known, _)| *known == name);
        match fixed {
            _ if read => {}
            Some((_, must)) if !must.allows(value) => {
                return Err(reader.wrong(name, value, &format!("{} (anything else is not supported)", must.words())));
            }
            Some(_) => {}
            None if IDLE.contains(&name) => {}
            None => unknown.push(reader.full(name)),
        }
    }
    Ok(())
}

/// A note on the settings that [`check`] collected, for the user who registers the model.
pub(in crate::model) fn notes(unknown: &[String]) -> Vec<String> {
    if unknown.is_empty() {
        return Vec::new();
    }
    vec![format!("config.json has settings that no model of this family uses: {}", unknown.join(", "))]
}
