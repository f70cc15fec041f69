//! Keys over HTTP: made, listed, used, revoked.

use serde_json::json;
use vgpo::domain::access::Role;

use super::place::Place;
use crate::http::support::{Answer, Api};

#[tokio::test]
async fn the_secret_is_shown_once_and_nowhere_else() {
    let place = Place::new().await;
    let admin = place.key(Role::Admin, "default").await;
    let body = json!({"name": "ci", "role": "user", "project": "vision"});
    let request = place.api.request("POST", "/v1/keys").bearer_auth(&admin).header("idempotency-key", "k1");
    let made = Answer::of(request.try_clone().unwrap().json(&body).send().await.unwrap()).await;
    assert_eq!(made.status, 201);
    let secret = made.body["secret"].as_str().unwrap();
    assert!(secret.starts_with(&format!("vgpo_{}_", made.body["prefix"].as_str().unwrap())), "{secret}");
    // A repeat makes no second key, and does not show the secret again.
    let repeat = Answer::of(request.json(&body).send().await.unwrap()).await;
    assert_eq!((repeat.status, repeat.header("idempotent-replayed")), (201, "true"));
    assert_eq!((&repeat.body["id"], repeat.body["secret"].is_null()), (&made.body["id"], true));
    let hidden = secret.rsplit('_').next().unwrap();
    let list = place.get(&admin, "/v1/keys").await.body;
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
    assert!(!list.to_string().contains(hidden) && !list.to_string().contains("hash"), "{list}");
    let database = std::fs::read(place.api.service.settings().data_dir.join("vgpo.db")).unwrap();
    let wal = std::fs::read(place.api.service.settings().data_dir.join("vgpo.db-wal")).unwrap_or_default();
    for bytes in [database, wal] {
        assert!(!bytes.windows(hidden.len()).any(|window| window == hidden.as_bytes()), "not even in the database");
    }
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked() {
    let place = Place::new().await;
    let admin = place.key(Role::Admin, "default").await;
    let made = place.done(&admin, "POST", "/v1/keys", json!({"role": "viewer", "project": "vision"})).await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert_eq!((&made["name"], &made["last_used_at"]), (&json!("viewer of vision"), &json!(null)));
    let me = place.get(secret, "/v1/session").await.body;
    let expected = json!({
        "key_id": id, "key_name": "viewer of vision", "role": "viewer", "project": "vision", "protectable": false
    });
    assert_eq!(me, expected);
    let seen = place.get(&admin, "/v1/keys").await.body;
    assert!(seen["data"][0]["last_used_at"].is_string(), "{seen}");
    let revoked = place.send(&admin, "DELETE", &format!("/v1/keys/{id}"), None).await;
    assert_eq!((revoked.status, revoked.body["revoked_at"].is_string()), (200, true));
    let detail = place.get(secret, "/v1/session").await.problem(401, "unauthorized").to_string();
    assert!(detail.contains("was revoked at") && detail.contains(id), "{detail}");
    assert_eq!(place.send(&admin, "DELETE", &format!("/v1/keys/{id}"), None).await.status, 200, "a repeat is fine");
    place.send(&admin, "DELETE", "/v1/keys/key_x", None).await.problem(404, "not_found");
}

#[tokio::test]
async fn nearly_right_is_wrong() {
    let place = Place::new().await;
    let secret = place.key(Role::Admin, "default").await;
    let (head, last) = secret.split_at(secret.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    for wrong in [head.to_owned(), format!("{head}{other}"), format!("{secret}0"), secret.to_uppercase()] {
        place.get(&wrong, "/v1/session").await.problem(401, "unauthorized");
    }
    let basic = place.api.request("GET", "/v1/session").header("authorization", format!("Basic {secret}"));
    Answer::of(basic.send().await.unwrap()).await.problem(401, "unauthorized");
    let in_query = place.api.get(&format!("/v1/events?stream_token={secret}")).await;
    in_query.problem(401, "unauthorized");
    assert_eq!(place.get(&secret, "/v1/session").await.status, 200);
}

#[tokio::test]
async fn bad_fields_of_a_key_are_named() {
    let place = Place::new().await;
    let admin = place.key(Role::Admin, "default").await;
    for (body, pointer) in [
        (json!({"role": "king"}), "/role"),
        (json!({"project": "x"}), "/role"),
        (json!({"role": "user", "project": ""}), "/project"),
        (json!({"role": "user", "project": "shared"}), "/project"),
        (json!({"role": "user", "name": "a\nb"}), "/name"),
        (json!({"role": "user", "projcet": "x"}), "/projcet"),
    ] {
        let answer = place.send(&admin, "POST", "/v1/keys", Some(body.clone())).await;
        let errors = answer.problem(422, "invalid_request")["errors"].clone();
        assert_eq!(errors[0]["pointer"], pointer, "{body}: {errors}");
    }
    let shared = place.send(&admin, "POST", "/v1/keys", Some(json!({"role": "admin", "project": "shared"}))).await;
    assert_eq!(shared.status, 201, "admins keep what is shared");
}

#[tokio::test]
async fn the_first_key_shuts_a_local_server() {
    let api = Api::start().await;
    let me = api.get("/v1/session").await.body;
    let anyone = json!({"key_id": null, "key_name": null, "role": "admin", "project": "default", "protectable": true});
    assert_eq!(me, anyone, "no other host can reach it");
    // A key that cannot make others would lock everybody out.
    let refused = api.post("/v1/keys", json!({"role": "viewer"})).await;
    let refused = refused.problem(422, "invalid_request").clone();
    assert_eq!(refused["errors"][0]["pointer"], json!("/role"));
    assert!(refused["errors"][0]["detail"].as_str().unwrap().contains("admin"), "{refused}");
    assert_eq!(api.get("/v1/jobs").await.status, 200, "it is as open as before");
    let made = api.post("/v1/keys", json!({"role": "admin"})).await;
    assert_eq!(made.status, 201);
    api.get("/v1/jobs").await.problem(401, "unauthorized");
    let request = api.request("GET", "/v1/jobs").bearer_auth(made.body["secret"].as_str().unwrap());
    assert_eq!(Answer::of(request.send().await.unwrap()).await.status, 200);
}

/// A leaked key that is revoked must not leave the door open.
#[tokio::test]
async fn the_last_key_shuts_the_door_behind_it() {
    let api = Api::start().await;
    let made = api.post("/v1/keys", json!({"role": "admin"})).await.body;
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let revoke = api.request("DELETE", &format!("/v1/keys/{id}")).bearer_auth(secret);
    assert_eq!(Answer::of(revoke.send().await.unwrap()).await.status, 200);
    api.get("/v1/jobs").await.problem(401, "unauthorized");
    api.post("/v1/keys", json!({"role": "admin"})).await.problem(401, "unauthorized");
    for key in [secret, "vgpo_zzz"] {
        let request = api.request("GET", "/v1/jobs").bearer_auth(key);
        Answer::of(request.send().await.unwrap()).await.problem(401, "unauthorized");
    }
    // The command line makes the next one.
    let request = vgpo::service::access::keys::KeyRequest { name: None, role: Role::Admin, project: None };
    let next = vgpo::service::access::keys::create(&**api.store(), &request).await.unwrap();
    let request = api.request("GET", "/v1/jobs").bearer_auth(next.secret.unwrap());
    assert_eq!(Answer::of(request.send().await.unwrap()).await.status, 200);
}

#[tokio::test]
async fn a_server_without_keys_can_be_had_on_purpose() {
    let api = Api::with(&[("auth", "off"), ("host", "0.0.0.0")]).await;
    assert_eq!(api.post("/v1/keys", json!({"role": "user"})).await.status, 201);
    assert_eq!(api.get("/v1/jobs").await.status, 200);
    let off_host = Api::with(&[("host", "0.0.0.0")]).await;
    off_host.get("/v1/jobs").await.problem(401, "unauthorized");
}
