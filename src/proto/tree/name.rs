//! The meaning of a name that a client asks for. Firmware joins paths sloppily, so much is accepted here
//! that a strict server would answer with "not found".

use std::sync::Arc;

use crate::model::{Mac, Name};
use crate::render::installer::{AnswerFile, METADATA_FILES, METADATA_FOLDER};
use crate::state::{Outcome, State};

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A per-machine script; without a hardware address it is that of the asker.
    Script {
        form: Form,
        mac: Option<Mac>,
    },
    /// What iPXE runs before it has an address.
    Autoexec,
    Loader(Box<str>),
    /// U-Boot's own script.
    UBoot,
    Answers {
        deployment: Name,
        token: String,
        file: String,
    },
    /// cloud-init's metadata of a machine; the file with its folder, as in [`METADATA_FILES`].
    Metadata {
        deployment: Name,
        token: String,
        file: &'static AnswerFile,
    },
    Hook {
        deployment: Name,
        token: String,
        outcome: Outcome,
    },
    Media {
        /// Of a boot that there is.
        prefix: Arc<str>,
        path: String,
    },
    Unknown,
}

/// The language of a per-machine script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Ipxe,
    Grub,
    Pxelinux,
}

/// The meaning of a cleaned path.
pub fn parse(state: &State, path: &str) -> Target {
    let parts: Vec<&str> = path.split('/').collect();
    let last = *parts.last().unwrap_or(&"");
    match parts.as_slice() {
        ["ipxe", file] => ipxe(file),
        ["answers", deployment, token, file] => match deployment.parse() {
            Ok(deployment) => Target::Answers { deployment, token: (*token).into(), file: (*file).into() },
            Err(_) => Target::Unknown,
        },
        [METADATA_FOLDER, deployment, token, file] => metadata(deployment, token, file),
        ["hooks", deployment, token, outcome] => hook(deployment, token, outcome),
        ["loader", name] if state.server().loaders.contains_key(*name) => Target::Loader((*name).into()),
        [.., "pxelinux.cfg", file] => Target::Script { form: Form::Pxelinux, mac: pxelinux_mac(file) },
        [_, efi, boot, file] if is_removable(efi, boot) && file.starts_with("grub.cfg") => grub(file),
        _ => media(state, path).unwrap_or_else(|| anywhere(state, last)),
    }
}

/// Whether a cleaned path names a boot program: what that is does not depend on the manifests.
pub fn is_program(state: &State, path: &str) -> bool {
    matches!(parse(state, machine_folder(path).1), Target::Loader(_))
}

/// `aa-bb-cc-dd-ee-ff/…`, also with colons or after `01-`: the machine whose folder a client made
/// up, and the path in it.
pub fn machine_folder(path: &str) -> (Option<Mac>, &str) {
    let Some((folder, rest)) = path.split_once('/') else { return (None, path) };
    let mac = folder.strip_prefix("01-").unwrap_or(folder).parse().ok().filter(|_| folder.len() >= 17);
    (mac, if mac.is_some() { rest } else { path })
}

/// The folder of an installer's own GRUB: the settings beside it are for its disc, not for a boot
/// from the network.
fn is_removable(efi: &str, boot: &str) -> bool {
    efi.eq_ignore_ascii_case("efi") && boot.eq_ignore_ascii_case("boot")
}

/// What clients ask for in any folder they make up.
fn anywhere(state: &State, last: &str) -> Target {
    match last {
        "autoexec.ipxe" => Target::Autoexec,
        "boot.ipxe" => Target::Script { form: Form::Ipxe, mac: None },
        super::uboot::FILE => Target::UBoot,
        _ if last.starts_with("grub.cfg") => grub(last),
        _ => loader(state, last),
    }
}

fn ipxe(file: &str) -> Target {
    match file.strip_suffix(".ipxe").unwrap_or(file).parse() {
        Ok(mac) => Target::Script { form: Form::Ipxe, mac: Some(mac) },
        Err(_) if file == "autoexec.ipxe" => Target::Autoexec,
        Err(_) if file == "boot.ipxe" => Target::Script { form: Form::Ipxe, mac: None },
        Err(_) => Target::Unknown,
    }
}

fn metadata(deployment: &str, token: &str, file: &str) -> Target {
    let inside = |known: &&AnswerFile| {
        known.name.strip_prefix(METADATA_FOLDER).and_then(|name| name.strip_prefix('/')) == Some(file)
    };
    match (deployment.parse(), METADATA_FILES.iter().find(inside)) {
        (Ok(deployment), Some(file)) => Target::Metadata { deployment, token: token.into(), file },
        _ => Target::Unknown,
    }
}

fn hook(deployment: &str, token: &str, outcome: &str) -> Target {
    let outcome = match outcome {
        "completed" => Outcome::Completed,
        "failed" => Outcome::Failed,
        "progress" => Outcome::Progress,
        _ => return Target::Unknown,
    };
    match deployment.parse() {
        Ok(deployment) => Target::Hook { deployment, token: token.into(), outcome },
        Err(_) => Target::Unknown,
    }
}

/// `01-aa-bb-cc-dd-ee-ff`: hardware type and address (PXELINUX, U-Boot). The other names of its list (UUID,
/// hexadecimal address, `default`) leave it to the asker's address.
fn pxelinux_mac(file: &str) -> Option<Mac> {
    file.strip_prefix("01-")?.parse().ok()
}

/// `grub.cfg`, `grub.cfg-01-aa-bb-…` (GRUB's own search) and `grub.cfg-aa:bb:…`.
fn grub(file: &str) -> Target {
    let suffix = file.strip_prefix("grub.cfg").unwrap_or("");
    let mac = match suffix.strip_prefix('-') {
        None if !suffix.is_empty() => return Target::Unknown,
        None => None,
        Some(suffix) => suffix.strip_prefix("01-").unwrap_or(suffix).parse().ok(),
    };
    Target::Script { form: Form::Grub, mac }
}

/// A path below a boot's prefix.
fn media(state: &State, path: &str) -> Option<Target> {
    let (prefix, rest) = path.split_once('/').unwrap_or((path, ""));
    let boot = state.boot_at(prefix)?;
    Some(Target::Media { prefix: boot.prefix.clone(), path: rest.into() })
}

/// A boot program by its last path part, whatever directory the client made up (shim asks
/// for `DIR//grubx64.efi`), in any case; its first character may be lost (shim again).
fn loader(state: &State, last: &str) -> Target {
    let names = || state.server().loaders.keys();
    let found = names().find(|loader| loader.eq_ignore_ascii_case(last)).or_else(|| {
        if is_load_option(last) {
            return names().find(|loader| ***loader == *"grubx64.efi");
        }
        let mut cut = names().filter(|loader| loader.len() > 4 && loader.get(1..) == Some(last));
        cut.next().filter(|_| cut.next().is_none())
    });
    found.map_or(Target::Unknown, |loader| Target::Loader(loader.clone()))
}

/// Dell's firmware hands shim 15 the name of its boot option in place of a file name; read as one,
/// it begins with what no name begins with (`\u{fffd}Onboard`, `?USB`). shim means its GRUB.
fn is_load_option(last: &str) -> bool {
    last.starts_with(|first: char| first == '?' || !(' '..='~').contains(&first))
}
