//! The rewards besides math and format, on answers as models write them.

use serde_json::{Value, json};
use vgpo::config::job;
use vgpo::reward::{RewardInput, build};

fn judged(reward: Value, response: &str, truth: &str, sizes: &[[u32; 2]]) -> (f64, Option<f64>) {
    let spec = job::reward(&reward).unwrap_or_else(|e| panic!("{e:?}"));
    let input = RewardInput { response, ground_truth: truth, image_sizes: sizes, ..RewardInput::default() };
    let verdict = build(&spec).unwrap().judge(input);
    (verdict.reward, verdict.accuracy)
}

fn reward(spec: Value, response: &str, truth: &str) -> f64 {
    judged(spec, response, truth, &[]).0
}

#[test]
fn exact_answers_are_read_from_box_tag_or_tail() {
    let exact = || json!({"type": "exact"});
    for response in
        ["\\boxed{New York}", "<think>no: Paris</think> new  york", "<answer> New York </answer>", "New York"]
    {
        assert_eq!(reward(exact(), response, "\\boxed{New York}"), 1.0, "{response}");
    }
    assert_eq!(reward(exact(), "New Yorks", "New York"), 0.0);
    assert_eq!(reward(json!({"type": "exact", "case_sensitive": true}), "new york", "New York"), 0.0);
}

#[test]
fn choices_are_read_in_all_their_spellings() {
    for response in
        ["\\boxed{B}", "\\boxed{(b)}", "<think>A?</think> The answer is (B).", "Answer: B", "\\boxed{B) 5 cm}"]
    {
        assert_eq!(reward(json!({"type": "choice"}), response, "B"), 1.0, "{response}");
    }
    for response in ["\\boxed{A}", "Both of them", "A or B", ""] {
        assert_eq!(reward(json!({"type": "choice"}), response, "(B)"), 0.0, "{response}");
    }
}

#[test]
fn numbers_are_compared_within_their_tolerance() {
    let numeric = || json!({"type": "numeric"});
    for (response, truth) in
        [("\\boxed{3.14}", "3.1416"), ("about 50%", "0.5"), ("\\boxed{50\\%}", "0.5"), ("\\boxed{1,000 m}", "1000")]
    {
        let found = reward(numeric(), response, truth);
        assert_eq!(found, f64::from(u8::from(!response.starts_with("about"))), "{response}");
    }
    assert_eq!(reward(numeric(), "\\boxed{3.2}", "3.1416"), 0.0);
    let absolute = |limit: f64| json!({"type": "numeric", "absolute": limit});
    assert_eq!(reward(absolute(0.2), "0.3", "0.1"), 1.0, "the limit itself is within");
    assert_eq!(reward(absolute(0.1), "0.3", "0.1"), 0.0);
    assert_eq!(reward(json!({"type": "numeric", "relative": 0.5}), "140", "100"), 1.0);
    assert_eq!(reward(numeric(), "no number", "no number"), 0.0);
}

#[test]
fn patterns_are_searched() {
    let regex = |pattern: &str| json!({"type": "regex", "pattern": pattern});
    assert_eq!(reward(regex("(?s)<think>.*</think>"), "<think>a\nb</think>", ""), 1.0);
    assert_eq!(reward(regex("^\\d+$"), "12a", ""), 0.0);
}

#[test]
fn boxes_are_paired_and_scaled() {
    let iou = || json!({"type": "iou"});
    assert_eq!(reward(iou(), "\\boxed{[0, 0, 10, 10]}", "[0,0,10,10]"), 1.0);
    assert_eq!(reward(iou(), "{\"bbox_2d\": [10, 10, 0, 0]}", "(0, 0, 10, 10)"), 1.0, "corners in any order");
    assert!((reward(iou(), "[0, 0, 10, 5]", "[0, 0, 10, 10]") - 0.5).abs() < 1e-12);
    let two = "[[0, 0, 10, 10], [20, 20, 30, 30]]";
    assert_eq!(reward(iou(), "[[20, 20, 30, 30], [0, 0, 10, 10]]", two), 1.0, "order does not count");
    assert!((reward(iou(), "[0, 0, 10, 10]", two) - 0.5).abs() < 1e-12, "a missing box counts");
    assert!((reward(iou(), two, "[0, 0, 10, 10]") - 0.5).abs() < 1e-12, "a box too many counts");
    assert_eq!(reward(iou(), "nothing", "[0, 0, 10, 10]"), 0.0);
    let mixed = json!({"type": "iou", "answer": "thousand", "truth": "pixel"});
    assert_eq!(judged(mixed.clone(), "[0, 0, 500, 500]", "[0, 0, 100, 50]", &[[200, 100]]), (1.0, Some(1.0)));
    assert_eq!(judged(mixed, "[0, 0, 500, 500]", "[0, 0, 100, 50]", &[]).0, 0.0, "no size, nothing to compare");
    assert_eq!(reward(json!({"type": "iou", "threshold": 0.5}), "[0, 0, 10, 6]", "[0, 0, 10, 10]"), 1.0);
}

#[test]
fn length_shapes_without_deciding_accuracy() {
    let spec = json!({"type": "weighted", "parts": [
        {"weight": 1.0, "reward": {"type": "exact"}},
        {"weight": 0.5, "reward": {"type": "length", "limit": 10, "buffer": 4}}]});
    let spec = job::reward(&spec).unwrap();
    let reward = build(&spec).unwrap();
    let judge = |tokens| {
        reward.judge(RewardInput { response: "x", ground_truth: "x", tokens: Some(tokens), ..RewardInput::default() })
    };
    for (tokens, expected) in [(3, 1.0), (6, 1.0), (8, 0.75), (10, 0.5), (99, 0.5)] {
        let verdict = judge(tokens);
        assert!((verdict.reward - expected).abs() < 1e-12, "{tokens} tokens");
        assert_eq!(verdict.accuracy, Some(1.0));
    }
    assert_eq!(judge(8).parts["length"], -0.5);
}

