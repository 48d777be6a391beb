//! The initrd of the agent, which runs in the memory of machines that are described or wiped: this very program as
//! `/init`, and the modules of one kernel out of its packages. It is the same for every machine.
//!
//! | path | what |
//! |---|---|
//! | `/init` | the static program |
//! | `/sbin/modprobe` | a link to it: the kernel calls for some modules by name |
//! | `/lib/modules/RELEASE/…` | modules, not packed |
//! | `/lib/modules/index` | a line for each: `NAME<TAB>PATH<TAB>dependency,…<TAB>alias …` |
//!
//! Packages are read twice, so that no more of them than one module is in memory: first what each module says of
//! itself, then the bytes of those that were chosen.

mod choice;
mod cpio;
mod elf;
mod held;
mod kernel;
mod module;
mod package;
mod program;
mod stock;
mod stretch;
mod tar;
mod unpack;
mod writing;

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use choice::Modules;
use module::Module;
use package::Limits;
pub use program::Programs;
pub(super) use stock::Stock;
use stretch::Stretch;

use super::{Entry, MediaError};
use crate::model::Cpu;

/// Largest module, in bytes, unpacked. Debian 12's largest has 12 MB.
const LARGEST_MODULE: u64 = 128 << 20;

/// What the initrd of an agent is made of, each file with its name in the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The boot, for messages.
    pub boot: Arc<str>,
    pub cpu: Cpu,
    pub kernel: (Arc<str>, Entry),
    /// Packages that hold modules of the kernel.
    pub modules: Vec<(Arc<str>, Entry)>,
}

/// Whether the packages hold modules for the kernel, as far as the first module of each tells.
///
/// # Errors
/// A package that can't be read, or that is for another kernel.
pub(super) fn survey(parts: &Parts) -> Result<(), MediaError> {
    let kernel = release(parts)?;
    for (name, package) in &parts.modules {
        let mut first = None;
        each_module(name, package, parts.cpu, &|_| true, &mut |module, _| {
            first = Some(module.release);
            Ok(false)
        })?;
        let first = first.ok_or_else(|| unusable(name, NO_MODULES))?;
        if let Some(kernel) = kernel.as_ref().filter(|kernel| **kernel != first) {
            return Err(other_kernel(parts, name, kernel, &first));
        }
    }
    Ok(())
}

/// Whether the packages hold all modules that the agent of this kernel gets.
///
/// # Errors
/// As those of [`survey`], and a module that another one needs and that is not there.
pub(super) fn examine(parts: &Parts, goes_on: &dyn Fn() -> bool) -> Result<(), MediaError> {
    modules(parts, goes_on).map(drop)
}

/// The modules of the kernel by name, as the packages describe them. Of two with one name the later one counts.
///
/// # Errors
/// As those of [`survey`], and a module that another one needs and that is not there.
fn modules(parts: &Parts, goes_on: &dyn Fn() -> bool) -> Result<Modules, MediaError> {
    let kernel = release(parts)?;
    let mut modules = Modules::new();
    for (name, package) in &parts.modules {
        let mut others = BTreeSet::new();
        let mut found = false;
        each_module(name, package, parts.cpu, &|_| true, &mut |module, _| {
            match kernel.as_ref().is_none_or(|kernel| *kernel == module.release) {
                true => {
                    found = true;
                    modules.insert(module.name.clone(), module);
                }
                false => drop(others.insert(module.release)),
            }
            if goes_on() { Ok(true) } else { Err(ABANDONED.into()) }
        })?;
        match (others.pop_first(), &kernel) {
            (Some(other), Some(kernel)) if !found => {
                return Err(other_kernel(parts, name, kernel, &other));
            }
            (None, _) if !found => return Err(unusable(name, NO_MODULES)),
            _ => {}
        }
    }
    let releases: BTreeSet<&str> = modules.values().map(|module| module.release.as_str()).collect();
    if releases.len() > 1 {
        let list = releases.into_iter().collect::<Vec<_>>().join(", ");
        let why = format!(
            "{} does not say which kernel it is, and the modules are for several: {list}",
            parts.kernel.0
        );
        return Err(unusable(&parts.kernel.0, &why));
    }
    if let Some((name, _)) = parts.modules.last() {
        choice::choose(&modules).map_err(|why| unusable(name, &why))?;
    }
    Ok(modules)
}

const NO_MODULES: &str = "it holds no modules of a kernel";
const ABANDONED: &str = "it was read no further: nobody asks for it any more";

fn release(parts: &Parts) -> Result<Option<String>, MediaError> {
    let (name, kernel) = &parts.kernel;
    kernel::release(Stretch::open(kernel)?).map_err(|error| unusable(name, &package::damaged(&error)))
}

/// Takes a module and its bytes; whether the others are wanted, too.
type Found<'a> = dyn FnMut(Module, &[u8]) -> Result<bool, String> + 'a;

/// Calls `found` with every module of a package whose path is `wanted` and its bytes, until it returns false.
fn each_module(
    name: &str,
    package: &Entry,
    cpu: Cpu,
    wanted: &dyn Fn(&str) -> bool,
    found: &mut Found<'_>,
) -> Result<(), MediaError> {
    let mut file = |path: &str, size: u64, body: &mut dyn Read, limits: &mut Limits| {
        let Some(place) = module::place(path)?.filter(|place| wanted(place)) else { return Ok(true) };
        let packed = limits.exactly(body, size, LARGEST_MODULE)?;
        let plain = match path.ends_with(".ko") {
            true => packed,
            false => {
                let mut unpacked = unpack::unpacked(&packed[..]).map_err(|error| package::damaged(&error))?;
                limits.bytes(&mut unpacked, LARGEST_MODULE).map_err(|why| format!("{path}: {why}"))?
            }
        };
        // Hard links of an RPM have their bytes at the last of their names.
        if plain.is_empty() {
            return Ok(true);
        }
        found(Module::parse(&place, &plain, cpu)?, &plain)
    };
    package::read(name, package, &mut file)
}

fn unusable(name: &str, why: &str) -> MediaError {
    MediaError::BadPackage { path: name.into(), why: why.into() }
}

fn other_kernel(parts: &Parts, name: &str, kernel: &str, modules: &str) -> MediaError {
    MediaError::OtherKernel {
        path: name.into(),
        kernel: format!("{} is {kernel}", parts.kernel.0),
        modules: modules.to_owned(),
    }
}

#[cfg(test)]
mod tests;
