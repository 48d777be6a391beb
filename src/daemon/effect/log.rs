//! Lines of the log that are no events of the timeline.

use crate::model::Line;
use crate::state::effect::Level;

/// Writes a line. It is lost where nobody reads the log quickly enough, and counted then.
pub(super) fn write(level: Level, text: &Line) {
    match level {
        Level::Warn => tracing::warn!("{text}"),
        Level::Info => tracing::info!("{text}"),
    }
}
