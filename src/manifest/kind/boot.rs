//! `[boot.NAME]`: something to boot.

use std::sync::Arc;

use super::table::table;
use crate::manifest::Marked;
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::model::{Cpu, Size};

table! {
    pub struct Boot: "boots", "Something a machine can boot: a kernel with what belongs to it." {
        iso: Option<Iso> = may "iso": Table(Iso::FIELDS),
            "Image that kernel and initrd are taken from and that is served as a tree.";
        kernel: Option<Marked<Arc<str>>> = must "kernel": Text(Form::Path),
            "Path inside the image; without one, relative to the inventory.";
        initrd: Vec<Marked<Arc<str>>> = may "initrd": Several(&Text(Form::Path)),
            "Paths like `kernel`, loaded in this order.";
        modules: Vec<Marked<Arc<str>>> = may "modules": Several(&Text(Form::Path)),
            "Packages (.deb, .udeb, .rpm) with the modules of `kernel`, or its initrd, named like it: with them the \
             boot can be that of the agent.";
        cmdline: Vec<Marked<Arc<str>>> = may "cmdline": List(&Text(Form::Any)),
            "Words of the kernel command line; each may use variables.";
        arch: Option<Marked<Cpu>> = may "arch": Text(Form::Choice(Cpu::NAMES)),
            "Processor; x86_64 if absent.";
        loader: Vec<Marked<Arc<str>>> = may "loader": Several(&Text(Form::Segment)), LOADER;
        /// What it needs.
        memory: Option<Marked<Size>> = may "memory": Text(Form::Size),
            "What it needs at least, as in \"2 GiB\"; the size of its files decides if absent.";
    }
}

/// Help of `loader`, which machines have too.
pub(super) const LOADER: &str = "Boot programs to give instead of the usual one, best first, as in \"ipxe.efi\"; \
                                 names that do not fit the machine's firmware are passed over.";

table! {
    pub struct Iso: "`iso` tables", "An installer's image." {
        file: Option<Marked<Arc<str>>> = may "file": Text(Form::File),
            "The image's file: below a folder of media, below the inventory, or with its full path.";
        url: Option<Marked<Arc<str>>> = may "url": Text(Form::Url),
            "Where the daemon fetches the image, in place of `file`; needs `sha256`.";
        prefix: Option<Marked<Arc<str>>> = may "prefix": Text(Form::Segment),
            "First part of the path the tree is served at; the boot's name if absent.";
        /// 64 lower-case hexadecimal digits.
        sha256: Option<Marked<Arc<str>>> = may "sha256": Text(Form::Sha256), "Digest that the image must have.";
    }
    either: ["file", "url"];
}

impl Iso {
    /// The image's file or address.
    pub fn source(&self) -> Option<&Marked<Arc<str>>> {
        self.file.as_ref().or(self.url.as_ref())
    }
}
