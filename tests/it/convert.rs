//! Settings of other programs as jobs of this one.

use serde_json::json;
use vgpo::config::job::resolve;
use vgpo::domain::spec::{DType, Method};
use vgpo::import::easyr1::convert;

const CONFIG: &str = include_str!("../fixtures/easyr1/vgpo.yaml");

#[test]
fn an_easyr1_configuration_becomes_a_job_that_resolves() {
    let converted = convert(CONFIG, &[], Some(39_000)).unwrap();
    let spec = resolve(&converted.job, &[]).unwrap().spec;
    let Method::Vgpo(method) = &spec.method else { panic!("{:?}", spec.method) };
    assert!(method.intra && method.inter);
    assert_eq!((method.policy.clip_low, method.policy.clip_high), (0.2, 0.28));
    assert_eq!((spec.rollout.group_size, spec.rollout.max_new_tokens, spec.rollout.top_p), (8, 2048, 0.99));
    assert_eq!((spec.batch.prompts_per_step, spec.batch.minibatch_prompts), (512, 128));
    assert_eq!(spec.optimizer.learning_rate, 1e-6);
    assert_eq!(spec.train.dtype, DType::Bf16);
    // 76 whole batches of 512 in 39,000 rows, twice.
    assert_eq!(spec.steps, 152);
}

#[test]
fn what_has_no_place_is_named_with_the_reason() {
    let converted = convert(CONFIG, &["worker.rollout.tensor_parallel_size=2".to_owned()], None).unwrap();
    let reason = |key: &str| converted.dropped.iter().find(|d| d.key == key).map(|d| d.reason.as_str());
    assert!(reason("data.format_prompt").unwrap().contains("data.prompt_template"));
    assert!(reason("trainer.n_gpus_per_node").is_some() && reason("worker.rollout.tensor_parallel_size").is_some());
    assert!(reason("trainer.total_epochs").is_some(), "epochs need the number of rows: {:?}", converted.dropped);
    assert!(reason("data.max_prompt_length").is_none());
}

#[test]
fn overrides_win_and_switches_choose_the_method() {
    let over = |list: &[&str]| {
        let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
        convert(CONFIG, &list, None).unwrap().job
    };
    let off = ["algorithm.use_intra_trajectory_reweighting=False", "algorithm.use_inter_trajectory_reweighting=False"];
    assert_ne!(over(&off)["method"]["type"], json!("vgpo"));
    assert_eq!(over(&["worker.actor.optim.lr=2e-6"])["optimizer"]["learning_rate"], json!(2e-6));
}

#[test]
fn other_files_are_refused_with_what_is_wrong() {
    let told = |text: &str| convert(text, &[], None).unwrap_err().to_string();
    assert!(told("a: [1").contains("YAML"));
    assert!(told("hello: 1").contains("`worker`"));
    assert!(convert(CONFIG, &["lr".to_owned()], None).unwrap_err().to_string().contains("KEY=VALUE"));
}
