//! Repositories of a model hub, and how they are written: `org/name`, `org/name@revision`, with or without `hf:`.

use std::str::FromStr;

/// What a repository's name begins with where other names are possible too.
pub(super) const SCHEME: &str = "hf:";
/// Separates a name from what is meant of it: a revision of a repository, a checkpoint of a run.
pub(super) const AT: char = '@';
/// The revision where none is named.
const MAIN: &str = "main";
const LONGEST: usize = 200;

/// A name that no repository of a hub can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names nothing at a hub: {problem}")]
pub struct RepositoryError {
    /// The name, without control characters.
    pub text: String,
    /// What is wrong.
    pub problem: &'static str,
}

/// A repository, and perhaps a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `org/name`.
    pub id: String,
    /// A branch, a tag or a commit.
    pub revision: Option<String>,
}

impl Repository {
    /// The repository `id` at a revision; `main` without one.
    pub fn new(id: &str, revision: Option<&str>) -> Result<Self, RepositoryError> {
        let fault = |text: &str, problem: &'static str| RepositoryError {
            text: text.chars().filter(|c| !c.is_control()).take(LONGEST).collect(),
            problem,
        };
        let parts: Vec<&str> = id.split('/').collect();
        if !(1..=2).contains(&parts.len()) || id.len() > LONGEST || !parts.iter().all(|part| is_plain(part)) {
            return Err(fault(id, "it must read org/name, of letters, digits, `.`, `_` and `-`"));
        }
        if let Some(revision) = revision
            && (revision.len() > LONGEST || !revision.split('/').all(is_plain))
        {
            return Err(fault(revision, "a revision is a branch, a tag or a commit"));
        }
        Ok(Self { id: id.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// The repository that a text with `hf:` in front names; none for any other text.
    pub fn with_scheme(text: &str) -> Option<Result<Self, RepositoryError>> {
        text.strip_prefix(SCHEME).map(str::parse)
    }

    /// The revision to ask for.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }
}

/// Letters, digits and a few signs, a letter or digit first: nothing that means something in a path or an address.
fn is_plain(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_alphanumeric())
        && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && !part.contains("..")
}

impl FromStr for Repository {
    type Err = RepositoryError;

    /// `org/name` or `org/name@revision`, with or without `hf:` before it.
    fn from_str(text: &str) -> Result<Self, RepositoryError> {
        let text = text.strip_prefix(SCHEME).unwrap_or(text);
        match text.split_once(AT) {
            Some((id, revision)) => Self::new(id, Some(revision)),
            None => Self::new(text, None),
        }
    }
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{AT}{}", self.id, self.revision())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_paths_refused() {
        let read = |text: &str| text.parse::<Repository>().map(|r| r.to_string());
        assert_eq!(read("hf:Qwen/Qwen2.5-VL-3B-Instruct").unwrap(), "Qwen/Qwen2.5-VL-3B-Instruct@main");
        assert_eq!(read("gpt2@refs/pr/1").unwrap(), "gpt2@refs/pr/1");
        for bad in ["", "a/b/c", "../x", "a/..", "a/b?x", "a b/c", "a/b@", "a/b@../x", "a/b@x?y", "/a", "a/"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("names nothing at a hub"), "{bad}: {error}");
        }
    }
}
