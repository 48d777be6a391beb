//! The ports that the daemon opens: free, the daemon's own, or another program's.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::finding::Finding;
use super::sockets::{Owner, Transport, holders};
use crate::config::{Config, Listen, Mode, SyslogListen};
use crate::proto::dhcp::{BOOT_SERVER_PORT, SERVER_PORT};

const TFTP_PORT: u16 = 69;

/// A port that is going to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub transport: Transport,
    pub at: SocketAddr,
    /// DHCP, TFTP, …
    pub what: &'static str,
    /// Whether machines come to it, and not only people and programs of this host.
    pub is_for_machines: bool,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wanted { transport, at, what, .. } = self;
        match at.ip().is_unspecified() {
            true => write!(f, "{}/{transport} ({what})", at.port()),
            false => write!(f, "{}/{transport} on {} ({what})", at.port(), at.ip()),
        }
    }
}

/// Every port of the settings; those of the defaults without any.
pub(super) fn wanted(config: Option<&Config>) -> Vec<Wanted> {
    let udp = |address: IpAddr, port, what| Wanted {
        transport: Transport::Udp,
        at: SocketAddr::new(address, port),
        what,
        is_for_machines: true,
    };
    let tcp = |address: IpAddr, port, what| Wanted { transport: Transport::Tcp, ..udp(address, port, what) };
    let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    let Some(config) = config else {
        return vec![
            udp(any, SERVER_PORT, "DHCP"),
            udp(any, BOOT_SERVER_PORT, "PXE"),
            udp(any, TFTP_PORT, "TFTP"),
            tcp(any, 80, "HTTP"),
        ];
    };
    let mut wanted = Vec::new();
    let modes = || config.networks().map(|network| config.mode(network));
    if modes().any(|mode| mode != Mode::Off) {
        wanted.push(udp(any, SERVER_PORT, "DHCP"));
    }
    if modes().any(|mode| matches!(mode, Mode::Server | Mode::Proxy)) {
        wanted.push(udp(any, BOOT_SERVER_PORT, "PXE"));
    }
    for address in config.networks().map(|network| IpAddr::from(network.address)) {
        wanted.push(udp(address, TFTP_PORT, "TFTP"));
        wanted.push(tcp(address, config.http.port, "HTTP"));
        wanted.extend(config.http.tls.iter().map(|tls| tcp(address, tls.port, "HTTPS")));
    }
    for listen in &config.syslog {
        wanted.push(match listen {
            SyslogListen::Udp(at) => udp(at.ip(), at.port(), "syslog"),
            SyslogListen::Tcp(at) => tcp(at.ip(), at.port(), "syslog"),
        });
    }
    for listen in &config.api.listen {
        if let Listen::Tcp(at) = listen {
            wanted.push(Wanted { is_for_machines: false, ..tcp(at.ip(), at.port(), "control API") });
        }
    }
    wanted
}

pub(super) fn look(wanted: &[Wanted], config: Option<&Config>) -> Vec<Finding> {
    wanted.iter().map(|one| judge(one, open(one, config), &holders(one.transport, one.at))).collect()
}

/// Opens it as the daemon does, and closes it again. Nobody else has it then, so nothing is taken from anybody.
fn open(wanted: &Wanted, config: Option<&Config>) -> io::Result<()> {
    let bind = |device: Option<&str>| {
        let domain = Domain::for_address(wanted.at);
        let socket = match wanted.transport {
            Transport::Udp => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?,
            Transport::Tcp => Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?,
        };
        if wanted.transport == Transport::Tcp {
            socket.set_reuse_address(true)?;
        }
        if let Some(device) = device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        socket.bind(&wanted.at.into())
    };
    let is_dhcp = wanted.at.ip().is_unspecified() && wanted.what != "syslog";
    match (bind(None), config) {
        // Shared with a program that is bound to another interface, as libvirt's dnsmasq is.
        (Err(error), Some(config)) if error.kind() == io::ErrorKind::AddrInUse && is_dhcp => {
            config.networks().try_for_each(|network| bind(Some(&network.interface)))
        }
        (outcome, _) => outcome,
    }
}

