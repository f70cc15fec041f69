//! The room `worker`: see the table in `lib.rs`.
