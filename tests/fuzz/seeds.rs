//! Good inputs for every target: what is changed must first be understood.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};
use vgpo::domain::spec::RewardSpec;
use vgpo::model::input::in_time_height_width;
use vgpo::model::{ImageInput, ModelInfo};

/// Larger files are no seeds: changes must find what matters.
const MOST: usize = 16 << 10;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn read(path: &str) -> Vec<u8> {
    let path = fixtures().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// What the prompt room asks of a model.
pub fn model_info() -> ModelInfo {
    let config: Value = serde_json::from_slice(&read("models/qwen2_5_vl_tiny/checkpoint/config.json")).unwrap();
    let vision = &config["vision_config"];
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    ModelInfo {
        family: "qwen2_5_vl".to_owned(),
        vocab_size: number(&config["vocab_size"]),
        hidden_size: number(&config["hidden_size"]),
        layers: 3,
        heads: 4,
        max_positions: 4096,
        attention_layers: vec![0, 1, 2],
        image: Some(ImageInput {
            token_id: number(&config["image_token_id"]) as u32,
            patch_size: number(&vision["patch_size"]),
            merge_size: number(&vision["spatial_merge_size"]),
            temporal_patch_size: number(&vision["temporal_patch_size"]),
            processors: &["Qwen2VLImageProcessor"],
        }),
        placeholders: ["image_token_id", "video_token_id"].map(|name| number(&config[name]) as u32).to_vec(),
        positions: in_time_height_width,
        eos_token_ids: Vec::new(),
        pad_token_id: 0,
        parameters: 0,
        notes: Vec::new(),
    }
}

/// A picture as a file; none where the format has no such colours.
fn encoded(picture: &DynamicImage, format: ImageFormat) -> Option<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).ok()?;
    Some(bytes.into_inner())
}

/// A small picture in every format, colours and grey, with and without transparency, and one that a camera turned.
pub fn images() -> Vec<Vec<u8>> {
    let colours = RgbImage::from_fn(17, 9, |x, y| image::Rgb([(x * 15) as u8, (y * 28) as u8, 7]));
    let colours = DynamicImage::from(colours);
    let clear = DynamicImage::from(RgbaImage::from_fn(8, 8, |x, y| image::Rgba([x as u8, y as u8, 9, (x * 30) as u8])));
    let grey = DynamicImage::from(colours.to_luma8());
    let formats =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::Tiff];
    let pairs = formats.iter().flat_map(|format| [(&colours, *format), (&grey, *format), (&clear, *format)]);
    let mut found: Vec<_> = pairs.filter_map(|(picture, format)| encoded(picture, format)).collect();
    assert!(found.len() >= 2 * formats.len(), "{} pictures", found.len());
    found.extend(encoded(&DynamicImage::from(colours.to_rgb16()), ImageFormat::Png));
    found.extend(encoded(&colours, ImageFormat::Jpeg).map(|jpeg| turned(&jpeg)));
    let whole = ["progressive.jpg", "restart.jpg", "grey.jpg", "lossy.webp", "lzw.tif", "palette.gif"];
    found.extend(whole.map(|name| read(&format!("pictures/whole/{name}"))));
    found
}

pub fn pngs() -> Vec<Vec<u8>> {
    let mut found = [*b"iCCP", *b"zTXt", *b"iTXt"].map(inflating).to_vec();
    found.extend(["palette.png", "plain.png"].map(|name| read(&format!("pictures/whole/{name}"))));
    found
}

/// A PNG of one pixel with a chunk that inflates to 48 MB.
fn inflating(name: [u8; 4]) -> Vec<u8> {
    let start: &[u8] = if name == *b"iTXt" { b"a\0\x01\0\0\0" } else { b"a\0\0" };
    let plain = encoded(&DynamicImage::new_luma8(1, 1), ImageFormat::Png).unwrap();
    // The first chunk is 25 bytes long and follows eight bytes of signature.
    let (head, tail) = plain.split_at(33);
    [head, &chunk(name, &[start, &zeros(48 << 20)].concat()), tail].concat()
}

/// A black PNG of one bit a pixel.
fn black(width: u32, height: u32) -> Vec<u8> {
    let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    let lines = zeros((1 + width.div_ceil(8) as usize) * height as usize);
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(*b"IHDR", &head), &chunk(*b"IDAT", &lines), &chunk(*b"IEND", &[])].concat()
}

