//! The DHCPv4 side of a simulated firmware.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use bytes::Bytes;

use super::{Detail, Step};
use crate::model::{Cpu, Firmware, Mac, Time};
use crate::proto::converse;
use crate::proto::dhcp::{Decision, Link, Mode};
use crate::state::{Event, Stage, State};

/// The program on the machine that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Firmware,
    Ipxe,
    /// The DHCP client of an installer that learns the URL of its answers this way.
    Installer,
}

/// Message type; the number is that of option 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Discover = 1,
    Request = 3,
}

/// Where options begin: after the header and the cookie (RFC 2131 section 2).
const OPTIONS: usize = 240;
const MESSAGE_TYPE: u8 = 53;
const NAK: u8 = 6;
const PARAMETERS: u8 = 55;
const BOOT_FILE: u8 = 67;
const ANSWERS_URL: u8 = 250;

/// A reply, read as firmware does.
#[derive(Clone, Debug)]
pub struct Reply(Bytes);

impl Reply {
    /// A datagram that came from a server.
    pub fn of(bytes: Bytes) -> Reply {
        Reply(bytes)
    }

    /// `yiaddr`: what the client is given.
    pub fn address(&self) -> Ipv4Addr {
        let octets: Option<[u8; 4]> = self.0.get(16..20).and_then(|octets| octets.try_into().ok());
        octets.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
    }

    /// The first option of this code.
    pub fn option(&self, wanted: u8) -> Option<&[u8]> {
        let mut rest = self.0.get(OPTIONS..)?;
        loop {
            match rest {
                [] | [255, ..] => return None,
                [0, more @ ..] => rest = more,
                [code, length, more @ ..] => {
                    let (value, more) = more.split_at_checked(usize::from(*length))?;
                    if *code == wanted {
                        return Some(value);
                    }
                    rest = more;
                }
                [_] => return None,
            }
        }
    }

    /// The boot file name or URL, wherever it is written; empty if there is none.
    pub fn boot_file(&self) -> String {
        let field = || self.0.get(108..236).unwrap_or_default();
        let name = self.option(BOOT_FILE).unwrap_or_else(field);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }
}

/// The result of a DHCP exchange, DHCPv4 or DHCPv6.
#[derive(Clone, Debug)]
pub struct DhcpExchange {
    pub lease: Lease,
    pub steps: [Arc<Step>; 2],
    /// The events that the keeper would apply.
    pub events: Vec<Event>,
}

/// An address, and what to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: IpAddr,
    /// Boot file name or URL; empty if there is none.
    pub file: String,
}

/// A machine that asks for an address.
pub struct Client<'a> {
    pub mac: Mac,
    pub cpu: Cpu,
    pub firmware: Firmware,
    pub link: &'a Link,
    pub now: Time,
}

