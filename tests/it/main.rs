//! Hermetic tests of the whole: no network, no root, no sleeping.
//! Hermetic tests of the whole: no network, no root, no sleeping. One program, so that it links
//! once.

mod check;
mod explain;
mod golden;
mod hostile;
mod layers;
mod render;
mod resolve;
mod schema;
