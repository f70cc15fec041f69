//! Which files of a repository are needed.

use super::{HubError, Snapshot};

/// Ends of the names of files that a model may need.
const KNOWN: [&str; 6] = [".json", ".safetensors", ".txt", ".jinja", ".md", ".model"];
/// What the names of licences begin with.
const NAMED: [&str; 2] = ["LICENSE", "NOTICE"];
/// What the names of weights in other layouts begin with.
const FOREIGN: &str = "consolidated";

/// The files that a model needs: configuration, tokenizer, template, licence and weights, all of the top folder. Small
/// files first: what is wrong with them shows before gigabytes have come.
pub fn model_files(snapshot: &Snapshot) -> Result<Vec<String>, HubError> {
    let needed = |file: &&String| {
        let named = NAMED.iter().any(|name| file.starts_with(name)) || KNOWN.iter().any(|end| file.ends_with(end));
        named && !file.contains('/') && !file.starts_with(FOREIGN)
    };
    let mut files: Vec<String> = snapshot.files.iter().filter(needed).cloned().collect();
    if !files.iter().any(|file| file == "config.json") || !files.iter().any(|file| is_weights(file)) {
        return Err(HubError::NoModel { id: snapshot.id.clone() });
    }
    files.sort_by_key(|file| (is_weights(file), file.clone()));
    Ok(files)
}

fn is_weights(file: &str) -> bool {
    file.ends_with(".safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Kind;

    fn files(names: &[&str]) -> Result<Vec<String>, HubError> {
        let files = names.iter().map(|name| (*name).to_owned()).collect();
        model_files(&Snapshot { kind: Kind::Model, id: "org/name".into(), commit: "0123456".into(), files })
    }

    #[test]
    fn only_what_a_model_needs_is_fetched_and_weights_come_last() {
        let wanted = files(&[
            "model-00001-of-00002.safetensors",
            "README.md",
            "original/weights.safetensors",
            "pytorch_model.bin",
            "config.json",
            "LICENSE",
            ".gitattributes",
            "consolidated.safetensors",
            "merges.txt",
            "chat_template.jinja",
        ]);
        let wanted = wanted.unwrap();
        assert_eq!(wanted.last().unwrap(), "model-00001-of-00002.safetensors");
        assert_eq!(wanted.len(), 6, "{wanted:?}");
        let error = files(&["config.json", "pytorch_model.bin"]).unwrap_err().to_string();
        assert!(error.contains("org/name") && error.contains("safetensors"), "{error}");
    }
}
