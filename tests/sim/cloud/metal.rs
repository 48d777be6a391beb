//! A machine as it really is, whatever the daemon believes of it.

use std::sync::Arc;

use voldemort::model::{Mac, Name};
use voldemort::state::life::SeenDisk;

/// What is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Blank,
    /// Something that was there before we came.
    Foreign,
    /// What the installation of an epoch wrote.
    System(u64),
}

/// What runs on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Runs {
    Nothing,
    /// Our agent, which was started under an epoch.
    Agent(u64),
    Installer {
        tenant: Name,
        epoch: u64,
    },
    System,
}

/// How its controller answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controller {
    Good,
    /// It says that it did what it was asked for, and did not.
    Liar,
    Slow,
    /// It never answers.
    Dead,
}

#[derive(Debug)]
pub(crate) struct Metal {
    pub name: Name,
    pub card: Mac,
    pub disks: Vec<(Arc<str>, Content)>,
    pub runs: Runs,
    pub controller: Controller,
    /// What was planned for it before it was restarted is void.
    pub boot: u64,
}

impl Metal {
    pub(crate) fn seen(&self) -> Arc<[SeenDisk]> {
        let seen = |(id, content): &(Arc<str>, Content)| SeenDisk {
            id: id.clone(),
            bytes: 1 << 30,
            blank: *content == Content::Blank,
        };
        self.disks.iter().map(seen).collect()
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.disks.iter().all(|(_, content)| *content == Content::Blank)
    }
}
