//! From the tree of a file to a `Config`, with every mistake and not only the first.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::tree::{self, Complaints, Found, Table};
use super::{Config, Dhcp, Firmware, Http, Media, Mode, Network, Problem, Secrets, State, Subnet, Tftp, Tls};
use crate::model::{Cidr, Cpu, Range};

/// The state directory where the file names none.
pub const STATE: &str = "/var/lib/voldemort";
/// Where boot programs lie: those of our own package, then those of Debian, Ubuntu, Fedora and Arch.
pub const FIRMWARE: [&str; 9] = [
    "/usr/lib/voldemort/firmware",
    "/usr/lib/ipxe",
    "/usr/share/ipxe",
    "/usr/lib/shim",
    "/usr/lib/grub",
    "/usr/lib/PXELINUX",
    "/usr/lib/syslinux/modules/bios",
    "/usr/share/syslinux",
    "/usr/lib/syslinux/bios",
];

/// The settings in `text`, or its problems in the order of the text.
pub fn config(text: &str) -> Result<Config, Vec<Problem>> {
    let node = tree::parse(text)?;
    let mut complaints = Complaints::new(text);
    let mut root = Table::root(node, &mut complaints);
    let config = sections(&mut root, &mut complaints);
    root.finish(&mut complaints);
    match config {
        Some(config) if complaints.is_empty() => Ok(config),
        _ => Err(complaints.problems()),
    }
}

fn sections(root: &mut Table, complaints: &mut Complaints<'_>) -> Option<Config> {
    let networks = networks(root, complaints);
    let mode = dhcp(root, complaints).unwrap_or_default();
    let tftp = tftp(root, complaints);
    let http = http(root, complaints);
    let api = super::api::api(root, complaints);
    let (sources, environment) = super::inventory::sources(root, complaints).unzip();
    let firmware = firmware(root, complaints);
    let directory = state(root, complaints);
    let media = paths(root, "media", complaints);
    let identity = secrets(root, complaints);
    let webhooks = super::webhook::webhooks(root, complaints);
    let syslog = super::syslog::syslog(root, complaints);
    let power = super::power::power(root, complaints);
    let mut networks = networks?.into_iter();
    Some(Config {
        network: networks.next()?,
        further: networks.collect(),
        dhcp: Dhcp { mode },
        tftp,
        http,
        api,
        sources: sources?,
        environment: environment.flatten(),
        firmware,
        state: State { directory, new_site: false },
        media: Media { paths: media.unwrap_or_default() },
        secrets: Secrets { identity },
        webhooks,
        syslog,
        power,
    })
}

/// `[network]`, or each `[[network]]`.
fn networks(root: &mut Table, complaints: &mut Complaints<'_>) -> Option<Vec<Network>> {
    let tables = root.tables("network", "network", complaints);
    if tables.is_empty() {
        complaints.add(None, NO_INTERFACE.to_owned());
        return None;
    }
    let mut networks: Vec<Network> = Vec::new();
    let mut good = true;
    for table in tables {
        let at = table.at;
        let Some(network) = network(table, complaints) else {
            good = false;
            continue;
        };
        let same = |one: &Network| one.interface == network.interface || one.address == network.address;
        if networks.iter().any(same) {
            let message = format!(
                "`network`: {} ({}) is there twice: name each interface once; further subnets on the same link belong \
                 in the inventory, with `shares`",
                network.interface, network.address
            );
            complaints.add(at, message);
        }
        networks.push(network);
    }
    good.then_some(networks)
}

fn network(mut table: Table, complaints: &mut Complaints<'_>) -> Option<Network> {
    let at = table.at;
    let (names_interface, names_address) = (table.has("interface"), table.has("address"));
    let interface = table.text("interface", complaints).and_then(|Found { at, value }| {
        let good = is_interface(&value);
        if !good {
            complaints.add(at, format!("`network.interface`: `{value}` is no name of an interface"));
        }
        good.then_some(value)
    });
    let address: Option<Found<Ipv4Addr>> = table.parsed("address", complaints);
    let mode = table.text("mode", complaints).and_then(|found| mode("network.mode", found, complaints));
    let subnet = subnet(&mut table, address.as_ref(), complaints);
    table.finish(complaints);
    if !names_interface {
        complaints.add(at, NO_INTERFACE.to_owned());
    }
    if !names_address {
        complaints
            .add(at, "`network.address` is missing: which address does this host have there?".to_owned());
    }
    Some(Network { interface: interface?, address: address?.value, mode, subnet })
}

const NO_INTERFACE: &str = "`network.interface` is missing: on which interface are the machines?";

