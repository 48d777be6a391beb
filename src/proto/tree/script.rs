//! The script or configuration that makes one machine boot.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{
    Answer, Artifact, Asker, Facts, Form, Link, Method, Refusal, RefusalReason, Standing, Transport, agent,
    once,
};
use crate::desired::boot::{Boot, File};
use crate::desired::{Deployment, Machine};
use crate::model::{Content, Cpu, Firmware, Mac, Unknown, hex};
use crate::render::{self, CmdlineError, grub, ipxe, pxelinux};
use crate::state::memo::{Subject, Text};
use crate::state::{Duty, InstallStage, Permit, PermitStep, Stage, State};

const TEXT: &str = "text/plain; charset=utf-8";

pub(super) fn open(state: &State, asker: &Asker, method: Method, form: Form, mac: Option<Mac>) -> Answer {
    let Some(mac) = mac else {
        return match form {
            // The address does not identify the client, but iPXE can send its hardware address.
            Form::Ipxe => serve(
                None,
                None,
                Stage::Script,
                "iPXE is asked for its hardware address",
                by_mac(state, asker),
            ),
            _ => Answer::Refuse(Refusal::new(
                RefusalReason::NotFound,
                format!("no machine is known at {}", asker.address),
            )),
        };
    };
    if let Some(due) = state.due_boot(mac) {
        return once::open(state, asker, method, form, mac, due);
    }
    if let Some(answer) = agent::open(state, asker, form, mac) {
        return answer;
    }
    let Some(machine) = state.machine(mac) else {
        let reason =
            match agent::subnet_of(state, asker).is_some_and(|subnet| subnet.unknown != Unknown::Ignore) {
                true => state.undiscovered(mac),
                false => format!("{mac} is in no manifest"),
            };
        return local_boot(state, form, mac, None, &reason);
    };
    let Some(deployment) = state.tenant(&machine.name) else {
        let reason = format!("machine {} has no deployment", machine.name);
        return local_boot(state, form, mac, None, &reason);
    };
    let duty = state.duty(deployment);
    let standing = standing(state, asker, machine, deployment, &duty);
    match duty {
        _ if standing == Standing::Unread => Answer::Identify,
        Duty::LocalBoot(reason) => {
            let answer = local_boot(state, form, mac, Some(deployment), &reason);
            // A client whose identity is not proven counts as the machine itself here, unless that would
            // end an installation under way.
            let unproven = standing == Standing::Unproven && !is_spent(state, deployment);
            if standing == Standing::Itself || unproven { answer } else { of_no_machine(answer, deployment) }
        }
        Duty::Install { .. } if !standing.may_start() => Answer::Refuse(Refusal {
            deployment: Some(deployment.name.clone()),
            ..Refusal::new(
                RefusalReason::Forbidden,
                format!(
                    "the script of {mac} was asked for by {asker}, which is not that machine{}",
                    standing.way_out()
                ),
            )
        }),
        Duty::Install { permit: true } if method != Method::Head => {
            Answer::Permit(Permit::new(state, deployment, PermitStep::Start))
        }
        Duty::Install { .. } => network_boot(state, asker, form, mac, deployment),
        Duty::NetworkBoot => {
            let answer = network_boot(state, asker, form, mac, deployment);
            let own = matches!(standing, Standing::Itself | Standing::Unproven);
            if own { answer } else { of_no_machine(answer, deployment) }
        }
    }
}

/// How the asker is related to the machine whose script it wants. A network boot that installs nothing
/// serves no secret and changes nothing but the timeline, so the right address is enough.
fn standing(
    state: &State,
    asker: &Asker,
    machine: &Machine,
    deployment: &Deployment,
    duty: &Duty,
) -> Standing {
    let standing = asker.standing(state, machine, deployment);
    if standing == Standing::Unread && *duty == Duty::NetworkBoot {
        let by_address = Asker { link: Link::Unknown, ..*asker }.standing(state, machine, deployment);
        return if by_address == Standing::Itself { by_address } else { standing };
    }
    standing
}

fn is_spent(state: &State, deployment: &Deployment) -> bool {
    state.install_of(&deployment.name).is_some_and(|install| install.stage == InstallStage::Spent)
}

/// A script that another client reads: its machine did nothing.
fn of_no_machine(answer: Answer, deployment: &Deployment) -> Answer {
    match answer {
        Answer::Serve(artifact) => Answer::Serve(Artifact {
            stage: Stage::File,
            mac: None,
            deployment: None,
            text: format!("the script of {}, which did not ask for it itself", deployment.name),
            ..artifact
        }),
        answer => answer,
    }
}

