//! Simulated boots as text for people. It holds no secrets, because a simulation has none.

use std::fmt::Write;
use std::net::Ipv6Addr;

use bytes::Bytes;
use dhcproto::v4::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable, Decoder};

use super::{Detail, End, SimulatedBoot, Step};
use crate::desired::Deployment;
use crate::model::printable;
use crate::proto::dhcp6::wire::{self, code};
use crate::state::{Stage, State};

/// Texts that were printed, with the boot they belong to. A text is printed once; another boot with the
/// same one refers to it.
type Shown<'a> = Vec<(&'a [u8], String)>;

/// All boots of one deployment.
pub fn write(state: &State, deployment: &Deployment, boots: &[SimulatedBoot]) -> String {
    let mut out = String::new();
    let machine =
        state.assignments().get(&deployment.name).and_then(|name| state.desired().machines.get(name));
    let on = machine.map_or_else(String::new, |machine| {
        let mac = machine.macs.first().map_or_else(String::new, |mac| format!(" ({mac})"));
        format!(" on machine {}{mac}", machine.name)
    });
    // Writing to a String can't fail.
    let _ = writeln!(out, "deployment {}{on}, boot {}", deployment.name, deployment.boot.name);
    if let Some((template, proof)) =
        deployment.template.as_ref().and_then(|template| Some((template, template.proof()?)))
    {
        let by = template.kind.installer().template.as_ref().map_or("", |template| template.proven_by);
        let _ = writeln!(out, "template {}, proof = {proof}: {by}", template.name);
    }
    let mut shown = Shown::new();
    for boot in boots {
        let _ = writeln!(out, "\n== {}", boot.route);
        for step in &boot.steps {
            self::step(&mut out, step, boot, &mut shown);
        }
        let _ = writeln!(out, "   => {}", end(&boot.end));
    }
    out
}

fn step<'a>(out: &mut String, step: &'a Step, boot: &SimulatedBoot, shown: &mut Shown<'a>) {
    let stage = step.stage.to_string();
    match &step.detail {
        Detail::Nothing => {
            let _ = writeln!(out, "{stage:>10}  {}", printable::line(&step.text));
        }
        Detail::Datagram(_) | Detail::Datagram6(_) if step.stage == Stage::Offer => {}
        Detail::Datagram(datagram) => {
            let _ = writeln!(out, "{:>10}  {}", "dhcp", printable::line(&dhcp(datagram)));
        }
        Detail::Datagram6(datagram) => {
            let _ = writeln!(out, "{:>10}  {}", "dhcpv6", printable::line(&dhcp6(datagram)));
        }
        Detail::File { name, length } => {
            let _ = writeln!(out, "{stage:>10}  {} ({length} bytes)", printable::line(name));
        }
        Detail::Text { name, text } if text.is_empty() => {
            let _ = writeln!(out, "{stage:>10}  {} ({})", printable::line(name), printable::line(&step.text));
        }
        Detail::Text { name, text } => {
            let _ = writeln!(out, "{stage:>10}  {}", printable::line(name));
            let _ = writeln!(out, "{:>10}  {}", "", printable::line(&step.text));
            match shown.iter().find(|(known, _)| *known == &text[..]) {
                Some((_, place)) => {
                    let _ = writeln!(out, "{:>10}  the same text as above ({place})", "");
                }
                None => {
                    shown.push((text, boot.route.to_string()));
                    for line in String::from_utf8_lossy(text).lines() {
                        let _ = writeln!(out, "{:>10}  | {}", "", printable::line(line));
                    }
                }
            }
        }
    }
}

/// The essentials of an answer.
fn dhcp(datagram: &Bytes) -> String {
    let Ok(message) = Message::decode(&mut Decoder::new(datagram)) else { return "unreadable".into() };
    let mut parts = vec![format!("address {}", message.yiaddr())];
    let list = |addresses: &[std::net::Ipv4Addr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let options = message.opts();
    if let Some(DhcpOption::SubnetMask(mask)) = options.get(OptionCode::SubnetMask) {
        parts.push(format!("netmask {mask}"));
    }
    if let Some(DhcpOption::Router(routers)) = options.get(OptionCode::Router) {
        parts.push(format!("router {}", list(routers)));
    }
    if let Some(DhcpOption::DomainNameServer(servers)) = options.get(OptionCode::DomainNameServer) {
        parts.push(format!("dns {}", list(servers)));
    }
    if let Some(DhcpOption::AddressLeaseTime(seconds)) = options.get(OptionCode::AddressLeaseTime) {
        parts.push(format!("for {seconds} s"));
    }
    let file = super::client::Reply::of(datagram.clone()).boot_file();
    if !file.is_empty() {
        let server = message.siaddr();
        parts.push(format!("next server {server}, boot file {file}"));
    }
    parts.join(", ")
}

/// The same for DHCPv6.
fn dhcp6(datagram: &[u8]) -> String {
    // Replies have the layout of requests.
    let Ok(message) = wire::Request::decode(datagram) else { return "unreadable".into() };
    let addresses = message.associations().unwrap_or_default().into_iter().flat_map(|one| one.addresses);
    let mut parts: Vec<String> = addresses.map(|address| format!("address {address}")).collect();
    let servers: Vec<String> =
        message.option(code::DNS).unwrap_or_default().chunks_exact(16).map(ip6).collect();
    if !servers.is_empty() {
        parts.push(format!("dns {}", servers.join(", ")));
    }
    if let Some(file) = message.option(code::BOOT_FILE) {
        parts.push(format!("boot file {}", String::from_utf8_lossy(file)));
    }
    parts.join(", ")
}

fn ip6(octets: &[u8]) -> String {
    <[u8; 16]>::try_from(octets)
        .map(Ipv6Addr::from)
        .map_or_else(|_| String::new(), |address| address.to_string())
}

fn end(end: &End) -> String {
    match end {
        End::Installed => "installed; the second boot goes to its own disk".into(),
        End::NetworkBoots => "runs from the network, at every boot".into(),
        End::Unassigned => "no machine is free for it".into(),
        End::FileNotFound(file) => format!("{file} was not found here, so the boot was simulated without it"),
        End::Stopped(stop) => format!("STOPS: {}", printable::line(&stop.why)),
    }
}
