//! A daemon file for this host: what was found, as commented TOML that `Config` reads back.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::host::{Gateway, Interface, Resolvers};
pub use super::read::FIRMWARE;
use super::read::STATE;
use crate::model::{Cidr, Range};

/// How many addresses are proposed for unknown machines, at most.
const DYNAMIC: u32 = 100;
/// Names that hypervisors and containers give their own networks.
const VIRTUAL: [&str; 8] = ["docker", "br-", "veth", "virbr", "tun", "tap", "wg", "cni"];

/// Everything the file is written from.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    pub choice: Choice,
    /// The default gateway, if it lies in the interface's network.
    pub gateway: Option<Ipv4Addr>,
    pub resolvers: Resolvers,
    /// Every address of this host, aliases and other interfaces included.
    pub own: Vec<Ipv4Addr>,
    /// Addresses that have answered on the interface lately.
    pub neighbours: Vec<Ipv4Addr>,
    pub servers: Servers,
    pub loaders: Vec<Found>,
    pub missing: Vec<Missing>,
}

/// Machines for which nothing is installed that they can boot.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// As in `aarch64 UEFI`.
    pub machines: String,
    /// What they need, with the Debian packages.
    pub programs: Vec<(String, String)>,
    /// Whether most sites have such machines.
    pub is_usual: bool,
}

impl Missing {
    /// `shimx64.efi (package shim-signed), grubx64.efi (…)`
    pub fn programs(&self) -> String {
        let one = |(name, package): &(String, String)| format!("{name} (package {package})");
        self.programs.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// The interface and why it was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub interface: String,
    pub address: Ipv4Addr,
    pub network: Cidr,
    /// Empty if a person named it.
    pub reason: String,
    /// The other interfaces that could be used.
    pub others: Vec<String>,
}

/// Other DHCP servers on that network.
#[derive(Clone, Debug, PartialEq)]
pub enum Servers {
    None,
    /// At least one answers; each is described in a text.
    Answering(Vec<String>),
    /// The probe could not be sent; the text says why.
    Unknown(String),
}

/// A boot program found on this host.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub name: String,
    pub path: PathBuf,
    /// Length in bytes.
    pub size: u64,
    pub version: Option<String>,
}

/// Why no file can be written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DetectError {
    #[error("there is no interface `{name}`; this host has:{}", lines(known))]
    NoSuchInterface { name: String, known: Vec<String> },
    #[error(
        "the interface `{name}` has no IPv4 address: give it one first (ip address add 10.0.10.1/24 dev {name}); \
         this host has:{}",
        lines(known)
    )]
    NoAddress { name: String, known: Vec<String> },
    #[error(
        "no interface but loopback is up with an IPv4 address: name one with --interface; this host has:{}",
        lines(known)
    )]
    NothingUsable { known: Vec<String> },
}

fn lines(known: &[String]) -> String {
    known.iter().map(|interface| format!("\n  {interface}")).collect()
}

/// Takes the interface that was named, or the likeliest: one that is up and has an address, with
/// the default route before others, real cards before virtual ones.
pub fn choose(
    named: Option<&str>,
    interfaces: &[Interface],
    gateways: &[Gateway],
) -> Result<Choice, DetectError> {
    let known = || interfaces.iter().map(ToString::to_string).collect();
    if let Some(name) = named {
        let interface = interfaces.iter().find(|interface| interface.name == name);
        let interface =
            interface.ok_or_else(|| DetectError::NoSuchInterface { name: name.into(), known: known() })?;
        return choice(interface, String::new(), Vec::new())
            .ok_or_else(|| DetectError::NoAddress { name: name.into(), known: known() });
    }
    let usable =
        |interface: &&Interface| interface.up && !interface.loopback && !interface.addresses.is_empty();
    let mut usable: Vec<&Interface> = interfaces.iter().filter(usable).collect();
    let route =
        |interface: &Interface| gateways.iter().position(|gateway| gateway.interface == interface.name);
    let is_virtual = |interface: &Interface| VIRTUAL.iter().any(|prefix| interface.name.starts_with(prefix));
    usable.sort_by_key(|interface| (route(interface).unwrap_or(usize::MAX), is_virtual(interface)));
    let (first, others) =
        usable.split_first().ok_or_else(|| DetectError::NothingUsable { known: known() })?;
    let reason = match (others.is_empty(), route(first)) {
        (true, _) => "the only one that is up with an IPv4 address",
        (_, Some(_)) => "it has the default route",
        _ => "the first that is up with an IPv4 address",
    };
    let others = others.iter().map(ToString::to_string).collect();
    choice(first, reason.to_owned(), others).ok_or_else(|| DetectError::NothingUsable { known: known() })
}

