//! The drivers that switch machines: Redfish against controllers of vendors and broken ones, `ipmitool` and programs
//! against scripts, wake-on-LAN against a socket.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use voldemort::model::{Mac, Name, Power, PowerKind, PowerProgram, PowerState, PowerStep, Span};
use voldemort::power::{Broadcast, Failure, Fault, Limits, Login, Question, Tools, Trust, driver};

use super::bmc::{Bmc, Fake, Turn};

pub(super) fn power(kind: PowerKind) -> Power {
    Power { kind, url: None, address: None, command: None, credentials: None, fingerprint: None }
}

pub(super) fn limits() -> Limits {
    Limits { connect: Duration::from_secs(5), whole: Duration::from_secs(20), body: 1 << 16 }
}

pub(super) fn tools(limits: Limits) -> Tools {
    Tools::new(Trust::of_host(), limits, BTreeMap::new())
}

/// The same with another `ipmitool`.
fn calling(ipmitool: std::path::PathBuf, limits: Limits) -> Tools {
    let mut tools = tools(limits);
    tools.ipmitool = ipmitool;
    tools
}

/// A machine and its controller.
pub(super) struct Metal {
    pub(super) power: Power,
    login: Option<Login>,
    tools: Tools,
    macs: Vec<Mac>,
    networks: Vec<Broadcast>,
    uefi: Option<bool>,
}

impl Metal {
    pub(super) fn new(power: Power, login: &str, tools: Tools) -> Metal {
        let macs = vec!["52:54:00:aa:00:01".parse().unwrap()];
        Metal { power, login: Login::parse(login), tools, macs, networks: Vec::new(), uefi: None }
    }

    fn redfish(fake: &Fake) -> Metal {
        let power = Power { url: Some(fake.url().into()), ..power(PowerKind::Redfish) };
        Metal::new(power, "root:calvin", tools(limits()))
    }

    fn question<'a>(&'a self, machine: &'a Name) -> Question<'a> {
        Question {
            machine,
            macs: &self.macs,
            networks: &self.networks,
            uefi: self.uefi,
            power: &self.power,
            login: self.login.as_ref(),
            system: None,
            tools: &self.tools,
        }
    }

    pub(super) async fn read(&self) -> Result<PowerState, Fault> {
        let machine: Name = "m1".parse().unwrap();
        driver(self.power.kind).read(self.question(&machine)).await.map(|read| read.state)
    }

    pub(super) async fn send(&self, step: PowerStep) -> Result<(), Failure> {
        let machine: Name = "m1".parse().unwrap();
        driver(self.power.kind).send(self.question(&machine), step).await
    }

    pub(super) async fn lasts(&self) -> bool {
        let machine: Name = "m1".parse().unwrap();
        driver(self.power.kind).boot_lasts(self.question(&machine)).await.unwrap()
    }
}

const RESET: &str = "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset";

