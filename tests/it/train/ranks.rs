//! One run over several ranks: the same as one, whoever computes what.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use vgpo::collective::Collective;
use vgpo::collective::threads::join;
use vgpo::domain::eval_row::ROWS_FILE;
use vgpo::domain::spec::JobSpec;
use vgpo::train::sink::{Control, ResumePoint};
use vgpo::train::{RunEnd, TrainError};

use super::{Recorder, request, spec, starter};

const DEADLINE: Duration = Duration::from_secs(300);

/// How each rank's run ended, and what rank 0 recorded.
fn run(
    ranks: usize,
    spec: &JobSpec,
    dir: &Path,
    resume: Option<&ResumePoint>,
    recorder: &mut Recorder,
) -> Vec<Result<RunEnd, TrainError>> {
    let mut others: Vec<Recorder> = (1..ranks).map(|_| Recorder::default()).collect();
    for other in &mut others {
        other.rows.clone_from(&recorder.rows);
    }
    let ended = std::thread::scope(|scope| {
        let mut running = Vec::new();
        for (rank, recorder) in
            join(ranks, DEADLINE).into_iter().zip(std::iter::once(&mut *recorder).chain(&mut others))
        {
            let rank: Arc<dyn Collective> = Arc::new(rank);
            let request = request(&starter(), spec, dir, resume.cloned(), recorder);
            let work = move || vgpo::train::run_on(request, recorder, rank);
            running.push(std::thread::Builder::new().stack_size(256 << 20).spawn_scoped(scope, work).unwrap());
        }
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    for other in others {
        assert!(other.metrics.is_empty() && other.samples.is_empty(), "rank 0 alone reports");
        assert!(other.events.is_empty() && other.checkpoints.is_empty(), "rank 0 alone reports");
    }
    ended
}

/// Everything that a run produced, bit for bit, without what depends on time and place.
#[derive(Debug, PartialEq)]
struct Results {
    metrics: Vec<(u64, BTreeMap<String, u64>)>,
    samples: Vec<Value>,
    weights: BTreeMap<String, Vec<u32>>,
    optimizer: BTreeMap<String, Vec<u32>>,
}

fn results(recorder: &Recorder) -> Results {
    let place = |key: &str| ["time/", "throughput/", "memory/", "ranks/"].iter().any(|part| key.starts_with(part));
    let bits = |values: &BTreeMap<String, f64>| {
        values.iter().filter(|(key, _)| !place(key)).map(|(key, value)| (key.clone(), value.to_bits())).collect()
    };
    let dir = &recorder.checkpoints.last().unwrap().1;
    let to_bits = |(name, values): (String, Vec<f32>)| (name, values.into_iter().map(f32::to_bits).collect());
    Results {
        metrics: recorder.metrics.iter().map(|m| (m.step, bits(&m.values))).collect(),
        samples: recorder.samples.iter().map(|(step, group)| json!([step, group])).collect(),
        weights: weights(dir).into_iter().map(to_bits).collect(),
        optimizer: moments(dir).into_iter().map(to_bits).collect(),
    }
}

fn moments(dir: &Path) -> BTreeMap<String, Vec<f32>> {
    let mut tensors = candle_core::safetensors::load(dir.join("trainer/optimizer.safetensors"), &Device::Cpu).unwrap();
    tensors.remove("updates").unwrap();
    tensors.into_iter().map(|(k, t)| (k, t.flatten_all().unwrap().to_vec1().unwrap())).collect()
}

/// The weights of a checkpoint, 16-bit ones widened.
fn weights(dir: &Path) -> BTreeMap<String, Vec<f32>> {
    let tensors = candle_core::safetensors::load(dir.join("model.safetensors"), &Device::Cpu).unwrap();
    let widened = |tensor: Tensor| tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, widened(tensor))).collect()
}

/// What `ranks` ranks produce from `spec`.
fn finished(ranks: usize, spec: &JobSpec) -> Results {
    let (dir, mut recorder) = (tempfile::tempdir().unwrap(), Recorder::default());
    for ended in run(ranks, spec, dir.path(), None, &mut recorder) {
        assert!(matches!(ended.unwrap(), RunEnd::Finished { .. }));
    }
    results(&recorder)
}

