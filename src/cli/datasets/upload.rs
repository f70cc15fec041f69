//! A form (`multipart/form-data`, RFC 7578) that is read from disk while it is sent.

use std::path::{Path, PathBuf};

use axum::body::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value};
use tokio_util::io::ReaderStream;

/// Fields and files on their way to a server.
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
    /// Fields first, then every file of `paths`; the files of a folder keep their paths below it, and behind its name
    /// where other paths stand beside it.
    pub fn new(fields: Map<String, Value>, paths: &[PathBuf]) -> Result<Self, String> {
        let mut form = Self { boundary: vgpo::clock::new_id("vgpo"), pieces: Vec::new() };
        for (name, value) in fields {
            let text = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            form.part(&format!("name=\"{name}\""));
            form.pieces.push(Piece::Text(text));
        }
        for path in paths {
            let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
            let kind = path.metadata().map_err(cannot)?;
            if kind.is_dir() {
                // A folder alone is the data set; beside others it is a part of it, and rows call it by its name.
                let base = path.canonicalize().map_err(cannot)?;
                let prefix = base.file_name().filter(|_| paths.len() > 1).map(PathBuf::from).unwrap_or_default();
                form.folder(path, &prefix).map_err(cannot)?;
            } else {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                form.file(path, &name);
            }
        }
        form.pieces.push(Piece::Text(format!("\r\n--{}--\r\n", form.boundary)));
        Ok(form)
    }

    fn folder(&mut self, root: &Path, prefix: &Path) -> std::io::Result<()> {
        let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if entry.file_name().to_string_lossy().starts_with('.') {
                    continue;
                }
                if kind.is_dir() {
                    open.push(entry.path());
                } else if entry.path().is_file() {
                    // A link counts as the file it leads to; a link to a folder could lead in circles.
                    found.push(entry.path());
                }
            }
        }
        found.sort();
        for path in found {
            let inside = prefix.join(path.strip_prefix(root).unwrap_or(&path));
            self.file(&path, &inside.to_string_lossy());
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: &str) {
        // The three characters that would end the name, as browsers write them.
        let name = name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        self.part(&format!("name=\"file\"; filename=\"{name}\""));
        self.pieces.push(Piece::File(path.to_owned()));
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

    /// The bytes, read when they are asked for.
    pub fn body(&self) -> reqwest::Body {
        reqwest::Body::wrap_stream(stream::iter(self.pieces.clone()).flat_map(Piece::bytes))
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
        let form = Form::new(fields, &[folder.path().to_owned()]).unwrap();
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
        let form = Form::new(Map::new(), &both).unwrap();
        let bytes: Vec<Bytes> = stream::iter(form.pieces.clone()).flat_map(Piece::bytes).try_collect().await.unwrap();
        let text = String::from_utf8(bytes.concat()).unwrap();
        assert!(
            text.contains("filename=\"rows.jsonl\"") && text.contains("filename=\"images/a %22b%22.png\""),
            "{text}"
        );
        assert!(Form::new(Map::new(), &[folder.path().join("none")]).unwrap_err().contains("none"));
    }
}
