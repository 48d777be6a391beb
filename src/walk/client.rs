//! The DHCP side of a played firmware.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use bytes::Bytes;

use super::{Detail, Step};
use crate::model::{Cpu, Firmware, Mac, Time};
use crate::proto::dhcp::{self, Decision, Link, Mode};
use crate::table::{Event, Stage, Table};

/// Which program on the machine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Firmware,
    Ipxe,
}

/// What a client says; the number is that of option 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Discover = 1,
    Request = 3,
}

/// Where options begin: after the header and the cookie (RFC 2131 section 2).
const OPTIONS: usize = 240;
const MESSAGE_TYPE: u8 = 53;
const NAK: u8 = 6;
const BOOT_FILE: u8 = 67;

/// An answer, read as firmware does.
#[derive(Clone, Debug)]
pub struct Reply {
    bytes: Bytes,
    events: Arc<[Event]>,
}

impl Reply {
    pub fn of(bytes: Bytes) -> Reply {
        Reply { bytes, events: [].into() }
    }

    fn address(&self) -> Ipv4Addr {
        let octets: Option<[u8; 4]> = self.bytes.get(16..20).and_then(|octets| octets.try_into().ok());
        octets.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
    }

    fn option(&self, wanted: u8) -> Option<&[u8]> {
        let mut rest = self.bytes.get(OPTIONS..)?;
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
        let field = || self.bytes.get(108..236).unwrap_or_default();
        let name = self.option(BOOT_FILE).unwrap_or_else(field);
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    fn step(&self, stage: Stage) -> Step {
        let said = self.events.iter().find(|event| event.stage == stage);
        let text = said.map_or_else(String::new, |event| event.text.clone());
        Step { stage, text, detail: Detail::Datagram(self.bytes.clone()) }
    }
}

/// Answers that a deployment's machine got before to the same questions. DHCP does not look at
/// installations, so it would get them again where the address is a fixed one, at its second
/// boot too.
#[derive(Debug)]
pub struct Heard {
    /// What else than the question decides: whether only signed boot programs are at hand.
    pub signed: bool,
    keeps: bool,
    answers: Vec<(bool, Vec<u8>, Reply)>,
}

impl Heard {
    /// Unless it `keeps` answers, every question is asked anew.
    pub fn new(keeps: bool) -> Heard {
        Heard { signed: false, keeps, answers: Vec::new() }
    }

    fn get(&self, question: &[u8]) -> Option<&Reply> {
        let same = |(signed, asked, _): &&(bool, Vec<u8>, Reply)| *signed == self.signed && asked == question;
        self.answers.iter().find(same).map(|(_, _, reply)| reply)
    }

    fn keep(&mut self, question: Vec<u8>, reply: &Reply) {
        if self.keeps {
            self.answers.push((self.signed, question, reply.clone()));
        }
    }
}

/// What a DORA brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    /// Boot file name or URL; empty: none.
    pub file: String,
}

pub struct Client<'a> {
    pub mac: Mac,
    pub cpu: Cpu,
    pub firmware: Firmware,
    pub link: &'a Link,
    pub now: Time,
}

