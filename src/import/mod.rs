//! Configurations of other trainers as jobs of this one.

pub mod easyr1;
mod easyr1_rules;
mod easyr1_settings;
