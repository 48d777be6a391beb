//! What edits did, in few words: the first line of their commit.

use super::{Changes, Done, Resource};
use crate::manifest::Kind;

/// Names of one group that are all written out.
const NAMES_MAX: usize = 3;
/// Longest summary of several resources, in characters.
const LENGTH_MAX: usize = 100;

impl Done {
    pub fn word(self) -> &'static str {
        match self {
            Done::Create => "Create",
            Done::Update => "Update",
            Done::Delete => "Delete",
            Done::Redeploy => "Redeploy",
        }
    }
}

impl Resource {
    /// `Update deployment web-1`.
    pub fn summary(&self) -> String {
        format!("{} {} {}", self.done.word(), self.kind.name(), self.name)
    }
}

impl Changes {
    /// The resources that change.
    pub fn changed(&self) -> impl Iterator<Item = &Resource> {
        self.resources.iter().filter(|resource| resource.is_changed)
    }

    /// `Update deployment web-1`, or of several `Redeploy web-001 … web-040 (40)`.
    pub fn summary(&self) -> String {
        summary(&self.changed().collect::<Vec<_>>())
    }
}

/// The same of some resources.
pub fn summary(resources: &[&Resource]) -> String {
    if let [only] = resources {
        return only.summary();
    }
    let mut groups: Vec<((Done, Kind), Vec<&str>)> = Vec::new();
    for resource in resources {
        let key = (resource.done, resource.kind);
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, names)) => names.push(resource.name.as_str()),
            None => groups.push((key, vec![resource.name.as_str()])),
        }
    }
    let text = groups.iter().map(|(key, names)| group(*key, names)).collect::<Vec<_>>().join("; ");
    match text.chars().count() > LENGTH_MAX {
        true => format!("Change {} resources", resources.len()),
        false => text,
    }
}

fn group((done, kind): (Done, Kind), names: &[&str]) -> String {
    let what = match (done, names) {
        (_, [_]) => format!("{} ", kind.name()),
        // Nothing else is redeployed.
        (Done::Redeploy, _) => String::new(),
        _ => format!("{} ", kind.fields().plural),
    };
    let names = match names {
        [first, .., last] if names.len() > NAMES_MAX => format!("{first} … {last} ({})", names.len()),
        _ => names.join(", "),
    };
    format!("{} {what}{names}", done.word())
}
