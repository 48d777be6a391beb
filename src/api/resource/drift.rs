//! `GET /v1/drift`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::state::{self, Aspect, DriftKind, State};

/// A row of `GET /v1/drift`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    pub deployment: String,
    pub machine: Option<String>,
    pub kind: Word<Aspect>,
    pub actual: String,
    pub desired: String,
    /// RFC 3339; since when it is known to be so, where that is known.
    #[serde(default)]
    pub since: Option<String>,
    /// What it means, in words.
    pub text: String,
}

/// All of it.
pub fn all(state: &State) -> Vec<Drift> {
    let row = |drift: state::Drift| {
        let state::Drift { deployment, machine, kind, actual, desired, since } = drift;
        Drift {
            deployment: deployment.to_string(),
            machine: machine.map(|machine| machine.to_string()),
            kind: kind.aspect().into(),
            actual,
            desired,
            since: since.map(|since| since.to_string()),
            text: meaning(kind).into(),
        }
    };
    state.drift().into_iter().map(row).collect()
}

fn meaning(kind: DriftKind) -> &'static str {
    match kind {
        DriftKind::Content => "installed with another content; raise redeploy to install this one",
        DriftKind::Address => "uses another address until it asks DHCP again",
        DriftKind::Machine => "installed on another machine; raise redeploy to install here",
        DriftKind::Hardware => {
            "its machine has other hardware than it asks for; choose another machine, or ask for less"
        }
        DriftKind::Off => "should run and is switched off; a person has to switch it on",
        DriftKind::Abandoned => "is released and still runs what this former deployment installed",
    }
}

impl Row for Drift {
    const COLUMNS: &'static [&'static str] =
        &["DEPLOYMENT", "MACHINE", "WHAT", "ACTUAL", "DESIRED", "SINCE", "MEANING"];

    fn name(&self) -> &str {
        &self.deployment
    }

    fn key(&self) -> String {
        format!("{}/{}", self.deployment, self.kind)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.deployment.clone(),
            or_dash(self.machine.as_ref()),
            self.kind.to_string(),
            self.actual.clone(),
            self.desired.clone(),
            or_dash(self.since.as_ref()),
            self.text.clone(),
        ]
    }
}
