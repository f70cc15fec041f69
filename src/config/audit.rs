//! An audit as a job of method `eval`.

use serde_json::{Map, Value, json};

use crate::domain::field_error::FieldError;

/// Rows of an audit.
const ROWS: u64 = 128;
/// Responses to each row.
const SAMPLES: u64 = 2;
/// Settings of an audit that are settings of its method.
const OF_METHOD: [&str; 2] = ["split", "dependency_threshold"];

/// The job of an audit: what the request says, and for what it leaves out 128 held-out rows and two responses a row,
/// drawn as in training.
///
/// # Errors
/// The request has a method of its own.
pub fn job(request: &Value) -> Result<Value, Vec<FieldError>> {
    // What is no object is refused as a job.
    let Some(given) = request.as_object() else { return Ok(request.clone()) };
    if given.contains_key("method") {
        let detail =
            "an audit is a job of method `eval`: leave `method` out, or submit a job with the method that you want";
        return Err(vec![FieldError::new("/method", detail.to_owned())]);
    }
    let mut method = Map::from_iter([("type".to_owned(), json!("eval")), ("audit".to_owned(), json!(true))]);
    let mut job = Map::new();
    for (name, value) in given {
        let place = if OF_METHOD.contains(&name.as_str()) { &mut method } else { &mut job };
        place.insert(name.clone(), value.clone());
    }
    job.insert("method".to_owned(), Value::Object(method));
    job.entry("eval_rows").or_insert_with(|| json!(ROWS));
    let eval = job.entry("eval").or_insert_with(|| json!({}));
    if let Some(eval) = eval.as_object_mut() {
        eval.entry("samples").or_insert_with(|| json!(SAMPLES));
        eval.entry("temperature").or_insert_with(|| json!(1.0));
    }
    Ok(Value::Object(job))
}
