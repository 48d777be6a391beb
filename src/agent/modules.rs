//! The kernel's modules: which there are, which the machine's devices want, and loading them.

pub mod alias;
pub mod index;

pub use index::{Index, Module};
