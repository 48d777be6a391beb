//! Which source edits are written to.

use std::collections::BTreeMap;

use super::{Reconciler, place, refused};
use crate::api::resource::{EditRequest, Edited};
use crate::config::Write;
use crate::edit::{self, Verb};
use crate::model::Name;

impl Reconciler {
    /// The source to write to: the one that is named, the only one, the one that holds the
    /// resources, or the only one that may be written to.
    pub(super) fn target(&self, request: &EditRequest) -> Result<Name, Box<Edited>> {
        let sources = self.sources();
        let all = || sources.keys().map(Name::as_str).collect::<Vec<_>>().join(", ");
        if let Some(wanted) = &request.source {
            let found = sources.keys().find(|name| name.as_str() == wanted);
            let unknown = || Box::new(refused(format!("this daemon follows {}, not {wanted}", all())));
            return found.cloned().ok_or_else(unknown);
        }
        if let (Some(only), 1) = (sources.keys().next(), sources.len()) {
            return Ok(only.clone());
        }
        let homes = self.homes(request)?;
        match homes.keys().collect::<Vec<_>>().as_slice() {
            // What no source holds may be made by another of these edits: it is written there too.
            [only] => return Ok((*only).clone()),
            [] => {}
            _ => return Err(Box::new(refused(scattered(request, &homes)))),
        }
        let first = request.edits().first();
        if let Some(edit) = first.filter(|edit| !matches!(edit.verb, Verb::Create | Verb::Deploy)) {
            let (kind, (at, before)) = (edit.kind.name(), place(request, 0));
            let why = format!("{before}none of the sources {} has the {kind} {}", all(), edit.subject());
            return Err(Box::new(Edited::Refused { why, edit: at }));
        }
        let writable: Vec<&Name> =
            sources.iter().filter(|(_, source)| source.writes != Write::Off).map(|(name, _)| name).collect();
        match writable.as_slice() {
            [only] => Ok((*only).clone()),
            _ => {
                let why = format!("this daemon follows {}: name the one to write to with --source", all());
                Err(Box::new(refused(why)))
            }
        }
    }

    /// The sources that hold resources of these edits, each with the places of those.
    fn homes(&self, request: &EditRequest) -> Result<BTreeMap<Name, Vec<usize>>, Box<Edited>> {
        let mut homes: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
        let mut found = vec![false; request.edits().len()];
        for name in self.sources().keys() {
            let held = edit::holds(&self.served_files(name), request.edits()).map_err(|stopped| {
                let (edit, before) = place(request, stopped.index);
                Box::new(Edited::Refused { why: format!("{before}{}", stopped.refusal), edit })
            })?;
            // The first that has it: no two may.
            let own: Vec<usize> = (0..held.len()).filter(|at| held[*at] && !found[*at]).collect();
            own.iter().for_each(|at| found[*at] = true);
            if !own.is_empty() {
                homes.insert(name.clone(), own);
            }
        }
        Ok(homes)
    }
}

/// Why edits of several sources are not made: one commit is of one source.
fn scattered(request: &EditRequest, homes: &BTreeMap<Name, Vec<usize>>) -> String {
    let one = |(name, own): (&Name, &Vec<usize>)| {
        let first = own.first().map(|at| place(request, *at).1).unwrap_or_default();
        let more = if own.len() > 1 { format!(" and {} more", own.len() - 1) } else { String::new() };
        format!("{name} has {}{more}", first.trim_end_matches(": "))
    };
    let homes: Vec<String> = homes.iter().map(one).collect();
    format!(
        "these edits are of several sources, and one commit is of one: {}; send one request for each source",
        homes.join(", ")
    )
}
