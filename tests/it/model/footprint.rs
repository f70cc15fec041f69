//! What the footprint says a pass keeps, against the graph of a real pass: every storage that the backward can reach.

use std::collections::BTreeMap;
use std::ops::Deref as _;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use vgpo::model::footprint::{Arithmetic, ModelSize, PassShape};
use vgpo::model::lora::{LoraConfig, select};
use vgpo::model::transfers::as_on_gpu;
use vgpo::model::{Batch, Capture, ModelFolder, Sequence, View, VisionLanguageModel};

use super::{Case, FAMILIES, Family, QWEN3_5, on_large_stack};

const F32: Arithmetic = Arithmetic { cpu: true, weight_bytes: 4 };
const BF16: Arithmetic = Arithmetic { cpu: true, weight_bytes: 2 };
/// On a GPU.
const GPU: Arithmetic = Arithmetic { cpu: false, weight_bytes: 2 };

/// Bytes of the distinct storages of all results behind `result`, parameters left out.
fn reachable(result: &Tensor, folder: &ModelFolder) -> usize {
    let address = |tensor: &Tensor| {
        let (storage, _) = tensor.storage_and_layout();
        match storage.deref() {
            Storage::Cpu(CpuStorage::F32(values)) => (values.as_ptr() as usize, values.len() * 4),
            Storage::Cpu(CpuStorage::BF16(values)) => (values.as_ptr() as usize, values.len() * 2),
            Storage::Cpu(CpuStorage::F64(values)) => (values.as_ptr() as usize, values.len() * 8),
            // Indices of gathers: four bytes a token beside hundreds of values.
            Storage::Cpu(CpuStorage::U32(values)) => (values.as_ptr() as usize, 0),
            _ => panic!("results of another number format than those above"),
        }
    };
    let parameters: Vec<usize> = folder.parameters().vars().values().map(|var| address(var.as_tensor()).0).collect();
    let adapters: Vec<usize> = folder.parameters().trained().values().map(|var| address(var.as_tensor()).0).collect();
    let known = |at: &usize| parameters.contains(at) || adapters.contains(at);
    let storages: BTreeMap<usize, usize> = result.sorted_nodes().into_iter().map(address).collect();
    storages.iter().filter(|(at, _)| !known(at)).map(|(_, bytes)| bytes).sum()
}

fn shape(rows: &[&Sequence], batch: &Batch) -> PassShape {
    let images = batch.images.iter().map(|image| image.grid).collect();
    PassShape { rows: rows.len(), seq_len: batch.seq_len, images, image_slots: batch.image_slots.len() }
}

/// The small things on either side: numbers of a row, narrow parameters that are widened, and before the first adapter
/// results that no gradient flows through. Of a delta rule in its composed form many small results are counted by their
/// sum.
fn near(family: Family, by: Arithmetic, what: &str, counted: usize, real: usize) {
    let ratio = counted as f64 / real as f64;
    let range = if family == QWEN3_5 && !by.cpu { 0.9..1.2 } else { 0.99..1.04 };
    assert!(range.contains(&ratio), "{family:?} {what}: counted {counted}, the graph holds {real} ({ratio:.4})");
}

fn states(model: &dyn VisionLanguageModel, batch: &Batch) -> Tensor {
    let features = model.features(batch).unwrap();
    model.forward(batch, features.as_ref(), None, &mut Capture::none()).unwrap()
}

/// Bytes of pixels, which an operation holds but the backward does not reach; with narrow weights a narrow copy too.
fn pixels(batch: &Batch, by: Arithmetic) -> usize {
    let values: usize = batch.images.iter().map(|image| image.values.len()).sum();
    values * if by == F32 { 4 } else { 6 }
}

fn size_of(family: Family) -> ModelSize {
    vgpo::model::size(&family.fixture().join("checkpoint")).unwrap()
}

/// Masks of blocks, which operations hold but the backward does not reach.
fn masks(rows: &[&Sequence], batch: &Batch, heads: usize, by: Arithmetic) -> usize {
    by.attention_masks(rows.len(), heads, batch.seq_len)
}

