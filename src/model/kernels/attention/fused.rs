//! Fused attention as operations of candle's graph: one over three tensors, one over queries, keys and values in one
//! tensor.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use parking_lot::Mutex;

use super::super::strided::{self, Guard, StridedView};
use super::backward::{self, Place};
use super::forward;
use super::heads::{Problem, Sizes};
use super::rope::Table;
use super::{Attended, AttentionMask, Rope};

pub(super) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rope: Option<&Rope>,
    mask: &AttentionMask,
    keep: Option<usize>,
) -> Result<Attended> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let op = Attention { rope: rope.cloned(), mask: mask.clone(), keep, kept: Arc::clone(&kept) };
    let mixed = strided::rows_of(q)?.apply_op3(&strided::rows_of(k)?, &strided::rows_of(v)?, op)?;
    let probabilities = match keep {
        Some(from) => {
            let values = std::mem::take(&mut *kept.lock());
            let (rows, queries, heads, _) = q.dims4()?;
            // [batch, heads, kept queries, keys]
            Some(Tensor::from_vec(values, (rows, heads, queries - from.min(queries), k.dim(1)?), &Device::Cpu)?)
        }
        None => None,
    };
    Ok(Attended { mixed, probabilities })
}

struct Attention {
    rope: Option<Rope>,
    mask: AttentionMask,
    keep: Option<usize>,
    /// Captured probabilities; a custom operation can only return one tensor.
    kept: Arc<Mutex<Vec<f32>>>,
}

fn sizes(q: &Shape, k: &Shape) -> Result<Sizes> {
    let (rows, queries, heads, dim) = q.dims4()?;
    let (_, keys, kv_heads, _) = k.dims4()?;
    Ok(Sizes { rows, queries, keys, heads, kv_heads, dim })
}

impl Attention {
    /// Calls `work` with the attention over these views.
    fn with<T>(
        &self,
        [q, k, v]: [StridedView<'_>; 3],
        sizes: Sizes,
        work: impl FnOnce(&Problem<'_>) -> Result<T>,
    ) -> Result<T> {
        let guard = self.rope.as_ref().map(Rope::guard);
        let rope = match (&self.rope, &guard) {
            (Some(rope), Some(guard)) => Some(Table::new(rope, guard)?),
            _ => None,
        };
        work(&Problem { q, k, v, sizes, rope, mask: &self.mask })
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = sizes(q_layout.shape(), k_layout.shape())?;
        let views = [
            StridedView::new(q.as_slice()?, q_layout)?,
            StridedView::new(k.as_slice()?, k_layout)?,
            StridedView::new(v.as_slice()?, v_layout)?,
        ];
        let out = self.with(views, sizes, |problem| Ok(forward::run(problem, self.keep)))?;
        *self.kept.lock() = out.probabilities;
        let shape = (sizes.rows, sizes.queries, sizes.heads * sizes.dim);
        Ok((CpuStorage::F32(out.mixed), shape.into()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        mixed: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = sizes(q.shape(), k.shape())?;
        let shape = (sizes.rows, sizes.queries, sizes.heads, sizes.dim);
        let (mixed, gradient) = (mixed.detach().reshape(shape)?, gradient.detach().contiguous()?.reshape(shape)?);
        let mut buffers = [q, k, v].map(|t| vec![0.0; t.elem_count()]);
        {
            let guard = [Guard::of(q), Guard::of(k), Guard::of(v)];
            let (mixed, gradient) = (Guard::of(&mixed), Guard::of(&gradient));
            let views = [guard[0].view()?, guard[1].view()?, guard[2].view()?];
            let place = |buffer, heads| Place { buffer, width: heads * sizes.dim, offset: 0 };
            let places = [place(0, sizes.heads), place(1, sizes.kv_heads), place(2, sizes.kv_heads)];
            self.with(views, sizes, |problem| {
                backward::run(problem, mixed.view()?, gradient.view()?, &mut buffers, places);
                Ok(())
            })?;
        }
        let [dq, dk, dv] = buffers;
        // [batch, seq_len, heads or kv_heads, head_dim], each as its input
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}
