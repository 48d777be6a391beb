//! `voldemort replay`: shows how machines in a packet capture would have been answered, and why. It uses a
//! state of its own; nothing is sent and nothing is kept.

pub mod capture;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::Exit;
use super::exit::{print, talk};
use crate::config::Mode;
use crate::desired::{Desired, Subnet};
use crate::model::{Time, printable};
use crate::proto::converse::{self, Opened, Wanted};
use crate::proto::dhcp::{self, BOOT_SERVER_PORT, Decision, Link, Request, SERVER_PORT};
use crate::proto::dhcp6;
use crate::proto::http::Request as HttpRequest;
use crate::proto::path::tftp_name;
use crate::proto::tftp::packet::{Packet as TftpPacket, Request as TftpRequest};
use crate::proto::tree::{Asker, Method, Transport};
use crate::state::{Event, Install, Server, Stage, State, Verb};
use crate::walk;
use capture::{Capture, Packet, Protocol};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Capture to read: pcap or pcapng, as tcpdump and Wireshark write them
    capture: PathBuf,
    /// Inventory to answer from
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Address of the daemon in the capture; guessed from the packets if absent
    #[arg(long)]
    server: Option<Ipv4Addr>,
    /// The mode of the daemon: server, proxy or listen
    #[arg(long, default_value = "server", value_parser = mode)]
    mode: Mode,
}

fn mode(text: &str) -> Result<Mode, String> {
    let known = [Mode::Server, Mode::Proxy, Mode::Listen];
    let found = known.into_iter().find(|mode| mode.to_string() == text);
    found.ok_or_else(|| "one of server, proxy, listen".to_owned())
}

pub fn run(arguments: &Arguments) -> Exit {
    let shown = arguments.capture.display();
    let capture = match std::fs::read(&arguments.capture) {
        Ok(bytes) => match capture::read(&bytes) {
            Ok(capture) => capture,
            Err(error) => return failed(&format!("{shown}: {error}")),
        },
        Err(error) => return failed(&format!("{shown}: {error}")),
    };
    let loaded = match super::render::read(&arguments.directory, None, false) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let desired = loaded.desired.clone();
    let Some(subnet) = subnet(&desired, &capture.packets, arguments.server) else {
        return failed("the inventory has no subnet, so no packet would be answered");
    };
    print(&play(&capture, desired, &subnet, arguments))
}

fn failed(text: &str) -> Exit {
    talk(text);
    Exit::Failed
}

/// The network of the capture: the one with the server's address, else the one that most packets belong to,
/// else the first.
fn subnet(desired: &Desired, packets: &[Packet], server: Option<Ipv4Addr>) -> Option<Arc<Subnet>> {
    let packets_of = |subnet: &&Arc<Subnet>| {
        let holds = |at: SocketAddr| match at.ip() {
            IpAddr::V4(at) => subnet.contains(at),
            IpAddr::V6(at) => subnet.ipv6.as_ref().is_some_and(|ipv6| ipv6.cidr.contains(at)),
        };
        packets.iter().filter(|packet| holds(packet.source) || holds(packet.destination)).count()
    };
    let own = desired.subnets.values().find(|subnet| server.is_some_and(|own| subnet.contains(own)));
    own.or_else(|| desired.subnets.values().rev().max_by_key(packets_of)).cloned()
}

/// The server that the machines of the capture use: the one they request files from, or whose offer they
/// take.
fn addressed(packets: &[Packet], subnet: &Subnet) -> Option<Ipv4Addr> {
    let file = |packet: &Packet| match packet.destination {
        SocketAddr::V4(to) if matches!(to.port(), 69 | 80) => Some(*to.ip()),
        _ => None,
    };
    let named = packets.iter().find_map(file);
    let chosen = || packets.iter().find_map(|packet| Request::decode(&packet.payload).ok()?.server_id());
    named.or_else(chosen).filter(|address| subnet.cidr.is_some_and(|cidr| cidr.is_host(*address)))
}

/// The daemon's IPv6 address: the one that machines request files from, else the first of the network.
fn addressed6(packets: &[Packet], subnet: &Subnet) -> Option<Ipv6Addr> {
    let cidr = subnet.ipv6.as_ref()?.cidr;
    let file = |packet: &Packet| match packet.destination {
        SocketAddr::V6(to) if matches!(to.port(), 69 | 80) && cidr.contains(*to.ip()) => Some(*to.ip()),
        _ => None,
    };
    packets.iter().find_map(file).or_else(|| Some(Ipv6Addr::from(u128::from(cidr.network()) + 1)))
}

