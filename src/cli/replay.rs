//! `voldemort replay`: what machines in a packet capture would have been answered, and why. Plays
//! against a table of its own; nothing is sent and nothing is kept.

pub mod capture;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::Exit;
use super::exit::{print, talk};
use crate::config::Mode;
use crate::desired::{Desired, Subnet};
use crate::model::Time;
use crate::proto::dhcp::{self, BOOT_SERVER_PORT, Decision, Link, Request, SERVER_PORT};
use crate::proto::http::Request as HttpRequest;
use crate::proto::path::tftp_name;
use crate::proto::tftp::packet::{Packet as TftpPacket, Request as TftpRequest};
use crate::proto::tree::{self, Answer, Asker, Method, Transport};
use crate::table::{Event, Server, Stage, Table};
use crate::walk;
use capture::{Packet, Protocol};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Capture to play: pcap or pcapng, as tcpdump and Wireshark write them
    capture: PathBuf,
    /// Inventory to answer from
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Address of the daemon in the capture; guessed from the packets if absent
    #[arg(long)]
    server: Option<Ipv4Addr>,
    /// What the daemon is to be: server, proxy or listen
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
    let packets = match std::fs::read(&arguments.capture) {
        Ok(bytes) => match capture::read(&bytes) {
            Ok(packets) => packets,
            Err(error) => return failed(&format!("{shown}: {error}")),
        },
        Err(error) => return failed(&format!("{shown}: {error}")),
    };
    let loaded = match super::render::read(&arguments.directory, None) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let desired = loaded.desired.clone();
    let Some(subnet) = subnet(&desired, &packets, arguments.server) else {
        return failed("the inventory has no subnet, so there is nobody to answer");
    };
    print(&play(&packets, desired, &subnet, arguments))
}

fn failed(text: &str) -> Exit {
    talk(text);
    Exit::Failed
}

/// The network of the capture: the one with the server's address, else the one that most
/// packets speak of, else the first.
fn subnet(desired: &Desired, packets: &[Packet], server: Option<Ipv4Addr>) -> Option<Arc<Subnet>> {
    let spoken = |subnet: &&Arc<Subnet>| {
        let within = |packet: &&Packet| {
            subnet.cidr.contains(*packet.source.ip()) || subnet.cidr.contains(*packet.destination.ip())
        };
        packets.iter().filter(within).count()
    };
    let own = desired.subnets.values().find(|subnet| server.is_some_and(|own| subnet.cidr.contains(own)));
    own.or_else(|| desired.subnets.values().rev().max_by_key(spoken)).cloned()
}

/// The server that the machines of the capture talk to: whom they ask for files, or whose offer
/// they take.
fn addressed(packets: &[Packet], subnet: &Subnet) -> Option<Ipv4Addr> {
    let file = |packet: &&Packet| matches!(packet.destination.port(), 69 | 80);
    let named = packets.iter().find(file).map(|packet| *packet.destination.ip());
    let chosen = || packets.iter().find_map(|packet| Request::decode(&packet.payload).ok()?.server_id());
    named.or_else(chosen).filter(|address| subnet.cidr.is_host(*address))
}

fn play(packets: &[Packet], desired: Arc<Desired>, subnet: &Subnet, arguments: &Arguments) -> String {
    let mut table = walk::rehearsal(desired, subnet);
    let guessed = || addressed(packets, subnet).unwrap_or(table.server.address);
    let address = arguments.server.unwrap_or_else(guessed);
    let gives_addresses = arguments.mode == Mode::Server;
    table.server = Arc::new(Server { address, gives_addresses, ..(*table.server).clone() });
    let first = packets.first().map_or(0, |packet| packet.at);
    let mut player = Player { table, subnet, mode: arguments.mode, asked: 0, first, out: String::new() };
    let mode = arguments.mode;
    player.line(&format!(
        "as {mode} at {address} on subnet {} ({}, {})",
        subnet.name, subnet.cidr, subnet.origin
    ));
    packets.iter().for_each(|packet| player.take(packet));
    let asked = player.asked;
    player.line(&format!("\n{} packets, {asked} questions", packets.len()));
    player.out
}

