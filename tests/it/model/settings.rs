//! Every setting of `config.json` is honoured, refused by its name, or told.

use candle_core::Device;
use serde_json::{Value, json};
use vgpo::model::qwen_vl::Config;
use vgpo::model::qwen_vl::config::RopeScaling;
use vgpo::model::qwen_vl::rope::text_rope;
use vgpo::model::{Batch, Sequence, describe};

use super::loading::copy_checkpoint;
use super::{Family, QWEN_VL, QWEN2, QWEN2_5, QWEN3, close, flat};

fn config(family: Family, newer: bool) -> Value {
    let file = if newer { "config_transformers5.json" } else { "checkpoint/config.json" };
    serde_json::from_str(&std::fs::read_to_string(family.fixture().join(file)).unwrap()).unwrap()
}

fn parse(config: &Value) -> Result<Config, String> {
    Config::parse(std::path::Path::new("m/config.json"), config, None).map_err(|error| error.to_string())
}

/// The object in which a decoder's settings are.
fn text(config: &mut Value) -> &mut Value {
    if config.get("text_config").is_some() { &mut config["text_config"] } else { config }
}

#[test]
fn the_published_and_the_newer_form_have_nothing_to_tell() {
    for family in QWEN_VL {
        let (older, newer) = (parse(&config(family, false)).unwrap(), parse(&config(family, true)).unwrap());
        assert_eq!(older.notes, Vec::<String>::new());
        assert_eq!((newer.notes, newer.text, newer.vision), (older.notes, older.text, older.vision));
    }
}

#[test]
fn settings_that_mean_another_computation_are_refused_by_name() {
    let decoder: &[(&str, Value)] = &[
        ("hidden_act", json!("gelu")),
        ("use_sliding_window", json!(true)),
        ("layer_types", json!(["sliding_attention", "full_attention", "full_attention"])),
        ("layer_types", json!(["full_attention"])),
        ("attention_dropout", json!(0.1)),
        ("partial_rotary_factor", json!(0.5)),
        ("attn_logit_softcapping", json!(50.0)),
        ("num_experts", json!(8)),
        ("mlp_bias", json!(true)),
        ("rms_norm_eps", json!("0.5")),
        ("rms_norm_eps", json!(-1)),
        ("rope_theta", json!("1e6")),
        ("vocab_size", json!(671.5)),
        ("num_hidden_layers", json!("3")),
        ("max_position_embeddings", json!(0)),
        ("tie_word_embeddings", json!("true")),
        ("eos_token_id", json!([525, "x"])),
        ("pad_token_id", json!(-1)),
        ("bos_token_id", json!(1_u64 << 40)),
    ];
    let tower: &[(&str, Value)] = &[
        ("hidden_act", json!("relu")),
        ("in_channels", json!(1)),
        ("in_chans", json!(4)),
        ("spatial_patch_size", json!(7)),
        ("rope_parameters", json!({"rope_type": "axial", "rope_theta": 500.0})),
        ("num_attention_heads", json!(2)),
        ("depth", json!("4")),
        ("spatial_merge_size", json!([2, 2])),
        ("model_type", json!("siglip")),
    ];
    for family in QWEN_VL {
        for newer in [false, true] {
            for (name, value) in decoder {
                let mut config = config(family, newer);
                text(&mut config)[*name] = value.clone();
                let error = parse(&config).unwrap_err();
                assert!(error.contains(name) && error.contains("m/config.json"), "{family:?} {name}: {error}");
            }
            for (name, value) in tower {
                let mut config = config(family, newer);
                config["vision_config"][*name] = value.clone();
                let error = parse(&config).unwrap_err();
                assert!(error.contains(&format!("vision_config.{name}")), "{family:?} {name}: {error}");
            }
        }
    }
    let bias = |family, value: bool| {
        let mut config = config(family, false);
        text(&mut config)["attention_bias"] = json!(value);
        parse(&config)
    };
    assert!(bias(QWEN3, true).unwrap_err().contains("attention_bias") && bias(QWEN3, false).is_ok());
    assert!(bias(QWEN2, false).unwrap_err().contains("attention_bias") && bias(QWEN2_5, true).is_ok());
    for (name, value) in [("transformers_weights", json!("other.safetensors")), ("image_token_id", json!("535"))] {
        let mut config = config(QWEN2_5, false);
        config[name] = value;
        assert!(parse(&config).unwrap_err().contains(name));
    }
}

#[test]
fn settings_that_nobody_uses_are_told() {
    for family in QWEN_VL {
        let dir = copy_checkpoint(family);
        let mut config = config(family, false);
        config["my_note"] = json!("x");
        config["vision_config"]["another"] = json!(1);
        config["attn_logit_softcapping"] = Value::Null;
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let notes = describe(dir.path()).unwrap().notes;
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("`my_note`, `vision_config.another`"), "{notes:?}");
    }
}

