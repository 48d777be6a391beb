//! Orders to switch machines, from the command to what a controller sees: each request is stored before it is sent and
//! sent once, whatever the controller does and whenever the daemon ends.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use voldemort::daemon::effect::power_orders::Tempo;
use voldemort::daemon::effect::{PowerOrders, PowerReads, run};
use voldemort::daemon::keeper::Keeper;
use voldemort::desired::{Media, Options};
use voldemort::inventory::{Depth, load};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;
use voldemort::model::{Caller, Mac, Name, PowerAction, PowerState, PowerStep, Span, Time, WipeLevel};
use voldemort::plan::{Consent, Proposal};
use voldemort::power::{Limits, Tools, Trust};
use voldemort::state::life::{AgentReport, Said, SeenDisk};
use voldemort::state::outbox::{Pending, Progress, TaskKind};
use voldemort::state::power_order::Sent;
use voldemort::state::schedule::Pace;
use voldemort::state::{
    Command, Event, Outcome, Permit, PermitStep, Report, Secrets, Server, Stage, State, Verb,
};
use voldemort::store::Store;

use super::bmc::{Bmc, Fake, Turn};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// The daemon's keeper and executors, over a directory that outlives them.
struct Hall {
    keeper: Keeper,
    tasks: JoinSet<()>,
}

impl Hall {
    async fn open(state: &Path, manifests: &str) -> Hall {
        let began = Instant::now();
        let (store, mut saved) = loop {
            match Store::open(state, || [7; 48]) {
                Ok(opened) => break opened,
                Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        saved.new_site = true;
        let (interval, longest, spread, busy) = (Span(200), Span(400), Span(1), Span(20));
        saved.pace = Pace { interval, longest, spread, busy, ..Pace::default() };
        let (keeper, _) = Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into()));
        let hall = Hall { keeper, tasks: JoinSet::new() };
        hall.adopt(manifests).await;
        hall
    }

    async fn adopt(&self, manifests: &str) {
        let head = "[subnet.lab]\ncidr = \"10.0.0.0/16\"\n[boot.b]\nkernel = \"vmlinuz\"\n\
                    cmdline = [\"url={{ answers_url }}\"]\n";
        let voldemort = "format = 1\n[safety]\nmax-in-flight = 1\nmax-reinstall = 9\n";
        let sealed = include_str!("../golden/plan/many/before/secrets/root-password.age");
        let files: BTreeMap<Arc<str>, Bytes> = [
            ("a.toml".into(), Bytes::from(head.to_owned() + manifests)),
            ("voldemort.toml".into(), Bytes::from(voldemort)),
            ("secrets/bmc.age".into(), Bytes::from(sealed)),
        ]
        .into();
        let options = Options { media: Media::IfPresent, fallback: Vec::new() };
        let shelf = Shelf::new(Vec::new(), None);
        let loaded = load("r".into(), &files, &Environment::default(), &shelf, &options, Depth::OneFirmware);
        assert_eq!(loaded.errors(), 0, "{}", loaded.report());
        let secrets = Arc::new(Secrets::Known([("bmc".to_owned(), "root:calvin".to_owned())].into()));
        let consent = Consent::default();
        let desired = loaded.desired;
        let proposal = Proposal { desired, kept: None, secrets, consent, expected: None, plan: None };
        self.keeper.adopt(proposal).await.unwrap();
    }

    /// Has orders carried out from now on; with `reads` controllers are asked beside that.
    fn run(&mut self, reads: bool) {
        self.run_apart(reads, Duration::from_millis(1));
    }

