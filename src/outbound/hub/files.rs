//! Which files of a repository are needed.

use super::{HubError, Snapshot};

/// Ends of the names of files that a model may need.
const KNOWN: [&str; 6] = [".json", ".safetensors", ".txt", ".jinja", ".md", ".model"];
/// What the names of licences begin with.
const NAMED: [&str; 2] = ["LICENSE", "NOTICE"];
/// What the names of weights in other layouts begin with.
const FOREIGN: &str = "consolidated";

/// The one file of weights that wins over any others.
const WHOLE: &str = "model.safetensors";

/// The files that a model needs: configuration, tokenizer, template, licence and weights, all of the top folder. Small
/// files first: what is wrong with them shows before gigabytes have come.
pub fn model_files(snapshot: &Snapshot) -> Result<Vec<String>, HubError> {
    let needed = |file: &&String| {
        let named = NAMED.iter().any(|name| file.starts_with(name)) || KNOWN.iter().any(|end| file.ends_with(end));
        named && !file.contains('/') && !file.starts_with(FOREIGN)
    };
    let mut files: Vec<String> = snapshot.files.iter().filter(needed).cloned().collect();
    if files.iter().any(|file| file == WHOLE) {
        files.retain(|file| file == WHOLE || !is_weights(file));
    }
    if !files.iter().any(|file| file == "config.json") || !files.iter().any(|file| is_weights(file)) {
        return Err(HubError::NoModel { id: snapshot.id.clone() });
    }
    files.sort_by_key(|file| (is_weights(file), file.clone()));
    Ok(files)
}

/// Ends of the names of files that rows are read from, or that hold such files.
const ROWS: [&str; 4] = [".jsonl", ".ndjson", ".parquet", ".zip"];
/// Ends of names that may as well be settings or notes; they count where nothing else holds rows.
const TABLES: [&str; 3] = [".json", ".tsv", ".csv"];
/// Ends of the names of images.
const IMAGES: [&str; 8] = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"];

/// The files that rows need: data files, archives and images, of one folder of the repository if one is named. Hidden
/// files are left out, and so are the files that a hub's own tools add to the rows.
pub fn dataset_files(snapshot: &Snapshot, folder: Option<&str>) -> Result<Vec<String>, HubError> {
    let prefix = folder.map(|folder| format!("{}/", folder.trim_matches('/'))).unwrap_or_default();
    let ends = |file: &str, ends: &[&str]| {
        let file = file.to_ascii_lowercase();
        ends.iter().any(|end| file.ends_with(end))
    };
    let shown = |file: &&String| file.starts_with(&prefix) && !file.split('/').any(|part| part.starts_with('.'));
    let all: Vec<&String> = snapshot.files.iter().filter(shown).collect();
    let rows = if all.iter().any(|file| ends(file, &ROWS)) { &ROWS[..] } else { &TABLES[..] };
    let needed = all.iter().filter(|file| ends(file, rows) || ends(file, &IMAGES));
    let mut files: Vec<String> = needed.map(|file| (*file).clone()).collect();
    if !files.iter().any(|file| ends(file, rows)) {
        let place = folder.map(|folder| format!(" in its folder `{folder}`")).unwrap_or_default();
        return Err(HubError::NoRows { id: snapshot.id.clone(), place });
    }
    // Rows first, so that missing files are detected before thousands of images are downloaded.
    files.sort_by_key(|file| (!ends(file, rows), file.clone()));
    Ok(files)
}

pub(super) fn is_weights(file: &str) -> bool {
    file.ends_with(".safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::hub::Kind;

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
        let whole = files(&["config.json", "model.safetensors", "model-00001-of-00001.safetensors"]).unwrap();
        assert_eq!(whole, ["config.json", "model.safetensors"], "what it wins over is not fetched");
        let error = files(&["config.json", "pytorch_model.bin"]).unwrap_err().to_string();
        assert!(error.contains("org/name") && error.contains("safetensors"), "{error}");
    }

    #[test]
    fn rows_come_before_images_and_notes_stay_behind() {
        let names =
            ["README.md", "images/a.PNG", "data/train.parquet", "other/test.jsonl", ".cache/x.jsonl", "load.py"];
        let files = names.iter().map(|name| (*name).to_owned()).collect();
        let snapshot = Snapshot { kind: Kind::Dataset, id: "org/rows".into(), commit: "0123456".into(), files };
        let all = dataset_files(&snapshot, None).unwrap();
        assert_eq!(all, ["data/train.parquet", "other/test.jsonl", "images/a.PNG"]);
        assert_eq!(dataset_files(&snapshot, Some("data/")).unwrap(), ["data/train.parquet"]);
        let error = dataset_files(&snapshot, Some("images")).unwrap_err().to_string();
        assert!(error.contains("org/rows") && error.contains("`images`") && error.contains(".parquet"), "{error}");
    }
}
