//! The measurements run on shapes small enough for a test, and count what they say they count.

use candle_core::Device;
use vgpo::bench::policy::PolicySettings;
use vgpo::bench::reference::{question, write_model};
use vgpo::bench::shape::BatchShape;
use vgpo::bench::shapes::ModelShape;
use vgpo::bench::{generate, rollout, step, update};
use vgpo::domain::spec::DType;
use vgpo::domain::weights::WeightFormat;
use vgpo::model::{ModelFolder, View};

const POLICY: PolicySettings = PolicySettings {
    lora_rank: None,
    dtype: DType::F32,
    freeze_vision: false,
    checkpointing: false,
    offload: false,
    microbatch_tokens: 4096,
};
const BATCH: BatchShape =
    BatchShape { groups: 2, group_size: 2, prompt_tokens: 8, response_tokens: 3, image_patches: 4 };

#[test]
fn the_reference_model_is_the_same_every_time() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [one, two] = dirs.each_ref().map(|dir| {
        write_model(dir.path(), ModelShape::reference()).unwrap();
        std::fs::read(dir.path().join("model.safetensors")).unwrap()
    });
    assert!(one == two, "the same seed gave other weights");
    let model = ModelFolder::open(dirs[0].path(), &Device::Cpu).unwrap().model(View::Detached).unwrap();
    assert_eq!(model.info().parameters, 6_061_696);
}

#[test]
fn rows_of_a_group_share_prompt_and_image() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path(), ModelShape::reference()).unwrap();
    let model = ModelFolder::open(dir.path(), &Device::Cpu).unwrap().model(View::Detached).unwrap();
    let rows = BATCH.rows(model.info()).unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0].ids[..8], rows[1].ids[..8]);
    assert_ne!(rows[0].ids[8..], rows[1].ids[8..]);
    assert!(std::sync::Arc::ptr_eq(&rows[0].images[0], &rows[1].images[0]));
    assert_ne!(rows[0].ids, rows[2].ids);
    let narrow = BatchShape { prompt_tokens: 4, ..BATCH };
    assert!(narrow.rows(model.info()).unwrap_err().to_string().contains("do not fit"));
}

#[test]
fn updates_of_every_kind_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path(), ModelShape::reference()).unwrap();
    let kinds = [
        POLICY,
        PolicySettings { lora_rank: Some(4), freeze_vision: true, ..POLICY },
        PolicySettings { dtype: DType::Bf16, checkpointing: true, offload: true, ..POLICY },
    ];
    for policy in kinds {
        let report = update::run(dir.path(), update::Settings { batch: BATCH, policy, repeats: 2 }).unwrap();
        assert_eq!((report.tokens, report.seconds.all.len()), (44, 2));
        assert!(report.tokens_per_second > 0.0);
        assert!((report.shares.values().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(report.memory.peak_bytes >= report.memory.before_bytes);
    }
}

/// The small shape of Qwen3.5 is measured as the other one is.
#[test]
fn a_shape_with_delta_nets_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path(), ModelShape::named("reference-qwen3.5").unwrap()).unwrap();
    let info = ModelFolder::open(dir.path(), &Device::Cpu).unwrap().model(View::Detached).unwrap().info().clone();
    assert_eq!((info.parameters, info.layers, info.attention_layers), (6_067_760, 8, vec![3, 7]));
    let shape = BatchShape { prompt_tokens: 16, ..BATCH };
    let report = update::run(dir.path(), update::Settings { batch: shape, policy: POLICY, repeats: 1 }).unwrap();
    assert_eq!(report.tokens, 76);
    let report = rollout::run(dir.path(), rollout::Settings { batch: shape, attention: true, repeats: 1 }).unwrap();
    assert_eq!(report.tokens, 12);
    let settings = step::Settings { batch: shape, policy: POLICY, method: "vgpo".to_owned(), repeats: 1 };
    let checkpoints = tempfile::tempdir().unwrap();
    assert_eq!(step::run(dir.path(), checkpoints.path(), settings).unwrap().tokens, 12);
}

/// The trainer and the engine read prompts of as many tokens as the shape says; no response ends early.
#[test]
fn steps_rollouts_and_requests_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    write_model(dir.path(), ModelShape::reference()).unwrap();
    let shape = BatchShape { prompt_tokens: 16, ..BATCH };
    let report = rollout::run(dir.path(), rollout::Settings { batch: shape, attention: true, repeats: 1 }).unwrap();
    assert_eq!((report.tokens, report.seconds.all.len()), (12, 1));
    let settings = step::Settings { batch: shape, policy: POLICY, method: "vgpo".to_owned(), repeats: 1 };
    let checkpoints = tempfile::tempdir().unwrap();
    let report = step::run(dir.path(), checkpoints.path(), settings).unwrap();
    assert_eq!((report.tokens, report.seconds.all.len()), (12, 1));
    assert_eq!(report.shares.len(), 4);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let settings = generate::Settings { batch: shape, maps: true, weights: WeightFormat::Native, repeats: 1 };
    let report = runtime.block_on(generate::run(dir.path(), settings)).unwrap();
    assert_eq!((report.tokens, report.first_token.all.len()), (6, 2));
    assert_eq!(question(&shape, 3).split_whitespace().count(), 2);
}
