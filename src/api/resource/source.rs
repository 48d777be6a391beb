//! `GET /v1/sources`, and part of the status: how a source stands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::model::{Name, SourceCondition, Time};
use crate::state;

/// How the daemon stands with its inventory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceStatus {
    /// Its name in the daemon's file; `inventory` if it has none there.
    #[serde(default)]
    pub name: String,
    /// Directory or repository.
    pub location: String,
    /// The revision that is served.
    pub applied: String,
    /// The revision seen last.
    pub attempted: String,
    pub condition: Word<SourceCondition>,
    /// Why, in words; for `Invalid` every problem.
    pub reason: String,
    /// RFC 3339; when the condition began.
    pub since: String,
    /// RFC 3339; when it is read again if nothing calls before. `None` while it is being read.
    #[serde(default)]
    pub next: Option<String>,
}

impl SourceStatus {
    /// `next` is when the source is read again.
    pub(crate) fn of(name: &Name, status: state::SourceStatus, next: Option<Time>) -> SourceStatus {
        let state::SourceStatus { location, applied, attempted, condition, reason, since } = status;
        SourceStatus {
            name: name.to_string(),
            location,
            applied,
            attempted,
            condition: condition.into(),
            reason,
            since: since.to_string(),
            next: next.map(|at| at.to_string()),
        }
    }

    /// Lines for people.
    pub fn lines(&self) -> Vec<String> {
        let SourceStatus { name: _, location, applied, attempted, condition, reason, since, next } = self;
        let mut lines = vec![
            format!("inventory    {location}"),
            format!("applied      {}", or_dash(Some(applied).filter(|applied| !applied.is_empty()))),
            format!("attempted    {}", or_dash(Some(attempted).filter(|attempted| !attempted.is_empty()))),
            format!("condition    {condition} since {since}"),
        ];
        lines.extend(next.as_ref().map(|next| format!("next look    {next}")));
        lines.extend(Some(reason.clone()).filter(|reason| !reason.is_empty()));
        lines
    }
}

impl Row for SourceStatus {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "CONDITION", "SINCE", "APPLIED", "ATTEMPTED", "LOCATION", "REASON"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: &String| or_dash(Some(text).filter(|text| !text.is_empty()));
        vec![
            self.name.clone(),
            self.condition.to_string(),
            self.since.clone(),
            or_dash(&self.applied),
            or_dash(&self.attempted),
            self.location.clone(),
            // Problems of manifests have many lines; `-o json` and `get status` show all.
            or_dash(&summary(&self.reason)),
        ]
    }
}

/// The first problem of several, and its place.
fn summary(reason: &str) -> String {
    let mut lines = reason.lines();
    let first = lines.next().unwrap_or_default();
    let place = lines.next().and_then(|line| line.trim().strip_prefix("--> "));
    place.map_or(first.to_owned(), |place| format!("{first} ({place})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_where_the_mistake_is() {
        let told = "error[V0014]: a deployment can't be called `web_2`\n  --> web.toml:13:13\n   |\n13 | x\n";
        assert_eq!(summary(told), "error[V0014]: a deployment can't be called `web_2` (web.toml:13:13)");
        assert_eq!(summary("held: too many\nmore"), "held: too many");
        assert_eq!(summary(""), "");
    }
}