/// transformers reads the decoder's settings in its own object alone.
#[test]
fn a_change_outside_the_decoders_object_is_refused() {
    for family in QWEN_VL {
        let mut outside = config(family, true);
        outside["rms_norm_eps"] = json!(0.5);
        let error = parse(&outside).unwrap_err();
        assert!(error.contains("`rms_norm_eps` is 0.5") && error.contains("text_config.rms_norm_eps"), "{error}");
        let mut same = config(family, true);
        same["hidden_size"] = json!(64);
        let theta = same["text_config"]["rope_parameters"]["rope_theta"].clone();
        let section = same["text_config"]["rope_parameters"]["mrope_section"].clone();
        same["rope_scaling"] = json!({"type": "mrope", "mrope_section": section});
        parse(&same).unwrap();
        same["rope_theta"] = theta;
        parse(&same).unwrap();
        same["rope_scaling"]["mrope_section"] = json!([1, 1, 1]);
        assert!(parse(&same).is_err());
    }
    let mut tied = config(QWEN3, true);
    (tied["tie_word_embeddings"], tied["text_config"]["tie_word_embeddings"]) = (json!(true), json!(false));
    assert!(parse(&tied).unwrap_err().contains("tie_word_embeddings"));
}

/// What a configuration leaves out is what transformers' classes take.
#[test]
fn defaults_are_those_of_transformers() {
    let without = |family, names: &[&str]| {
        let mut config = config(family, true);
        for name in names {
            config["text_config"].as_object_mut().unwrap().shift_remove(*name);
        }
        parse(&config).unwrap()
    };
    let named = ["rms_norm_eps", "max_position_embeddings"];
    let (older, newer) = (without(QWEN2, &named), without(QWEN3, &named));
    assert_eq!((older.text.rms_norm_eps, older.text.max_positions), (1e-5, 32_768));
    assert_eq!((newer.text.rms_norm_eps, newer.text.max_positions), (1e-6, 128_000));
    let mut deep = config(QWEN3, true);
    deep["vision_config"].as_object_mut().unwrap().shift_remove("deepstack_visual_indexes");
    assert!(parse(&deep).unwrap_err().contains("deepstack_visual_indexes"), "8, 16, 24 do not fit a tower of 4 blocks");
}

#[test]
fn rotary_settings_are_honoured_or_refused() {
    let with = |family: Family, rope: Value| {
        let mut config = config(family, false);
        let object = text(&mut config);
        let section = object["rope_scaling"]["mrope_section"].clone();
        object["rope_scaling"] = rope;
        object["rope_scaling"]["mrope_section"] = section;
        parse(&config)
    };
    for family in QWEN_VL {
        let linear = with(family, json!({"rope_type": "linear", "factor": 4.0})).unwrap();
        assert_eq!(linear.text.rope_scaling, RopeScaling::Linear(4.0));
        let yarn =
            with(family, json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512})).unwrap();
        let RopeScaling::Yarn(settings) = yarn.text.rope_scaling else { panic!("{:?}", yarn.text) };
        assert!((settings.attention_factor - (0.1 * 4.0_f64.ln() + 1.0)).abs() < 1e-12);
        for (rope, word) in [
            (json!({"rope_type": "dynamic", "factor": 2.0}), "dynamic"),
            (json!({"rope_type": "longrope", "factor": 2.0}), "longrope"),
            (json!({"rope_type": "llama3", "factor": 2.0}), "llama3"),
            (json!({"rope_type": "linear"}), "factor"),
            (json!({"rope_type": "yarn", "factor": "4"}), "factor"),
            (json!({"rope_type": "default", "factor": 4.0}), "factor"),
            (json!({"rope_type": "yarn", "type": "linear", "factor": 4.0}), "keep one"),
            (json!({"rope_type": "default", "long_factor": [1.0]}), "long_factor"),
            (json!({"rope_type": "default", "partial_rotary_factor": 0.5}), "partial_rotary_factor"),
            (json!({"rope_type": "default", "mrope_interleaved": family != QWEN3}), "mrope_interleaved"),
        ] {
            let error = with(family, rope.clone()).unwrap_err();
            assert!(error.contains(word), "{rope}: {error}");
        }
    }
}

/// Position 1 of the tables that transformers makes for these settings.
const YARN_COSINES: [f32; 8] =
    [0.615_204_16, 1.128_517_6, 1.138_487_1, 1.138_628_4, 1.138_629_4, 1.138_629_4, 1.138_629_4, 1.138_629_4];
const YARN_SINES: [f32; 8] = [
    0.958_123_6,
    0.151_410_28,
    0.018_002_562,
    0.001_600_745_5,
    0.000_284_657_38,
    5.062_003e-5,
    9.001_656e-6,
    1.600_746e-6,
];

/// The numbers of transformers 5.24 (`_compute_yarn_parameters`) for a head of 16, base 10⁶, 512 positions made 4 times longer.
#[test]
fn yarn_stretches_as_transformers_does() {
    let mut json = config(QWEN2_5, false);
    json["rope_scaling"]["type"] = json!("yarn");
    json["rope_scaling"]["factor"] = json!(4.0);
    json["rope_scaling"]["original_max_position_embeddings"] = json!(512);
    let config = parse(&json).unwrap();
    assert_eq!(config.text.head_dim, 16);
    let info = config.info(0);
    let batch = Batch::new(&[&Sequence { ids: vec![1; 3], images: Vec::new() }], &info).unwrap();
    let rope = text_rope(&config.text, &batch, &Device::Cpu).unwrap();
    let (cos, sin) = rope.tables();
    close("cosines", &flat(cos)[8..16], &YARN_COSINES, 1e-6);
    close("sines", &flat(sin)[8..16], &YARN_SINES, 1e-6);
}