fn network_boot(state: &State, asker: &Asker, form: Form, mac: Mac, deployment: &Arc<Deployment>) -> Answer {
    let render = || render(state, asker, form, mac, deployment);
    let text = match &state.memo() {
        Some(memo) => {
            let subject = subject(state, asker, form, mac, deployment);
            let tagged = |text: String| Text { etag: digest(text.as_bytes()).into(), bytes: text.into() };
            memo.get(state, deployment, subject, || render().map(tagged))
        }
        None => render().map(Text::untagged),
    };
    match text {
        Ok(Text { bytes, etag }) => Answer::Serve(Artifact {
            content: Content::Bytes(bytes),
            media_type: TEXT,
            etag: etag.to_string(),
            stage: Stage::Script,
            mac: Some(mac),
            deployment: Some(deployment.name.clone()),
            text: format!("{} boots {} ({})", deployment.name, deployment.boot.name, deployment.origin),
        }),
        Err(error) => Answer::Refuse(Refusal {
            mac: Some(mac),
            deployment: Some(deployment.name.clone()),
            ..Refusal::new(RefusalReason::Busy, format!("the kernel command line can't be rendered: {error}"))
        }),
    }
}

/// What a script depends on besides its deployment.
fn subject(state: &State, asker: &Asker, form: Form, mac: Mac, deployment: &Deployment) -> Subject {
    let file = match form {
        Form::Ipxe => "ipxe",
        Form::Grub => "grub",
        Form::Pxelinux => pxelinux_root(state, asker, mac),
    };
    let address = shown_address(state, asker, mac, deployment);
    let epoch = state.install_of(&deployment.name).map(|install| install.epoch);
    Subject { file, mac, address, address6: state.address6_of(deployment, mac), epoch, at: asker.at }
}

/// The machine's address in the script: the known one, or else the one that the request comes from.
fn shown_address(state: &State, asker: &Asker, mac: Mac, deployment: &Deployment) -> Option<Ipv4Addr> {
    state.address_of(deployment, mac).or(asker.address4())
}

/// PXELINUX runs on BIOS only; U-Boot and Petitboot read the same language.
fn pxelinux_root(state: &State, asker: &Asker, mac: Mac) -> &'static str {
    let arch = state.seen().get(&mac).and_then(|seen| seen.arch);
    match arch {
        Some(arch) if arch.firmware != Firmware::Bios || arch.cpu != Cpu::X86_64 => "/",
        _ if asker.transport == Transport::Http => "/",
        _ => "::",
    }
}

/// The installer's (or diskless system's) script. iPXE fetches by HTTP; GRUB and PXELINUX by
/// TFTP, because Debian 12's signed network GRUB and plain PXELINUX know nothing else.
pub fn render(
    state: &State,
    asker: &Asker,
    form: Form,
    mac: Mac,
    deployment: &Deployment,
) -> Result<String, CmdlineError> {
    let address = shown_address(state, asker, mac, deployment);
    let facts = Facts { state, deployment, mac, address, at: asker.at };
    // Anybody on the network can read a script; `check` refuses command lines that want a secret.
    let secret = |_: &str| None;
    let boot = &deployment.boot;
    let mut wanted: Vec<&str> =
        boot.cmdline.iter().flat_map(|word| word.wanted()).map(String::as_str).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let cmdline = facts.fill(&wanted, |facts| render::cmdline(&boot.cmdline, facts, &secret))?;
    let comment = format!("{} from boot {}", deployment.name, boot.name);
    let server = state.server().reached_at(asker.at, &deployment.subnet);
    let initrd = boot.initrd.iter().collect();
    write(state, asker, form, mac, Written { boot, initrd, server, cmdline, comment })
}

/// What a script boots.
pub(super) struct Written<'a> {
    pub boot: &'a Boot,
    /// Below the boot's prefix.
    pub initrd: Vec<&'a File>,
    /// The daemon's address as the machine reaches it.
    pub server: IpAddr,
    pub cmdline: Vec<String>,
    pub comment: String,
}

