//! A bucket whose calls block: it drives the object store's client on a thread of its own, so that it can be called
//! from threads with and without a runtime.

use std::fmt::Display;
use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path as Place;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions,
    PutOptions, WriteMultipart,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

use super::super::ArtifactError;

/// Files up to this size are sent in one request.
const PART: u64 = 8 << 20;
/// Most parts of a file; S3 allows 10 000.
const MAX_PARTS: u64 = 9_000;
/// Parts of one file that are sent at the same time.
const PARTS_AT_ONCE: usize = 4;
/// Name of the attribute that holds the hash of a file.
const HASH: &str = "sha256";

type Result<T> = std::result::Result<T, ArtifactError>;
type Asked<T> = std::result::Result<T, object_store::Error>;

/// A bucket, or a part of one.
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    runtime: Option<Runtime>,
}

impl Bucket {
    /// Everything below `prefix`.
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).thread_name("objects").enable_all();
        let runtime = runtime.build().map_err(|error| failed("reach", prefix)(&error))?;
        Ok(Self { store, prefix: prefix.trim_matches('/').to_owned(), runtime: Some(runtime) })
    }

    fn place(&self, path: &str) -> Place {
        Place::from(format!("{}/{path}", self.prefix))
    }

    /// Waits for an answer; `action` and `path` name what was tried when there is none.
    fn wait<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &str,
        work: impl Future<Output = Asked<T>> + Send + 'static,
    ) -> Result<Option<T>> {
        let (sender, answer) = std::sync::mpsc::channel();
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move { sender.send(work.await) });
        }
        match answer.recv() {
            Ok(Ok(found)) => Ok(Some(found)),
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(None),
            Ok(Err(error)) => Err(failed(action, path)(&error)),
            Err(error) => Err(failed(action, path)(&error)),
        }
    }

    /// The content of a small object; none where there is no such object.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        self.wait("read", path, async move { Ok(store.get(&place).await?.bytes().await?.to_vec()) })
    }

    /// Writes an object whole, in the place of an older one.
    pub(super) fn write(&self, path: &str, content: Vec<u8>) -> Result<()> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        let written = self.wait("write", path, async move { store.put(&place, content.into()).await.map(drop) })?;
        written.ok_or_else(|| failed("write", path)(&"there is no such bucket"))
    }

    /// Bytes of an object; none where there is no such object.
    pub(super) fn size(&self, path: &str) -> Result<Option<u64>> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        self.wait("look at", path, async move { Ok(store.head(&place).await?.size) })
    }

    /// A part of an object.
    pub(super) fn part(&self, path: &str, part: Range<u64>) -> Result<Vec<u8>> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        let read = self.wait("read", path, async move { Ok(store.get_range(&place, part).await?.to_vec()) })?;
        read.ok_or_else(|| ArtifactError::NotFound(path.to_owned()))
    }

    /// Writes a small object that must not exist yet; false where it does.
    pub(super) fn create(&self, path: &str, content: Vec<u8>) -> Result<bool> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        let created = self.wait("write", path, async move {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match store.put_opts(&place, content.clone().into(), options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
                // Some stores do not support conditions; the caller has checked before.
                Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                    store.put(&place, content.into()).await.map(|_| true)
                }
                Err(error) => Err(error),
            }
        })?;
        Ok(created.unwrap_or_default())
    }

    /// Uploads a file, a large one in parts; an existing one is not uploaded again.
    pub(super) fn send(&self, from: &Path, path: &str, size: u64, sha256: &str) -> Result<()> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        let (from, sha256) = (from.to_path_buf(), sha256.to_owned());
        let sent = self.wait("send", path, send(store, from, place, size, sha256))?;
        // Its bucket does not exist.
        sent.ok_or_else(|| failed("send", path)(&"there is no such bucket"))
    }

    /// Fetches an object into a file, from where the file ends.
    pub(super) fn fetch(&self, path: &str, to: &Path, size: u64) -> Result<()> {
        let (store, place, to) = (Arc::clone(&self.store), self.place(path), to.to_path_buf());
        let fetched = self.wait("fetch", path, fetch(store, place, to, size))?;
        fetched.ok_or_else(|| ArtifactError::NotFound(path.to_owned()))
    }

    /// Names of the objects (`true`) or of the folders (`false`) directly below `folder`.
    pub(super) fn names(&self, folder: &str, objects: bool) -> Result<Vec<String>> {
        let (store, place) = (Arc::clone(&self.store), self.place(folder));
        let listed = self.wait("list", folder, async move { store.list_with_delimiter(Some(&place)).await })?;
        let Some(listed) = listed else { return Ok(Vec::new()) };
        let places: Vec<Place> = if objects {
            listed.objects.into_iter().map(|object| object.location).collect()
        } else {
            listed.common_prefixes
        };
        Ok(places.iter().filter_map(|place| place.filename().map(ToOwned::to_owned)).collect())
    }

    /// Removes an object; one that is absent is fine.
    pub(super) fn remove(&self, path: &str) -> Result<()> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        self.wait("remove", path, async move { store.delete(&place).await }).map(|_| ())
    }

    /// Removes everything below `folder`.
    pub(super) fn remove_all(&self, folder: &str) -> Result<()> {
        let (store, place) = (Arc::clone(&self.store), self.place(folder));
        let gone = async move {
            let places: Vec<Place> = store.list(Some(&place)).map_ok(|object| object.location).try_collect().await?;
            let removing = store.delete_stream(futures_util::stream::iter(places).map(Ok).boxed());
            let mut removing = std::pin::pin!(removing);
            while let Some(removed) = removing.next().await {
                match removed {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        self.wait("remove", folder, gone).map(|_| ())
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // A runtime must not be waited for inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn failed<'a>(action: &'static str, path: &'a str) -> impl FnOnce(&dyn Display) -> ArtifactError + use<'a> {
    move |problem| ArtifactError::Remote { action, path: path.to_owned(), problem: problem.to_string() }
}

/// A failed operation on a local file, in the words of the client.
fn local(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "file", source: Box::new(error) }
}

async fn send(store: Arc<dyn ObjectStore>, from: PathBuf, place: Place, size: u64, sha256: String) -> Asked<()> {
    let attributes = Attributes::from_iter([(Attribute::Metadata(HASH.into()), sha256.clone())]);
    let head = GetOptions { head: true, ..GetOptions::default() };
    match store.get_opts(&place, head).await {
        Ok(found) if found.meta.size == size && found.attributes == attributes_of(&found.attributes, &sha256) => {
            return Ok(());
        }
        Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    if size <= PART {
        let content = tokio::fs::read(&from).await.map_err(local)?;
        let options = PutOptions { attributes, ..PutOptions::default() };
        return store.put_opts(&place, content.into(), options).await.map(|_| ());
    }
    let part = size.div_ceil(MAX_PARTS).max(PART) as usize;
    let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
    let upload = store.put_multipart_opts(&place, options).await?;
    let mut writer = WriteMultipart::new_with_chunk_size(upload, part);
    match write_parts(&from, part, &mut writer).await {
        Ok(()) => writer.finish().await.map(|_| ()),
        Err(error) => {
            // The first failure is reported; parts of an upload that never ends are invisible.
            let _ = writer.abort().await;
            Err(error)
        }
    }
}

/// The attributes `found`, had they been written with this hash.
fn attributes_of(found: &Attributes, sha256: &str) -> Attributes {
    let mut wanted = found.clone();
    wanted.insert(Attribute::Metadata(HASH.into()), sha256.to_owned().into());
    wanted
}

async fn write_parts(from: &Path, part: usize, writer: &mut WriteMultipart) -> Asked<()> {
    let mut file = tokio::fs::File::open(from).await.map_err(local)?;
    let mut buffer = vec![0; part];
    loop {
        writer.wait_for_capacity(PARTS_AT_ONCE).await?;
        let read = file.read(&mut buffer).await.map_err(local)?;
        if read == 0 {
            return Ok(());
        }
        writer.write(&buffer[..read]);
    }
}

async fn fetch(store: Arc<dyn ObjectStore>, place: Place, to: PathBuf, size: u64) -> Asked<()> {
    let mut file = tokio::fs::OpenOptions::new().create(true).append(true).open(&to).await.map_err(local)?;
    let mut there = file.metadata().await.map_err(local)?.len();
    if there > size {
        file.set_len(0).await.map_err(local)?;
        there = 0;
    }
    if there < size {
        let options = GetOptions { range: Some(GetRange::Offset(there)), ..GetOptions::default() };
        let mut content = store.get_opts(&place, options).await?.into_stream();
        while let Some(bytes) = content.try_next().await? {
            file.write_all(&bytes).await.map_err(local)?;
        }
    }
    file.flush().await.map_err(local)?;
    file.sync_all().await.map_err(local)
}
