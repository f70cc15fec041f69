//! The dashboard's files: how they are served, and that they load nothing from other servers.

use std::path::{Path, PathBuf};

use super::support::{Answer, Api};

/// The address of a file, as the page itself names it.
async fn address(api: &Api, end: &str) -> String {
    let page = api.get("/").await;
    let text = page.body.as_str().unwrap().to_owned();
    let found = text.split('"').find(|part| part.starts_with("/ui/") && part.ends_with(end));
    found.unwrap_or_else(|| panic!("the page names no {end}")).to_owned()
}

#[tokio::test]
async fn the_page_and_its_files_come_with_strict_headers() {
    let api = Api::start().await;
    let script = address(&api, "/app/main.js").await;
    for (path, kind) in [("/", "text/html; charset=utf-8"), (script.as_str(), "text/javascript; charset=utf-8")] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    api.get("/ui/any/no/such.js").await.problem(404, "not_found");
    api.get("/ui/any/../Cargo.toml").await.problem(404, "unknown_route");
    assert_eq!(api.get("/healthz").await.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn what_the_browser_has_is_not_sent_again() {
    let api = Api::start().await;
    for path in ["/".to_owned(), address(&api, "/css/base.css").await] {
        let first = api.get(&path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.starts_with("W/\""), "{tag}");
        let again = api.request("GET", &path).header("if-none-match", &tag).send().await.unwrap();
        let again = Answer::of(again).await;
        assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, Some(""), tag.as_str()));
        let other = api.request("GET", &path).header("if-none-match", "W/\"other\"").send().await.unwrap();
        assert_eq!(other.status(), 200);
    }
    // The page itself is asked for anew each time: it names the version of all others.
    assert_eq!(api.get("/").await.header("cache-control"), "no-cache");
}

#[tokio::test]
async fn files_are_compressed_for_those_who_can_read_it() {
    let api = Api::start().await;
    let path = address(&api, "/app/main.js").await;
    let packed = api.request("GET", &path).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let plain = api.get(&path).await;
    assert!(packed.bytes().await.unwrap().len() < plain.body.as_str().unwrap().len() / 2 + 500);
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

#[tokio::test]
async fn every_style_sheet_is_on_the_page() {
    let page = Api::start().await.get("/").await;
    let page = page.body.as_str().unwrap();
    let mut found = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("web/css"), &mut found);
    assert!(found.len() > 5);
    for file in found {
        let name = format!("/css/{}\"", file.file_name().unwrap().display());
        assert!(page.contains(&name), "web/index.html does not load {name}");
    }
}

#[tokio::test]
async fn every_import_leads_to_a_file_of_the_program() {
    let api = Api::start().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let mut found = Vec::new();
    files(&root, &mut found);
    let mut imports = 0;
    for file in found.iter().filter(|file| file.extension().is_some_and(|e| e == "js")) {
        let text = std::fs::read_to_string(file).unwrap();
        let own = !file.starts_with(root.join("vendor"));
        if own {
            assert!(text.lines().count() <= 400, "split {}", file.display());
            assert!(!text.contains("https://"), "{} names another server", file.display());
        }
        for line in text.lines().filter(|line| own && (line.contains(" from '") || line.contains("import('"))) {
            for target in line.split('\'').filter(|part| part.starts_with('.') && part.ends_with(".js")) {
                let path = file.parent().unwrap().join(target).canonicalize();
                let path = path.unwrap_or_else(|e| panic!("{} imports {target}: {e}", file.display()));
                let served = path.strip_prefix(root.canonicalize().unwrap()).unwrap().display().to_string();
                assert_eq!(api.get(&format!("/ui/x/{served}")).await.status, 200, "{served}");
                imports += 1;
            }
        }
    }
    assert!(imports > 60, "only {imports} imports were found");
}

#[tokio::test]
async fn named_origins_may_read_from_their_pages() {
    let api = Api::with(&[("allowed_origins", "https://lab.example/")]).await;
    let ask = async |method: &str, origin: &str| {
        let request = api.request(method, "/v1/runs").header("origin", origin);
        let request = request.header("access-control-request-method", "GET");
        Answer::of(request.header("access-control-request-headers", "last-event-id").send().await.unwrap()).await
    };
    for method in ["GET", "OPTIONS"] {
        let known = ask(method, "https://lab.example").await;
        assert_eq!((known.status, known.header("access-control-allow-origin")), (200, "https://lab.example"));
        let foreign = ask(method, "https://evil.example").await;
        assert_eq!(foreign.header("access-control-allow-origin"), "");
    }
}
