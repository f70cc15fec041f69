//! The reward `image_text`: equal to what transformers computed (tests/fixtures/reward_models), and clear about what it
//! cannot do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use serde_json::{Value, json};
use vgpo::config::job;
use vgpo::domain::device::DeviceName;
use vgpo::reward::{Backends, Reward, RewardBatch, RewardError, RewardInput, Verdict, build, build_with};
use vgpo::similarity::Checkpoints;

pub fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reward_models")
}

fn backends() -> Backends {
    Backends { image_text: Some(Checkpoints::on(DeviceName::CPU)), ..Backends::default() }
}

fn open(spec: &Value) -> Result<Box<dyn Reward>, RewardError> {
    build_with(&job::reward(spec).unwrap(), &backends())
}

fn reward(folder: &Path, more: Value) -> Result<Box<dyn Reward>, RewardError> {
    let mut spec = json!({"type": "image_text", "model": folder});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    open(&spec)
}

fn picture(name: &str) -> Arc<RgbImage> {
    Arc::new(image::open(fixtures().join(name)).unwrap().into_rgb8())
}

type Pair = (Vec<Arc<RgbImage>>, String);

fn input((images, response): &Pair) -> RewardInput<'_> {
    RewardInput { id: "0", response, images, ground_truth: "4", ..RewardInput::default() }
}

fn judge(reward: &dyn Reward, pairs: &[Pair]) -> Vec<Option<Verdict>> {
    let inputs: Vec<RewardInput<'_>> = pairs.iter().map(input).collect();
    reward.judge_all(&RewardBatch { run: "", step: 0, id: "", inputs: &inputs }).unwrap()
}

fn one(reward: &dyn Reward, name: &str, text: &str) -> f64 {
    judge(reward, &[(vec![picture(name)], text.to_owned())])[0].clone().unwrap().reward
}

#[test]
fn scores_are_those_of_transformers() {
    for (family, scores) in [("clip_tiny", &["cosine"][..]), ("siglip_tiny", &["cosine", "probability"])] {
        let folder = fixtures().join(family);
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
        let text = |case: &Value, name: &str| case[name].as_str().unwrap().to_owned();
        let pairs: Vec<Pair> =
            cases.iter().map(|case| (vec![picture(&text(case, "image"))], text(case, "text"))).collect();
        for score in scores {
            let reward = reward(&folder, json!({"score": score})).unwrap();
            let together = judge(reward.as_ref(), &pairs);
            let expected: Vec<f64> = cases.iter().map(|case| case[*score].as_f64().unwrap()).collect();
            let spread =
                expected.iter().copied().fold(f64::MIN, f64::max) - expected.iter().copied().fold(f64::MAX, f64::min);
            assert!(expected.len() == 24 && spread > 0.1, "{family}: the cases tell nothing apart");
            for ((pair, verdict), expected) in pairs.iter().zip(&together).zip(expected) {
                let value = verdict.as_ref().unwrap().reward;
                assert!((value - expected).abs() < 1e-4, "{family} {score} {:?}: {value}, not {expected}", pair.1);
                let alone = judge(reward.as_ref(), std::slice::from_ref(pair))[0].clone().unwrap().reward;
                assert!((alone - value).abs() < 1e-6, "{family} {score}: company changes a score");
            }
        }
    }
}

#[test]
fn several_pictures_count_by_their_mean_and_none_has_no_verdict() {
    let reward = reward(&fixtures().join("clip_tiny"), json!({})).unwrap();
    let (wide, tall) = (one(reward.as_ref(), "wide.png", "red"), one(reward.as_ref(), "tall.png", "red"));
    let both = (vec![picture("wide.png"), picture("tall.png")], "red".to_owned());
    let verdicts = judge(reward.as_ref(), &[(Vec::new(), "red".to_owned()), both]);
    assert_eq!(verdicts[0], None);
    assert!((verdicts[1].as_ref().unwrap().reward - f64::midpoint(wide, tall)).abs() < 1e-6 && wide != tall);
    assert_eq!(judge(reward.as_ref(), &[(Vec::new(), "red".to_owned())]), [None]);
    assert!(reward.needs_images() && !build(&job::reward(&json!({"type": "math"})).unwrap()).unwrap().needs_images());
}

