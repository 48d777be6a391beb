//! Kea's configuration (`Dhcp4` of kea-dhcp4.conf, `Dhcp6` of kea-dhcp6.conf).

use std::net::Ipv4Addr;

use super::json::{self, Kind, Value};
use super::{Files, Host, Imported, Line, Subnet, addresses, client_id, hex_bytes, mac, shown};
use crate::model::{Cidr, Range, Span};

/// Members without any meaning for the daemon or for manifests.
const SILENT: [&str; 21] = [
    "authoritative",
    "calculate-tee-times",
    "comment",
    "control-socket",
    "expired-leases-processing",
    "host-reservation-identifiers",
    "id",
    "interface",
    "interfaces-config",
    "lease-database",
    "loggers",
    "max-valid-lifetime",
    "min-valid-lifetime",
    "multi-threading",
    "rebind-timer",
    "renew-timer",
    "reservation-mode",
    "reservations-global",
    "reservations-in-subnet",
    "reservations-out-of-pool",
    "user-context",
];

/// Reads a configuration with the files that it includes.
pub fn read(path: &str, text: &str, files: &dyn Files) -> Imported {
    let mut out = Imported::default();
    let whole = match json::read(path, text, files) {
        Ok(whole) => whole,
        Err((line, why)) => {
            out.remark(&line, format!("nothing is taken over: {why}"));
            return out;
        }
    };
    let (four, six) = (whole.get("Dhcp4"), whole.get("Dhcp6"));
    if four.is_none() && six.is_none() {
        out.remark(&whole.line, "nothing is taken over: it has neither `Dhcp4` nor `Dhcp6`");
    }
    if let Some(four) = four {
        server(four, &mut out);
    }
    if let Some(six) = six {
        out.remark(&six.line, "networks of IPv6 are not taken over: see `ipv6` of subnets");
        server6(six, &mut out);
    }
    out
}

/// What is said around a subnet.
#[derive(Clone, Default)]
struct Settings {
    gateway: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    domain: Option<String>,
    lease: Option<Span>,
}

fn server(four: &Value, out: &mut Imported) {
    let settings = settings(four, &Settings::default(), out);
    for (name, value) in four.members() {
        match name.as_str() {
            "subnet4" => value.list().iter().for_each(|one| subnet(one, None, &settings, out)),
            "shared-networks" => value.list().iter().for_each(|one| shared(one, &settings, out)),
            "reservations" => value.list().iter().for_each(|one| host(one, out)),
            "option-data" | "valid-lifetime" => {}
            name => other(name, value, out),
        }
    }
}

/// The hosts of a server for IPv6.
fn server6(six: &Value, out: &mut Imported) {
    let shared = six.get("shared-networks").map(Value::list).unwrap_or_default();
    let inner = shared.iter().filter_map(|one| one.get("subnet6"));
    let subnets = six.get("subnet6").into_iter().chain(inner).flat_map(Value::list);
    let all = subnets.filter_map(|subnet| subnet.get("reservations")).chain(six.get("reservations"));
    all.flat_map(Value::list).for_each(|one| host(one, out));
}

fn shared(network: &Value, around: &Settings, out: &mut Imported) {
    let name = network.get("name").and_then(Value::text).unwrap_or("shared").to_owned();
    let settings = settings(network, around, out);
    for (member, value) in network.members() {
        match member.as_str() {
            "subnet4" => value.list().iter().for_each(|one| subnet(one, Some(&name), &settings, out)),
            "name" | "option-data" | "valid-lifetime" => {}
            member => other(member, value, out),
        }
    }
}

/// The settings of a level, over those around it.
fn settings(level: &Value, around: &Settings, out: &mut Imported) -> Settings {
    let mut settings = around.clone();
    if let Some(lifetime) = level.get("valid-lifetime") {
        match lifetime.number().filter(|seconds| (60..=u64::from(u32::MAX)).contains(seconds)) {
            Some(seconds) => settings.lease = Some(Span::seconds(seconds)),
            None => {
                out.remark(&lifetime.line, "a lifetime that is no number of seconds from 60 on is left out")
            }
        }
    }
    for option in level.get("option-data").map(Value::list).unwrap_or_default() {
        self::option(option, &mut settings, out);
    }
    settings
}

fn option(option: &Value, settings: &mut Settings, out: &mut Imported) {
    let line = &option.line;
    let name = option.get("name").and_then(Value::text);
    let code = option.get("code").and_then(Value::number);
    let data = option.get("data").and_then(Value::text).unwrap_or_default();
    let what = match (name, code) {
        (Some("routers"), _) | (None, Some(3)) => "router",
        (Some("domain-name-servers"), _) | (None, Some(6)) => "name server",
        (Some("domain-name"), _) | (None, Some(15)) => "domain",
        (name, code) => {
            let code = code.map(|code| code.to_string());
            let name = name.or(code.as_deref()).unwrap_or("-");
            let text = format!("the option `{}` is not taken over: see `options` of subnets", shown(name));
            return out.remark(line, text);
        }
    };
    if option.get("csv-format").is_some_and(|format| format.is(false)) {
        return out.remark(line, format!("a {what} in bytes is not taken over"));
    }
    match what {
        "router" => {
            settings.gateway = addresses(data.split(','), "the router", line, out).first().copied();
        }
        "name server" => settings.dns = addresses(data.split(','), "the name server", line, out),
        _ => settings.domain = Some(data.trim().to_owned()),
    }
}

