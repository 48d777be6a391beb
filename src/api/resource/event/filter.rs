//! Which events somebody wants to see.

use crate::api::list::Label;
use crate::model::Mac;
use crate::model::selection::glob;
use crate::state::{Event, Stage, State};

/// All of its parts have to fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    mac: Option<Mac>,
    /// A pattern of a machine's name.
    machine: Option<String>,
    /// A pattern of a deployment's name.
    deployment: Option<String>,
    labels: Vec<Label>,
    stages: Vec<Stage>,
}

impl Filter {
    /// Of parameters as they were sent; the error says which is wrong.
    pub fn read(
        mac: Option<&str>,
        machine: Option<String>,
        deployment: Option<String>,
        label: Option<&str>,
        stage: Option<&str>,
    ) -> Result<Filter, String> {
        let stage_of = |name: &str| {
            Stage::named(name)
                .ok_or_else(|| format!("stage: `{name}` is none of {}", Stage::NAMES.join(", ")))
        };
        let parts = |text: &str| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
        Ok(Filter {
            mac: mac.map(str::parse).transpose().map_err(|error| format!("mac: {error}"))?,
            machine,
            deployment,
            labels: label
                .map(parts)
                .into_iter()
                .flatten()
                .map(|term| Label::parse(&term))
                .collect::<Result<_, _>>()?,
            stages: stage
                .map(parts)
                .into_iter()
                .flatten()
                .map(|name| stage_of(&name))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether an event fits, by what the state knows of its machine now.
    pub fn takes(&self, state: &State, event: &Event) -> bool {
        let Filter { mac, machine, deployment, labels, stages } = self;
        if mac.is_some() && event.mac != *mac || !stages.is_empty() && !stages.contains(&event.stage) {
            return false;
        }
        let of = |pattern: &Option<String>, name: Option<&str>| match pattern {
            Some(pattern) => name.is_some_and(|name| glob(pattern, name)),
            None => true,
        };
        if !of(deployment, event.deployment.as_ref().map(|name| name.as_str())) {
            return false;
        }
        if machine.is_none() && labels.is_empty() {
            return true;
        }
        let assigned = || state.desired().machines.get(state.assignments().get(event.deployment.as_ref()?)?);
        let found = event.mac.and_then(|mac| state.machine(mac)).or_else(assigned);
        of(machine, found.map(|found| found.name.as_str()))
            && (labels.is_empty()
                || found.is_some_and(|found| labels.iter().all(|label| label.fits(&found.labels))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_part_is_named() {
        let read = |mac, label, stage| Filter::read(mac, None, None, label, stage).unwrap_err();
        assert!(read(Some("x"), None, None).contains("mac: "));
        assert!(read(None, Some("=x"), None).contains("names no label"));
        assert!(read(None, None, Some("ack,sleep")).contains("stage: `sleep` is none of offer, ack,"));
    }
}
