//! A cache of image vectors.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use image::RgbImage;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// Hash of an image's pixels.
pub(super) type PictureKey = [u8; 32];

/// The key of an image.
pub(super) fn key(picture: &RgbImage) -> PictureKey {
    let mut hash = Sha256::new();
    hash.update(picture.width().to_le_bytes());
    hash.update(picture.height().to_le_bytes());
    hash.update(picture.as_raw());
    hash.finalize().into()
}

/// Vectors by image: between one and two times `capacity` of the most recently used.
#[derive(Debug)]
pub(super) struct Remembered {
    capacity: usize,
    generations: Mutex<Generations>,
}

/// Vectors used since the last rotation, and those before; a rotation drops the older ones.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<PictureKey, Arc<[f32]>>,
    old: HashMap<PictureKey, Arc<[f32]>>,
}

impl Remembered {
    /// An empty cache.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), generations: Mutex::default() }
    }

    /// The vector of an image, if it is cached.
    pub(super) fn get(&self, key: &PictureKey) -> Option<Arc<[f32]>> {
        let mut all = self.generations.lock();
        let vector = all.young.get(key).or_else(|| all.old.get(key)).cloned()?;
        all.add(*key, vector.clone(), self.capacity);
        Some(vector)
    }

    /// Adds a vector.
    pub(super) fn add(&self, key: PictureKey, vector: Arc<[f32]>) {
        self.generations.lock().add(key, vector, self.capacity);
    }
}

impl Generations {
    fn add(&mut self, key: PictureKey, vector: Arc<[f32]>, capacity: usize) {
        if self.young.len() >= capacity && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, vector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays_and_the_rest_goes() {
        let remembered = Remembered::new(2);
        let add = |n: u8| remembered.add([n; 32], Arc::from([f32::from(n)]));
        let knows = |n: u8| remembered.generations.lock().young.contains_key(&[n; 32]);
        add(1);
        add(2);
        add(3);
        assert_eq!(remembered.get(&[1; 32]).as_deref(), Some(&[1.0][..]));
        assert!(knows(1) && knows(3));
        add(4);
        assert!(remembered.get(&[2; 32]).is_none());
        assert!(remembered.get(&[1; 32]).is_some() && remembered.get(&[4; 32]).is_some());
        let all = remembered.generations.lock();
        assert!(all.young.len() <= 2 && all.old.len() <= 2);
    }
}