struct Player<'a> {
    table: Table,
    subnet: &'a Subnet,
    mode: Mode,
    asked: usize,
    first: u64,
    out: String,
}

impl Player<'_> {
    fn line(&mut self, text: &str) {
        let plain: String =
            text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
        // Writing to a String can't fail.
        let _ = writeln!(self.out, "{plain}");
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
                self.dhcp(packet);
            }
            (Protocol::Udp, 69) => self.tftp(packet),
            (Protocol::Tcp, 80 | 8080) => self.http(packet),
            _ => {}
        }
    }

    fn dhcp(&mut self, packet: &Packet) {
        let now = Time(packet.at / 1000);
        let link = Link {
            server: self.table.server.address,
            cidr: self.subnet.cidr,
            mode: self.mode,
            port: packet.destination.port(),
            source: packet.source,
            broadcast: packet.destination.ip().is_broadcast()
                || *packet.destination.ip() == self.subnet.cidr.broadcast(),
        };
        let asked = match Request::decode(&packet.payload) {
            Ok(request) => {
                let class = String::from_utf8_lossy(request.option(60).unwrap_or_default()).into_owned();
                format!("DHCP {} of {} {class:?}", dhcp::silence::name(&request.kind), request.mac)
            }
            Err(_) => "DHCP".to_owned(),
        };
        self.question(packet, &asked);
        let mut decision = dhcp::handle(&self.table, &link, now, &packet.payload);
        for _ in 0..3 {
            let Decision::NeedLease(request) = &decision else { break };
            self.answer(&format!("(lease: {})", request.action));
            let _ = self.table.lease(request);
            decision = dhcp::handle(&self.table, &link, now, &packet.payload);
        }
        match decision {
            Decision::Reply { bytes, to, events } => {
                for event in &events {
                    self.answer(&format!("{} to {to}, {} bytes: {}", event.stage, bytes.len(), event.text));
                    self.table.fold(event);
                }
            }
            Decision::Silence(silence) => self.answer(&format!("silence: {}", silence.reason)),
            Decision::NeedLease(_) => self.answer("silence: its lease can't be made"),
        }
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
                self.answer("refused: nothing can be written here");
            }
            // Later packets of a transfer go to a port of its own.
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
                self.answer("a request that goes on in another packet: not followed");
            }
            Err(error) => {
                self.question(packet, "HTTP");
                self.answer(&format!("refused: {error}"));
            }
        }
    }

    fn file(&mut self, packet: &Packet, transport: Transport, method: Method, path: &str, note: &str) {
        let now = Time(packet.at / 1000);
        let asker = Asker::new(*packet.source.ip(), None, transport);
        for _ in 0..3 {
            match tree::open(&self.table, &asker, method, path, note) {
                Answer::Serve(found) => {
                    self.answer(&format!("{}: {} ({} bytes)", found.stage, found.text, found.content.len()));
                    let event = Event { mac: found.mac, ..Event::new(now, found.stage, found.text) };
                    self.table.fold(&event);
                    if let (Stage::LocalBoot, Some(name)) = (event.stage, &found.deployment) {
                        self.table = self.table.rebooted(name, now).unwrap_or_else(|| self.table.clone());
                    }
                    return;
                }
                Answer::Refuse(refusal) => return self.answer(&format!("refused: {}", refusal.text)),
                Answer::Permit(permit) => match self.table.permit(&permit, now) {
                    Ok(next) => {
                        let step = format!("{:?}", permit.step).to_lowercase();
                        self.answer(&format!("(permission to install {}: {step})", permit.deployment));
                        self.table = next;
                    }
                    Err(stale) => return self.answer(&format!("refused: {stale}")),
                },
                Answer::Report(report) => {
                    let told =
                        format!("report of {}: {:?} {}", report.deployment, report.outcome, report.note);
                    match self.table.report(&report, now) {
                        Ok(next) => {
                            self.table = next;
                            self.answer(told.trim_end());
                        }
                        Err(stale) => self.answer(&format!("refused: {stale}")),
                    }
                    return;
                }
            }
        }
    }
}
