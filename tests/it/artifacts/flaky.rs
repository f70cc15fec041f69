//! An object store that fails when it is told to, and remembers what it was asked.

use std::fmt::{Display, Formatter};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// [`InMemory`] with failures.
#[derive(Debug, Default)]
pub struct Flaky {
    pub inner: InMemory,
    /// Writing an object whose name ends like this fails.
    pub refuses: Mutex<Option<&'static str>>,
    /// A download breaks off after this number of bytes; 0: none does.
    pub breaks_after: AtomicU64,
    /// Every object that was written.
    pub written: Mutex<Vec<String>>,
    /// Where every download began.
    pub begun: Mutex<Vec<u64>>,
}

fn broken() -> Error {
    Error::Generic { store: "flaky", source: "the line went dead".into() }
}

impl Flaky {
    fn write(&self, place: &Path) -> Result<()> {
        if self.refuses.lock().unwrap().is_some_and(|end| place.as_ref().ends_with(end)) {
            return Err(broken());
        }
        self.written.lock().unwrap().push(place.to_string());
        Ok(())
    }
}

impl Display for Flaky {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("flaky")
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, place: &Path, content: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.write(place)?;
        self.inner.put_opts(place, content, options).await
    }

    async fn put_multipart_opts(&self, place: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.write(place)?;
        self.inner.put_multipart_opts(place, options).await
    }

    async fn get_opts(&self, place: &Path, options: GetOptions) -> Result<GetResult> {
        let begin = match options.range {
            Some(GetRange::Offset(begin)) => Some(begin),
            _ => None,
        };
        let found = self.inner.get_opts(place, options).await?;
        let Some(begin) = begin else { return Ok(found) };
        self.begun.lock().unwrap().push(begin);
        let limit = self.breaks_after.swap(0, Ordering::SeqCst) as usize;
        if limit == 0 {
            return Ok(found);
        }
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let bytes = found.bytes().await?.slice(..limit);
        let content = futures_util::stream::iter([Ok(bytes), Err(broken())]).boxed();
        Ok(GetResult {
            payload: GetResultPayload::Stream(content),
            meta,
            range,
            attributes,
            extensions: Default::default(),
        })
    }

    fn delete_stream(&self, places: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(places)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).map_ok(|found| found).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
