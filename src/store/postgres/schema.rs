//! Statements of PostgreSQL that migrating needs; the migrations: `migrations/postgres`.

use crate::store::schema::{self, Migration};

pub(super) const MIGRATIONS: &[Migration] = schema::POSTGRES;
/// Lets one process at a time migrate, and makes the tables of applied migrations.
pub(super) const PREPARE: &[&str] = &[
    "SELECT pg_advisory_xact_lock(22089::bigint << 48)",
    "CREATE TABLE IF NOT EXISTS schema_migrations (
    version BIGINT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS schema_compatibility (
    version BIGINT PRIMARY KEY, oldest BIGINT NOT NULL)",
];
/// Which of them are there.
pub(super) const TABLES: &str = "SELECT relname AS name FROM pg_class \
    WHERE oid IN (to_regclass('schema_migrations'), to_regclass('schema_compatibility'))";
