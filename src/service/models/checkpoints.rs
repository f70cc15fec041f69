//! Checkpoints: list, get, download, serve under a name, delete.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifacts::ArtifactError;
use crate::domain::checkpoint::{Checkpoint, CheckpointFilter, TRAINER};
use crate::domain::model_reference::check_name;
use crate::domain::page::{Listing, Page};
use crate::service::models::Models;
use crate::service::{Result, ServiceError};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Chunks that may wait for a slow reader.
const AHEAD: usize = 4;
/// Size of a block of a tar file.
const BLOCK: u64 = 512;

/// A checkpoint that is being sent as a tar file.
#[derive(Debug)]
pub struct Download {
    /// Name of the file.
    pub file_name: String,
    /// Size of the whole in bytes.
    pub bytes: u64,
    /// Changes with any byte of the files.
    pub etag: String,
    /// The bytes, read as fast as they are taken.
    pub chunks: tokio::sync::mpsc::Receiver<std::io::Result<Vec<u8>>>,
}

/// A file to send: its location, its path in the tar file, its size.
struct Entry {
    source: PathBuf,
    name: String,
    bytes: u64,
}

impl Models {
    /// Checkpoints, newest first.
    pub async fn checkpoints(&self, filter: &CheckpointFilter, page: &Page) -> Result<Listing<Checkpoint>> {
        Ok(self.store.checkpoints(filter, page).await?)
    }

    /// One checkpoint.
    pub async fn checkpoint(&self, id: &str) -> Result<Checkpoint> {
        Ok(self.store.checkpoint(id).await?)
    }

    /// The files of a checkpoint as a tar stream, in a folder named after it; with the trainer's own (optimizer,
    /// position, job) if asked for. Nothing is copied: files are read while they are sent.
    pub async fn download_checkpoint(&self, id: &str, trainer: bool) -> Result<Download> {
        let checkpoint = self.store.checkpoint(id).await?;
        let gone = |problem: String| ServiceError::Conflict(format!("the files of checkpoint `{id}`: {problem}"));
        let dir = self.artifact_path(&checkpoint.key).await?.map_err(|error| gone(error.to_string()))?;
        let wanted = checkpoint.manifest.files.iter().filter(|file| trainer || !file.path.starts_with(TRAINER));
        let entries: Vec<Entry> = wanted
            .map(|file| Entry {
                source: dir.join(&file.path),
                name: format!("{id}/{}", file.path),
                bytes: file.size_bytes,
            })
            .collect();
        // After the first byte it is too late to report it.
        for entry in &entries {
            let actual = tokio::fs::metadata(&entry.source).await.map_err(|error| gone(error.to_string()))?.len();
            if actual != entry.bytes {
                return Err(gone(short(&entry.source, actual, entry.bytes).to_string()));
            }
        }
        let bytes = entries.iter().map(|entry| BLOCK + entry.bytes.next_multiple_of(BLOCK)).sum::<u64>() + 2 * BLOCK;
        let (sender, chunks) = tokio::sync::mpsc::channel(AHEAD);
        let time = checkpoint.created_at.timestamp().max(0) as u64;
        tokio::task::spawn_blocking(move || {
            if let Err(error) = send(&entries, time, &sender) {
                tracing::warn!(%error, "a download broke off");
                // The client went away, or it learns that the stream is incomplete.
                let _ = sender.blocking_send(Err(error));
            }
        });
        let etag = format!("\"{}{}\"", checkpoint.manifest.sha256, if trainer { "-trainer" } else { "" });
        Ok(Download { file_name: format!("{id}.tar"), bytes, etag, chunks })
    }

