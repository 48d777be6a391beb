//! `GET /v1/boots`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Row, or_dash};
use crate::desired;
use crate::model::Name;
use crate::state::State;

/// A row of `GET /v1/boots`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Boot {
    pub name: String,
    pub prefix: String,
    pub arch: String,
    pub kernel: String,
    pub initrd: Vec<String>,
    pub image: Option<String>,
    pub origin: String,
}

/// All of the inventory.
pub fn all(state: &State) -> Vec<Boot> {
    state.desired().boots.values().map(|boot| row(boot)).collect()
}

/// The one of this name.
pub fn one(state: &State, name: &Name) -> Option<Boot> {
    state.desired().boots.get(name).map(|boot| row(boot))
}

fn row(boot: &desired::Boot) -> Boot {
    Boot {
        name: boot.name.to_string(),
        prefix: boot.prefix.to_string(),
        arch: boot.cpu.to_string(),
        kernel: boot.kernel.path.to_string(),
        initrd: boot.initrd.iter().map(|initrd| initrd.path.to_string()).collect(),
        image: boot.tree.as_ref().map(|tree| tree.label.clone()),
        origin: boot.origin.to_string(),
    }
}

impl Row for Boot {
    const COLUMNS: &'static [&'static str] = &["NAME", "ARCH", "PREFIX", "KERNEL", "IMAGE"];

    fn name(&self) -> &str {
        &self.name
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.arch.clone(),
            self.prefix.clone(),
            self.kernel.clone(),
            or_dash(self.image.as_ref()),
        ]
    }
}
