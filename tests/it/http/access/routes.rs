//! Every route of the API, as a caller without a key, a viewer, and a user of another project.

use serde_json::{Value, json};
use vgpo::domain::access::Role;

use super::place::{OTHER, OWN, Place, Things};
use crate::http::support::Answer;

/// Open to everybody: nothing else may be.
const OPEN: [&str; 3] = ["healthz", "readyz", "open_session"];
/// For admins only.
const ADMINS: [&str; 8] = [
    "create_key",
    "list_engines",
    "list_keys",
    "revoke_key",
    "audit",
    "prometheus_metrics",
    "load_lora_adapter",
    "unload_lora_adapter",
];
/// Changes nothing that others see: a viewer may, although it is no reading request.
const OF_VIEWERS: [&str; 2] = ["close_session", "create_stream_token"];

struct Operation {
    id: String,
    method: String,
    path: String,
}

fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&vgpo::http::openapi_json().unwrap()).unwrap();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            all.push(Operation { id, method: method.to_uppercase(), path: path.clone() });
        }
    }
    assert!(all.len() > 50);
    all
}

/// The address with the ids of `alpha`'s things. A route with a parameter that is unknown here fails the test: its
/// author has to say what belongs there.
fn address(operation: &Operation, things: &Things) -> String {
    let thing = match operation.path.split('/').nth(2).unwrap_or_default() {
        "jobs" => &things.job,
        "runs" => &things.run,
        "checkpoints" => &things.checkpoint,
        "datasets" if operation.path.contains("/files") || operation.id == "finish_dataset" => &things.upload,
        "datasets" => &things.dataset,
        "models" => &things.model,
        "sweeps" => &things.sweep,
        _ => "none",
    };
    let path = operation.path.replace("{id}", thing).replace("{sample}", &things.sample);
    let path = path.replace("{path}", "rows.jsonl").replace("{row}", "0");
    assert!(!path.contains('{'), "{path}: teach this test what the parameter stands for");
    match operation.id.as_str() {
        "compare_metrics" => format!("{path}?key=reward/mean&runs={}", things.run),
        "compare_evaluations" => format!("{path}?with={}", things.run),
        "events" => format!("{path}?after=0&limit=1000"),
        _ => path,
    }
}

