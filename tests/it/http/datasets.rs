//! Data sets over HTTP: in by form, body or path; checked, shown, and gone again.

use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use base64::Engine as _;
use futures_util::stream::{self, StreamExt as _};
use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::{Value, json};

use super::support::{Answer, Api};

pub fn png(width: u32, height: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(picture).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A form of fields (no file name) and files.
pub fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, bytes) in parts {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(b"--B--\r\n");
    body
}

pub fn request(api: &Api, query: &str, kind: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    api.request("POST", &format!("/v1/datasets{query}")).header("content-type", kind).body(body)
}

const FORM: &str = "multipart/form-data; boundary=B";
pub const LINES: &str = "application/x-ndjson";

pub async fn send(api: &Api, query: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
    Answer::of(request(api, query, kind, body).send().await.unwrap()).await
}

/// Waits until the check is over.
pub async fn checked(api: &Api, name: &str) -> Value {
    for _ in 0..500 {
        let entry = api.get(&format!("/v1/datasets/{name}")).await.body;
        if entry["state"] == "ready" || entry["state"] == "invalid" {
            return entry;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("data set {name} is still being checked");
}

pub fn lines(rows: &[Value]) -> Vec<u8> {
    rows.iter().map(|row| format!("{row}\n")).collect::<String>().into_bytes()
}

pub fn rows(count: usize) -> Vec<u8> {
    lines(&(0..count).map(|n| json!({"problem": format!("what is {n} ?"), "answer": n})).collect::<Vec<_>>())
}

/// Everything below the data folder that belongs to data sets, sorted.
fn left(api: &Api) -> Vec<String> {
    let folders = ["uploads", "artifacts/datasets"].map(|name| api.service.settings().data_dir.join(name));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Waits until exactly these are left: the folder of an upload is removed a moment after its data set is ready.
pub async fn only_left(api: &Api, expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let waiting = async {
        while left(api) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(waited.is_ok(), "{:?} are left, expected {expected:?}", left(api));
}

#[tokio::test]
async fn a_form_with_images_becomes_a_data_set_with_a_preview() {
    let api = Api::start().await;
    let data = lines(&[
        json!({"question": "<image>how wide ?", "answer": 200, "images": ["images/a.png"], "tags": ["wide"]}),
        json!({"question": "<image>how wide ?", "answer": 30, "images": ["images/b.png"]}),
    ]);
    let body = form(&[
        ("name", None, b"mine"),
        ("description", None, "größe".as_bytes()),
        ("columns", None, br#"{"prompt": "question"}"#),
        ("file", Some("rows.jsonl"), &data),
        ("file", Some("images/a.png"), &png(200, 100)),
        ("file", Some("images/b.png"), &png(30, 20)),
        ("file", Some(""), b""),
    ]);
    let answer = send(&api, "", FORM, body).await;
    assert_eq!((answer.status, answer.body["state"].as_str()), (202, Some("validating")), "{}", answer.body);
    assert!(answer.body["report"].is_null());
    let entry = checked(&api, "mine").await;
    assert_eq!((&entry["state"], &entry["source"]), (&json!("ready"), &json!("upload")), "{entry}");
    assert_eq!((entry["train_rows"].as_u64(), entry["eval_rows"].as_u64()), (Some(1), Some(1)));
    let report = &entry["report"];
    assert_eq!((&report["rows"], &report["images"], &report["errors"]), (&json!(2), &json!(2), &json!([])));
    assert_eq!((&report["image_width"]["max"], &report["tags"]["wide"]), (&json!(200), &json!(1)));
    assert_eq!((&report["tokens"]["model"], &report["tokens"]["rows"]), (&json!("starter"), &json!(2)));
    assert_eq!(entry["settings"]["columns"]["prompt"], "question");
    assert_eq!(entry["recommended"]["data"]["columns"]["prompt"], "question");
    assert_eq!((&entry["card"]["description"], &entry["card"]["path"]), (&json!("größe"), &json!(null)));
    assert!(entry["card"]["size_bytes"].as_u64() > Some(1_000), "{entry}");
    let listed = api.get("/v1/datasets").await.body;
    assert!(listed["data"].as_array().unwrap().contains(&entry), "the list shows the same");

    let mut seen = Vec::new();
    for split in ["train", "eval"] {
        let page = api.get(&format!("/v1/datasets/{}/rows?split={split}", entry["id"].as_str().unwrap())).await.body;
        seen.extend(page["data"].as_array().unwrap().clone());
    }
    seen.sort_by_key(|row| row["answer"].as_str().unwrap().len());
    let wide = &seen[1];
    assert_eq!(
        (&wide["prompt"], &wide["answer"], &wide["tags"]),
        (&json!("<image>how wide ?"), &json!("200"), &json!(["wide"]))
    );
    assert_eq!((&wide["images"][0]["width"], &wide["images"][0]["height"]), (&json!(200), &json!(100)));
    let url = wide["images"][0]["thumbnail"].as_str().unwrap();
    let small = image::load_from_memory(&vgpo::images::data_url(url).unwrap()).unwrap();
    assert_eq!((small.width(), small.height()), (96, 48));
    only_left(&api, &[entry["id"].as_str().unwrap()]).await;

    assert_eq!(api.request("DELETE", "/v1/datasets/mine").send().await.unwrap().status(), 204);
    api.get("/v1/datasets/mine").await.problem(404, "not_found");
    only_left(&api, &[]).await;
}

#[tokio::test]
async fn rows_are_paged() {
    let api = Api::start().await;
    assert_eq!(send(&api, "?name=ten&split=train", LINES, rows(10)).await.status, 202);
    let entry = checked(&api, "ten").await;
    assert_eq!((&entry["train_rows"], &entry["report"]["tokens"]["rows"]), (&json!(10), &json!(10)));
    let page = api.get("/v1/datasets/ten/rows?limit=4").await.body;
    assert_eq!(
        (page["data"].as_array().unwrap().len(), &page["has_more"], &page["next"]),
        (4, &json!(true), &json!("4"))
    );
    let page = api.get("/v1/datasets/ten/rows?limit=4&after=8").await.body;
    assert_eq!(
        (page["data"][1]["row"].as_u64(), &page["has_more"], &page["next"]),
        (Some(9), &json!(false), &json!(null))
    );
    api.get("/v1/datasets/ten/rows?after=10").await.problem(400, "invalid_query");
    assert_eq!(api.get("/v1/datasets/ten/rows?split=eval").await.body["data"], json!([]));
    for query in ["limit=0", "limit=101", "split=test", "after=-1", "page=2", "images=all"] {
        api.get(&format!("/v1/datasets/ten/rows?{query}")).await.problem(400, "invalid_query");
    }
    // The same rows for a generated task.
    assert_eq!(api.get("/v1/datasets/digits/rows?limit=1").await.body["data"][0]["images"][0]["width"], 56);
    let small = api.get("/v1/datasets/chart/rows?limit=1").await.body["data"][0]["images"][0].clone();
    assert!(small.get("picture").is_none());
    let full = api.get("/v1/datasets/chart/rows?limit=1&images=full").await.body["data"][0]["images"][0].clone();
    assert_eq!(png_size(&full["picture"]), (full["width"].as_u64().unwrap(), full["height"].as_u64().unwrap()));
    assert_eq!(full["thumbnail"], small["thumbnail"]);
}

#[tokio::test]
async fn bad_rows_are_told_by_file_and_row() {
    let api = Api::start().await;
    let mut data = rows(3);
    data.extend(b"{\"problem\": \"x\"\n{\"problem\": \"x\", \"answer\": 1, \"images\": [\"none.png\"]}\n");
    let body = form(&[("file", Some("deep/rows.jsonl"), &data)]);
    assert_eq!(send(&api, "?name=bad", FORM, body).await.status, 202);
    let entry = checked(&api, "bad").await;
    assert_eq!(entry["state"], "invalid");
    assert_eq!((&entry["report"]["rows"], &entry["report"]["bad_rows"]), (&json!(5), &json!(2)));
    let errors = &entry["report"]["errors"];
    assert_eq!(
        (&errors[0]["file"], &errors[0]["row"], &errors[1]["row"]),
        (&json!("deep/rows.jsonl"), &json!(4), &json!(5))
    );
    assert!(errors[1]["problem"].as_str().unwrap().contains("no file `none.png`"), "{errors}");
    // Files of an invalid data set are not kept.
    only_left(&api, &[]).await;
    let problem = api.post("/v1/jobs", json!({"model": "tiny", "dataset": "bad"})).await;
    let detail = problem.problem(422, "invalid_request")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("is invalid, but must be ready"), "{detail}");
    api.get("/v1/datasets/bad/rows").await.problem(409, "conflict");
    // The name is free for a better try; a ready one keeps it.
    assert_eq!(send(&api, "?name=bad", LINES, rows(3)).await.status, 202);
    assert_eq!(checked(&api, "bad").await["state"], "ready");
    let taken = send(&api, "?name=bad", LINES, rows(4)).await;
    assert!(taken.problem(409, "conflict")["detail"].as_str().unwrap().contains("choose another name"));
    assert_eq!(api.get("/v1/datasets/bad").await.body["report"]["rows"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_rows_are_left_out_on_request() {
    let api = Api::start().await;
    let data = [rows(3), b"{\"problem\": \"x\"\n".to_vec()].concat();
    let body = form(&[("bad_rows", None, b"leave_out"), ("file", Some("rows.jsonl"), &data)]);
    assert_eq!(send(&api, "?name=form", FORM, body).await.status, 202);
    assert_eq!(send(&api, "?name=body&bad_rows=leave_out", LINES, data.clone()).await.status, 202);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    std::fs::write(&file, &data).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vgpo"));
    command.args(["datasets", "upload", "--name", "program", "--bad-rows", "leave_out", "--wait"]).arg(&file);
    command.env("VGPO_SERVER", &api.url);
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && told.contains("1 bad rows, left out") && told.contains("row 4: "), "{told}");
    for name in ["form", "body", "program"] {
        let entry = checked(&api, name).await;
        assert_eq!((&entry["state"], &entry["report"]["left_out"]), (&json!("ready"), &json!(1)), "{entry}");
        assert_eq!((&entry["report"]["rows"], &entry["settings"]["bad_rows"]), (&json!(4), &json!("leave_out")));
        assert_eq!(entry["train_rows"].as_u64().unwrap() + entry["eval_rows"].as_u64().unwrap(), 3);
        assert_eq!(entry["report"]["errors"][0]["row"], 4);
    }
    let wrong = send(&api, "?name=wrong&bad_rows=drop", LINES, rows(1)).await;
    let error = &wrong.problem(422, "invalid_request")["errors"][0];
    assert_eq!(error["pointer"], "/bad_rows");
    assert!(error["detail"].as_str().unwrap().contains("leave_out"), "{error}");
}

#[tokio::test]
async fn zip_and_parquet_come_as_bodies() {
    let api = Api::start().await;
    let parquet = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data/hf_list.parquet"));
    let answer = send(&api, "?name=hf", "application/vnd.apache.parquet", parquet.unwrap()).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let entry = checked(&api, "hf").await;
    assert_eq!((&entry["state"], &entry["report"]["images"]), (&json!("ready"), &json!(15)), "{entry}");
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let pictured = lines(&[json!({"problem": "?", "answer": 1, "images": ["a.png"]})]);
    for (name, bytes) in [("set/train.jsonl", &pictured), ("set/a.png", &png(9, 9)), ("set/test.jsonl", &rows(2))] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, bytes).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    assert_eq!(send(&api, "?name=zipped", "application/zip", bytes).await.status, 202);
    let entry = checked(&api, "zipped").await;
    assert_eq!((&entry["train_rows"], &entry["eval_rows"]), (&json!(1), &json!(2)), "{entry}");
    assert_eq!(send(&api, "?name=broken", "application/zip", "PK nonsense").await.status, 202);
    let entry = checked(&api, "broken").await;
    let problem = entry["report"]["errors"][0]["problem"].as_str().unwrap();
    assert!(entry["state"] == "invalid" && problem.contains("cannot be read as zip"), "{problem}");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_and_leave_nothing() {
    let api = Api::with(&[("max_dataset_bytes", "5000"), ("max_dataset_files", "2")]).await;
    let known = async || api.get("/v1/datasets").await.body["data"].as_array().unwrap().len();
    let before = known().await;
    let good = rows(1);
    let file = |name: &'static str| ("file", Some(name), good.as_slice());
    for (query, kind, body, pointer, told) in [
        ("", FORM, form(&[]), "/file", "no file came"),
        ("", FORM, form(&[("name", None, b"x")]), "/file", "no file came"),
        ("", FORM, form(&[("file", None, b"x")]), "/file", "has no file name"),
        ("", FORM, form(&[("nmae", None, b"x"), file("a.jsonl")]), "/nmae", "did you mean `name`?"),
        ("", FORM, form(&[("seed", None, b"x"), file("a.jsonl")]), "/seed", "not valid JSON"),
        ("", FORM, form(&[("split", None, b"half"), file("a.jsonl")]), "/split", "half"),
        ("", FORM, form(&[("eval_share", None, b"1"), file("a.jsonl")]), "/eval_share", "[0, 1)"),
        ("", FORM, form(&[("columns", None, b"{\"promt\": \"x\"}"), file("a.jsonl")]), "/columns/promt", "`prompt`"),
        ("", FORM, form(&[("model", None, b"gpt"), file("a.jsonl")]), "/model", "no model `gpt`"),
        ("", FORM, form(&[("name", None, b"../x"), file("a.jsonl")]), "/name", "letters, digits"),
        ("", FORM, form(&[file("a.jsonl"), ("seed", None, b"1")]), "/seed", "fields must come first"),
        ("", FORM, form(&[file("a.jsonl"), file("a.jsonl")]), "/file", "sent twice"),
        ("", FORM, form(&[file("a.jsonl"), file("../b.jsonl")]), "/file", "leads out"),
        ("", FORM, form(&[file("a.jsonl"), file("b.jsonl"), file("c.jsonl")]), "/file", "more than 2 files"),
        ("?name=big", LINES, rows(500), "/file", "more than 5000 bytes"),
        ("", LINES, rows(1), "?name", "needs a name"),
        ("", "application/json", b"{\"name\": \"x\"}".to_vec(), "/source", "say where the files are"),
        ("", "application/json", b"{\"source\": {\"path\": \"/etc\"}}".to_vec(), "/source/path", "VGPO_DATASET_ROOTS"),
    ] {
        let answer = send(&api, query, kind, body).await;
        let (code, status) = if pointer.starts_with('?') { ("invalid_query", 400) } else { ("invalid_request", 422) };
        let error = &answer.problem(status, code)["errors"][0];
        assert_eq!(error["pointer"], pointer, "{error}");
        assert!(error["detail"].as_str().unwrap().contains(told), "{error} should tell: {told}");
    }
    send(&api, "?name=x", "application/json", "{}").await.problem(400, "invalid_query");
    send(&api, "", "text/csv", "a,b").await.problem(415, "unsupported_media_type");
    send(&api, "", FORM, "--B\r\nnonsense").await.problem(400, "bad_request");
    assert!(left(&api).is_empty() && known().await == before, "what was begun is taken back before the answer");
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing_and_frees_its_name() {
    let api = Api::start().await;
    let pieces = stream::iter([Ok(Bytes::from(rows(50))), Err(std::io::Error::other("gone"))]);
    // The second piece waits until the server has the first.
    let pieces = pieces.then(async |piece| {
        if piece.is_err() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        piece
    });
    let body = reqwest::Body::wrap_stream(pieces);
    let sending = tokio::spawn(request(&api, "?name=half", LINES, body).send());
    let mut met = false;
    for _ in 0..100 {
        let answer = api.get("/v1/datasets/half").await;
        met |= answer.status == 200 && answer.body["state"] == "uploading";
        if met && answer.status == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(met, "it was there while it came");
    assert!(sending.await.unwrap().is_err());
    api.get("/v1/datasets/half").await.problem(404, "not_found");
    only_left(&api, &[]).await;
    assert_eq!(send(&api, "?name=half", LINES, rows(3)).await.status, 202);
}

#[tokio::test]
async fn a_repeated_upload_makes_nothing_new() {
    let api = Api::start().await;
    let again = |body: Vec<u8>| {
        let request = request(&api, "?name=once", LINES, body).header("idempotency-key", "k");
        async { Answer::of(request.send().await.unwrap()).await }
    };
    let first = again(rows(5)).await;
    let second = again(rows(5)).await;
    assert_eq!((second.status, second.header("idempotent-replayed")), (202, "true"));
    assert_eq!(second.body, first.body);
    again(rows(7)).await.problem(422, "idempotency_mismatch");
    checked(&api, "once").await;
}

#[tokio::test]
async fn files_of_the_server_are_registered_where_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("shared");
    std::fs::create_dir_all(root.join("mine")).unwrap();
    std::fs::write(root.join("mine/rows.jsonl"), rows(40)).unwrap();
    std::fs::write(folder.path().join("secret.jsonl"), rows(1)).unwrap();
    let api = Api::with(&[("dataset_roots", root.to_str().unwrap())]).await;
    let register = async |path: &Path| api.post("/v1/datasets", json!({"source": {"path": path}})).await;
    std::os::unix::fs::symlink(folder.path(), root.join("up")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("link.jsonl")).unwrap();
    let links = [root.join("up/secret.jsonl"), root.join("up"), root.join("link.jsonl")];
    let outside = [Path::new("/etc/passwd").to_owned(), root.join("../secret.jsonl"), root.join("none")];
    for outside in outside.iter().chain(&links) {
        let answer = register(outside).await;
        let detail = &answer.problem(422, "invalid_request")["detail"];
        assert!(detail.as_str().unwrap().contains("below the folders of dataset_roots"), "{detail}");
    }
    let answer = register(&root.join("mine")).await;
    assert_eq!((answer.status, &answer.body["name"]), (202, &json!("mine")), "{}", answer.body);
    let entry = checked(&api, "mine").await;
    assert_eq!((&entry["state"], &entry["source"]), (&json!("ready"), &json!("path")), "{entry}");
    assert_eq!((&entry["train_rows"], &entry["eval_rows"]), (&json!(38), &json!(2)));
    assert!(entry["card"]["path"].as_str().unwrap().ends_with("shared/mine"));
    assert_eq!(api.get("/v1/datasets/mine/rows").await.status, 200);
    let job = api.submit(json!({"dataset": "mine"})).await;
    assert_eq!(job["spec"]["data"]["columns"]["prompt"], "problem");

    std::fs::write(root.join("mine/rows.jsonl"), rows(41)).unwrap();
    let answer = api.get("/v1/datasets/mine/rows").await;
    let detail = &answer.problem(409, "conflict")["detail"];
    assert!(detail.as_str().unwrap().contains("have changed since it was registered"), "{detail}");
    let answer = api.post("/v1/jobs", json!({"model": "tiny", "dataset": "mine"})).await;
    assert_eq!(answer.problem(422, "invalid_request")["errors"][0]["pointer"], "/dataset");

    let held = Answer::of(api.request("DELETE", "/v1/datasets/mine").send().await.unwrap()).await;
    assert_eq!(held.problem(409, "held")["holders"], json!([job["id"]]));
    api.post(&format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap()), json!({})).await;
    assert_eq!(api.request("DELETE", "/v1/datasets/mine").send().await.unwrap().status(), 204);
    assert!(root.join("mine/rows.jsonl").exists(), "files that lie elsewhere stay");
    let built_in = Answer::of(api.request("DELETE", "/v1/datasets/digits").send().await.unwrap()).await;
    assert!(built_in.problem(409, "conflict")["detail"].as_str().unwrap().contains("is built in"));
}

/// Width and height of a PNG in a data URL.
fn png_size(url: &Value) -> (u64, u64) {
    let text = url.as_str().unwrap().strip_prefix("data:image/png;base64,").unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let picture = image::load_from_memory(&bytes).unwrap();
    (picture.width().into(), picture.height().into())
}