fn chunk(name: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(&name);
    crc.update(body);
    [&(body.len() as u32).to_be_bytes()[..], &name, body, &crc.sum().to_be_bytes()].concat()
}

/// As many zeros, compressed.
fn zeros(count: usize) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![0; count]).unwrap();
    packed.finish().unwrap()
}

/// A JPEG with the note that the camera was turned.
fn turned(jpeg: &[u8]) -> Vec<u8> {
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    let mut bytes = jpeg[..2].to_vec();
    bytes.extend([0xff, 0xe1, length[0], length[1]]);
    bytes.append(&mut exif);
    bytes.extend(&jpeg[2..]);
    bytes
}

pub fn data_urls() -> Vec<Vec<u8>> {
    let data = base64::engine::general_purpose::STANDARD.encode(&images()[0]);
    vec![
        format!("data:image/png;base64,{data}").into_bytes(),
        format!("DATA:;base64,{}", data.trim_end_matches('=')).into_bytes(),
        b"data:image/jpeg;charset=x;base64,\r\n AAAA".to_vec(),
    ]
}

pub fn json_lines() -> Vec<Vec<u8>> {
    let url = String::from_utf8(data_urls().remove(0)).unwrap();
    let rows = [
        json!({"problem": "what is 1 ?", "answer": "1", "images": []}),
        json!({"problem": "<image> what is it ?", "answer": 7, "images": [url]}),
        json!({"problem": "a", "answer": ["b"], "images": null, "split": "test", "tags": ["x"], "demonstration": "c"}),
        json!({"problem": "p", "answer": true, "images": [{"bytes": "AAAA", "path": "x.png"}]}),
        json!({"problem": "p", "answer": "a", "images": ["../x.png", "/etc/passwd"]}),
    ];
    // A picture of 800 x 800 pixels in a few hundred bytes, many times.
    let large = base64::engine::general_purpose::STANDARD.encode(black(800, 800));
    let many = vec![format!("data:image/png;base64,{large}"); 60_000 / (large.len() + 30)];
    let many = json!({"problem": "p", "answer": 1, "images": many});
    let whole: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let mut found: Vec<_> = rows.iter().map(|row| row.to_string().into_bytes()).collect();
    found.push(whole.into_bytes());
    found.push(many.to_string().into_bytes());
    found.push(br#"{"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}], "answer": "['a', 'b']"}"#.to_vec());
    found.push(b"\xef\xbb\xbf{\"problem\": \"a\", \"answer\": 1}\r\n\r\n".to_vec());
    found
}

pub fn parquet() -> Vec<Vec<u8>> {
    let names = ["arrow_nulls", "arrow_zstd", "hf_list", "hf_single"];
    let mut found: Vec<_> = names.iter().map(|name| read(&format!("data/{name}.parquet"))).collect();
    found.push(repeating(30_000, 6_000, None));
    found.push(repeating(30_000, 2, Some(6_000)));
    found
}

/// Rows that all have the same text of `cell` bytes, or one row with a list of it: the file says it once.
fn repeating(cell: usize, rows: usize, tags: Option<usize>) -> Vec<u8> {
    let schema = "message rows { required binary problem (UTF8); required binary answer (UTF8);
        required group tags (LIST) { repeated group list { required binary element (UTF8); } } }";
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(zstd).set_dictionary_page_size_limit(1 << 20).build();
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    let mut group = file.next_row_group().unwrap();
    let text = ByteArray::from("x".repeat(cell).into_bytes());
    let listed = tags.unwrap_or_default() * rows;
    let (defined, repeated) = match tags {
        Some(tags) => (vec![1; listed], (0..listed).map(|at| i16::from(at % tags > 0)).collect()),
        None => (vec![0; rows], vec![0; rows]),
    };
    for (values, levels) in
        [(vec![text.clone(); rows], false), (vec![ByteArray::from("5"); rows], false), (vec![text; listed], true)]
    {
        let (defined, repeated) = (levels.then_some(&defined[..]), levels.then_some(&repeated[..]));
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, defined, repeated).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    file.close().unwrap();
    bytes
}

