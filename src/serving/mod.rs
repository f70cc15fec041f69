//! The room `serving`: see the table in `lib.rs`.