fn judge(wanted: &Wanted, outcome: io::Result<()>, holders: &[(SocketAddr, Option<Owner>)]) -> Finding {
    let finding = Finding::about("port", wanted);
    let is_ours = |owner: &Option<Owner>| owner.as_ref().is_some_and(|owner| owner.name == "voldemort");
    let text = |(at, owner): &(SocketAddr, Option<Owner>)| match owner {
        Some(Owner { pid, name }) => format!("{name} (pid {pid}, on {at})"),
        None => format!("a program on {at} that only root can see"),
    };
    let texts = holders.iter().map(text).collect::<Vec<_>>().join(", ");
    if let Some((_, Some(owner))) = holders.iter().find(|(_, owner)| is_ours(owner)) {
        return finding.ok(format!("the daemon has it (pid {})", owner.pid));
    }
    match outcome {
        Ok(()) if holders.is_empty() => finding.ok("free"),
        Ok(()) => finding.ok(format!("can be shared with {texts}")),
        Err(error) => match error.kind() {
            io::ErrorKind::AddrInUse => {
                let who = if texts.is_empty() { "another program".to_owned() } else { texts };
                finding.error(format!("in use by {who}"), stop(holders))
            }
            io::ErrorKind::AddrNotAvailable => finding.error(
                format!("this host does not have the address {}", wanted.at.ip()),
                "give the interface its address, or correct `network.address` in the settings",
            ),
            io::ErrorKind::PermissionDenied => {
                finding.unknown("this user may not open it", "look again as root")
            }
            _ => finding.error(error.to_string(), "see the cause"),
        },
    }
}

/// How the programs that commonly have such a port are kept from it.
fn stop(holders: &[(SocketAddr, Option<Owner>)]) -> String {
    let names: Vec<&str> =
        holders.iter().filter_map(|(_, owner)| Some(owner.as_ref()?.name.as_str())).collect();
    let known = |name: &str| names.iter().any(|one| one.starts_with(name));
    if known("dnsmasq") {
        return "stop it (systemctl disable --now dnsmasq), or have it serve another interface alone: \
                `bind-interfaces` with `interface=` or `except-interface=`"
            .to_owned();
    }
    match names.first() {
        Some(name) if known("in.tftpd") || known("atftpd") => {
            format!("stop {name} (systemctl disable --now tftpd-hpa, atftpd or tftp.socket)")
        }
        Some(name) if known("nginx") || known("apache2") || known("caddy") || known("httpd") => format!(
            "stop {name}, have it listen on another address, or set another `port` in [http] of the settings"
        ),
        Some(name) if known("dhcpd") || known("kea-dhcp4") => format!(
            "stop {name}; or let it give the addresses, on another host, and set `mode = \"proxy\"` in [dhcp] of the settings"
        ),
        Some(name) => format!("stop {name}, or have it use another port or address"),
        None => "find it with `ss -lntup` as root, and stop it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    fn port() -> Wanted {
        wanted(None).remove(2)
    }

    #[test]
    fn the_settings_say_which_ports_there_are() {
        let text = "network = { interface = 'eth0', address = '10.0.0.1' }\nhttp = { port = 8080, tls = {} }\n\
                    dhcp = { mode = 'listen' }\nsyslog = { listen = ['udp:0.0.0.0:514'] }\n";
        let config = Config::parse(text, "v.toml").unwrap();
        let shown: Vec<String> = wanted(Some(&config)).iter().map(Wanted::to_string).collect();
        assert_eq!(
            shown,
            [
                "67/udp (DHCP)",
                "69/udp on 10.0.0.1 (TFTP)",
                "8080/tcp on 10.0.0.1 (HTTP)",
                "443/tcp on 10.0.0.1 (HTTPS)",
                "514/udp (syslog)",
                "12345/tcp on 127.0.0.1 (control API)",
            ]
        );
    }

    #[test]
    fn who_has_a_port_is_named_with_the_way_out() {
        let at: SocketAddr = "0.0.0.0:69".parse().unwrap();
        let owner = |name: &str| vec![(at, Some(Owner { pid: 7, name: name.into() }))];
        let taken = || Err(io::Error::from(io::ErrorKind::AddrInUse));
        let found = judge(&port(), taken(), &owner("dnsmasq"));
        assert_eq!(found.found, "in use by dnsmasq (pid 7, on 0.0.0.0:69)");
        assert!(found.advice.unwrap().contains("bind-interfaces"));
        assert_eq!(judge(&port(), taken(), &owner("voldemort")).level, Level::Ok);
        assert_eq!(judge(&port(), taken(), &[(at, None)]).level, Level::Error);
        assert_eq!(judge(&port(), Ok(()), &[]).found, "free");
        assert!(judge(&port(), Ok(()), &owner("dnsmasq")).found.starts_with("can be shared with dnsmasq"));
        let denied = judge(&port(), Err(io::ErrorKind::PermissionDenied.into()), &[]);
        assert_eq!(denied.level, Level::Unknown);
    }
}