/// The rule of the Linux kernel (`dev_valid_name`).
fn is_interface(name: &str) -> bool {
    let strange = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    !name.is_empty() && name.len() < 16 && name != "." && name != ".." && !name.contains(strange)
}

fn subnet(
    network: &mut Table,
    address: Option<&Found<Ipv4Addr>>,
    complaints: &mut Complaints<'_>,
) -> Option<Subnet> {
    let mut table = network.table("subnet", "network.subnet", complaints)?;
    let has_cidr = table.has("cidr");
    let cidr: Option<Found<Cidr>> = table.parsed("cidr", complaints);
    let gateway: Option<Found<Ipv4Addr>> = table.parsed("gateway", complaints);
    let dns = addresses(&mut table, complaints);
    let dynamic: Option<Found<Range>> = table.parsed("dynamic", complaints);
    let domain = table.text("domain", complaints).map(|found| found.value);
    let at = table.at;
    table.finish(complaints);
    let Some(cidr) = cidr.map(|found| found.value) else {
        if !has_cidr {
            complaints.add(at, "`network.subnet.cidr` is missing, as in \"10.0.10.0/24\"".to_owned());
        }
        return None;
    };
    for (name, found) in [("network.address", address), ("network.subnet.gateway", gateway.as_ref())] {
        if let Some(found) = found.filter(|found| !cidr.is_host(found.value)) {
            complaints
                .add(found.at, format!("`{name}`: {} is no address of a machine in {cidr}", found.value));
        }
    }
    if let Some(found) = &dynamic {
        let range = found.value;
        if !cidr.is_host(range.first) || !cidr.is_host(range.last) {
            complaints.add(found.at, format!("`network.subnet.dynamic`: {range} does not lie inside {cidr}"));
        }
        let own = address.filter(|address| range.contains(address.value));
        if let Some(address) = own {
            let message =
                format!("`network.subnet.dynamic`: {range} holds this host's own address {}", address.value);
            complaints.add(found.at, message);
        }
    }
    Some(Subnet {
        cidr,
        gateway: gateway.map(|found| found.value),
        dns,
        dynamic: dynamic.map(|found| found.value),
        domain,
    })
}

fn addresses(table: &mut Table, complaints: &mut Complaints<'_>) -> Vec<Ipv4Addr> {
    let texts = table.texts("dns", complaints).unwrap_or_default();
    let parse = |Found { at, value }: Found<String>| match value.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            complaints.add(at, format!("`network.subnet.dns`: `{value}` is no IPv4 address"));
            None
        }
    };
    texts.into_iter().filter_map(parse).collect()
}

fn dhcp(root: &mut Table, complaints: &mut Complaints<'_>) -> Option<Mode> {
    let mut table = root.table("dhcp", "dhcp", complaints)?;
    let found = table.text("mode", complaints);
    table.finish(complaints);
    mode("dhcp.mode", found?, complaints)
}

fn mode(key: &str, Found { at, value }: Found<String>, complaints: &mut Complaints<'_>) -> Option<Mode> {
    let found = Mode::named(&value);
    if found.is_none() {
        complaints.add(at, format!("`{key}`: `{value}` must be one of {}", Mode::NAMES.join(", ")));
    }
    found
}

fn tftp(root: &mut Table, complaints: &mut Complaints<'_>) -> Tftp {
    let Some(mut table) = root.table("tftp", "tftp", complaints) else { return Tftp::default() };
    let single_port = table.flag("single-port", complaints).unwrap_or_default();
    table.finish(complaints);
    Tftp { single_port }
}

fn http(root: &mut Table, complaints: &mut Complaints<'_>) -> Http {
    let Some(mut table) = root.table("http", "http", complaints) else { return Http { port: 80, tls: None } };
    let port = port(&mut table, complaints).unwrap_or(80);
    let tls = table.table("tls", "http.tls", complaints).map(|table| tls(table, port, complaints));
    table.finish(complaints);
    Http { port, tls }
}

fn tls(mut table: Table, plain: u16, complaints: &mut Complaints<'_>) -> Tls {
    let at = table.at;
    let port = port(&mut table, complaints).unwrap_or(443);
    let given = pair(&mut table, "http.tls", complaints);
    table.finish(complaints);
    if port == plain {
        complaints.add(at, format!("`http.tls.port`: {port} is the port of plain HTTP"));
    }
    Tls { port, given }
}

