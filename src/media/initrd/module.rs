//! A kernel module: what its section `.modinfo` says of it, which is all that modprobe needs to know.

use super::elf::Elf;
use crate::model::Cpu;

/// Longest list that the index takes from one module, in bytes. The largest of Debian 12 has 30 KB of aliases.
const LONGEST: usize = 1 << 20;

/// A module as its own `.modinfo` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// With `_` in place of `-`, as the kernel calls it.
    pub name: String,
    /// Its path below `lib/modules`, not packed: `6.1.0-50-amd64/kernel/drivers/net/veth.ko`.
    pub path: String,
    /// The release of the kernel that it is for: the first word of `vermagic`.
    pub release: String,
    /// Modules that must be loaded before.
    pub depends: Vec<String>,
    /// Modules, or aliases of some, that should be loaded with it (`softdep`).
    pub soft: Vec<String>,
    /// Patterns of the names under which devices ask for it.
    pub aliases: Vec<String>,
}

impl Module {
    /// What the module at `path` below `lib/modules` says.
    ///
    /// # Errors
    /// What is no module for `cpu`.
    pub(super) fn parse(path: &str, bytes: &[u8], cpu: Cpu) -> Result<Module, String> {
        let fail = |why: &str| format!("its module {path} can't be used: {why}");
        let elf = Elf::of(bytes).ok_or_else(|| fail("it is no ELF file of 64 bits"))?;
        match elf.cpu() {
            Some(found) if found == cpu => {}
            Some(found) => return Err(format!("its modules are for {found}, and the boot is for {cpu}")),
            None => return Err(fail("it is for another processor than x86_64 and aarch64")),
        }
        let info = elf.section(".modinfo").ok_or_else(|| fail("it has no section .modinfo"))?;
        if info.len() > LONGEST {
            return Err(fail("its section .modinfo is larger than 1 MiB"));
        }
        let info: Vec<(&str, &str)> = info.split(|byte| *byte == 0).filter_map(pair).collect();
        let all =
            |key: &'static str| info.iter().filter(move |(found, _)| *found == key).map(|(_, value)| *value);
        let vermagic =
            all("vermagic").next().ok_or_else(|| fail("it does not say which kernel it is for"))?;
        let release = vermagic.split(' ').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".ko");
        let words = |list: &str| {
            list.split([',', ' ']).filter(|word| !word.is_empty()).map(plain).collect::<Vec<_>>()
        };
        Ok(Module {
            name: plain(all("name").next().unwrap_or(file)),
            path: path.to_owned(),
            release: release.to_owned(),
            depends: all("depends").flat_map(words).collect(),
            soft: all("softdep").flat_map(words).filter(|word| word != "pre:" && word != "post:").collect(),
            // An alias with a blank in it could not be told from two.
            aliases: all("alias")
                .filter(|alias| !alias.contains(char::is_whitespace))
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// `KEY=VALUE` of printable text.
fn pair(entry: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(entry).ok()?;
    text.split_once('=').filter(|(_, value)| !value.contains(char::is_control))
}

/// A module's name as the kernel writes it.
pub(super) fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// The path below `lib/modules` of a file in a package that is a module, and the rest of its name that
/// says how it is packed.
///
/// # Errors
/// A path that leads out of there.
pub(super) fn place(name: &str) -> Result<Option<String>, String> {
    let Some((before, path)) = name.split_once("lib/modules/") else { return Ok(None) };
    let Some((stem, packing)) = path.rsplit_once(".ko") else { return Ok(None) };
    if !matches!(packing, "" | ".gz" | ".xz" | ".zst")
        || !matches!(before.trim_matches(['.', '/']), "" | "usr")
    {
        return Ok(None);
    }
    let fine = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(|c: char| c.is_control())
    };
    match stem.split('/').all(fine) && stem.len() < 1024 {
        true => Ok(Some(format!("{stem}.ko"))),
        false => Err(format!("a path in it leads elsewhere: {}", name.escape_default())),
    }
}
