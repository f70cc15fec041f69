//! `/openapi.json`, and `/docs`: the API for people, written from its `OpenAPI` document. One page without any script.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value};

/// The page may load nothing, and nothing may frame it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 \
1rem;color:#1a1a1a;background:#fff}code,pre{font:13px/1.4 ui-monospace,monospace}\
pre{padding:.5rem .7rem;background:#f2f2f2;white-space:pre-wrap;\
overflow-wrap:anywhere}h2+p,pre+p{margin:.8rem 0 .2rem}summary{cursor:pointer;padding:.3rem \
0}details{border-bottom:1px solid #ddd}table{border-collapse:collapse;margin:.5rem \
0}td,th{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0}b.m{display:inline-block;min-width:4.5rem}nav \
a{margin-right:1rem}@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}pre{background:#242424}a{color:#8ab4f8}details{border-color:#444}}";
const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "head"];

/// The API for programs and for people. Both are made once, for the first request: they need no key, and may be
/// asked for without limit.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/openapi.json", get(document))
        .route("/docs", get(page))
        .with_state(Arc::new(Documents::default()))
}

#[derive(Default)]
struct Documents {
    document: OnceLock<Document>,
    page: OnceLock<Document>,
}

/// A document as it is sent.
struct Document {
    plain: Bytes,
    gzip: Bytes,
}

impl Document {
    fn new(text: Vec<u8>) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let gzip = gzip.write_all(&text).and_then(|()| gzip.finish()).unwrap_or_default();
        Self { plain: text.into(), gzip: gzip.into() }
    }

    fn response(&self, asked: &HeaderMap, kind: &'static str) -> Response {
        let accepted = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut codings = accepted.flat_map(|value| value.split(',')).map(str::trim);
        let vary = (header::VARY, HeaderValue::from_static("accept-encoding"));
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if self.gzip.is_empty() || !codings.any(|coding| coding == "gzip") {
            return ([kind, vary], self.plain.clone()).into_response();
        }
        let coding = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        ([kind, vary, coding], self.gzip.clone()).into_response()
    }
}

async fn document(State(documents): State<Arc<Documents>>, headers: HeaderMap) -> Response {
    let made = || Document::new(super::openapi().and_then(|made| serde_json::to_vec(&made)).unwrap_or_default());
    documents.document.get_or_init(made).response(&headers, "application/json")
}

/// The page.
async fn page(State(documents): State<Arc<Documents>>, headers: HeaderMap) -> Response {
    let made = || Document::new(render(&super::openapi().unwrap_or_default()).into_bytes());
    let mut response = documents.page.get_or_init(made).response(&headers, "text/html; charset=utf-8");
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    fields.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    response
}

/// The page's text, from the API's document.
pub fn render(document: &Value) -> String {
    let mut tags: Vec<(&str, String)> = Vec::new();
    let mut samples: BTreeMap<&str, String> = BTreeMap::new();
    for (path, item) in members(&document["paths"]) {
        for method in METHODS.into_iter().filter(|method| item.get(*method).is_some()) {
            let operation = &item[method];
            let tag = operation["tags"][0].as_str().unwrap_or("other");
            let text = operation_text(method, path, operation);
            samples.entry(tag).or_default().push_str(&samples_text(operation));
            match tags.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, section)) => section.push_str(&text),
                None => tags.push((tag, text)),
            }
        }
    }
    let links = tags.iter().map(|(tag, _)| ["<a href=\"#", tag, "\">", tag, "</a>"].concat());
    let shown = |tag: &str| samples.get(tag).map(String::as_str).unwrap_or_default();
    let sections = tags.iter().map(|(tag, text)| ["<h2 id=\"", tag, "\">", tag, "</h2>", shown(tag), text].concat());
    let schemas = members(&document["components"]["schemas"]).map(|(name, schema)| schema_text(name, schema));
    [
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">",
        "<meta name=\"viewport\" content=\"width=device-width\"><title>VGPO: the API</title><style>",
        STYLE,
        "</style><h1>The API of VGPO ",
        &escape(document["info"]["version"].as_str().unwrap_or_default()),
        "</h1><p>",
        &escape(document["info"]["description"].as_str().unwrap_or_default()),
        "</p><p>For programs: <a href=\"/openapi.json\">/openapi.json</a>. Errors: <a \
        href=\"/problems\">/problems</a>.</p><nav>",
        &links.collect::<String>(),
        "<a href=\"#schemas\">schemas</a></nav>",
        &sections.collect::<String>(),
        "<h2 id=\"schemas\">schemas</h2>",
        &schemas.collect::<String>(),
        "</html>",
    ]
    .concat()
}

