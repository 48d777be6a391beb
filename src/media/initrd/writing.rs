//! Writes an initrd.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::choice::{self, Modules};
use super::held::{self, Held};
use super::{ABANDONED, Parts, Programs, cpio, each_module, unusable};
use crate::media::MediaError;

/// Packed with gzip, since every kernel unpacks it: Zstandard saves a fifth, and older kernels than 5.9 have none.
const LEVEL: u32 = 6;

/// Makes the initrd for these parts.
///
/// # Errors
/// What can't be read or does not fit together, and when no memory is left.
pub(super) fn write(
    parts: &Parts,
    programs: &Programs,
    goes_on: &dyn Fn() -> bool,
) -> Result<Held, MediaError> {
    let program = programs.read(parts.cpu)?;
    let modules = super::modules(parts, goes_on)?;
    let chosen = choice::choose(&modules).map_err(|why| unusable(&parts.boot, &why))?;
    let fail = |error: io::Error| unusable(&parts.boot, &format!("its initrd can't be made: {error}"));
    let file = held::create(&format!("agent for {}", parts.boot)).map_err(fail)?;
    let mut out = GzEncoder::new(Summed::new(file), Compression::new(LEVEL));
    let mut archive = cpio::Writer::new(&mut out);
    head(&mut archive, &program, &modules, &chosen).map_err(fail)?;
    let paths: BTreeSet<&str> =
        chosen.iter().filter_map(|name| modules.get(*name)).map(|module| module.path.as_str()).collect();
    for (name, package) in &parts.modules {
        each_module(name, package, parts.cpu, &|path| paths.contains(path), &mut |module, bytes| {
            // Of two with one name the later one was taken.
            if modules.get(&module.name) == Some(&module) {
                let path = format!("lib/modules/{}", module.path);
                archive.file(&path, 0o644, bytes).map_err(|error| error.to_string())?;
            }
            if goes_on() { Ok(true) } else { Err(ABANDONED.into()) }
        })?;
    }
    archive.end().map_err(fail)?;
    let (file, digest) = out.finish().and_then(Summed::end).map_err(fail)?;
    let held = Held::seal(file, &digest).map_err(fail)?;
    let size = held.entry().len();
    tracing::info!(boot = %parts.boot, modules = chosen.len(), size, sha256 = digest, "made the initrd of the agent");
    Ok(held)
}

/// Everything but the modules.
fn head(
    archive: &mut cpio::Writer<impl Write>,
    program: &[u8],
    modules: &Modules,
    chosen: &BTreeSet<&str>,
) -> io::Result<()> {
    for folder in ["dev", "proc", "sys", "sbin", "lib", "lib/modules"] {
        archive.folder(folder)?;
    }
    // The kernel opens it for process 1.
    archive.device("dev/console", (5, 1))?;
    // A program of Rust that starts without open standard files takes this, and aborts where it is missing: there are
    // machines without any console.
    archive.device("dev/null", (1, 3))?;
    archive.file("init", 0o755, program)?;
    archive.link("sbin/modprobe", "/init")?;
    archive.file("lib/modules/index", 0o644, choice::index(modules, chosen).as_bytes())?;
    let paths = chosen.iter().filter_map(|name| modules.get(*name)).map(|module| Path::new(&module.path));
    let folders = paths.flat_map(|path| path.ancestors().skip(1)).filter_map(Path::to_str);
    // In order: a folder comes before what is in it.
    for folder in folders.filter(|folder| !folder.is_empty()).collect::<BTreeSet<_>>() {
        archive.folder(&format!("lib/modules/{folder}"))?;
    }
    Ok(())
}

/// A file with the digest of what was written to it.
struct Summed {
    file: BufWriter<File>,
    sum: Sha256,
}

impl Summed {
    fn new(file: File) -> Summed {
        Summed { file: BufWriter::with_capacity(256 << 10, file), sum: Sha256::new() }
    }

    /// The file, and the digest in hexadecimal digits.
    fn end(self) -> io::Result<(File, String)> {
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        let digest = self.sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((file, digest))
    }
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