    /// The folder of a checkpoint whose weights are what they were when they were stored.
    pub(in crate::service) async fn checkpoint_dir(
        &self,
        checkpoint: &Checkpoint,
    ) -> Result<std::result::Result<PathBuf, ArtifactError>> {
        let dir = match self.artifact_path(&checkpoint.key).await? {
            Ok(dir) => dir,
            absent => return Ok(absent),
        };
        let (intact, checkpoint) = (Arc::clone(&self.intact), checkpoint.clone());
        // One after the other: of several requests for a model, one reads it, and the others find it read.
        let _turn = self.comparing.lock().await;
        let compared = tokio::task::spawn_blocking(move || {
            let weights = |path: &str| !path.starts_with(TRAINER);
            intact.check(&checkpoint.key, &dir, &checkpoint.manifest, weights).map(|()| dir)
        });
        compared.await.map_err(|error| ServiceError::Internal(error.to_string()))
    }

    /// Serves a checkpoint under a model name; a checkpoint that had the name before loses it.
    pub async fn promote_checkpoint(&self, id: &str, name: &str) -> Result<Checkpoint> {
        check_name(name).map_err(|error| ServiceError::field("/name", error.to_string()))?;
        let checkpoint = self.store.promote(id, name).await?;
        self.tell_news();
        Ok(checkpoint)
    }

    /// Serves a checkpoint no more under its name; one without a name stays as it is.
    pub async fn demote_checkpoint(&self, id: &str) -> Result<Checkpoint> {
        let checkpoint = self.store.demote(id).await?;
        self.tell_news();
        Ok(checkpoint)
    }

    /// Forgets a checkpoint; its files follow. `Held` with the holders: a served name, its run (best, last), unfinished
    /// jobs, or the engine that has it in memory.
    pub async fn delete_checkpoint(&self, id: &str) -> Result<()> {
        self.forget_checkpoint(id, "asked by the API").await
    }

    /// The same for a reason of its own.
    pub(in crate::service) async fn forget_checkpoint(&self, id: &str, reason: &str) -> Result<()> {
        let checkpoint = self.store.checkpoint(id).await?;
        if self.is_in_memory(&checkpoint.id).await? {
            let holders = vec!["the engine (loaded in memory)".to_owned()];
            return Err(ServiceError::Held { kind: "checkpoint", id: id.to_owned(), holders });
        }
        let checkpoint = self.store.delete_checkpoint(id, reason).await?;
        self.tell_news();
        self.drop_files(&checkpoint).await
    }

    /// Removes the files of a deleted checkpoint; failures go to the log.
    pub(in crate::service) async fn drop_files(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.engine.unload(&checkpoint.id).await;
        // Noted with its record: what resists is tried again.
        if let Err(error) = self.remove_files(&checkpoint.key).await {
            tracing::warn!(checkpoint = %checkpoint.id, %error, "cannot remove the files of a checkpoint");
        }
        Ok(())
    }
}

/// What reads files and gives them on.
type Sender = tokio::sync::mpsc::Sender<std::io::Result<Vec<u8>>>;

/// Writes the tar file into the channel; an error ends it.
fn send(entries: &[Entry], time: u64, sender: &Sender) -> std::io::Result<()> {
    let give = |bytes: Vec<u8>| sender.blocking_send(Ok(bytes)).map_err(|_| std::io::ErrorKind::BrokenPipe.into());
    for entry in entries {
        give(header(entry, time)?)?;
        let mut file = std::fs::File::open(&entry.source)?.take(entry.bytes);
        let mut sent = 0;
        loop {
            let mut chunk = vec![0; CHUNK];
            let n = file.read(&mut chunk)?;
            if n == 0 {
                break;
            }
            chunk.truncate(n);
            sent += n as u64;
            give(chunk)?;
        }
        if sent < entry.bytes {
            return Err(short(&entry.source, sent, entry.bytes));
        }
        give(vec![0; (sent.next_multiple_of(BLOCK) - sent) as usize])?;
    }
    give(vec![0; 2 * BLOCK as usize])
}

fn header(entry: &Entry, time: u64) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_path(&entry.name)?;
    header.set_size(entry.bytes);
    header.set_mode(0o644);
    header.set_mtime(time);
    header.set_cksum();
    Ok(header.as_bytes().to_vec())
}

fn short(path: &Path, actual: u64, wanted: u64) -> std::io::Error {
    std::io::Error::other(format!("{} has {actual} bytes instead of {wanted}", path.display()))
}
