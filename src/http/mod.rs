//! The room `http`: see the table in `lib.rs`.
