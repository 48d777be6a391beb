//! A named template for answer files.

use std::collections::BTreeMap;

use crate::model::{InstallerProof, Name, Origin, VariableType};
use crate::render::{Kind, Text};

/// A built-in template, or one `[template.NAME]`.
#[derive(Debug, PartialEq)]
pub struct Template {
    pub name: Name,
    pub kind: Kind,
    pub text: Text,
    /// Declared variables, by their name in the template (underscores).
    pub inputs: BTreeMap<String, Input>,
    /// `None` for a built-in.
    pub origin: Option<Origin>,
}

impl Template {
    /// How one of the program was proven; nothing is known of those of an inventory.
    pub fn proof(&self) -> Option<InstallerProof> {
        let builtin = self.kind.installer().template.as_ref().filter(|_| self.origin.is_none());
        builtin.map(|builtin| builtin.proof)
    }
}

/// What a template says of one of its variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub kind: VariableType,
    pub default: Option<crate::render::Value>,
}
