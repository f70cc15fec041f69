//! Circles between files: files that use each other, directly or over others, can only be read and changed together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::rust_files;

/// Circles that are left, each of them known.
const MOST: usize = 4;

/// A module's path from the root of the crate.
type Module = Vec<String>;

/// The files of the crate and what each of them says.
struct Crate {
    /// Code without comments and tests.
    code: BTreeMap<Module, String>,
    /// What modules hand on with `pub use`: name -> path.
    handed_on: BTreeMap<Module, BTreeMap<String, Module>>,
}

/// The code of a file: without comments, and without the tests at its end.
fn code(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..tests].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths of a `use` after its groups are taken apart.
fn paths(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        return vec![tree.split(" as ").next().unwrap_or_default().trim().to_owned()];
    };
    let (before, inside) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap()]);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, character) in inside.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| paths(&format!("{before}{}", part.trim()))).collect()
}

/// What a line that begins a `use` declares.
fn declared(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')')?.1.trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    line.strip_prefix("use ")
}

/// The `use` declarations (whether they hand the names on, and the tree), and the code without them.
fn taken_apart(code: &str) -> (Vec<(bool, String)>, String) {
    let (mut declarations, mut rest) = (Vec::new(), String::new());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some(tree) = declared(line) else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let more = if tree.contains(';') { None } else { Some(lines.by_ref()) };
        let mut tree = tree.to_owned();
        for line in more.into_iter().flatten() {
            tree.push_str(line.trim());
            if line.contains(';') {
                break;
            }
        }
        declarations
            .push((line.trim_start().starts_with("pub"), tree.split(';').next().unwrap_or_default().to_owned()));
    }
    (declarations, rest)
}

/// Paths in the code that begin with `crate::` or `super::`; a visibility such as `pub(in crate::room)` is none.
fn inline(code: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let words = code.split(|c| !is_path(c)).zip(std::iter::once("").chain(code.split(|c| !is_path(c))));
    let paths =
        words.filter(|(word, before)| *before != "in" && (word.starts_with("crate::") || word.starts_with("super::")));
    paths.map(|(word, _)| word.trim_end_matches(':').to_owned()).collect()
}

impl Crate {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        rust_files(root, &mut files);
        let mut code_of = BTreeMap::new();
        for file in files {
            let relative = file.strip_prefix(root).unwrap().with_extension("");
            let mut module: Module = relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
                module.pop();
            }
            if !module.is_empty() {
                code_of.insert(module, code(&std::fs::read_to_string(&file).unwrap()));
            }
        }
        let mut all = Self { code: code_of, handed_on: BTreeMap::new() };
        for (module, code) in &all.code {
            let handed_on =
                taken_apart(code).0.into_iter().filter(|(public, _)| *public).flat_map(|(_, tree)| paths(&tree));
            let named = handed_on.filter_map(|path| {
                let path = all.absolute(module, &path).or_else(|| Some([module.clone(), split(&path)].concat()))?;
                Some((path.last()?.clone(), path))
            });
            all.handed_on.insert(module.clone(), named.collect());
        }
        all
    }

    /// A path from the root of the crate; none for paths that begin otherwise than with `crate::` and `super::`.
    fn absolute(&self, module: &Module, path: &str) -> Option<Module> {
        let mut parts = split(path);
        if parts.first()? == "crate" {
            return Some(parts.split_off(1));
        }
        let mut base = module.clone();
        let ups = parts.iter().take_while(|part| *part == "super").count();
        base.truncate(base.len().checked_sub(ups)?);
        (ups > 0).then(|| [base, parts.split_off(ups)].concat())
    }

    /// The file that defines what a path names.
    fn file_of(&self, path: &[String], depth: usize) -> Option<Module> {
        let known = (1..=path.len()).rev().find(|length| self.code.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(known);
        let further = rest.first().and_then(|name| self.handed_on.get(module)?.get(name)).filter(|_| depth > 0);
        match further {
            Some(target) => self.file_of(&[target.as_slice(), &rest[1..]].concat(), depth - 1),
            None => Some(module.to_vec()),
        }
    }

    /// The files that a file uses.
    fn uses(&self, module: &Module) -> BTreeSet<Module> {
        let (declarations, code) = taken_apart(&self.code[module]);
        let declared = declarations.into_iter().filter(|(public, _)| !public).flat_map(|(_, tree)| paths(&tree));
        let found = declared.chain(inline(&code)).filter_map(|path| self.file_of(&self.absolute(module, &path)?, 8));
        found.filter(|target| target != module).collect()
    }
}

fn split(path: &str) -> Module {
    path.split("::").filter(|part| *part != "self" && *part != "*").map(ToOwned::to_owned).collect()
}

/// Everything that can be reached from a file.
fn reached(uses: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for target in &uses[module] {
            if seen.insert(target.clone()) {
                open.push(target);
            }
        }
    }
    seen
}

/// Sets of files each of which reaches all others of its set.
fn circles(uses: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<BTreeSet<Module>> {
    let reached: BTreeMap<_, _> = uses.keys().map(|module| (module, reached(uses, module))).collect();
    let mut found: Vec<BTreeSet<Module>> = Vec::new();
    for (module, all) in &reached {
        let circle: BTreeSet<Module> = all.iter().filter(|other| reached[other].contains(*module)).cloned().collect();
        if !circle.is_empty() && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

/// Counted are references by `crate::` and `super::`. A folder's `mod.rs` that names its own children makes no circle:
/// that is what it is for.
#[test]
fn few_files_use_each_other_in_circles() {
    let all = Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(all.code.len() > 200, "the files of src/ were not found");
    let uses: BTreeMap<Module, BTreeSet<Module>> =
        all.code.keys().map(|module| (module.clone(), all.uses(module))).collect();
    let found = circles(&uses);
    let shown = found.iter().map(|circle| {
        let line = |module: &Module| {
            let inside = uses[module].intersection(circle).map(|target| target.join("/")).collect::<Vec<_>>();
            format!("  {} uses {}", module.join("/"), inside.join(", "))
        };
        circle.iter().map(line).collect::<Vec<_>>().join("\n")
    });
    let shown: Vec<String> = shown.collect();
    assert!(
        found.len() <= MOST,
        "{} circles between files, at most {MOST}; move the type that two of them share into a file of its own:\n{}",
        found.len(),
        shown.join("\n\n")
    );
}

#[test]
fn a_circle_is_seen_through_names_that_are_handed_on() {
    let file = |name: &str, text: &str| (split(name), text.to_owned());
    let code = BTreeMap::from([
        file("room", "pub use child::Thing;"),
        file("room::child", "use super::other::{Part, help};"),
        file("room::other", "use crate::room::Thing;\npub(in crate::room) struct Part;"),
        file("aside", "fn f() -> crate::room::Thing {}"),
    ]);
    let handed_on =
        BTreeMap::from([(split("room"), BTreeMap::from([("Thing".to_owned(), split("room::child::Thing"))]))]);
    let all = Crate { code, handed_on };
    let uses: BTreeMap<Module, BTreeSet<Module>> =
        all.code.keys().map(|module| (module.clone(), all.uses(module))).collect();
    assert_eq!(circles(&uses), [BTreeSet::from([split("room::child"), split("room::other")])]);
}
