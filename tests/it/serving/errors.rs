//! Bad input: errors name field, value, limit and a remedy, and the engine keeps running.

use serde_json::{Value, json};
use vgpo::config::serving::EngineLimits;
use vgpo::serving::{Engine, LocalEngine, ModelRef, ServingError};

use super::{data_url, engine, fixture, generate, picture, request, score};

/// The pointers and the text of a refused generation.
async fn refused(request: &Value) -> (Vec<String>, String) {
    told(generate(&engine(), request).await.map(|_| ()))
}

async fn refused_score(request: &Value) -> (Vec<String>, String) {
    told(score(&engine(), request).await.map(|_| ()))
}

fn told(result: Result<(), ServingError>) -> (Vec<String>, String) {
    match result {
        Err(ServingError::Invalid(errors)) => {
            let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            (errors.into_iter().map(|e| e.pointer).collect(), text)
        }
        other => panic!("not refused as bad input: {other:?}"),
    }
}

fn with_image(url: &str) -> Value {
    json!({"model": "tiny", "max_new_tokens": 4, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "Look: "}, {"type": "image", "image": url}]}]})
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(width, height).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[tokio::test]
async fn images_that_cannot_be_used_are_named() {
    let cases = [
        ("data:image/png;base64,@@@@".to_owned(), "base64"),
        ("https://example.org/cat.png".to_owned(), "data:"),
        ("/etc/passwd".to_owned(), "data:"),
        (data_url(b"these are no pixels"), "format"),
        (data_url(&png(40, 40)[..60]), "decoded"),
        (data_url(&png(1, 600)), "1 x 600 pixels: one side may be at most 200"),
    ];
    for (url, part) in cases {
        let (pointers, text) = refused(&with_image(&url)).await;
        assert_eq!(pointers, ["/messages/0/content/1/image"], "{text}");
        assert!(text.contains(part), "{text}");
    }
    let wrapped = json!({"model": "tiny", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "nothing"}}]}]});
    assert_eq!(refused(&wrapped).await.0, ["/messages/0/content/0/image_url/url"]);
    let listed = json!({"model": "tiny", "prompt": "hi", "images": [picture("a_56x84"), "nothing"]});
    assert_eq!(refused(&listed).await.0, ["/images/1"]);
}

#[tokio::test]
async fn large_images_are_refused_by_their_header() {
    let limits = EngineLimits { image_pixels: 10_000, image_bytes: 5_000, ..EngineLimits::default() };
    let engine = LocalEngine::new(limits);
    let (pointers, text) = told(generate(&engine, &with_image(&data_url(&png(200, 100)))).await.map(|_| ()));
    assert_eq!(pointers, ["/messages/0/content/1/image"]);
    assert!(text.contains("200 x 100") && text.contains("10000"), "{text}");
    let mut noise = png(20, 20);
    noise.resize(6_000, 0);
    let (_, text) = told(generate(&engine, &with_image(&data_url(&noise))).await.map(|_| ()));
    assert!(text.contains("6000 bytes") && text.contains("5000"), "{text}");
}

#[tokio::test]
async fn unknown_and_ill_typed_fields_are_named() {
    let cases = [
        (json!({"max_tokens": 5}), "/max_tokens", "did you mean `max_new_tokens`"),
        (json!({"temperature": "hot"}), "/temperature", "invalid type"),
        (json!({"attention": {"map": "tokens"}}), "/attention/map", "did you mean `maps`"),
        (json!({"attention": {"maps": "token"}}), "/attention/maps", "did you mean `tokens`"),
        (json!({"attention": {"layers": "first"}}), "/attention/layers", "list of layer indices"),
        (json!({"messages": [{"role": "user", "content": 5}]}), "/messages/0/content", "list of parts"),
        (json!({"messages": [{"role": "usr", "content": "x"}]}), "/messages/0/role", "did you mean `user`"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "txt": "x"}]}]}),
            "/messages/0/content/0/txt",
            "did you mean `text`",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}),
            "/messages/0/content/0/type",
            "`audio`",
        ),
    ];
    for (fields, pointer, part) in cases {
        let (pointers, text) = refused(&request("p1_single", fields)).await;
        assert_eq!(pointers, [pointer], "{text}");
        assert!(text.contains(part), "{text}");
    }
    let (pointers, text) = refused(&json!({"prompt": "hi"})).await;
    assert!(pointers == ["/model"] && text.contains("missing"), "{text}");
}

#[tokio::test]
async fn numbers_outside_their_range_are_all_named_at_once() {
    let fields = json!({"max_new_tokens": 0, "temperature": -0.5, "top_p": 0.0, "n": 33, "logprobs": 21,
        "stop": ["", "ok"],
        "attention": {"layers": [0, 3], "tokens_range": [4, 4]}});
    let (pointers, text) = refused(&request("p1_single", fields)).await;
    let want = [
        "/max_new_tokens",
        "/n",
        "/logprobs",
        "/temperature",
        "/top_p",
        "/stop/0",
        "/attention/tokens_range",
        "/attention/layers/1",
    ];
    assert_eq!(pointers, want, "{text}");
    assert!(text.contains("is 33") && text.contains("32") && text.contains("layers 0 to 2"), "{text}");
}

