//! A network boot of a machine that leads elsewhere, once, by a person's order.

use std::sync::Arc;

use voldemort::desired::{Boot, boot};
use voldemort::media::Entry;
use voldemort::model::{Content, Time};
use voldemort::proto::converse::{self, Opened, Wanted};
use voldemort::proto::tree::{Asker, Method, RefusalReason, Transport};
use voldemort::render::Text;
use voldemort::state::command::Outcome;
use voldemort::state::{Event, Stage, State, Verb};

use super::lab::{Lab, ip, mac, subnet};

const WEB: &str = "52:54:00:00:00:01";
const FREE: &str = "52:54:00:00:00:03";
const NOW: Time = Time(1_700_000_000_000);
const UNTIL: Time = Time(NOW.0 + 3_600_000);

fn name(text: &str) -> voldemort::model::Name {
    text.parse().unwrap()
}

fn state() -> State {
    let lab = Lab::new(vec![subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.109"])]).agent();
    let lab =
        lab.machine("web", &[WEB]).machine("free", &[FREE]).deployment("web", "lab", Some("10.0.10.21"));
    let state = lab.state("10.0.10.1");
    let mut desired = (**state.desired()).clone();
    let file = boot::File {
        path: "linux".into(),
        entry: Some(Entry {
            path: std::path::Path::new("/x").into(),
            id: Default::default(),
            extents: [].into(),
        }),
    };
    let like = desired.agent.boots.values().next().unwrap().clone();
    let boot = |of: &str, words: &[&str]| Boot {
        name: name(of),
        prefix: of.into(),
        kernel: file.clone(),
        cmdline: words.iter().map(|word| Text::parse(*word).unwrap()).collect(),
        ..Boot::clone(&like)
    };
    let boots = [
        boot("rescue", &["rescue", "of={{ name }}", "from={{ server_url }}"]),
        boot("installer", &["url={{ answers_url }}"]),
        boot("odd", &["x={{ rack }}"]),
        boot("agent", &[]),
    ];
    desired.boots.extend(boots.into_iter().map(|one| (one.name.clone(), Arc::new(one))));
    // What the deployment boots by itself.
    let own = desired.deployments["web"].boot.clone();
    desired.boots.insert(own.name.clone(), own);
    let assignments = state.assignments().clone();
    state.with_desired(desired).with_lasting(|lasting| lasting.assignments = assignments)
}

fn order(state: &mut State, machine: &str, boot: &str) -> Result<(), String> {
    match state.act(Verb::BootOnce(name(machine), name(boot), UNTIL), NOW) {
        Outcome::Done => Ok(()),
        Outcome::Refused(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

/// The script that a machine gets for itself or that another one asks for.
fn script(state: &mut State, by: &str, of: &str, method: Method, at: Time) -> Result<String, RefusalReason> {
    let address = if by == WEB { "10.0.10.21" } else { "10.0.10.101" };
    let asker = Asker::new(ip(address), Some(ip("10.0.10.1").into()), Transport::Http).on_card(mac(by));
    let path = format!("ipxe/{}.ipxe", mac(of).dashed());
    match converse::file(state, &asker, Wanted { method, path: &path, note: "" }, at, |_| ()) {
        Opened::Serve(artifact) => match artifact.content {
            Content::Bytes(bytes) => Ok(String::from_utf8(bytes.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        },
        Opened::Refuse(refusal) => Err(refusal.reason),
        other => panic!("{other:?}"),
    }
}

fn own_script(state: &mut State, of: &str, at: Time) -> String {
    script(state, of, of, Method::Get, at).unwrap()
}

fn later(seconds: u64) -> Time {
    Time(NOW.0 + seconds * 1000)
}

/// Firmware asks for an address to boot.
fn asks(state: &mut State, of: &str, at: Time) {
    let event = Event { mac: Some(mac(of)), ipxe: Some(false), ..Event::new(at, Stage::Offer, "offered") };
    state.act(Verb::Observe(vec![event]), at);
}

#[test]
fn one_boot_leads_elsewhere_and_the_next_one_does_not() {
    let mut state = state();
    let usual = own_script(&mut state, WEB, NOW);
    order(&mut state, "web", "rescue").unwrap();
    // Neither a look at it nor another machine uses it up.
    assert!(script(&mut state, WEB, WEB, Method::Head, later(1)).unwrap().contains("rescue/linux"));
    assert_eq!(script(&mut state, FREE, WEB, Method::Get, later(1)), Err(RefusalReason::Forbidden));
    assert_eq!(state.boot_once(&name("web")).unwrap().begun, None);

    asks(&mut state, WEB, later(5));
    let text = own_script(&mut state, WEB, later(10));
    assert!(text.contains("rescue/linux") && text.contains("of=web from=http://10.0.10.1"), "{text}");
    // A repetition of the same boot.
    assert_eq!(own_script(&mut state, WEB, later(12)), text);
    asks(&mut state, WEB, later(11));
    assert_eq!(own_script(&mut state, WEB, later(13)), text);
    // It boots anew.
    asks(&mut state, WEB, later(70));
    assert_eq!(own_script(&mut state, WEB, later(75)), usual);
    assert!(state.boot_once(&name("web")).is_none());
}

#[test]
fn another_one_is_refused_before_the_first_was_used() {
    let mut state = state();
    order(&mut state, "web", "rescue").unwrap();
    let why = order(&mut state, "web", "agent").unwrap_err();
    for part in ["machine web is to boot rescue once already", "--cancel", &UNTIL.to_string()] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert_eq!(state.boot_once(&name("web")).unwrap().boot, name("rescue"));
    // The same one may be ordered for longer; another one when it was used, or cancelled.
    order(&mut state, "web", "rescue").unwrap();
    own_script(&mut state, WEB, later(10));
    order(&mut state, "web", "agent").unwrap();
    assert_eq!(state.act(Verb::CancelBootOnce(name("web")), NOW), Outcome::Done);
    order(&mut state, "web", "rescue").unwrap();
}

#[test]
fn it_ends_with_its_boot_or_its_time() {
    let mut state = state();
    order(&mut state, "web", "rescue").unwrap();
    state.act(Verb::Tick, Time(UNTIL.0 - 1));
    assert!(state.boot_once(&name("web")).is_some());
    state.act(Verb::Tick, UNTIL);
    assert!(state.boot_once(&name("web")).is_none());
    // A boot that nothing follows is over after some minutes.
    order(&mut state, "web", "rescue").unwrap();
    own_script(&mut state, WEB, later(10));
    state.act(Verb::Tick, later(200));
    assert!(state.boot_once(&name("web")).is_some());
    state.act(Verb::Tick, later(400));
    assert!(state.boot_once(&name("web")).is_none());
    // By a person's word.
    order(&mut state, "web", "rescue").unwrap();
    assert_eq!(state.act(Verb::CancelBootOnce(name("web")), NOW), Outcome::Done);
    assert!(matches!(state.act(Verb::CancelBootOnce(name("web")), NOW), Outcome::Refused(_)));
}

#[test]
fn a_machine_without_a_deployment_boots_it_too_and_the_agent_as_such() {
    let mut state = state();
    order(&mut state, "free", "rescue").unwrap();
    let text = own_script(&mut state, FREE, later(10));
    assert!(text.contains("of=free"), "{text}");
    asks(&mut state, FREE, later(70));
    order(&mut state, "free", "agent").unwrap();
    let text = own_script(&mut state, FREE, later(80));
    assert!(text.contains("voldemort.token=") && text.contains("agent/linux"), "{text}");
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    let mut state = state();
    for (machine, boot, why) in [
        ("nobody", "rescue", "there is no machine nobody"),
        ("web", "rescu", "did you mean rescue"),
        ("web", "installer", "needs `answers_url`, which belongs to an installation"),
        ("web", "odd", "needs `rack`, which nothing defines"),
    ] {
        let said = order(&mut state, machine, boot).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    let mut protected = state.clone().with_lasting(|lasting| drop(lasting.protected.insert(name("web"))));
    assert!(order(&mut protected, "web", "rescue").unwrap_err().contains("is protected"));
    state.act(Verb::Hold(name("web"), "a fan".into(), None), NOW);
    assert!(order(&mut state, "web", "rescue").unwrap_err().contains("is held by"));
    // Whoever holds it afterwards comes first.
    state.act(Verb::Unhold(name("web")), NOW);
    order(&mut state, "web", "rescue").unwrap();
    state.act(Verb::Hold(name("web"), "a fan".into(), None), NOW);
    assert!(!own_script(&mut state, WEB, later(10)).contains("rescue"));
    // A firmware of another processor.
    state.act(Verb::Unhold(name("web")), NOW);
    let arch = voldemort::model::ClientArch::from_code(11);
    let event = Event { mac: Some(mac(WEB)), arch, ..Event::new(NOW, Stage::Offer, "offered") };
    state.act(Verb::Observe(vec![event]), NOW);
    assert!(order(&mut state, "web", "rescue").unwrap_err().contains("is for x86_64"));
}
