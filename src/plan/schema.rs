//! The JSON Schema of `voldemort plan -o json`, made from the types themselves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Hold, Plan};

/// What `voldemort plan -o json` prints: the plan, and why it would be held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    #[serde(flatten)]
    pub plan: Plan,
    /// Reasons why the plan is not adopted without a person's consent; none if empty.
    pub holds: Vec<Hold>,
}

/// Draft 2020-12.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Report).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), "voldemort plan".into());
    }
    schema
}