pub fn zips() -> Vec<Vec<u8>> {
    use zip::CompressionMethod::{Deflated, Stored};
    use zip::write::SimpleFileOptions;
    let mut found = Vec::new();
    for (method, names) in [
        (Stored, ["rows.jsonl", "images/a.png"]),
        (Deflated, ["a/b/rows.jsonl", "__MACOSX/x"]),
        (Deflated, ["../rows.jsonl", ".hidden"]),
    ] {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        zip.add_directory("a", options).unwrap();
        for name in names {
            zip.start_file(name, options).unwrap();
            zip.write_all(&b"{\"problem\": \"a\", \"answer\": 1}\n".repeat(20)).unwrap();
        }
        found.push(zip.finish().unwrap().into_inner());
    }
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    found.push(zip.finish().unwrap().into_inner());
    found
}

pub fn prompt_templates() -> Vec<Vec<u8>> {
    texts(&[
        "{{ prompt }}",
        "{{ prompt | trim }} Think first, then answer in \\boxed{}.",
        "{% if prompt %}{{ prompt | upper | replace(\"A\", \"b\") }}{% else %}none{% endif %}",
        "{% for word in prompt | split(\" \") %}{{ loop.index }}: {{ word }}\n{% endfor %}",
        "{{ prompt[:10] ~ \" \" ~ (prompt | length) }} {{ 1 + 2 * 3 }} {{ prompt is string }}",
        "{% set x = prompt ~ prompt %}{{ x | default(\"y\") | indent(2) }}",
        "{% macro f(a) %}[{{ a }}]{% endmacro %}{{ f(prompt) }}",
        "{{ range(3) | list | join(\",\") }} {{ \"%s\" | format(prompt) }} {{ [1, 2, 3] | batch(2) | list }}",
        "{{ \"a\" * 10 }} {{ namespace(x=prompt).x }} {{ prompt | center(20) if prompt else \"\" }}",
    ])
}

pub fn chat_templates() -> Vec<Vec<u8>> {
    let mut found: Vec<_> = ["qwen2_vl_tiny", "qwen2_5_vl_tiny", "qwen3_vl_tiny"]
        .iter()
        .flat_map(|family| {
            let folder = format!("models/{family}/checkpoint");
            let jinja = std::fs::read(fixtures().join(&folder).join("chat_template.jinja")).ok();
            let config: Value = serde_json::from_slice(&read(&format!("{folder}/tokenizer_config.json"))).unwrap();
            jinja.into_iter().chain(config["chat_template"].as_str().map(|text| text.as_bytes().to_vec()))
        })
        .filter(|template| template.len() < MOST)
        .collect();
    found.extend(texts(&[
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
        "{% set ns = namespace(x='') %}{% for m in messages %}{% set ns.x = ns.x ~ m.content.strip() %}{% endfor %}{{ \
        ns.x }}",
        "{{ messages | tojson(indent=2) }}{% if messages[0].content is string %}{{ messages[0]['content'].split(' \
        ')[-1] }}{% endif %}",
        "{{ raise_exception('no') }}",
    ]));
    found
}

pub fn chats() -> Vec<Vec<u8>> {
    [
        json!([{"role": "user", "content": "what is 3 + 4 ?"}]),
        json!([{"role": "system", "content": "be kind"}, {"role": "user", "content": [
            {"type": "image", "image": "data:image/png;base64,AAAA"},
            {"type": "text", "text": "<|image_pad|> what ?"}]},
            {"role": "assistant", "content": "x<|im_end|>"},
            {"role": "user", "content": [{"type": "text", "text": "and ?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]),
    ]
    .map(|chat| chat.to_string().into_bytes())
    .to_vec()
}

pub fn requests() -> Vec<Vec<u8>> {
    let image = "data:image/png;base64,AAAA";
    [
        json!({"model": "m", "prompt": "hello", "images": [image], "max_new_tokens": 4, "temperature": 0.5,
            "top_p": 0.9,
            "seed": 1, "stop": ["a"], "n": 2, "stream": true, "logprobs": 3, "deterministic": true,
            "attention": {"maps": "tokens", "tokens_range": [0, 4], "source": "attention", "layers": [1, 2],
                "heads": "mean",
                "format": "png", "overlay": true}}),
        json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "image", "image": image},
            {"type": "text", "text": "what ?"}]}], "attention": {"maps": "summary", "layers": "last"}}),
        json!({"model": "m", "prompt": "x", "responses": ["a", "b"], "rewards": [1.0, 0.0],
            "method": {"type": "vgpo"}, "ablate": {"top_patches": 0.1}}),
        json!({"model": "m", "prompt": "x", "responses": ["a"], "ablate": {"random_patches": 0.1, "seed": 1}}),
    ]
    .map(|request| request.to_string().into_bytes())
    .to_vec()
}