fn play(capture: &Capture, desired: Arc<Desired>, subnet: &Subnet, arguments: &Arguments) -> String {
    let packets = capture.packets.as_slice();
    let mut state = walk::initial_state(desired, subnet);
    let guessed = || addressed(packets, subnet).unwrap_or(state.server().address);
    let address = arguments.server.unwrap_or_else(guessed);
    let gives_addresses = arguments.mode == Mode::Server;
    let server = Server { address, gives_addresses, ..(**state.server()).clone() };
    state = state.with_server(server);
    let first = packets.first().map_or(0, |packet| packet.at);
    let own6 = addressed6(packets, subnet);
    let (mode, out) = (arguments.mode, String::new());
    let mut player = Player { state, subnet, own6, mode, asked: 0, first, out };
    player.line(&format!(
        "as {mode} at {address} on subnet {} ({}, {})",
        subnet.name,
        subnet.network(),
        subnet.origin
    ));
    for lack in &capture.lacks {
        player.line(&format!("note: {lack}"));
    }
    packets.iter().for_each(|packet| player.take(packet));
    let asked = player.asked;
    player.line(&format!("\n{} packets, {asked} requests", packets.len()));
    player.out
}

struct Player<'a> {
    state: State,
    subnet: &'a Subnet,
    /// The daemon's IPv6 address, if the subnet has IPv6.
    own6: Option<Ipv6Addr>,
    mode: Mode,
    asked: usize,
    first: u64,
    out: String,
}

