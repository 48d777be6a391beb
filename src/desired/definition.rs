//! What manifests say of the kinds that deployments and claims are made of: for people, no machine is served by it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::template::Input;
use crate::model::{InstallerKind, Name, Origin, Span};
use crate::render::Value;

/// A profile, a template of the manifests or a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub origin: Origin,
    pub body: DefinitionBody,
}

/// What it says, by its kind.
#[derive(Clone, Debug, PartialEq)]
pub enum DefinitionBody {
    /// With all that it inherits.
    Profile {
        /// The profiles that it starts from, as they are written.
        extends: Box<[Name]>,
        subnet: Option<Name>,
        boot: Option<Name>,
        template: Option<Name>,
        user_data: Option<Name>,
        /// By template spelling, in order. Not a map: an inventory may have a hundred thousand profiles of two values.
        values: Box<[(Box<str>, Value)]>,
    },
    Template {
        kind: Option<InstallerKind>,
        /// Where its text is, relative to the inventory.
        file: Option<Arc<str>>,
        /// By their names in the template.
        inputs: BTreeMap<String, Input>,
    },
    Pool {
        profile: Option<Name>,
        select: BTreeMap<String, String>,
        max: Option<i64>,
        ttl: Option<Span>,
    },
}
