//! The DHCPv6 side of a simulated firmware (RFC 8415, RFC 5970).

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use super::client::{self, DhcpExchange, Lease, Sender, arch};
use super::{Detail, Step};
use crate::desired::{Advertise, Ipv6};
use crate::model::{Cpu, Firmware, Mac, Mode, Time, net6};
use crate::proto::converse;
use crate::proto::dhcp6::wire::{self, Options, code};
use crate::proto::dhcp6::{CLIENT_PORT, Decision, Link};
use crate::state::{Event, Stage, State};

const SOLICIT: u8 = 1;
const REQUEST: u8 = 3;
const INFORMATION_REQUEST: u8 = 11;
/// Intel's enterprise number, which UEFI firmware sends in its vendor class.
const INTEL: [u8; 4] = [0, 0, 1, 0x57];
const ETHERNET: [u8; 2] = [0, 1];

/// A machine that asks for an address.
pub struct Client6<'a> {
    pub mac: Mac,
    pub cpu: Cpu,
    pub firmware: Firmware,
    pub link: &'a Link,
    pub ipv6: &'a Ipv6,
    pub now: Time,
}

/// A server's message.
struct Reply {
    bytes: Vec<u8>,
    events: Vec<Event>,
}

impl Client6<'_> {
    /// From SOLICIT to REPLY; or, where router advertisements say so, iPXE makes its own address and asks
    /// for the other options only.
    ///
    /// # Errors
    /// Why there is no address.
    pub fn configure(&self, state: &mut State, sender: Sender) -> Result<DhcpExchange, String> {
        let stateless = sender == Sender::Ipxe && self.ipv6.ra == Advertise::Slaac;
        if let Some(own) = self.ipv6.cidr.own_address(self.mac).filter(|_| stateless) {
            let informed = self.exchange(state, &self.message(sender, INFORMATION_REQUEST, None))?;
            let lease = Lease { address: own.into(), file: informed.boot_file() };
            let made = Step {
                stage: Stage::Offer,
                text: format!("made its own address {own}"),
                detail: Detail::Nothing,
            };
            let steps = [Arc::new(made), Arc::new(informed.step(Stage::Ack))];
            return Ok(DhcpExchange { lease, steps, events: informed.events });
        }
        let advertised = self.exchange(state, &self.message(sender, SOLICIT, None))?;
        let server = advertised.server();
        let given = self.exchange(state, &self.message(sender, REQUEST, Some(&server)))?;
        let address = given.address().ok_or("the REPLY holds no address")?;
        let lease = Lease { address: address.into(), file: given.boot_file() };
        let steps = [Arc::new(advertised.step(Stage::Offer)), Arc::new(given.step(Stage::Ack))];
        let events = [advertised.events, given.events].concat();
        Ok(DhcpExchange { lease, steps, events })
    }

    fn exchange(&self, state: &mut State, datagram: &[u8]) -> Result<Reply, String> {
        match converse::dhcp6(state, self.link, self.now, datagram) {
            Decision::Reply { bytes, events, .. } => {
                client::note(state, &events);
                Ok(Reply { bytes, events })
            }
            Decision::NeedLease(_) => Err("no IPv6 address could be leased".into()),
            Decision::Silence(silence) => Err(format!("DHCPv6 was not answered: {silence}")),
        }
    }

    /// The message as EDK2 and iPXE send it. `server` is the server identifier it is for.
    fn message(&self, sender: Sender, kind: u8, server: Option<&[u8]>) -> Vec<u8> {
        let arch = arch(self.cpu, self.firmware, sender);
        let class = match self.firmware {
            Firmware::UefiHttp if sender == Sender::Firmware => "HTTPClient",
            _ => "PXEClient",
        };
        let class = format!("{class}:Arch:{arch:05}:UNDI:003000");
        let mut options = Options::default();
        // The client id is a DUID-LL; requested are the boot file, its parameters and name servers.
        options.put(code::CLIENT_ID, &[&[0, 3], &ETHERNET[..], &self.mac.octets()].concat());
        if let Some(server) = server {
            options.put(code::SERVER_ID, server);
        }
        if kind != INFORMATION_REQUEST {
            let [.., a, b, c, d] = self.mac.octets();
            options.put(code::IA_NA, &[a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        options.put(code::WANTED, &[0, 59, 0, 60, 0, 23]);
        options.put(code::ARCHITECTURE, &arch.to_be_bytes());
        options.put(code::VENDOR_CLASS, &[&INTEL[..], &[0, class.len() as u8], class.as_bytes()].concat());
        if sender == Sender::Ipxe {
            options.put(code::USER_CLASS, b"\0\x04iPXE");
        }
        [&[kind, 0x76, 0x6f, 0x6c], options.bytes()].concat()
    }
}

impl Reply {
    fn read<T>(&self, read: impl FnOnce(&wire::Request) -> Option<T>) -> Option<T> {
        // Replies have the layout of requests.
        read(&wire::Request::decode(&self.bytes).ok()?)
    }

    fn server(&self) -> Vec<u8> {
        self.read(|message| Some(message.option(code::SERVER_ID)?.to_vec())).unwrap_or_default()
    }

    fn address(&self) -> Option<Ipv6Addr> {
        self.read(|message| message.associations().ok()?.first()?.addresses.first().copied())
    }

    fn boot_file(&self) -> String {
        let file =
            self.read(|message| Some(String::from_utf8_lossy(message.option(code::BOOT_FILE)?).into()));
        file.unwrap_or_default()
    }

    fn step(&self, stage: Stage) -> Step {
        let said = self.events.iter().find(|event| event.stage == stage);
        let text = said.map_or_else(String::new, |event| event.text.to_string());
        Step { stage, text, detail: Detail::Datagram6(self.bytes.clone().into()) }
    }
}

/// The link of a subnet's IPv6 network, with the daemon at `server`, for frames of `mac`.
pub fn link(server: Ipv6Addr, mac: Mac) -> Link {
    let own = u128::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)) | u128::from(net6::interface_id(mac));
    let source = SocketAddrV6::new(own.into(), CLIENT_PORT, 0, 0);
    Link { server, mode: Mode::Server, source, unicast: false, hardware: Some(mac) }
}

/// The address of the simulated daemon on an IPv6 network: the name server's, else the first that is not
/// lent. It is not compared with machines' addresses: nothing depends on that, and so a simulated boot does
/// not depend on other deployments.
pub fn stand_in_address(ipv6: &Ipv6) -> Ipv6Addr {
    let network = u128::from(ipv6.cidr.network());
    let hosts = (1..=0xffff_u128).map(|host| Ipv6Addr::from(network.saturating_add(host)));
    let free = |address: &Ipv6Addr| ipv6.cidr.is_host(*address) && !ipv6.is_dynamic(*address);
    ipv6.dns.iter().copied().chain(hosts).find(free).unwrap_or(ipv6.cidr.network())
}
