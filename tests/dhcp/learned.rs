//! Boot programs that machines are learned to need: what does not run gives way, and what runs is stored.

use std::net::IpAddr;

use voldemort::model::{Mode, Time};
use voldemort::proto::dhcp::{Decision, Link};
use voldemort::state::life::{AgentReport, Said};
use voldemort::state::{Applied, Command, Event, Record, Stage, State, Verb, apply};

use super::lab::{Lab, link, mac, settle, subnet};
use super::message::{Answer, Message};

const ONE: &str = "52:54:00:00:00:01";
const TWO: &str = "52:54:00:00:00:02";
const FREE: &str = "52:54:00:00:00:03";
const START: u64 = 1_700_000_000_000;
const ALL: [&str; 4] = ["snponly.efi", "ipxe.efi", "shimx64.efi", "grubx64.efi"];

fn lab(loaders: &[&'static str]) -> Lab {
    let lab = Lab::new(vec![subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.109"])]).loaders(loaders);
    let lab = lab.machine("web", &[ONE, TWO]).machine("free", &[FREE]);
    lab.deployment("web", "lab", Some("10.0.10.21"))
}

/// A state, its clock in seconds (and a part of one), and what was stored.
struct Site {
    state: State,
    now: u64,
    millis: u64,
    records: Vec<Record>,
    mode: Mode,
}

impl Site {
    fn new(lab: Lab) -> Site {
        Site { state: lab.state("10.0.10.1"), now: 0, millis: 0, records: Vec::new(), mode: Mode::Server }
    }

    fn time(&self) -> Time {
        Time(START + self.now * 1000 + self.millis)
    }

    fn act(&mut self, verb: Verb) -> voldemort::state::command::Outcome {
        let mut out = Applied::default();
        let now = self.time();
        let outcome = apply(&mut self.state, Command::machine(verb), now, &mut out);
        self.records.extend(out.records);
        outcome
    }

    fn see(&mut self, card: &str, stage: Stage, text: &str) {
        let event = Event { mac: Some(mac(card)), ..Event::new(self.time(), stage, text) };
        self.act(Verb::Observe(vec![event]));
    }

    /// What is answered to a message, which is entered in the timeline.
    fn ask(&mut self, message: &Message) -> String {
        self.exchange(message).0
    }

    /// The same with the address.
    fn exchange(&mut self, message: &Message) -> (String, String) {
        let link = Link { mode: self.mode, ..link("10.0.10.1", "10.0.10.0/24") };
        let now = self.time();
        match settle(&mut self.state, &link, now, &message.bytes()) {
            Decision::Reply { bytes, events, .. } => {
                self.act(Verb::Observe(events));
                let answer = Answer::read(&bytes);
                let url = answer.option(67).map(|url| String::from_utf8_lossy(url).into_owned());
                let file = if answer.file().is_empty() { url.unwrap_or_default() } else { answer.file() };
                (file, answer.yiaddr().to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    /// A minute later firmware asks, and fetches what it is offered. The offer and the acknowledgement name one program.
    fn boots(&mut self, card: &str, firmware: impl Fn(Message) -> Message) -> String {
        self.now += 60;
        let (offered, address) = self.exchange(&firmware(Message::discover(mac(card))));
        self.now += 4;
        if self.mode == Mode::Server {
            let request = firmware(Message::request(mac(card)).server("10.0.10.1").wants(&address));
            assert_eq!(self.ask(&request), offered, "within one boot");
        }
        self.see(card, Stage::Loader, &offered);
        offered
    }

    fn pxe(&mut self, card: &str) -> String {
        self.boots(card, Message::pxe_uefi)
    }

    fn http(&mut self, card: &str) -> String {
        self.boots(card, Message::http_uefi)
    }

    /// The same, and its program leads to the script.
    fn pxe_runs(&mut self, card: &str) -> String {
        let program = self.pxe(card);
        self.now += 5;
        self.see(card, Stage::Script, "a script");
        program
    }

    fn learned(&self, card: &str) -> Vec<&'static str> {
        let boots = self.state.lasting().boots.get(&mac(card));
        boots.into_iter().flat_map(|boots| &boots.loaders).map(|one| one.program).collect()
    }
}

/// Firmware asks again at the end of the time in which it still belongs to the boot before.
#[test]
fn an_acknowledgement_names_the_program_of_its_offer() {
    for (early, wait) in (0..=6).flat_map(|early| [0, 1, 4, 7].map(|wait| (early, wait))) {
        let mut site = Site::new(lab(&ALL));
        assert_eq!([site.pxe(ONE), site.pxe(ONE)], ["snponly.efi", "snponly.efi"]);
        (site.now, site.millis) = (site.now + early, 500);
        let (offered, address) = site.exchange(&Message::discover(mac(ONE)).pxe_uefi());
        site.now += wait;
        let request = Message::request(mac(ONE)).pxe_uefi().server("10.0.10.1").wants(&address);
        assert_eq!(site.ask(&request), offered, "{early}.5 s after the program was fetched, and {wait} s");
        let expected = if early < 1 { "snponly.efi" } else { "shimx64.efi" };
        assert_eq!(offered, expected, "{early}.5 s");
        // It gives way all the same.
        assert_eq!(site.pxe(ONE), "shimx64.efi", "{early}.5 s");
    }
}

#[test]
fn what_secure_boot_refuses_gives_way_to_shim_which_is_kept() {
    let mut site = Site::new(lab(&ALL));
    assert_eq!([site.pxe(ONE), site.pxe(ONE)], ["snponly.efi", "snponly.efi"]);
    assert_eq!(site.learned(ONE), [""; 0]);
    assert_eq!(site.pxe_runs(ONE), "shimx64.efi");
    assert_eq!(site.learned(ONE), ["shimx64.efi"]);
    let stored = site.records.iter().filter(|record| matches!(record, Record::CardBoots(..))).count();
    assert_eq!(stored, 1);
    // It goes on after a restart, and for the machine's other card.
    let boots = site.state.lasting().boots.clone();
    let mut later = Site { now: 90_000, ..Site::new(lab(&ALL)) };
    later.state = later.state.with_lasting(|lasting| lasting.boots = boots);
    assert_eq!([later.pxe_runs(ONE), later.pxe_runs(TWO)], ["shimx64.efi", "shimx64.efi"]);
    // Another way, and another machine, know nothing of it.
    assert_eq!(later.http(ONE), "http://10.0.10.1/loader/snponly.efi");
    assert_eq!(later.pxe(FREE), "snponly.efi");
}

#[test]
fn a_driver_that_hangs_gives_way_where_there_is_no_shim() {
    let mut site = Site::new(lab(&["snponly.efi", "ipxe.efi", "shimx64.efi"]));
    site.pxe(ONE);
    site.pxe(ONE);
    // A shim without GRUB leads nowhere.
    assert_eq!(site.pxe_runs(ONE), "ipxe.efi");
    assert_eq!((site.learned(ONE), site.pxe_runs(ONE).as_str()), (vec!["ipxe.efi"], "ipxe.efi"));
}

#[test]
fn when_all_have_failed_it_begins_anew() {
    let mut site = Site::new(lab(&ALL));
    let offered: Vec<String> = (0..12).map(|_| site.pxe(ONE)).collect();
    let pairs = ["snponly.efi", "shimx64.efi", "ipxe.efi", "grubx64.efi", "snponly.efi", "shimx64.efi"];
    let expected: Vec<&str> = pairs.iter().flat_map(|one| [*one, *one]).collect();
    assert_eq!(offered, expected);
    // arm64, where GRUB alone is there.
    let mut site = Site::new(lab(&["grubaa64.efi"]));
    let arm = |message: Message| message.option(60, b"PXEClient:Arch:00011").option(93, &[0, 11]);
    assert!((0..5).all(|_| site.boots(ONE, arm) == "grubaa64.efi"));
}

#[test]
fn what_was_learned_is_forgotten_when_it_fails_itself() {
    let mut site = Site::new(lab(&ALL));
    site.pxe(ONE);
    site.pxe(ONE);
    site.pxe_runs(ONE);
    // Secure Boot is switched off, and this shim does not get on with the new firmware.
    assert_eq!([site.pxe(ONE), site.pxe(ONE)], ["shimx64.efi", "shimx64.efi"]);
    assert_eq!(site.pxe_runs(ONE), "snponly.efi");
    assert_eq!(site.learned(ONE), ["snponly.efi"]);
    assert!(site.records.iter().any(|record| matches!(record, Record::CardBoots(_, None))));
}

/// A virtual machine that is reset as soon as it has fetched its program.
#[test]
fn boots_that_follow_within_seconds_count() {
    for pause in 1..=6 {
        let mut site = Site::new(lab(&ALL));
        let mut offered = Vec::new();
        for _ in 0..3 {
            site.now += pause;
            let (file, address) = site.exchange(&Message::discover(mac(ONE)).pxe_uefi());
            site.now += 4;
            let request = Message::request(mac(ONE)).pxe_uefi().server("10.0.10.1").wants(&address);
            assert_eq!(site.ask(&request), file, "within one boot");
            site.see(ONE, Stage::Loader, &file);
            offered.push(file);
        }
        assert_eq!(offered, ["snponly.efi", "snponly.efi", "shimx64.efi"], "{pause} s");
    }
}

#[test]
fn one_failure_or_one_boot_between_shows_nothing() {
    let mut site = Site::new(lab(&ALL));
    for _ in 0..4 {
        // Its boot is interrupted now and then.
        site.pxe(ONE);
        assert_eq!(site.pxe_runs(ONE), "snponly.efi");
    }
    assert_eq!(site.learned(ONE), [""; 0]);
    // Firmware that asks again before its script comes, or did not fetch anything.
    for _ in 0..8 {
        site.ask(&Message::discover(mac(TWO)).pxe_uefi());
        site.see(TWO, Stage::Loader, "snponly.efi");
        site.now += 2;
        assert_eq!(site.ask(&Message::discover(mac(TWO)).pxe_uefi()), "snponly.efi");
        site.see(TWO, Stage::Script, "a script");
        site.now += 60;
        assert_eq!(site.ask(&Message::discover(mac(TWO)).pxe_uefi()), "snponly.efi");
        site.now += 60;
    }
    // The clock is set back.
    let mut site = Site { now: 1_000_000, ..Site::new(lab(&ALL)) };
    for _ in 0..6 {
        assert_eq!(site.pxe(ONE), "snponly.efi");
        site.now -= 10_000;
    }
}

#[test]
fn a_script_that_the_other_card_fetches_counts() {
    let mut site = Site::new(lab(&ALL));
    for _ in 0..4 {
        assert_eq!(site.pxe(ONE), "snponly.efi");
        site.see(TWO, Stage::Script, "iPXE uses its own driver, and another card");
    }
    // iPXE runs, and is refused its script.
    for _ in 0..4 {
        assert_eq!(site.pxe(ONE), "snponly.efi");
        site.ask(&Message::discover(mac(ONE)).ipxe());
        site.see(ONE, Stage::Refused, "not now");
    }
}

#[test]
fn nothing_is_learned_of_boots_that_lead_to_the_disk() {
    let mut site = Site::new(lab(&ALL));
    assert!((0..6).all(|_| site.pxe(FREE) == "snponly.efi"));
}

#[test]
fn beside_another_server_it_is_learned_too() {
    let mut site = Site { mode: Mode::Proxy, ..Site::new(lab(&ALL)) };
    let offered = [site.pxe(ONE), site.pxe(ONE), site.pxe_runs(ONE), site.pxe(ONE)];
    assert_eq!(offered, ["snponly.efi", "snponly.efi", "shimx64.efi", "shimx64.efi"]);
}

#[test]
fn it_is_forgotten_with_the_hardware_and_by_a_persons_word() {
    let hello = |secure: bool| {
        let facts = serde_json::json!({"arch": "x86_64", "secure-boot": secure, "nics": [{"mac": ONE}]});
        let facts = Some(serde_json::from_value::<voldemort::model::facts::Facts>(facts).unwrap().into());
        let said = Said::Hello { cards: [mac(ONE)].into(), disks: [].into(), facts };
        Verb::Agent(AgentReport { card: mac(ONE), subnet: None, epoch: 0, start: None, said })
    };
    let learn = |site: &mut Site| {
        site.pxe(ONE);
        site.pxe(ONE);
        site.pxe_runs(ONE);
        assert_eq!(site.learned(ONE), ["shimx64.efi"]);
    };
    let mut site = Site::new(lab(&ALL));
    site.act(hello(true));
    learn(&mut site);
    site.act(hello(true));
    assert_eq!(site.learned(ONE), ["shimx64.efi"], "the same hardware");
    site.act(hello(false));
    assert_eq!((site.learned(ONE), site.pxe_runs(ONE).as_str()), (vec![], "snponly.efi"));
    learn(&mut site);
    site.act(Verb::ForgetLoaders("web".parse().unwrap()));
    assert_eq!(site.learned(ONE), [""; 0]);
    let again = site.act(Verb::ForgetLoaders("web".parse().unwrap()));
    assert!(matches!(again, voldemort::state::command::Outcome::Refused(_)), "{again:?}");
    assert_eq!(site.pxe(ONE), "snponly.efi");
}

#[test]
fn what_is_asked_by_ipv6_is_learned_apart() {
    use voldemort::model::{BootWay, ClientArch};
    use voldemort::state::event::Offered;
    let mut site = Site::new(lab(&ALL));
    let arch = ClientArch::from_code(7).unwrap();
    let offered = Some(Offered { way: BootWay::Pxe6, program: "snponly.efi" });
    for _ in 0..3 {
        site.now += 60;
        let address = Some(IpAddr::from([0xfd, 0, 0, 0x10, 0, 0, 0, 0x21].map(|part: u16| part)));
        let event = Event {
            mac: Some(mac(ONE)),
            address,
            arch: Some(arch),
            ipxe: Some(false),
            offered,
            ..Event::new(site.time(), Stage::Ack, "gave")
        };
        site.act(Verb::Observe(vec![event]));
        site.see(ONE, Stage::Loader, "snponly.efi");
    }
    let known = |way| site.state.experience(mac(ONE), arch, way, site.time()).failed;
    assert_eq!((known(BootWay::Pxe6), known(BootWay::Pxe4)), (vec!["snponly.efi"], vec![]));
}
