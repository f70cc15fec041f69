//! Metrics: series in buckets, keys with their meaning.

use serde_json::{Value, json};

use super::support::Api;

async fn run_with_steps(api: &Api, steps: u64) -> String {
    let job = api.submit(json!({})).await;
    let leased = api.claim().await;
    for step in 1..=steps {
        let odd = if step == 3 { f64::NAN } else { step as f64 };
        api.report(&leased, step, &[("reward/mean", step as f64), ("policy/kl", odd), ("own/key", 1.0)]).await;
    }
    format!("/v1/runs/{}/metrics", job["run_id"].as_str().unwrap())
}

fn steps(series: &Value) -> Vec<u64> {
    series["points"].as_array().unwrap().iter().map(|point| point["step"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn series_are_whole_or_in_buckets() {
    let api = Api::start().await;
    let path = run_with_steps(&api, 10).await;
    let all = api.get(&path).await.body;
    let keys: Vec<_> = all["data"].as_array().unwrap().iter().map(|s| s["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["own/key", "policy/kl", "reward/mean"]);
    let one = api.get(&format!("{path}?keys=reward/mean&from_step=3&to_step=5")).await.body["data"][0].clone();
    assert_eq!((steps(&one), one["better"].as_str()), (vec![3, 4, 5], Some("higher")));
    let point = &one["points"][0];
    assert_eq!(
        (point["samples"].as_u64(), point["tokens"].as_u64(), point["mean"].as_f64()),
        (Some(24), Some(240), Some(3.0))
    );
    let buckets = api.get(&format!("{path}?keys=reward/mean&max_points=2")).await.body["data"][0].clone();
    let points = buckets["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    let first = &points[0];
    assert_eq!(
        (first["min"].as_f64(), first["max"].as_f64(), first["mean"].as_f64()),
        (Some(1.0), Some(5.0), Some(3.0))
    );
    assert_eq!(first["count"], 5);
    let wild = api.get(&format!("{path}?keys=reward/*,own/key,reward/mean")).await.body;
    assert_eq!(wild["data"].as_array().unwrap().len(), 2);
    assert_eq!(api.get(&format!("{path}?keys=policy/clip_fraction_high")).await.body["data"][0]["points"], json!([]));
}

/// A misspelt key would look like one without values.
#[tokio::test]
async fn unknown_keys_are_refused() {
    let api = Api::start().await;
    let path = run_with_steps(&api, 4).await;
    for query in [
        format!("{path}?keys=reward/mean,eval/acc"),
        format!("{path}?keys=evil/*"),
        format!("{path}.csv?keys=eval/acc"),
        "/v1/runs?include=summary&keys=eval/acc".to_owned(),
    ] {
        let answer = api.get(&query).await;
        assert_eq!(answer.problem(400, "invalid_query")["errors"][0]["pointer"], "?keys", "{query}");
    }
    let near = api.get(&format!("{path}?keys=eval/acuracy")).await.body["detail"].as_str().unwrap().to_owned();
    assert!(near.contains("did you mean `eval/accuracy`?"), "{near}");
    // What may still be measured, and a key of the run's own.
    for keys in ["eval/accuracy", "eval/accuracy/red", "visual/*", "own/key", "own/*"] {
        assert_eq!(api.get(&format!("{path}?keys={keys}")).await.status, 200, "{keys}");
    }
}

#[tokio::test]
async fn values_that_are_no_numbers_are_null_with_a_name() {
    let api = Api::start().await;
    let path = run_with_steps(&api, 4).await;
    let series = api.get(&format!("{path}?keys=policy/kl&from_step=3&to_step=3")).await.body["data"][0].clone();
    assert_eq!((&series["points"][0]["mean"], &series["points"][0]["nonfinite"]), (&Value::Null, &json!("nan")));
}

#[tokio::test]
async fn keys_tell_what_they_mean() {
    let api = Api::start().await;
    let path = run_with_steps(&api, 4).await;
    let keys = api.get(&format!("{path}/keys")).await.body["data"].clone();
    let reward = keys.as_array().unwrap().iter().find(|key| key["key"] == "reward/mean").unwrap();
    assert_eq!((reward["last"].as_f64(), reward["last_step"].as_u64()), (Some(4.0), Some(4)));
    assert_eq!(
        (reward["min"].as_f64(), reward["max"].as_f64(), reward["better"].as_str()),
        (Some(1.0), Some(4.0), Some("higher"))
    );
    assert!(reward["description"].as_str().unwrap().contains("reward"));
    let own = keys.as_array().unwrap().iter().find(|key| key["key"] == "own/key").unwrap();
    assert_eq!((own["unit"].as_str(), own["better"].as_str()), (Some("1"), Some("neutral")));
}

#[tokio::test]
async fn limits_of_the_query() {
    let api = Api::start().await;
    let path = run_with_steps(&api, 1).await;
    for query in ["max_points=0", "max_points=10001", "from_step=5&to_step=4", "from_step=-1", "key=reward/mean"] {
        api.get(&format!("{path}?{query}")).await.problem(400, "invalid_query");
    }
}

#[tokio::test]
async fn keys_of_free_text_are_told_apart() {
    let api = Api::start().await;
    let job = api.submit(json!({})).await;
    let leased = api.claim().await;
    let tags = ["red", "red, blue", "a,", "x", "x ", "≤10", "50%+"];
    let keys: Vec<String> = tags.iter().map(|tag| format!("eval/accuracy/{tag}")).collect();
    let values: Vec<(&str, f64)> = keys.iter().map(|key| (key.as_str(), 1.0)).collect();
    api.report(&leased, 1, &values).await;
    let path = format!("/v1/runs/{}/metrics", job["run_id"].as_str().unwrap());
    let found = async |query: String| {
        let answer = api.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let series = answer.body["data"].as_array().unwrap().clone();
        let name = |one: &Value| (one["key"].as_str().unwrap().to_owned(), one["points"].as_array().unwrap().len());
        series.iter().map(name).collect::<Vec<_>>()
    };
    let encoded = |key: &str| key.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for key in &keys {
        assert_eq!(found(format!("keys={}", encoded(key))).await, [(key.clone(), 1)]);
    }
    let all: Vec<String> = keys.iter().map(|key| format!("keys={}", encoded(key))).collect();
    let told: Vec<String> =
        found(format!("{}&max_points=10", all.join("&"))).await.into_iter().map(|one| one.0).collect();
    assert_eq!(told, keys);
    let joined = found(format!("max_points=10&keys={}", encoded("eval/accuracy/red,eval/accuracy/red, blue"))).await;
    assert_eq!(joined.into_iter().map(|one| one.0).collect::<Vec<_>>(), keys[..2]);
    assert_eq!(found("keys=".to_owned()).await.len(), keys.len(), "nothing asked for is everything");
    let table = api.get(&format!("{path}.csv?keys={}&keys={}", encoded(&keys[1]), encoded(&keys[4]))).await.body;
    assert!(
        table.as_str().unwrap().starts_with("step,time,samples,tokens,\"eval/accuracy/red, blue\",eval/accuracy/x \n"),
        "{table}"
    );
    for (query, part) in [("keys=%FF", "UTF-8"), ("kyes=a&keys=b", "kyes"), ("keys=a&max_points=0", "max_points")] {
        let answer = api.get(&format!("{path}?{query}")).await;
        assert!(answer.problem(400, "invalid_query").to_string().contains(part), "{}", answer.body);
    }
}