#[tokio::test]
async fn a_machine_is_switched_by_the_forms_that_its_controller_has() {
    let cases: [(&[&'static str], bool, &str, &str); 5] = [
        (&["On", "ForceOff"], false, "On", "ForceOff"),
        (&["On", "ForceOff"], true, "On", "ForceOff"),
        (&[], false, "On", "ForceOff"),
        (&["ForceOn", "GracefulShutdown"], false, "ForceOn", "GracefulShutdown"),
        (&["PushPowerButton", "ForceOff"], false, "PushPowerButton", "ForceOff"),
    ];
    for (resets, by_info, on, off) in cases {
        let fake = Fake::start(Bmc { resets: resets.to_vec(), by_info, ..Bmc::default() });
        let metal = Metal::redfish(&fake);
        assert_eq!(metal.send(PowerStep::On).await, Ok(()));
        assert_eq!(fake.changes(), [format!("{RESET} {{\"ResetType\":\"{on}\"}}")]);
        assert_eq!(metal.read().await, Ok(PowerState::On));
        assert_eq!(metal.send(PowerStep::Off).await, Ok(()));
        assert_eq!(fake.changes(), [format!("{RESET} {{\"ResetType\":\"{off}\"}}")]);
        assert_eq!(metal.read().await, Ok(PowerState::Off));
    }
    let fake = Fake::start(Bmc { resets: vec!["Nmi"], ..Bmc::default() });
    let failure = Metal::redfish(&fake).send(PowerStep::On).await.unwrap_err();
    assert_eq!(failure.fault.to_string(), "the controller can't do On: it can do Nmi");
    assert!(failure.fault.is_final() && fake.changes().is_empty());
}

#[tokio::test]
async fn what_may_have_been_done_is_told_from_what_was_not() {
    for (turn, may_have_acted, words) in [
        (Turn::Closes, true, "broke off"),
        (Turn::ActsAndCloses, true, "broke off"),
        (Turn::Hangs, true, "did not finish"),
        (Turn::SaysAndActs(500), true, "answered 500"),
        (Turn::Says(503), false, "answered 503"),
        (Turn::Says(403), false, "403"),
        (Turn::Says(400), false, "refuses On: not now (400)"),
        (Turn::Says(409), false, "refuses On: not now (409)"),
    ] {
        let fake = Fake::start(Bmc { turns: [turn.clone()].into(), ..Bmc::default() });
        let mut metal = Metal::redfish(&fake);
        metal.tools = tools(Limits { whole: Duration::from_millis(1500), ..limits() });
        let failure = metal.send(PowerStep::On).await.unwrap_err();
        assert_eq!(failure.may_have_acted, may_have_acted, "{turn:?}: {}", failure.fault);
        assert!(failure.fault.to_string().contains(words), "{turn:?}: {}", failure.fault);
        assert_eq!(fake.changes().len(), 1, "{turn:?}: it is sent once");
    }
    // An answer that can't be read is none the less one.
    for turn in [Turn::Babbles, Turn::Floods, Turn::Lies, Turn::Later(2)] {
        let fake = Fake::start(Bmc { turns: [turn.clone()].into(), ..Bmc::default() });
        assert_eq!(Metal::redfish(&fake).send(PowerStep::On).await, Ok(()), "{turn:?}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let power = Power { url: Some(format!("http://{nobody}").into()), ..power(PowerKind::Redfish) };
    let failure = Metal::new(power, "root:calvin", tools(limits())).send(PowerStep::Off).await.unwrap_err();
    assert!(!failure.may_have_acted, "{}", failure.fault);
}

#[tokio::test]
async fn sessions_are_opened_once_and_again_when_they_end() {
    let fake = Fake::start(Bmc { has_sessions: true, takes_basic: false, ..Bmc::default() });
    let mut metal = Metal::redfish(&fake);
    assert_eq!(metal.read().await, Ok(PowerState::Off));
    assert_eq!(metal.send(PowerStep::On).await, Ok(()));
    assert_eq!(metal.read().await, Ok(PowerState::On));
    assert_eq!(fake.get().opened, 1);
    // The controller has restarted.
    fake.get().sessions.clear();
    assert_eq!(metal.send(PowerStep::Off).await, Ok(()));
    assert_eq!(metal.read().await, Ok(PowerState::Off));
    assert_eq!(fake.get().opened, 2);
    // The password was changed, and is still the old one there: it is tried once, and the session of before is ended.
    metal.login = Login::parse("root:hobbes");
    fake.changes();
    let wrong = metal.read().await.unwrap_err();
    assert!(wrong == Fault::WrongLogin && fake.get().sessions.is_empty());
    let log = std::mem::take(&mut fake.get().log);
    let tried = log.iter().filter(|line| line.contains("hobbes")).count();
    assert!(tried == 1 && log.iter().all(|line| !line.contains("calvin")), "{log:?}");
    // A controller that has no more sessions to give takes the password with each request.
    let full = Fake::start(Bmc { has_sessions: true, is_full: true, ..Bmc::default() });
    assert_eq!(Metal::redfish(&full).read().await, Ok(PowerState::Off));
}

#[tokio::test]
async fn the_next_boot_alone_comes_from_the_network_whatever_the_vendor() {
    let pxe = |mode: &str| {
        format!(
            "{{\"Boot\":{{\"BootSourceOverrideEnabled\":\"Once\",\"BootSourceOverrideMode\":\"{mode}\",\"BootSourceOverrideTarget\":\"Pxe\"}}}}"
        )
    };
    let cases: Vec<(&str, Bmc, &str)> = vec![
        ("plain", Bmc::default(), "Systems/1 "),
        (
            "AMI",
            Bmc { vendor: "AMI", override_in_sd: true, needs_if_match: true, ..Bmc::default() },
            "Systems/1/SD ",
        ),
        ("If-Match", Bmc { needs_if_match: true, ..Bmc::default() }, "Systems/1 "),
        ("Lenovo", Bmc { vendor: "Lenovo", needs_if_match: true, ..Bmc::default() }, "Systems/1 "),
        ("no mode", Bmc { knows_mode: false, ..Bmc::default() }, "Systems/1 "),
        ("HPE", Bmc { vendor: "HPE", refuses_none: true, ..Bmc::default() }, "Systems/1 "),
        ("wants none", Bmc { wants_none: true, ..Bmc::default() }, "Systems/1 "),
    ];
    for (what, bmc, place) in cases {
        let fake = Fake::start(bmc);
        let metal = Metal::redfish(&fake);
        assert_eq!(metal.send(PowerStep::BootOnce).await, Ok(()), "{what}");
        let sent = fake.changes();
        assert!(
            sent[0].contains(place) && sent[0].ends_with(&pxe("UEFI")),
            "{what}: the mode is always sent: {sent:?}"
        );
        let seen = fake.get().clone();
        assert_eq!((&*seen.enabled, &*seen.target), ("Once", "Pxe"), "{what}");
        assert!(!metal.lasts().await, "{what}");
        assert_eq!(metal.send(PowerStep::ClearBoot).await, Ok(()), "{what}");
        assert_eq!(fake.get().enabled, "Disabled", "{what}");
    }
    // A machine that boots by BIOS, as far as known, or by its controller's word.
    for (uefi, mode, wanted) in
        [(Some(false), "UEFI", "Legacy"), (None, "Legacy", "Legacy"), (Some(true), "Legacy", "UEFI")]
    {
        let fake = Fake::start(Bmc { mode: mode.into(), ..Bmc::default() });
        let metal = Metal { uefi, ..Metal::redfish(&fake) };
        assert_eq!(metal.send(PowerStep::BootOnce).await, Ok(()));
        assert!(fake.changes()[0].ends_with(&pxe(wanted)));
    }
}

#[tokio::test]
async fn an_override_is_believed_when_it_is_read_back() {
    let fake = Fake::start(Bmc { only_continuous: true, ..Bmc::default() });
    let metal = Metal::redfish(&fake);
    assert_eq!(metal.send(PowerStep::BootOnce).await, Ok(()));
    assert!(metal.lasts().await, "it would boot from the network for ever");
    assert_eq!(metal.send(PowerStep::ClearBoot).await, Ok(()));
    assert!(!metal.lasts().await);
    let liar = Fake::start(Bmc { turns: [Turn::Lies].into(), ..Bmc::default() });
    let failure = Metal::redfish(&liar).send(PowerStep::BootOnce).await.unwrap_err();
    assert!(
        matches!(&failure.fault, Fault::NotTaken { seen } if seen == "Disabled None"),
        "{}",
        failure.fault
    );
    let without = Fake::start(Bmc { targets: vec!["Hdd", "Usb"], ..Bmc::default() });
    let failure = Metal::redfish(&without).send(PowerStep::BootOnce).await.unwrap_err();
    assert_eq!(failure.fault.to_string(), "the controller can't do a boot by PXE: it can do Hdd, Usb");
}

/// A program of the test's own.
pub(super) fn script(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn ipmi(tools: Tools) -> Metal {
    let power = Power { address: Some("192.0.2.1:9623".into()), ..power(PowerKind::Ipmi) };
    Metal::new(power, "operator:calvin:x", tools)
}

#[tokio::test]
async fn ipmitool_gets_its_password_in_the_environment_and_the_suite_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let text = format!(
        "echo \"$* [$IPMI_PASSWORD] [$HOME]\" >> {}\n\
         case \"$*\" in\n*'-C 17'*) echo 'Error in open session response message : invalid authentication algorithm' >&2; exit 1;;\n\
         *status) echo 'Chassis Power is on';;\nesac",
        log.display()
    );
    let tools = calling(script(folder.path(), "ipmitool", &text), limits());
    let mut metal = ipmi(tools);
    assert_eq!(metal.read().await, Ok(PowerState::On));
    assert_eq!(metal.send(PowerStep::Off).await, Ok(()));
    metal.uefi = Some(false);
    assert_eq!(metal.send(PowerStep::BootOnce).await, Ok(()));
    metal.uefi = None;
    assert_eq!(metal.send(PowerStep::BootOnce).await, Ok(()));
    let calls = std::fs::read_to_string(log).unwrap();
    let way = "-I lanplus -H 192.0.2.1 -p 9623 -C";
    let rest = "-N 2 -R 3 -U operator -E";
    let keep = format!("{way} 3 {rest} raw 0x00 0x08 0x03 0x08 [calvin:x] []\n");
    let wanted = format!(
        "{way} 17 {rest} chassis power status [calvin:x] []\n{way} 3 {rest} chassis power status [calvin:x] []\n\
         {way} 3 {rest} chassis power off [calvin:x] []\n\
         {keep}{way} 3 {rest} chassis bootdev pxe [calvin:x] []\n\
         {keep}{way} 3 {rest} chassis bootdev pxe options=efiboot [calvin:x] []\n"
    );
    assert_eq!(calls, wanted);
}

#[tokio::test]
async fn a_controller_of_ipmi_that_can_not_keep_a_boot_is_asked_for_one_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let limits = Limits { whole: Duration::from_millis(1500), ..limits() };
    let with = |raw: &str| {
        let (start, end) = ("case \"$*\" in\n*' raw '*)", "echo \"$*\" >>");
        let text = format!("{start} {raw};;\n*) {end} {};;\nesac", log.display());
        ipmi(calling(script(folder.path(), "ipmitool", &text), limits))
    };
    let refused = "echo 'Unable to send RAW command (rsp=0x80): Unknown' >&2; exit 1";
    assert_eq!(with(refused).send(PowerStep::BootOnce).await, Ok(()));
    assert!(std::fs::read_to_string(&log).unwrap().contains("chassis bootdev pxe"));
    std::fs::remove_file(&log).unwrap();
    // Where it is not known what came of it, no boot was set for certain.
    for (text, is_login) in [("echo 'RAKP 2 HMAC is invalid' >&2; exit 1", true), ("sleep 60", false)] {
        let failure = with(text).send(PowerStep::BootOnce).await.unwrap_err();
        assert!(failure.fault.is_login() == is_login && !failure.may_have_acted, "{}", failure.fault);
        assert!(!log.exists(), "{text}");
    }
}

#[tokio::test]
async fn what_ipmitool_says_becomes_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let missing = calling("/nonexistent/ipmitool".into(), limits());
    let fault = ipmi(missing).read().await.unwrap_err();
    assert_eq!(fault, Fault::NoIpmitool);
    assert!(fault.to_string().contains("install the package ipmitool"));
    let cases: Vec<(&str, bool, &str)> = vec![
        ("echo 'RAKP 2 HMAC is invalid' >&2; exit 1", false, "refuses this user or password"),
        // At once it is an answer, and after all tries it is none.
        (
            "echo 'Error: Unable to establish IPMI v2 / RMCP+ session' >&2; exit 1",
            false,
            "refuses a session: the user or password is probably wrong",
        ),
        (
            "sleep 2.5; echo 'Error: Unable to establish IPMI v2 / RMCP+ session' >&2; exit 1",
            false,
            "does not answer to IPMI",
        ),
        (
            "echo 'Set Chassis Power Control to Up/On failed: Command not supported in present state' >&2; exit 1",
            false,
            "not supported",
        ),
        ("echo \"what\n$IPMI_X\"; exit 7", true, "says: what"),
        ("sleep 60", true, "did not end within 5 s"),
        ("yes", true, "its output can't be read"),
        ("kill -9 $$", true, "ipmitool says: "),
    ];
    for (text, may_have_acted, words) in cases {
        let program = script(folder.path(), "ipmitool", text);
        let limits = Limits { whole: Duration::from_secs(5), ..limits() };
        let metal = ipmi(calling(program, limits));
        let failure = metal.send(PowerStep::On).await.unwrap_err();
        let said = failure.fault.to_string();
        assert!(said.contains(words) && failure.may_have_acted == may_have_acted, "{text}: {said}");
        assert!(!said.contains("calvin") && !said.contains('\n'), "{said}");
    }
    let program = script(folder.path(), "ipmitool", "echo 'Chassis Power is purple'");
    let fault = ipmi(calling(program, limits())).read().await.unwrap_err();
    assert!(matches!(fault, Fault::OddWords { .. }), "{fault}");
}

fn program(path: std::path::PathBuf, timeout: u64) -> Metal {
    let program =
        PowerProgram { program: path, arguments: vec!["-q".into()], timeout: Span::seconds(timeout) };
    let tools = Tools::new(Trust::of_host(), limits(), [("pdu".parse().unwrap(), program)].into());
    let power = Power {
        command: Some("pdu".parse().unwrap()),
        address: Some("pdu3:7".into()),
        ..power(PowerKind::Command)
    };
    Metal::new(power, "root:calvin", tools)
}

#[tokio::test]
async fn a_program_of_the_operators_knows_the_machine_and_nothing_of_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let text = format!(
        "echo \"$* $VOLDEMORT_MACHINE $VOLDEMORT_MACS $VOLDEMORT_ADDRESS $VOLDEMORT_USER $VOLDEMORT_PASSWORD [$HOME$CARGO]\" >> {}\n\
         case $2 in status) echo off;; boot-once) exit 3;; off) echo 'the socket is stuck' >&2; exit 1;; esac",
        log.display()
    );
    let mut metal = program(script(folder.path(), "pdu", &text), 10);
    assert_eq!(metal.read().await, Ok(PowerState::Off));
    assert_eq!(metal.send(PowerStep::On).await, Ok(()));
    let calls = std::fs::read_to_string(&log).unwrap();
    let rest = "m1 52:54:00:aa:00:01 pdu3:7 root calvin []";
    assert_eq!(calls, format!("-q status {rest}\n-q on {rest}\n"));
    let unable = metal.send(PowerStep::BootOnce).await.unwrap_err();
    assert!(unable.fault.is_final() && !unable.may_have_acted, "{}", unable.fault);
    let failed = metal.send(PowerStep::Off).await.unwrap_err();
    assert_eq!(failed.fault.to_string(), "pdu failed: it ended with 1: the socket is stuck");
    assert!(!failed.may_have_acted);
    metal.power.command = Some("other".parse().unwrap());
    let unknown = metal.read().await.unwrap_err();
    assert_eq!(unknown.to_string(), "the daemon's file has no [power.command.other]");
    // What it started ends with it.
    let pid = folder.path().join("pid");
    let slow =
        program(script(folder.path(), "slow", &format!("sleep 600 & echo $! > {}; wait", pid.display())), 1);
    let failure = slow.send(PowerStep::On).await.unwrap_err();
    assert!(failure.may_have_acted && failure.fault.to_string().contains("did not end within 1 s"));
    let child = std::fs::read_to_string(pid).unwrap();
    let gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.map_or(true, |stat| stat.contains(") Z"))
    };
    let began = std::time::Instant::now();
    while !gone() {
        assert!(began.elapsed() < Duration::from_secs(20), "what the program started lives on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_packet_wakes_a_machine_and_nothing_is_read() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut tools = tools(limits());
    tools.wake_port = socket.local_addr().unwrap().port();
    let mut metal = Metal::new(power(PowerKind::Wol), "", tools);
    metal.login = Some(Login::word("01:02:03:04:05:06\n"));
    let nowhere = metal.send(PowerStep::On).await.unwrap_err();
    assert!(nowhere.fault.to_string().contains("no packet could be sent"), "{}", nowhere.fault);
    let loopback = [127, 0, 0, 1].into();
    metal.networks = vec![Broadcast { from: Some(loopback), to: loopback }];
    assert_eq!(metal.send(PowerStep::On).await, Ok(()));
    let mut packet = [0; 200];
    let length =
        tokio::time::timeout(Duration::from_secs(20), socket.recv(&mut packet)).await.unwrap().unwrap();
    assert_eq!(length, 108);
    assert_eq!(packet[6..12], [0x52, 0x54, 0, 0xaa, 0, 1]);
    assert_eq!(packet[102..108], [1, 2, 3, 4, 5, 6]);
    for step in [PowerStep::Off, PowerStep::BootOnce] {
        assert!(metal.send(step).await.unwrap_err().fault.is_final());
    }
    assert_eq!(metal.read().await, Err(Fault::NotReported(PowerKind::Wol)));
    metal.login = Some(Login::word("calvin"));
    assert_eq!(metal.send(PowerStep::On).await.unwrap_err().fault, Fault::BadSecureOn);
}
