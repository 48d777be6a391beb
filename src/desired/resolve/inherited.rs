//! What a deployment has, value by value, with the place that each was written at.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Earlier, Media, Options, Resolver};
use crate::manifest::document::{self, Resource};
use crate::manifest::{Documents, Field, Mark, Marked, Value};
use crate::media::Library;
use crate::model::{Name, dhcp_option};
use crate::render::builtin;

/// One value of a deployment, inherited or its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Inherited {
    /// As manifests spell it, the parts of tables divided by dots: `boot`, `vars.root-hash`.
    pub key: String,
    pub value: Value,
    /// `None` for the default of a built-in template.
    pub mark: Option<Mark>,
}

/// Every value of a deployment, in the order of the settings; `None` if there is no such deployment.
pub fn inherited(documents: &Documents, library: &dyn Library, deployment: &Name) -> Option<Vec<Inherited>> {
    let resource = documents.deployments.get(deployment)?;
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let mut earlier = Earlier::default();
    let mut resolver = Resolver::new(&mut earlier, documents, library, &options);
    resolver.profiles();
    let (effective, _) = resolver.inherited(resource);
    let mut found = own(resource);
    let choices = [
        ("subnet", &effective.subnet),
        ("boot", &effective.boot),
        ("template", &effective.template),
        ("user-data", &effective.user_data),
    ];
    for (key, choice) in choices {
        found.extend(choice.as_ref().map(|choice| Inherited {
            key: key.into(),
            value: Value::Name(choice.name.value.clone()),
            mark: Some(choice.name.mark),
        }));
    }
    for (name, field) in &effective.vars {
        flatten(&key(name), &field.value.value, Some(field.value.mark), &mut found);
    }
    for (code, field) in &effective.options {
        let key = format!("options.{}", dhcp_option::key(*code));
        flatten(&key, &field.value.value, Some(field.value.mark), &mut found);
    }
    for (number, route) in effective.routes.iter().flatten().enumerate() {
        let (Some(to), Some(via)) = (&route.to, &route.via) else { continue };
        found.push(Inherited {
            key: format!("routes.{number}"),
            value: Value::Text(format!("{} via {}", to.value, via.value).into()),
            mark: Some(to.mark),
        });
    }
    for template in [&effective.template, &effective.user_data].into_iter().flatten() {
        let set: BTreeSet<String> = found.iter().map(|one| one.key.clone()).collect();
        let given = |name: &str| effective.vars.contains_key(name) || set.contains(&key(name));
        defaults(documents, &template.name.value, &given, &mut found);
    }
    Some(found)
}

/// What only deployments have.
fn own(resource: &Resource<document::Deployment>) -> Vec<Inherited> {
    let document::Deployment { profile, machine, select, macs, address, address6, redeploy, settings: _ } =
        &resource.body;
    let row = |key: &str, value: Value, mark: Mark| Inherited { key: key.into(), value, mark: Some(mark) };
    let mut found = Vec::new();
    found.extend(profile.as_ref().map(|name| row("profile", Value::Name(name.value.clone()), name.mark)));
    found.extend(machine.as_ref().map(|name| row("machine", Value::Name(name.value.clone()), name.mark)));
    if let Some(select) = select {
        let labels = select.value.iter();
        found.extend(
            labels.map(|(key, label)| row(&format!("select.{key}"), Value::Text(label.clone()), select.mark)),
        );
    }
    if let Some(first) = macs.first() {
        let all = macs.iter().map(|mac| Marked::new(Value::Mac(mac.value), mac.mark));
        found.push(row("mac", Value::List(all.collect()), first.mark));
    }
    found.extend(
        address6.as_ref().map(|address| row("address6", Value::Address6(address.value), address.mark)),
    );
    found.extend(address.as_ref().map(|address| {
        let value = match address.value {
            document::Address::Fixed(fixed) => Value::Address(fixed),
            document::Address::Auto => Value::Auto,
        };
        row("address", value, address.mark)
    }));
    found.extend(
        redeploy
            .as_ref()
            .map(|redeploy| row("redeploy", Value::Integer(redeploy.value.cast_signed()), redeploy.mark)),
    );
    found
}

/// Defaults of the template's variables that nothing else sets.
fn defaults(
    documents: &Documents,
    template: &Name,
    given: &dyn Fn(&str) -> bool,
    found: &mut Vec<Inherited>,
) {
    if let Some(own) = documents.templates.get(template) {
        for (name, variable) in own.body.vars.iter().filter(|(name, _)| !given(name)) {
            if let Some(default) = &variable.value.default {
                flatten(&key(name), &default.value, Some(default.mark), found);
            }
        }
        return;
    }
    let Some(builtin) = builtin::lookup(template.as_str()) else { return };
    for input in builtin.inputs.iter().filter(|input| !given(input.name)) {
        found.push(Inherited { key: key(input.name), value: plain(&input.default), mark: None });
    }
}

/// The value of a built-in's default, which was never written in a manifest.
fn plain(value: &crate::render::Value) -> Value {
    use crate::render::Value as Rendered;
    match value {
        Rendered::Integer(number) => Value::Integer(*number),
        Rendered::Boolean(flag) => Value::Boolean(*flag),
        Rendered::List(items) => {
            let nowhere = Mark::new(0, 0..0);
            Value::List(items.iter().map(|item| Marked::new(plain(item), nowhere)).collect())
        }
        other => Value::Text(other.to_string().into()),
    }
}

/// Tables were merged by key: each of their parts has a place of its own.
fn flatten(key: &str, value: &Value, mark: Option<Mark>, found: &mut Vec<Inherited>) {
    match value {
        Value::Table(table) if !table.0.is_empty() => {
            let part = |(name, field): (&Arc<str>, &Field)| {
                flatten(&format!("{key}.{}", kebab(name)), &field.value.value, Some(field.value.mark), found);
            };
            table.0.iter().for_each(part);
        }
        value => found.push(Inherited { key: key.into(), value: value.clone(), mark }),
    }
}

/// `packages`, `vars.root-hash`.
fn key(name: &str) -> String {
    let name = kebab(name);
    if document::Settings::known().any(|known| known == name) { name } else { format!("vars.{name}") }
}

fn kebab(name: &str) -> String {
    name.replace('_', "-")
}
