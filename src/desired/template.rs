//! A named template for answer files.

use std::collections::BTreeMap;

use crate::model::{Name, Origin};
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
    pub kind: InputKind,
    pub default: Option<crate::render::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    String,
    Integer,
    Boolean,
    List,
    Table,
    Secret,
}
