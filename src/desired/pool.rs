//! Machines that are given to whoever asks.

use std::sync::Arc;

use super::Deployment;
use crate::model::{Name, OnReturn, Span, WipeLevel};

/// One `[pool.NAME]` with all that its machines run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub name: Name,
    pub profile: Name,
    /// What a machine of it runs. A claim has its own copy with its name and machine; its `place` has the labels
    /// that a machine must carry.
    pub prototype: Arc<Deployment>,
    /// Most machines given out at a time.
    pub max: Option<u32>,
    /// Most claims of one caller at a time, those that wait among them.
    pub per_caller: Option<u32>,
    /// How long a claim lasts; `None`: until it is released.
    pub ttl: Option<Span>,
    /// Whether only machines are given out whose disks are known to be clean.
    pub clean: bool,
    pub on_return: OnReturn,
    pub level: WipeLevel,
}
