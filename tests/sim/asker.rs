//! Who may start a machine's installation, get its answers and report: whatever network it is on, the
//! machine itself, and nobody else.

use std::net::IpAddr;
use std::sync::Arc;

use voldemort::desired::Proof;
use voldemort::model::{Mac, Name, Time};
use voldemort::proto::tree::{self, Answer, Asker, Link, Method, RefusalReason, Transport};
use voldemort::state::{Lease, LeaseState, Leases, Permit, PermitStep, Purpose, Server, Stage, State, Verb};

use crate::inventory::resolved;

const OWN: &str = "52:54:00:00:00:01";
const SECOND: &str = "52:54:00:00:00:02";
const NEIGHBOUR: &str = "52:54:00:00:00:0b";
const LAPTOP: &str = "02:00:00:00:00:99";

const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.0.0.0/24"
dynamic = "10.0.0.100-10.0.0.199"
[boot.linux]
kernel  = "vmlinuz"
initrd  = ["initrd.gz"]
cmdline = ["url={{ answers_url }}"]
[machine.box]
mac = ["52:54:00:00:00:01", "52:54:00:00:00:02"]
[deployment.web]
machine  = "box"
address  = "10.0.0.21"
boot     = "linux"
template = "preseed"
redeploy = 1
vars     = { root-hash = "$6$x" }
[deployment.other]
mac      = "52:54:00:00:00:0b"
address  = "10.0.0.22"
boot     = "linux"
template = "preseed"
redeploy = 1
vars     = { root-hash = "$6$x" }
"#;

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

/// What a network tells of addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Network {
    Ours,
    /// Another DHCP server gives the addresses, for the whole daemon or on this subnet.
    Proxy,
    SubnetProxy,
}

fn state(network: Network, proof: Proof) -> State {
    let mode = if network == Network::SubnetProxy { "mode = \"proxy\"\n" } else { "" };
    let manifest = MANIFEST.replacen("[subnet.lab]\n", &format!("[subnet.lab]\n{mode}"), 1);
    let mut desired = (*resolved(manifest)).clone();
    desired.safety.asker = proof;
    let mut server = Server::stand_in("10.0.0.1".parse().unwrap());
    server.gives_addresses = network != Network::Proxy;
    State::new(server).adopt(Arc::new(desired))
}

fn web() -> Name {
    "web".parse().unwrap()
}

fn step(state: &State, step: PermitStep) -> State {
    state.after(Verb::Permit(Permit { deployment: web(), redeploy: 1, epoch: None, step }), Time(1)).unwrap()
}

fn started(state: &State) -> State {
    step(state, PermitStep::Start)
}

fn spent(state: &State) -> State {
    step(&started(state), PermitStep::Spend)
}

fn asker(address: &str, link: Link) -> Asker {
    let address: IpAddr = address.parse().unwrap();
    Asker { link, ..Asker::new(address, None, Transport::Http) }
}

fn open(state: &State, asker: &Asker, method: Method, path: &str) -> Answer {
    tree::open(state, asker, method, path, "")
}

fn script(state: &State, asker: &Asker) -> Answer {
    open(state, asker, Method::Get, "ipxe/52-54-00-00-00-01.ipxe")
}

fn answers(state: &State, asker: &Asker) -> Answer {
    let token = state.token(Purpose::Answers, &state.desired().deployments[&web()]);
    open(state, asker, Method::Get, &format!("answers/web/{token}/preseed.cfg"))
}

fn hook(state: &State, asker: &Asker, method: Method) -> Answer {
    let token = state.token(Purpose::Hooks, &state.desired().deployments[&web()]);
    open(state, asker, method, &format!("hooks/web/{token}/completed"))
}

fn is_forbidden(answer: &Answer) -> bool {
    matches!(answer, Answer::Refuse(refusal) if refusal.reason == RefusalReason::Forbidden)
}

/// Whether script, answers and report are for this asker; a report with a remark is `(true, true)`.
fn allowed(state: &State, asker: &Asker) -> (bool, bool, (bool, bool)) {
    let script = script(state, asker);
    assert!(matches!(script, Answer::Permit(_)) || is_forbidden(&script), "{script:?}");
    let answers = answers(&spent(state), asker);
    assert!(matches!(answers, Answer::Serve(_)) || is_forbidden(&answers), "{answers:?}");
    let report = match hook(&spent(state), asker, Method::Get) {
        Answer::Report(_, remark) => (true, remark.is_some()),
        answer if is_forbidden(&answer) => (false, false),
        other => panic!("{other:?}"),
    };
    (matches!(script, Answer::Permit(_)), matches!(answers, Answer::Serve(_)), report)
}