fn job(changes: Value) -> JobSpec {
    let mut job = json!({
        "resources": { "ranks": 4 }, "steps": 2, "eval_every": 0, "eval_rows": 6, "checkpoint_every": 0,
        "batch": { "prompts_per_step": 5, "minibatch_prompts": 5, "microbatch_tokens": 256 },
        "rollout": { "group_size": 3, "max_new_tokens": 40, "filter": null },
    });
    job.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    spec(&job)
}

#[test]
fn any_number_of_ranks_gives_the_same_bits() {
    for (method, ranks) in [("vgpo", &[2, 3, 4][..]), ("vppo", &[2]), ("papo", &[2]), ("sft", &[4])] {
        let job = job(json!({ "method": { "type": method } }));
        let alone = finished(1, &job);
        assert!(alone.metrics.len() >= 2 && alone.optimizer.len() > 20, "something was learned");
        for ranks in ranks {
            assert!(finished(*ranks, &job) == alone, "{method} on {ranks} ranks");
        }
    }
}

#[test]
fn groups_are_dropped_and_drawn_again_by_all_ranks_alike() {
    let filter = json!({ "metric": "reward", "low": 0.05, "high": 0.95, "max_tries": 2 });
    let rollout = json!({ "group_size": 3, "max_new_tokens": 40, "filter": filter, "correction_cap": 2.0 });
    let job = job(json!({ "method": { "type": "dapo" }, "rollout": rollout, "train": { "parameters": "lora" } }));
    let alone = finished(1, &job);
    assert!(alone.metrics.iter().any(|(_, values)| values.get("groups/dropped").is_some_and(|n| *n != 0)));
    assert!(finished(2, &job) == alone);
}

/// The gradient of the first step, up to a factor: the first moment after it.
fn gradient(ranks: usize, deterministic: bool) -> BTreeMap<String, Vec<f32>> {
    let job = job(json!({
        "resources": { "ranks": ranks }, "steps": 1, "eval_every": 0, "eval_rows": 1, "deterministic": deterministic,
        "optimizer": { "max_grad_norm": 1e9 },
    }));
    let (dir, mut recorder) = (tempfile::tempdir().unwrap(), Recorder::default());
    for ended in run(ranks, &job, dir.path(), None, &mut recorder) {
        ended.unwrap();
    }
    let order = if deterministic { "along a tree of the groups" } else { "in the order of the ranks" };
    let told = recorder.told.iter().any(|told| told.starts_with("gradients of") && told.contains(order));
    assert_eq!(told, ranks > 1, "{:?}", recorder.told);
    let moments = moments(&recorder.checkpoints.last().unwrap().1);
    moments.into_iter().filter(|(name, _)| name.starts_with("first.")).collect()
}

#[test]
fn gradients_of_packed_groups_agree_with_those_of_one_rank() {
    let wanted = gradient(1, false);
    assert!(wanted.len() > 20);
    for (ranks, deterministic) in [(2, false), (4, false), (4, true)] {
        let found = gradient(ranks, deterministic);
        assert!(found.keys().eq(wanted.keys()));
        for (name, wanted) in &wanted {
            let largest = wanted.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let off = found[name].iter().zip(wanted).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(off <= 1e-5 * largest, "{name} on {ranks} ranks: {off} of {largest}");
        }
    }
}

#[test]
fn a_run_resumes_with_another_number_of_ranks() {
    let job = job(json!({ "steps": 3, "eval_every": 0, "checkpoint_every": 1 }));
    let wanted = finished(1, &job);
    let (dir, mut first) = (tempfile::tempdir().unwrap(), Recorder::default());
    // Rank 0 alone is asked: before the second step, it stops all.
    first.controls = std::iter::repeat_n(Control::Continue, 2).chain([Control::Yield]).collect();
    for ended in run(4, &job, dir.path(), None, &mut first) {
        assert_eq!(ended.unwrap(), RunEnd::Yielded);
    }
    let (step, from) = first.checkpoints.last().unwrap().clone();
    assert_eq!(step, 1);
    let mut second = Recorder::default();
    for ended in run(2, &job, dir.path(), Some(&ResumePoint { dir: from, step }), &mut second) {
        assert!(matches!(ended.unwrap(), RunEnd::Finished { .. }));
    }
    let found = results(&second);
    assert!(found.weights == wanted.weights && found.optimizer == wanted.optimizer);
}

