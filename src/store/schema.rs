//! Numbered migrations, the same for every database: what was applied, what is missing, and which programs may work
//! with it.
//!
//! Migrations expand first and contract later: a new column or table comes with one release, what it replaces goes
//! with a later one. A database that was only expanded still works with the program before: the new release runs next
//! to it.

use sha2::{Digest as _, Sha256};

use crate::store::error::{Result, StoreError};

/// The first version whose programs know that they may work with a later one.
const FIRST_TOLERANT: i64 = 5;
/// Migrations that contract: their version, and the oldest version whose programs can work with the database
/// afterwards. Those that are not listed only expand.
const CONTRACTIONS: &[(i64, i64)] = &[];

/// What opening a database may do to its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Migrations {
    /// Bring it up to date.
    #[default]
    Apply,
    /// Only check: a database that is not up to date is refused.
    Check,
}

/// One step of the schema.
pub(super) struct Migration {
    /// Its number, from 1.
    pub version: i64,
    /// What it does.
    pub name: &'static str,
    /// Its statements.
    pub text: &'static str,
}

/// Every migration of the database whose files are in `$folder`, in order. A released file is never changed, only
/// followed.
macro_rules! migrations {
    ($folder:literal) => {
        &[
            step(1, "initial", include_str!(concat!("../../migrations/", $folder, "/0001_initial.sql"))),
            step(2, "sweeps", include_str!(concat!("../../migrations/", $folder, "/0002_sweeps.sql"))),
            step(
                3,
                "checkpoint_score",
                include_str!(concat!("../../migrations/", $folder, "/0003_checkpoint_score.sql")),
            ),
            step(4, "access", include_str!(concat!("../../migrations/", $folder, "/0004_access.sql"))),
            step(5, "operations", include_str!(concat!("../../migrations/", $folder, "/0005_operations.sql"))),
            step(6, "quotas", include_str!(concat!("../../migrations/", $folder, "/0006_quotas.sql"))),
            step(7, "engines", include_str!(concat!("../../migrations/", $folder, "/0007_engines.sql"))),
            step(8, "device_quotas", include_str!(concat!("../../migrations/", $folder, "/0008_device_quotas.sql"))),
            step(9, "storage", include_str!(concat!("../../migrations/", $folder, "/0009_storage.sql"))),
            step(10, "ranks", include_str!(concat!("../../migrations/", $folder, "/0010_ranks.sql"))),
            step(11, "alerts", include_str!(concat!("../../migrations/", $folder, "/0011_alerts.sql"))),
            step(12, "trackers", include_str!(concat!("../../migrations/", $folder, "/0012_trackers.sql"))),
        ]
    };
}

/// SQLite's.
pub(super) const SQLITE: &[Migration] = migrations!("sqlite");
/// PostgreSQL's.
pub(super) const POSTGRES: &[Migration] = migrations!("postgres");

const fn step(version: i64, name: &'static str, text: &'static str) -> Migration {
    Migration { version, name, text }
}

/// A migration that was applied to a database.
pub(super) struct Applied {
    /// Its number.
    pub version: i64,
    /// What it did.
    pub name: String,
    /// Hash of its statements.
    pub sha256: String,
    /// The oldest version whose programs can work with it; none where that was not recorded.
    pub oldest: Option<i64>,
}

/// The migrations that are missing. `Schema` when the database is not for this program.
pub(super) fn pending<'a>(known: &'a [Migration], applied: &[Applied]) -> Result<&'a [Migration]> {
    let latest = known.last().map_or(0, |m| m.version);
    let mut seen = 0;
    for Applied { version, name, sha256, oldest } in applied {
        let Some(migration) = known.iter().find(|m| m.version == *version) else {
            if oldest.is_some_and(|oldest| oldest <= latest) {
                continue;
            }
            return Err(StoreError::Schema(format!(
                "the database has migration {version} ({name}), this program knows up to {latest}: use a newer program"
            )));
        };
        if *sha256 != digest(migration.text) {
            return Err(StoreError::Schema(format!(
                "migration {version} ({name}) was applied with another text: the database belongs to another build"
            )));
        }
        seen += 1;
    }
    Ok(known.get(seen..).unwrap_or_default())
}

/// Fails when something is missing.
pub(super) fn refuse_pending(pending: &[Migration]) -> Result<()> {
    if pending.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = pending.iter().map(|m| format!("{} ({})", m.version, m.name)).collect();
    Err(StoreError::Schema(format!(
        "the database lacks migrations {}: run `vgpo migrate`, or start with the setting migrate = auto",
        names.join(", ")
    )))
}

/// The oldest version whose programs can work with a database at `version`.
pub(super) fn oldest(version: i64) -> i64 {
    let contracted = CONTRACTIONS.iter().filter(|(contraction, _)| *contraction <= version);
    contracted.map(|(_, oldest)| *oldest).max().unwrap_or(FIRST_TOLERANT).min(version)
}

/// Hash of a migration's statements.
pub(super) fn digest(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Migration] =
        &[Migration { version: 1, name: "a", text: "A" }, Migration { version: 2, name: "b", text: "B" }];

    fn applied(version: i64, text: &str, oldest: Option<i64>) -> Applied {
        Applied { version, name: "x".to_owned(), sha256: digest(text), oldest }
    }

    #[test]
    fn later_migrations_are_fine_where_they_say_so() {
        let missing = |applied: &[Applied]| {
            pending(KNOWN, applied).map(|steps| steps.iter().map(|m| m.version).collect::<Vec<_>>())
        };
        assert_eq!(missing(&[]).unwrap(), [1, 2]);
        assert_eq!(missing(&[applied(1, "A", None)]).unwrap(), [2]);
        let both = || vec![applied(1, "A", None), applied(2, "B", Some(2))];
        assert_eq!(missing(&both()).unwrap(), Vec::<i64>::new());
        let with = |last| both().into_iter().chain([last]).collect::<Vec<_>>();
        assert_eq!(missing(&with(applied(3, "C", Some(2)))).unwrap(), Vec::<i64>::new(), "it only expands");
        for refused in [applied(3, "C", Some(3)), applied(3, "C", None)] {
            let error = missing(&with(refused)).unwrap_err().to_string();
            assert!(error.contains("use a newer program"), "{error}");
        }
        assert!(missing(&[applied(1, "other", None)]).unwrap_err().to_string().contains("another build"));
    }
}
