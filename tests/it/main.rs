//! Hermetic tests of the whole: no network, no root, no sleeping.

mod check;
mod explain;
mod golden;
mod hostile;
mod layers;
mod render;
mod schema;
