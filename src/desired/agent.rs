//! What our agent runs on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Boot;
use crate::model::{Cpu, Name};

/// `[agent]` of the inventory's `voldemort.toml`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agent {
    /// The boots whose kernels the agent runs on.
    pub boots: BTreeMap<Cpu, Arc<Boot>>,
}

impl Agent {
    /// Takes its boots as `boots` has them under the same names: their files are served from there.
    pub fn follow(&mut self, boots: &BTreeMap<Name, Arc<Boot>>) {
        for own in self.boots.values_mut() {
            if let Some(boot) = boots.get(&own.name) {
                *own = boot.clone();
            }
        }
    }

    /// The boot for a machine; of one whose architecture is not known the only one there is, else that for x86-64.
    pub fn boot(&self, cpu: Option<Cpu>) -> Option<&Arc<Boot>> {
        match cpu {
            Some(cpu) => self.boots.get(&cpu),
            None if self.boots.len() == 1 => self.boots.values().next(),
            None => self.boots.get(&Cpu::X86_64),
        }
    }
}