/// A body that would be carried out if the caller were allowed to.
fn body(operation: &Operation, things: &Things) -> Option<Value> {
    Some(match operation.id.as_str() {
        _ if operation.method == "GET" || operation.method == "DELETE" => return None,
        "cancel_job" | "pause_job" | "resume_job" | "retry_job" | "cancel_sweep" => json!({}),
        "update_job" => json!({"priority": 3}),
        "update_run" => json!({"name": "mine now"}),
        "continue_run" => json!({"steps": 1}),
        "promote_checkpoint" => json!({"name": "stolen"}),
        "put_dataset_file" | "finish_dataset" | "create_stream_token" => return None,
        "create_job" => json!({"model": things.checkpoint, "dataset": things.dataset}),
        "create_audit" => json!({"model": things.checkpoint, "dataset": "digits"}),
        "create_sweep" => {
            json!({"job": {"model": things.model, "dataset": "digits"}, "grid": {"seed": [1, 2]}})
        }
        "create_dataset" => json!({"name": "x", "source": {"path": "/nowhere"}}),
        "create_model" => json!({"source": {"path": "/nowhere"}}),
        "create_key" => json!({"role": "admin"}),
        "open_session" => json!({"key": "vgpo_x"}),
        "generate" | "generate_v1" => {
            json!({"model": things.checkpoint, "messages": [{"role": "user", "content": "hi"}], "max_new_tokens": 1})
        }
        "score" => {
            json!({"model": things.model, "messages": [{"role": "user", "content": "hi"}], "responses": ["a"]})
        }
        "create_chat_completion" => {
            json!({"model": things.model, "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 1})
        }
        "load_lora_adapter" => json!({"lora_name": "x", "lora_path": "/nowhere"}),
        "unload_lora_adapter" => json!({"lora_name": "x"}),
        "evaluate_rewards" => json!({"reward": {"type": "exact"}, "rows": [{"response": "a", "ground_truth": "a"}]}),
        other => panic!("{other}: teach this test a body"),
    })
}

fn names_nothing_of(answer: &Answer, things: &Things, what: &str) {
    let text = answer.body.to_string();
    for id in things.all() {
        assert!(!text.contains(id), "{what} names {id}: {text}");
    }
    assert!(!text.contains("a secret prompt"), "{what}");
}

#[tokio::test]
async fn without_a_key_nothing_opens() {
    let place = Place::new().await;
    let things = place.fill(&place.key(Role::User, OWN).await).await;
    for operation in operations().iter().filter(|operation| !OPEN.contains(&operation.id.as_str())) {
        let path = address(operation, &things);
        for key in [None, Some("vgpo_0123456789ab_cd"), Some("nonsense"), Some("")] {
            let mut request = place.api.request(&operation.method, &path);
            if let Some(key) = key {
                request = request.bearer_auth(key);
            }
            if let Some(body) = body(operation, &things) {
                request = request.json(&body);
            }
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.status, 401, "{} {path} with {key:?}: {}", operation.method, answer.body);
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"vgpo\"");
            if operation.id == "create_chat_completion" {
                assert_eq!(answer.body["error"]["code"], "invalid_api_key", "{}", answer.body);
            } else {
                answer.problem(401, "unauthorized");
            }
        }
    }
    for path in ["/v1/nothing", "/metrics", "/v1/keys/key_x/secret"] {
        assert_eq!(place.api.get(path).await.status, 401, "{path}: what is not there is not told either");
    }
    for path in ["/", "/healthz", "/readyz", "/openapi.json", "/problems", "/problems/unauthorized"] {
        assert_eq!(place.api.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_viewer_changes_nothing_and_a_user_no_keys() {
    let place = Place::new().await;
    let user = place.key(Role::User, OWN).await;
    let viewer = place.key(Role::Viewer, OWN).await;
    let things = place.fill(&user).await;
    for operation in &operations() {
        let (id, path) = (operation.id.as_str(), address(operation, &things));
        let reads = operation.method == "GET" || OPEN.contains(&id) || OF_VIEWERS.contains(&id);
        let body = body(operation, &things);
        if !reads || ADMINS.contains(&id) {
            let answer = place.send(&viewer, &operation.method, &path, body.clone()).await;
            assert_eq!(answer.status, 403, "viewer: {} {path}: {}", operation.method, answer.body);
            let detail = answer.body["detail"].as_str().or(answer.body["error"]["message"].as_str()).unwrap();
            let role = if ADMINS.contains(&id) { "role admin" } else { "role user" };
            assert!(detail.contains(role) && detail.contains("viewer"), "{detail}");
        }
        if ADMINS.contains(&id) {
            let answer = place.send(&user, &operation.method, &path, body).await;
            assert!(answer.problem(403, "forbidden")["detail"].as_str().unwrap().contains("role admin"));
        }
    }
    // What a viewer may read, it reads.
    for path in [
        format!("/v1/jobs/{}", things.job),
        format!("/v1/runs/{}/metrics", things.run),
        format!("/v1/runs/{}/samples", things.run),
        format!("/v1/checkpoints/{}", things.checkpoint),
        format!("/v1/datasets/{}/rows", things.dataset),
        format!("/v1/models/{}", things.model),
        "/v1/models/tiny".to_owned(),
        format!("/v1/sweeps/{}", things.sweep),
    ] {
        assert_eq!(place.get(&viewer, &path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn other_projects_do_not_exist() {
    let place = Place::new().await;
    let owner = place.key(Role::User, OWN).await;
    let things = place.fill(&owner).await;
    let before = snapshot(&place, &owner, &things).await;
    for key in [place.key(Role::User, OTHER).await, place.key(Role::Viewer, OTHER).await] {
        let viewer = place.get(&key, "/v1/session").await.body["role"] == "viewer";
        for operation in &operations() {
            let id = operation.id.as_str();
            if ADMINS.contains(&id) || OPEN.contains(&id) || OF_VIEWERS.contains(&id) {
                continue;
            }
            let path = address(operation, &things);
            let what = format!("{} {path}", operation.method);
            let answer = place.send(&key, &operation.method, &path, body(operation, &things)).await;
            if viewer && operation.method != "GET" {
                assert_eq!(answer.status, 403, "{what}: {}", answer.body);
                continue;
            }
            if operation.path.contains('{') || id == "compare_metrics" || id == "create_chat_completion" {
                assert_eq!(answer.status, 404, "{what}: {}", answer.body);
            } else if ["create_job", "create_audit", "create_sweep", "generate", "generate_v1", "score"].contains(&id) {
                let answer = answer.problem(422, "invalid_request").to_string();
                assert!(answer.contains("there is no model"), "{what}: {answer}");
            } else {
                assert!(answer.status < 500, "{what}: {}", answer.body);
                names_nothing_of(&answer, &things, &what);
            }
        }
    }
    assert_eq!(snapshot(&place, &owner, &things).await, before, "nothing of it was touched");
    // The owner's lists do have them.
    for (path, id) in [("/v1/jobs", &things.job), ("/v1/runs", &things.run), ("/v1/sweeps", &things.sweep)] {
        assert!(place.get(&owner, path).await.body.to_string().contains(id.as_str()), "{path}");
    }
    let events = place.get(&owner, "/v1/events?after=0&limit=1000").await.body.to_string();
    assert!(events.contains(&things.job) && events.contains(&things.dataset), "{events}");
}

async fn snapshot(place: &Place, key: &str, things: &Things) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in [
        format!("/v1/jobs/{}", things.job),
        format!("/v1/runs/{}", things.run),
        format!("/v1/checkpoints/{}", things.checkpoint),
        format!("/v1/datasets/{}", things.dataset),
        format!("/v1/datasets/{}/files", things.upload),
        format!("/v1/models/{}", things.model),
        format!("/v1/sweeps/{}", things.sweep),
    ] {
        let answer = place.get(key, &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        seen.push(answer.body);
    }
    seen
}

#[tokio::test]
async fn a_user_stays_in_its_project() {
    let place = Place::new().await;
    let owner = place.key(Role::User, OWN).await;
    let things = place.fill(&owner).await;
    let other = place.key(Role::User, OTHER).await;
    let job = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}});
    let mine = place.done(&other, "POST", "/v1/jobs", job.clone()).await;
    assert_eq!(mine["project"], OTHER, "the key's project is the default");
    assert!(mine["created_by"].as_str().unwrap().starts_with("key_"));
    let mut theirs = job.clone();
    theirs["project"] = json!(OWN);
    let refused = place.send(&other, "POST", "/v1/jobs", Some(theirs)).await;
    assert!(refused.problem(403, "forbidden")["detail"].as_str().unwrap().contains("project `beta`"));
    // Names are unique over projects: a taken one is told, its owner is not.
    let taken = json!({"name": "alpha-data", "source": {"upload": "parts"}});
    let taken = place.send(&other, "POST", "/v1/datasets", Some(taken)).await;
    assert!(!taken.problem(409, "conflict").to_string().contains("project"), "{}", taken.body);
    // What is shared can be used but not changed.
    assert_eq!(place.get(&other, "/v1/datasets/digits").await.status, 200);
    let refused = place.send(&other, "DELETE", "/v1/models/tiny", None).await;
    refused.problem(403, "forbidden");
    // A name that another project serves cannot be taken over.
    let promote = format!("/v1/checkpoints/{}/promote", things.checkpoint);
    place.done(&owner, "POST", &promote, json!({"name": "best-reader"})).await;
    assert_eq!(place.get(&other, "/v1/models/best-reader").await.status, 404);
    let models = place.get(&other, "/v1/models").await.body.to_string();
    assert!(!models.contains("best-reader") && models.contains("tiny"), "{models}");
    // An admin sees all of it.
    let admin = place.key(Role::Admin, "default").await;
    for id in [&things.job, mine["id"].as_str().unwrap()] {
        assert!(place.get(&admin, "/v1/jobs").await.body.to_string().contains(id));
    }
    let narrowed = place.get(&admin, "/v1/jobs?project=beta").await.body;
    assert_eq!(narrowed["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_who_sent_it() {
    let place = Place::new().await;
    let job = json!({"model": "tiny", "dataset": "digits", "data": {"max_prompt_tokens": 4000}});
    let mut ids = std::collections::BTreeSet::new();
    for key in [place.key(Role::User, OWN).await, place.key(Role::User, OTHER).await] {
        for _ in 0..2 {
            let request = place.api.request("POST", "/v1/jobs").bearer_auth(&key).header("idempotency-key", "one");
            let answer = Answer::of(request.json(&job).send().await.unwrap()).await;
            assert_eq!(answer.status, 201, "{}", answer.body);
            ids.insert(answer.body["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(ids.len(), 2, "one job for each key");
}

#[tokio::test]
async fn what_was_done_is_on_record() {
    let place = Place::new().await;
    let admin = place.key(Role::Admin, "default").await;
    let user = place.key(Role::User, OWN).await;
    let things = place.fill(&user).await;
    place.done(&admin, "POST", "/v1/keys", json!({"role": "viewer"})).await;
    place.done(&user, "POST", &format!("/v1/jobs/{}/cancel", things.job), json!({"reason": "too slow"})).await;
    place.done(&admin, "POST", &format!("/v1/checkpoints/{}/promote", things.checkpoint), json!({"name": "x"})).await;
    let refused = place.send(&user, "DELETE", &format!("/v1/runs/{}", things.run), None).await;
    assert_eq!(refused.status, 409);
    let entries = place.get(&admin, "/v1/audit?limit=3").await.body;
    assert_eq!(entries["has_more"], true);
    let told: Vec<_> = entries["data"].as_array().unwrap().iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(told[..2], ["checkpoint.promote", "job.cancel"], "newest first; what was refused was not done");
    let cancel = &entries["data"][1];
    assert_eq!((&cancel["target"], &cancel["detail"]), (&json!(things.job), &json!("too slow")));
    assert_eq!((&cancel["project"], cancel["key_id"].is_string()), (&json!(OWN), true));
    let all = place.get(&admin, "/v1/audit?limit=1000").await.body.to_string();
    for action in ["key.create", "job.create", "sweep.create", "dataset.create"] {
        assert!(all.contains(action), "{action}");
    }
    place.get(&admin, "/v1/audit?after=x").await.problem(400, "invalid_query");
}