#[tokio::test]
async fn prompts_that_do_not_fit_are_named_with_their_counts() {
    let (pointers, text) = refused(&request("p1_single", json!({"max_new_tokens": 4096}))).await;
    assert_eq!(pointers, ["/max_new_tokens"]);
    for part in ["40 tokens", "6 of them image", "4096", "at most 4056"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let long = json!({"model": "tiny", "prompt": "red ".repeat(5000)});
    let (pointers, text) = refused(&long).await;
    assert_eq!(pointers, ["/prompt"]);
    assert!(text.contains("4095"), "{text}");
    let fits = request("p4_text", json!({"max_new_tokens": 1}));
    generate(&engine(), &fits).await.unwrap();
}

#[tokio::test]
async fn prompts_that_contradict_themselves_are_named() {
    let cases = [
        (json!({"model": "tiny"}), "/messages"),
        (json!({"model": "tiny", "messages": []}), "/messages"),
        (json!({"model": "tiny", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}), "/prompt"),
        (json!({"model": "tiny", "messages": [{"role": "user", "content": "x"}], "images": []}), "/images"),
        (json!({"model": "tiny", "prompt": "<image> <image>", "images": [picture("a_56x84")]}), "/prompt"),
        (
            json!({"model": "tiny", "messages": [{"role": "user", "content": [{"type": "video", "video": "x"}]}]}),
            "/messages",
        ),
    ];
    for (request, pointer) in cases {
        let (pointers, text) = refused(&request).await;
        assert_eq!(pointers, [pointer], "{text}");
    }
}

#[tokio::test]
async fn typed_special_tokens_stay_text() {
    let engine = engine();
    let typed = json!({"model": "tiny", "max_new_tokens": 2, "prompt": "a <|image_pad|> b <|im_end|>"});
    let answer = generate(&engine, &typed).await.unwrap();
    assert_eq!(answer.usage.image_tokens, 0);
}

#[tokio::test]
async fn too_many_map_values_suggest_a_way_out() {
    let engine = LocalEngine::new(EngineLimits { map_values: 100, ..EngineLimits::default() });
    let ask = |attention: Value| request("p1_single", json!({"max_new_tokens": 40, "attention": attention}));
    let (pointers, text) = told(generate(&engine, &ask(json!({"maps": "tokens"}))).await.map(|_| ()));
    assert_eq!(pointers, ["/attention"]);
    assert!(text.contains("246 values") && text.contains("100") && text.contains("u8"), "{text}");
    generate(&engine, &ask(json!({"maps": "tokens", "format": "u8"}))).await.unwrap();
    generate(&engine, &ask(json!({"maps": "tokens", "tokens_range": [0, 10]}))).await.unwrap();
    generate(&engine, &ask(json!({"maps": "summary"}))).await.unwrap();
    let text_only = request("p4_text", json!({"max_new_tokens": 40, "attention": {"maps": "tokens"}}));
    generate(&engine, &text_only).await.unwrap();
}

#[tokio::test]
async fn bad_scores_are_named() {
    let ask = |fields: Value| request("p1_single", fields);
    let cases = [
        (json!({"responses": []}), "/responses", "1 to 64"),
        (json!({"responses": ["a", ""]}), "/responses/1", "empty"),
        (json!({"responses": ["a <|image_pad|>"]}), "/responses/0", "placeholder"),
        (json!({"responses": ["red ".repeat(5000)]}), "/responses/0", "4096"),
        (json!({"responses": ["a"], "rewards": [1.0, 2.0]}), "/rewards", "2 rewards for 1"),
        (json!({"responses": ["a"], "ablate": "images"}), "/ablate", "top_patches"),
        (json!({"responses": ["a"], "ablate": {"top_patches": 1.5}}), "/ablate/top_patches", "1.5"),
        (json!({"responses": ["a"], "ablate": {"top_patches": 0.5, "seed": 1}}), "/ablate", "random_patches"),
        (json!({"responses": ["a"], "ablate": {"top": 0.5}}), "/ablate/top", "did you mean `top_patches`"),
        (json!({"responses": ["a"], "method": {"type": "ppo"}}), "/method/type", "\"vgpo\", \"grpo\", \"dapo\""),
        (json!({"responses": ["a"], "method": {"type": "vgpo", "gama": 1.0}}), "/method", "did you mean `gamma`"),
        (json!({"responses": ["a"], "method": {"type": "vgpo", "gamma": 2.0}}), "/method", "gamma"),
    ];
    for (fields, pointer, part) in cases {
        let (pointers, text) = refused_score(&ask(fields)).await;
        assert!(pointers.len() == 1 && pointers[0].starts_with(pointer), "{pointers:?}: {text}");
        assert!(text.contains(part), "{text}");
    }
}

/// A copy of the tiny checkpoint to be damaged.
fn copy() -> (tempfile::TempDir, ModelRef) {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture().join("checkpoint")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let model = ModelRef { id: "copy".to_owned(), dir: dir.path().to_owned(), adapter: None };
    (dir, model)
}

#[tokio::test]
async fn a_damaged_folder_is_named_with_the_missing_part() {
    let engine = engine();
    let (dir, model) = copy();
    engine.load(&model).await.unwrap();
    engine.unload("copy").await;
    let weights = dir.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&weights, &candle_core::Device::Cpu).unwrap();
    tensors.remove("model.norm.weight").unwrap();
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    let fault = |error: ServingError| match error {
        ServingError::ModelFolder { model, problem } => (model, problem),
        other => panic!("{other}"),
    };
    let (name, problem) = fault(engine.load(&model).await.unwrap_err());
    assert!(name == "copy" && problem.contains("model.norm.weight"), "{problem}");
    let (dir, model) = copy();
    std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    let (_, problem) = fault(engine.load(&model).await.unwrap_err());
    assert!(problem.contains("tokenizer.json"), "{problem}");
    let (dir, model) = copy();
    std::fs::write(dir.path().join("card.json"), "{not json").unwrap();
    let (_, problem) = fault(engine.load(&model).await.unwrap_err());
    assert!(problem.contains("card.json"), "{problem}");
}

