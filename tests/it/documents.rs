//! Documents that lead people: the index of `docs/`, links that lead somewhere, and lines that fit a screen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder of the project, as a path from its top.
pub(crate) fn below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root()).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn ends(path: &str, extensions: &[&str]) -> bool {
    Path::new(path).extension().is_some_and(|extension| extensions.iter().any(|one| extension == *one))
}

/// The files that a document links to, with where the links lead.
fn links(document: &str) -> Vec<(String, PathBuf)> {
    let text = read(document);
    let folder = root().join(document).parent().unwrap().to_owned();
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#']).next())
        .filter(|link| !link.is_empty() && !link.contains("://"))
        .map(|link| (link.to_owned(), folder.join(link)))
        .collect()
}

#[test]
fn the_index_links_every_document() {
    let index = links("docs/README.md");
    let linked: BTreeSet<&str> = index.iter().map(|(link, _)| link.as_str()).collect();
    let documents = below("docs").into_iter().filter(|path| ends(path, &["md", "html"]));
    let missing: Vec<String> = documents
        .filter_map(|path| path.strip_prefix("docs/").map(str::to_owned))
        .filter(|name| name != "README.md" && !linked.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "docs/README.md leads to every document, but not to {missing:?}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = below("docs").into_iter().filter(|path| ends(path, &["md"]));
    let mut broken = Vec::new();
    for document in documents.chain(["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(str::to_owned))
    {
        let lost = links(&document).into_iter().filter(|(_, target)| !target.exists());
        broken.extend(lost.map(|(link, _)| format!("{document}: {link}")));
    }
    assert!(broken.is_empty(), "links that lead nowhere: {broken:#?}");
}

#[test]
fn the_changelog_goes_by_version() {
    let text = read("CHANGELOG.md");
    let versions: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(versions.first(), Some(&"Unreleased"), "what comes next is at the top");
    // Before the first release there is no other title; afterwards the newest one is the version of the package.
    if let Some(newest) = versions.get(1) {
        let version = concat!(env!("CARGO_PKG_VERSION"), " - ");
        assert!(newest.starts_with(version), "{newest} is not the version of the package");
    }
}

const WIDTH: usize = 120;

/// Lines of a file that are too long; of a document only those between fences.
fn long_lines(path: &str) -> Vec<String> {
    let document = ends(path, &["md"]);
    let mut code = !document;
    let mut found = Vec::new();
    for (number, line) in read(path).lines().enumerate() {
        if document && line.trim_start().starts_with("```") {
            code = !code;
        } else if code && line.chars().count() > WIDTH {
            found.push(format!("{path}:{}", number + 1));
        }
    }
    found
}

#[test]
fn lines_fit_a_screen() {
    let web = below("web").into_iter().filter(|path| !path.starts_with("web/vendor/") && !ends(path, &["svg"]));
    let docs = below("docs").into_iter().filter(|path| ends(path, &["md", "html"]));
    let documents = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned);
    let long: Vec<String> = web.chain(docs).chain(documents).flat_map(|path| long_lines(&path)).collect();
    assert!(long.is_empty(), "lines of more than {WIDTH} characters: {long:#?}");
}

/// Lines of Rust that are longer still: comments and texts, which rustfmt leaves as they are. Lower it with every line
/// that is wrapped.
const LONG_RUST_LINES: usize = 110;

#[test]
fn long_lines_of_rust_become_fewer() {
    let code = ["src", "tests", "benches"].into_iter().flat_map(below).filter(|path| ends(path, &["rs"]));
    let long: Vec<String> = code.flat_map(|path| long_lines(&path)).collect();
    let most = LONG_RUST_LINES;
    assert!(
        long.len() <= most,
        "{} lines of Rust have more than {WIDTH} characters, {most} had: wrap yours",
        long.len()
    );
}
