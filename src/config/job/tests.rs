#![allow(clippy::needless_pass_by_value)]

use serde_json::{Value, json};

use super::*;
use crate::domain::spec::Direction;

fn ok(request: Value) -> ResolvedJob {
    resolve(&request, &[]).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn faults(mut request: Value) -> Vec<(String, String)> {
    for name in ["model", "dataset"] {
        request.as_object_mut().unwrap().entry(name).or_insert(json!("x"));
    }
    let errors = resolve(&request, &[]).expect_err("must be refused");
    errors.into_iter().map(|e| (e.pointer, e.detail)).collect()
}

fn fault(request: Value) -> (String, String) {
    let mut all = faults(request);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn two_names_make_a_vgpo_job_of_defaults() {
    let job = ok(json!({"model": "starter", "dataset": "digits"}));
    assert_eq!(job.spec.name, "digits-vgpo");
    assert_eq!(job.spec.method.name(), "vgpo");
    assert!(job.spec.rollout.filter.is_some(), "dynamic sampling is on for vgpo");
    assert_eq!(job.origins["/model"], Origin::Request);
    assert_eq!(job.origins["/method/beta"], Origin::Default);
    assert_eq!(job.origins["/reward/parts"], Origin::Default);
    // Every leaf of the spec has an origin, and nothing else has.
    let mut leaves = Vec::new();
    collect_leaves("", &serde_json::to_value(&job.spec).unwrap(), &mut leaves);
    leaves.sort();
    assert_eq!(job.origins.keys().cloned().collect::<Vec<_>>(), leaves);
}

#[test]
fn every_field_of_the_spec_is_in_the_table() {
    for method in NAMES {
        let job = ok(json!({"model": "m", "dataset": "d", "method": {"type": method}, "rollout": {"filter": {}}}));
        let spec = serde_json::to_value(&job.spec).unwrap();
        let mut leaves = Vec::new();
        collect_leaves("", &spec, &mut leaves);
        for leaf in leaves.iter().filter(|l| !l.starts_with("/reward/") && !l.starts_with("/tags")) {
            assert!(job_field::find(leaf).is_some(), "{leaf} has no line in FIELDS");
        }
        // A resolved spec is a valid request for itself.
        assert_eq!(ok(spec).spec, job.spec);
    }
}

#[test]
fn defaults_follow_the_method_and_its_variant() {
    let grpo = ok(json!({"model": "m", "dataset": "d", "method": {"type": "grpo"}}));
    assert_eq!(grpo.spec.name, "d-grpo");
    assert!(grpo.spec.rollout.filter.is_none());
    assert_eq!(serde_json::to_value(&grpo.spec).unwrap()["method"]["clip_high"], 0.2);
    let released = ok(json!({"model": "m", "dataset": "d", "method": {"variant": "released"}}));
    assert_eq!(serde_json::to_value(&released.spec).unwrap()["method"]["psi_clamp"], json!([0.1, 2.0]));
}

#[test]
fn request_beats_recommendation_beats_default() {
    let model = json!({"steps": 50, "optimizer": {"learning_rate": 5e-5}, "method": {"beta": 0.4}});
    let dataset = json!({"steps": 60});
    let layers = [
        Recommended { source: "model `m`", settings: &model },
        Recommended { source: "data set `d`", settings: &dataset },
    ];
    let request = json!({"model": "m", "dataset": "d", "optimizer": {"learning_rate": 1e-4}});
    let job = resolve(&request, &layers).unwrap();
    assert_eq!((job.spec.steps, job.origins["/steps"]), (60, Origin::Recommended));
    assert_eq!((job.spec.optimizer.learning_rate, job.origins["/optimizer/learning_rate"]), (1e-4, Origin::Request));
    assert_eq!(job.origins["/optimizer/betas"], Origin::Default);
    // A recommendation for vgpo does not disturb a grpo job.
    let request = json!({"model": "m", "dataset": "d", "method": {"type": "grpo"}});
    assert_eq!(resolve(&request, &layers).unwrap().spec.method.name(), "grpo");
}

#[test]
fn settings_that_a_method_does_not_use_are_told() {
    let model = json!({"steps": 50, "optimizer": {"learning_rate": 5e-5}, "rollout": {"group_size": 8}});
    let layers = [Recommended { source: "model `m`", settings: &model }];
    let origins = |method: Value| {
        let job = json!({"model": "m", "dataset": "d", "method": method, "batch": {"minibatch_prompts": 32}});
        resolve(&job, &layers).unwrap().origins
    };
    let of = |method: Value| {
        let origins = origins(method);
        ["/steps", "/optimizer/learning_rate", "/rollout/group_size", "/rollout/temperature"].map(|name| origins[name])
    };
    let (default, advised, unused) = (Origin::Default, Origin::Recommended, Origin::Unused);
    assert_eq!(of(json!({"type": "grpo"})), [advised, advised, advised, default]);
    assert_eq!(of(json!({"type": "sft"})), [advised, advised, unused, unused]);
    assert_eq!(of(json!({"type": "eval"})), [unused; 4]);
    assert_eq!(of(json!({"type": "eval", "audit": true})), [unused, unused, unused, default]);
    // What the request names stays so: the job's warnings tell it.
    assert_eq!(origins(json!({"type": "eval"}))["/batch/minibatch_prompts"], Origin::Request);
}

#[test]
fn a_recommendation_refines_a_section_but_only_the_request_switches_it() {
    let model = json!({"rollout": {"filter": {"max_tries": 1}}});
    let layers = [Recommended { source: "model `m`", settings: &model }];
    let tries = |method: Value| {
        let job = resolve(&json!({"model": "m", "dataset": "d", "method": {"type": method}}), &layers).unwrap();
        job.spec.rollout.filter.map(|f| f.max_tries)
    };
    assert_eq!(tries(json!("vgpo")), Some(1));
    assert_eq!(tries(json!("grpo")), None);
    let on = ok(json!({"model": "m", "dataset": "d", "method": {"type": "grpo"}, "rollout": {"filter": {"low": 0.2}}}));
    assert_eq!(on.spec.rollout.filter.map(|f| (f.low, f.high)), Some((0.2, 0.99)));
    assert_eq!(on.origins["/rollout/filter/low"], Origin::Request);
    assert_eq!(on.origins["/rollout/filter/high"], Origin::Default);
    let off = ok(json!({"model": "m", "dataset": "d", "rollout": {"filter": null}}));
    assert_eq!((off.spec.rollout.filter, off.origins["/rollout/filter"]), (None, Origin::Request));
}

#[test]
fn adapters_have_defaults_that_requests_and_recommendations_refine() {
    let lora = |request: Value, recommended: Value| {
        let mut all = json!({"model": "m", "dataset": "d"});
        all.as_object_mut().unwrap().insert("train".to_owned(), request);
        let model = json!({ "train": recommended });
        let layers = [Recommended { source: "model `m`", settings: &model }];
        let job = resolve(&all, &layers).unwrap();
        (job.spec.train.lora.map(|l| (l.rank, l.alpha, l.targets.len())), job.origins)
    };
    let (plain, origins) = lora(json!({"parameters": "lora"}), json!({}));
    assert_eq!(plain, Some((16, 32.0, 2)));
    assert_eq!(origins["/train/lora/rank"], Origin::Default);
    let wanted = json!({"parameters": "lora", "lora": {"rank": 4, "dropout": 0, "targets": ["all-linear"]}});
    let (asked, origins) = lora(wanted.clone(), json!({}));
    assert_eq!(asked, Some((4, 32.0, 1)));
    assert_eq!(origins["/train/lora/rank"], Origin::Request);
    assert_eq!(lora(json!({}), wanted.clone()).0, Some((4, 32.0, 1)), "a model may recommend adapters");
    assert_eq!(lora(json!({"lora": {"rank": 8}}), wanted.clone()).0, Some((8, 32.0, 1)));
    assert_eq!(lora(json!({"parameters": "full"}), wanted).0, None, "and a request may turn them down");
}

#[test]
fn a_bad_recommendation_names_its_source() {
    let model = json!({"steps": 0});
    let layers = [Recommended { source: "model `m`", settings: &model }];
    let errors = resolve(&json!({"model": "m", "dataset": "d"}), &layers).unwrap_err();
    assert!(errors[0].detail.contains("model `m` recommends"), "{errors:?}");
}

#[test]
fn mini_batches_follow_the_batch_unless_set() {
    let job = ok(json!({"model": "m", "dataset": "d", "batch": {"prompts_per_step": 8}}));
    assert_eq!(job.spec.batch.minibatch_prompts, 8);
    let (pointer, detail) = fault(json!({"batch": {"prompts_per_step": 8, "minibatch_prompts": 3}}));
    assert_eq!(pointer, "/batch/minibatch_prompts");
    assert!(detail.contains("is 3") && detail.contains("(8)"), "{detail}");
}

#[test]
fn a_chosen_metric_brings_its_direction() {
    let plain = ok(json!({"model": "m", "dataset": "d"}));
    assert_eq!((plain.spec.best.metric.as_str(), plain.spec.early_stop), ("eval/accuracy", None));
    let job = ok(json!({
        "model": "m", "dataset": "d", "best": {"metric": "loss/policy", "better": "lower"},
        "early_stop": {"metric": "policy/kl"},
    }));
    assert_eq!(job.spec.best.better, Direction::Lower);
    let stop = job.spec.early_stop.unwrap();
    assert_eq!((stop.patience, stop.min_delta, stop.better), (3, 0.0, Direction::Higher));
    let lower = ok(json!({"model": "m", "dataset": "d", "best": {"metric": "eval/cut_off"}}));
    assert_eq!(lower.spec.best.better, Direction::Lower, "less is better for this metric");
    let (pointer, detail) = fault(json!({"early_stop": {"metric": "eval/accurracy"}}));
    assert_eq!(pointer, "/early_stop/metric");
    assert!(detail.contains("no trainer measures") && detail.contains("did you mean `eval/accuracy`"), "{detail}");
    assert!(
        ok(json!({"model": "m", "dataset": "d", "best": {"metric": "eval/accuracy/geometry"}})).spec.best.metric.len()
            > 20
    );
}

#[test]
fn an_evaluation_has_settings_of_its_own() {
    let job = ok(json!({"model": "m", "dataset": "d", "method": {"type": "eval"}, "rollout": {"group_size": 1}}));
    assert_eq!((job.spec.name.as_str(), job.spec.rollout.filter), ("d-eval", None));
    let (pointer, detail) = fault(json!({"method": {"type": "eval"}, "eval_dataset": "other"}));
    assert_eq!(pointer, "/eval_dataset");
    assert!(detail.contains("leave `eval_dataset` out"), "{detail}");
    assert_eq!(fault(json!({"method": {"type": "eval", "clip_low": 0.1}})).0, "/method/clip_low");
    assert_eq!(fault(json!({"method": {"type": "grpo", "split": "train"}})).0, "/method/split");
}

#[test]
fn unknown_fields_name_the_nearest_known_one_and_all_are_reported() {
    let all = faults(
        json!({"stepps": 3, "rollout": {"grupsize": 8}, "method": {"betta": 1}, "data": {"columns": {"promt": "x"}}}),
    );
    let pointers: Vec<_> = all.iter().map(|(p, _)| p.as_str()).collect();
    assert_eq!(pointers, ["/stepps", "/rollout/grupsize", "/method/betta", "/data/columns/promt"]);
    for (near, (_, detail)) in ["steps", "group_size", "beta", "prompt"].iter().zip(&all) {
        assert!(detail.contains(&format!("did you mean `{near}`")), "{detail}");
    }
}

#[test]
fn a_setting_of_another_method_says_whose_it_is_not() {
    let (pointer, detail) = fault(json!({"method": {"type": "grpo", "gamma": 0.5}}));
    assert_eq!(pointer, "/method/gamma");
    assert!(detail.contains("not a setting of method `grpo`"), "{detail}");
}

#[test]
fn values_out_of_range_name_value_and_limit() {
    let cases = [
        (json!({"method": {"gamma": 0.0}}), "/method/gamma", "(0, 1]"),
        (json!({"method": {"kappa": 1.5}}), "/method/kappa", "(0, 1]"),
        (json!({"method": {"compensation_start": 1.0}}), "/method/compensation_start", "[0, 1)"),
        (json!({"rollout": {"group_size": 1}}), "/rollout/group_size", "at least 2"),
        (json!({"steps": 0}), "/steps", "from 1"),
        (json!({"steps": 2.5}), "/steps", "whole number"),
        (json!({"steps": "ten"}), "/steps", "whole number"),
        (json!({"seed": -1}), "/seed", "from 0"),
        (json!({"rollout": {"top_p": 0.0}}), "/rollout/top_p", "(0, 1]"),
        (json!({"optimizer": {"betas": [0.9, 1.0]}}), "/optimizer/betas", "[0, 1)"),
        (json!({"optimizer": {"betas": [0.9]}}), "/optimizer/betas", "two numbers"),
        (json!({"method": {"psi_clamp": [2.0, 1.0]}}), "/method/psi_clamp", "smaller first"),
        (json!({"rollout": {"filter": {"low": 0.5, "high": 0.5}}}), "/rollout/filter/low", "below `high`"),
        (json!({"eval": {"samples": 4}}), "/eval/temperature", "are the same"),
        (json!({"optimizer": {"schedule_floor": 1.5}}), "/optimizer/schedule_floor", "[0, 1]"),
        (json!({"early_stop": {"patience": 0}}), "/early_stop/patience", "from 1"),
        (json!({"resources": {"devices": 2}}), "/resources/devices", "`ranks` to the number of devices"),
        (json!({"resources": {"ranks": 0}}), "/resources/ranks", "from 1"),
        (json!({"resources": {"device": "tpu"}}), "/resources/device", "\"cuda\""),
        (json!({"train": {"parameters": "qlora"}}), "/train/parameters", "\"lora\""),
        (json!({"train": {"dtype": "f16"}}), "/train/dtype", "did you mean `bf16`"),
        (json!({"train": {"base": "q8_0"}}), "/train/base", "set `parameters` to \"lora\""),
        (json!({"train": {"parameters": "lora", "base": "nf4"}}), "/train/base", "\"q4_0\""),
        (
            json!({"train": {"parameters": "lora", "base": "q4_0"}, "resources": {"device": "cuda"}}),
            "/train/base",
            "on a CPU only",
        ),
        (json!({"train": {"lora": {"rank": 16}}}), "/train/lora", "set `parameters` to \"lora\""),
        (json!({"train": {"parameters": "lora", "lora": null}}), "/train/lora", "leave `lora` out"),
        (json!({"train": {"parameters": "lora", "lora": {"rank": 0}}}), "/train/lora/rank", "from 1"),
        (json!({"train": {"parameters": "lora", "lora": {"alpha": 0}}}), "/train/lora/alpha", "above 0"),
        (
            json!({"train": {"parameters": "lora", "lora": {"dropout": 0.1}}}),
            "/train/lora/dropout",
            "only 0 is supported",
        ),
        (json!({"train": {"parameters": "lora", "lora": {"targets": []}}}), "/train/lora/targets", "1 to 100 texts"),
        (
            json!({"train": {"parameters": "lora", "lora": {"targets": ["q", 1]}}}),
            "/train/lora/targets",
            "list of 1 to 100 texts",
        ),
        (json!({"train": {"parameters": "lora", "lora": {"ranks": 1}}}), "/train/lora/ranks", "did you mean `rank`"),
        (json!({"optimizer": {"offload": "cpu"}}), "/optimizer/offload", "true or false"),
        (json!({"method": {"type": "vgop"}}), "/method/type", "did you mean `vgpo`"),
        (json!({"method": "vgpo"}), "/method", "must be an object"),
        (json!({"rollout": null}), "/rollout", "must be an object"),
        (json!({"name": ""}), "/name", "1 to 200"),
        (json!({"tags": {"a": 1}}), "/tags", "object of at most 64 texts"),
        (json!({"data": {"min_pixels": 10, "max_pixels": 5}}), "/data/min_pixels", "above"),
    ];
    for (request, pointer, part) in cases {
        let (at, detail) = fault(request.clone());
        assert_eq!(at, pointer, "{request}");
        assert!(detail.contains(part), "{request}: {detail}");
    }
}

#[test]
fn rewards_are_checked_to_their_leaves() {
    let cases = [
        (json!({"type": "matth"}), "/reward/type", "did you mean `math`"),
        (json!({}), "/reward/type", "needs its `type`"),
        (json!({"type": "math", "weight": 1}), "/reward/weight", "unknown field"),
        (json!({"type": "weighted", "parts": []}), "/reward/parts", "non-empty"),
        (json!({"type": "weighted", "parts": [{"weight": 1.0}]}), "/reward/parts/0/reward", "needs its `reward`"),
        (
            json!({"type": "weighted", "parts": [{"weight": 1.0, "reward": {"type": "f"}}]}),
            "/reward/parts/0/reward/type",
            "must be one of",
        ),
    ];
    for (reward, pointer, part) in cases {
        let (at, detail) = fault(json!({"reward": reward}));
        assert_eq!(at, pointer);
        assert!(detail.contains(part), "{detail}");
    }
}

#[test]
fn required_names_and_shapes() {
    let errors = resolve(&json!({"modle": "starter"}), &[]).unwrap_err();
    let pointers: Vec<_> = errors.iter().map(|e| e.pointer.as_str()).collect();
    assert_eq!(pointers, ["/modle", "/model", "/dataset"]);
    assert!(resolve(&json!([1]), &[]).is_err());
    // Hostile names keep their pointers well-formed and never panic.
    let (pointer, _) = fault(json!({"a/b~c": 1}));
    assert_eq!(pointer, "/a~1b~0c");
    assert_eq!(faults(json!({"": 1, "data/columns": {}})).len(), 2);
}
