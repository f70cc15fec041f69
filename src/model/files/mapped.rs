//! Files as memory: the pages of a mapped file are those of the system's cache, which all processes share.
//!
//! A file is mapped only if it is write-protected: published checkpoints and downloads are marked so. Cutting a
//! mapped file short would end the process with SIGBUS at the next access, and writing into it would change weights in
//! use; a file that is removed or replaced by a rename stays as it was. Files that may be written to are read
//! instead.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::model::ModelError;
use crate::model::kernels::Memory;
use crate::model::weights::file_error;

/// A mapped file.
#[derive(Debug)]
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps a file whose permissions protect it from writing; none for other files.
    ///
    /// # Errors
    /// A file that cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Option<Self>, ModelError> {
        let map = || {
            let file = File::open(path)?;
            if !file.metadata()?.permissions().readonly() {
                return Ok(None);
            }
            // SAFETY: the bytes are only read, as numbers of which every pattern is valid. They change, or vanish, only
            // if the write protection of a file in use is lifted and it is written to in place; see above.
            #[allow(unsafe_code)]
            let mapped = unsafe { Mmap::map(&file)? };
            Ok(Some(Self(mapped)))
        };
        map().map_err(|e| file_error(path, e))
    }
}

impl Memory for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}
