//! What drivers share: limits, trust, programs, and what was learned of controllers since the start. Nothing of it is
//! stored.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::redfish::Controller;
use super::{Endpoint, Limits, Trust};
use crate::model::{Name, PowerProgram};

/// What drivers need besides the machine.
pub struct Tools {
    pub trust: Trust,
    pub limits: Limits,
    /// The programs of the daemon's file.
    pub programs: BTreeMap<Name, PowerProgram>,
    /// What is called for IPMI.
    pub ipmitool: PathBuf,
    /// Where wake-on-LAN packets are sent. 9, the port of discard, for any card takes them at any.
    pub wake_port: u16,
    /// Controllers of Redfish.
    controllers: Mutex<HashMap<Endpoint, Controller>>,
    /// The cipher suite of IPMI that each controller has accepted.
    ciphers: Mutex<HashMap<Arc<str>, u8>>,
    /// Who is next at a controller.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Tools {
    pub fn new(trust: Trust, limits: Limits, programs: BTreeMap<Name, PowerProgram>) -> Tools {
        Tools {
            trust,
            limits,
            programs,
            ipmitool: "ipmitool".into(),
            wake_port: 9,
            controllers: Mutex::default(),
            ciphers: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    /// Waits until no other request to a controller is under way. The next one has to wait until what is returned
    /// is dropped.
    pub async fn turn(&self, controller: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = lock(&self.turns);
            // Of controllers that nobody waits for nothing is remembered.
            if turns.len() >= TURNS_KEPT {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            turns.entry(controller.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }

    pub(super) fn controller(&self, endpoint: &Endpoint) -> Option<Controller> {
        lock(&self.controllers).get(endpoint).cloned()
    }

    pub(super) fn learn(&self, endpoint: &Endpoint, controller: Controller) {
        lock(&self.controllers).insert(endpoint.clone(), controller);
    }

    pub(super) fn forget(&self, endpoint: &Endpoint) {
        lock(&self.controllers).remove(endpoint);
    }

    pub(super) fn cipher(&self, address: &str) -> Option<u8> {
        lock(&self.ciphers).get(address).copied()
    }

    pub(super) fn learn_cipher(&self, address: &str, cipher: u8) {
        lock(&self.ciphers).insert(address.into(), cipher);
    }
}

/// Controllers whose turns are remembered before those that are idle are dropped.
const TURNS_KEPT: usize = 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
