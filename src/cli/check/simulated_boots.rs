//! `check --verbose`: prints the simulated boots.

use super::super::exit::{Exit, print};
use crate::inventory::{Loaded, transcript};
use crate::manifest::similar::similar;
use crate::model::Name;

/// Prints the boots of the named deployments, or of all.
pub(super) fn show(checked: &Loaded, names: &[String]) -> Result<(), String> {
    let mut chosen: Vec<&Name> = checked.desired.deployments.keys().collect();
    if let Some(name) = names.iter().find(|name| !chosen.iter().any(|known| known.as_str() == **name)) {
        let hint = similar(name, chosen.iter().map(|known| known.as_str()));
        let hint = hint.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        return Err(format!("there is no deployment {name} to simulate{hint}"));
    }
    if !names.is_empty() {
        chosen.retain(|known| names.iter().any(|name| name == known.as_str()));
    }
    match print(&transcript(&checked.desired, &chosen)) {
        Exit::Done => Ok(()),
        _ => Err("the simulated boots can't be printed".into()),
    }
}