#[test]
fn a_range_maps_the_score_to_0_to_1() {
    let folder = fixtures().join("siglip_tiny");
    let plain = one(reward(&folder, json!({})).unwrap().as_ref(), "even.png", "red");
    let mapped = |low: f64, high: f64| {
        one(reward(&folder, json!({"low": low, "high": high})).unwrap().as_ref(), "even.png", "red")
    };
    assert!((mapped(plain - 0.1, plain + 0.3) - 0.25).abs() < 1e-9);
    assert_eq!((mapped(plain + 0.1, plain + 0.2), mapped(plain - 0.2, plain - 0.1)), (0.0, 1.0));
}

#[test]
fn it_is_a_part_among_others_and_decides_no_accuracy() {
    let clip = fixtures().join("clip_tiny");
    let spec = |weight: f64| {
        json!({"type": "weighted", "parts": [{"weight": 1.0, "reward": {"type": "math"}},
            {"weight": weight, "reward": {"type": "image_text", "model": clip, "text": "answer"}}]})
    };
    let pair = |text: &str| (vec![picture("wide.png")], text.to_owned());
    let half = open(&spec(0.5)).unwrap();
    let verdicts =
        judge(half.as_ref(), &[pair("red \\boxed{4}"), pair("green \\boxed{5}"), (Vec::new(), "\\boxed{4}".into())]);
    let (right, wrong) = (verdicts[0].clone().unwrap(), verdicts[1].clone().unwrap());
    assert_eq!((right.accuracy, wrong.accuracy, &verdicts[2]), (Some(1.0), Some(0.0), &None));
    // Of the response only the answer is compared.
    let alone = one(reward(&clip, json!({})).unwrap().as_ref(), "wide.png", "4");
    assert!((right.parts["image_text"] - alone).abs() < 1e-6);
    assert!((right.reward - (1.0 + 0.5 * alone)).abs() < 1e-6);
}

#[test]
fn a_response_that_spells_a_special_token_writes_text() {
    let reward = reward(&fixtures().join("clip_tiny"), json!({})).unwrap();
    let score = |text: &str| one(reward.as_ref(), "wide.png", text);
    assert!((score("red <|endoftext|> green") - score("red")).abs() > 1e-3);
}

#[test]
fn endless_texts_and_ribbons_end_soon() {
    let reward = reward(&fixtures().join("siglip_tiny"), json!({})).unwrap();
    assert!(
        (one(reward.as_ref(), "wide.png", &"red ".repeat(500_000))
            - one(reward.as_ref(), "wide.png", &"red ".repeat(40)))
        .abs()
            < 1e-6
    );
    let ribbon = Arc::new(RgbImage::new(4000, 2));
    let input = RewardInput { id: "0", response: "red", images: &[ribbon], ..RewardInput::default() };
    let error = reward.judge_all(&RewardBatch { run: "", step: 0, id: "", inputs: &[input] }).unwrap_err();
    assert!(error.to_string().contains("4000 x 2") && error.to_string().contains("200 times"), "{error}");
}

/// A copy of a fixture with one change.
fn changed(family: &str, change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join(family)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    change(copy.path());
    copy
}

fn edit(dir: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.join(file);
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(path, json.to_string()).unwrap();
}

fn refusal(family: &str, change: impl FnOnce(&Path)) -> String {
    let copy = changed(family, change);
    reward(copy.path(), json!({})).err().expect("the folder is refused").to_string()
}

