//! What an inventory adds to the answers: options, routes, boot programs, shared wires.

use voldemort::desired::{self, Desired, Media, Options};
use voldemort::manifest::{self, Level};
use voldemort::media::Shelf;
use voldemort::model::Time;
use voldemort::proto::dhcp::{Decision, Link};
use voldemort::state::{Server, State};

use super::lab::{ip, link, mac, settle};
use super::message::{Answer, Message};

const MACHINE: &str = "52:54:00:00:00:01";
const STRANGER: &str = "52:54:00:00:00:99";

fn desired(text: &str) -> Result<Desired, Vec<String>> {
    let files = [("lab.toml".into(), text.as_bytes().to_vec().into())].into();
    let (documents, mut problems) = manifest::parse(&files);
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let (desired, found) = desired::resolve(&documents, &Shelf::new(Vec::new(), None), &options);
    problems.extend(found);
    let errors: Vec<String> =
        problems.iter().filter(|one| one.level == Level::Error).map(|one| one.message.clone()).collect();
    if errors.is_empty() { Ok(desired) } else { Err(errors) }
}

fn state(text: &str) -> State {
    State::new(Server::stand_in(ip("10.0.10.1"))).adopt(desired(text).unwrap().into())
}

fn ask(state: &mut State, link: &Link, message: Message) -> Answer {
    match settle(state, link, Time(1000), &message.bytes()) {
        Decision::Reply { bytes, .. } => Answer::read(&bytes),
        other => panic!("{other:?}"),
    }
}

fn lab() -> Link {
    link("10.0.10.1", "10.0.10.0/24")
}

const INVENTORY: &str = r#"
[subnet.lab]
cidr    = "10.0.10.0/24"
gateway = "10.0.10.254"
dynamic = "10.0.10.100-10.0.10.199"
options = { ntp-servers = ["10.0.10.2", "10.0.10.3"], 43 = "hex:0104c0000201", domain-search = ["a.example", "b"], 150 = "10.0.10.9" }
routes  = [{ to = "10.1.0.0/16", via = "10.0.10.7" }]
[boot.b]
kernel = "files/vmlinuz"
loader = "ipxe.efi"
[profile.p]
boot    = "b"
options = { 42 = "10.0.10.4", interface-mtu = 1400 }
[machine.m]
mac     = "52:54:00:00:00:01"
options = { ntp-servers = "10.0.10.5", 224 = "text:rack 1" }
[deployment.d]
profile = "p"
machine = "m"
address = "10.0.10.21"
options = { routers = "10.0.10.253" }
"#;

#[test]
fn a_deployments_own_domain_is_told_instead_of_its_subnets() {
    let of_subnet = INVENTORY.replace("[boot.b]", "domain = \"lab.example\"\n[boot.b]");
    let own = of_subnet.replace("machine = \"m\"\n", "machine = \"m\"\ndomain = \"db.example\"\n");
    for (inventory, wanted) in [(of_subnet, "lab.example"), (own, "db.example")] {
        let mut state = state(&inventory);
        let mut domain = |card| {
            let answer = ask(&mut state, &lab(), Message::discover(mac(card)).option(55, &[15]));
            String::from_utf8(answer.option(15).unwrap().to_vec()).unwrap()
        };
        assert_eq!((domain(MACHINE).as_str(), domain(STRANGER).as_str()), (wanted, "lab.example"));
    }
}

#[test]
fn options_of_subnet_machine_profile_and_deployment_lie_over_each_other() {
    let mut state = state(INVENTORY);
    let asked = [1, 3, 42, 43, 26, 119, 224, 121, 249];
    let stranger = ask(&mut state, &lab(), Message::discover(mac(STRANGER)).option(55, &asked));
    assert_eq!(stranger.option(42), Some(&[10, 0, 10, 2, 10, 0, 10, 3][..]));
    assert_eq!(stranger.option(43), Some(&[1, 4, 192, 0, 2, 1][..]));
    assert_eq!(stranger.option(119), Some(&b"\x01a\x07example\0\x01b\0"[..]));
    assert_eq!(stranger.option(3), Some(&[10, 0, 10, 254][..]));
    assert_eq!((stranger.option(26), stranger.option(224)), (None, None));
    assert_eq!(stranger.option(150), None, "nobody asked for it");
    let routes = [16, 10, 1, 10, 0, 10, 7, 0, 10, 0, 10, 254];
    assert_eq!(stranger.option(121), Some(&routes[..]), "the default route is added (RFC 3442)");
    assert_eq!(stranger.option(249), Some(&routes[..]));

    let machine = ask(&mut state, &lab(), Message::discover(mac(MACHINE)).option(55, &asked));
    assert_eq!(machine.option(42), Some(&[10, 0, 10, 4][..]), "the profile's wins over the machine's");
    assert_eq!(machine.option(26), Some(&[5, 120][..]));
    assert_eq!(machine.option(224), Some(&b"rack 1"[..]));
    assert_eq!(machine.option(3), Some(&[10, 0, 10, 253][..]));

    let all = ask(&mut state, &lab(), Message::discover(mac(STRANGER)));
    assert_eq!(all.option(150), Some(&[10, 0, 10, 9][..]), "no list asks for everything");
}

