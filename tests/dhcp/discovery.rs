//! Machines that no manifest declares, where their subnet has them looked at: they get our agent, and only until it
//! has reported.

use voldemort::model::agent_command_line::CommandLine;
use voldemort::model::{Mac, Mode, Time, Unknown};
use voldemort::proto::dhcp::{Decision, Link, Reason};
use voldemort::proto::tree::{self, Answer as Opened, Asker, Method, RefusalReason, Transport};
use voldemort::state::agent_boot::AgentToken;
use voldemort::state::life::{AgentReport, Said};
use voldemort::state::{Event, Stage, State, Verb};

use super::lab::{Lab, ip, link, mac, settle, subnet};
use super::message::{Answer, Message};

const STRANGER: &str = "52:54:00:00:00:99";
const KNOWN: &str = "52:54:00:00:00:01";
const NOW: Time = Time(1_700_000_000_000);

fn lab(unknown: Unknown, mode: Mode) -> Lab {
    let mut subnet = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.109"]);
    (subnet.unknown, subnet.mode) = (unknown, mode);
    Lab::new(vec![subnet]).machine("known", &[KNOWN])
}

fn discovers() -> State {
    lab(Unknown::Discover, Mode::Server).agent().state("10.0.10.1")
}

fn ask(state: &mut State, message: Message) -> Answer {
    match settle(state, &link("10.0.10.1", "10.0.10.0/24"), NOW, &message.bytes()) {
        Decision::Reply { bytes, .. } => Answer::read(&bytes),
        other => panic!("{other:?}"),
    }
}

/// The boot file that an unknown machine's BIOS is given.
fn file(state: &mut State) -> String {
    let answer = ask(state, Message::discover(mac(STRANGER)).pxe_bios());
    assert_eq!(answer.yiaddr(), ip("10.0.10.100"), "it has its address in any case");
    answer.file()
}

/// What the script of a card is for a client with another one.
fn script(state: &State, card: &str, of: &str) -> Result<String, (RefusalReason, String)> {
    let of: Mac = mac(of);
    let asker =
        Asker::new(ip("10.0.10.150"), Some(ip("10.0.10.1").into()), Transport::Http).on_card(mac(card));
    match tree::open(state, &asker, Method::Get, &format!("ipxe/{}.ipxe", of.dashed()), "") {
        Opened::Serve(artifact) => match artifact.content {
            voldemort::model::Content::Bytes(bytes) => Ok(String::from_utf8(bytes.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        },
        Opened::Refuse(refusal) => Err((refusal.reason, refusal.text)),
        other => panic!("{other:?}"),
    }
}

fn fetched(state: &mut State, second: u64) {
    let at = Time(NOW.0 + second * 1000);
    let event = Event { mac: Some(mac(STRANGER)), ..Event::new(at, Stage::Script, "a script") };
    state.act(Verb::Observe(vec![event]), at);
}

#[test]
fn an_unknown_machine_is_given_the_agent_where_its_subnet_says_so() {
    let mut state = discovers();
    assert_eq!(file(&mut state), "undionly.kpxe");
    let ipxe = ask(&mut state, Message::discover(mac(STRANGER)).ipxe());
    assert_eq!(ipxe.file(), "http://10.0.10.1/ipxe/52-54-00-00-00-99.ipxe");
    // A system that runs wants an address and no boot file.
    assert_eq!(ask(&mut state, Message::discover(mac(STRANGER)).option(60, b"d-i")).file(), "");
    let text = script(&state, STRANGER, STRANGER).unwrap();
    let line: CommandLine = text.parse().unwrap();
    let expected = AgentToken { card: mac(STRANGER), epoch: 0, boot_id: None };
    assert_eq!(state.agent_token(&line.token), Some(expected));
    assert_eq!((line.key, line.card), (state.token_key().agent_key(), Some(mac(STRANGER))));
    assert!(text.contains("kernel --name linux http://10.0.10.1/agent/linux"), "{text}");
    // Nobody else gets its token.
    let (reason, why) = script(&state, KNOWN, STRANGER).unwrap_err();
    assert_eq!(reason, RefusalReason::Forbidden, "{why}");

    for unlike in [lab(Unknown::Ignore, Mode::Server).agent(), lab(Unknown::Discover, Mode::Server)] {
        let mut state = unlike.state("10.0.10.1");
        assert_eq!(file(&mut state), "");
        assert!(!script(&state, STRANGER, STRANGER).unwrap().contains("voldemort.token"));
    }
    // A machine of the manifests without a deployment boots its own disk.
    assert!(!script(&discovers(), KNOWN, KNOWN).unwrap().contains("voldemort.token"));
}

#[test]
fn beside_another_server_it_is_given_the_agent_too() {
    let link = Link { mode: Mode::Proxy, ..link("10.0.10.1", "10.0.10.0/24") };
    let discover = Message::discover(mac(STRANGER)).pxe_bios();
    let answered = |unknown| {
        let mut state = lab(unknown, Mode::Proxy).agent().state("10.0.10.1");
        settle(&mut state, &link, NOW, &discover.bytes())
    };
    match answered(Unknown::Discover) {
        Decision::Reply { bytes, .. } => assert_eq!(Answer::read(&bytes).file(), "undionly.kpxe"),
        other => panic!("{other:?}"),
    }
    match answered(Unknown::Ignore) {
        Decision::Silence(silence) => assert_eq!(silence.reason, Reason::NoMachine),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_that_does_not_report_is_given_the_agent_twice() {
    let mut state = discovers();
    fetched(&mut state, 0);
    // Of the same boot.
    fetched(&mut state, 5);
    assert_eq!(file(&mut state), "undionly.kpxe");
    fetched(&mut state, 120);
    assert_eq!(file(&mut state), "");
    let text = script(&state, STRANGER, STRANGER).unwrap();
    assert!(text.contains("twice and did not report") && !text.contains("voldemort.token"), "{text}");
}

#[test]
fn one_that_reported_boots_its_own_disk() {
    let mut state = discovers();
    let said = Said::Hello { cards: [mac(STRANGER)].into(), disks: [].into(), facts: None };
    let report = AgentReport {
        card: mac(STRANGER),
        subnet: Some("lab".parse().unwrap()),
        epoch: 0,
        start: None,
        said,
    };
    state.act(Verb::Agent(report), NOW);
    assert_eq!(file(&mut state), "");
    let text = script(&state, STRANGER, STRANGER).unwrap();
    assert!(text.contains("discovered already, as m525400000099"), "{text}");
}
