//! A figure with its sides.

/// A figure and its sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// A rectangle.
    Rectangle {
        /// From left to right.
        width: u32,
        /// From top to bottom.
        height: u32,
    },
    /// A right triangle with whole sides.
    Triangle {
        /// The leg from left to right.
        width: u32,
        /// The leg from top to bottom.
        height: u32,
        /// The longest side.
        hypotenuse: u32,
    },
}

impl Figure {
    /// From left to right and from top to bottom.
    pub(super) fn extent(&self) -> (u32, u32) {
        match *self {
            Self::Rectangle { width, height } | Self::Triangle { width, height, .. } => (width, height),
        }
    }
}