    /// The same with so much time between two machines that are switched on.
    fn run_apart(&mut self, reads: bool, between_power_ons: Duration) {
        let limits =
            Limits { connect: Duration::from_secs(5), whole: Duration::from_millis(900), body: 1 << 16 };
        let tools = Arc::new(Tools::new(Trust::of_host(), limits, BTreeMap::new()));
        let tempo = Tempo { look: Duration::from_millis(20), between_power_ons };
        let (keeper, shared) = (self.keeper.clone(), tools.clone());
        self.tasks.spawn(async move {
            let orders = PowerOrders::new(keeper.clone(), shared, tempo);
            panic!("{:?}", run(orders, keeper).await);
        });
        let keeper = self.keeper.clone();
        if reads {
            self.tasks.spawn(async move {
                panic!("{:?}", run(PowerReads { keeper: keeper.clone(), tools }, keeper).await);
            });
        }
        let keeper = self.keeper.clone();
        self.tasks.spawn(async move {
            loop {
                keeper.tick();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Ends at whatever it was at.
    async fn crash(mut self) {
        self.tasks.shutdown().await;
        self.keeper.close().await;
        self.keeper.ended().await;
    }

    async fn order(&self, machine: &str, action: PowerAction) -> Result<Arc<Pending>, String> {
        let ordered = self.keeper.power(name(machine), action, "for a test".into(), Caller::DAEMON).await;
        ordered.map(Option::unwrap).map_err(|error| error.to_string())
    }

    async fn until(&self, what: &str, right: impl Fn(&State) -> bool) -> Arc<State> {
        let began = Instant::now();
        loop {
            let state = self.keeper.state();
            if right(&state) {
                return state;
            }
            let pending: Vec<_> = state.outbox().iter().collect();
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: {pending:?} {:?}", state.power());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Until nothing is to be switched any more.
    async fn done(&self, what: &str) {
        self.until(what, |state| state.outbox().iter().all(|pending| !pending.task.kind().is_power())).await;
    }

    async fn ask(&self, verb: Verb) {
        self.keeper.ask(Command::daemon(verb)).await.unwrap();
    }

    fn why(&self, machine: &str) -> Option<String> {
        let state = self.keeper.state();
        state.power_end(&name(machine)).unwrap().why.as_ref().map(ToString::to_string)
    }
}

/// A machine with a controller, as a table.
fn machine(name: &str, low: u8, fake: &Fake, more: &str) -> String {
    let power =
        format!("{{ kind = \"redfish\", url = \"{}\", credentials = {{ secret = \"bmc\" }} }}", fake.url());
    format!("[machine.{name}]\nmac = \"52:54:00:00:00:{low:02x}\"\npower = {power}\n{more}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_what_was_ordered_and_nothing_is_sent_for_nothing() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::start(Bmc::default()));
    let mut hall = Hall::open(folder.path(), &machine("m1", 1, &fake, "")).await;
    hall.run(false);
    for (action, resets) in [
        (PowerAction::On, &["On"][..]),
        (PowerAction::On, &[]),
        (PowerAction::Cycle, &["ForceOff", "On"]),
        (PowerAction::Off, &["ForceOff"]),
        (PowerAction::Off, &[]),
        (PowerAction::Cycle, &["On"]),
    ] {
        hall.order("m1", action).await.unwrap();
        hall.done("ordered").await;
        assert_eq!(fake.resets(), resets, "{action}");
        assert_eq!(hall.why("m1"), None);
        fake.changes();
    }
    let state = hall.until("it is known to be on", |state| {
        state.power().get(&name("m1")).is_some_and(|reading| reading.state == Ok(PowerState::On))
    });
    drop(state.await);
    hall.order("m1", PowerAction::BootOnce).await.unwrap();
    hall.done("the boot is set").await;
    assert_eq!((fake.resets().len(), fake.get().target.clone()), (0, "Pxe".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_done_is_tried_again_and_what_may_have_been_done_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, Vec<Turn>, usize, bool); 6] = [
        ("busy", vec![Turn::Says(503)], 2, true),
        ("acts and closes", vec![Turn::ActsAndCloses], 1, true),
        ("acts and says 500", vec![Turn::SaysAndActs(500)], 1, true),
        ("later", vec![Turn::Later(5)], 1, true),
        ("lies", vec![Turn::Lies], 1, false),
        ("hangs", vec![Turn::Hangs], 1, false),
    ];
    for (what, turns, sent, reaches) in cases {
        let fake = Fake::start(Bmc { turns: turns.into(), ..Bmc::default() });
        let mut hall =
            Hall::open(&folder.path().join(what.replace(' ', "-")), &machine("m1", 1, &fake, "")).await;
        hall.run(false);
        hall.order("m1", PowerAction::On).await.unwrap();
        if !reaches {
            // It is looked at again and again, and nothing more is sent.
            let readings = || fake.get().log.iter().filter(|line| line.starts_with("GET ")).count();
            hall.until("it is sent", |_| fake.resets().len() == 1).await;
            let before = readings();
            hall.until("it is read", |_| readings() > before + 10).await;
            let state = hall.keeper.state();
            let pending = state.outbox().of(TaskKind::Power).next().unwrap();
            assert_eq!(pending.sent.map(|sent| sent.step), Some(PowerStep::On), "{what}");
            // Somebody presses the button.
            fake.get().on = true;
        }
        hall.done(what).await;
        assert_eq!(fake.resets().len(), sent, "{what}");
        assert_eq!(hall.why("m1"), None, "{what}");
        hall.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_what_was_sent_is_read_and_not_sent_again() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::start(Bmc { on: true, ..Bmc::default() }));
    let manifests = machine("m1", 1, &fake, "");
    let mut hall = Hall::open(folder.path(), &manifests).await;
    fake.get().turns = [Turn::Hangs].into();
    hall.run(false);
    hall.order("m1", PowerAction::Cycle).await.unwrap();
    // The request is out, and no answer has come.
    hall.until("the request is out", |_| fake.resets().len() == 1).await;
    hall.crash().await;
    let mut hall = Hall::open(folder.path(), &manifests).await;
    let sent = |state: &State| state.outbox().of(TaskKind::Power).next().unwrap().sent;
    assert_eq!(sent(&hall.keeper.state()).map(|sent| sent.step), Some(PowerStep::Off));
    fake.changes();
    hall.run(false);
    hall.until("it is read", |_| fake.get().log.len() > 10).await;
    assert_eq!(fake.changes(), [] as [&str; 0], "nobody knows whether it was done: it is read");
    fake.get().on = false;
    hall.done("it was switched off after all, and is switched on").await;
    assert_eq!(fake.resets(), ["On"]);
    assert!(fake.get().on);
    hall.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_from_the_network_that_may_be_lost_is_asked_for_again() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::start(Bmc { on: true, ..Bmc::default() }));
    let manifests = machine("m1", 1, &fake, "");
    let hall = Hall::open(folder.path(), &manifests).await;
    wiped(&hall, "m1", 1).await;
    let pending = hall.keeper.state().outbox().of(TaskKind::Restart).next().unwrap().clone();
    // It is stored as sent, and the daemon ends before it has left.
    let sent = Sent { step: PowerStep::BootOnce, at: voldemort::daemon::now() };
    hall.ask(Verb::Progress(pending.id, Progress::Sent(sent))).await;
    hall.crash().await;
    let mut hall = Hall::open(folder.path(), &manifests).await;
    hall.run(false);
    hall.until("it is restarted", |_| fake.resets().len() == 2).await;
    let log = fake.get().log.iter().filter(|line| !line.starts_with("GET ")).cloned().collect::<Vec<_>>();
    assert!(log[0].contains("\"Pxe\"") && log[1].contains("ForceOff"), "{log:?}");
    hall.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_be_switched_is_refused_with_the_reason() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::start(Bmc { on: true, ..Bmc::default() }));
    let manifests = machine("m1", 1, &fake, "")
        + &machine("m2", 2, &fake, "protect = true")
        + "[machine.m3]\nmac = \"52:54:00:00:00:03\"\npower = { kind = \"wol\" }\n[machine.m4]\nmac = \"52:54:00:00:00:04\"\n";
    let mut hall = Hall::open(folder.path(), &manifests).await;
    hall.ask(Verb::Hold(name("m1"), "a new fan".into(), None)).await;
    for (machine, action, words) in [
        ("m1", PowerAction::On, "machine m1 is held by"),
        ("m1", PowerAction::Off, "a new fan"),
        ("m2", PowerAction::Off, "machine m2 is protected"),
        ("m2", PowerAction::Cycle, "commit protect = false first"),
        ("m2", PowerAction::BootOnce, "protected"),
        ("m3", PowerAction::Off, "`power` of kind \"wol\" can't do off: it can do on"),
        ("m3", PowerAction::Cycle, "can't do cycle"),
        ("m4", PowerAction::On, "machine m4 has no `power`"),
        ("m5", PowerAction::On, "there is no machine m5"),
    ] {
        let why = hall.order(machine, action).await.unwrap_err();
        assert!(why.contains(words), "{machine} {action}: {why}");
    }
    // The last word counts, and the same word twice is one.
    hall.ask(Verb::Unhold(name("m1"))).await;
    let first = hall.order("m1", PowerAction::Cycle).await.unwrap();
    let same = hall.order("m1", PowerAction::Cycle).await.unwrap();
    let other = hall.order("m1", PowerAction::On).await.unwrap();
    assert!(first.id == same.id && other.id != first.id);
    assert_eq!(hall.keeper.state().power_orders(&name("m1")).count(), 1);
    // A hold that comes later keeps it from being carried out.
    fake.get().on = false;
    hall.ask(Verb::Hold(name("m1"), "again".into(), None)).await;
    hall.run(false);
    hall.until("it says why it waits", |state| {
        let trouble = state.power_orders(&name("m1")).next().and_then(|one| one.trouble.clone());
        trouble.is_some_and(|trouble| trouble.why.contains("held by"))
    })
    .await;
    assert_eq!(fake.changes(), [] as [&str; 0]);
    hall.ask(Verb::Unhold(name("m1"))).await;
    hall.done("it goes on").await;
    assert_eq!(fake.resets(), ["On"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_tried_once_and_a_controller_gets_one_request_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = Fake::start(Bmc { login: Some(("root", "hobbes")), has_sessions: true, ..Bmc::default() });
    let chassis = Fake::start(Bmc::default());
    let many: String = (0..12).map(|n| machine(&format!("n{n}"), 16 + n, &chassis, "")).collect();
    let mut hall = Hall::open(folder.path(), &(machine("m1", 1, &wrong, "") + &many)).await;
    hall.run(false);
    hall.order("m1", PowerAction::On).await.unwrap();
    for n in 0..12 {
        hall.order(&format!("n{n}"), PowerAction::On).await.unwrap();
    }
    hall.done("ordered").await;
    assert!(hall.why("m1").unwrap().contains("refuses this user or password"));
    let tried = wrong.get().log.iter().filter(|line| line.contains("calvin")).count();
    assert_eq!(tried, 1);
    assert_eq!(chassis.get().most_busy, 1);
}

/// Our agent shows a disk, and a person has it wiped.
async fn wiped(hall: &Hall, machine: &str, low: u8) {
    let card: Mac = format!("52:54:00:00:00:{low:02x}").parse().unwrap();
    let disk = SeenDisk { id: format!("wwn-{low}").into(), bytes: 1 << 30, blank: false };
    let said = Said::Hello { cards: [card].into(), disks: [disk].into(), facts: None };
    hall.ask(Verb::Agent(AgentReport { card, subnet: None, epoch: 0, start: None, said })).await;
    hall.ask(Verb::Wipe(name(machine), vec![format!("wwn-{low}").into()], WipeLevel::Clear)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_restarts_the_machine_into_the_network_or_waits_for_somebody() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::start(Bmc { on: true, only_continuous: true, ..Bmc::default() });
    let manifests = machine("m1", 1, &fake, "") + "[machine.m2]\nmac = \"52:54:00:00:00:02\"\n";
    let mut hall = Hall::open(folder.path(), &manifests).await;
    wiped(&hall, "m1", 1).await;
    wiped(&hall, "m2", 2).await;
    hall.run(false);
    hall.until("it is restarted", |_| fake.resets().len() == 2).await;
    let log = fake.get().log.iter().filter(|line| !line.starts_with("GET ")).cloned().collect::<Vec<_>>();
    assert!(
        log[0].contains("\"Pxe\"") && log[1].contains("ForceOff") && log[2].contains("\"On\""),
        "{log:?}"
    );
    // This controller would boot from the network for ever: that is taken back when the machine has come.
    let own = |state: &State, machine: &str| {
        state.outbox().of(TaskKind::Restart).find(|one| *one.task.subject() == name(machine)).cloned()
    };
    assert!(own(&hall.keeper.state(), "m1").is_some());
    assert_eq!(fake.get().enabled, "Continuous");
    let at = Time(voldemort::daemon::now().0 + 1000);
    let mac = Some("52:54:00:00:00:01".parse().unwrap());
    hall.ask(Verb::Observe(vec![Event { mac, ..Event::new(at, Stage::Offer, "an offer".to_owned()) }])).await;
    hall.until("its restart is done", |state| own(state, "m1").is_none()).await;
    assert_eq!(fake.get().enabled, "Disabled");
    let state = hall
        .until("the other one says why it waits", |state| {
            own(state, "m2").is_some_and(|one| one.trouble.is_some())
        })
        .await;
    let trouble = own(&state, "m2").unwrap().trouble.clone().unwrap();
    assert!(
        trouble.why.contains("has no `power`: it waits until somebody restarts it by hand"),
        "{trouble:?}"
    );
    // It is not said again and again.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(own(&hall.keeper.state(), "m2").unwrap().trouble.clone().unwrap().attempts <= 2);
}

/// Controllers forget a boot that was asked for after a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_waits_for_its_turn_before_the_first_request_of_each_machine() {
    let folder = tempfile::tempdir().unwrap();
    let fakes: Vec<Fake> = (0..8).map(|_| Fake::start(Bmc { on: true, ..Bmc::default() })).collect();
    let machines = fakes.iter().enumerate().map(|(n, fake)| machine(&format!("m{n}"), n as u8 + 1, fake, ""));
    let mut hall = Hall::open(folder.path(), &machines.collect::<String>()).await;
    for n in 0..8 {
        wiped(&hall, &format!("m{n}"), n + 1).await;
    }
    let is_between = |fake: &Fake| {
        let has_boot = fake.get().log.iter().any(|line| line.contains("\"Pxe\""));
        has_boot && !fake.resets().iter().any(|reset| reset == "On")
    };
    let (began, most) = (Instant::now(), Cell::new(0));
    hall.run_apart(false, Duration::from_millis(500));
    hall.until("all are restarted", |_| {
        most.set(most.get().max(fakes.iter().filter(|fake| is_between(fake)).count()));
        fakes.iter().all(|fake| fake.resets().len() == 2)
    })
    .await;
    assert!(most.get() <= 4, "{} machines had a boot set and were not switched on yet", most.get());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(3500), "{took:?}: seven pauses");
    assert!(took < Duration::from_millis(6500), "{took:?}: a machine waits no more than one pause");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_are_switched_on_to_install_as_far_as_waves_go() {
    let folder = tempfile::tempdir().unwrap();
    let fakes: Vec<Fake> = (0..3).map(|_| Fake::start(Bmc::default())).collect();
    let manifests = |redeploy: u64| -> String {
        let machines = fakes.iter().enumerate().map(|(n, fake)| {
            let on = if n == 2 { "" } else { "power-on = true" };
            machine(&format!("m{n}"), n as u8 + 1, fake, on)
                + &format!(
                    "[deployment.d{n}]\nmachine = \"m{n}\"\nsubnet = \"lab\"\nboot = \"b\"\ntemplate = \"preseed\"\n\
                     address = \"10.0.0.{}\"\nredeploy = {redeploy}\n",
                    n + 10
                )
        });
        machines.collect()
    };
    let mut hall = Hall::open(folder.path(), &manifests(0)).await;
    hall.run(true);
    let are_on = || fakes.iter().map(|fake| fake.get().on).collect::<Vec<_>>();
    hall.until("first installations are no matter of waves", |_| are_on() == [true, true, false]).await;
    hall.done("ordered").await;
    for (n, fake) in fakes.iter().enumerate() {
        let deployment = name(&format!("d{n}"));
        for step in [PermitStep::Start, PermitStep::Spend] {
            let permit = Permit { deployment: deployment.clone(), redeploy: 0, epoch: None, step };
            hall.keeper.permit(permit).await.unwrap();
        }
        let outcome = Outcome::Completed;
        let report = Report { deployment, redeploy: 0, epoch: None, outcome, note: String::new() };
        hall.keeper.report(report).await.unwrap();
        fake.get().on = false;
        fake.changes();
    }
    hall.until("all are off", |state| {
        state.power().values().filter(|one| one.state == Ok(PowerState::Off)).count() == 3
    })
    .await;
    assert!(fakes.iter().all(|fake| fake.resets().is_empty()), "what has its system is left alone");
    hall.adopt(&manifests(1)).await;
    hall.until("the first of the wave", |_| are_on() == [true, false, false]).await;
    hall.done("ordered").await;
    hall.until("it is read often", |_| fakes[1].get().log.len() > 40).await;
    assert_eq!(are_on(), [true, false, false], "one at a time");
    let sent = fakes[0].changes();
    assert!(sent[0].contains("\"Pxe\""), "it boots from the network: {sent:?}");
}
