//! Hiding parts of an image from a model: hidden patches get 0, which is the mean colour after normalisation.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::input::ImagePatches;
use super::sampler;

/// The images with cells hidden, a list of cells per image. A cell is the area of one image token: `merge` x `merge`
/// consecutive patches.
pub fn hide_cells(images: &[Arc<ImagePatches>], cells: &[Vec<usize>], merge: usize) -> Vec<Arc<ImagePatches>> {
    let patches = merge * merge;
    let conceal = |(image, cells): (&Arc<ImagePatches>, &Vec<usize>)| {
        if cells.is_empty() {
            return Arc::clone(image);
        }
        Arc::new(hide(image, cells.iter().flat_map(|cell| cell * patches..(cell + 1) * patches)))
    };
    images.iter().zip(cells).map(conceal).collect()
}

/// The images with each patch hidden with probability `ratio`; one number is drawn per patch, in their order.
pub fn hide_at_random(images: &[Arc<ImagePatches>], ratio: f64, rng: &mut ChaCha8Rng) -> Vec<Arc<ImagePatches>> {
    images
        .iter()
        .map(|image| {
            let hidden: Vec<usize> = (0..image.grid.patches()).filter(|_| sampler::uniform(rng) < ratio).collect();
            Arc::new(hide(image, hidden.into_iter()))
        })
        .collect()
}

fn hide(image: &ImagePatches, patches: impl Iterator<Item = usize>) -> ImagePatches {
    let mut hidden = image.clone();
    let values = hidden.values.len() / hidden.grid.patches().max(1);
    for patch in patches {
        hidden.values[patch * values..(patch + 1) * values].fill(0.0);
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Grid;

    fn image(patches: usize) -> Arc<ImagePatches> {
        let grid = Grid { time: 1, height: 2, width: patches / 2 };
        Arc::new(ImagePatches { values: vec![1.0; patches * 3], grid })
    }

    fn hidden(image: &ImagePatches) -> Vec<usize> {
        let values = image.values.chunks(3).enumerate();
        values.filter(|(_, patch)| patch.iter().all(|v| *v == 0.0)).map(|(i, _)| i).collect()
    }

    #[test]
    fn a_cell_hides_its_four_patches_and_nothing_else() {
        let images = [image(8), image(8)];
        let found = hide_cells(&images, &[vec![1], vec![]], 2);
        assert_eq!(hidden(&found[0]), [4, 5, 6, 7]);
        assert!(Arc::ptr_eq(&found[1], &images[1]));
    }

    #[test]
    fn a_ratio_hides_about_that_share_and_the_stream_decides_which() {
        let image = [image(4000)];
        let of = |seed: u64, ratio: f64| hidden(&hide_at_random(&image, ratio, &mut sampler::stream(&[seed]))[0]);
        let share = of(1, 0.6).len() as f64 / 4000.0;
        // Five standard deviations.
        assert!((share - 0.6).abs() < 5.0 * (0.24_f64 / 4000.0).sqrt(), "{share}");
        assert_eq!(of(1, 0.6), of(1, 0.6));
        assert_ne!(of(1, 0.6), of(2, 0.6));
        assert_eq!((of(1, 0.0).len(), of(1, 1.0).len()), (0, 4000));
    }
}
