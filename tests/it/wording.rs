//! Words that were replaced (docs/glossary.md) do not come back.

use std::path::{Path, PathBuf};

/// A name that was replaced: where, the name as a whole word, and what to write instead.
const NAMES: &[(&str, &str, &str)] = &[
    ("src/model", "few_rows", "gemv"),
    ("src/model", "Visible", "AttentionMask"),
    ("src/model", "Kept", "ActivationMemory"),
    ("src/model", "Held", "Guard"),
    ("src/model", "Branch", "Suffix"),
    ("src/model", "trunk", "prefix"),
    ("src/model", "agreement", "delta"),
    ("src/model", "choice_backward", "token_logprobs_backward"),
    ("src", "Workshop", "PreprocessPool"),
    ("src", "Inflow", "Arrivals"),
    ("src/serving", "Coming", "Pending"),
    ("src/serving", "Lanes", "DecodeBatches"),
    ("src/serving", "Pump", "OutputProcessor"),
    ("src/serving", "Reading", "Prefill"),
    ("src/serving", "ReadPrompt", "PrefilledPrompt"),
    ("src", "PromptMemory", "PrefixCache"),
    ("src", "PromptColumns", "PromptPositions"),
    ("src/serving", "Look", "AttentionCapture"),
    ("src", "LookPlan", "CapturePlan"),
    ("src", "WORTH_KNOWING", "MIN_PREFIX_SHARE"),
    ("src", "COMPANY_SHARE", "JOIN_WAIT_SHARE"),
    ("src", "Errand", "RoutedRequest"),
    ("src/forward", "Standing", "EngineHealth"),
    ("src", "Courier", "SpanExporterClient"),
    ("src", "TrainRow", "TrainSequence"),
    ("src/train", "Judge", "RewardContext"),
    ("src/train", "judge", "compute rewards"),
    ("src", "Tally", "EvalMetrics, RowCounts"),
    ("src/train", "Evaluator", "EvalLoop"),
    ("src/train", "ReadPrompt", "PrefilledPrompt"),
];

/// Turns of phrase that are not plain English, and what to write instead.
const PHRASES: &[(&str, &str)] = &[
    ("nobody", "no user, no other worker, unused…"),
    ("somebody", "a user, another process…"),
    ("goes on", "continues, resumes"),
    ("beside", "next to, in addition to, besides"),
    ("so many", "this number of"),
    ("is no json", "is not valid JSON"),
    ("is no url", "is not a URL"),
    ("behind the question mark", "query parameter"),
    ("for ever", "forever"),
];

/// Where the turns of phrase were removed.
const PLAIN: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "benches",
    "docs/ARCHITECTURE.md",
    "docs/glossary.md",
    "docs/security.md",
    "docs/settings.md",
    "examples",
    "src/algorithm",
    "src/artifacts",
    "src/backup",
    "src/bench",
    "src/cli",
    "src/config",
    "src/data",
    "src/domain",
    "src/export",
    "src/footprint",
    "src/forward",
    "src/http",
    "src/images",
    "src/import",
    "src/model",
    "src/outbound",
    "src/prompt",
    "src/reward",
    "src/service/access",
    "src/service/core",
    "src/service/datasets",
    "src/service/inference",
    "src/service/jobs",
    "src/service/models",
    "src/service/runs",
    "src/serving",
    "src/similarity",
    "src/starter",
    "src/store/common",
    "src/store/postgres",
    "src/store/sqlite",
    "src/store/traits",
    "src/store/view",
    "src/telemetry",
    "src/train",
    "src/worker",
    "tests/fuzz",
    "tests/it/algorithm",
    "tests/it/artifacts",
    "tests/it/bench",
    "tests/it/crash",
    "tests/it/data",
    "tests/it/http",
    "tests/it/hub",
    "tests/it/operations",
    "tests/it/prompt",
    "tests/it/reward",
    "tests/it/roles",
    "tests/it/serving",
    "tests/it/train",
    "tests/it/worker",
    "web/app",
    "web/css",
];

fn texts(path: &Path, out: &mut Vec<(PathBuf, String)>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            texts(&entry.unwrap().path(), out);
        }
    } else if path.extension().is_some_and(|end| ["rs", "md", "js", "css", "html"].iter().any(|known| end == *known)) {
        out.push((path.to_owned(), std::fs::read_to_string(path).unwrap()));
    }
}

fn read(path: &str) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path), &mut out);
    assert!(!out.is_empty(), "{path} has no texts");
    out
}

/// Does `line` contain `phrase` as whole words? Underscores belong to words.
fn contains(line: &str, phrase: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(phrase)
        .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + phrase.len()..].starts_with(is_word))
}

#[test]
fn replaced_names_stay_away() {
    let mut faults = Vec::new();
    for (folder, old, instead) in NAMES {
        for (file, text) in read(folder) {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| contains(line, old)) {
                faults.push(format!("{}:{}: `{old}`, write `{instead}`: {}", file.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn plain_rooms_stay_plain() {
    let mut faults = Vec::new();
    for folder in PLAIN {
        for (file, text) in read(folder) {
            for (number, line) in text.to_lowercase().lines().enumerate() {
                let found = PHRASES.iter().find(|(phrase, _)| contains(line, phrase));
                faults.extend(found.map(|(phrase, instead)| {
                    format!("{}:{}: \"{phrase}\", write e.g. {instead}: {}", file.display(), number + 1, line.trim())
                }));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn whole_words_are_found_and_parts_are_not() {
    assert!(contains("it lies beside the file", "beside") && contains("beside", "beside"));
    assert!(!contains("besides that", "beside") && !contains("set_beside", "beside"));
}

/// Each term has one row in the glossary, and the pages for newcomers link to it.
#[test]
fn the_glossary_has_each_term_once() {
    let glossary = &read("docs/glossary.md")[0].1;
    let mut terms: Vec<&str> = glossary
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .map(|(term, _)| term)
        .filter(|term| *term != "term")
        .flat_map(|terms| terms.split(", "))
        .collect();
    assert!(terms.len() > 50);
    terms.sort_unstable();
    let twice: Vec<_> = terms.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
