//! How a request, a job or a command names a model, and which names a model may be given: the only place that knows.

use std::str::FromStr;

use super::brief::{QUOTED, cut};
use super::repository::{AT, Repository, RepositoryError, SCHEME};
use super::run::Run;

/// What ids of checkpoints begin with.
const CHECKPOINT: &str = "ckpt_";
/// What ids of runs begin with.
const RUN: &str = "run_";
/// What ids of jobs begin with.
const JOB: &str = "job_";
/// Beginnings that no model's own name may have: a reference with one of them means something else.
pub const RESERVED: [&str; 4] = [SCHEME, CHECKPOINT, RUN, JOB];
/// Longest name of a model, registered or served.
pub const MAX_NAME: usize = 200;

/// What names a model. A database of an earlier program may hold a model whose name has a reserved beginning, so
/// callers look for a model with the whole text as its name first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelReference {
    /// `hf:org/name`, `hf:org/name@revision`: the model that was registered from this repository.
    Hub(Repository),
    /// `ckpt_…`: a checkpoint.
    Checkpoint(String),
    /// `run_…@best`, `run_…@last`: a checkpoint of a run.
    Run {
        /// The run's id.
        run: String,
        /// Which of its checkpoints.
        which: RunCheckpoint,
    },
    /// `job_…`: the checkpoint with which a job ends.
    Job(String),
    /// The name of a registered model, or one that a checkpoint is served under.
    Name(String),
}

/// A checkpoint of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunCheckpoint {
    /// The best one so far.
    Best,
    /// The newest one.
    Last,
}

/// A reference that can mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelReferenceError {
    /// A run with something else after `@`.
    #[error("`@{which}` names no checkpoint of a run; use @{} or @{}", RunCheckpoint::Best, RunCheckpoint::Last)]
    Which {
        /// What was there.
        which: String,
    },
    /// `hf:` and no repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

/// A name that a model cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelNameError {
    /// It has the wrong form.
    #[error(
        "`{name}` must be letters, digits, `.`, `_` or `-`, in parts separated by `/`, each with a letter or digit \
         first, and have 1 to {MAX_NAME} characters"
    )]
    Form {
        /// The beginning of the name, without control characters.
        name: String,
    },
    /// It would mean something else as a reference.
    #[error("`{name}` must not begin with `{beginning}`: {} mean something else", RESERVED.join(", "))]
    Reserved {
        /// The beginning of the name.
        name: String,
        /// Its reserved beginning.
        beginning: &'static str,
    },
}

impl ModelReference {
    /// The newest checkpoint of a run.
    pub fn last_of(run: &str) -> Self {
        Self::Run { run: run.to_owned(), which: RunCheckpoint::Last }
    }
}

impl RunCheckpoint {
    /// The id of this checkpoint of `run`, if the run has one.
    pub fn of(self, run: Run) -> Option<String> {
        match self {
            Self::Best => run.best_checkpoint,
            Self::Last => run.last_checkpoint,
        }
    }
}

impl FromStr for ModelReference {
    type Err = ModelReferenceError;

    fn from_str(text: &str) -> Result<Self, ModelReferenceError> {
        if let Some(repository) = Repository::with_scheme(text) {
            return Ok(Self::Hub(repository?));
        }
        if let Some((run, which)) = text.split_once(AT).filter(|(run, _)| run.starts_with(RUN)) {
            return Ok(Self::Run { run: run.to_owned(), which: which.parse()? });
        }
        let whole = text.to_owned();
        Ok(match text {
            _ if text.starts_with(CHECKPOINT) => Self::Checkpoint(whole),
            _ if text.starts_with(JOB) => Self::Job(whole),
            _ => Self::Name(whole),
        })
    }
}

impl std::fmt::Display for ModelReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub(Repository { id, revision: None }) => write!(f, "{SCHEME}{id}"),
            Self::Hub(repository) => write!(f, "{SCHEME}{repository}"),
            Self::Run { run, which } => write!(f, "{run}{AT}{which}"),
            Self::Checkpoint(text) | Self::Job(text) | Self::Name(text) => f.write_str(text),
        }
    }
}

impl FromStr for RunCheckpoint {
    type Err = ModelReferenceError;

    fn from_str(text: &str) -> Result<Self, ModelReferenceError> {
        [Self::Best, Self::Last]
            .into_iter()
            .find(|which| which.to_string() == text)
            .ok_or_else(|| ModelReferenceError::Which { which: cut(text, QUOTED) })
    }
}

impl std::fmt::Display for RunCheckpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Best => "best",
            Self::Last => "last",
        })
    }
}

/// Can this be the name of an adapter that a server loads? Other than models, it may begin as a job's id does: trainers
/// name what they publish after their job.
///
/// # Errors
/// As [`check_name`].
pub fn check_adapter_name(name: &str) -> Result<(), ModelNameError> {
    check_name(name.strip_prefix(JOB).unwrap_or(name))
}

/// May a model be registered, or a checkpoint be served, under this name?
///
/// # Errors
/// Says what is wrong with it.
pub fn check_name(name: &str) -> Result<(), ModelNameError> {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    let shown = || cut(name, QUOTED).chars().filter(|c| !c.is_control()).collect();
    // A reserved beginning may hold a sign that no name has, so it is looked at first.
    if let Some(beginning) = RESERVED.into_iter().find(|beginning| name.starts_with(beginning)) {
        return Err(ModelNameError::Reserved { name: shown(), beginning });
    }
    if name.len() > MAX_NAME || !name.split('/').all(plain) {
        return Err(ModelNameError::Form { name: shown() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written_alike() {
        let texts = [
            "hf:org/name",
            "hf:org/name@main",
            "ckpt_1",
            "run_1@best",
            "run_1@last",
            "job_1",
            "starter",
            "team/digits",
            "run_1",
            "starter@best",
        ];
        for text in texts {
            assert_eq!(text.parse::<ModelReference>().unwrap().to_string(), text);
        }
        assert_eq!("run_1@last".parse(), Ok(ModelReference::last_of("run_1")));
        assert_eq!("starter@best".parse(), Ok(ModelReference::Name("starter@best".to_owned())));
        let wrong = |text: &str| text.parse::<ModelReference>().unwrap_err().to_string();
        assert_eq!(wrong("run_1@worst"), "`@worst` names no checkpoint of a run; use @best or @last");
        assert!(wrong("hf:../x").contains("names nothing at a hub"));
    }

    #[test]
    fn what_a_reference_means_is_no_name() {
        for beginning in RESERVED {
            let name = format!("{beginning}x");
            assert!(matches!(check_name(&name), Err(ModelNameError::Reserved { .. })), "{name}");
        }
        for name in ["", "a b", "a//b", "/a", "a/", "a/../b", "ä", &"x".repeat(MAX_NAME + 1)] {
            assert!(matches!(check_name(name), Err(ModelNameError::Form { .. })), "{name}");
        }
        for name in ["starter", "team/digits", "Qwen/Qwen2.5-VL-3B-Instruct", "jobs", &"x".repeat(MAX_NAME)] {
            assert_eq!(check_name(name), Ok(()));
        }
    }
}