/// The files `certificate` and `key`, which go together.
pub(super) fn pair(
    table: &mut Table,
    name: &str,
    complaints: &mut Complaints<'_>,
) -> Option<(PathBuf, PathBuf)> {
    let mut file = |key| table.text(key, complaints).map(|found| PathBuf::from(found.value));
    let (certificate, key) = (file("certificate"), file("key"));
    if certificate.is_some() != key.is_some() {
        complaints.add(table.at, format!("`{name}`: `certificate` and `key` go together"));
    }
    certificate.zip(key)
}

/// The key `port`, if it is there and one.
fn port(table: &mut Table, complaints: &mut Complaints<'_>) -> Option<u16> {
    let Found { at, value } = table.integer("port", complaints)?;
    let port = u16::try_from(value).ok().filter(|port| *port > 0);
    if port.is_none() {
        complaints.add(at, format!("`{}`: {value} is no port (1 to 65535)", table.path("port")));
    }
    port
}

fn firmware(root: &mut Table, complaints: &mut Complaints<'_>) -> Firmware {
    let table = root.table("firmware", "firmware", complaints);
    let (paths, agents) = table.map_or((None, BTreeMap::new()), |mut table| {
        let paths = table.texts("paths", complaints);
        let agents =
            table.table("agents", "firmware.agents", complaints).map(|table| agents(table, complaints));
        table.finish(complaints);
        (paths, agents.unwrap_or_default())
    });
    let paths = paths.map(|paths| paths.into_iter().map(|found| found.value.into()).collect());
    Firmware { paths: paths.unwrap_or_else(|| FIRMWARE.map(PathBuf::from).to_vec()), agents }
}

/// The processors that there are agents for.
fn agents(mut table: Table, complaints: &mut Complaints<'_>) -> BTreeMap<Cpu, PathBuf> {
    let cpus = [("x86_64", Cpu::X86_64), ("aarch64", Cpu::Aarch64)];
    let found = cpus.map(|(name, cpu)| Some((cpu, table.text(name, complaints)?.value.into())));
    table.finish(complaints);
    found.into_iter().flatten().collect()
}

fn paths(root: &mut Table, section: &'static str, complaints: &mut Complaints<'_>) -> Option<Vec<PathBuf>> {
    let mut table = root.table(section, section, complaints)?;
    let paths = table.texts("paths", complaints);
    table.finish(complaints);
    Some(paths?.into_iter().map(|found| found.value.into()).collect())
}

fn secrets(root: &mut Table, complaints: &mut Complaints<'_>) -> Option<PathBuf> {
    let mut table = root.table("secrets", "secrets", complaints)?;
    let identity = table.text("identity", complaints);
    table.finish(complaints);
    Some(identity?.value.into())
}