#[test]
fn the_wire_decides_first_and_the_address_after_it() {
    use Network::{Ours, Proxy, SubnetProxy};
    const ITSELF: (bool, bool, (bool, bool)) = (true, true, (true, false));
    const NOBODY: (bool, bool, (bool, bool)) = (false, false, (false, false));
    /// Its report is taken for its token, with a remark.
    const STRANGER: (bool, bool, (bool, bool)) = (false, false, (true, true));
    const UNTOLD: (bool, bool, (bool, bool)) = (true, false, (true, true));
    let card = |text: &str| Link::Card(mac(text));
    for (address, link, ours, elsewhere) in [
        // On our wire the card tells, whatever the address: proxy mode, installers that lease another
        // address, IPv6 privacy addresses, a VLAN or a bond with the card's address.
        ("10.0.0.21", card(OWN), ITSELF, ITSELF),
        ("10.0.0.150", card(OWN), ITSELF, ITSELF),
        ("192.168.7.7", card(OWN), ITSELF, ITSELF),
        ("fd00::5a1f:22ff:fe00:1", card(OWN), ITSELF, ITSELF),
        ("fe80::1", card(OWN), ITSELF, ITSELF),
        ("10.0.0.150", card(SECOND), ITSELF, ITSELF),
        // Another machine, also where it took the address.
        ("10.0.0.22", card(NEIGHBOUR), NOBODY, NOBODY),
        ("10.0.0.21", card(NEIGHBOUR), NOBODY, NOBODY),
        ("fd00::99", card(NEIGHBOUR), NOBODY, NOBODY),
        // A card that nobody knows: the address.
        ("10.0.0.66", card(LAPTOP), STRANGER, STRANGER),
        ("fd00::66", card(LAPTOP), STRANGER, STRANGER),
        ("10.0.0.21", card(LAPTOP), ITSELF, ITSELF),
        // Behind a router: the address, where addresses tell anything.
        ("10.0.0.21", Link::Unknown, ITSELF, ITSELF),
        ("10.0.0.66", Link::Unknown, STRANGER, UNTOLD),
        ("10.0.0.22", Link::Unknown, STRANGER, UNTOLD),
        ("203.0.113.9", Link::Unknown, STRANGER, UNTOLD),
        ("2001:db8::9", Link::Unknown, STRANGER, UNTOLD),
    ] {
        for (network, expected) in [(Ours, ours), (Proxy, elsewhere), (SubnetProxy, elsewhere)] {
            let found = allowed(&state(network, Proof::Machine), &asker(address, link));
            assert_eq!(found, expected, "{address} {link:?} {network:?}");
        }
    }
}

#[test]
fn the_token_may_be_made_proof_enough() {
    let card = |text: &str| Link::Card(mac(text));
    for network in [Network::Ours, Network::Proxy] {
        let state = state(network, Proof::Token);
        for (address, link) in [("203.0.113.9", Link::Unknown), ("10.0.0.66", card(LAPTOP))] {
            assert!(matches!(answers(&spent(&state), &asker(address, link)), Answer::Serve(_)), "{address}");
        }
        assert!(is_forbidden(&answers(&spent(&state), &asker("10.0.0.22", card(NEIGHBOUR)))));
        // Where we give the addresses, a machine asks for its script from its own.
        let translated = script(&state, &asker("172.17.0.1", card(LAPTOP)));
        assert_eq!(matches!(translated, Answer::Permit(_)), network == Network::Proxy, "{translated:?}");
    }
}

/// Nobody has looked yet: nothing is decided, and nothing is given.
#[test]
fn nothing_moves_before_the_neighbour_table_was_read() {
    let state = state(Network::Ours, Proof::Machine);
    let unread = asker("10.0.0.21", Link::Unread);
    let spent = spent(&state);
    for answer in [
        script(&state, &unread),
        script(&started(&state), &unread),
        script(&spent, &unread),
        answers(&started(&state), &unread),
        answers(&spent, &unread),
        hook(&spent, &unread, Method::Get),
        hook(&spent, &unread, Method::Post),
    ] {
        assert!(matches!(answer, Answer::Identify), "{answer:?}");
    }
    for path in ["linux/vmlinuz", "linux/initrd.gz", "snponly.efi", "nothing"] {
        let answer = open(&state, &unread, Method::Get, path);
        assert!(matches!(answer, Answer::Serve(_) | Answer::Refuse(_)), "{path}: {answer:?}");
    }
}

