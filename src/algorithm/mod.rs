//! The room `algorithm`: see the table in `lib.rs`.
