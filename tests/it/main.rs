//! Hermetic tests of the whole: no network, no root, no sleeping.

mod check;
mod explain;
mod golden;
mod hostile;
mod layers;
mod schema;
//! Tests of rooms together. One program, so that it links once.
mod render;
