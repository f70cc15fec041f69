//! Tokenizer and chat templates of four model families against Hugging Face transformers.

use serde_json::Value;
use vgpo::domain::message::{Content, Message, Part, Role};

use super::{FAMILIES, LIMITS, fixtures, image_part, json, picture, processor, text_part};

#[test]
fn tokenizer_cases() {
    let cases = json("models/tokenizer_cases.json");
    for family in FAMILIES {
        let processor = processor(family);
        for case in cases.as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(processor.encode_response(text).unwrap(), ids, "{family}: {text:?}");
            assert_eq!(processor.decode(&ids, false).unwrap(), case["decoded"].as_str().unwrap());
            assert_eq!(processor.decode(&ids, true).unwrap(), case["decoded_skip_special"].as_str().unwrap());
        }
    }
    assert_eq!(cases.as_array().unwrap().len(), 35);
}

fn part(value: &Value) -> Part {
    match value["type"].as_str().unwrap() {
        "image" => image_part(),
        _ => text_part(value["text"].as_str().unwrap()),
    }
}

pub fn messages(case: &Value) -> Vec<Message> {
    let message = |value: &Value| Message {
        role: match value["role"].as_str().unwrap() {
            "system" => Role::System,
            "user" => Role::User,
            _ => Role::Assistant,
        },
        content: match &value["content"] {
            Value::String(text) => Content::Text(text.clone()),
            parts => Content::Parts(parts.as_array().unwrap().iter().map(part).collect()),
        },
    };
    case["messages"].as_array().unwrap().iter().map(message).collect()
}

#[test]
fn prompts_of_all_families() {
    for family in FAMILIES {
        let processor = processor(family);
        for prompt in ["p1_single", "p2_large", "p3_two_images", "p4_text"] {
            let case = json(format!("models/{family}/{prompt}/case.json"));
            let images: Vec<_> = case["images"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| picture(format!("models/{family}/images/{}.png", name.as_str().unwrap())))
                .collect();
            let rendered = processor.render(&messages(&case), &images, &LIMITS, true).unwrap();
            assert_eq!(rendered.text, case["prompt_text"].as_str().unwrap(), "{family}/{prompt}");
            let ids: Vec<u32> = serde_json::from_value(case["input_ids"].clone()).unwrap();
            let length = case["prompt_len"].as_u64().unwrap() as usize;
            assert_eq!(rendered.ids, ids[..length], "{family}/{prompt}");
            let expanded = case["prompt_text_expanded"].as_str().unwrap();
            assert_eq!(processor.decode(&rendered.ids, false).unwrap(), expanded);
            let response = case["response_text"].as_str().unwrap();
            assert_eq!(processor.encode_response(response).unwrap(), ids[length..]);
            let greedy: Vec<u32> = serde_json::from_value(case["greedy_ids"].clone()).unwrap();
            assert_eq!(processor.decode(&greedy, false).unwrap(), case["greedy_text"].as_str().unwrap());
            let image_id = case_image_id(family);
            for (layout, patches) in rendered.layout.iter().zip(&rendered.images) {
                let end = layout.start + layout.rows * layout.cols;
                assert!(rendered.ids[layout.start..end].iter().all(|id| *id == image_id));
                assert_ne!(rendered.ids[layout.start - 1], image_id);
                assert_ne!(rendered.ids[end], image_id);
                assert_eq!(patches.grid.height, layout.rows * 2);
                assert_eq!(patches.grid.width, layout.cols * 2);
                assert_eq!(layout.processed.0, layout.cols as u32 * layout.cell_px);
            }
            assert_eq!(rendered.layout.len(), images.len());
        }
    }
}

fn case_image_id(family: &str) -> u32 {
    json(format!("models/{family}/checkpoint/config.json"))["image_token_id"].as_u64().unwrap() as u32
}

/// Pixels all the way from a PNG file to what the reference fed its model.
#[test]
fn pixel_values_of_the_prompts() {
    let processor = processor("qwen2_5_vl_tiny");
    for (prompt, image, tolerance, share) in
        [("p1_single", "a_56x84", 1e-6, 0.0), ("p2_large", "b_98x140", 0.032, 0.02)]
    {
        let path = fixtures().join(format!("models/qwen2_5_vl_tiny/{prompt}/tensors.safetensors"));
        let bytes = std::fs::read(path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let wanted: Vec<f32> = tensors
            .tensor("pixel_values")
            .unwrap()
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let picture = picture(format!("models/qwen2_5_vl_tiny/images/{image}.png"));
        let message = Message { role: Role::User, content: Content::Parts(vec![image_part()]) };
        let rendered = processor.render(&[message], &[picture], &LIMITS, true).unwrap();
        let values = &rendered.images[0].values;
        assert_eq!(values.len(), wanted.len());
        let off = |t: f32| values.iter().zip(&wanted).filter(|(a, b)| (*a - *b).abs() > t).count();
        assert_eq!(off(tolerance), 0, "{prompt}");
        assert!(off(1e-6) as f64 <= share * values.len() as f64, "{prompt}: {} of {}", off(1e-6), values.len());
    }
}
