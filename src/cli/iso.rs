//! `voldemort iso`: the content of an image, and a first draft of the `[boot.NAME]` for it.

mod medium;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Exit, exit};
use crate::desired::boot::OWN_PREFIXES;
use crate::media::distribution::{self, Source, System};
use crate::media::guess::Kernel;
use crate::media::image::{self, BootImage, Platform};
use crate::media::index::Listed;
use crate::media::lock::{self, Lock};
use crate::media::verify::Verifier;
use crate::media::{Index, MediaError, directory};
use crate::model::printable;
use crate::source::replace::replace;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List a directory of an image
    Ls {
        /// The image, or a directory with an unpacked one
        file: PathBuf,
        /// The directory inside the image
        #[arg(default_value = "")]
        dir: String,
        /// List the kernels and their initrds instead
        #[arg(long, conflicts_with = "dir")]
        kernels: bool,
    },
    /// Print a [boot.NAME] table for an image, to be corrected and committed
    Inspect {
        /// The image, or a directory with an unpacked one
        file: PathBuf,
        /// Write a list of the image's names, with its digest, into this inventory instead: `locks/IMAGE.json`.
        /// Commit it, and `voldemort check` holds the paths of manifests to it where the image is missing
        #[arg(long, value_name = "INVENTORY")]
        lock: Option<PathBuf>,
    },
}

pub fn run(args: &Args) -> Exit {
    let result = match &args.command {
        Command::Ls { file, dir, kernels } => open(file).map_err(words).and_then(|index| match kernels {
            true => Ok(list_kernels(&index)),
            false => list(&index, dir),
        }),
        Command::Inspect { file, lock: None } => inspect(file).map_err(words),
        Command::Inspect { file, lock: Some(inventory) } => write_lock(file, inventory),
    };
    match result {
        // Names come from a file of unknown origin: they must not steer the terminal, nor look like others.
        Ok(text) => exit::print(&printable::quoted(&text)),
        Err(why) => {
            exit::talk(&why);
            Exit::Failed
        }
    }
}

fn words(error: MediaError) -> String {
    error.to_string()
}

fn open(file: &Path) -> Result<Index, MediaError> {
    if file.is_dir() { directory::open(file) } else { image::open(file) }
}

/// A name that must stay on one line.
fn name(text: &str) -> String {
    printable::line(text).into_owned()
}

fn list(index: &Index, dir: &str) -> Result<String, String> {
    let Some(entries) = index.list(dir) else {
        let mut why = format!("there is no directory `{dir}` in the image");
        if index.lookup(dir).is_some() {
            why = format!("`{dir}` is a file, not a directory");
        }
        return Err(why);
    };
    let mut text = String::new();
    for (entry, listed) in entries {
        let (size, rest) = match listed {
            Listed::Folder => (String::new(), "/".to_owned()),
            Listed::File(entry) => (entry.len().to_string(), String::new()),
            Listed::Link(target) => (String::new(), format!(" -> /{}", name(target))),
            Listed::Refused(why) => (String::new(), format!("  (can't be served: {why})")),
        };
        let _ = writeln!(text, "{size:>14}  {}{rest}", name(entry));
    }
    Ok(text)
}

fn list_kernels(index: &Index) -> String {
    let line = |kernel: &Kernel<'_>| format!("{}  {}\n", name(kernel.kernel), name(&kernel.initrd.join(" ")));
    index.kernels().iter().map(line).collect()
}

fn inspect(file: &Path) -> Result<String, MediaError> {
    let index = open(file)?;
    let (boot_images, sha256) = match file.is_dir() {
        true => (Vec::new(), None),
        false => (image::boot_images(file)?, Some(Verifier::default().digest(file)?)),
    };
    let system = distribution::of(&index);
    let mut text = facts(&index, &boot_images) + &describe(&index, system.as_ref());
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let file_name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    text += &table(&index, &resource_name(&stem), &file_name, sha256.as_deref(), system.as_ref());
    Ok(text)
}

