//! Texts rendered a moment ago. A text is a pure function of the state, so a repeated request (for the size
//! first, over another connection, after an interruption) gets the same bytes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Secrets, Server, State};
use crate::desired::Deployment;
use crate::model::Mac;
use crate::model::facts::Facts;

/// Most texts kept; beyond that all are forgotten.
const MAX: usize = 64;

/// The texts; shared by all states of one state.
#[derive(Debug, Default)]
pub struct Memo {
    kept: Mutex<HashMap<Subject, Kept>>,
}

/// What a text is about, besides the deployment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    pub file: &'static str,
    pub mac: Mac,
    pub address: Option<Ipv4Addr>,
    pub address6: Option<Ipv6Addr>,
    /// The installation that its URLs are of.
    pub epoch: Option<u64>,
    /// The daemon's address that was reached: the text's URLs use it.
    pub at: Option<IpAddr>,
}

/// Bytes and their entity tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    pub bytes: Bytes,
    pub etag: Arc<str>,
}

impl Text {
    /// A text that is not requested again: its entity tag is made when a reply needs it.
    pub fn untagged(bytes: impl Into<Bytes>) -> Text {
        Text { etag: "".into(), bytes: bytes.into() }
    }
}

/// A text with all it was made of. Those are immutable: the same value means the same text.
#[derive(Debug)]
struct Kept {
    deployment: Arc<Deployment>,
    secrets: Arc<Secrets>,
    server: Arc<Server>,
    /// Which disk the hints mean follows from them.
    facts: Option<Arc<Facts>>,
    text: Text,
}

impl Memo {
    /// The text, rendered now unless it still is what it was.
    pub fn get<E>(
        &self,
        state: &State,
        deployment: &Arc<Deployment>,
        subject: Subject,
        render: impl FnOnce() -> Result<Text, E>,
    ) -> Result<Text, E> {
        let facts = state.facts_of(deployment);
        let same = |kept: &&Kept| {
            Arc::ptr_eq(&kept.deployment, deployment)
                && Arc::ptr_eq(&kept.secrets, &state.secrets)
                && Arc::ptr_eq(&kept.server, &state.server)
                && kept.facts.as_ref().map(Arc::as_ptr) == facts.map(Arc::as_ptr)
        };
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = lock().get(&subject).filter(same) {
            return Ok(kept.text.clone());
        }
        let text = render()?;
        let mut all = lock();
        if all.len() >= MAX {
            all.clear();
        }
        let kept = Kept {
            deployment: Arc::clone(deployment),
            secrets: Arc::clone(&state.secrets),
            server: Arc::clone(&state.server),
            facts: facts.cloned(),
            text: text.clone(),
        };
        all.insert(subject, kept);
        Ok(text)
    }
}
