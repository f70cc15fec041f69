//! Padding, neighbours and the cache change nothing.

use candle_core::{DType, Device};
use vgpo::model::cache::LayerShape;
use vgpo::model::generate::Generation;
use vgpo::model::{Batch, Capture, KvCache, Sequence};

use super::{Case, FAMILIES, close, flat, hidden};

/// Text-only, one image, two images, different lengths: all in one batch.
#[test]
fn padded_rows_in_a_batch_equal_rows_alone() {
    for family in FAMILIES {
        let model = family.detached();
        let cases: Vec<Case> = family.cases();
        let rows: Vec<&Sequence> = cases.iter().map(|c| &c.row).collect();
        let layer = model.info().attention_layers[1];
        let mut capture = Capture::attention(vec![layer], 0);
        let (batch, together) = hidden(model.as_ref(), &rows, &mut capture);
        assert!(batch.padding.iter().any(|p| *p > 0), "the rows differ in length");
        for (i, row) in rows.iter().enumerate() {
            let mut own = Capture::attention(vec![layer], 0);
            let (_, alone) = hidden(model.as_ref(), &[row], &mut own);
            let start = batch.padding[i];
            let len = row.ids.len();
            let part = together.get(i).unwrap().narrow(0, start, len).unwrap();
            close(&format!("row {i}"), &flat(&part), &flat(&alone), 2e-5);
            let seen = capture.attention[0].get(i).unwrap();
            let seen = seen.narrow(1, start, len).unwrap().narrow(2, start, len).unwrap();
            close(&format!("attention of row {i}"), &flat(&seen), &flat(&own.attention[0]), 2e-5);
        }
    }
}

#[test]
fn rows_that_share_an_image_equal_rows_with_copies_of_it() {
    for family in FAMILIES {
        let model = family.detached();
        let case = family.case("p1_single");
        let copy = Sequence {
            ids: case.row.ids.clone(),
            images: case.row.images.iter().map(|i| std::sync::Arc::new(i.as_ref().clone())).collect(),
        };
        let (shared, a) = hidden(model.as_ref(), &[&case.row, &case.row], &mut Capture::none());
        let (copied, b) = hidden(model.as_ref(), &[&case.row, &copy], &mut Capture::none());
        assert_eq!((shared.images.len(), copied.images.len()), (1, 2));
        close("shared image", &flat(&a), &flat(&b), 1e-6);
    }
}

/// Keys and values in 16 bits, as a GPU caches them: what is read back is rounded, and nothing else changes.
#[test]
fn a_cache_in_16_bits_is_close_to_one_in_32() {
    let family = FAMILIES[1];
    let model = family.detached();
    let cases: Vec<Case> = family.cases();
    let prompts: Vec<Sequence> = cases.iter().map(Case::prompt).collect();
    let batch = Batch::new(&prompts.iter().collect::<Vec<_>>(), model.info()).unwrap();
    let features = model.features(&batch).unwrap();
    // Heads and their width in the fixture.
    let layers = vec![LayerShape::Attention { kv_heads: 2, head_dim: 16 }; model.info().layers];
    let states = |format: DType| {
        let cache = KvCache::in_format(format, &layers, batch.rows, batch.seq_len + 4, &Device::Cpu);
        let mut cache = cache.unwrap();
        model.forward(&batch, features.as_ref(), Some(&mut cache), &mut Capture::none()).unwrap();
        let tokens = Batch::next_tokens(&vec![9; batch.rows], cache.next_position());
        let bytes = cache.bytes();
        (flat(&model.forward(&tokens, None, Some(&mut cache), &mut Capture::none()).unwrap()), bytes)
    };
    let ((wide, wide_bytes), (narrow, narrow_bytes)) = (states(DType::F32), states(DType::BF16));
    assert_eq!(wide_bytes, 2 * narrow_bytes);
    close("states", &narrow, &wide, 5e-2);
    assert_ne!(narrow, wide);
}

/// Prefill in one piece, then token by token, equals one pass over everything; rows of different length together.
#[test]
fn prefill_then_token_by_token_equals_one_pass() {
    for family in FAMILIES {
        let model = family.detached();
        let cases: Vec<Case> = family.cases();
        let prompts: Vec<Sequence> = cases.iter().map(Case::prompt).collect();
        let rows: Vec<&Sequence> = prompts.iter().collect();
        let steps = cases.iter().map(|c| c.response().len()).min().unwrap();
        let (mut generation, _) = Generation::prefill(model.as_ref(), &rows, steps, &mut Capture::none()).unwrap();
        let mut found: Vec<Vec<f32>> = vec![Vec::new(); cases.len()];
        for step in 0..steps {
            let tokens: Vec<u32> = cases.iter().map(|c| c.response()[step]).collect();
            generation.advance(&tokens, &mut Capture::none()).unwrap();
            for (i, states) in found.iter_mut().enumerate() {
                states.extend(flat(&generation.states().get(i).unwrap()));
            }
        }
        for (case, states) in cases.iter().zip(&found) {
            let want = case.tensors["last_hidden_state"].narrow(0, case.prompt_len, steps).unwrap();
            close("cached states", states, &flat(&want), 3e-4);
        }
    }
}

#[test]
fn one_prefill_serves_a_whole_group() {
    for family in FAMILIES {
        let model = family.detached();
        let case = family.case("p1_single");
        let prompt = case.prompt();
        let other = family.case("p4_text").prompt();
        let (mut generation, _) =
            Generation::prefill(model.as_ref(), &[&other, &prompt], 2, &mut Capture::none()).unwrap();
        generation.select_rows(&[1, 1, 0]).unwrap();
        let token = case.response()[0];
        generation.advance(&[token; 3], &mut Capture::none()).unwrap();
        let states = generation.states().to_vec2::<f32>().unwrap();
        assert_eq!(states[0], states[1]);
        let want = case.tensors["last_hidden_state"].narrow(0, case.prompt_len, 1).unwrap();
        close("expanded row", &states[0], &flat(&want), 3e-4);
    }
}

#[test]
fn a_full_cache_refuses_more_and_says_so() {
    for family in FAMILIES {
        let model = family.detached();
        let prompt = family.case("p4_text").prompt();
        let batch = Batch::new(&[&prompt], model.info()).unwrap();
        let mut cache = model.new_cache(1, batch.seq_len - 1).unwrap();
        let error = model.forward(&batch, None, Some(&mut cache), &mut Capture::none()).unwrap_err().to_string();
        assert!(error.contains("do not fit into a cache"), "{error}");
    }
}

#[test]
fn a_generation_that_outgrows_its_room_goes_on_as_with_room_enough() {
    for family in FAMILIES {
        let model = family.detached();
        let prompt = family.case("p4_text").prompt();
        let logits = |room: usize| {
            let (mut generation, _) =
                Generation::prefill(model.as_ref(), &[&prompt], room, &mut Capture::none()).unwrap();
            for token in [5, 6, 7, 8] {
                generation.advance(&[token], &mut Capture::none()).unwrap();
            }
            generation.logits().unwrap()
        };
        assert_eq!(logits(1), logits(9));
    }
}