#[test]
fn settings_are_checked_by_name() {
    for (spec, pointer) in [
        (json!({"type": "exakt"}), "/reward/type"),
        (json!({"type": "exact", "case": true}), "/reward/case"),
        (json!({"type": "numeric", "absolute": -1}), "/reward/absolute"),
        (json!({"type": "regex"}), "/reward/pattern"),
        (json!({"type": "iou", "threshold": 2}), "/reward/threshold"),
        (json!({"type": "iou", "answer": "percent"}), "/reward/answer"),
        (json!({"type": "length", "limit": 5}), "/reward/buffer"),
        (
            json!({"type": "weighted", "parts": [{"weight": 1, "reward": {"type": "webhook"}}]}),
            "/reward/parts/0/reward/url",
        ),
    ] {
        let errors = job::reward(&spec).unwrap_err();
        assert_eq!(errors[0].pointer, pointer, "{errors:?}");
    }
    let broken = job::reward(&json!({"type": "regex", "pattern": "("})).unwrap();
    assert!(build(&broken).err().unwrap().to_string().contains("regular expression"));
    let hook = job::reward(&json!({"type": "webhook", "url": "http://localhost/"})).unwrap();
    assert!(build(&hook).err().unwrap().to_string().contains("webhook_hosts"));
}

#[test]
fn boxes_are_read_in_every_usual_form() {
    let forms = [
        "[10,20,30,40]",
        "(10, 20, 30, 40)",
        "[10 20 30 40]",
        "(10,20),(30,40)",
        "[[10, 20], [30, 40]]",
        "(30, 40) to (10, 20)",
        "10, 20, 30, 40",
        "<box>(10,20),(30,40)</box>",
        "<|object_ref_start|>the 2 cats<|object_ref_end|><|box_start|>(10,20),(30,40)<|box_end|>",
        "<ref>cat</ref><box>[[10, 20, 30, 40]]</box>",
        "```json\n[{\"bbox_2d\": [10, 20, 30, 40], \"label\": \"cat\"}]\n```",
        "{\"bbox\": {\"x1\": 10, \"y1\": 20, \"x2\": 30, \"y2\": 40}}",
        "{'xmin': 10.0, 'ymin': 20, 'xmax': 30, 'ymax': 40}",
        "{\"x\": 10, \"y\": 20, \"width\": 20, \"height\": 20}",
        "The cat (a tabby) is at (10, 20), (30, 40).",
        "[\"10\", \"20\", \"30\", \"40\"]",
    ];
    for form in forms {
        assert_eq!(reward(json!({"type": "iou"}), form, "[10, 20, 30, 40]"), 1.0, "response {form}");
        assert_eq!(reward(json!({"type": "iou"}), "[10, 20, 30, 40]", form), 1.0, "truth {form}");
    }
    for form in [
        "",
        "10, 20, 30",
        "[10, 20, 30]",
        "(10, 20) (30, 40, 50)",
        "[nan, 1, 2, 3]",
        "in 1999, 3 of 4 cats (2, 5)",
        "[[1,2],[3,4],[5,6]]x",
    ] {
        assert!(reward(json!({"type": "iou"}), form, "[10, 20, 30, 40]") < 1.0, "{form}");
    }
    let two = "<|box_start|>(1,2),(30,40)<|box_end|> and <|box_start|>(5,6),(20,21)<|box_end|>";
    assert_eq!(reward(json!({"type": "iou"}), two, "[[5, 6, 20, 21], [1, 2, 30, 40]]"), 1.0);
    assert_eq!(reward(json!({"type": "iou"}), &"[".repeat(200_000), "[10, 20, 30, 40]"), 0.0);
}

#[test]
fn boxes_of_the_resized_picture_are_compared_with_those_of_the_picture() {
    let spec = job::reward(&json!({"type": "iou", "answer": "resized"})).unwrap();
    let input = |resized: &'static [[u32; 2]]| RewardInput {
        response: "[{\"bbox_2d\": [50, 50, 100, 100]}]",
        ground_truth: "[100, 200, 200, 400]",
        image_sizes: &[[400, 800]],
        resized_sizes: resized,
        ..RewardInput::default()
    };
    assert_eq!(build(&spec).unwrap().judge(input(&[[200, 200]])).reward, 1.0);
    assert_eq!(build(&spec).unwrap().judge(input(&[])).reward, 0.0, "nothing is guessed");
    assert_eq!(vgpo::prompt::usual_size([4032, 3024]), Some([1148, 840]), "as Qwen2.5-VL shows it");
}

#[test]
fn a_reward_that_says_nothing_about_answers_decides_no_accuracy() {
    let length = json!({"type": "length", "limit": 10, "buffer": 4});
    let alone = judged(length.clone(), "x", "x", &[]).1;
    let twice =
        json!({"type": "weighted", "parts": [{"weight": 1, "reward": length}, {"weight": 1, "reward": length}]});
    let mixed = json!({"type": "weighted",
        "parts": [{"weight": 1, "reward": length}, {"weight": 1, "reward": {"type": "exact"}}]});
    assert_eq!((alone, judged(twice, "x", "x", &[]).1), (None, None));
    assert_eq!((judged(mixed.clone(), "x", "x", &[]).1, judged(mixed, "y", "x", &[]).1), (Some(1.0), Some(0.0)));
}
