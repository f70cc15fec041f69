//! Gradient checkpointing (Chen et al., arXiv 1604.06174): a forward pass in pieces that keeps the inputs of every
//! piece instead of its graph, and a backward pass that recomputes each piece.

use std::collections::{HashMap, HashSet};

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId, Var};

use super::ModelError;
use super::seed::seeded;

/// One piece of a forward pass: inputs to output.
type Piece<'m> = Box<dyn Fn(&[Tensor]) -> Result<Tensor, ModelError> + 'm>;

struct Recorded<'m> {
    inputs: Vec<Tensor>,
    output: TensorId,
    piece: Piece<'m>,
}

/// The pieces of one forward pass. `'m`: what they borrow from, the model and its batch.
pub struct Tape<'m> {
    /// None: pieces form one graph, as without a tape.
    recorded: Option<Vec<Recorded<'m>>>,
    /// Outputs that a gradient flows to.
    outputs: HashSet<TensorId>,
}

impl<'m> Tape<'m> {
    /// A tape that records.
    pub fn recording() -> Self {
        Self { recorded: Some(Vec::new()), outputs: HashSet::new() }
    }

    /// A tape that records nothing: every piece simply runs.
    pub fn off() -> Self {
        Self { recorded: None, outputs: HashSet::new() }
    }

    /// Runs a piece. While recording, the result is detached; a piece without anything to train is not kept.
    pub fn run(
        &mut self,
        inputs: &[&Tensor],
        piece: impl Fn(&[Tensor]) -> Result<Tensor, ModelError> + 'm,
    ) -> Result<Tensor, ModelError> {
        let Some(recorded) = &mut self.recorded else {
            return piece(&inputs.iter().map(|input| (*input).clone()).collect::<Vec<_>>());
        };
        let inputs: Vec<Tensor> = inputs.iter().map(|input| input.detach()).collect();
        let output = piece(&inputs)?;
        let trained = output.track_op() || inputs.iter().any(|input| self.outputs.contains(&input.id()));
        let output = output.detach();
        if trained {
            self.outputs.insert(output.id());
            recorded.push(Recorded { inputs, output: output.id(), piece: Box::new(piece) });
        }
        Ok(output)
    }

    /// Recomputes the pieces, last to first, from the gradient of the final output. `take` gets the gradients of each
    /// piece; those of one parameter may come in several parts.
    pub fn backward<E: From<ModelError>>(
        self,
        output: &Tensor,
        gradient: Tensor,
        mut take: impl FnMut(&GradStore) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pending = HashMap::from([(output.id(), gradient)]);
        let mut recorded = self.recorded.unwrap_or_default();
        while let Some(piece) = recorded.pop() {
            if let Some(gradient) = pending.remove(&piece.output) {
                let store = run_again(&piece, &gradient, &self.outputs, &mut pending)?;
                take(&store)?;
            }
        }
        Ok(())
    }
}

fn run_again(
    piece: &Recorded<'_>,
    gradient: &Tensor,
    outputs: &HashSet<TensorId>,
    pending: &mut HashMap<TensorId, Tensor>,
) -> Result<GradStore, ModelError> {
    let leaf = |input: &Tensor| {
        // [shape of the input]
        if outputs.contains(&input.id()) { Ok(Var::from_tensor(input)?.into_inner()) } else { Ok(input.clone()) }
    };
    let leaves: Vec<Tensor> = piece.inputs.iter().map(leaf).collect::<candle_core::Result<_>>()?;
    let store = seeded(&(piece.piece)(&leaves)?, gradient)?.backward()?;
    for (input, leaf) in piece.inputs.iter().zip(&leaves).filter(|(_, leaf)| leaf.is_variable()) {
        let Some(part) = store.get(leaf) else { continue };
        let part = part.detach();
        let sum = match pending.remove(&input.id()) {
            Some(sum) => (sum + part)?,
            None => part,
        };
        pending.insert(input.id(), sum);
    }
    Ok(store)
}
