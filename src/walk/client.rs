//! The DHCP side of a played firmware.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode, UnknownOption};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use crate::model::{Cpu, Firmware, Mac, Time};
use crate::proto::dhcp::{self, Decision, Link, Mode};
use crate::table::Table;

/// Which program on the machine speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Firmware,
    Ipxe,
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
    pub fn configure(&self, table: &mut Table, speaker: Speaker) -> Result<Lease, String> {
        let offer = self.exchange(table, speaker, MessageType::Discover, None)?;
        let ack = self.exchange(table, speaker, MessageType::Request, Some(offer.yiaddr()))?;
        let name = match ack.opts().get(OptionCode::BootfileName) {
            Some(DhcpOption::BootfileName(name)) => name.as_slice(),
            _ => ack.fname().unwrap_or_default(),
        };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Lease { address: ack.yiaddr(), file: String::from_utf8_lossy(name).into_owned() })
    }

    fn exchange(
        &self,
        table: &mut Table,
        speaker: Speaker,
        kind: MessageType,
        requested: Option<Ipv4Addr>,
    ) -> Result<Message, String> {
        let datagram = self.message(speaker, kind, requested)?;
        let mut decision = dhcp::handle(table, self.link, self.now, &datagram);
        if let Decision::NeedLease(request) = &decision {
            table.lease(request);
            decision = dhcp::handle(table, self.link, self.now, &datagram);
        }
        match decision {
            Decision::Reply { bytes, .. } => {
                let reply = Message::decode(&mut Decoder::new(&bytes)).map_err(|error| error.to_string())?;
                match reply.opts().msg_type() {
                    Some(MessageType::Nak) => Err(format!("{kind:?} was refused (NAK)")),
                    _ => Ok(reply),
                }
            }
            Decision::NeedLease(_) => Err("no address could be leased".into()),
            Decision::Silence(silence) => Err(format!("{kind:?} was not answered: {silence}")),
        }
    }

    fn message(
        &self,
        speaker: Speaker,
        kind: MessageType,
        requested: Option<Ipv4Addr>,
    ) -> Result<Vec<u8>, String> {
        let any = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new(any, any, any, any, &self.mac.octets());
        message.set_flags(Flags::default().set_broadcast());
        let arch = self.arch(speaker);
        let class = match self.firmware {
            Firmware::UefiHttp if speaker == Speaker::Firmware => "HTTPClient",
            _ => "PXEClient",
        };
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(kind));
        options
            .insert(DhcpOption::ClassIdentifier(format!("{class}:Arch:{arch:05}:UNDI:003000").into_bytes()));
        options.insert(raw(93, &arch.to_be_bytes()));
        if let Some(address) = requested {
            options.insert(DhcpOption::RequestedIpAddress(address));
            options.insert(DhcpOption::ServerIdentifier(self.link.server));
        }
        if speaker == Speaker::Ipxe {
            // User class, and in 175 the features HTTP and bzImage (BIOS) or EFI.
            options.insert(raw(77, b"iPXE"));
            let image = if self.firmware == Firmware::Bios { 0x18 } else { 0x24 };
            options.insert(raw(175, &[0x13, 1, 1, image, 1, 1]));
        }
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).map_err(|error| error.to_string())?;
        Ok(bytes)
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

fn raw(code: u8, value: &[u8]) -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), value.to_vec()))
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