/// Compares a family's batches in one number format.
fn compare(family: Family, dtype: DType, by: Arithmetic) {
    let folder = ModelFolder::open_as(&family.fixture().join("checkpoint"), &Device::Cpu, dtype).unwrap();
    let model = folder.model(View::Tracked).unwrap();
    let size = size_of(family);
    let cases: Vec<Case> = family.cases();
    for chosen in [vec![0], vec![1], vec![3], vec![2, 2, 0], vec![0, 1, 2, 3]] {
        let rows: Vec<&Sequence> = chosen.iter().map(|i| &cases[*i].row).collect();
        let batch = Batch::new(&rows, model.info()).unwrap();
        let memory = size.passes.training(by, &shape(&rows, &batch), true);
        let real = reachable(&states(model.as_ref(), &batch), &folder);
        let beyond = pixels(&batch, by) + masks(&rows, &batch, model.info().heads, by);
        near(family, by, &format!("{dtype:?} {chosen:?}"), memory.graph - beyond, real);
        assert!(memory.block < memory.graph && memory.tape < memory.graph);
    }
}

#[test]
fn the_count_is_what_the_graph_holds() {
    on_large_stack(|| FAMILIES.into_iter().for_each(|family| compare(family, DType::F32, F32)));
}

#[test]
fn narrow_weights_are_counted_in_their_own_form() {
    on_large_stack(|| FAMILIES.into_iter().for_each(|family| compare(family, DType::BF16, BF16)));
}

/// A GPU computes every operation in the composed form.
#[test]
fn a_gpu_keeps_what_is_counted_for_it() {
    on_large_stack(|| {
        let work = || FAMILIES.into_iter().for_each(|family| compare(family, DType::BF16, GPU));
        as_on_gpu(work).0
    });
}

/// Without a trained tower the graph begins at the decoder.
#[test]
fn a_frozen_tower_keeps_nothing() {
    on_large_stack(|| {
        let family = FAMILIES[2];
        let mut folder = family.open();
        folder.freeze_vision();
        let model = folder.model(View::Tracked).unwrap();
        let case = family.case("p2_large");
        let batch = Batch::new(&[&case.row], model.info()).unwrap();
        let memory = size_of(family).passes.training(F32, &shape(&[&case.row], &batch), false);
        near(family, F32, "frozen tower", memory.graph, reachable(&states(model.as_ref(), &batch), &folder));
    });
}

/// Adapters add their own results; what the frozen layers give is kept as before.
#[test]
fn adapters_add_what_they_compute() {
    on_large_stack(|| {
        for family in FAMILIES {
            let mut folder = family.open();
            let config = LoraConfig { rank: 4, alpha: 8.0, targets: vec!["all-linear".to_owned()] };
            folder.add_adapters(&config, 1).unwrap();
            let model = folder.model(View::Tracked).unwrap();
            let size = size_of(family);
            let case = family.case("p3_two_images");
            let batch = Batch::new(&[&case.row], model.info()).unwrap();
            let pass = shape(&[&case.row], &batch);
            let adapted = select(&config.targets, &size.linears).unwrap();
            let extra = adapted.iter().map(|l| F32.adapter(size.passes.rows_of(l, &pass), 4, l.out));
            let counted = size.passes.training(F32, &pass, true).graph - pixels(&batch, F32) + extra.sum::<usize>();
            // What is computed before the first adapter is counted, and a small part of real models only.
            let ratio = counted as f64 / reachable(&states(model.as_ref(), &batch), &folder) as f64;
            assert!((0.99..1.08).contains(&ratio), "{family:?} with adapters: {ratio:.4} of the graph is counted");
        }
    });
}

#[test]
fn parameters_are_counted_from_the_headers() {
    for family in FAMILIES {
        let dir = family.fixture().join("checkpoint");
        let size = vgpo::model::size(&dir).unwrap();
        let folder: ModelFolder = family.open();
        let vars = folder.parameters().vars();
        assert_eq!(size.parameters.all, folder.parameters().count());
        assert_eq!(size.parameters.largest, vars.values().map(|v| v.elem_count()).max().unwrap());
        let vision = vars.iter().filter(|(name, _)| name.starts_with("visual.")).map(|(_, v)| v.elem_count());
        assert_eq!(size.parameters.vision, vision.sum::<usize>());
    }
}
