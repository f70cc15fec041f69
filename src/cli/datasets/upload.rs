//! A form (`multipart/form-data`, RFC 7578) that is streamed from disk.

use std::path::{Path, PathBuf};

use axum::body::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value};
use tokio_util::io::ReaderStream;

use crate::outbound::{self, Body};

/// A file to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its location.
    pub path: PathBuf,
    /// Its path inside the data set.
    pub inside: String,
}

/// Every file of `paths`. The files of a folder keep their paths below it, which begin with its name where there are
/// other paths.
pub fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, String> {
    let mut found = Vec::new();
    for path in paths {
        let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
        if path.metadata().map_err(cannot)?.is_dir() {
            // A single folder is the data set itself; otherwise its name is part of the paths in rows.
            let base = path.canonicalize().map_err(cannot)?;
            let prefix = base.file_name().filter(|_| paths.len() > 1).map(PathBuf::from).unwrap_or_default();
            found.extend(folder(path, &prefix).map_err(cannot)?);
        } else {
            let inside = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push(Source { path: path.clone(), inside });
        }
    }
    Ok(found)
}

fn folder(root: &Path, prefix: &Path) -> std::io::Result<Vec<Source>> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.file_type()?.is_dir() {
                open.push(path);
            } else if path.is_file() {
                // Links to files are followed; links to folders are not, because they could be circular.
                let inside = prefix.join(path.strip_prefix(root).unwrap_or(&path)).to_string_lossy().into_owned();
                found.push(Source { path, inside });
            }
        }
    }
    found.sort_by(|a, b| a.inside.cmp(&b.inside));
    Ok(found)
}

/// Fields and files to send to a server.
#[derive(Debug)]
pub struct Form {
    boundary: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    File(PathBuf),
}

impl Form {
    /// Fields first, then every file.
    pub fn new(fields: Map<String, Value>, files: &[Source]) -> Self {
        let mut form = Self { boundary: crate::clock::new_id("vgpo"), pieces: Vec::new() };
        for (name, value) in fields {
            let text = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            form.part(&format!("name=\"{name}\""));
            form.pieces.push(Piece::Text(text));
        }
        for source in files {
            form.file(source);
        }
        form.pieces.push(Piece::Text(format!("\r\n--{}--\r\n", form.boundary)));
        form
    }

    fn file(&mut self, source: &Source) {
        // Escapes the three characters that would end the name, like browsers.
        let name = source.inside.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        self.part(&format!("name=\"file\"; filename=\"{name}\""));
        self.pieces.push(Piece::File(source.path.clone()));
    }

    fn part(&mut self, what: &str) {
        let begin = if self.pieces.is_empty() { "" } else { "\r\n" };
        let head = format!("{begin}--{}\r\nContent-Disposition: form-data; {what}\r\n\r\n", self.boundary);
        self.pieces.push(Piece::Text(head));
    }

    /// What separates the parts.
    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// The bytes, read on demand.
    pub fn body(&self) -> Body {
        outbound::streamed(stream::iter(self.pieces.clone()).flat_map(Piece::bytes))
    }
}

impl Piece {
    fn bytes(self) -> BoxStream<'static, std::io::Result<Bytes>> {
        match self {
            Self::Text(text) => stream::once(async move { Ok(Bytes::from(text)) }).boxed(),
            Self::File(path) => {
                let shown = path.display().to_string();
                let named = move |error: std::io::Error| std::io::Error::other(format!("{shown}: {error}"));
                stream::once(tokio::fs::File::open(path))
                    .map_ok(|file| ReaderStream::with_capacity(file, 1 << 18))
                    .try_flatten()
                    .map_err(named)
                    .boxed()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_form_holds_fields_then_files_with_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("images/.hidden")).unwrap();
        for (name, text) in
            [("rows.jsonl", "{}"), ("images/a \"b\".png", "x"), (".DS_Store", "no"), ("images/.hidden/c", "no")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let fields = Map::from_iter([("name".to_owned(), "mine".into()), ("seed".to_owned(), 3.into())]);
        let form = Form::new(fields, &sources(&[folder.path().to_owned()]).unwrap());
        let bytes: Vec<Bytes> = stream::iter(form.pieces.clone()).flat_map(Piece::bytes).try_collect().await.unwrap();
        let text = String::from_utf8(bytes.concat()).unwrap().replace(form.boundary(), "B");
        assert_eq!(
            text,
            "--B\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nmine\
             \r\n--B\r\nContent-Disposition: form-data; name=\"seed\"\r\n\r\n3\
             \r\n--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"images/a %22b%22.png\"\r\n\r\nx\
             \r\n--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"rows.jsonl\"\r\n\r\n{}\
             \r\n--B--\r\n"
        );
        let both = [folder.path().join("rows.jsonl"), folder.path().join("images")];
        let names: Vec<String> = sources(&both).unwrap().into_iter().map(|source| source.inside).collect();
        assert_eq!(names, ["rows.jsonl", "images/a \"b\".png"]);
        assert!(sources(&[folder.path().join("none")]).unwrap_err().contains("none"));
    }
}
