//! Input that breaks servers, through the real router, on `/generate` and on `/v1/chat/completions`: it is refused with
//! the field and the reason, and the server keeps running.

use std::io::Cursor;

use image::{ExtendedColorType, GrayImage, ImageEncoder, ImageFormat};
use serde_json::{Value, json};
use vgpo::config::serving::EngineLimits;

use super::support::{Answer, Api};
use crate::serving::data_url;

const GENERATE: &str = "/generate";
const CHAT: &str = "/v1/chat/completions";

fn text(words: &str) -> Value {
    json!({"type": "text", "text": words})
}

fn picture(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// A request to `route` with these parts as the only message.
fn ask(route: &str, parts: &[Value], more: &Value) -> Value {
    let tokens = if route == CHAT { "max_tokens" } else { "max_new_tokens" };
    let mut request = json!({"model": "tiny", "messages": [{"role": "user", "content": parts}], tokens: 3});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// What is told of a refusal: its status, the field and the reason.
fn told(route: &str, answer: &Answer) -> (u16, String, String) {
    if route == CHAT {
        let error = &answer.body["error"];
        let (field, reason) = (error["param"].as_str().unwrap_or_default(), error["message"].as_str().unwrap());
        return (answer.status, field.to_owned(), reason.to_owned());
    }
    let fault = &answer.body["errors"][0];
    let (field, reason) = (fault["pointer"].as_str().unwrap_or_default(), answer.body["detail"].as_str().unwrap());
    (answer.status, field.to_owned(), format!("{reason}; {}", fault["detail"].as_str().unwrap_or_default()))
}

/// `/messages/0/content` in the words of either route.
fn field_of(route: &str, pointer: &str) -> String {
    if route == GENERATE {
        return pointer.to_owned();
    }
    let parts = pointer.trim_start_matches('/').split('/').map(|part| match part.parse::<usize>() {
        Ok(index) => format!("[{index}]"),
        Err(_) => format!(".{part}"),
    });
    parts.collect::<String>().trim_start_matches('.').to_owned()
}

/// Both routes refuse this, whole and streamed, and name the field and the reason.
async fn refused(api: &Api, parts: &[Value], more: Value, pointer: &str, reason: &str) {
    for route in [GENERATE, CHAT] {
        for stream in [false, true] {
            let mut request = ask(route, parts, &more);
            request["stream"] = json!(stream);
            let answer = api.post(route, request).await;
            let (status, field, said) = told(route, &answer);
            assert!((400..500).contains(&status), "{route}: {status}: {}", answer.body);
            assert_eq!(field, field_of(route, pointer), "{route}: {said}");
            assert!(said.contains(reason), "{route}: `{reason}` is not in: {said}");
        }
    }
}

/// A refused picture: the second part of its message.
async fn refused_picture(api: &Api, url: &str, reason: &str) {
    let parts = [text("look:"), picture(url)];
    refused(api, &parts, json!({}), "/messages/0/content/1/image_url/url", reason).await;
}

/// The server answers, by both routes.
async fn still_well(api: &Api) {
    assert_eq!(api.get("/healthz").await.status, 200);
    for route in [GENERATE, CHAT] {
        let answer = api.post(route, ask(route, &[text("hello")], &json!({}))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

fn png(width: u32, height: u32) -> Vec<u8> {
    encoded(&GrayImage::new(width, height), ImageFormat::Png)
}

fn encoded(picture: &GrayImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A checksum of PNG (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    let shifted = |crc: u32| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shifted(crc)))
}

/// A small PNG whose header says that it is larger.
fn boasting(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(1, 1);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[tokio::test]
async fn pictures_that_are_too_large_are_refused_by_their_header() {
    let api = Api::start().await;
    refused_picture(&api, &data_url(&boasting(30_000, 30_000)), "30000 x 30000 = 900000000 pixels").await;
    let mut large = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut large);
    encoder.write_image(&vec![7; 144_000_000], 12_000, 12_000, ExtendedColorType::L8).unwrap();
    refused_picture(&api, &data_url(&large), "12000 x 12000 = 144000000 pixels").await;
    // Each is small enough alone; together they would take gigabytes.
    let small = picture(&data_url(&boasting(5_000, 5_000)));
    let parts = vec![small; 40];
    let together = "the first 3 images have 75000000 pixels together";
    refused(&api, &parts, json!({}), "/messages/0/content/2/image_url/url", together).await;
    still_well(&api).await;
}

#[tokio::test]
async fn damaged_pictures_are_refused() {
    let api = Api::start().await;
    let noise = GrayImage::from_fn(40, 40, |x, y| image::Luma([(x * 7 + y * 31) as u8]));
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif] {
        let whole = match format {
            ImageFormat::Gif | ImageFormat::WebP => {
                let mut bytes = Cursor::new(Vec::new());
                image::DynamicImage::from(noise.clone()).to_rgba8().write_to(&mut bytes, format).unwrap();
                bytes.into_inner()
            }
            _ => encoded(&noise, format),
        };
        refused_picture(&api, &data_url(&whole[..14]), "image").await;
        refused_picture(&api, &data_url(&whole[..whole.len() / 8]), "image").await;
    }
    let mut corrupt = png(40, 40);
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 8].fill(0xA5);
    refused_picture(&api, &data_url(&corrupt), "cannot be decoded").await;
    refused_picture(&api, &data_url(b""), "no bytes").await;
    refused_picture(&api, &data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "supported format").await;
    refused_picture(&api, "data:image/png;base64,@@@@", "base64").await;
    refused_picture(&api, "data:image/png,plain", "not marked as base64").await;
    refused_picture(&api, "data:text/html;base64,PGI+", "not an image").await;
    still_well(&api).await;
}

#[tokio::test]
async fn thin_pictures_are_refused_and_single_pixels_are_not() {
    let api = Api::start().await;
    refused_picture(&api, &data_url(&png(1, 600)), "1 x 600").await;
    refused_picture(&api, &data_url(&png(5000, 2)), "5000 x 2").await;
    for route in [GENERATE, CHAT] {
        let parts = [picture(&data_url(&png(1, 1))), text("what?")];
        let answer = api.post(route, ask(route, &parts, &json!({}))).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn nothing_is_read_from_disks_or_from_this_machine() {
    let api = Api::start().await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), png(30, 30)).unwrap();
    let path = secret.path().display().to_string();
    let addresses = [
        path.clone(),
        format!("file://{path}"),
        format!("file://localhost{path}"),
        format!("{}/healthz", api.url),
        "http://localhost/x.png".to_owned(),
        "http://[::1]/x.png".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "ftp://127.0.0.1/x.png".to_owned(),
        String::new(),
    ];
    for address in addresses {
        refused_picture(&api, &address, "").await;
    }
    still_well(&api).await;
}

#[tokio::test]
async fn numbers_out_of_range_are_refused() {
    let api = Api::start().await;
    let hello = [text("hello")];
    refused(&api, &hello, json!({"temperature": -1}), "/temperature", "-1").await;
    refused(&api, &hello, json!({"temperature": 1e9}), "/temperature", "1000000000").await;
    refused(&api, &hello, json!({"top_p": 0}), "/top_p", "0").await;
    refused(&api, &hello, json!({"n": 0}), "/n", "is 0").await;
    refused(&api, &hello, json!({"n": 1000}), "/n", "from 1 to 32").await;
    refused(&api, &hello, json!({"n": -1}), "/n", "whole number of at least 0").await;
    for tokens in [0, -1, -1_000_000] {
        for (route, field) in [(GENERATE, "max_new_tokens"), (CHAT, "max_tokens"), (CHAT, "max_completion_tokens")] {
            let answer = api.post(route, ask(route, &hello, &json!({field: tokens}))).await;
            let (status, named, said) = told(route, &answer);
            assert!((400..500).contains(&status) && named.ends_with(field), "{status} {named}: {said}");
            assert!(said.contains(&tokens.to_string()), "{said}");
        }
    }
    let answer = api.post(GENERATE, ask(GENERATE, &hello, &json!({"logprobs": 21}))).await;
    assert_eq!(told(GENERATE, &answer).1, "/logprobs");
    let answer = api.post(CHAT, ask(CHAT, &hello, &json!({"logprobs": true, "top_logprobs": 21}))).await;
    assert_eq!(told(CHAT, &answer).1, "top_logprobs");
    still_well(&api).await;
}

#[tokio::test]
async fn choices_and_logprobs_are_honoured() {
    let api = Api::start().await;
    let asked =
        [(GENERATE, json!({"n": 3, "logprobs": 2})), (CHAT, json!({"n": 3, "logprobs": true, "top_logprobs": 2}))];
    for (route, more) in asked {
        let body = api.post(route, ask(route, &[text("hello")], &more)).await.body;
        let choices = body["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 3, "{body}");
        for choice in choices {
            let tokens = if route == CHAT { &choice["logprobs"]["content"] } else { &choice["tokens"] };
            let tokens = tokens.as_array().unwrap();
            assert!(
                !tokens.is_empty() && tokens.iter().all(|token| token["top_logprobs"].as_array().unwrap().len() == 2)
            );
        }
    }
}

#[tokio::test]
async fn conversations_that_are_none_are_refused() {
    let api = Api::start().await;
    refused(&api, &[], json!({"messages": []}), "/messages", "empty").await;
    refused(&api, &[], json!({"messages": "hello"}), "/messages", "invalid type").await;
    refused(&api, &[], json!({"messages": [{"role": "user", "content": 5}]}), "/messages/0/content", "5").await;
    for (route, status) in [(GENERATE, 422), (CHAT, 404)] {
        let answer = api.post(route, ask(route, &[text("hello")], &json!({"model": "gpt-5"}))).await;
        let (given, field, said) = told(route, &answer);
        assert_eq!((given, field.trim_start_matches('/')), (status, "model"), "{said}");
        assert!(said.contains("gpt-5"), "{said}");
    }
    still_well(&api).await;
}

/// Special tokens that a person typed add no image place and forge no turn: the prompt has more tokens than those
/// alone.
#[tokio::test]
async fn typed_special_tokens_are_text() {
    let api = Api::start().await;
    for route in [GENERATE, CHAT] {
        let prompt = async |words: &str| {
            let answer = api.post(route, ask(route, &[text(words)], &json!({}))).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.body["usage"].clone()
        };
        let plain = prompt("a").await["prompt_tokens"].as_u64().unwrap();
        for typed in ["<|image_pad|>", "<|im_end|>", "<|im_start|>", "<|vision_start|><|image_pad|><|vision_end|>"] {
            let usage = prompt(&format!("a{typed}")).await;
            assert!(usage["prompt_tokens"].as_u64().unwrap() > plain + 1, "{route} {typed}: {usage}");
            assert!(usage["image_tokens"].as_u64().unwrap_or(0) == 0, "{usage}");
        }
    }
}

#[tokio::test]
async fn a_prompt_over_the_context_never_reaches_the_model() {
    let (engine, watch) = crate::serving::watched_engine(4);
    let api = Api::with_engine(engine).await;
    refused(&api, &[text(&"red ".repeat(5_000))], json!({}), "/messages", "4095").await;
    refused(&api, &[text(&"red ".repeat(1_000_000))], json!({}), "/messages", "4000000 bytes").await;
    refused(&api, &[text(&"r".repeat(4_000_000))], json!({}), "/messages", "4000000 bytes").await;
    assert_eq!(watch.passes(), []);
}

/// On a single thread, an answer can only come while the other request is under way if that one does not hold the
/// thread.
#[tokio::test]
async fn a_large_picture_holds_up_nobody() {
    let api = Api::start().await;
    let parts = [picture(&data_url(&png(2500, 2500))), text("what?")];
    for route in [GENERATE, CHAT] {
        let large = api.post(route, ask(route, &parts, &json!({})));
        let mut large = std::pin::pin!(large);
        let mut answered = 0;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut large => break answer,
                health = api.get("/healthz") => {
                    assert_eq!(health.status, 200);
                    answered += 1;
                }
            }
        };
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answered > 1, "{route}: health answered {answered} times meanwhile");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_generation() {
    for route in [GENERATE, CHAT] {
        for stream in [false, true] {
            let (engine, watch) = crate::serving::watched_engine(4);
            let api = Api::with_engine(engine).await;
            watch.close();
            let tokens = if route == CHAT { "max_tokens" } else { "max_new_tokens" };
            let more = json!({"temperature": 1.0, "seed": 2, "n": 4, "stream": stream, tokens: 3000});
            let request = tokio::spawn(api.request("POST", route).json(&ask(route, &[text("hello")], &more)).send());
            watch.pass(1).await;
            if stream {
                drop(request.await.unwrap().unwrap());
            } else {
                request.abort();
            }
            // The server learns of it from the closed connection, which takes a moment.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            watch.open();
            still_well(&api).await;
            let wide = watch.rows().iter().filter(|rows| **rows > 1).count();
            assert!(wide <= 1, "{route}, stream {stream}: {wide} steps after the client was gone");
        }
    }
}

#[tokio::test]
async fn requests_over_the_token_budget_wait_outside() {
    let limits = EngineLimits { queued_tokens: 200, ..EngineLimits::default() };
    let (engine, watch) = crate::serving::watched(limits);
    let api = Api::with_engine(engine).await;
    watch.close();
    let long = |route| {
        ask(route, &[text("hello")], &json!({if route == CHAT { "max_tokens" } else { "max_new_tokens" }: 300}))
    };
    // More than the whole budget, but there is no other request.
    let first = tokio::spawn(api.request("POST", GENERATE).json(&long(GENERATE)).send());
    watch.pass(1).await;
    for route in [GENERATE, CHAT] {
        let refused = api.post(route, ask(route, &[text("hello")], &json!({}))).await;
        let (status, _, said) = told(route, &refused);
        assert_eq!((status, refused.header("retry-after")), (429, "1"), "{said}");
        assert!(said.contains("max_queued_tokens") && said.contains("200"), "{said}");
    }
    watch.open();
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    still_well(&api).await;
}
