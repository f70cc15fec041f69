//! How the code is written: rules that a compiler does not know.

use std::path::{Path, PathBuf};

use crate::layering::rust_files;

/// The code of a room without its comments and unit tests, by file.
fn code(room: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut files);
    assert!(!files.is_empty(), "no room {room}");
    let code = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let lines = text.lines().map(|line| line.split("// ").next().unwrap());
        (path, lines.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(code).collect()
}

/// A value of a step is one struct: lists that have to be kept in step with each other are zipped by twos at most.
#[test]
fn the_trainer_zips_no_more_than_two_lists() {
    let mut faults = Vec::new();
    for (path, code) in code("train") {
        for statement in code.split([';', '{', '}']) {
            // A zip over the zip of a line before takes a pair apart within a pair.
            let within = statement.contains(".zip(") && statement.replace(' ', "").contains(",(");
            let nested = within && statement.trim_start().starts_with("for");
            if statement.matches(".zip(").count() > 1 || nested {
                faults.push(format!("{}: {}", path.display(), statement.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Fields of a struct, as its text declares them.
fn fields(code: &str, name: &str) -> usize {
    let declared = code.split(&format!("struct {name}")).nth(1).unwrap_or_else(|| panic!("no struct {name}"));
    let body = declared.split_once('{').unwrap().1.split_once("\n}").unwrap().0;
    body.lines().filter(|line| line.contains(": ") && line.trim_end().ends_with(',')).count()
}

#[test]
fn run_and_step_stay_small() {
    let code: String = code("train").into_iter().map(|(_, code)| code).collect();
    for name in ["Trainer<'s>", "TrainingStep", "Checkpoints", "Group", "Response"] {
        let fields = fields(&code, name);
        assert!((1..=10).contains(&fields), "{name} has {fields} fields");
    }
}
