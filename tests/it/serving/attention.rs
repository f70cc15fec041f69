//! Shares and maps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vgpo::serving::answer::{AttentionMap, GenerateAnswer};

use super::{engine, generate, ids, near, request, stream};

async fn maps(name: &str, attention: Value) -> GenerateAnswer {
    let fields = json!({"max_new_tokens": 6, "temperature": 1.0, "seed": 3, "attention": attention});
    generate(&engine(), &request(name, fields)).await.unwrap()
}

fn sum(map: &AttentionMap) -> f64 {
    map.values.as_ref().unwrap().iter().flatten().map(|v| f64::from(*v)).sum()
}

#[tokio::test]
async fn shares_sum_to_one_and_the_first_token_has_seen_no_other() {
    for name in ["p1_single", "p3_two_images", "p4_text"] {
        let answer = maps(name, json!({})).await;
        for (index, token) in answer.choices[0].tokens.iter().enumerate() {
            let s = token.attention;
            near("sum of shares", s.image + s.query + s.generated, 1.0, 1e-9);
            assert_eq!(s.generated == 0.0, index == 0, "{name}, token {index}: {s:?}");
            assert_eq!(s.image > 0.0, name != "p4_text", "{name}: {s:?}");
            assert_eq!(token.focus.is_some(), name != "p4_text");
        }
        assert!(answer.choices[0].attention.tokens.is_empty() && answer.choices[0].attention.summary.is_empty());
    }
}

#[tokio::test]
async fn maps_sum_to_the_share_of_their_image() {
    for heads in ["mean", "max"] {
        for layers in [json!("mean"), json!("last"), json!([0, 2])] {
            let answer = maps("p3_two_images", json!({"maps": "tokens", "heads": heads, "layers": layers})).await;
            let choice = &answer.choices[0];
            let shapes: Vec<_> = choice.attention.images.iter().map(|i| (i.rows, i.cols)).collect();
            assert_eq!(shapes.len(), 2);
            assert_eq!(choice.attention.tokens.len(), 6);
            for (token, maps) in choice.tokens.iter().zip(&choice.attention.tokens) {
                assert_eq!(maps.maps.len(), 2);
                for (map, (rows, cols)) in maps.maps.iter().zip(&shapes) {
                    let values = map.values.as_ref().unwrap();
                    assert!(values.len() == *rows && values.iter().all(|row| row.len() == *cols));
                }
                near("sum of maps", maps.maps.iter().map(sum).sum(), token.attention.image, 1e-6);
            }
            let mean: f64 = choice.tokens.iter().map(|t| t.attention.image).sum::<f64>() / 6.0;
            near("sum of the summary", choice.attention.summary.iter().map(sum).sum(), mean, 1e-6);
        }
    }
}

#[tokio::test]
async fn layers_and_heads_change_the_map() {
    let of = async |options: Value| maps("p1_single", options).await.choices[0].attention.summary[0].clone();
    let mean = of(json!({"maps": "summary"})).await;
    assert_ne!(mean, of(json!({"maps": "summary", "layers": "last"})).await);
    assert_ne!(mean, of(json!({"maps": "summary", "heads": "max"})).await);
    assert_eq!(mean, of(json!({"maps": "summary", "layers": [2, 0, 1, 1]})).await);
    assert_ne!(mean, of(json!({"maps": "summary", "source": "similarity"})).await);
}

#[tokio::test]
async fn asking_for_maps_changes_nothing() {
    let plain = maps("p3_two_images", json!({})).await;
    for options in [json!({"maps": "tokens"}), json!({"maps": "tokens", "source": "similarity", "layers": "last"})] {
        let mapped = maps("p3_two_images", options).await;
        assert_eq!(ids(&plain, 0), ids(&mapped, 0));
        for (a, b) in plain.choices[0].tokens.iter().zip(&mapped.choices[0].tokens) {
            near("log-prob", a.logprob, b.logprob, 1e-4);
            near("focus", a.focus.unwrap(), b.focus.unwrap(), 1e-5);
        }
    }
}

