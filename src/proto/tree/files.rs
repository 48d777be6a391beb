//! Boot programs, kernels, initrds and the trees of images: bytes that lie in files.

use super::{Answer, Artifact, Asker, Link, Method, Refusal, RefusalReason, Transport, listing};
use crate::desired::{Boot, Deployment};
use crate::media::Entry;
use crate::model::Mac;
use crate::state::{InstallStage, Permit, PermitStep, Stage, State};

/// Where another server gives the addresses, the neighbour table shows which machine fetches it.
pub(super) fn loader(state: &State, asker: &Asker, mac: Option<Mac>, name: &str) -> Answer {
    let is_nobody = mac.is_none() && !state.server().gives_addresses;
    if is_nobody && asker.link == Link::Unread && state.server().loaders.contains_key(name) {
        return Answer::Identify;
    }
    match state.server().loaders.get(name) {
        Some(entry) => Answer::Serve(artifact(entry, name, Stage::Loader)),
        None => missing(format!("no boot program {name} was found on this host")),
    }
}

/// A file below a boot's prefix. The last file that an installer without answers fetches is what lets it
/// overwrite the disk, so that fetch uses up the permission.
pub(super) fn media(
    state: &State,
    asker: &Asker,
    method: Method,
    mac: Option<Mac>,
    prefix: &str,
    path: &str,
) -> Answer {
    let own = mac.and_then(|mac| state.deployment_of(mac)).filter(|own| *own.boot.prefix == *prefix);
    // A machine that was claimed before its boot changed gets the files of the boot that its claim was made with.
    let Some(boot) = own.map(|own| &own.boot).or_else(|| state.boot_at(prefix)) else {
        return missing(format!("there is no boot with the prefix {prefix}"));
    };
    let Some(entry) = find(boot, path) else {
        let listing = folder(boot, path).filter(|_| asker.transport == Transport::Http);
        return listing.map_or_else(|| missing(absent(boot, path)), Answer::Serve);
    };
    let stage = if path == &*boot.kernel.path {
        Stage::Kernel
    } else if boot.initrd.iter().chain(&boot.agent).any(|initrd| path == &*initrd.path) {
        Stage::Initrd
    } else {
        Stage::File
    };
    let spent = own.filter(|found| method != Method::Head && spends(state, found, path));
    // Where the address does not identify the client, its hardware address may show whose installer this
    // is.
    let nobody = mac.is_none() && method != Method::Head && path == last(boot);
    if asker.link == Link::Unread && (nobody || spent.is_some()) {
        return Answer::Identify;
    }
    if let Some(deployment) = spent {
        return Answer::Permit(Permit::new(state, deployment, PermitStep::Spend));
    }
    Answer::Serve(artifact(entry, &format!("{}/{path}", boot.prefix), stage))
}

fn spends(state: &State, deployment: &Deployment, path: &str) -> bool {
    deployment.installs()
        && !deployment.has_answers()
        && path == last(&deployment.boot)
        && state.install_of(&deployment.name).is_some_and(|install| {
            install.redeploy == deployment.redeploy && install.stage == InstallStage::Started
        })
}

/// The last file that a loader fetches.
fn last(boot: &Boot) -> &str {
    &boot.initrd.last().unwrap_or(&boot.kernel).path
}

fn find<'a>(boot: &'a Boot, path: &str) -> Option<&'a Entry> {
    let named =
        std::iter::once(&boot.kernel).chain(&boot.initrd).chain(&boot.agent).find(|file| path == &*file.path);
    match named {
        Some(file) => file.entry.as_ref(),
        None => boot.tree.as_ref()?.lookup(path),
    }
}

/// The page for a folder of the image's tree.
fn folder(boot: &Boot, path: &str) -> Option<Artifact> {
    let rows = boot.tree.as_ref()?.list(path)?;
    let at = format!("{}/{path}", boot.prefix);
    Some(listing::page(at.trim_end_matches('/'), rows))
}

fn absent(boot: &Boot, path: &str) -> String {
    match &boot.tree {
        Some(tree) => format!("{path} is not in {} (boot {})", tree.label, boot.name),
        None => format!("{path} is not one of the files of boot {}", boot.name),
    }
}

fn missing(text: String) -> Answer {
    Answer::Refuse(Refusal::new(RefusalReason::NotFound, text))
}

fn artifact(entry: &Entry, name: &str, stage: Stage) -> Artifact {
    let first = entry.extents.first().map_or(0, |extent| extent.offset);
    Artifact {
        content: entry.content(),
        media_type: media_type(name),
        etag: format!("{:x}-{:x}-{:x}-{:x}", entry.id.inode, entry.id.modified, first, entry.len()),
        stage,
        mac: None,
        deployment: None,
        text: name.to_owned(),
    }
}

/// OVMF boots what ends in `.efi` or is `application/efi`, and nothing else.
fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("efi") => "application/efi",
        Some("iso") => "application/vnd.efi-iso",
        Some("img") => "application/vnd.efi-img",
        Some("cfg" | "txt" | "ipxe") => "text/plain; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        _ => "application/octet-stream",
    }
}
