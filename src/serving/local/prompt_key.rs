//! What two prompts have in common.

use crate::serving::attention_capture::PromptPositions;
use crate::serving::prepare::{ImageHash, PreparedPrompt};

/// Identifies a prompt by its tokens and the hashes of its images.
pub struct PromptKey {
    ids: Vec<u32>,
    image_hashes: Vec<ImageHash>,
    positions: PromptPositions,
}

impl PromptKey {
    /// The key of a prompt.
    pub fn of(prompt: &PreparedPrompt) -> Self {
        Self {
            ids: prompt.rendered.ids.clone(),
            image_hashes: prompt.image_hashes.clone(),
            positions: PromptPositions::of(prompt),
        }
    }

    /// Tokens of the prompt.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// The positions of its images.
    pub fn positions(&self) -> &PromptPositions {
        &self.positions
    }

    /// Length of the common prefix with `other`; an image is never split.
    pub fn common(&self, other: &Self) -> usize {
        let mut common = self.ids.iter().zip(&other.ids).take_while(|(a, b)| a == b).count();
        for (index, range) in other.positions.images.iter().enumerate() {
            let known = self.image_hashes.get(index) == other.image_hashes.get(index);
            if range.start < common && (!known || range.end > common) {
                common = range.start;
            }
        }
        common
    }

    /// Is `position` inside an image?
    pub fn splits_image(&self, position: usize) -> bool {
        self.positions.images.iter().any(|range| range.start < position && position < range.end)
    }
}
