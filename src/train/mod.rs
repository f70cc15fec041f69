//! The room `train`: see the table in `lib.rs`.
