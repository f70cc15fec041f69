//! Fused attention as operations of candle's graph: one over three tensors, one over queries, keys and values in one tensor.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};

use super::super::view::{self, Held, View};
use super::backward::{self, Place};
use super::forward;
use super::heads::{Problem, Sizes};
use super::rope::Table;
use super::{Attended, Rope, Visible};

pub(super) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rope: Option<&Rope>,
    visible: &Visible,
    keep: Option<usize>,
) -> Result<Attended> {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let op = Attention { rope: rope.cloned(), visible: visible.clone(), keep, kept: Arc::clone(&kept) };
    let mixed = view::rows_of(q)?.apply_op3(&view::rows_of(k)?, &view::rows_of(v)?, op)?;
    let probabilities = match keep {
        Some(from) => {
            let values = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
            let (rows, queries, heads, _) = q.dims4()?;
            Some(Tensor::from_vec(values, (rows, heads, queries - from.min(queries), k.dim(1)?), &Device::Cpu)?)
        }
        None => None,
    };
    Ok(Attended { mixed, probabilities })
}

struct Attention {
    rope: Option<Rope>,
    visible: Visible,
    keep: Option<usize>,
    /// An operation gives one tensor: kept probabilities leave by this side door.
    kept: Arc<Mutex<Vec<f32>>>,
}

fn sizes(q: &Shape, k: &Shape) -> Result<Sizes> {
    let (rows, queries, heads, dim) = q.dims4()?;
    let (_, keys, kv_heads, _) = k.dims4()?;
    Ok(Sizes { rows, queries, keys, heads, kv_heads, dim })
}

impl Attention {
    /// Calls `work` with the problem over these views.
    fn with<T>(
        &self,
        [q, k, v]: [View<'_>; 3],
        sizes: Sizes,
        work: impl FnOnce(&Problem<'_>) -> Result<T>,
    ) -> Result<T> {
        let held = self.rope.as_ref().map(Rope::hold);
        let rope = match (&self.rope, &held) {
            (Some(rope), Some(held)) => Some(Table::new(rope, held)?),
            _ => None,
        };
        work(&Problem { q, k, v, sizes, rope, visible: &self.visible })
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
            View::new(q.as_slice()?, q_layout)?,
            View::new(k.as_slice()?, k_layout)?,
            View::new(v.as_slice()?, v_layout)?,
        ];
        let out = self.with(views, sizes, |problem| Ok(forward::run(problem, self.keep)))?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = out.probabilities;
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
            let held = [Held::of(q), Held::of(k), Held::of(v)];
            let (mixed, gradient) = (Held::of(&mixed), Held::of(&gradient));
            let views = [held[0].view()?, held[1].view()?, held[2].view()?];
            let place = |buffer, heads| Place { buffer, width: heads * sizes.dim, offset: 0 };
            let places = [place(0, sizes.heads), place(1, sizes.kv_heads), place(2, sizes.kv_heads)];
            self.with(views, sizes, |problem| {
                backward::run(problem, mixed.view()?, gradient.view()?, &mut buffers, places);
                Ok(())
            })?;
        }
        let [dq, dk, dv] = buffers;
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}
