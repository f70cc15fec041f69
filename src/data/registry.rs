//! Data sets by name. Tasks that ship with the program are registered here, one line each.

use std::sync::Arc;

use serde_json::{Value, json};

use super::digits::DigitsTask;
use super::survey::{SurveySettings, SurveyTask};
use super::{DataError, Dataset, EVAL_ROWS, TRAIN_ROWS, chart, geometry, objects};

/// A data set that ships with the program.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub description: &'static str,
    /// Training rows.
    pub train_rows: u64,
    /// Held-out rows.
    pub eval_rows: u64,
    /// Job settings that fit it: a partial job in the form of `POST /v1/jobs`.
    pub recommended: Value,
}

/// A task: its name, what it is, the tokens that its worked responses need at most, how it is opened.
struct Task {
    name: &'static str,
    description: &'static str,
    tokens: u32,
    open: fn() -> Result<Arc<dyn Dataset>, DataError>,
}

// The longest worked response to digits has 7 tokens a digit and 8 around them.
const TASKS: &[Task] = &[
    Task {
        name: "digits",
        description: "Questions about four handwritten digits in 56 x 56 pixels; held-out rows show held-out \
                     handwriting.",
        tokens: 48,
        open: || Ok(Arc::new(DigitsTask::two_by_two()?)),
    },
    Task {
        name: "digits-6",
        description: "Questions about six handwritten digits in 84 x 56 pixels, harder; held-out rows show held-out \
                     handwriting.",
        tokens: 64,
        open: || Ok(Arc::new(DigitsTask::two_by_three()?)),
    },
    Task {
        name: "objects",
        description: "Count and compare coloured shapes and faces in 224 x 224 pixels; held-out rows show held-out \
                     collections.",
        tokens: 384,
        open: || Ok(Arc::new(objects::task())),
    },
    Task {
        name: "chart",
        description: "Read a bar chart of 224 x 224 pixels and compute with it; held-out rows show held-out values.",
        tokens: 256,
        open: || Ok(Arc::new(chart::task())),
    },
    Task {
        name: "geometry",
        description: "Areas, perimeters and sides of labelled rectangles and right triangles in 224 x 224 pixels; \
                     held-out rows show held-out lengths.",
        tokens: 256,
        open: || Ok(Arc::new(geometry::task())),
    },
    Task {
        name: "survey",
        description: "Questions that need all of nine handwritten digits in 84 x 84 pixels, with long responses; \
                     held-out rows show held-out handwriting.",
        tokens: 192,
        open: || Ok(Arc::new(SurveyTask::new(SurveySettings::default())?)),
    },
];

/// All data sets that ship with the program.
pub fn built_in() -> Vec<BuiltIn> {
    let describe = |task: &Task| BuiltIn {
        name: task.name,
        description: task.description,
        train_rows: TRAIN_ROWS,
        eval_rows: EVAL_ROWS,
        recommended: settings(task.tokens),
    };
    TASKS.iter().map(describe).collect()
}

/// Job settings that fit worked responses of this many tokens.
fn settings(tokens: u32) -> Value {
    json!({ "reward": { "type": "math" }, "rollout": { "max_new_tokens": tokens } })
}

/// Job settings that fit a data set that ships with the program, by a name that [`open`] knows.
pub fn recommended(name: &str) -> Option<Value> {
    if let Some(task) = TASKS.iter().find(|task| task.name == name) {
        return Some(settings(task.tokens));
    }
    let survey = survey(name)?.ok()?;
    Some(settings(SurveyTask::response_tokens(&survey)))
}

fn survey(name: &str) -> Option<Result<SurveySettings, DataError>> {
    SurveySettings::parse(name, SurveySettings::default())
}

/// Opens a data set by name; a survey's may go on with settings (`survey:looks=16`).
pub fn open(name: &str) -> Result<Arc<dyn Dataset>, DataError> {
    if let Some(task) = TASKS.iter().find(|task| task.name == name) {
        return (task.open)();
    }
    if let Some(settings) = survey(name) {
        return Ok(Arc::new(SurveyTask::new(settings?)?));
    }
    let known: Vec<&str> = TASKS.iter().map(|task| task.name).collect();
    Err(DataError::Unknown { name: name.to_owned(), known: known.join(", ") })
}