pub fn jobs() -> Vec<Vec<u8>> {
    [
        json!({"model": "starter", "dataset": "digits"}),
        json!({"model": "starter", "dataset": "digits",
            "method": {"type": "vgpo", "beta": 0.3, "gamma": 0.5, "kappa": 0.2},
            "steps": 40, "seed": 3, "tags": {"a": "b"}, "rollout": {"group_size": 8, "temperature": 1.0,
            "filter": {"metric": "accuracy", "low": 0.01, "high": 0.99, "max_tries": 4}},
            "optimizer": {"learning_rate": 5e-5, "betas": [0.9, 0.95]}, "resources": {"device": "cpu", "devices": 1},
            "train": {"parameters": "lora", "lora": {"rank": 16, "alpha": 32, "targets": ["q_proj"]}},
            "not_before": "2026-11-26T00:00:00Z", "priority": -5, "max_attempts": 3}),
        json!({"model": "m", "dataset": "d", "method": {"type": "eval", "samples": 4},
            "reward": {"type": "weighted", "parts": [
            {"weight": 0.9, "reward": {"type": "math"}}, {"weight": 0.1, "reward": {"type": "format"}}]},
            "data": {"columns": {"prompt": "q"}, "prompt_template": "{{ prompt }}", "overlong": "drop"}}),
        json!({"model": "m", "dataset": "d", "method": {"type": "sft"},
            "early_stop": {"metric": "eval/accuracy", "patience": 2}}),
    ]
    .map(|job| job.to_string().into_bytes())
    .to_vec()
}

/// Every reward that judges by itself.
pub fn reward_specs() -> Vec<RewardSpec> {
    let specs = json!([
        {"type": "math"}, {"type": "format"}, {"type": "exact"}, {"type": "choice"}, {"type": "numeric"},
        {"type": "numeric", "absolute": 0.5, "relative": 0.1}, {"type": "iou"},
        {"type": "iou", "answer": "thousand", "truth": "pixel", "threshold": 0.5},
        {"type": "length", "limit": 100, "buffer": 20},
    ]);
    let read = |spec: &Value| serde_json::from_value(spec.clone());
    specs.as_array().unwrap().iter().filter_map(|spec| read(spec).ok()).collect()
}

pub fn rewards() -> Vec<Vec<u8>> {
    let cases: Value = serde_json::from_slice(&read("rewards/cases.json")).unwrap();
    let text = |case: &Value, key: &str| case[key].as_str().unwrap_or_default().to_owned();
    let judged = cases.as_array().unwrap().iter();
    let judged = judged.map(|case| format!("{}\0{}", text(case, "response"), text(case, "ground_truth")).into_bytes());
    judged
        .chain(texts(&[
            "the box is [10, 20, 300.5, 400]\0[[10, 20, 300, 400], [1, 2, 3, 4]]",
            "<answer>(B) 12.5 %</answer>\0B",
            "\\boxed{\\frac{1}{2} + \\sqrt[3]{8} - 2^{10}}\u{0}1,234.5 km",
            "\\boxed{(1, 2] \\cup \\{3, 4\\}}\0x = 3 or x = -4",
        ]))
        .filter(|case| case.len() < 2_000)
        .collect()
}

pub fn patterns() -> Vec<Vec<u8>> {
    texts(&[
        "^a+b$\0aaaab",
        "(a|b)*c{2,5}\0ababcc",
        "(?i)\\bANSWER: (\\d+)\0answer: 42",
        "[\\p{L}&&[^x]]{1,50}\0abc",
        "(a{30}){30}\0aa",
    ])
}

pub fn configurations() -> Vec<Vec<u8>> {
    let mut found = vec![read("easyr1/vgpo.yaml")];
    found.extend(texts(&[
        "data: {rollout_batch_size: 8}\nalgorithm: {adv_estimator: grpo}\nworker: {}\ntrainer: {total_epochs: 2}",
        "algorithm: &a {x: 1}\ndata: *a\nworker: [*a, *a]",
    ]));
    found.retain(|text| text.len() < MOST);
    found
}