fn state(root: &mut Table, complaints: &mut Complaints<'_>) -> PathBuf {
    let directory = root.table("state", "state", complaints).and_then(|mut table| {
        let directory = table.text("directory", complaints);
        table.finish(complaints);
        directory
    });
    directory.map_or_else(|| STATE.into(), |found| found.value.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;
    use crate::model::{Inventory, Reference, Role, Span};

    const WHOLE: &str = r#"
[network]
interface = "eth0"
address   = "10.0.10.1"
[network.subnet]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.254"
dns     = ["10.0.10.1", "9.9.9.9"]
dynamic = "10.0.10.100-10.0.10.199"
domain  = "lab.example"
[dhcp]
mode = "proxy"
[http]
port = 8080
[api]
listen = "unix:/run/v.sock"
[inventory]
git    = "https://example.org/inventory.git"
branch = "main"
path   = "/inventory/"
poll   = "90s"
reconcile = "manual"
write  = "branch"
[firmware]
paths = ["/opt/ipxe"]
agents = { aarch64 = "/opt/voldemort-aarch64" }
[state]
directory = "/srv/state"
[media]
paths = ["/srv/iso"]
[secrets]
identity = "/etc/voldemort/age.key"
"#;

    fn problems(text: &str) -> Vec<String> {
        match Config::parse(text, "v.toml") {
            Ok(config) => panic!("{config:?}"),
            Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn tls_and_the_single_port_are_read() {
        let base = "[network]\ninterface = \"eth0\"\naddress = \"10.0.0.1\"\n";
        let read = |text: &str| Config::parse(&format!("{base}{text}"), "v.toml");
        assert_eq!(read("").unwrap().tftp, Tftp { single_port: false });
        assert!(read("[tftp]\nsingle-port = true").unwrap().tftp.single_port);
        let tls = |text: &str| read(&format!("[http]\ntls = {text}")).unwrap().http.tls;
        assert_eq!(tls("{}"), Some(Tls { port: 443, given: None }));
        let given = Some(("c.pem".into(), "k.pem".into()));
        assert_eq!(
            tls("{ port = 8443, certificate = 'c.pem', key = 'k.pem' }"),
            Some(Tls { port: 8443, given })
        );
        for (text, expected) in [
            (
                "[tftp]\nsingle-port = 1",
                "v.toml:5:15: `tftp.single-port` must be true or false, and is a number",
            ),
            ("[http]\ntls = { key = 'k' }", "v.toml:5:7: `http.tls`: `certificate` and `key` go together"),
            ("[http]\ntls = { port = 80 }", "v.toml:5:7: `http.tls.port`: 80 is the port of plain HTTP"),
            ("[http]\ntls = { port = 0 }", "v.toml:5:16: `http.tls.port`: 0 is no port (1 to 65535)"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn control_characters_are_not_repeated() {
        let toml = "\"a\\u001b[2J\" = 1\n[dhcp]\nmode = \"\\u0007\"\n";
        let json = r#"{"a\u001b[2J": 1, "dhcp": {"mode": "\u0007"}}"#;
        for text in [toml, json] {
            let problems = config(text).unwrap_err();
            let texts: Vec<&str> = problems.iter().map(|problem| &*problem.message).collect();
            assert!(texts.iter().any(|text| text.contains(r"unknown key `a\u{1b}[2J`")), "{texts:?}");
            assert!(!texts.concat().contains(char::is_control), "{texts:?}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_not_complained_of_byte_by_byte() {
        let line = "ÿ\u{0}".repeat(50) + "=\n";
        for text in
            [line.repeat(200), "a = \n".repeat(200), (0..200).map(|n| format!("k{n} = 1\n")).collect()]
        {
            let problems = config(&text).unwrap_err();
            assert_eq!(problems.len(), 21, "{text}");
            assert!(problems.iter().any(|problem| problem.at.is_some_and(|(line, _)| line == 1)));
            let last = &problems[20].message;
            assert!(last.starts_with("and ") && last.ends_with(" more"), "{last}");
        }
        for deep in ["x = [".repeat(50_000), "[".repeat(50_000), "x = ".to_owned() + &"{a = ".repeat(50_000)]
        {
            assert!(config(&deep).is_err());
        }
        assert!(config(&("{\"x\": ".to_owned() + &"[".repeat(50_000))).is_err());
    }

    #[test]
    fn every_key_arrives() {
        let config = Config::parse(WHOLE, "v.toml").unwrap();
        let subnet = config.network.subnet.as_ref().unwrap();
        assert_eq!(subnet.dns.len(), 2);
        assert_eq!(subnet.dynamic.unwrap().len(), 100);
        assert_eq!((config.dhcp.mode, config.http.port), (Mode::Proxy, 8080));
        assert_eq!(config.api.listen, [Listen::Unix("/run/v.sock".into())]);
        let Inventory::Git(git) = &config.sources[0].inventory else { panic!("{config:?}") };
        assert_eq!((git.path.as_str(), git.poll), ("inventory", Span::seconds(90)));
        assert_eq!(git.reference, Reference::Branch("main".into()));
        assert_eq!(config.sources[0].reconcile, crate::config::Reconcile::Manual);
        assert_eq!(config.sources[0].writes(), crate::config::Write::Branch);
        assert_eq!(config.firmware.paths, [PathBuf::from("/opt/ipxe")]);
        let agents = [(Cpu::Aarch64, PathBuf::from("/opt/voldemort-aarch64"))];
        assert_eq!(config.firmware.agents, agents.into());
        assert_eq!(config.secrets.identity, Some("/etc/voldemort/age.key".into()));
        assert_eq!(
            (config.state.directory, config.media.paths),
            ("/srv/state".into(), vec![PathBuf::from("/srv/iso")])
        );
    }

    #[test]
    fn a_minimal_file_has_sensible_defaults() {
        let config =
            Config::parse("network = { interface = 'eth0', address = '10.0.0.1' }", "v.toml").unwrap();
        assert!(config.api.is_default());
        assert_eq!((config.api.group_role, &config.api.viewer_token), (Role::Editor, &None));
        assert_eq!(
            (config.dhcp.mode, config.http.port, config.sources[0].inventory.clone()),
            (Mode::Server, 80, Inventory::Own)
        );
        assert_eq!(config.firmware.paths.len(), FIRMWARE.len());
        assert_eq!(config.state.directory, PathBuf::from(STATE));
    }

    #[test]
    fn several_networks_are_a_list_of_tables() {
        let text = "[[network]]\ninterface = 'eth0'\naddress = '10.0.0.1'\n\
                    [[network]]\ninterface = 'eth0.20'\naddress = '10.0.20.1'\nmode = 'proxy'\n";
        let config = Config::parse(text, "v.toml").unwrap();
        let modes: Vec<_> = config.networks().map(|one| (one.interface.as_str(), config.mode(one))).collect();
        assert_eq!(modes, [("eth0", Mode::Server), ("eth0.20", Mode::Proxy)]);
        let twice = format!("{text}[[network]]\ninterface = 'eth0'\naddress = '10.0.30.1'\nmode = 'srver'\n");
        let twice = problems(&twice);
        assert!(twice[0].starts_with("v.toml:8:1: `network`: eth0 (10.0.30.1) is there twice"), "{twice:?}");
        assert!(twice[1].contains("`network.mode`: `srver` must be one of server"), "{twice:?}");
    }

    #[test]
    fn json_says_the_same() {
        let json = r#" {"network": {"interface": "eth0", "address": "10.0.0.1", "subnet": {"cidr": "10.0.0.0/24"}}, "http": {"port": 81}}"#;
        let config = Config::parse(json, "voldemort.toml").unwrap();
        assert_eq!(config.http.port, 81);
        assert_eq!(problems("{\n  \"network\": }")[0], "v.toml:2:14: expected value");
        let wrong =
            problems(r#"{"network": {"interface": "eth0", "address": "10.0.0.1"}, "http": {"prt": 80}}"#);
        assert_eq!(wrong, ["v.toml: unknown key `http.prt`; did you mean `port`?"]);
    }

    #[test]
    fn all_mistakes_are_reported_with_their_place() {
        let text = "[network]\ninterface = \"eth0\"\nadress = \"10.0.0.1\"\n[network.subnet]\ncidr = \"10.0.0.7/24\"\n\
                    [http]\nport = \"80\"\n[dhcp]\nmode = \"sever\"\n[colour]\n";
        assert_eq!(
            problems(text),
            [
                "v.toml:1:1: `network.address` is missing: which address does this host have there?",
                "v.toml:3:1: unknown key `network.adress`; did you mean `address`?",
                "v.toml:5:8: `network.subnet.cidr`: `10.0.0.7/24`: bits are set after the first 24: did you mean 10.0.0.0/24?",
                "v.toml:7:8: `http.port` must be a number, and is a string",
                "v.toml:9:8: `dhcp.mode`: `sever` must be one of server, proxy, listen, off",
                "v.toml:10:2: unknown key `colour`; known here: network, dhcp, tftp, http, api, inventory, firmware, state, media, secrets, webhook, syslog, power",
            ]
        );
        assert_eq!(
            problems("")[0],
            "v.toml: `network.interface` is missing: on which interface are the machines?"
        );
        assert_eq!(problems("[network]\ninterface = ").len(), 1, "a syntax error");
    }

    #[test]
    fn addresses_must_fit_together() {
        let with = |lines: &str| {
            problems(&format!("[network]\ninterface = 'e'\naddress = '10.0.0.5'\n[network.subnet]\n{lines}"))
        };
        assert!(with("cidr = '10.0.1.0/24'")[0].contains("`network.address`: 10.0.0.5 is no address"));
        assert!(with("cidr = '10.0.0.0/24'\ngateway = '10.0.0.255'")[0].contains("gateway"));
        assert!(with("cidr = '10.0.0.0/24'\ndynamic = '10.0.0.200-10.0.1.10'")[0].contains("inside"));
        assert!(with("cidr = '10.0.0.0/24'\ndynamic = '10.0.0.1-10.0.0.9'")[0].contains("own address"));
        assert!(with("gateway = '10.0.0.1'")[0].contains("cidr` is missing"));
    }

    #[test]
    fn an_inventory_is_one_thing() {
        let with = |lines: &str| {
            problems(&format!("network = {{ interface = 'e', address = '10.0.0.1' }}\n[inventory]\n{lines}"))
        };
        assert!(with("directory = 'x'\ngit = 'y'")[0].contains("choose one"));
        assert!(with("directory = 'x'\npoll = '0s'")[0].contains("at least 1s"));
        assert!(with("git = 'x'\nbranch = 'a'\ntag = 'b'")[0].contains("choose one"));
        assert!(with("git = 'x'\npoll = '0s'")[0].contains("at least 1s"));
        assert!(with("git = 'x'\npath = '../y'")[0].contains("leads out"));
        assert!(with("git = 'x'\ncommit = 'abc'")[0].contains("forty"));
        assert!(with("")[0].contains("needs `directory` or `git`"));
    }
}