fn subnet(value: &Value, link: Option<&str>, around: &Settings, out: &mut Imported) {
    let line = value.line.clone();
    let written = value.get("subnet").and_then(Value::text).unwrap_or_default();
    // Kea takes an address within the network too.
    let cidr = written.split_once('/').and_then(|(address, length)| {
        let length = length.trim().parse::<u8>().ok().filter(|length| *length <= 32)?;
        Some(Cidr::around(address.trim().parse().ok()?, length))
    });
    let Some(cidr) = cidr else {
        out.remark(&line, format!("`{}` is no network of IPv4: its subnet is left out", shown(written)));
        return;
    };
    let Settings { gateway, dns, domain, lease } = settings(value, around, out);
    let mut subnet = Subnet::new(cidr, line);
    subnet.gateway = gateway.filter(|gateway| cidr.is_host(*gateway));
    (subnet.dns, subnet.domain, subnet.lease) = (dns, domain, lease);
    subnet.link = link.map(str::to_owned);
    for (name, value) in value.members() {
        match name.as_str() {
            "pools" => value.list().iter().for_each(|one| subnet.dynamic.extend(pool(one, out))),
            "reservations" => value.list().iter().for_each(|one| host(one, out)),
            "subnet" | "option-data" | "valid-lifetime" => {}
            name => other(name, value, out),
        }
    }
    out.subnets.push(subnet);
}

/// `first - last`, or a network.
fn pool(pool: &Value, out: &mut Imported) -> Option<Range> {
    let written = pool.get("pool").and_then(Value::text).unwrap_or_default();
    for (name, value) in pool.members().iter().filter(|(name, _)| name != "pool") {
        other(name, value, out);
    }
    let plain: String = written.chars().filter(|c| !c.is_whitespace()).collect();
    let range = match plain.parse::<Cidr>() {
        Ok(cidr) => Ok(Range { first: cidr.network(), last: cidr.last() }),
        Err(_) => plain.parse::<Range>(),
    };
    match range {
        Ok(range) => Some(range),
        Err(error) => {
            out.remark(&pool.line, format!("the pool `{}` is left out: {error}", shown(written)));
            None
        }
    }
}

fn host(value: &Value, out: &mut Imported) {
    let mut host = Host { line: value.line.clone(), ..Host::default() };
    for (name, value) in value.members() {
        let line = &value.line;
        match (name.as_str(), &value.kind) {
            ("hostname", Kind::Text(text)) => host.name = Some(text.clone()).filter(|name| !name.is_empty()),
            ("hw-address", Kind::Text(text)) => match mac(text) {
                Ok(mac) => host.macs.push(mac),
                Err(why) => out.remark(line, format!("`{}` is left out: {why}", shown(text))),
            },
            ("client-id", Kind::Text(text)) => match identifier(text) {
                Some(bytes) => host.client_ids.push(client_id(&bytes)),
                None => out.remark(line, format!("`{}` is no client id and is left out", shown(text))),
            },
            ("ip-address", Kind::Text(text)) => {
                host.address = addresses([text.as_str()], "the address", line, out).first().copied();
            }
            ("ip-addresses", Kind::List(all)) => {
                host.address6 = all.first().and_then(Value::text).and_then(|text| text.parse().ok());
                if all.len() > 1 || host.address6.is_none() {
                    out.remark(line, "the first of several addresses is taken over, if it is one");
                }
            }
            (name, _) => other(name, value, out),
        }
    }
    out.hosts.push(host);
}

/// `01:02:…`, `0102…`, `0x0102…`, or a text between single quotes.
fn identifier(text: &str) -> Option<Vec<u8>> {
    let quoted = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    match quoted {
        Some(quoted) => Some(quoted.as_bytes().to_vec()).filter(|bytes| !bytes.is_empty()),
        None => hex_bytes(text.strip_prefix("0x").unwrap_or(text)),
    }
}

/// A member that is not taken over.
fn other(name: &str, value: &Value, out: &mut Imported) {
    if SILENT.contains(&name) || value.is_empty() {
        return;
    }
    let line: &Line = &value.line;
    let text = match name {
        "next-server" | "boot-file-name" | "server-hostname" => {
            if value.text() == Some("0.0.0.0") {
                return;
            }
            format!("`{name}` is not taken over: boots are served by manifests")
        }
        "client-classes" | "require-client-classes" | "client-class" => {
            format!("`{name}` is not taken over: there are no classes of clients")
        }
        "duid" | "circuit-id" | "flex-id" => {
            format!("`{name}` is not taken over: a host is known by its card or client id")
        }
        name => format!("`{}` is not taken over", shown(name)),
    };
    out.remark(line, text);
}
