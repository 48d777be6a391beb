//! Writes manifests for the machines that our agent found in subnets with `unknown = "register"`, as
//! `voldemortctl register` does for a person.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::keeper::Keeper;
use super::now;
use super::reconcile::Reconciler;
use crate::api::resource::{Discovered, EditRequest, Edited, discovered};
use crate::edit::Edit;
use crate::model::{Caller, Name, Span, Time, Unknown};
use crate::plan::Consent;
use crate::state::life::Life;
use crate::state::lifecycle::Known;
use crate::state::{Event, Stage, State};

/// How often it is looked for machines that are to be registered.
const LOOK: Duration = Duration::from_secs(5);
/// Most machines of one change.
const TOGETHER: usize = 100;
/// After a manifest was written, or could not be, it is tried again when the machine is still not accepted.
const AGAIN: Span = Span::seconds(600);
/// The same where a person has to merge it.
const MERGED_BY: Span = Span::seconds(7 * 24 * 3600);

/// Machines for which a manifest was written, or could not be, and when that is tried again.
type Tried = BTreeMap<Name, Time>;

/// Never ends.
pub(super) async fn run(keeper: Keeper, reconciler: Arc<Reconciler>) {
    let mut tried = Tried::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let at = now();
        tried.retain(|_, again| *again > at);
        let found = wanted(&keeper.state(), &tried);
        if found.is_empty() {
            continue;
        }
        let result = write(&reconciler, &found).await;
        if result.is_ok() || found.len() == 1 {
            note(&keeper, &found, &result, &mut tried);
            continue;
        }
        // One that can't be written does not keep the others from it.
        for one in &found {
            let one = std::slice::from_ref(one);
            let result = write(&reconciler, one).await;
            note(&keeper, one, &result, &mut tried);
        }
    }
}

fn wanted(state: &State, tried: &Tried) -> Vec<Discovered> {
    let registers = |name: &Name| {
        state.desired().subnets.get(name).is_some_and(|subnet| subnet.unknown == Unknown::Register)
    };
    if !state.desired().subnets.keys().any(registers) {
        return Vec::new();
    }
    let is_meant = |(name, life): &(&Name, &Arc<Life>)| {
        life.known == Known::Discovered
            && life.subnet.as_ref().is_some_and(registers)
            && !tried.contains_key(*name)
    };
    // All addresses of the inventory are looked at for a row: none is made of the others.
    let meant = state.lasting().lives.iter().filter(is_meant).take(TOGETHER);
    meant.filter_map(|(name, _)| discovered::one(state, name)).collect()
}

/// When it is tried again at the earliest; the error says why nothing was written.
async fn write(reconciler: &Arc<Reconciler>, found: &[Discovered]) -> Result<Span, String> {
    let edits: Vec<Edit> = found.iter().map(|machine| machine.edit(None, &[])).collect();
    let request = EditRequest {
        edit: None,
        edits,
        source: None,
        reason: Some("our agent found these machines where unknown ones are registered".to_owned()),
        author: None,
        consent: Consent::default(),
        dry_run: false,
        installed: false,
    };
    Err(match reconciler.edit(request, Caller::DAEMON, Vec::new()).await? {
        Edited::Written { .. } | Edited::Unchanged | Edited::Made { .. } => return Ok(AGAIN),
        Edited::Branch { .. } => return Ok(MERGED_BY),
        Edited::Planned { .. } | Edited::Changed { .. } => "the inventory changed meanwhile".to_owned(),
        Edited::Off { .. } => "the daemon may not write to this inventory (write = \"off\")".to_owned(),
        Edited::Held { .. } => "a safety rule holds the change back".to_owned(),
        Edited::Invalid { .. } => "the manifests would be wrong".to_owned(),
        Edited::Protected { why, .. } | Edited::OutOfScope { why, .. } | Edited::Refused { why, .. } => why,
    })
}

fn note(keeper: &Keeper, found: &[Discovered], result: &Result<Span, String>, tried: &mut Tried) {
    let again = now() + *result.as_ref().unwrap_or(&AGAIN);
    tried.extend(found.iter().filter_map(|machine| Some((machine.name.parse().ok()?, again))));
    let Err(why) = result else { return };
    let names: Vec<&str> = found.iter().map(|machine| machine.name.as_str()).collect();
    let text = format!("machine {} could not be registered: {why}", names.join(", "));
    keeper.note(Event::new(now(), Stage::Daemon, text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::{self, Media, Options};
    use crate::manifest;
    use crate::media::Shelf;
    use crate::state::Server;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn machines_are_registered_where_their_subnet_says_so() {
        let text = r#"
            [subnet.own]
            cidr = "10.0.1.0/24"
            dynamic = "10.0.1.100-10.0.1.199"
            unknown = "register"
            [subnet.other]
            cidr = "10.0.2.0/24"
            dynamic = "10.0.2.100-10.0.2.199"
            unknown = "discover"
        "#;
        let (documents, _) = manifest::parse(&[("lab.toml".into(), text.into())].into());
        let options = Options { media: Media::IfPresent, fallback: Vec::new() };
        let desired = desired::resolve(&documents, &Shelf::new(Vec::new(), None), &options).0;
        let lives = [
            ("accepted", Known::Accepted, Some("own")),
            ("elsewhere", Known::Discovered, Some("other")),
            ("found", Known::Discovered, Some("own")),
            ("nowhere", Known::Discovered, None),
            ("tried", Known::Discovered, Some("own")),
        ];
        let state = State::new(Server::stand_in([10, 0, 0, 1].into())).with_desired(desired);
        let state = state.with_lasting(|lasting| {
            for (machine, known, subnet) in lives {
                let life = Life { known, subnet: subnet.map(name), ..Life::default() };
                lasting.lives.insert(name(machine), life.into());
            }
        });
        let tried = Tried::from([(name("tried"), Time(1))]);
        let found: Vec<String> = wanted(&state, &tried).into_iter().map(|one| one.name).collect();
        assert_eq!(found, ["found"]);
    }
}
