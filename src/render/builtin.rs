//! The templates that come with the program. An inventory's own template of the same name
//! takes the place of a built-in one.

use std::sync::{LazyLock, OnceLock};

use super::common;
use super::installer::{self, Installer};
use super::{Kind, Text, Value};

/// A template that is part of voldemort.
#[derive(Debug)]
pub struct Builtin {
    pub name: &'static str,
    pub kind: Kind,
    /// What it reads beside the well-known variables.
    pub inputs: Vec<Input>,
    source: &'static str,
    text: OnceLock<Text>,
}

impl Builtin {
    /// Whether one of its files reads the variable.
    pub fn reads(&self, variable: &str) -> bool {
        let parts = self.kind.files().iter().filter_map(|file| file.content.part());
        self.text().uses(variable) || parts.into_iter().any(|part| part.uses(variable))
    }

    /// Compiled when it is first asked for: most inventories use one or two of them.
    pub fn text(&self) -> &Text {
        self.text.get_or_init(|| Text::parse(self.source).expect("a test parses every built-in template"))
    }
}

/// A variable that a built-in template declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// As the template spells it, with underscores.
    pub name: &'static str,
    pub sort: Sort,
    pub default: Value,
    pub meaning: &'static str,
}

/// What an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    String,
    Boolean,
    Integer,
    List,
    Secret,
}

static ALL: LazyLock<Vec<Builtin>> = LazyLock::new(|| {
    let mut all: Vec<Builtin> = installer::all().filter_map(builtin).collect();
    all.sort_by_key(|builtin| builtin.name);
    all
});

/// All built-in templates, by name.
pub fn all() -> &'static [Builtin] {
    &ALL
}

/// The built-in template of this name.
pub fn lookup(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}

fn builtin(installer: &Installer) -> Option<Builtin> {
    let template = installer.template.as_ref()?;
    let kind = installer.kind;
    let mut inputs = (template.inputs)();
    let own = |name: &str| inputs.iter().any(|input| input.name == name);
    let common =
        common::inputs().into_iter().filter(|input| template.limits.can(input.name) && !own(input.name));
    let common: Vec<Input> = common.collect();
    inputs.splice(..0, common);
    Some(Builtin { name: kind.name(), kind, inputs, source: template.source, text: OnceLock::new() })
}

pub(super) fn text(name: &'static str, default: &str, meaning: &'static str) -> Input {
    Input { name, sort: Sort::String, default: Value::String(default.to_owned()), meaning }
}

pub(super) fn secret(name: &'static str, meaning: &'static str) -> Input {
    Input { name, sort: Sort::Secret, default: Value::String(String::new()), meaning }
}

pub(super) fn list(name: &'static str, default: &[&str], meaning: &'static str) -> Input {
    let default = default.iter().map(|item| Value::String((*item).to_owned())).collect();
    Input { name, sort: Sort::List, default: Value::List(default), meaning }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::installer::Completion;
    use crate::render::known::is_well_known;

    #[test]
    fn each_kind_but_plain_has_one() {
        for kind in Kind::ALL {
            assert_eq!(lookup(kind.name()).is_some(), kind != Kind::Plain, "{kind}");
        }
        assert!(lookup("nobody").is_none());
        assert!(all().is_sorted_by_key(|builtin| builtin.name));
    }

    #[test]
    fn each_declares_what_it_reads_and_no_more() {
        for builtin in all() {
            for found in builtin.text().variables() {
                let declared = builtin.inputs.iter().any(|input| input.name == found.name);
                assert!(declared || is_well_known(&found.name), "{} reads {found:?}", builtin.name);
            }
            for input in &builtin.inputs {
                assert!(builtin.reads(input.name), "{} does not read {}", builtin.name, input.name);
                assert!(!is_well_known(input.name), "{} is well known", input.name);
            }
            let ends = builtin.reads("completed_url");
            let hook = builtin.kind.installer().completion == Completion::Hook;
            assert_eq!(ends, hook, "{} and how its end becomes known", builtin.name);
        }
    }
}
