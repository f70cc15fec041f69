//! The digit images that ship with the program.

use sha2::{Digest, Sha256};

use crate::data::random::Rng;
use crate::data::{DataError, Split};

/// Side of a digit image.
pub(super) const SIDE: usize = 28;
const PER_ROW: usize = 100;
const COUNT: usize = 10_000;
/// Images for training rows; the others are held out.
const TRAIN_IMAGES: usize = 8_000;
/// Seed of the permutation that parts the images; never to be changed, or trained models have seen held-out images.
const SPLIT_SEED: u64 = 20_260_401;

static SHEET: &[u8] = include_bytes!("../../../assets/digits/digits.png");
static LABELS: &[u8] = include_bytes!("../../../assets/digits/labels.txt");

/// 10,000 digit images, parted into those for training and those held out.
#[derive(Debug)]
pub(in crate::data) struct DigitBank {
    /// One sheet of `PER_ROW` images a row, 8-bit grey.
    sheet: Vec<u8>,
    /// Which digit each image shows, 0 to 9.
    labels: Vec<u8>,
    /// Positions in the sheet: the first `TRAIN_IMAGES` are for training.
    order: Vec<usize>,
}

impl DigitBank {
    /// Decodes the shipped images.
    pub(in crate::data) fn load() -> Result<Self, DataError> {
        let fail = |problem: String| DataError::Asset { name: "digits".into(), problem };
        let sheet = image::load_from_memory_with_format(SHEET, image::ImageFormat::Png)
            .map_err(|e| fail(e.to_string()))?
            .into_luma8();
        if sheet.dimensions() != ((PER_ROW * SIDE) as u32, (COUNT / PER_ROW * SIDE) as u32) || LABELS.len() != COUNT {
            return Err(fail(format!("{} labels and a sheet of {:?}", LABELS.len(), sheet.dimensions())));
        }
        if let Some(other) = LABELS.iter().find(|l| !l.is_ascii_digit()) {
            return Err(fail(format!("label byte {other} is not a digit")));
        }
        let mut order: Vec<usize> = (0..COUNT).collect();
        let mut rng = Rng::new(SPLIT_SEED, 0);
        for last in (1..COUNT).rev() {
            order.swap(last, rng.below(last + 1));
        }
        let labels = LABELS.iter().map(|label| label - b'0').collect();
        Ok(Self { sheet: sheet.into_raw(), labels, order })
    }

    /// Positions of a split's images in the sheet.
    pub(super) fn images(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.order[..TRAIN_IMAGES],
            Split::Eval => &self.order[TRAIN_IMAGES..],
        }
    }

    /// Which digit an image shows.
    pub(in crate::data) fn label(&self, image: usize) -> u8 {
        self.labels[image]
    }

    /// A pixel of an image, 0 (background) to 255.
    pub(super) fn pixel(&self, image: usize, x: usize, y: usize) -> u8 {
        let (left, top) = (image % PER_ROW * SIDE, image / PER_ROW * SIDE);
        self.sheet[(top + y) * PER_ROW * SIDE + left + x]
    }

    /// Changes whenever an image or label changes.
    pub(in crate::data) fn fingerprint(&self) -> String {
        hex::encode(Sha256::new().chain_update(&self.sheet).chain_update(&self.labels).finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_images_are_other_images() {
        let bank = DigitBank::load().unwrap();
        let pixels =
            |image: usize| -> Vec<u8> { (0..SIDE * SIDE).map(|at| bank.pixel(image, at % SIDE, at / SIDE)).collect() };
        let (train, eval) = (bank.images(Split::Train), bank.images(Split::Eval));
        assert_eq!((train.len(), eval.len()), (8_000, 2_000));
        let known: std::collections::HashSet<Vec<u8>> = train.iter().map(|i| pixels(*i)).collect();
        assert_eq!(known.len(), 8_000, "no image is there twice");
        assert!(eval.iter().all(|i| !known.contains(&pixels(*i))), "not even a copy of one is trained on");
        for digit in 0..10 {
            let count = eval.iter().filter(|i| bank.label(**i) == digit).count();
            assert!((150..260).contains(&count), "{count} held-out images of {digit}");
        }
    }
}
