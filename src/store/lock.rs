//! What a write locks before it decides, beyond the rows that it reads and changes.
//!
//! Locks are taken in one order (job, run, checkpoint; a job before the jobs that wait for it), so that transactions
//! queue up after each other instead of blocking each other forever. A database where one transaction writes at a
//! time needs none of them.

/// Something that one transaction at a time decides upon.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lock<'a> {
    /// Names of models, served checkpoints and data sets.
    Names,
    /// The limits of projects: of two servers that start at once, the second replaces what the first has written.
    Quotas,
    /// The artifacts that no record names: two servers that look at once take turns.
    Orphans,
    /// The jobs of a run: no other transaction retries one of them, or makes a job wait for it.
    JobsOfRun(&'a str),
    /// A run: whoever adds or deletes checkpoints decides upon its best and last one.
    Run(&'a str),
    /// A checkpoint.
    Checkpoint(&'a str),
}
