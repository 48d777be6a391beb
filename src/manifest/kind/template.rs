//! `[template.NAME]`: a template for answer files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Kind;
use super::settings::underscored;
use super::table::{Mention, Setting, Written, table};
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::manifest::{Field, Marked, Value};
use crate::model::{InstallerKind, VariableType};

table! {
    pub struct Template: "templates", "A template for answer files." {
        kind: Option<Marked<InstallerKind>> = must "kind": Text(Form::Choice(InstallerKind::NAMES)),
            "What reads the rendered file.";
        file: Option<Marked<Arc<str>>> = must "file": Text(Form::Path),
            "The template's text, relative to the inventory.";
        /// By template spelling, with the places of the names.
        vars: Declared = may "vars": Variables(&Table(Variable::FIELDS)),
            "Every variable the text may use beside the generally known ones.";
    }
}

table! {
    pub struct Variable: "variables", "One variable of a template." {
        kind: Option<Marked<VariableType>> = must "type": Text(Form::Choice(VariableType::NAMES)), "What it holds.";
        default: Option<Marked<Value>> = may "default": Anything,
            "Its value where nothing sets it; without one it must be set.";
    }
}

type Declared = BTreeMap<Arc<str>, Marked<Variable>>;

impl Setting for Declared {
    fn take(table: &mut crate::manifest::Table, key: &str) -> Declared {
        let variable = |(name, field): (Arc<str>, Field)| {
            let Value::Table(mut table) = field.value.value else { return None };
            Some((underscored(&name), Marked::new(Variable::read(&mut table), field.key)))
        };
        let written = table.take::<crate::manifest::Table>(key).into_iter();
        written.flat_map(|written| written.value.0).filter_map(variable).collect()
    }

    fn mentions<'a>(&'a self, _: Option<Kind>, visit: &mut dyn FnMut(Mention<'a>)) {
        self.values().for_each(|variable| variable.value.mentions(visit));
    }
}