impl Client<'_> {
    /// DISCOVER to ACK. Dynamic leases are made in `table`.
    pub fn configure(
        &self,
        table: &mut Table,
        speaker: Speaker,
        heard: &mut Heard,
    ) -> Result<(Lease, [Step; 2]), String> {
        let offer = self.exchange(table, speaker, Kind::Discover, None, heard)?;
        let ack = self.exchange(table, speaker, Kind::Request, Some(offer.address()), heard)?;
        let lease = Lease { address: ack.address(), file: ack.boot_file() };
        Ok((lease, [offer.step(Stage::Offer), ack.step(Stage::Ack)]))
    }

    /// The answer to a DISCOVER of the firmware, or why there is none.
    pub fn discover(&self, table: &mut Table) -> Result<Bytes, String> {
        let mut heard = Heard::new(false);
        self.exchange(table, Speaker::Firmware, Kind::Discover, None, &mut heard).map(|reply| reply.bytes)
    }

    fn exchange(
        &self,
        table: &mut Table,
        speaker: Speaker,
        kind: Kind,
        requested: Option<Ipv4Addr>,
        heard: &mut Heard,
    ) -> Result<Reply, String> {
        let datagram = self.message(speaker, kind, requested);
        if let Some(reply) = heard.get(&datagram) {
            reply.events.iter().for_each(|event| table.fold(event));
            return Ok(reply.clone());
        }
        let mut decision = dhcp::handle(table, self.link, self.now, &datagram);
        if let Decision::NeedLease(request) = &decision {
            table.lease(request);
            decision = dhcp::handle(table, self.link, self.now, &datagram);
        }
        match decision {
            Decision::Reply { bytes, events, .. } => {
                events.iter().for_each(|event| table.fold(event));
                let reply = Reply { bytes: bytes.into(), events: events.into() };
                match reply.option(MESSAGE_TYPE) {
                    Some([NAK]) => return Err(format!("{kind:?} was refused (NAK)")),
                    _ => heard.keep(datagram, &reply),
                }
                Ok(reply)
            }
            Decision::NeedLease(_) => Err("no address could be leased".into()),
            Decision::Silence(silence) => Err(format!("{kind:?} was not answered: {silence}")),
        }
    }

    /// As firmware sends it, with the options that tell it from others.
    fn message(&self, speaker: Speaker, kind: Kind, requested: Option<Ipv4Addr>) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS];
        // BOOTREQUEST by Ethernet, any transaction, to be answered by broadcast.
        bytes[..8].copy_from_slice(&[1, 1, 6, 0, 0x76, 0x6f, 0x6c, 0x64]);
        bytes[10] = 0x80;
        bytes[28..34].copy_from_slice(&self.mac.octets());
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        let arch = self.arch(speaker);
        let class = match self.firmware {
            Firmware::UefiHttp if speaker == Speaker::Firmware => "HTTPClient",
            _ => "PXEClient",
        };
        let mut option = |code: u8, value: &[u8]| {
            bytes.extend([code, value.len() as u8]);
            bytes.extend(value);
        };
        option(MESSAGE_TYPE, &[kind as u8]);
        option(60, format!("{class}:Arch:{arch:05}:UNDI:003000").as_bytes());
        option(93, &arch.to_be_bytes());
        if let Some(address) = requested {
            option(50, &address.octets());
            option(54, &self.link.server.octets());
        }
        if speaker == Speaker::Ipxe {
            // User class, and in 175 the features HTTP and bzImage (BIOS) or EFI.
            option(77, b"iPXE");
            let image = if self.firmware == Firmware::Bios { 0x18 } else { 0x24 };
            option(175, &[0x13, 1, 1, image, 1, 1]);
        }
        bytes.push(255);
        bytes
    }

    /// IANA's processor architecture type. EFI iPXE says the PXE type also after HTTP boot.
    fn arch(&self, speaker: Speaker) -> u16 {
        let http = self.firmware == Firmware::UefiHttp && speaker == Speaker::Firmware;
        match (self.cpu, self.firmware) {
            (_, Firmware::Bios) => 0,
            (Cpu::I386, _) => {
                if http {
                    15
                } else {
                    6
                }
            }
            (Cpu::X86_64, _) => {
                if http {
                    16
                } else {
                    7
                }
            }
            (Cpu::Arm, _) => {
                if http {
                    18
                } else {
                    10
                }
            }
            (Cpu::Aarch64, _) => {
                if http {
                    19
                } else {
                    11
                }
            }
            (Cpu::Riscv64, _) => {
                if http {
                    28
                } else {
                    27
                }
            }
            (Cpu::Loongarch64, _) => {
                if http {
                    40
                } else {
                    39
                }
            }
        }
    }
}

/// The broadcast domain of the deployment's subnet.
pub fn link(table: &Table, cidr: crate::model::Cidr) -> Link {
    Link {
        server: table.server.address,
        cidr,
        mode: Mode::Server,
        port: 67,
        source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68),
        broadcast: true,
    }
}