#[test]
fn what_firmware_needs_wins_over_the_inventory() {
    let mut state = state(INVENTORY);
    let answer = ask(&mut state, &lab(), Message::discover(mac(MACHINE)).pxe_bios());
    assert_eq!(answer.option(43), Some(&[6, 1, 8, 255][..]));
    assert_eq!(answer.file(), "undionly.kpxe", "ipxe.efi is no program for a BIOS");
    let answer = ask(&mut state, &lab(), Message::discover(mac(MACHINE)).pxe_uefi());
    assert_eq!(answer.file(), "ipxe.efi", "the boot's own program");
}

#[test]
fn mistakes_in_options_are_named() {
    let with = |line: &str| desired(&format!("[subnet.lab]\ncidr = \"10.0.10.0/24\"\n{line}\n")).unwrap_err();
    assert_eq!(
        with("options = { ntp-sever = \"10.0.0.1\" }"),
        ["there is no DHCP option called `ntp-sever`"]
    );
    assert_eq!(with("options = { 53 = \"hex:01\" }"), ["DHCP option 53 is the server's own"]);
    assert_eq!(with("options = { lease-time = 60 }"), ["DHCP option 51 is the server's own"]);
    assert_eq!(with("options = { 300 = \"hex:01\" }"), ["there is no DHCP option 300"]);
    assert_eq!(with("options = { mtu = \"x\" }"), ["DHCP option interface-mtu (26) can't be this"]);
    assert_eq!(with("options = { mtu = 1400, 26 = 1400 }"), ["DHCP option interface-mtu (26) is set twice"]);
    assert_eq!(with("options = { 121 = \"hex:00\" }"), ["DHCP option 121 is the server's own"]);
    assert_eq!(with("routes = [{ to = \"10.1.0.0/16\" }]"), ["`routes` has no `via`"]);
    assert_eq!(with("shares = \"nowhere\""), ["there is no subnet called `nowhere`"]);
}

#[test]
fn long_values_are_split_and_joined_by_rfc_3396() {
    let long = "61".repeat(400);
    let text = format!(
        "[subnet.lab]\ncidr = \"10.0.10.0/24\"\ndynamic = \"10.0.10.100-10.0.10.199\"\n\
         options = {{ 224 = \"hex:{long}\" }}\n"
    );
    let mut state = state(&text);
    let ask = |state: &mut State, size: u16| {
        let message = Message::discover(mac(STRANGER)).option(57, &size.to_be_bytes());
        match settle(state, &lab(), Time(1000), &message.bytes()) {
            Decision::Reply { bytes, .. } => bytes,
            other => panic!("{other:?}"),
        }
    };
    let bytes = ask(&mut state, 1500);
    let first = bytes.windows(2).position(|pair| pair == [224, 255]).expect("a first part of 255 bytes");
    assert_eq!(&bytes[first + 257..first + 259], &[224, 145]);
    let short = ask(&mut state, 576);
    assert!(short.len() <= 548 && !short.windows(2).any(|pair| pair == [224, 255]), "left out as a whole");
}

const WIRE: &str = r#"
[subnet.old]
cidr    = "10.0.10.0/24"
dynamic = ["10.0.10.100-10.0.10.100", "10.0.10.110-10.0.10.110"]
[subnet.new]
cidr    = "10.0.20.0/24"
gateway = "10.0.20.254"
dynamic = "10.0.20.100-10.0.20.199"
shares  = "old"
[boot.b]
kernel = "files/vmlinuz"
[deployment.d]
boot    = "b"
mac     = "52:54:00:00:00:01"
subnet  = "new"
address = "10.0.20.21"
"#;

#[test]
fn subnets_of_one_wire_are_used_one_after_the_other() {
    let mut state = state(WIRE);
    let fixed = ask(&mut state, &lab(), Message::discover(mac(MACHINE)));
    assert_eq!(fixed.yiaddr(), ip("10.0.20.21"));
    assert_eq!(fixed.option(1), Some(&[255, 255, 255, 0][..]));
    assert_eq!(fixed.option(3), Some(&[10, 0, 20, 254][..]));
    let mut take = |last: u8| {
        let who = mac(&format!("52:54:00:00:01:{last:02x}"));
        ask(&mut state, &lab(), Message::discover(who)).yiaddr()
    };
    let expected = ["10.0.10.100", "10.0.10.110", "10.0.20.100"].map(ip);
    assert_eq!([take(1), take(2), take(3)], expected);
    assert_eq!(take(3), ip("10.0.20.100"), "it stays where it is");
    assert_eq!(take(1), ip("10.0.10.100"));
}

#[test]
fn a_machine_is_sent_to_the_address_of_ours_on_its_network() {
    let mut state = state(WIRE);
    let others = vec![("10.0.20.0/24".parse().unwrap(), ip("10.0.20.1"))];
    let server = Server { others, ..(**state.server()).clone() };
    state = state.with_server(server);
    let second = link("10.0.20.1", "10.0.20.0/24");
    let answer = ask(&mut state, &second, Message::discover(mac(MACHINE)).http_uefi());
    assert_eq!(answer.option(54), Some(&[10, 0, 20, 1][..]));
    assert_eq!(answer.file(), "http://10.0.20.1/loader/snponly.efi");
}