impl Player<'_> {
    fn line(&mut self, text: &str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.out, "{}", printable::lines(text));
    }

    fn question(&mut self, packet: &Packet, text: &str) {
        self.asked += 1;
        let seconds = packet.at.saturating_sub(self.first) as f64 / 1e6;
        self.line(&format!("\n{seconds:9.3} {} > {}: {text}", packet.source, packet.destination));
    }

    fn answer(&mut self, text: &str) {
        self.line(&format!("          {text}"));
    }

    fn take(&mut self, packet: &Packet) {
        match (packet.protocol, packet.destination.port()) {
            (Protocol::Udp, SERVER_PORT | BOOT_SERVER_PORT) if packet.payload.first() == Some(&1) => {
                if let (SocketAddr::V4(from), SocketAddr::V4(to)) = (packet.source, packet.destination) {
                    self.dhcp(packet, from, to);
                }
            }
            (Protocol::Udp, dhcp6::SERVER_PORT) => {
                if let (SocketAddr::V6(from), SocketAddr::V6(to)) = (packet.source, packet.destination) {
                    self.dhcp6(packet, from, to);
                }
            }
            (Protocol::Udp, 69) => self.tftp(packet),
            (Protocol::Tcp, 80 | 8080) => self.http(packet),
            _ => {}
        }
    }

    /// Whether the capture holds the whole request; a truncated one is not answered, because the rest may
    /// decide.
    fn is_whole(&mut self, packet: &Packet) -> bool {
        if packet.missing > 0 {
            let kept = packet.payload.len();
            self.answer(&format!(
                "not answered: the capture holds {kept} of its {} bytes",
                kept + packet.missing
            ));
        }
        packet.missing == 0
    }

    fn dhcp(&mut self, packet: &Packet, source: SocketAddrV4, destination: SocketAddrV4) {
        let now = Time(packet.at / 1000);
        let Some(cidr) = self.subnet.cidr else {
            self.question(packet, "DHCP");
            return self.answer("silence: the subnet has no IPv4");
        };
        let link = Link {
            server: self.state.server().address,
            cidr,
            mode: self.mode,
            port: destination.port(),
            source,
            broadcast: cidr.is_for_everybody(*destination.ip()),
        };
        let asked = match Request::decode(&packet.payload) {
            Ok(request) => {
                let class = String::from_utf8_lossy(request.option(60).unwrap_or_default()).into_owned();
                let known = dhcp::quirk::of(&request).name;
                let kind = dhcp::silence::name(&request.kind);
                format!("DHCP {kind} of {} {class:?} (known as {known})", request.mac)
            }
            Err(_) => "DHCP".to_owned(),
        };
        self.question(packet, &asked);
        if !self.is_whole(packet) {
            return;
        }
        if let Decision::NeedLease(request, _) = dhcp::handle(&self.state, &link, now, &packet.payload) {
            self.answer(&format!("(lease: {})", request.action));
        }
        match converse::dhcp(&mut self.state, &link, now, &packet.payload) {
            Decision::Reply { bytes, to, events } => {
                for event in &events {
                    self.answer(&format!("{} to {to}, {} bytes: {}", event.stage, bytes.len(), event.text));
                }
                self.state.act(Verb::Observe(events), now);
            }
            Decision::Silence(silence) => self.answer(&format!("silence: {}", silence.reason)),
            Decision::NeedLease(..) => self.answer("silence: its lease can't be made"),
        }
    }

    fn dhcp6(&mut self, packet: &Packet, source: SocketAddrV6, destination: SocketAddrV6) {
        let Some(server) = self.own6 else {
            self.question(packet, "DHCPv6");
            return self.answer("silence: the subnet has no `ipv6`");
        };
        let now = Time(packet.at / 1000);
        // A relay of the capture sent the frame, so its card is not the machine's.
        let unicast = !destination.ip().is_multicast();
        let link = dhcp6::Link { server, mode: self.mode, source, unicast, hardware: packet.hardware };
        let payload = self.to_us(&packet.payload);
        let asked = match dhcp6::Request::decode(&payload) {
            Ok(request) => format!("DHCPv6 {:?}", request.kind),
            Err(_) => "DHCPv6".to_owned(),
        };
        self.question(packet, &asked);
        if !self.is_whole(packet) {
            return;
        }
        match converse::dhcp6(&mut self.state, &link, now, &payload) {
            dhcp6::Decision::Reply { bytes, events, .. } => {
                for event in &events {
                    self.answer(&format!(
                        "{} to {source}, {} bytes: {}",
                        event.stage,
                        bytes.len(),
                        event.text
                    ));
                }
                self.state.act(Verb::Observe(events), now);
            }
            dhcp6::Decision::Silence(silence) => self.answer(&format!("silence: {}", silence.reason)),
            dhcp6::Decision::NeedLease(_) => self.answer("silence: its lease can't be made"),
        }
    }

    /// The message with this daemon's identifier in place of the captured server's: option 2 of a message
    /// that no relay has wrapped.
    fn to_us(&self, message: &[u8]) -> Vec<u8> {
        let mut out: Vec<u8> = message.iter().take(4).copied().collect();
        let mut rest = message.get(4..).unwrap_or_default();
        // A relay's message begins otherwise; a message of another form stays as it is.
        if matches!(message.first(), Some(12 | 13)) {
            return message.to_vec();
        }
        while let [code @ .., high, low] = rest.get(..4).unwrap_or_default() {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let Some(value) = rest.get(4..4 + length) else { break };
            let own = self.state.duid();
            let value = if *code == [0, 2] { own.as_slice() } else { value };
            out.extend_from_slice(code);
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
            out.extend_from_slice(value);
            rest = &rest[4 + length..];
        }
        out.extend_from_slice(rest);
        out
    }

    fn tftp(&mut self, packet: &Packet) {
        match TftpPacket::parse(&packet.payload) {
            Ok(TftpPacket::Read(TftpRequest { name, .. })) => match tftp_name(name) {
                Ok(name) => {
                    self.question(packet, &format!("TFTP read {name}"));
                    self.file(packet, Transport::Tftp, Method::Get, &name, "");
                }
                Err(error) => {
                    self.question(packet, "TFTP read");
                    self.answer(&format!("refused: {error}"));
                }
            },
            Ok(TftpPacket::Write) => {
                self.question(packet, "TFTP write");
                self.answer("refused: files can't be written");
            }
            // The later packets of a transfer use another port.
            Ok(_) | Err(_) => {}
        }
    }

    fn http(&mut self, packet: &Packet) {
        let starts = [&b"GET "[..], b"HEAD ", b"POST "].iter().any(|verb| packet.payload.starts_with(verb));
        if !starts {
            return;
        }
        match HttpRequest::parse(&packet.payload) {
            Ok(Some((request, length))) => {
                self.question(
                    packet,
                    &format!("HTTP {} /{}", format!("{:?}", request.method).to_uppercase(), request.path),
                );
                let body =
                    String::from_utf8_lossy(packet.payload.get(length..).unwrap_or_default()).into_owned();
                let note = if request.query.is_empty() { body } else { request.query.clone() };
                self.file(packet, Transport::Http, request.method, &request.path, &note);
            }
            Ok(None) => {
                self.question(packet, "HTTP");
                if !self.is_whole(packet) {
                    return;
                }
                self.answer("a request that continues in another packet: not answered");
            }
            Err(error) => {
                self.question(packet, "HTTP");
                self.answer(&format!("refused: {error}"));
            }
        }
    }

    fn file(&mut self, packet: &Packet, transport: Transport, method: Method, path: &str, note: &str) {
        let now = Time(packet.at / 1000);
        let asker = Asker::new(packet.source.ip(), Some(packet.destination.ip()), transport);
        let mut steps = Vec::new();
        let wanted = Wanted { method, path, note };
        let opened = converse::file(&mut self.state, &asker, wanted, now, |verb| match verb {
            Verb::Permit(permit) => {
                let step = format!("{:?}", permit.step).to_lowercase();
                steps.push(format!("(permission to install {}: {step})", permit.deployment));
            }
            Verb::Report(report) => {
                let said = format!("report of {}: {:?} {}", report.deployment, report.outcome, report.note);
                steps.push(said.trim_end().to_owned());
            }
            _ => {}
        });
        steps.iter().for_each(|step| self.answer(step));
        match opened {
            Opened::Serve(found) => {
                self.answer(&format!("{}: {} ({} bytes)", found.stage, found.text, found.content.len()));
                let event = Event { mac: found.mac, ..Event::new(now, found.stage, found.text) };
                self.state.act(Verb::Observe(vec![event]), now);
                let booted = found.deployment.filter(|_| found.stage == Stage::LocalBoot);
                let install = booted.and_then(|name| self.state.install_of(&name));
                if let Some(Install { deployment, epoch, .. }) = install.cloned() {
                    self.state.act(Verb::Reboot { deployment, epoch, at: now }, now);
                }
            }
            Opened::Refuse(refusal) => self.answer(&format!("refused: {}", refusal.text)),
            Opened::Accepted(..) => {}
        }
    }
}
