//! Real processes, killed with -9 at any moment: nothing is lost, and the weights come out bit for bit the same.

mod program;

use program::Program;
use serde_json::{Value, json};

/// Short steps, several updates, a checkpoint after every second step: kills fall before, between and after
/// checkpoints.
fn job() -> Value {
    json!({
        "model": "starter", "dataset": "digits", "steps": 24, "eval_before": false, "eval_every": 3, "eval_rows": 8,
        "checkpoint_every": 2, "log_samples_every": 1, "max_attempts": 20, "deterministic": true, "seed": 3,
        "batch": { "prompts_per_step": 8, "minibatch_prompts": 4, "microbatch_tokens": 512 },
        "rollout": { "group_size": 4, "max_new_tokens": 40 },
    })
}

/// Hash of the last checkpoint's weights, and the keys and last values of the run's metrics that do not measure time.
fn outcome(program: &Program, run: &str) -> (String, Vec<(String, String)>) {
    let checkpoints = program.get(&format!("/v1/checkpoints?run={run}"));
    let list = checkpoints["data"].as_array().unwrap();
    let last = list.iter().find(|c| c["last"] == json!(true)).expect("a last checkpoint");
    let files = last["manifest"]["files"].as_array().unwrap();
    let weights = files.iter().find(|f| f["path"] == "model.safetensors").unwrap();
    let mut metrics = Vec::new();
    let keys = program.get(&format!("/v1/runs/{run}/metrics/keys"));
    for key in keys["data"].as_array().unwrap().iter().map(|k| k["key"].as_str().unwrap()) {
        if !["time/", "throughput/", "memory/"].iter().any(|p| key.starts_with(p)) {
            metrics.push((key.to_owned(), program.get(&format!("/v1/runs/{run}/metrics?keys={key}")).to_string()));
        }
    }
    assert!(metrics.len() > 20);
    (weights["sha256"].as_str().unwrap().to_owned(), metrics.into_iter().map(|(k, v)| (k, without_times(&v))).collect())
}

/// Points carry the time they were written at; everything else must be equal.
fn without_times(series: &str) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("time");
                map.remove("run");
                map.remove("run_id");
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_str(series).unwrap();
    strip(&mut value);
    value.to_string()
}

/// Waits until a job's log tells of a step: it is written at once, however fast steps are.
fn wait_for_step(program: &Program, job: &str, step: u32) {
    let told = format!("step {step}: ");
    program::wait_until(&told, || program.get(&format!("/v1/jobs/{job}/logs")).to_string().contains(&told));
}

#[test]
fn killed_workers_and_servers_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut program = Program::start(dir.path());
    let (first, run) = program.submit(&job());
    program.wait_for(&first, "succeeded");
    let undisturbed = outcome(&program, &run);

    // The worker dies in the middle of steps, again and again.
    let (second, run) = program.submit(&job());
    for step in [3, 9, 15] {
        wait_for_step(&program, &second, step);
        program.kill_worker();
    }
    program.wait_for(&second, "succeeded");
    assert!(program.get(&format!("/v1/jobs/{second}"))["attempt"].as_u64().unwrap() > 1);
    let events = program.get(&format!("/v1/jobs/{second}/events?limit=200")).to_string();
    assert!(events.contains("worker.crashed"), "a crash is an event on the job: {events}");
    assert!(undisturbed == outcome(&program, &run), "a killed worker must not change the result");

    // The server dies in the middle of a job; its worker goes with it, and the next server finds the job again.
    let (third, run) = program.submit(&job());
    wait_for_step(&program, &third, 5);
    let worker = program.worker_pid();
    program.kill_server();
    program::wait_until("the worker to die with its server", || !program::alive(worker));
    program = Program::start(dir.path());
    program.wait_for(&third, "succeeded");
    assert!(undisturbed == outcome(&program, &run), "a killed server must not change the result");
    program.stop();
}
