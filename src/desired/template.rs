//! A named template for answer files.

use std::collections::BTreeMap;

use crate::model::{Name, Origin, VariableType};
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

/// What a template says of one of its variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    pub kind: VariableType,
    pub default: Option<crate::render::Value>,
}