#[test]
fn parts_of_the_optimizer_make_the_same_checkpoints() {
    let job = |shard: bool, dtype: &str| {
        job(json!({
            "method": { "type": "sft" }, "steps": 3, "checkpoint_every": 1, "train": { "dtype": dtype },
            "optimizer": { "shard": shard },
        }))
    };
    for dtype in ["f32", "bf16"] {
        let wanted = finished(1, &job(false, dtype));
        assert_eq!(wanted.optimizer.keys().any(|name| name.starts_with("master.")), dtype == "bf16");
        assert!(finished(3, &job(true, dtype)) == wanted, "{dtype}");
        // Resumed by other ranks, and by one that has everything.
        let (dir, mut first) = (tempfile::tempdir().unwrap(), Recorder::default());
        first.controls = std::iter::repeat_n(Control::Continue, 2).chain([Control::Yield]).collect();
        for ended in run(2, &job(true, dtype), dir.path(), None, &mut first) {
            assert_eq!(ended.unwrap(), RunEnd::Yielded);
        }
        let (step, from) = first.checkpoints.last().unwrap().clone();
        assert!((1..3).contains(&step));
        for ranks in [1, 4] {
            let mut second = Recorder::default();
            let point = ResumePoint { dir: from.clone(), step };
            for ended in run(ranks, &job(true, dtype), dir.path(), Some(&point), &mut second) {
                ended.unwrap();
            }
            let found = results(&second);
            assert!(found.weights == wanted.weights && found.optimizer == wanted.optimizer, "{dtype}: {ranks} ranks");
        }
    }
}

#[test]
fn rank_0_cancels_for_all() {
    let (dir, controls) = (tempfile::tempdir().unwrap(), vec![Control::Continue, Control::Cancel]);
    let mut recorder = Recorder { controls, ..Recorder::default() };
    for ended in run(2, &job(json!({})), dir.path(), None, &mut recorder) {
        assert_eq!(ended.unwrap(), RunEnd::Cancelled);
    }
    assert!(recorder.checkpoints.is_empty());
}

#[test]
fn ranks_with_different_jobs_do_not_begin() {
    let (dir, ranks) = (tempfile::tempdir().unwrap(), join(2, DEADLINE));
    let ended: Vec<_> = std::thread::scope(|scope| {
        let start = |(seed, rank): (usize, _)| {
            let rank: Arc<dyn Collective> = Arc::new(rank);
            let (spec, mut recorder) = (job(json!({ "seed": seed })), Recorder::default());
            let request = request(&starter(), &spec, dir.path(), None, &mut recorder);
            scope.spawn(move || vgpo::train::run_on(request, &mut recorder, rank))
        };
        let running: Vec<_> = ranks.into_iter().enumerate().map(start).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    for ended in ended {
        let error = ended.unwrap_err();
        assert!(error.is_permanent());
        assert!(error.to_string().starts_with("rank 1 does not have the same as rank 0: the job"), "{error}");
    }
}

#[test]
fn an_evaluation_is_dealt_out() {
    let job = job(json!({
        "method": { "type": "eval" }, "eval_rows": 7, "batch": { "prompts_per_step": 3 },
        "eval": { "samples": 2, "temperature": 1.0 },
    }));
    let evaluated = |ranks: usize| {
        let (dir, mut recorder) = (tempfile::tempdir().unwrap(), Recorder::default());
        for ended in run(ranks, &job, dir.path(), None, &mut recorder) {
            assert!(matches!(ended.unwrap(), RunEnd::Finished { .. }));
        }
        let text = |dir: &std::path::PathBuf| std::fs::read_to_string(dir.join(ROWS_FILE)).unwrap();
        recorder.rows.iter().map(text).collect::<String>()
    };
    let alone = evaluated(1);
    assert_eq!(alone.lines().count(), 7);
    assert_eq!(evaluated(3), alone);
}
