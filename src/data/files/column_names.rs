//! Names of columns: those that a data set has, and the roles of usual names.

use std::collections::BTreeSet;
use std::path::Path;

use super::array::Elements;
use super::cell::{Cell, Row};
use super::jsonl::Lines;
use super::parquet::ParquetFile;
use super::row_reader::{Kind, kind};
use super::table::Table;
use crate::domain::columns::Role;
use crate::domain::dataset::DatasetLimits;
use crate::domain::spec::Columns;

/// Files, and rows of each, that are searched for names. Parquet and tables name their columns at the beginning.
const FILES: usize = 64;
const ROWS: usize = 64;
/// Names that are kept.
const NAMES: usize = 200;

/// The names of a data set's columns; fields of objects as `column.field`. Files that cannot be read have none: reading
/// their rows reports the error.
pub(super) fn names(root: &Path, files: &[String], limits: &DatasetLimits) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for name in files.iter().take(FILES) {
        let path = root.join(name);
        match kind(name) {
            Kind::Parquet => {
                let file = ParquetFile::open(&path, &[], limits);
                names.extend(file.iter().flat_map(|file| file.columns().iter().cloned()));
            }
            Kind::Table => {
                let table = Table::open(&path, limits.row_bytes);
                names.extend(table.iter().flat_map(|table| table.columns().iter().cloned()));
            }
            Kind::Lines => {
                if let Ok(mut lines) = Lines::open(&path, limits.row_bytes, None) {
                    sample(|| lines.next(), &mut names);
                }
            }
            Kind::Array => {
                if let Ok(mut elements) = Elements::open(&path, limits.row_bytes, None) {
                    sample(|| elements.next(), &mut names);
                }
            }
        }
        if names.len() >= NAMES {
            break;
        }
    }
    names.into_iter().take(NAMES).collect()
}

/// Has the data file `name` a column for prompts?
pub(super) fn asks(root: &Path, name: &str, columns: &Columns, limits: &DatasetLimits) -> bool {
    let names = names(root, &[name.to_owned()], limits);
    let prompt = settle(columns, &names).prompt;
    names.contains(&prompt) || prompt.split('.').next().is_some_and(|head| names.contains(head))
}

fn sample<L>(
    mut next: impl FnMut() -> std::io::Result<Option<(L, Result<Row, String>)>>,
    names: &mut BTreeSet<String>,
) {
    for _ in 0..ROWS {
        let Ok(Some((_, row))) = next() else { return };
        for (name, cell) in row.into_iter().flatten().take(NAMES) {
            if let Cell::Record(fields) = &cell {
                names.extend(fields.iter().take(NAMES).map(|(field, _)| format!("{name}.{field}")));
            }
            names.insert(name);
        }
    }
}

/// `columns`, where those that keep their default names are what the data set has under a usual name.
pub(super) fn settle(columns: &Columns, names: &BTreeSet<String>) -> Columns {
    let mut settled = columns.clone();
    for role in Role::ALL {
        if columns.get(role).is_none() || columns.is_chosen(role) {
            continue;
        }
        // What another role was given by name holds that, and not this as well.
        let taken =
            |name: &str| Role::ALL.iter().any(|other| columns.is_chosen(*other) && columns.get(*other) == Some(name));
        let exact = role.usual().iter().find(|name| names.contains(**name) && !taken(name));
        let alike = || {
            let mut usual = role.usual().iter();
            usual.find_map(|usual| names.iter().find(|name| name.eq_ignore_ascii_case(usual) && !taken(name)))
        };
        if let Some(name) = exact.copied().or_else(|| alike().map(String::as_str)) {
            settled.set(role, name);
        }
    }
    settled
}
