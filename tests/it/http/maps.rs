//! Attention maps of stored samples.

use serde_json::json;
use vgpo::domain::sample::{SampleGroup, SampleResponse};

use super::support::{Api, tiny_model};

fn png() -> String {
    use base64::Engine as _;
    let picture = image::RgbImage::from_fn(56, 56, |x, y| image::Rgb([(x * 4) as u8, (y * 4) as u8, 90]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    base64::engine::general_purpose::STANDARD.encode(bytes.into_inner())
}

fn response(text: &str) -> SampleResponse {
    let empty = Vec::new();
    SampleResponse {
        text: text.to_owned(),
        tokens: Vec::new(),
        logprobs: empty.clone(),
        focus: None,
        attention: None,
        psi: empty.clone(),
        shaped_advantage: empty,
        phi: 0.0,
        advantage: 0.0,
        reward: 0.0,
        reward_parts: Default::default(),
        correct: Some(false),
        cut_off: true,
    }
}

#[tokio::test]
async fn maps_come_from_the_nearest_checkpoint() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let run = job["run_id"].as_str().unwrap();
    let leased = api.claim().await;
    let group = SampleGroup {
        row: 3,
        eval: false,
        prompt: String::new(),
        answer: "7".to_owned(),
        images: vec![png()],
        responses: vec![response("seven"), response("eight")],
    };
    for step in [1, 9] {
        api.store().append_samples(&leased.token, step, std::slice::from_ref(&group)).await.unwrap();
    }
    let artifacts = vgpo::artifacts::open(&api.service.settings().artifacts_url).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    std::fs::create_dir_all(&dir).unwrap();
    for entry in std::fs::read_dir(tiny_model()).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    let key = format!("checkpoints/{run}/ckpt_8");
    let manifest = artifacts.publish_dir(&dir, &key).unwrap();
    let new = vgpo::domain::checkpoint::NewCheckpoint {
        id: "ckpt_8".to_owned(),
        step: 8,
        key,
        score: None,
        accuracy: None,
        last: false,
        manifest,
    };
    api.store().add_checkpoint(&leased.token, new).await.unwrap();
    let samples = api.get(&format!("/v1/runs/{run}/samples")).await.body["data"].clone();
    let path = |index: usize, query: &str| {
        format!("/v1/runs/{run}/samples/{}/maps{query}", samples[index]["id"].as_str().unwrap())
    };
    let early = api.get(&path(0, "")).await;
    assert_eq!(early.status, 200, "{}", early.body);
    assert_eq!((early.body["model"].as_str(), early.body["model_step"].as_u64()), (Some("tiny"), Some(0)));
    let late = api.get(&path(1, "?response=1&maps=tokens&format=u8")).await.body;
    assert_eq!((late["model"].as_str(), late["model_step"].as_u64()), (Some("ckpt_8"), Some(8)));
    assert_eq!((late["sample_step"].as_u64(), late["response"].as_u64()), (Some(9), Some(1)));
    let tokens = late["scored"]["tokens"].as_array().unwrap();
    assert_eq!(late["scored"]["attention"]["tokens"].as_array().unwrap().len(), tokens.len());
    let said: String = tokens.iter().map(|token| token["text"].as_str().unwrap()).collect();
    assert_eq!(said, "eight", "a response that was cut off gets no end");
    assert!(tokens[0]["attention"]["image"].as_f64().unwrap() > 0.0);
    let beyond = api.get(&path(0, "?response=2")).await;
    assert_eq!(beyond.problem(400, "invalid_query")["errors"][0]["pointer"], "?response");
    api.get(&format!("/v1/runs/{run}/samples/smp_x/maps")).await.problem(404, "not_found");
}

#[tokio::test]
async fn maps_of_an_evaluations_row_come_from_the_model_that_wrote_it() {
    use vgpo::domain::eval_row::{ROWS_FILE, chunk_key};
    let api = Api::start().await;
    let job = api.submit(json!({"method": {"type": "eval"}, "eval_rows": 4})).await;
    let run = job["run_id"].as_str().unwrap();
    let rows = api.get("/v1/datasets/digits/rows?split=eval&limit=2").await.body["data"].clone();
    let row = |number: usize, prompt: &serde_json::Value| {
        json!({
            "row": number, "tags": [], "prompt": prompt, "answer": "7", "unjudged": 0,
            "responses": [{
                "text": "seven", "tokens": 5, "cut_off": true, "correct": false, "accuracy": 0.0, "reward": 0.0,
                "reward_parts": {}, "extracted": null, "focus": null, "attention_image": null
            }]
        })
    };
    let lines = [row(0, &rows[0]["prompt"]), row(1, &json!("another question"))];
    let folder = tempfile::tempdir().unwrap().keep();
    std::fs::write(folder.join(ROWS_FILE), lines.map(|line| format!("{line}\n")).concat()).unwrap();
    let artifacts = vgpo::artifacts::open(&api.service.settings().artifacts_url).unwrap();
    artifacts.publish_dir(&folder, &chunk_key(run, 1)).unwrap();
    let path = |row: &str| format!("/v1/runs/{run}/eval-rows/{row}");
    let maps = api.get(&path("0/maps?maps=tokens")).await;
    assert_eq!(maps.status, 200, "{}", maps.body);
    assert_eq!((maps.body["model"].as_str(), maps.body["model_step"].is_null()), (Some("tiny"), true));
    assert_eq!(maps.body["images"].as_array().unwrap().len(), 1);
    let tokens = maps.body["scored"]["tokens"].as_array().unwrap();
    assert_eq!(tokens.iter().map(|token| token["text"].as_str().unwrap()).collect::<String>(), "seven");
    assert_eq!(maps.body["scored"]["attention"]["tokens"].as_array().unwrap().len(), tokens.len());
    let changed = api.get(&path("1/maps")).await;
    assert!(changed.problem(409, "conflict")["detail"].as_str().unwrap().contains("has changed"), "{}", changed.body);
    api.get(&path("3/maps")).await.problem(404, "not_found");
    let beyond = api.get(&path("0/maps?response=1")).await;
    assert!(beyond.body["detail"].as_str().unwrap().contains("1 responses"), "{}", beyond.body);
}
