//! Data sets of `vgpo train`: generated tasks by name, files by path.

use std::path::Path;
use std::sync::Arc;

use crate::config;
use crate::config::app::AppSettings;
use crate::data::files::{Preparing, prepare};
use crate::data::{DataError, Dataset, FileDataset};
use crate::domain::dataset::DatasetSettings;
use crate::domain::spec::Columns;

/// The data set called `name`, else the folder or file at that path. Its rows are checked and indexed into `index`
/// once, and again when its files have changed.
pub fn open(name: &str, columns: &Columns, index: &Path, settings: &AppSettings) -> Result<Arc<dyn Dataset>, String> {
    let unknown = match crate::data::open(name) {
        Err(unknown @ DataError::Unknown { .. }) => unknown,
        opened => return opened.map_err(|e| e.to_string()),
    };
    let source = Path::new(name);
    if !source.exists() {
        return Err(format!("{unknown}; and there is no folder or file at that path"));
    }
    if let Ok(opened) = FileDataset::open(index, Some(columns)) {
        return Ok(Arc::new(opened));
    }
    let rules = DatasetSettings { columns: columns.clone(), ..config::datasets::settings() };
    let limits = config::datasets::limits(settings);
    let what = Preparing { name, source, stays: true, settings: &rules, limits: &limits };
    let found = prepare(&what, index, &mut |_| true).map_err(|e| e.to_string())?;
    if !found.is_valid() {
        let faults = found.report.errors.iter().map(|fault| {
            let row = fault.row.map(|row| format!(", row {row}")).unwrap_or_default();
            format!("  {}{row}: {}", fault.file, fault.problem)
        });
        let faults: Vec<String> = faults.collect();
        return Err(format!("`{name}` has {} bad rows\n{}", found.report.bad_rows, faults.join("\n")));
    }
    FileDataset::open(index, Some(columns))
        .map(|opened| Arc::new(opened) as Arc<dyn Dataset>)
        .map_err(|e| e.to_string())
}