/// The script in its language.
pub(super) fn write(
    state: &State,
    asker: &Asker,
    form: Form,
    mac: Mac,
    written: Written<'_>,
) -> Result<String, CmdlineError> {
    let Written { boot, initrd, server, cmdline, comment } = written;
    render::cmdline::check_length(&cmdline, added(form, boot, &initrd))?;
    let root = match form {
        Form::Ipxe => format!("{}/{}", state.server().url_at(server), boot.prefix),
        Form::Grub | Form::Pxelinux => format!("/{}", boot.prefix),
    };
    let kernel = format!("{root}/{}", boot.kernel.path);
    // The agent's initrd is made anew at each start of the daemon, which takes half a minute.
    let unfinished = initrd.iter().any(|initrd| initrd.entry.is_none());
    let initrds: Vec<String> = initrd.iter().map(|initrd| format!("{root}/{}", initrd.path)).collect();
    match form {
        Form::Ipxe => {
            let initrd_urls = initrds.iter().map(|path| escape(path)).collect();
            render::ipxe::install(&ipxe::Script {
                kernel_url: escape(&kernel),
                initrd_urls,
                cmdline,
                comment,
                unfinished,
            })
        }
        Form::Grub => {
            render::grub::install(&grub::Script { server, kernel, initrds, cmdline, comment, unfinished })
        }
        Form::Pxelinux => {
            let root = pxelinux_root(state, asker, mac);
            render::pxelinux::install(&pxelinux::Script { root, kernel, initrds, cmdline, comment })
        }
    }
}

/// How many bytes a loader puts before the words of a command line: iPXE a name for each initrd
/// (`initrd=NAME`), GRUB and PXELINUX `BOOT_IMAGE=` with the kernel's path, PXELINUX the initrds too.
fn added(form: Form, boot: &Boot, initrd: &[&File]) -> usize {
    let image = "BOOT_IMAGE=/ ".len() + boot.prefix.len() + 1 + boot.kernel.path.len();
    let initrds = |longest: usize| initrd.len() * ("initrd= ".len() + longest);
    match form {
        Form::Ipxe => initrds("initrd10".len()),
        Form::Grub => image,
        Form::Pxelinux => {
            let paths: usize = initrd.iter().map(|initrd| boot.prefix.len() + initrd.path.len() + 3).sum();
            image + paths + initrds(0)
        }
    }
}

/// A URL with its path as it must stand there; the host may be an IPv6 address in brackets.
fn escape(url: &str) -> String {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find('/').map_or(url.len(), |at| host + at);
    format!("{}{}", &url[..path], escape_path(&url[path..]))
}

fn escape_path(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/:._-~+@,=".contains(&byte);
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match plain(byte) {
            true => out.push(byte as char),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn local_boot(
    state: &State,
    form: Form,
    mac: Mac,
    deployment: Option<&Deployment>,
    reason: &str,
) -> Answer {
    let firmware = state.seen().get(&mac).and_then(|seen| seen.arch).map(|arch| arch.firmware);
    let text = local_text(form, firmware, reason);
    serve(Some(mac), deployment, Stage::LocalBoot, &format!("boots its own disk: {reason}"), text)
}

fn local_text(form: Form, firmware: Option<Firmware>, reason: &str) -> String {
    match form {
        Form::Ipxe => render::ipxe::local_boot(firmware, reason),
        Form::Grub => render::grub::local_boot(reason),
        Form::Pxelinux => render::pxelinux::local_boot(reason),
    }
}

fn by_mac(state: &State, asker: &Asker) -> String {
    render::ipxe::chain(&url_by_mac(state, asker))
}

/// The URL of a script, where iPXE fills in its own hardware address.
fn url_by_mac(state: &State, asker: &Asker) -> String {
    let own = match (asker.address, state.server().known(asker.at)) {
        (_, Some(own)) => own,
        (IpAddr::V4(address), None) => state.server().address_for(address).into(),
        (IpAddr::V6(_), None) => IpAddr::V4(state.server().address),
    };
    format!("{}/ipxe/${{netX/mac:hexhyp}}.ipxe", state.server().url_at(own))
}

/// What leads an iPXE that has no address yet to the machine's script: it installs nothing, and whoever reads it moves
/// nothing.
pub(super) fn autoexec(state: &State, asker: &Asker, mac: Option<Mac>) -> Answer {
    let text = render::ipxe::chain_without_address(mac, &url_by_mac(state, asker));
    serve(mac, None, Stage::File, "autoexec.ipxe, by which iPXE asks for an address and its script", text)
}

pub(super) fn serve(
    mac: Option<Mac>,
    deployment: Option<&Deployment>,
    stage: Stage,
    what: &str,
    text: String,
) -> Answer {
    Answer::Serve(Artifact {
        etag: String::new(),
        content: Content::Bytes(text.into()),
        media_type: TEXT,
        stage,
        mac,
        deployment: deployment.map(|deployment| deployment.name.clone()),
        text: what.to_owned(),
    })
}

/// An entity tag for rendered bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..12])
}
