//! The program that runs on machines: this one, or the static release of it for another processor.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::elf::Elf;
use crate::media::{MediaError, identity, regular};
use crate::model::Cpu;
use crate::model::content::FileId;

/// Largest program, in bytes: one with all that a debugger wants has 100 MB.
const LARGEST: u64 = 512 << 20;

/// Where the programs lie.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// `[firmware] agents` of the daemon's file.
    pub named: BTreeMap<Cpu, PathBuf>,
}

impl Programs {
    /// The program for machines with this processor: the named one, else the one that runs here.
    fn path(&self, cpu: Cpu) -> PathBuf {
        self.named.get(&cpu).cloned().unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
    }

    /// Which file it is now.
    ///
    /// # Errors
    /// Those of looking at it.
    pub(super) fn identity(&self, cpu: Cpu) -> Result<FileId, MediaError> {
        Ok(identity::of(&regular::stat(&self.path(cpu))?))
    }

    /// The program's bytes.
    ///
    /// # Errors
    /// What can't be read, is for another processor, or needs a dynamic loader, with the way out.
    pub(super) fn read(&self, cpu: Cpu) -> Result<Vec<u8>, MediaError> {
        let path = self.path(cpu);
        let fail = |why: String| MediaError::NoAgent { path: path.clone(), why };
        let (file, _) = regular::open(&path)?;
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| identity::failed(&path, &error))?;
        if bytes.len() as u64 > LARGEST {
            return Err(fail("it is larger than 512 MiB".into()));
        }
        let way_out = way_out(cpu, self.named.get(&cpu).map(PathBuf::as_path));
        let elf = Elf::of(&bytes).ok_or_else(|| fail(format!("it is no program for Linux; {way_out}")))?;
        match elf.cpu() {
            Some(found) if found == cpu => {}
            Some(found) => return Err(fail(format!("it is for {found}; {way_out}"))),
            None => return Err(fail(format!("it is for another processor; {way_out}"))),
        }
        match elf.is_static() {
            Some(true) => Ok(bytes),
            _ => {
                Err(fail(format!("it needs the libraries of this host, which machines have not; {way_out}")))
            }
        }
    }
}

fn way_out(cpu: Cpu, named: Option<&Path>) -> String {
    match named {
        Some(_) => format!(
            "`agents` in [firmware] of the daemon's file wants the static release ({cpu}-unknown-linux-musl)"
        ),
        None => format!(
            "run the static release ({cpu}-unknown-linux-musl) as the daemon, or name it: \
             `agents = {{ {cpu} = \"/path/to/voldemort\" }}` in [firmware] of the daemon's file"
        ),
    }
}