/// The examples of a call.
fn samples_text(operation: &Value) -> String {
    let samples = operation["x-codeSamples"].as_array().into_iter().flatten().map(|sample| {
        let words = |name: &str| escape(sample[name].as_str().unwrap_or_default());
        ["<p>", &words("label"), "</p><pre>", &words("source"), "</pre>"].concat()
    });
    samples.collect()
}

fn operation_text(method: &str, path: &str, operation: &Value) -> String {
    let words = |name: &str| escape(operation[name].as_str().unwrap_or_default());
    let parameters = operation["parameters"].as_array().into_iter().flatten().map(|parameter| {
        let words = |name: &str| escape(parameter[name].as_str().unwrap_or_default());
        row(&[&words("name"), &words("in"), &type_of(&parameter["schema"]), &words("description")])
    });
    let body = members(&operation["requestBody"]["content"])
        .map(|(kind, content)| row(&["body", &escape(kind), &type_of(&content["schema"]), ""]));
    let answers = members(&operation["responses"]).map(|(status, answer)| {
        let content = members(&answer["content"]).next();
        let kind = content.map(|(_, content)| type_of(&content["schema"])).unwrap_or_default();
        row(&["answer", &escape(status), &kind, &escape(answer["description"].as_str().unwrap_or_default())])
    });
    [
        "<details id=\"",
        &words("operationId"),
        "\"><summary><b class=\"m\">",
        &method.to_uppercase(),
        "</b><code>",
        &escape(path),
        "</code> ",
        &words("summary"),
        "</summary><p>",
        &words("description"),
        "</p><table>",
        &parameters.chain(body).chain(answers).collect::<String>(),
        "</table></details>",
    ]
    .concat()
}

fn schema_text(name: &str, schema: &Value) -> String {
    let fields = members(&schema["properties"]).map(|(field, shape)| {
        let words = escape(shape["description"].as_str().unwrap_or_default());
        row(&[&escape(field), &type_of(shape), &words])
    });
    let fields: String = fields.collect();
    let shape = if fields.is_empty() { type_of(schema) } else { ["<table>", &fields, "</table>"].concat() };
    let words = escape(schema["description"].as_str().unwrap_or_default());
    let name = escape(name);
    [
        "<details id=\"schema-",
        &name,
        "\"><summary><code>",
        &name,
        "</code></summary><p>",
        &words,
        "</p>",
        &shape,
        "</details>",
    ]
    .concat()
}

/// A schema in a few words; named ones are links.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        let name = escape(name);
        return ["<a href=\"#schema-", &name, "\">", &name, "</a>"].concat();
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema[choice].as_array() {
            return choices.iter().map(type_of).collect::<Vec<_>>().join(" | ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| escape(&value.to_string())).collect::<Vec<_>>().join(" | ");
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", type_of(&schema["items"])),
        Value::String(kind) => escape(kind),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).map(escape).collect::<Vec<_>>().join(" | "),
        _ => String::new(),
    }
}

fn row(cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| ["<td>", cell, "</td>"].concat());
    ["<tr>", &cells.collect::<String>(), "</tr>"].concat()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
