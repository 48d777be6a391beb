//! `GET /v1/profiles`, `/v1/templates` and `/v1/pools`: what deployments and claims are made of.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::api::Word;
use crate::desired::{Definition, DefinitionBody};
use crate::manifest::Kind;
use crate::model::{Name, OnReturn, WipeLevel};
use crate::state::State;

/// A row of `GET /v1/profiles`. Boot, template and subnet may be inherited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    pub name: String,
    /// The profiles that it starts from; later ones win.
    pub extends: Vec<String>,
    pub boot: Option<String>,
    pub template: Option<String>,
    pub subnet: Option<String>,
    pub origin: String,
}

/// A row of `GET /v1/templates`: one of the manifests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    pub name: String,
    /// What reads the rendered file.
    pub kind: Option<String>,
    /// Where its text is, relative to the inventory.
    pub file: Option<String>,
    pub origin: String,
}

/// A row of `GET /v1/pools`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pool {
    pub name: String,
    /// What a machine of it runs.
    pub profile: Option<String>,
    /// Labels that a machine must have.
    pub select: BTreeMap<String, String>,
    /// Most machines given out at a time.
    pub max: Option<i64>,
    /// After this a claim ends by itself, as in `8h`.
    pub ttl: Option<String>,
    /// Most claims of one caller at a time, those that wait among them.
    #[serde(default)]
    pub per_caller: Option<u32>,
    /// Whether only machines are given out whose disks are known to be clean; absent, as the next two are, where mistakes in
    /// its profile keep it from giving out any.
    #[serde(default)]
    pub clean: Option<bool>,
    /// What happens to a machine that is given back, and to which level its disks are wiped.
    #[serde(default)]
    pub on_return: Option<Word<OnReturn>>,
    #[serde(default)]
    pub level: Option<Word<WipeLevel>>,
    /// How many machines it could give out now.
    #[serde(default)]
    pub free: usize,
    /// How many machines claims have.
    #[serde(default)]
    pub given_out: u32,
    /// How many claims wait.
    #[serde(default)]
    pub waiting: usize,
    pub origin: String,
}

/// A row that is made of a definition.
pub trait Defined: Row {
    const KIND: Kind;

    /// `None` for a definition of another kind.
    fn of(state: &State, name: &Name, definition: &Definition) -> Option<Self>;
}

/// All of a kind, by name.
pub fn all<T: Defined>(state: &State) -> Vec<T> {
    let own = state.desired().definitions.iter().filter(|((kind, _), _)| *kind == T::KIND);
    own.filter_map(|((_, name), definition)| T::of(state, name, definition)).collect()
}

/// The one of this name.
pub fn one<T: Defined>(state: &State, name: &Name) -> Option<T> {
    T::of(state, name, state.desired().definitions.get(&(T::KIND, name.clone()))?)
}

fn text<T: ToString>(value: Option<&T>) -> Option<String> {
    value.map(ToString::to_string)
}

impl Defined for Profile {
    const KIND: Kind = Kind::Profile;

    fn of(_: &State, name: &Name, Definition { origin, body }: &Definition) -> Option<Profile> {
        let DefinitionBody::Profile { extends, subnet, boot, template, .. } = body else { return None };
        Some(Profile {
            name: name.to_string(),
            extends: extends.iter().map(ToString::to_string).collect(),
            boot: text(boot.as_ref()),
            template: text(template.as_ref()),
            subnet: text(subnet.as_ref()),
            origin: origin.to_string(),
        })
    }
}

impl Defined for Template {
    const KIND: Kind = Kind::Template;

    fn of(_: &State, name: &Name, Definition { origin, body }: &Definition) -> Option<Template> {
        let DefinitionBody::Template { kind, file, .. } = body else { return None };
        let (kind, file) = (text(kind.as_ref()), text(file.as_ref()));
        Some(Template { name: name.to_string(), kind, file, origin: origin.to_string() })
    }
}

impl Defined for Pool {
    const KIND: Kind = Kind::Pool;

    fn of(state: &State, name: &Name, Definition { origin, body }: &Definition) -> Option<Pool> {
        let DefinitionBody::Pool { profile, select, max, ttl } = body else { return None };
        let pool = state.desired().pools.get(name);
        Some(Pool {
            per_caller: pool.and_then(|pool| pool.per_caller),
            clean: pool.map(|pool| pool.clean),
            on_return: pool.map(|pool| pool.on_return.into()),
            level: pool.map(|pool| pool.level.into()),
            free: pool.map_or(0, |pool| state.free_for(pool)),
            given_out: state.claimed_of(name),
            waiting: state.waiting(name).len(),
            name: name.to_string(),
            profile: text(profile.as_ref()),
            select: select.clone(),
            max: *max,
            ttl: text(ttl.as_ref()),
            origin: origin.to_string(),
        })
    }
}

impl Row for Profile {
    const COLUMNS: &'static [&'static str] = &["NAME", "EXTENDS", "BOOT", "TEMPLATE", "SUBNET"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            or_dash(Some(self.extends.join(",")).filter(|all| !all.is_empty()).as_ref()),
            or_dash(self.boot.as_ref()),
            or_dash(self.template.as_ref()),
            or_dash(self.subnet.as_ref()),
        ]
    }
}

impl Row for Template {
    const COLUMNS: &'static [&'static str] = &["NAME", "KIND", "FILE", "ORIGIN"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        let (kind, file) = (or_dash(self.kind.as_ref()), or_dash(self.file.as_ref()));
        vec![self.name.clone(), kind, file, self.origin.clone()]
    }
}

impl Row for Pool {
    const COLUMNS: &'static [&'static str] =
        &["NAME", "PROFILE", "SELECT", "MAX", "TTL", "FREE", "GIVEN OUT", "WAITING"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        let select: Vec<String> = self.select.iter().map(|(name, value)| format!("{name}={value}")).collect();
        vec![
            self.name.clone(),
            or_dash(self.profile.as_ref()),
            select.join(","),
            or_dash(self.max.as_ref()),
            or_dash(self.ttl.as_ref()),
            self.free.to_string(),
            self.given_out.to_string(),
            self.waiting.to_string(),
        ]
    }
}
