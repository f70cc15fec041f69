//! The reward `iou`: how well do the boxes of the answer cover those of the ground truth?

use super::boxes::{Corners, boxes};
use super::{Reward, RewardInput, Verdict, answer_text, one_if, single};
use crate::domain::spec::Coordinates;

/// Mean intersection over union of the best one-to-one pairs.
#[derive(Debug, Clone, Copy)]
pub struct Iou {
    answer: Coordinates,
    truth: Coordinates,
    threshold: Option<f64>,
}

impl Iou {
    /// Boxes in these coordinates.
    pub fn new(answer: Option<Coordinates>, truth: Option<Coordinates>, threshold: Option<f64>) -> Self {
        let (answer, truth) = (answer.unwrap_or(Coordinates::Pixel), truth.unwrap_or(Coordinates::Pixel));
        Self { answer, truth, threshold }
    }

    fn value(self, input: &RewardInput<'_>, response: &str) -> f64 {
        let place = |boxes: Vec<Corners>, coordinates| -> Option<Vec<Corners>> {
            if self.answer == self.truth {
                return Some(boxes);
            }
            boxes.into_iter().map(|corners| in_pixels(corners, coordinates, input)).collect()
        };
        let answer = place(boxes(response), self.answer);
        let truth = place(boxes(input.ground_truth), self.truth);
        match (answer, truth) {
            (Some(answer), Some(truth)) if !truth.is_empty() => coverage(&answer, &truth),
            _ => 0.0,
        }
    }
}

impl Reward for Iou {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let answer = answer_text::answer(input.response);
        let value = self.value(&input, answer);
        let reward = self.threshold.map_or(value, |threshold| one_if(value >= threshold));
        let right = one_if(value >= self.threshold.unwrap_or(0.5));
        Verdict { accuracy: Some(right), ..single("iou", reward, Some(answer.to_owned())) }
    }
}

/// Where a number's unit is not the pixel of the image as it came, the image's sizes are needed; without them there is
/// nothing to compare.
fn in_pixels(corners: Corners, coordinates: Coordinates, input: &RewardInput<'_>) -> Option<Corners> {
    let size = || input.image_sizes.first().map(|size| size.map(f64::from));
    let [width, height] = match coordinates {
        Coordinates::Pixel => return Some(corners),
        Coordinates::Thousand => size()?.map(|side| side / 1000.0),
        Coordinates::Resized => {
            let ([width, height], [to_width, to_height]) = (size()?, input.resized_sizes.first()?.map(f64::from));
            [width / to_width, height / to_height]
        }
    };
    let [x1, y1, x2, y2] = corners;
    Some([x1 * width, y1 * height, x2 * width, y2 * height])
}

/// Sum of the pairs' intersection over union, the best pair first, over the larger number of boxes.
fn coverage(answer: &[Corners], truth: &[Corners]) -> f64 {
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for (i, a) in answer.iter().enumerate() {
        pairs.extend(truth.iter().enumerate().map(|(j, b)| (overlap(a, b), i, j)));
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut taken, mut covered, mut sum) = (vec![false; answer.len()], vec![false; truth.len()], 0.0);
    for (value, i, j) in pairs {
        if !taken[i] && !covered[j] {
            (taken[i], covered[j]) = (true, true);
            sum += value;
        }
    }
    sum / answer.len().max(truth.len()) as f64
}

fn overlap(a: &Corners, b: &Corners) -> f64 {
    let area = |c: &Corners| (c[2] - c[0]) * (c[3] - c[1]);
    let width = a[2].min(b[2]) - a[0].max(b[0]);
    let height = a[3].min(b[3]) - a[1].max(b[1]);
    let common = width.max(0.0) * height.max(0.0);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}
