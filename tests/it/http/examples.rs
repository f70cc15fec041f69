//! Examples of calls in the API's document: there are some for every part, and each is a call that the API knows.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vgpo::http::examples::{EXAMPLES, Example};

use super::support::{Answer, Api};

fn document() -> Value {
    serde_json::from_str(&vgpo::http::openapi_json().unwrap()).unwrap()
}

/// Why a value is not what a schema says; enough of JSON Schema for requests.
fn fault(value: &Value, schema: &Value, all: &Value) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/components/schemas/")) {
        return fault(value, &all[name], all);
    }
    if let Some(choices) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
        let faults: Vec<_> = choices.iter().map(|choice| fault(value, choice, all)).collect();
        return if faults.contains(&None) { None } else { Some(format!("{value} fits none of {faults:?}")) };
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return parts.iter().find_map(|part| fault(value, part, all));
    }
    if let Some(known) = schema["enum"].as_array() {
        return (!known.contains(value)).then(|| format!("{value} is none of {known:?}"));
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    let fits = |one: &Value| one.is_null() || one == kind || (one == "number" && kind == "integer");
    if !kinds.iter().any(fits) {
        return Some(format!("{value} is not of the type {}", schema["type"]));
    }
    if let Some(items) = value.as_array() {
        return items.iter().find_map(|item| fault(item, &schema["items"], all));
    }
    let fields = value.as_object()?;
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !fields.contains_key(*name)) {
        return Some(format!("`{missing}` is missing"));
    }
    fields.iter().find_map(|(name, inner)| match schema["properties"].get(name) {
        Some(known) => fault(inner, known, all).map(|why| format!("{name}: {why}")),
        None => (schema["additionalProperties"] == json!(false)).then(|| format!("there is no field `{name}`")),
    })
}

#[test]
fn every_part_of_the_api_has_examples_that_its_schemas_accept() {
    let document = document();
    let all = &document["components"]["schemas"];
    let mut tags = BTreeMap::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            tags.entry(operation["tags"][0].as_str().unwrap()).or_insert(0);
        }
    }
    for example in EXAMPLES {
        let curl = example.curl();
        let operation = &document["paths"][example.route][example.method.to_lowercase()];
        assert!(operation.is_object(), "there is no call {} {}", example.method, example.route);
        *tags.get_mut(operation["tags"][0].as_str().unwrap()).unwrap() += 1;
        let shown = operation["x-codeSamples"].as_array().unwrap();
        assert!(shown.iter().any(|one| one["source"] == curl.as_str()), "{curl} is not shown");
        let names: Vec<_> = operation["parameters"].as_array().into_iter().flatten().map(|one| &one["name"]).collect();
        for pair in example.query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().unwrap();
            assert!(names.iter().any(|known| *known == name), "{curl}: there is no parameter `{name}`");
        }
        assert!(!example.address().contains('{'), "{curl}: a place is open");
        if !example.body.is_empty() {
            let body: Value = serde_json::from_str(&example.json()).unwrap();
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{curl}: the call takes no JSON");
            assert_eq!(fault(&body, schema, all), None, "{curl}");
            let Value::Object(mut fields) = body else { panic!("{curl}") };
            if !matches!(example.route, "/v1/jobs") {
                fields.insert("no_such_field".to_owned(), json!(1));
                let open = schema["$ref"].as_str().is_some_and(|name| name.ends_with("/ChatRequest"));
                assert!(open || fault(&Value::Object(fields), schema, all).is_some(), "{curl}: anything is accepted");
            }
        }
    }
    for (tag, examples) in tags {
        assert!((2..=4).contains(&examples), "{tag} has {examples} examples");
    }
}

/// Sent as they are. A first key would close the server, and a hub is elsewhere.
#[tokio::test]
async fn examples_are_understood() {
    let api = Api::start().await;
    let elsewhere = |example: &&Example| {
        ["/v1/events", "/v1/keys"].contains(&example.route) || [example.body, example.options].join("").contains("hub")
    };
    for example in EXAMPLES.iter().filter(|example| !elsewhere(example) && !example.options.contains('@')) {
        let method = reqwest::Method::from_bytes(example.method.as_bytes()).unwrap();
        let mut request = api.http.request(method, format!("{}{}", api.url, example.address()));
        if !example.body.is_empty() {
            request = request.header("content-type", "application/json").body(example.json());
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        // Its ids are made up.
        let known = answer.status < 400 || answer.status == 404;
        assert!(known && answer.body["code"] != "unknown_route", "{}: {}", example.curl(), answer.body);
    }
}

#[tokio::test]
async fn the_page_shows_them() {
    let api = Api::start().await;
    let page = api.get("/docs").await;
    let text = page.body.as_str().unwrap();
    for part in ["Train the starter on digits", "curl -s localhost:8080/v1/sweeps -H ", "bad_rows=leave_out'"] {
        assert!(text.contains(part), "{part}");
    }
}
