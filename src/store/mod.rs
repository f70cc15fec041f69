//! The room `store`: see the table in `lib.rs`.