impl Client<'_> {
    /// From DISCOVER to ACK. Dynamic leases are made in `state`, and events are applied to it.
    ///
    /// # Errors
    /// Why there is no address.
    pub fn configure(&self, state: &mut State, sender: Sender) -> Result<DhcpExchange, String> {
        let (offer, mut events) = self.exchange(state, sender, Kind::Discover, None)?;
        let offered = step(&offer, &events, Stage::Offer);
        let (ack, more) = self.exchange(state, sender, Kind::Request, Some(offer.address()))?;
        let given = step(&ack, &more, Stage::Ack);
        events.extend(more);
        let lease = Lease { address: ack.address().into(), file: ack.boot_file() };
        Ok(DhcpExchange { lease, steps: [Arc::new(offered), Arc::new(given)], events })
    }

    /// The OFFER for the firmware's DISCOVER, or why there is none.
    pub fn discover(&self, state: &mut State) -> Result<Bytes, String> {
        self.exchange(state, Sender::Firmware, Kind::Discover, None).map(|(reply, _)| reply.0)
    }

    /// The URL of the answers, as the DHCP client of an installer asks for it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn answers_url(&self, state: &mut State) -> Result<String, String> {
        let (offer, _) = self.exchange(state, Sender::Installer, Kind::Discover, None)?;
        let url = offer.option(ANSWERS_URL).ok_or("DHCP gives its installer no URL (option 250)")?;
        Ok(String::from_utf8_lossy(url).into_owned())
    }

    fn exchange(
        &self,
        state: &mut State,
        sender: Sender,
        kind: Kind,
        requested: Option<Ipv4Addr>,
    ) -> Result<(Reply, Vec<Event>), String> {
        let datagram = self.message(sender, kind, requested);
        match converse::dhcp(state, self.link, self.now, &datagram) {
            Decision::Reply { bytes, events, .. } => {
                note(state, &events);
                let reply = Reply::of(bytes.into());
                match reply.option(MESSAGE_TYPE) {
                    Some([NAK]) => Err(format!("{kind:?} was refused (NAK)")),
                    _ => Ok((reply, events)),
                }
            }
            Decision::NeedLease(..) => Err("no address could be leased".into()),
            Decision::Silence(silence) => Err(format!("{kind:?} was not answered: {silence}")),
        }
    }

    /// The message as firmware sends it, with the options by which servers distinguish programs.
    pub fn message(&self, sender: Sender, kind: Kind, requested: Option<Ipv4Addr>) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS];
        // BOOTREQUEST over Ethernet, any transaction id, the broadcast flag set.
        bytes[..8].copy_from_slice(&[1, 1, 6, 0, 0x76, 0x6f, 0x6c, 0x64]);
        bytes[10] = 0x80;
        bytes[28..34].copy_from_slice(&self.mac.octets());
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        let arch = arch(self.cpu, self.firmware, sender);
        let class = match self.firmware {
            Firmware::UefiHttp if sender == Sender::Firmware => "HTTPClient",
            _ => "PXEClient",
        };
        let mut option = |code: u8, value: &[u8]| {
            bytes.extend([code, value.len() as u8]);
            bytes.extend(value);
        };
        option(MESSAGE_TYPE, &[kind as u8]);
        if sender == Sender::Installer {
            option(PARAMETERS, &[1, 3, 6, 15, ANSWERS_URL]);
        } else {
            option(60, format!("{class}:Arch:{arch:05}:UNDI:003000").as_bytes());
            option(93, &arch.to_be_bytes());
        }
        if let Some(address) = requested {
            option(50, &address.octets());
            option(54, &self.link.server.octets());
        }
        if sender == Sender::Ipxe {
            // User class, and in 175 the features HTTP and bzImage (BIOS) or EFI.
            option(77, b"iPXE");
            let image = if self.firmware == Firmware::Bios { 0x18 } else { 0x24 };
            option(175, &[0x13, 1, 1, image, 1, 1]);
        }
        bytes.push(255);
        bytes
    }
}

/// IANA's processor architecture type. EFI iPXE sends the PXE type also after HTTP boot.
pub fn arch(cpu: Cpu, firmware: Firmware, sender: Sender) -> u16 {
    let (pxe, http) = match cpu {
        Cpu::I386 => (6, 15),
        Cpu::X86_64 => (7, 16),
        Cpu::Arm => (10, 18),
        Cpu::Aarch64 => (11, 19),
        Cpu::Riscv64 => (27, 28),
        Cpu::Loongarch64 => (39, 40),
    };
    match (firmware, sender) {
        (Firmware::Bios, _) => 0,
        (Firmware::UefiHttp, Sender::Firmware) => http,
        (Firmware::Uefi | Firmware::UefiHttp, _) => pxe,
    }
}

/// Applies what a simulated machine did. The rest of what [`crate::state::Verb::Observe`] does (loop
/// detection, timelines) is left out: it would cost time in each of thousands of boots and decide nothing.
pub(super) fn note(state: &mut State, events: &[Event]) {
    for event in events {
        state.fold(event);
    }
}

/// The answer as the timeline shows it.
fn step(reply: &Reply, events: &[Event], stage: Stage) -> Step {
    let said = events.iter().find(|event| event.stage == stage);
    let text = said.map_or_else(String::new, |event| event.text.to_string());
    Step { stage, text, detail: Detail::Datagram(reply.0.clone()) }
}

/// The link of the deployment's subnet.
pub fn link(state: &State, cidr: crate::model::Cidr) -> Link {
    Link {
        server: state.server().address,
        cidr,
        mode: Mode::Server,
        port: 67,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        broadcast: true,
    }
}