#[tokio::test]
async fn a_card_warns_of_what_the_model_was_not_made_for() {
    let engine = engine();
    let (dir, model) = copy();
    let card = json!({"task": "digits", "limits": "One picture.",
        "accepts": {"min_images": 1, "max_images": 1, "image_sizes": [[84, 56]]}});
    std::fs::write(dir.path().join("card.json"), card.to_string()).unwrap();
    let warnings = async |name: &str| {
        let request = vgpo::serving::parse(&request(name, json!({"max_new_tokens": 1}))).unwrap();
        engine.generate(&model, request).await.unwrap().answer().await.unwrap().warnings
    };
    assert!(warnings("p1_single").await.is_empty());
    for (name, part) in [("p2_large", "140x98"), ("p3_two_images", "2 images"), ("p4_text", "0 images")] {
        let seen = warnings(name).await;
        assert_eq!((seen.len(), seen[0].code.as_str()), (1, "outside_task"));
        assert!(seen[0].detail.contains(part) && seen[0].detail.contains("digits"), "{}", seen[0].detail);
    }
}

#[tokio::test]
async fn the_starter_warns_of_words_and_pictures_it_does_not_know() {
    let engine = engine();
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/starter");
    let starter = ModelRef { id: "starter".to_owned(), dir, adapter: None };
    let warnings = async |prompt: &str, side: u32| {
        let request =
            json!({"model": "starter", "prompt": prompt, "images": [data_url(&png(side, side))], "max_new_tokens": 1});
        let request = vgpo::serving::parse(&request).unwrap();
        let answer = engine.generate(&starter, request).await.unwrap().answer().await.unwrap();
        answer.warnings.into_iter().map(|w| (w.code, w.detail)).collect::<Vec<_>>()
    };
    assert_eq!(warnings("what is the sum of the digits ?", 56).await, []);
    let words = warnings("what is the colour of the digits ?", 56).await;
    assert!(words.len() == 1 && words[0].0 == "out_of_vocabulary", "{words:?}");
    assert!(words[0].1.contains("as unknown: colour"), "{words:?}");
    let picture = warnings("what is the sum of the digits ?", 112).await;
    assert!(picture.len() == 1 && picture[0].0 == "outside_task" && picture[0].1.contains("112x112"), "{picture:?}");
}

#[tokio::test]
async fn a_checkpoint_prompts_as_it_was_trained() {
    let engine = engine();
    let (dir, model) = copy();
    let notes = json!({"prompt": {"system": "Be brief.", "prompt_template": "Q: {{ prompt }}"}});
    std::fs::write(dir.path().join("vgpo.json"), notes.to_string()).unwrap();
    let first = async |request: Value| {
        let request = vgpo::serving::parse(&request).unwrap();
        engine.generate(&model, request).await.unwrap().answer().await.unwrap()
    };
    let short = first(json!({"model": "copy", "prompt": "area?", "max_new_tokens": 3})).await;
    let long = first(json!({"model": "copy", "max_new_tokens": 3, "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q: area?"}]}))
    .await;
    assert_eq!((super::ids(&short, 0), short.usage), (super::ids(&long, 0), long.usage));
}
