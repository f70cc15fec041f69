//! How the code is written: rules that a compiler does not know.

use std::path::{Path, PathBuf};

use crate::layering::rust_files;

/// The texts of a room without unit tests, by file.
fn texts(room: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut files);
    assert!(!files.is_empty(), "no room {room}");
    let text = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text.split("#[cfg(test)]").next().unwrap().to_owned())
    };
    files.into_iter().map(text).collect()
}

/// The same without comments.
fn code(room: &str) -> Vec<(PathBuf, String)> {
    let lines = |text: &str| text.lines().map(|line| line.split("//").next().unwrap().to_owned()).collect::<Vec<_>>();
    texts(room).into_iter().map(|(path, text)| (path, lines(&text).join("\n"))).collect()
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

/// What makes a tensor.
const MAKERS: [&str; 15] = [
    "Tensor::new(",
    "Tensor::cat(",
    "Tensor::stack(",
    "Tensor::from_",
    "Tensor::zeros(",
    "Tensor::ones(",
    "Tensor::full(",
    "Tensor::arange(",
    "Tensor::rand",
    "Var::new(",
    "Var::from_",
    "Var::zeros(",
    "Var::ones(",
    ".zeros_like(",
    ".ones_like(",
];

/// On the line of a tensor's making, or on one of the two lines above, a comment tells its shape: `// [batch, seq_len,
/// hidden]`.
#[test]
fn tensors_carry_their_shape_where_they_are_made() {
    let (mut faults, mut made) = (Vec::new(), 0);
    for (path, text) in texts("train").into_iter().chain(texts("model")) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let is_comment = line.trim_start().starts_with("//");
            if is_comment || !MAKERS.iter().any(|maker| line.contains(maker)) {
                continue;
            }
            made += 1;
            let near = &lines[number.saturating_sub(2)..=number];
            let told = near.iter().filter_map(|line| line.split_once("//")).any(|(_, comment)| comment.contains('['));
            if !told {
                faults.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(made > 40, "only {made} tensors were found");
    assert!(faults.is_empty(), "{faults:#?}");
}
