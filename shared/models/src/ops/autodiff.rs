//! How an operation of ours takes part in Burn's backward pass.

use std::{fmt::Debug, marker::PhantomData};

use burn::backend::{
    Autodiff, Flex,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, NodeGuard, Ops, OpsKind},
    },
    flex::FlexTensor,
    tensor::FloatTensor,
};

/// A tensor on an autodiff device, whatever its checkpoint strategy.
pub type AutodiffTensor = FloatTensor<Autodiff<Flex>>;

/// The values that an operation of `N` input tensors saves for the backward pass. It
/// computes its gradients from them.
pub trait Differentiable<const N: usize>: Debug + Clone + Send + 'static {
    /// The gradient with respect to each input, of that input's shape.
    ///
    /// `gradient` is the contiguous gradient with respect to the output. A gradient
    /// that is not `wanted` may be `None`, which saves its computation.
    fn gradients(self, gradient: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N];
}

/// The inputs' nodes in the graph, and their tensors without autodiff.
pub fn into_parts<const N: usize>(
    inputs: [AutodiffTensor; N],
) -> ([NodeGuard; N], [FlexTensor; N]) {
    let nodes = inputs.each_ref().map(|input| input.node());
    (nodes, inputs.map(|input| input.into_primitive()))
}

/// Enters an operation into the graph: `output` was computed from the tensors at
/// `nodes`, and `saved` computes the gradients when one of them is tracked.
pub fn track<C, S, const N: usize>(
    nodes: [NodeGuard; N],
    output: FlexTensor,
    saved: S,
) -> AutodiffTensor
where
    C: CheckpointStrategy,
    S: Differentiable<N>,
{
    let operation = Operation(PhantomData::<S>).prepare::<C>(nodes);
    match operation.compute_bound().stateful() {
        OpsKind::Tracked(operation) => operation.finish(saved, output),
        OpsKind::UnTracked(operation) => operation.finish(output),
    }
}

/// Burn's side of a [`Differentiable`].
#[derive(Debug)]
struct Operation<S>(PhantomData<S>);

impl<S: Differentiable<N>, const N: usize> Backward<Flex, N> for Operation<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, gradients: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let by_input = ops.state.gradients(gradient, wanted);
        for (node, gradient) in ops.parents.into_iter().zip(by_input) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                gradients.register::<Flex>(node.id, gradient);
            }
        }
    }
}