/// Writes the list of an image into an inventory; returns what there is to say about it.
fn write_lock(file: &Path, inventory: &Path) -> Result<String, String> {
    let absolute = std::fs::canonicalize(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let image = absolute.file_name().and_then(|name| name.to_str());
    let image = image.ok_or_else(|| format!("{}: no manifest can hold this name", file.display()))?;
    if !inventory.is_dir() {
        return Err(format!("--lock {}: there is no such inventory", inventory.display()));
    }
    let index = open(file).map_err(words)?;
    let sha256 = match file.is_dir() {
        true => None,
        false => Some(Verifier::default().digest(file).map_err(words)?),
    };
    let list = Lock::of(image, &index, sha256);
    let place = inventory.join(lock::place(image));
    let failed = |error: std::io::Error| format!("{}: {error}", place.display());
    std::fs::create_dir_all(inventory.join(lock::FOLDER)).map_err(failed)?;
    replace(&place, list.text().as_bytes()).map_err(failed)?;
    let digest = list.sha256.as_ref().map(|sha256| format!(", sha256 {sha256}")).unwrap_or_default();
    Ok(format!("{}: {} files{digest}\n", place.display(), list.len()))
}

/// The system on the image and the loaders for removable media.
fn describe(index: &Index, system: Option<&System>) -> String {
    let mut text = String::new();
    if let Some(system) = system {
        let words = [Some(system.name), system.release.as_deref(), system.arch.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        let place = match system.read_in {
            Source::VolumeName => "its volume name",
            Source::File(path) => path,
        };
        let _ = writeln!(text, "# system: {} (by {place})", name(&words.join(" ")));
        if let Some(memory) = system.memory {
            let _ = writeln!(text, "# memory: at least {memory} MiB to install");
        }
        if let Some(other) = system.other {
            let _ = writeln!(text, "# it starts {other}: a [boot] of a kernel and an initrd can't start it");
        }
    }
    let loaders: Vec<String> = LOADERS
        .iter()
        .filter(|(path, _)| index.lookup(path).is_some())
        .map(|(path, what)| format!("{path} ({what})"))
        .collect();
    if !loaders.is_empty() {
        let _ = writeln!(text, "# loaders: {}", loaders.join(", "));
    }
    text
}

/// Loaders at the places that firmware and makers of media agree on (UEFI 3.5.1.1; ISOLINUX; GRUB's rescue images).
const LOADERS: [(&str, &str); 10] = [
    ("EFI/BOOT/BOOTX64.EFI", "UEFI x86_64"),
    ("EFI/BOOT/BOOTIA32.EFI", "UEFI i386"),
    ("EFI/BOOT/BOOTAA64.EFI", "UEFI aarch64"),
    ("EFI/BOOT/BOOTRISCV64.EFI", "UEFI riscv64"),
    ("EFI/BOOT/BOOTLOONGARCH64.EFI", "UEFI loongarch64"),
    ("EFI/BOOT/grubx64.efi", "GRUB x86_64"),
    ("EFI/BOOT/grubaa64.efi", "GRUB aarch64"),
    ("isolinux/isolinux.bin", "BIOS, ISOLINUX"),
    ("boot/grub/i386-pc/eltorito.img", "BIOS, GRUB"),
    ("images/eltorito.img", "BIOS, GRUB"),
];

fn facts(index: &Index, boot_images: &[BootImage]) -> String {
    let bytes: u64 = index.files.values().map(crate::media::Entry::len).sum();
    let mut text = format!("# {}: {} files, {} MiB\n", name(&index.label), index.files.len(), bytes >> 20);
    for image in boot_images.iter().filter(|image| image.bootable) {
        let platform = match image.platform {
            Platform::Bios => "BIOS".to_owned(),
            Platform::Efi => "UEFI".to_owned(),
            Platform::Other(id) => format!("platform {id}"),
        };
        let _ = writeln!(
            text,
            "# boots from disc with {platform}: {} bytes at {}",
            image.extent.length, image.extent.offset
        );
    }
    for (path, why) in &index.refused {
        let _ = writeln!(text, "# can't be served: {}: {why}", name(path));
    }
    text
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The rule of resource names: lower-case letters, digits, single hyphens inside.
fn resource_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
    let words: String = text.chars().map(plain).collect();
    let name = words.split_whitespace().collect::<Vec<_>>().join("-");
    let name: String = name.chars().take(63).collect();
    let name = name.trim_end_matches('-');
    match name {
        "" => "image".to_owned(),
        // A boot is served below its name, and there the daemon has its own files.
        own if OWN_PREFIXES.iter().any(|prefix| prefix.eq_ignore_ascii_case(own)) => format!("{own}-image"),
        name => name.to_owned(),
    }
}

/// The table as `check` accepts it. A boot is served below its name, which must be unique. What no manifest
/// can hold becomes a comment.
fn table(index: &Index, boot: &str, file: &str, sha256: Option<&str>, system: Option<&System>) -> String {
    let digest = sha256.map(|sha256| format!(", sha256 = \"{sha256}\"")).unwrap_or_default();
    let head = format!("[boot.{boot}]\niso     = {{ file = {}{digest} }}\n", quoted(file));
    let plain = |path: &str| !path.chars().any(char::is_control);
    let kernels: Vec<Kernel<'_>> = index.kernels();
    let fit = |kernel: &&Kernel<'_>| plain(kernel.kernel) && kernel.initrd.iter().all(|path| plain(path));
    let kernels: Vec<&Kernel<'_>> = kernels.iter().filter(fit).collect();
    let Some((first, others)) = kernels.split_first() else {
        let table = format!("{head}kernel  = \"…\"\ninitrd  = [\"…\"]\n");
        return format!(
            "# No kernel lies beside an initrd in this image: name them yourself.\n{}",
            commented(&table)
        );
    };
    let list = |texts: &[&str]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
    let mut text = format!("{head}kernel  = {}\ninitrd  = [{}]\n", quoted(first.kernel), list(&first.initrd));
    let (cmdline, hint) =
        medium::of(index, first, system).map_or((&[][..], ""), |image| (image.cmdline, image.hint));
    let _ = writeln!(text, "cmdline = [{}]", list(cmdline));
    if let Some(cpu) = first.cpu.or_else(|| system.and_then(System::cpu)) {
        let _ = writeln!(text, "arch    = \"{cpu}\"");
    }
    if !hint.is_empty() {
        let _ = writeln!(text, "# {hint}");
    }
    for other in others {
        let _ = writeln!(
            text,
            "# also here: kernel = {}, initrd = [{}]",
            quoted(other.kernel),
            list(&other.initrd)
        );
    }
    match plain(file) && !file.contains(char::REPLACEMENT_CHARACTER) {
        true => text,
        false => {
            format!("# A manifest can't hold the name of this file: rename it first.\n{}", commented(&text))
        }
    }
}

fn commented(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Entry;
    use crate::model::content::FileId;
    use crate::model::{Extent, Name};

    fn index(paths: &[&str]) -> Index {
        let entry = Entry {
            path: Path::new("/x.iso").into(),
            id: FileId::default(),
            extents: [Extent { offset: 0, length: 1234 }].into(),
        };
        let files = paths.iter().map(|path| ((*path).into(), entry.clone())).collect();
        Index { label: "Debian\u{1b}[2J 12".into(), files, ..Index::default() }
    }

    #[test]
    fn the_draft_is_toml_with_names_that_are_allowed() {
        let index = index(&[
            "install.amd/vmlinuz",
            "install.amd/initrd.gz",
            "install.amd/gtk/vmlinuz",
            "install.amd/gtk/initrd.gz",
        ]);
        let text = facts(&index, &[])
            + &table(&index, &resource_name("Debian 12.7.0_amd64"), "d\"12.iso", Some("ab"), None);
        let document: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
        let boot = &document["boot"]["debian-12-7-0-amd64"];
        assert_eq!(boot["iso"]["file"].as_str(), Some("d\"12.iso"));
        assert_eq!(boot["iso"].get("prefix"), None, "it is served below its own name");
        assert_eq!(boot["kernel"].as_str(), Some("install.amd/vmlinuz"));
        assert_eq!(boot["initrd"][0].as_str(), Some("install.amd/initrd.gz"));
        assert_eq!(boot["arch"].as_str(), Some("x86_64"));
        assert!(text.contains("# also here: kernel = \"install.amd/gtk/vmlinuz\""), "{text}");
        assert!(!text.contains('\u{1b}'), "control characters stay out of the terminal");
    }

    #[test]
    fn an_image_without_a_kernel_still_gives_a_table() {
        let text = table(&index(&["README"]), "x", "x.iso", None, None);
        assert!(text.parse::<toml::Table>().is_ok() && text.contains("name them yourself"), "{text}");
    }

    #[test]
    fn every_name_becomes_a_resource_name() {
        let own = OWN_PREFIXES.iter().flat_map(|own| [(*own).to_owned(), own.to_uppercase()]);
        let others = ["ubuntu-24.04.1-live-server-amd64", "", "--", "Ünïcode", &"x-".repeat(80), "Boot!"];
        for text in own.chain(others.map(str::to_owned)) {
            let name = resource_name(&text);
            assert!(name.parse::<Name>().is_ok(), "{text:?} became {name:?}");
            assert!(!OWN_PREFIXES.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn listings_show_sizes_folders_links_and_refusals() {
        let mut index = index(&["boot/vmlinuz", "a\u{7}b\u{202e}"]);
        index.links.insert("live".into(), "boot".into());
        index.refused.insert("packed".into(), "zisofs".into());
        let text = list(&index, "").unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let packed = "packed  (can't be served: zisofs)";
        assert_eq!(lines, ["1234  a\\u{7}b\\u{202e}", "boot/", "live -> /boot", packed]);
        assert!(list(&index, "nowhere").unwrap_err().contains("no directory"));
        assert!(list(&index, "boot/vmlinuz").unwrap_err().contains("is a file"));
    }
}
