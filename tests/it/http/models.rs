//! Registering models: folders and the hub.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Answer, Api, tiny_model};
use crate::hub::server::{COMMIT, FakeHub, Moods};

async fn delete(api: &Api, name: &str) -> Answer {
    Answer::of(api.request("DELETE", &format!("/v1/models/{name}")).send().await.unwrap()).await
}

/// The model, once it is no longer on its way.
async fn settled(api: &Api, name: &str) -> Value {
    for _ in 0..600 {
        let answer = api.get(&format!("/v1/models/{name}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        if answer.body["state"] != "downloading" {
            return answer.body;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} is still on its way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_registered_where_it_lies() {
    let roots = tempfile::tempdir().unwrap();
    let folder = roots.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(tiny_model()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    std::fs::write(folder.join("vgpo.json"), json!({"card": {"task": "t"}, "recommended": {"steps": 3}}).to_string())
        .unwrap();
    let api = Api::with(&[("model_roots", roots.path().to_str().unwrap())]).await;
    let body = json!({"source": {"path": folder}});
    let made = api.post("/v1/models", body.clone()).await;
    assert_eq!(
        (made.status, made.body["id"].as_str(), made.body["state"].as_str()),
        (201, Some("mine"), Some("ready")),
        "{}",
        made.body
    );
    assert_eq!((&made.body["card"]["task"], &made.body["recommended"]["steps"]), (&json!("t"), &json!(3)));
    assert_eq!(api.get("/v1/models/mine").await.body, made.body);
    assert!(
        api.post("/v1/models", body.clone()).await.problem(409, "conflict")["detail"]
            .as_str()
            .unwrap()
            .contains("`mine`")
    );
    let job = api.submit(json!({"model": "mine"})).await;
    assert_eq!(job["spec"]["steps"], 3, "the card's settings are taken over");
    assert_eq!(delete(&api, "mine").await.problem(409, "held")["holders"][0], job["id"]);
    let cancelled = api.post(&format!("/v1/jobs/{}/cancel", job["id"].as_str().unwrap()), json!({})).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    assert_eq!(delete(&api, "mine").await.status, 204);
    delete(&api, "mine").await.problem(404, "not_found");
    assert!(folder.join("model.safetensors").exists(), "the folder stays");
}

/// Who looks and then writes gives one name to two.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_want_a_name_at_once_one_gets_it() {
    let roots = tempfile::tempdir().unwrap();
    for folder in ["one", "two"].map(|name| roots.path().join(name)) {
        std::fs::create_dir(&folder).unwrap();
        for entry in std::fs::read_dir(tiny_model()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    let api = Api::with(&[("model_roots", roots.path().to_str().unwrap())]).await;
    for round in 0..4 {
        let name = format!("race/{round}");
        let register = |at: usize| {
            let folder = roots.path().join(["one", "two"][at % 2]);
            api.post("/v1/models", json!({"name": name, "source": {"path": folder}}))
        };
        let answers = futures_util::future::join_all((0..6).map(register)).await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!(made.len(), 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
        for answer in refused {
            assert!(answer.problem(409, "conflict")["detail"].as_str().unwrap().contains(&name), "{}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_registrations_name_their_fields() {
    let roots = tempfile::tempdir().unwrap();
    std::fs::create_dir(roots.path().join("empty")).unwrap();
    let inside = roots.path().join("empty").display().to_string();
    let api = Api::with(&[("model_roots", roots.path().to_str().unwrap())]).await;
    let cases = [
        (json!({"source": {}}), "/source", "either"),
        (json!({"source": {"hub": "a/b", "path": "/x"}}), "/source", "either"),
        (json!({"source": {"hub": "a/b/c"}}), "/source/hub", "org/name"),
        (json!({"source": {"hub": "a/b", "revision": "../x"}}), "/source/revision", "revision"),
        (json!({"source": {"path": inside, "revision": "main"}}), "/source/revision", "only applies to `hub`"),
        (json!({"source": {"path": "/etc"}}), "/source/path", "model_roots"),
        (json!({"source": {"path": inside}}), "/source/path", "config.json"),
        (json!({"name": "run_1", "source": {"path": inside}}), "/name", "run_"),
        (json!({"name": "a b", "source": {"path": inside}}), "/name", "letters"),
    ];
    for (body, pointer, part) in cases {
        let answer = api.post("/v1/models", body.clone()).await;
        let errors = &answer.problem(422, "invalid_request")["errors"][0];
        assert_eq!(errors["pointer"], pointer, "{body}: {errors}");
        assert!(errors["detail"].as_str().unwrap().contains(part), "{body}: {errors}");
    }
    assert_eq!(delete(&api, "nothing").await.status, 404);
}

/// Ready is what loads; what a folder says beyond that is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_loaded_is_not_registered() {
    let roots = tempfile::tempdir().unwrap();
    let api = Api::with(&[("model_roots", roots.path().to_str().unwrap())]).await;
    let folder = |name: &str, file: &str, change: &dyn Fn(&mut Value)| {
        let dir = roots.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        for entry in std::fs::read_dir(tiny_model()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
        }
        let mut json: Value = serde_json::from_str(&std::fs::read_to_string(dir.join(file)).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(dir.join(file), json.to_string()).unwrap();
        json!({"source": {"path": dir}})
    };
    let awq = |config: &mut Value| config["quantization_config"] = json!({"quant_method": "awq", "bits": 4});
    let deep = |config: &mut Value| config["num_hidden_layers"] = json!(9);
    let unsized_pictures = |config: &mut Value| config["do_resize"] = json!(false);
    let needy = |template: &mut Value| template["chat_template"] = json!("{{ unheard_of() }}");
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(&str, &str, Change<'_>, &str); 4] = [
        ("awq", "config.json", &awq, "awq"),
        ("deep", "config.json", &deep, "model.layers.3"),
        ("unsized", "preprocessor_config.json", &unsized_pictures, "do_resize"),
        ("needy", "chat_template.json", &needy, "unheard_of"),
    ];
    for (name, file, change, word) in cases {
        let answer = api.post("/v1/models", folder(name, file, change)).await;
        let error = answer.problem(422, "invalid_request")["errors"][0].clone();
        assert_eq!(error["pointer"], "/source/path");
        assert!(error["detail"].as_str().unwrap().contains(word), "{name}: {error}");
        assert_eq!(api.get(&format!("/v1/models/{name}")).await.status, 404);
    }
    let noted = |config: &mut Value| config["my_note"] = json!("x");
    let made = api.post("/v1/models", folder("noted", "config.json", &noted)).await;
    assert_eq!((made.status, made.body["state"].as_str()), (201, Some("ready")), "{}", made.body);
    assert!(made.body["card"]["warnings"][0].as_str().unwrap().contains("`my_note`"), "{}", made.body);
    let answer = api.post("/v1/jobs?dry_run=true", json!({"model": "noted", "dataset": "digits"})).await;
    assert!(
        answer.body["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == "model"),
        "{}",
        answer.body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_comes_from_the_hub_and_serves() {
    let hub = FakeHub::start(&[("models/org/tiny", &tiny_model())], Moods::default()).await;
    let api = Api::with(&[("hf_endpoint", &hub.url)]).await;
    let made = api.post("/v1/models", json!({"source": {"hub": "org/tiny"}})).await;
    assert_eq!((made.status, made.body["state"].as_str()), (202, Some("downloading")), "{}", made.body);
    let ready = settled(&api, "org/tiny").await;
    assert_eq!((ready["state"].as_str(), ready["family"].as_str()), (Some("ready"), Some("qwen2_5_vl")), "{ready}");
    assert_eq!(ready["source"], format!("hf:org/tiny@{COMMIT}"));
    for name in ["org/tiny", "hf:org/tiny", &format!("hf:org/tiny@{COMMIT}")] {
        let body = json!({"model": name, "prompt": "hello", "max_new_tokens": 2});
        let answer = api.post("/generate", body).await;
        assert_eq!((answer.status, answer.body["model"].as_str()), (200, Some("org/tiny")), "{}", answer.body);
    }
    let other = api.post("/generate", json!({"model": "hf:org/other", "prompt": "hello"})).await;
    assert!(
        other.problem(422, "invalid_request")["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("vgpo models add hf:org/other")
    );
    let events = api
        .service
        .database()
        .events_after(
            0,
            &vgpo::domain::event::EventFilter { kinds: vec!["model".to_owned()], ..Default::default() },
            100,
        )
        .await
        .unwrap();
    let states: Vec<&str> = events.iter().filter_map(|event| event.data["state"].as_str()).collect();
    assert_eq!((states.first(), states.last()), (Some(&"downloading"), Some(&"ready")), "{states:?}");
    assert!(events.iter().any(|event| event.data["progress"]["file"] == "model.safetensors"));
    assert_eq!(delete(&api, "org/tiny").await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_fails_leaves_no_model() {
    let broken = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(tiny_model().join(name), broken.path().join(name)).unwrap();
    }
    let empty = tempfile::tempdir().unwrap();
    let repos: [(&str, &Path); 2] = [("models/org/broken", broken.path()), ("models/org/empty", empty.path())];
    let hub = FakeHub::start(&repos, Moods::default()).await;
    let api = Api::with(&[("hf_endpoint", &hub.url)]).await;
    let add = async |name: &str| api.post("/v1/models", json!({"source": {"hub": name}})).await;
    add("org/nothing").await.problem(422, "invalid_request");
    assert!(
        add("org/empty").await.problem(422, "invalid_request")["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("not a model in Hugging Face layout")
    );
    // Its tokenizer is missing: that shows before the weights come.
    assert_eq!(add("org/broken").await.status, 202);
    let failed = settled(&api, "org/broken").await;
    assert!(failed["state"] == "failed" && failed["problem"].as_str().unwrap().contains("tokenizer"), "{failed}");
    assert_eq!((hub.asked("config.json") > 0, hub.asked(".safetensors")), (true, 0));
    let used = api.post("/generate", json!({"model": "org/broken", "prompt": "hello"})).await;
    assert!(
        used.problem(422, "invalid_request")["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("could not be downloaded")
    );
    assert_eq!(delete(&api, "org/broken").await.status, 204);
    delete(&api, "org/broken").await.problem(404, "not_found");

    let offline = Api::with(&[("hf_endpoint", "http://127.0.0.1:9")]).await;
    let answer = offline.post("/v1/models", json!({"source": {"hub": "org/tiny"}})).await;
    assert!(
        answer.problem(503, "unavailable")["detail"]
            .as_str()
            .unwrap()
            .contains("cannot reach the hub http://127.0.0.1:9")
    );
}
