//! `GET /v1/webhooks`: where events are sent, and how that stands; and the bodies of the requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Event, Row, or_dash};

/// A row of `GET /v1/webhooks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Webhook {
    pub name: String,
    /// Scheme, host and port. What stands behind them may be a secret, and is not shown.
    pub url: String,
    /// The number of the last event that was sent, or that it does not want.
    pub position: u64,
    /// Events that wait to be sent.
    pub pending: u64,
    /// How old the oldest of them is.
    pub lag_seconds: u64,
    /// Messages that its server accepted since the daemon started.
    pub delivered: u64,
    /// Attempts that failed since the daemon started.
    pub failures: u64,
    /// Events that were forgotten before they could be sent, since the daemon started.
    pub lost: u64,
    /// RFC 3339; when its server last accepted a message since the daemon started.
    pub last_success: Option<String>,
    /// RFC 3339; since when every attempt has failed.
    pub failing_since: Option<String>,
    /// Why the last attempt that failed did.
    pub last_error: Option<String>,
}

impl Row for Webhook {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "URL", "PENDING", "LAG", "DELIVERED", "FAILURES", "LOST", "LAST SUCCESS", "LAST ERROR"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.url.clone(),
            self.pending.to_string(),
            format!("{} s", self.lag_seconds),
            self.delivered.to_string(),
            self.failures.to_string(),
            self.lost.to_string(),
            or_dash(self.last_success.as_ref()),
            or_dash(self.last_error.as_ref()),
        ]
    }
}

/// The body of a webhook's request, in the form of Standard Webhooks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Message")]
pub struct Message<T> {
    /// The stage of an event; `gap` where events were forgotten before they could be sent.
    pub r#type: String,
    /// RFC 3339; when it happened.
    pub timestamp: String,
    pub data: T,
}

/// What a message says of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Happened {
    /// What the number belongs to; another state directory has another one.
    pub lineage: String,
    #[serde(flatten)]
    pub event: Event,
}

/// What a message says of events that are not sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    pub lineage: String,
    /// The number of the first and of the last of them.
    pub first: u64,
    pub last: u64,
    pub text: String,
}
