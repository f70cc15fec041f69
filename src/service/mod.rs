//! The room `service`: see the table in `lib.rs`.
