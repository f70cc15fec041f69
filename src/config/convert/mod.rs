//! Settings of other programs as jobs of this one.

pub mod easyr1;
mod easyr1_rules;
