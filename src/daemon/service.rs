//! Services under a supervisor: each is opened, runs until it fails or the daemon stops, and is opened
//! again after a failure. How each stands is shown by the status, `/metrics` and `/readyz`.

mod outage;
mod status_board;
mod supervise;

pub use outage::{PATIENCE, outage};
pub use status_board::{Condition, Part, Row, StatusBoard};
pub use supervise::{mirror, supervise};