#[tokio::test]
async fn a_range_limits_the_tokens_and_not_the_summary() {
    let all = maps("p1_single", json!({"maps": "tokens"})).await;
    let some = maps("p1_single", json!({"maps": "tokens", "tokens_range": [2, 4]})).await;
    let indices: Vec<usize> = some.choices[0].attention.tokens.iter().map(|t| t.index).collect();
    assert_eq!(indices, [2, 3]);
    assert_eq!(some.choices[0].attention.tokens[..], all.choices[0].attention.tokens[2..4]);
    assert_eq!(some.choices[0].attention.summary, all.choices[0].attention.summary);
}

#[tokio::test]
async fn bytes_hold_the_values() {
    for source in ["attention", "similarity"] {
        let exact = maps("p2_large", json!({"maps": "tokens", "source": source})).await;
        let coarse = maps("p2_large", json!({"maps": "tokens", "source": source, "format": "u8"})).await;
        let pairs = exact.choices[0].attention.tokens.iter().zip(&coarse.choices[0].attention.tokens);
        for (exact, coarse) in pairs.flat_map(|(e, c)| e.maps.iter().zip(&c.maps)) {
            let (scale, offset) = (coarse.scale.unwrap(), coarse.offset.unwrap());
            assert!(coarse.values.is_none() && (source == "similarity" || offset == 0.0));
            let bytes = STANDARD.decode(coarse.u8.as_ref().unwrap()).unwrap();
            let values: Vec<f32> = exact.values.iter().flatten().flatten().copied().collect();
            assert_eq!(bytes.len(), values.len());
            for (byte, value) in bytes.iter().zip(&values) {
                near("byte", f64::from(*byte) * scale + offset, f64::from(*value), scale * 0.51);
            }
        }
    }
}

#[tokio::test]
async fn pictures_can_be_looked_at() {
    let over = maps("p2_large", json!({"maps": "summary", "format": "png"})).await;
    let plain = maps("p2_large", json!({"maps": "summary", "format": "png", "overlay": false})).await;
    let decode = |answer: &GenerateAnswer| {
        let bytes = STANDARD.decode(answer.choices[0].attention.summary[0].png.as_ref().unwrap()).unwrap();
        image::load_from_memory(&bytes).unwrap().into_rgb8()
    };
    let (over, bare) = (decode(&over), decode(&plain));
    assert!(over.width().max(over.height()) >= 448, "{:?}", over.dimensions());
    let [width, height] = plain.choices[0].attention.images[0].processed;
    assert_eq!(over.width() * height, over.height() * width, "the image's shape is kept");
    assert_ne!(over, bare);
}

#[tokio::test]
async fn text_only_prompts_have_no_maps() {
    let answer = maps("p4_text", json!({"maps": "tokens"})).await;
    let attention = &answer.choices[0].attention;
    assert!(attention.images.is_empty() && attention.summary.is_empty() && attention.tokens.is_empty());
    assert!(answer.choices[0].visual.is_none());
    assert!(answer.choices[0].tokens.iter().all(|t| t.focus.is_none()));
}

#[tokio::test]
async fn a_stream_carries_the_maps_of_its_tokens() {
    let whole = maps("p1_single", json!({"maps": "tokens"})).await;
    let fields =
        json!({"max_new_tokens": 6, "temperature": 1.0, "seed": 3, "stream": true, "attention": {"maps": "tokens"}});
    let (events, answer) = stream(&engine(), &request("p1_single", fields)).await;
    for (event, token) in events.iter().zip(&whole.choices[0].attention.tokens) {
        assert_eq!(event.maps, token.maps);
    }
    assert_eq!(answer.choices[0].attention.summary, whole.choices[0].attention.summary);
    assert!(answer.choices[0].attention.tokens.is_empty());
}
