//! `GET /v1/revisions`: names of revisions that can be pinned.

use super::Row;

impl Row for String {
    const COLUMNS: &'static [&'static str] = &["REVISION"];

    fn name(&self) -> &str {
        self
    }

    fn cells(&self) -> Vec<String> {
        vec![self.clone()]
    }
}
