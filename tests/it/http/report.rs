//! The report of a run.

use serde_json::json;
use vgpo::domain::sample::{SampleGroup, SampleResponse};

use super::support::{Answer, Api};

fn group() -> SampleGroup {
    let response = SampleResponse {
        text: "<b>7</b>".to_owned(),
        tokens: vec!["<b>".to_owned(), " 7".to_owned()],
        logprobs: vec![-0.1, -0.2],
        focus: Some(vec![0.4, 0.6]),
        attention: None,
        psi: vec![-0.5, 0.5],
        shaped_advantage: vec![0.5, 1.5],
        phi: 0.0,
        advantage: 1.0,
        reward: 1.0,
        reward_parts: [("math".to_owned(), 1.0)].into(),
        correct: Some(true),
        cut_off: false,
    };
    SampleGroup {
        row: 3,
        eval: true,
        prompt: "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>what is <script>?<|im_end|>\n".to_owned(),
        answer: "7".to_owned(),
        images: vec!["QUJD".to_owned()],
        responses: vec![response],
    }
}

#[tokio::test]
async fn it_holds_figures_curves_samples_and_settings_and_needs_nothing_else() {
    let api = Api::start().await;
    let job = api.submit(json!({"name": "a <run> & more", "steps": 9})).await;
    let leased = api.claim().await;
    for step in 1..=9_u32 {
        let accuracy = f64::from(step) / 10.0;
        api.report(&leased, step.into(), &[("eval/accuracy", accuracy), ("reward/mean", 0.5)]).await;
    }
    api.store().append_samples(&leased.token, 9, &[group()]).await.unwrap();
    let id = job["run_id"].as_str().unwrap();
    let answer = api.get(&format!("/v1/runs/{id}/report")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    let page = answer.body.as_str().unwrap();
    for part in [
        "a &lt;run&gt; &amp; more",
        "9 of 9",
        "10.0%",
        "90.0%",
        r#"aria-label="Accuracy""#,
        r#"aria-label="Reward""#,
        "what is &lt;script&gt;?",
        r#"<span class="f0" title="focus 0.400">&lt;b&gt;</span>"#,
        r#"<span class="f15" title="focus 0.600">7</span>"#,
        "data:image/png;base64,QUJD",
        "<code>method&#x2f;beta</code>",
    ] {
        assert!(page.contains(part), "{part} is missing in {page}");
    }
    // Its text comes from models and data sets: none of it may become markup, and nothing may be fetched.
    for foreign in ["<script", "src=\"http", "href=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign} in {page}");
    }
}

#[tokio::test]
async fn a_run_that_measured_nothing_has_one_too_and_an_unknown_one_has_none() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let page = api.get(&format!("/v1/runs/{}/report", job["run_id"].as_str().unwrap())).await;
    assert_eq!(page.status, 200);
    assert!(page.body.as_str().unwrap().contains("Nothing was measured"));
    let missing = api.request("GET", "/v1/runs/run_none/report").send().await.unwrap();
    Answer::of(missing).await.problem(404, "not_found");
}