#[test]
fn what_a_folder_lacks_or_asks_for_is_named() {
    let config = |pointer: &'static str, value: Value| {
        move |dir: &Path| edit(dir, "config.json", |json| *json.pointer_mut(pointer).unwrap() = value.clone())
    };
    let processor = |name: &'static str, value: Value| {
        move |dir: &Path| edit(dir, "preprocessor_config.json", |json| json[name] = value.clone())
    };
    let clip = |change: &dyn Fn(&Path)| refusal("clip_tiny", change);
    for (message, part) in [
        (clip(&config("/model_type", json!("bert"))), "supports clip and siglip"),
        (clip(&config("/text_config/hidden_act", json!("gelu"))), "`text_config.hidden_act` is \"gelu\""),
        (clip(&config("/vision_config/layer_norm_eps", json!(1e-6))), "layer_norm_eps"),
        (clip(&config("/vision_config/hidden_size", json!(48))), "has shape"),
        (clip(&config("/vision_config/patch_size", json!(0))), "patch_size"),
        (clip(&config("/text_config/num_hidden_layers", json!(3))), "is missing"),
        (clip(&config("/text_config/eos_token_id", json!(7))), "eos_token_id"),
        (clip(&config("/text_config/num_attention_heads", json!(5))), "divide"),
        (refusal("siglip_tiny", config("/text_config/hidden_act", json!("relu"))), "hidden_act"),
        (clip(&processor("crop_size", json!({"height": 32, "width": 32}))), "48 x 48 pixels"),
        (clip(&processor("resample", json!(1))), "`resample` is 1"),
        (clip(&processor("do_normalize", json!(false))), "do_normalize"),
        (clip(&processor("image_std", json!([0.0, 1.0, 1.0]))), "image_std"),
        (clip(&|dir| std::fs::remove_file(dir.join("preprocessor_config.json")).unwrap()), "preprocessor_config.json"),
        (clip(&|dir| std::fs::remove_file(dir.join("tokenizer.json")).unwrap()), "tokenizer.json"),
        (clip(&|dir| std::fs::remove_file(dir.join("model.safetensors")).unwrap()), "model.safetensors"),
        (clip(&|dir| std::fs::write(dir.join("config.json"), "{").unwrap()), "not valid JSON"),
        (clip(&cut_short), "that its header asks for"),
        (clip(&as_integers), "is stored as I16"),
        (reward(Path::new("/nowhere"), json!({})).err().unwrap().to_string(), "does not exist"),
        (
            reward(&fixtures().join("clip_tiny"), json!({"score": "probability"})).err().unwrap().to_string(),
            "cosine for a CLIP",
        ),
        (reward(&fixtures().join("clip_tiny"), json!({"low": 0.1})).err().unwrap().to_string(), "`high`"),
        (
            reward(&fixtures().join("clip_tiny"), json!({"low": 0.3, "high": 0.3})).err().unwrap().to_string(),
            "less than",
        ),
        (
            build(&job::reward(&json!({"type": "image_text", "model": "x"})).unwrap()).err().unwrap().to_string(),
            "cannot be computed here",
        ),
    ] {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

fn cut_short(dir: &Path) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 10]).unwrap();
}

fn as_integers(dir: &Path) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header = String::from_utf8(bytes[8..8 + length].to_vec()).unwrap().replace("\"F16\"", "\"I16\"");
    assert_eq!(header.len(), length);
    std::fs::write(path, [&bytes[..8], header.as_bytes(), &bytes[8 + length..]].concat()).unwrap();
}

#[test]
fn settings_beside_the_image_processor_are_found() {
    let copy = changed("siglip_tiny", |dir| {
        let path = dir.join("preprocessor_config.json");
        let settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        std::fs::write(dir.join("processor_config.json"), json!({"image_processor": settings}).to_string()).unwrap();
        std::fs::write(path, "{\"do_resize\": false}").unwrap();
    });
    let score = |folder: &Path| one(reward(folder, json!({})).unwrap().as_ref(), "tall.png", "red");
    assert_eq!(score(copy.path()), score(&fixtures().join("siglip_tiny")));
}

#[test]
fn a_checkpoint_that_changed_is_read_again() {
    let copy = changed("siglip_tiny", |_| {});
    let backends = backends();
    let spec = job::reward(&json!({"type": "image_text", "model": copy.path()})).unwrap();
    let score = || one(build_with(&spec, &backends).unwrap().as_ref(), "tall.png", "red");
    let before = score();
    let path = copy.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 3000..].rotate_left(2);
    std::fs::write(&path, bytes).unwrap();
    assert_ne!(score(), before);
}