fn choice(interface: &Interface, reason: String, others: Vec<String>) -> Option<Choice> {
    let (address, network) = *interface.addresses.first()?;
    Some(Choice { interface: interface.name.clone(), address, network, reason, others })
}

/// Up to a hundred addresses in the upper half of `network`, none of them in `taken`: the first
/// stretch that is long enough, else the longest.
pub fn free_range(network: Cidr, taken: &[Ipv4Addr]) -> Option<Range> {
    let hosts = network.hosts();
    let (first, last) = (u32::from(hosts.first), u32::from(hosts.last));
    let mut from = first + (last - first).div_ceil(2);
    let mut walls: Vec<u32> =
        taken.iter().map(|address| u32::from(*address)).filter(|wall| *wall >= from).collect();
    walls.push(last.checked_add(1)?);
    walls.sort_unstable();
    let mut best: Option<(u32, u32)> = None;
    for wall in walls {
        if wall > last + 1 {
            break;
        }
        let length = wall.saturating_sub(from).min(DYNAMIC);
        if length > best.map_or(0, |(_, length)| length) {
            best = Some((from, length));
        }
        from = from.max(wall.saturating_add(1));
    }
    best.map(|(from, length)| Range { first: from.into(), last: (from + length - 1).into() })
}

/// The whole file.
pub fn file(facts: &Facts) -> String {
    let mut text = String::from(
        "# voldemort's settings, written by `voldemort config detect`. Read them, correct them, then\n\
         #   voldemort start services --config THIS-FILE\n\n",
    );
    let parts = [network(facts), dhcp(facts), SERVICES.to_owned(), firmware(facts), state()];
    text.push_str(&parts.join("\n"));
    text
}

const SERVICES: &str = "\
[http]
port = 80                                # kernels, scripts and answers are fetched from here
#tls = { port = 443 }                    # HTTPS too, by an authority of its own (root: /ca.pem), or by
                                         # { certificate = \"FILE\", key = \"FILE\" }

#[tftp]
#single-port = true                      # behind address translation, or in a container

