//! Profiles, templates and pools as people see them.

use std::collections::BTreeMap;

use super::profile::{Choice, Effective};
use super::{machine, variable};
use crate::desired::template::Input;
use crate::desired::{Definition, DefinitionBody};
use crate::manifest::{Documents, Kind, Marked, document};
use crate::model::{Name, VariableType};

/// The templates and pools of an inventory.
pub(super) fn definitions(documents: &Documents) -> BTreeMap<(Kind, Name), Definition> {
    let origin = |mark| documents.sources.origin(mark);
    let templates = documents.templates.values().map(|own| {
        let document::Template { kind, file, vars } = &own.body;
        let inputs = vars.iter().map(|(name, variable)| (name.to_string(), input(&variable.value)));
        let body = DefinitionBody::Template {
            kind: kind.as_ref().map(|kind| kind.value),
            file: file.as_ref().map(|file| file.value.clone()),
            inputs: inputs.collect(),
        };
        ((Kind::Template, own.name.clone()), Definition { origin: origin(own.mark), body })
    });
    let pools = documents.pools.values().map(|own| {
        let pool = &own.body;
        let body = DefinitionBody::Pool {
            profile: pool.profile.as_ref().map(|profile| profile.value.clone()),
            select: pool.select.as_ref().map(|select| machine::owned(&select.value)).unwrap_or_default(),
            max: pool.max.as_ref().map(|max| max.value.into()),
            ttl: pool.ttl.as_ref().map(|ttl| ttl.value),
        };
        ((Kind::Pool, own.name.clone()), Definition { origin: origin(own.mark), body })
    });
    templates.chain(pools).collect()
}

/// A profile with all that it inherits.
pub(super) fn profile(
    documents: &Documents,
    name: &Name,
    effective: &Effective,
) -> Option<((Kind, Name), Definition)> {
    let own = documents.profiles.get(name)?;
    let chosen = |choice: &Option<Choice>| choice.as_ref().map(|choice| choice.name.value.clone());
    let Effective { subnet, boot, template, user_data, unproven: _, vars, options: _, routes: _, whole: _ } =
        effective;
    let values = vars.iter().map(|(name, field)| (Box::from(&**name), variable::value(&field.value.value)));
    let body = DefinitionBody::Profile {
        extends: own.body.extends.iter().map(|parent| parent.value.clone()).collect(),
        subnet: chosen(subnet),
        boot: chosen(boot),
        template: chosen(template),
        user_data: chosen(user_data),
        values: values.collect(),
    };
    Some(((Kind::Profile, name.clone()), Definition { origin: documents.sources.origin(own.mark), body }))
}

/// What a template says of one of its variables.
pub(super) fn input(written: &document::Variable) -> Input {
    let value = |default: &Marked<_>| variable::value(&default.value);
    Input {
        kind: written.kind.as_ref().map_or(VariableType::String, |kind| kind.value),
        default: written.default.as_ref().map(value),
    }
}
