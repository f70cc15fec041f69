//! What the store promises without a database: statements are written once, and every call of it is traced.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use regex::Regex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::fixture::Kind;

/// Statements that may exist twice. Those that do: what forgets repeated requests, and what reads a whole series.
const TWICE: usize = 2;

fn store() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store")
}

/// Files of a folder with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// How often a folder does something to a table: `(SELECT, events)` twice, and so on.
fn statements(folder: &Path) -> BTreeMap<(String, String), usize> {
    let literal = Regex::new(r#""((?:[^"\\]|\\.)*)""#).unwrap();
    let mut texts: Vec<String> = files(folder, "sql").iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for file in files(folder, "rs") {
        let code = fs::read_to_string(file).unwrap();
        let code = code.split("#[cfg(test)]").next().unwrap();
        texts.extend(literal.captures_iter(code).map(|found| found[1].to_owned()));
    }
    let comment = Regex::new("--[^\n]*").unwrap();
    let statement = Regex::new(r"(?s)^\s*(SELECT|INSERT|UPDATE|DELETE)\b(.*)").unwrap();
    let table = Regex::new(r"\b(?:FROM|INTO|UPDATE)\s+([a-z_]+)").unwrap();
    let mut found = BTreeMap::new();
    for text in texts {
        let text = comment.replace_all(&text, "");
        let Some(parts) = statement.captures(&text) else { continue };
        let Some(table) = table.captures(&text) else { continue };
        *found.entry((parts[1].to_owned(), table[1].to_owned())).or_default() += 1;
    }
    found
}

#[test]
fn few_statements_exist_twice() {
    let (sqlite, postgres) = (statements(&store().join("sqlite")), statements(&store().join("postgres")));
    assert!(sqlite.len() > 2 && postgres.len() > 3, "the statements were not found: {sqlite:?} {postgres:?}");
    let both: Vec<_> = sqlite.iter().filter_map(|(what, n)| Some((what, *n.min(postgres.get(what)?)))).collect();
    let twice: usize = both.iter().map(|(_, n)| n).sum();
    assert!(
        twice <= TWICE,
        "{twice} statements exist once for each database, {TWICE} may: {both:?}; see `store/common`"
    );
}

#[test]
fn every_file_of_sql_is_used() {
    let code: String = files(&store(), "rs").iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for file in files(&store(), "sql") {
        let name = format!("/{}\"", file.file_name().unwrap().to_str().unwrap());
        assert!(code.contains(&name), "nothing includes {}", file.display());
    }
}

#[test]
fn every_call_has_a_span() {
    let mut calls = 0;
    for file in files(&store().join("common"), "rs") {
        let code = fs::read_to_string(&file).unwrap();
        let (mut in_a_trait, mut before) = (false, "");
        for line in code.lines() {
            in_a_trait = (in_a_trait || line.contains(" for SqlStore {")) && line != "}";
            // A check is asked for every second, and has no id.
            if in_a_trait && line.starts_with("    async fn ") && !file.ends_with("common/mod.rs") {
                let traced = before.contains("#[instrument(level = \"debug\", skip_all");
                assert!(traced, "{}: `{}` has no span", file.display(), line.trim());
                calls += 1;
            }
            before = line;
        }
    }
    assert!(calls > 80, "only {calls} calls were found");
}

#[test]
fn the_recipe_for_a_resource_lists_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipes = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let recipe = recipes.split("## A REST resource with a table").nth(1).unwrap();
    let entry = Regex::new(r"(?m)^\d+\. `([^`]+)`").unwrap();
    let listed: Vec<_> = entry.captures_iter(recipe.split("\n## ").next().unwrap()).map(|e| e[1].to_owned()).collect();
    assert!((1..=14).contains(&listed.len()), "{listed:?}");
    for file in listed {
        assert!(root.join(&file).is_file(), "{file}");
    }
}

/// Names and fields of the spans that were opened.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut text = Text(attributes.metadata().name().to_owned());
        attributes.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

#[tokio::test]
async fn a_span_names_what_the_call_is_about() {
    let db = Kind::Sqlite.make().await.unwrap();
    let spans = Spans::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    db.store.job("job_absent").await.unwrap_err();
    drop(guard);
    let seen = spans.0.lock().unwrap().clone();
    assert!(seen.contains(&"job job=\"job_absent\"".to_owned()), "{seen:?}");
    db.close().await;
}