[api]
# voldemortctl reaches the daemon here. The socket is for root, and for the group `voldemort` with the
# role group-role; TCP takes a token. Beyond loopback (0.0.0.0:12345) it speaks TLS, with a certificate of its
# own authority, or with one in the files certificate and key; names = [\"HOST\"] adds names of this host.
listen = [\"unix:/run/voldemort/api.sock\", \"127.0.0.1:12345\"]
#group-role   = \"editor\"                # viewer | claimer | editor | admin
#viewer-token = \"/etc/voldemort/metrics.token\"  # a token for programs that read, such as Prometheus

# Where the manifests are. Without this section the daemon keeps a git repository of its own in its
# state directory, which voldemortctl writes to.
#[inventory]
#directory = \"/srv/inventory\"
# or
#git    = \"/srv/git/inventory.git\"
#branch = \"main\"
#path   = \"inventory\"                    # the folder of the repository that is the inventory
#poll   = \"60s\"
#reconcile = \"manual\"                  # each revision waits for voldemortctl approve
# What the verbs of voldemortctl may do: direct (commit on the branch, replace the file), branch
# (push voldemort/… for a review), off (print a patch). Off for git, direct for a directory if absent.
#write  = \"direct\"
# and, for a folder below environments/ of either
#environment = \"prod\"

# Further directories with ISO images; those that lie in the inventory are found anyway.
#[media]
#paths = [\"/srv/iso\"]
";

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn addresses(list: &[Ipv4Addr]) -> String {
    let quoted: Vec<String> = list.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

fn network(facts: &Facts) -> String {
    let Choice { interface, address, network, reason, others } = &facts.choice;
    let mut text = String::from("[network]\n");
    if !reason.is_empty() {
        text += &format!("# {interface} was chosen: {reason}. --interface names another.\n");
    }
    for other in others {
        text += &format!("#   also possible: {other}\n");
    }
    text += &format!("interface = {}\naddress   = \"{address}\"\n\n", quoted(interface));
    text += "# Used where the inventory declares no [subnet.NAME] for this network.\n[network.subnet]\n";
    text += &format!("cidr    = \"{network}\"\n");
    text += &match facts.gateway {
        Some(gateway) => format!("gateway = \"{gateway}\"\n"),
        None => {
            "#gateway = \"…\"                        # no default route leads through this network\n".into()
        }
    };
    text += &match facts.resolvers.servers.as_slice() {
        [] => {
            "#dns     = [\"…\"]                      # this host's resolver is of use to itself only\n".into()
        }
        servers => format!("dns     = {}\n", addresses(servers)),
    };
    if let Some(domain) = &facts.resolvers.domain {
        text += &format!("domain  = {}\n", quoted(domain));
    }
    text + &dynamic(facts)
}

fn dynamic(facts: &Facts) -> String {
    let choice = &facts.choice;
    let mut taken = vec![choice.address];
    taken.extend(facts.gateway);
    taken.extend(&facts.resolvers.servers);
    taken.extend(&facts.own);
    let careful: Vec<Ipv4Addr> = taken.iter().chain(&facts.neighbours).copied().collect();
    let range = free_range(choice.network, &careful).or_else(|| free_range(choice.network, &taken));
    let Some(range) = range else {
        return "#dynamic = \"…\"                        # this network has no addresses to spare\n".into();
    };
    let used: Vec<Ipv4Addr> =
        facts.neighbours.iter().filter(|address| range.contains(**address)).copied().collect();
    let mut text =
        String::from("# Unknown machines get one of these: make sure that no other host uses them.\n");
    if !used.is_empty() {
        text += &format!("# In use now: {}\n", addresses(&used));
    }
    let mark = if matches!(facts.servers, Servers::Answering(_)) { "#" } else { "" };
    text + &format!("{mark}dynamic = \"{range}\"\n")
}

fn dhcp(facts: &Facts) -> String {
    let (words, mode) = match &facts.servers {
        Servers::None => ("# No other DHCP server answers on this network.\n".to_owned(), "server"),
        Servers::Answering(servers) => (
            format!(
                "# Another DHCP server answers here ({}): it keeps giving the addresses, voldemort gives the boot files.\n",
                servers.join(", ")
            ),
            "proxy",
        ),
        Servers::Unknown(why) => (
            format!(
                "# Whether another DHCP server answers here is not known ({why}).\n\
                 # The daemon looks again when it starts, and only listens if one does.\n"
            ),
            "server",
        ),
    };
    format!(
        "{}[dhcp]\nmode = \"{mode}\"                          # server | proxy | listen | off\n",
        one_line(&words)
    )
}

/// A message from elsewhere must not end its comment.
fn one_line(words: &str) -> String {
    let lines = words.trim_end().lines();
    lines
        .map(|line| if line.starts_with('#') { format!("{line}\n") } else { format!("# {line}\n") })
        .collect()
}

fn firmware(facts: &Facts) -> String {
    let mut text = String::from("# Programs that machines boot first. Found on this host:\n");
    // PXELINUX has dozens of modules; the one it can't start without is listed for all.
    let (modules, programs): (Vec<&Found>, Vec<&Found>) =
        facts.loaders.iter().partition(|found| found.name.ends_with(".c32") && found.name != "ldlinux.c32");
    for Found { name, path, size, version } in programs {
        let version = version.as_ref().map(|version| format!(", {version}")).unwrap_or_default();
        let kibibytes = size.div_ceil(1024);
        let _ = writeln!(text, "#   {name:<18} {} ({kibibytes} KiB{version})", path.display());
    }
    if !modules.is_empty() {
        let _ = writeln!(text, "#   and {} further modules of PXELINUX", modules.len());
    }
    if facts.loaders.is_empty() {
        text += "#   none\n";
    }
    if !facts.missing.is_empty() {
        text += "# Missing, by the machines that need it (with its Debian package):\n";
    }
    for missing in &facts.missing {
        let _ = writeln!(text, "#   {:<29} {}", missing.machines, missing.programs());
    }
    let paths: Vec<String> = used_paths(facts).iter().map(|path| quoted(path)).collect();
    text + &format!("[firmware]\npaths = [{}]\n", paths.join(", "))
}

/// Those of the usual directories in which something was found; all of them if nothing was.
fn used_paths(facts: &Facts) -> Vec<&'static str> {
    let holds = |path: &&&str| facts.loaders.iter().any(|found| found.path.starts_with(path));
    let used: Vec<&str> = FIRMWARE.iter().filter(holds).copied().collect();
    if used.is_empty() { FIRMWARE.to_vec() } else { used }
}

fn state() -> String {
    let state =
        format!("# Leases, machines and copies of repositories.\n[state]\ndirectory = {}\n", quoted(STATE));
    state
        + "\n# The key that decrypts the inventory's secrets; `voldemort secret keygen FILE` makes one.\n\
           # [secrets]\n# identity = \"/etc/voldemort/age.key\"\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};

    fn interface(name: &str, up: bool, address: Option<&str>) -> Interface {
        let addresses = address.map(|address| {
            let (address, length) = address.split_once('/').unwrap();
            let address: Ipv4Addr = address.parse().unwrap();
            (address, Cidr::around(address, length.parse().unwrap()))
        });
        Interface {
            name: name.into(),
            up,
            loopback: name == "lo",
            addresses: addresses.into_iter().collect(),
        }
    }

    fn gateway(interface: &str, address: &str) -> Gateway {
        Gateway { interface: interface.into(), address: address.parse().unwrap(), metric: 0 }
    }

    fn host() -> Vec<Interface> {
        vec![
            interface("docker0", true, Some("172.17.0.1/16")),
            interface("eth0", true, Some("10.0.10.1/24")),
            interface("eth1", true, Some("192.0.2.5/24")),
            interface("eth2", false, None),
            interface("lo", true, Some("127.0.0.1/8")),
        ]
    }

    fn facts() -> Facts {
        Facts {
            choice: choose(None, &host(), &[gateway("eth1", "192.0.2.1")]).unwrap(),
            gateway: Some("192.0.2.1".parse().unwrap()),
            resolvers: Resolvers {
                servers: vec!["192.0.2.53".parse().unwrap()],
                domain: Some("a\"b".into()),
            },
            own: vec!["192.0.2.5".parse().unwrap(), "192.0.2.140".parse().unwrap()],
            neighbours: vec!["192.0.2.200".parse().unwrap()],
            servers: Servers::None,
            loaders: vec![Found {
                name: "ipxe.efi".into(),
                path: "/usr/lib/ipxe/ipxe.efi".into(),
                size: 1025,
                version: Some("1.21".into()),
            }],
            missing: vec![Missing {
                machines: "x86_64 BIOS by PXELINUX".into(),
                programs: vec![("pxelinux.0".into(), "pxelinux".into())],
                is_usual: true,
            }],
        }
    }

    #[test]
    fn the_likeliest_interface_is_chosen_and_says_why() {
        let with_route = choose(None, &host(), &[gateway("eth1", "192.0.2.1")]).unwrap();
        assert_eq!(
            (with_route.interface.as_str(), with_route.reason.as_str()),
            ("eth1", "it has the default route")
        );
        assert_eq!(with_route.others.len(), 2);
        assert_eq!(choose(None, &host(), &[]).unwrap().interface, "eth0", "real cards before virtual ones");
        assert_eq!(choose(Some("docker0"), &host(), &[]).unwrap().reason, "");
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_there_is() {
        let missing = choose(Some("eth9"), &host(), &[]).unwrap_err().to_string();
        assert!(
            missing.contains("no interface `eth9`") && missing.contains("eth1 (up, 192.0.2.5/24)"),
            "{missing}"
        );
        let bare = choose(Some("eth2"), &host(), &[]).unwrap_err().to_string();
        assert!(
            bare.contains("`eth2` has no IPv4 address") && bare.contains("eth2 (down, no IPv4 address)"),
            "{bare}"
        );
        assert!(matches!(choose(None, &host()[3..], &[]), Err(DetectError::NothingUsable { .. })));
    }

    #[test]
    fn the_free_range_avoids_what_is_taken() {
        let range = |network: &str, taken: &[&str]| {
            let taken: Vec<Ipv4Addr> = taken.iter().map(|address| address.parse().unwrap()).collect();
            free_range(network.parse().unwrap(), &taken).map(|range| range.to_string())
        };
        assert_eq!(range("10.0.10.0/24", &["10.0.10.1"]).unwrap(), "10.0.10.128-10.0.10.227");
        assert_eq!(range("10.0.10.0/24", &["10.0.10.130"]).unwrap(), "10.0.10.131-10.0.10.230");
        assert_eq!(
            range("10.0.10.0/24", &["10.0.10.190", "10.0.10.254"]).unwrap(),
            "10.0.10.191-10.0.10.253"
        );
        assert_eq!(range("10.0.0.0/29", &["10.0.0.6", "10.0.0.6", "9.9.9.9"]).unwrap(), "10.0.0.4-10.0.0.5");
        assert_eq!(range("10.0.0.0/16", &[]).unwrap(), "10.0.128.0-10.0.128.99");
        assert_eq!(range("10.0.0.0/30", &["10.0.0.2"]), None);
        assert_eq!(range("10.0.0.1/32", &["10.0.0.1"]), None);
        assert!(range("0.0.0.0/0", &[]).is_some());
    }

    #[test]
    fn the_file_reads_back_as_what_was_found() {
        let text = file(&facts());
        let config = Config::parse(&text, "v.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
        let subnet = config.network.subnet.as_ref().unwrap();
        assert_eq!((config.network.interface.as_str(), config.dhcp.mode), ("eth1", Mode::Server));
        assert_eq!(subnet.gateway, facts().gateway);
        assert_eq!(subnet.dns, facts().resolvers.servers);
        assert_eq!(subnet.domain.as_deref(), Some("a\"b"));
        let dynamic = subnet.dynamic.unwrap();
        for taken in ["192.0.2.200", "192.0.2.140", "192.0.2.5"] {
            assert!(!dynamic.contains(taken.parse().unwrap()), "{taken}");
        }
        // With nothing but addresses in use, those of the host are left out still.
        let busy = Facts { neighbours: (1..255).map(|last| [192, 0, 2, last].into()).collect(), ..facts() };
        let config = Config::parse(&file(&busy), "v.toml").unwrap();
        assert!(!config.network.subnet.unwrap().dynamic.unwrap().contains("192.0.2.140".parse().unwrap()));
        assert_eq!(config.firmware.paths, [PathBuf::from("/usr/lib/ipxe")]);
        assert!(text.contains("ipxe.efi           /usr/lib/ipxe/ipxe.efi (2 KiB, 1.21)"), "{text}");
        assert!(text.contains("x86_64 BIOS by PXELINUX       pxelinux.0 (package pxelinux)"), "{text}");
    }

    #[test]
    fn beside_another_server_it_only_says_what_to_boot() {
        let servers = Servers::Answering(vec!["192.0.2.1\n[api]".into()]);
        let text = file(&Facts { servers, ..facts() });
        let config = Config::parse(&text, "v.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!((config.dhcp.mode, config.network.subnet.unwrap().dynamic), (Mode::Proxy, None));
        let bare = Facts {
            gateway: None,
            resolvers: Resolvers::default(),
            servers: Servers::Unknown("no permission".into()),
            loaders: vec![],
            missing: vec![],
            ..facts()
        };
        let config = Config::parse(&file(&bare), "v.toml").unwrap();
        assert_eq!(config.firmware.paths.len(), FIRMWARE.len());
        assert_eq!(config.network.subnet.unwrap().gateway, None);
    }
}
