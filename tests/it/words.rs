//! The words of closed lists that travel over the API: each is in the documentation, and in nothing but its
//! own text.

use voldemort::api::Word;
use voldemort::api::problem::ErrorCode;
use voldemort::api::resource::{ConditionKind, LeaseShown, PowerShown};
use voldemort::model::{Phase, ServiceState, Severity, SourceCondition, Words};
use voldemort::state::outbox::TaskKind;
use voldemort::state::{Aspect, Stage};

const SOURCES: &str = include_str!("../../docs/sources.md");
const API: &str = include_str!("../../docs/api.md");

/// Every word of a list is in the row of a page that begins so, and travels as that text.
fn documented<T: Words + std::fmt::Debug>(page: &str, begins: &str) {
    let row = page.lines().filter(|line| begins.is_empty() || line.starts_with(begins));
    let row: String = row.collect();
    for value in T::all() {
        let text = value.text();
        assert!(row.contains(&format!("`{text}`")), "`{text}` of {value:?} is not documented: {row}");
        let sent = serde_json::to_string(&Word::from(*value)).unwrap();
        assert_eq!(sent, format!("\"{text}\""));
        assert!(serde_json::from_str::<Word<T>>(&sent).unwrap() == *value);
    }
}

#[test]
fn every_word_is_documented_and_travels_as_its_text() {
    documented::<SourceCondition>(SOURCES, "");
    documented::<ServiceState>(API, "| `state` of a service");
    documented::<Phase>(API, "| `phase` of a deployment");
    documented::<ConditionKind>(API, "| `type` of a condition");
    documented::<LeaseShown>(API, "| `state` of a lease");
    documented::<Aspect>(API, "| `kind` of a drift");
    documented::<PowerShown>(API, "| `state` of a machine's power");
    documented::<TaskKind>(API, "| `task` of an effect");
    documented::<Severity>(API, "| `severity` of a line");
    documented::<Stage>(API, "| `stage` of an event");
    documented::<ErrorCode>(API, "| `code` of an error");
}
