//! What a manifest may hold and nothing acts on yet.

use std::collections::BTreeMap;

use super::listed;
use crate::manifest::{Code, Documents, Mark, Problem};
use crate::model::Name;

/// A note for each such setting, at the first place that has it.
pub fn not_acted_on(documents: &Documents) -> Vec<Problem> {
    let mut found: BTreeMap<String, (Mark, Vec<&Name>)> = BTreeMap::new();
    let mut add = |setting: String, mark: Mark, name| {
        let (first, names) = found.entry(setting).or_insert((mark, Vec::new()));
        *first = mark.min(*first);
        names.push(name);
    };
    for pool in documents.pools.values() {
        add("`pool`".to_owned(), pool.mark, &pool.name);
    }
    let problems = found.into_iter().map(|(setting, (mark, names))| {
        let message = format!("{setting} is accepted, and nothing acts on it yet");
        Problem::new(Code::NotActedOn, mark, message, "for now this is only a remark of yours")
            .note(format!("written for {}", listed(names)))
    });
    documents.weigh(problems.collect())
}
