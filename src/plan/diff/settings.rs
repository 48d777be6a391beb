//! What becomes of the inventory's own settings: `[safety]` and `[agent]` of its `voldemort.toml`.

use super::{note, plain};
use crate::desired::{Agent, Safety};
use crate::model::{Cpu, FilePath, Origin};
use crate::plan::{Action, Change};
use crate::state::{State, Thresholds};

/// The file that has them, of each source.
const FILE: &str = "voldemort.toml";

pub(super) fn settings(state: &State, next: &State, changes: &mut Vec<Change>) {
    let (before, after) = (state.desired(), next.desired());
    // A first revision differs from nothing.
    if before.revision.is_empty() {
        return;
    }
    let file = FilePath::new(after.safety.source.as_ref(), &FILE.into());
    let origin = Origin { file, line: 1, column: 1 };
    let safety_reason = "counts from this revision on; what it loosens counts from the next one on";
    let agent_reason = "machines that start the agent boot this from now on";
    let rows = [
        ("safety", safety_reason, safety(state, &after.safety)),
        ("agent", agent_reason, agent(&before.agent, &after.agent)),
    ];
    for (name, reason, details) in rows.into_iter().filter(|(_, _, details)| !details.is_empty()) {
        changes.push(plain("settings", name, Action::Update, &origin, reason, details));
    }
}

fn safety(state: &State, after: &Safety) -> Vec<String> {
    let before = &state.desired().safety;
    let Safety {
        // The thresholds of a source.
        max_remove: _,
        min_existing: _,
        allow_empty: _,
        max_reinstall: _,
        max_in_flight,
        max_wipes,
        on_release,
        windows: _,
        asker,
        source: _,
    } = after;
    // Of several sources each has its own thresholds: those of the source that moved last are no measure.
    let served = state.guards().of(after.source());
    let mut details = served.map_or_else(Vec::new, |served| thresholds(served, after.into()));
    note(&mut details, "max-in-flight", &limit(before.max_in_flight), &limit(*max_in_flight));
    let rate = |limit: Option<u32>| limit.map_or("any number".to_owned(), |limit| format!("{limit}/h"));
    note(&mut details, "max-wipes", &rate(before.max_wipes), &rate(*max_wipes));
    note(&mut details, "on-release", before.on_release.name(), on_release.name());
    note(&mut details, "windows", &windows(before), &windows(after));
    note(&mut details, "asker", before.asker.name(), asker.name());
    details
}

fn thresholds(before: Thresholds, after: Thresholds) -> Vec<String> {
    let Thresholds { max_remove, min_existing, allow_empty, max_reinstall } = after;
    let mut details = Vec::new();
    note(&mut details, "max-remove", &format!("{}%", before.max_remove), &format!("{max_remove}%"));
    note(&mut details, "min-existing", &before.min_existing.to_string(), &min_existing.to_string());
    note(&mut details, "allow-empty", &before.allow_empty.to_string(), &allow_empty.to_string());
    note(&mut details, "max-reinstall", &limit(before.max_reinstall), &limit(max_reinstall));
    details
}

fn limit(limit: Option<u32>) -> String {
    limit.map_or("any number".into(), |limit| limit.to_string())
}

/// In one order, whichever source comes first.
fn windows(safety: &Safety) -> String {
    let mut windows: Vec<String> = safety.windows.iter().map(ToString::to_string).collect();
    windows.sort();
    windows.dedup();
    if windows.is_empty() { "at any time".into() } else { windows.join("; ") }
}

/// What the boots themselves are is said by their own rows.
fn agent(before: &Agent, after: &Agent) -> Vec<String> {
    let mut details = Vec::new();
    for cpu in Cpu::ALL {
        let boot = |agent: &Agent| agent.boots.get(&cpu).map_or("none".into(), |boot| boot.name.to_string());
        note(&mut details, cpu.name(), &boot(before), &boot(after));
    }
    details
}