/// The attack of the field: a script that is read by another in mid-installation ends nothing.
#[test]
fn a_script_that_another_reads_is_no_boot_of_the_machine() {
    let spent = spent(&state(Network::Ours, Proof::Machine));
    let own = asker("10.0.0.21", Link::Card(mac(OWN)));
    for other in [
        asker("10.0.0.66", Link::Card(mac(LAPTOP))),
        asker("10.0.0.22", Link::Card(mac(NEIGHBOUR))),
        asker("10.0.0.66", Link::Unknown),
    ] {
        for path in [
            "ipxe/52-54-00-00-00-01.ipxe",
            "pxelinux.cfg/01-52-54-00-00-00-01",
            "grub.cfg-01-52-54-00-00-00-01",
        ] {
            let Answer::Serve(artifact) = open(&spent, &other, Method::Get, path) else { panic!("{path}") };
            assert_eq!(artifact.stage, Stage::File, "{path} {other}");
            assert_ne!(artifact.deployment, Some(web()), "{path} {other}");
            assert_ne!(artifact.mac, Some(mac(OWN)), "{path} {other}");
        }
    }
    let Answer::Serve(artifact) = script(&spent, &own) else { panic!("its own script") };
    assert_eq!((artifact.stage, artifact.deployment), (Stage::LocalBoot, Some(web())));
    assert!(matches!(answers(&spent, &own), Answer::Serve(_)), "as often as it asks");
    // Where nothing shows who it is, nothing ends either.
    let untold = asker("203.0.113.9", Link::Unknown);
    let proxied = self::spent(&state(Network::Proxy, Proof::Machine));
    let Answer::Serve(artifact) = script(&proxied, &untold) else { panic!("a script") };
    assert_eq!(artifact.stage, Stage::File);
}

/// HEAD, a range and TFTP report nothing; POST does, and is nothing else's business.
#[test]
fn only_a_whole_get_or_post_is_a_report() {
    let spent = spent(&state(Network::Ours, Proof::Machine));
    let own = asker("10.0.0.21", Link::Card(mac(OWN)));
    assert!(matches!(hook(&spent, &own, Method::Get), Answer::Report(_, None)));
    assert!(matches!(hook(&spent, &own, Method::Post), Answer::Report(_, None)));
    for (asker, method) in [
        (own, Method::Head),
        (Asker { partial: true, ..own }, Method::Get),
        (Asker { partial: true, ..own }, Method::Post),
    ] {
        let Answer::Serve(artifact) = hook(&spent, &asker, method) else { panic!("{method:?}") };
        assert_eq!((artifact.content.len(), artifact.stage), (0, Stage::File));
    }
    let by_tftp = Asker { transport: Transport::Tftp, ..own };
    assert!(is_forbidden(&hook(&spent, &by_tftp, Method::Get)));
    for path in ["ipxe/52-54-00-00-00-0b.ipxe", "linux/vmlinuz", "snponly.efi", "boot.scr.uimg"] {
        let other = asker("10.0.0.22", Link::Card(mac(NEIGHBOUR)));
        let Answer::Refuse(refusal) = open(&spent, &other, Method::Post, path) else { panic!("{path}") };
        assert_eq!(refusal.reason, RefusalReason::Method, "{path}");
    }
    assert!(matches!(answers(&spent, &Asker { ..own }), Answer::Serve(_)));
    let token = spent.token(Purpose::Answers, &spent.desired().deployments[&web()]);
    let posted = open(&spent, &own, Method::Post, &format!("answers/web/{token}/preseed.cfg"));
    assert!(matches!(posted, Answer::Serve(_)), "Proxmox's installer posts what it is: {posted:?}");
}

/// A relayed machine with an address of the dynamic range.
#[test]
fn a_lease_tells_behind_a_relay() {
    let state = state(Network::Ours, Proof::Machine);
    let lease = Lease {
        address: "10.0.0.120".parse().unwrap(),
        mac: mac(SECOND),
        client_id: None,
        hostname: None,
        state: LeaseState::Bound,
        expires: Time(600_000),
    };
    let state = state.with_lasting(|lasting| lasting.leases = Leases::restore([lease]));
    let spent = spent(&state);
    assert!(matches!(answers(&spent, &asker("10.0.0.120", Link::Unknown)), Answer::Serve(_)));
    assert!(is_forbidden(&answers(&spent, &asker("10.0.0.121", Link::Unknown))));
}
