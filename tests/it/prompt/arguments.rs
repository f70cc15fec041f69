//! Arguments of chat templates: Qwen3.5's template and that of its small models, against Hugging Face transformers.

use std::sync::Arc;

use serde_json::{Value, json};
use vgpo::domain::message::Message;
use vgpo::domain::template_arguments::TemplateArguments;
use vgpo::prompt::{Processor, PromptError};

use super::goldens::messages;
use super::{LIMITS, fixtures, json as fixture, model_info, picture, processor, user};

fn arguments(json: &Value) -> TemplateArguments {
    serde_json::from_value(json.clone()).unwrap()
}

/// A copy of Qwen3.5's folder with another template.
fn with_template(file: &str) -> Processor {
    let from = fixtures().join("models/qwen3_5_tiny");
    let dir = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"] {
        std::fs::copy(from.join("checkpoint").join(name), dir.path().join(name)).unwrap();
    }
    std::fs::copy(from.join(file), dir.path().join("chat_template.jinja")).unwrap();
    Processor::from_dir(dir.path(), &model_info(&fixture("models/qwen3_5_tiny/checkpoint/config.json"))).unwrap()
}

/// Messages that this program has words for: roles, texts and pictures.
fn is_plain(case: &Value) -> bool {
    case["messages"].as_array().unwrap().iter().all(|message| {
        let parts = message["content"].as_array();
        let shown = parts.is_none_or(|parts| parts.iter().all(|part| part["type"] != "audio"));
        shown
            && !message["content"].is_null()
            && message["role"] != "critic"
            && message.get("reasoning_content").is_none()
    })
}

#[test]
fn rendered_texts_are_those_of_transformers() {
    let cases = fixture("models/qwen3_5_tiny/template_cases.json");
    let mut seen = 0;
    for case in cases.as_array().unwrap().iter().filter(|case| is_plain(case)) {
        let processor = with_template(case["template"].as_str().unwrap());
        let messages: Vec<Message> = messages(case);
        let pictures = case["messages"].as_array().unwrap().iter().flat_map(|m| m["content"].as_array()).flatten();
        let pictures = pictures.filter(|part| part["type"] == "image").count();
        let images: Vec<_> =
            (0..pictures).map(|_| Arc::clone(&picture("models/qwen3_5_tiny/images/a_56x84.png"))).collect();
        let mut given = case["kwargs"].clone();
        let generation = given.as_object_mut().unwrap().remove("add_generation_prompt").unwrap() == json!(true);
        let rendered = processor.render_with(&messages, &images, &LIMITS, generation, &arguments(&given));
        match case["text"].as_str() {
            Some(text) => assert_eq!(rendered.unwrap().text, text, "{}", case["name"]),
            None => {
                let error = rendered.unwrap_err().to_string();
                assert!(error.contains(case["error"].as_str().unwrap()), "{}: {error}", case["name"]);
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 17);
}

/// Rewards read what the template began: the open tag where the model thinks, the closed block where it does not.
#[test]
fn what_a_template_opens_follows_its_arguments() {
    let opened = |file: &str, given: Value| {
        let rendered = with_template(file).render_with(&[user("hi")], &[], &LIMITS, true, &arguments(&given));
        rendered.unwrap().opened
    };
    for (file, usual) in [
        ("checkpoint/chat_template.jinja", "<think>\n"),
        ("chat_template_small_models.jinja", "<think>\n\n</think>\n\n"),
    ] {
        assert_eq!(opened(file, json!({})), usual);
        assert_eq!(opened(file, json!({"enable_thinking": true})), "<think>\n");
        assert_eq!(opened(file, json!({"enable_thinking": false})), "<think>\n\n</think>\n\n");
    }
}

#[test]
fn an_argument_without_effect_is_refused() {
    for (family, name) in [
        ("qwen2_5_vl_tiny", "enable_thinking"),
        ("qwen3_5_tiny", "reasoning_effort"),
        ("qwen3_5_tiny", "messages"),
        ("qwen3_5_tiny", "eos_token"),
    ] {
        let given = arguments(&json!({name: true}));
        let error = processor(family).render_with(&[user("hi")], &[], &LIMITS, true, &given).unwrap_err();
        assert!(matches!(&error, PromptError::TemplateArgument(told) if told == name), "{family} {name}: {error}");
        assert!(error.is_input() && error.to_string().contains("chat_template_kwargs"));
    }
}
