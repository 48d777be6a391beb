//! Services under a supervisor: each is opened, runs until it fails or the daemon stops, and is opened
//! again after a failure. How each stands is shown by the status, `/metrics` and `/readyz`.

mod board;
mod outage;
mod supervise;

pub use board::{Board, Condition, Part, Row};
pub use outage::{PATIENCE, outage};
pub use supervise::{mirror, supervise};
