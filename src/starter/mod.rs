//! The model that ships with the program, and how it is made from nothing by this program's own parts: an empty model,
//! vision pre-training, then supervised training on FORGETFUL demonstrations. The result sees well but forgets to look,
//! which is what visually guided reinforcement learning is to repair.

mod blank;
pub mod build;
mod card;
pub mod family;
pub mod files;
mod lesson;
mod name;
mod pretrain;
pub mod recipe;
pub mod tokenizer;

pub use name::NAME;
