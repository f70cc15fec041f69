//! How many graphs a processor runs at a time.

/// Parameters from which one graph over all cores is better than one graph on each: the cores read the weights once for
/// all of them, and the activations of one graph are in memory instead of those of several.
pub const LARGE: usize = 100_000_000;

/// Graphs that `cores` run at a time, of a model with this number of parameters.
pub fn graphs_at_once(parameters: usize, cores: usize) -> usize {
    if parameters < LARGE { cores.max(1) } else { 1 }
}
