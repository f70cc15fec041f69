//! Servers that fail, in every way that training must survive or refuse.

use vgpo::clock::Stopwatch;

use serde_json::json;
use vgpo::train::RunEnd;
use vgpo::train::sink::Control;

use super::stub::{Fault, Options, Stub};
use super::{failure, job, recorder, server, shared, train, values};

/// A step of a job on one stub with this fault in every answer: how it failed, and whether another attempt may help.
async fn always(then: Fault) -> (String, bool) {
    let shared = shared();
    let api = server(shared.path()).await;
    let stub = Stub::start(&api.url, Options { then, ..Options::default() }).await;
    let urls = [stub.url.clone()];
    let (end, _) = train(job(&urls, shared.path(), &json!({ "steps": 1 })), recorder(&urls)).await;
    failure(end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_that_pass_cost_time_only() {
    let shared = shared();
    let api = server(shared.path()).await;
    let faults = [Fault::Status(500), Fault::Few, Fault::Half, Fault::Die, Fault::Endless, Fault::Slow];
    // Each is followed by a good answer, so that the server rests a second each time.
    let faults = faults.into_iter().flat_map(|fault| [fault, Fault::None]).collect();
    let stub = Stub::start(&api.url, Options { faults, ..Options::default() }).await;
    let urls = [stub.url.clone()];
    let spec = job(&urls, shared.path(), &json!({ "steps": 3 }));
    let (end, recorder) = train(spec, recorder(&urls)).await;
    end.unwrap();
    assert_eq!(values(&recorder, "response_length/mean").len(), 3);
    assert!(values(&recorder, "time/rollout_wait").iter().sum::<f64>() > 1.0, "the time is told");
    assert!(stub.count("/v1/chat/completions") > 6, "{:?}", stub.calls());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_or_dies_loses_its_prompts_to_the_others() {
    let shared = shared();
    let api = server(shared.path()).await;
    let hanging = Stub::start(&api.url, Options { then: Fault::Hang, ..Options::default() }).await;
    let dying = Stub::start(&api.url, Options { then: Fault::Die, ..Options::default() }).await;
    let urls = [hanging.url.clone(), dying.url.clone(), api.url.clone()];
    let impatient = json!({
        "steps": 1, "batch": { "prompts_per_step": 4, "minibatch_prompts": 4 },
        "rollout": { "engine": { "timeout_seconds": 5.0 } },
    });
    let (end, recorder) = train(job(&urls, shared.path(), &impatient), recorder(&urls)).await;
    end.unwrap();
    assert_eq!(recorder.last("groups/kept"), 4.0, "no group is lost");
    assert!(hanging.count("/v1/chat/completions") > 0 && dying.count("/v1/chat/completions") > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_server_left_an_attempt_waits_and_is_given_back() {
    let shared = shared();
    let urls = ["http://127.0.0.1:9".to_owned()];
    let soon = json!({ "rollout": { "engine": { "patience_seconds": 1.0 } } });
    let (end, _) = train(job(&urls, shared.path(), &soon), recorder(&urls)).await;
    let (problem, again) = failure(end);
    assert!(problem.contains("no server answered for 1 s") && problem.contains("http://127.0.0.1:9"), "{problem}");
    assert!(again, "another attempt follows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_can_be_cancelled() {
    let shared = shared();
    let api = server(shared.path()).await;
    let stub = Stub::start(&api.url, Options { then: Fault::Hang, ..Options::default() }).await;
    let urls = [stub.url.clone()];
    let patient = json!({ "rollout": { "engine": { "patience_seconds": 600.0, "timeout_seconds": 600.0 } } });
    let mut recorder = recorder(&urls);
    recorder.controls = [vec![Control::Continue; 20], vec![Control::Cancel; 100]].concat();
    let clock = Stopwatch::start();
    let (end, _) = train(job(&urls, shared.path(), &patient), recorder).await;
    assert_eq!(end.unwrap(), RunEnd::Cancelled);
    assert!(clock.seconds() < 60.0, "it does not wait for the server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_that_is_read_otherwise_ends_the_job_with_both_lists() {
    let (problem, again) = always(Fault::WrongIds).await;
    assert!(problem.contains("as other tokens") && !again, "{problem}");
    assert_eq!(problem.matches(" ids)").count(), 2, "{problem}");
    let (problem, again) = always(Fault::NoIds).await;
    assert!(problem.contains("prompt_token_ids") && !again, "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_other_weights_end_the_job() {
    let (problem, again) = always(Fault::WrongModel).await;
    assert!(problem.contains("`another` although `job_test-1-0` were published") && !again, "{problem}");
    let (problem, again) = always(Fault::OtherLogprobs).await;
    assert!(problem.contains("not those of the weights that were published") && !again, "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_in_the_servers_words() {
    let (problem, again) = always(Fault::Status(400)).await;
    assert!(problem.contains("status 400: it has no mind to") && !again, "{problem}");
    let (problem, again) = always(Fault::Status(401)).await;
    assert!(problem.contains("VGPO_ROLLOUT_KEY") && !again, "{problem}");
}
