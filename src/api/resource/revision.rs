//! `GET /v1/revisions`: what was live lately, and can be pinned.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};

/// A row of `GET /v1/revisions`. What an earlier version did not note is null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// What `voldemortctl pin` takes: `main@sha1:…`, of several sources all of them.
    pub name: String,
    /// RFC 3339; when it became live.
    pub since: Option<String>,
    /// The source that changed, where there are several.
    pub source: Option<String>,
    /// Who wrote its commit, as the commit says: `NAME <ADDRESS>`. Null for a directory.
    pub author: Option<String>,
    /// The first line of the commit's message.
    pub subject: Option<String>,
    /// RFC 3339; when it was committed.
    pub committed: Option<String>,
    /// What it did when it became live: `Plan: 3 changes (2 live, 1 WIPE).`
    pub effect: Option<String>,
    /// Whether it is what is served.
    pub live: bool,
}

impl Row for Revision {
    const COLUMNS: &'static [&'static str] = &["REVISION", "SINCE", "AUTHOR", "SUBJECT", "EFFECT"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            or_dash(self.since.as_ref()),
            or_dash(self.author.as_ref()),
            or_dash(self.subject.as_ref()),
            or_dash(self.effect.as_ref()),
        ]
    }
}
