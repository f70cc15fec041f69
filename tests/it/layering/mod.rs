//! Dependencies point one way: the table in `src/lib.rs` is the law.

mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn allowed(lib: &str) -> BTreeMap<String, BTreeSet<String>> {
    lib.lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
        .map(|line| {
            let (room, rest) = line.split_once('`').unwrap();
            let uses = rest.rsplit('|').nth(1).unwrap();
            let uses = uses.split(',').map(|u| u.trim().to_owned()).filter(|u| !u.is_empty()).collect();
            (room.to_owned(), uses)
        })
        .collect()
}

/// Every `crate::room` that a source text mentions, in `use` lines and in paths.
fn mentioned(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms: BTreeSet<String> = code
        .split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>())
        .filter(|r| !r.is_empty())
        .collect();
    assert!(!code.contains("use crate::{"), "write one `use crate::room::…` line per room");
    rooms.remove("");
    rooms
}

#[test]
fn arrows_point_down_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed = allowed(&std::fs::read_to_string(root.join("lib.rs")).unwrap());
    assert!(allowed.len() >= 15, "the table of rooms in lib.rs was not found");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let mut faults = Vec::new();
    let mut checked = 0;
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let first = relative.iter().next().unwrap().to_str().unwrap();
        let room = first.strip_suffix(".rs").unwrap_or(first);
        if ["lib", "main", "cli"].contains(&room) {
            continue;
        }
        let Some(uses) = allowed.get(room) else {
            faults.push(format!("room `{room}` is missing in the table of lib.rs"));
            continue;
        };
        checked += 1;
        for target in mentioned(&std::fs::read_to_string(&file).unwrap()) {
            if target != room && !uses.contains(&target) {
                faults.push(format!("{} uses `{target}`, which `{room}` may not", relative.display()));
            }
        }
    }
    assert!(checked > 15);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_stay_readable() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    rust_files(&root.join("tests"), &mut files);
    let long: Vec<_> = files
        .iter()
        .map(|f| (f, std::fs::read_to_string(f).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > 420)
        .collect();
    assert!(long.is_empty(), "split these files: {long:?}");
}

#[test]
fn the_service_is_a_few_wings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/service");
    let files = std::fs::read_dir(root).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
    assert!(files <= 8, "src/service has {files} files at its root: put them into the wing that they belong to");
}
