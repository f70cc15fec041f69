//! Reading `config.json`: what every family's parser is made of.

pub(super) mod fields;
pub(super) mod reader;
