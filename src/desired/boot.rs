//! Something a machine can boot: a kernel with what belongs to it.

use std::sync::Arc;

use crate::media::{Entry, Index};
use crate::model::{Cpu, Name, Origin};
use crate::render::Text;

/// First parts of the daemon's own paths, which no boot is served below.
pub const OWN_PREFIXES: [&str; 9] =
    ["ipxe", "answers", "hooks", "loader", "grub", "pxelinux.cfg", "files", "boot", "EFI"];

/// A tree with one of these at its root is one that a Raspberry Pi starts from: the first programs of
/// models 1 to 3 and of model 4, and what all read, model 5 first of all.
const PI_SIGNS: [&str; 4] = ["bootcode.bin", "start.elf", "start4.elf", "config.txt"];

/// One `[boot.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Boot {
    pub name: Name,
    /// First part of the path below which kernel, initrd and tree are served: `prefix` of the
    /// image, else the boot's name. Unique among boots.
    pub prefix: Arc<str>,
    pub kernel: File,
    pub initrd: Vec<File>,
    /// Packages with the kernel's modules, as the manifest names them.
    pub modules: Vec<File>,
    /// The initrd of the agent: our own program with the modules of those packages. `None` without such packages; its
    /// entry is missing where none is made, as in a check.
    pub agent: Option<File>,
    /// One template per word of the kernel command line.
    pub cmdline: Vec<Text>,
    pub cpu: Cpu,
    /// Boot programs to give instead of the usual ones, best first.
    pub loader: Vec<Box<str>>,
    /// The tree of the ISO image; `None` for loose files.
    pub tree: Option<Arc<Index>>,
    pub origin: Origin,
}

impl Boot {
    /// The files that manifests name, wherever they lie: the kernel first.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        std::iter::once(&self.kernel).chain(&self.initrd).chain(&self.modules)
    }

    /// Whether its tree is one that a Raspberry Pi starts from.
    pub fn starts_a_pi(&self) -> bool {
        self.tree.as_ref().is_some_and(|tree| PI_SIGNS.iter().any(|sign| tree.lookup(sign).is_some()))
    }
}

/// Path of the agent's initrd below a boot's prefix.
pub const AGENT_INITRD: &str = "voldemort-agent.gz";

/// A kernel or initrd: its path below the boot's prefix, and where its bytes lie.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    pub path: Arc<str>,
    /// `None` only in an offline check that did not find the media.
    pub entry: Option<Entry>,
}
