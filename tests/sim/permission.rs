//! The permission to install, whatever is asked in whatever order, and whenever the daemon dies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use proptest::prelude::*;
use voldemort::desired::Desired;
use voldemort::model::Name;
use voldemort::proto::tree::{Asker, Transport};
use voldemort::state::{InstallStage, Purpose, Stage};

use super::daemon::{Body, Daemon, Question, Told};
use super::inventory::resolved;
use super::medium::Medium;

/// `web` fetches answers, `bare` has an installer that needs none.
const NAMES: [&str; 2] = ["web", "bare"];

#[derive(Clone, Copy, Debug)]
enum Ask {
    Script,
    /// A file that can be had: the kernel, or the initrd, with which an installer without answers
    /// destroys.
    Kernel,
    Initrd,
    /// By a URL of this number, which may be an old one.
    Answers(u64),
    Completed(u64),
    Failed(u64),
    /// A person raises the number.
    Raise,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Fine,
    Before,
    /// Stored, and never told to anybody.
    Between,
    After,
    Full,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Ask, Fate)>> {
    let ask = prop_oneof![
        8 => Just(Ask::Script),
        2 => Just(Ask::Kernel),
        4 => Just(Ask::Initrd),
        6 => (1u64..4).prop_map(Ask::Answers),
        2 => (1u64..4).prop_map(Ask::Completed),
        1 => (1u64..4).prop_map(Ask::Failed),
        1 => Just(Ask::Raise),
    ];
    let fate = prop_oneof![
        8 => Just(Fate::Fine),
        1 => Just(Fate::Before),
        1 => Just(Fate::Between),
        1 => Just(Fate::After),
        1 => Just(Fate::Full),
    ];
    prop::collection::vec((0..NAMES.len(), ask, fate), 1..60)
}

/// Under this number; made once.
fn desired(redeploy: u64) -> Arc<Desired> {
    thread_local!(static KNOWN: RefCell<BTreeMap<u64, Arc<Desired>>> = RefCell::default());
    KNOWN.with_borrow_mut(|known| known.entry(redeploy).or_insert_with(|| inventory(redeploy)).clone())
}

fn inventory(redeploy: u64) -> Arc<Desired> {
    resolved(format!(
        "[subnet.lab]\ncidr = \"10.0.0.0/24\"\n\
         [boot.debian]\nkernel = \"vmlinuz\"\ninitrd = [\"initrd.gz\"]\ncmdline = [\"url={{{{ answers_url }}}}\"]\n\
         [boot.bare]\nkernel = \"vmlinuz\"\ninitrd = [\"initrd.gz\"]\ncmdline = [\"done={{{{ completed_url }}}}\"]\n\
         [deployment.web]\nmac = \"52:54:00:00:00:01\"\naddress = \"10.0.0.11\"\nboot = \"debian\"\n\
         template = \"preseed\"\nvars = {{ root-hash = \"x\" }}\nredeploy = {redeploy}\n\
         [deployment.bare]\nmac = \"52:54:00:00:00:02\"\naddress = \"10.0.0.12\"\nboot = \"bare\"\n\
         redeploy = {redeploy}\n"
    ))
}

fn path(daemon: &Daemon, who: usize, ask: Ask) -> String {
    let name: Name = NAMES[who].parse().unwrap();
    let state = daemon.state().expect("it runs");
    // Of the installation of this number, or of one that never was.
    let token = |purpose, number| {
        let install = state.installs().named(&name).find(|install| install.redeploy == number);
        state.token_of(purpose, &name, number, install.map(|install| install.epoch))
    };
    let prefix = ["debian", "bare"][who];
    match ask {
        Ask::Script => format!("ipxe/52-54-00-00-00-0{}.ipxe", who + 1),
        Ask::Kernel => format!("{prefix}/vmlinuz"),
        Ask::Initrd => format!("{prefix}/initrd.gz"),
        Ask::Answers(number) => format!("answers/{name}/{}/preseed.cfg", token(Purpose::Answers, number)),
        Ask::Completed(number) => format!("hooks/{name}/{}/completed", token(Purpose::Hooks, number)),
        Ask::Failed(number) => format!("hooks/{name}/{}/failed", token(Purpose::Hooks, number)),
        Ask::Raise => String::new(),
    }
}

/// What the machine is told in the end; nothing if the daemon dies before it can say it.
fn told(daemon: &mut Daemon, who: usize, path: String, fate: Fate) -> Option<Told> {
    let asker = Asker::new(Ipv4Addr::new(10, 0, 0, 11 + who as u8), None, Transport::Http);
    let question = Question { client: who, attempt: 0, sent: 0, body: Body::Fetch(asker, path) };
    let mut told = daemon.ask(&question, 1);
    if matches!(fate, Fate::Full) && told.is_none() {
        daemon.fail();
        return None;
    }
    while daemon.is_due() {
        if !matches!(fate, Fate::Before) {
            daemon.commit(1);
        }
        if matches!(fate, Fate::Before | Fate::Between) {
            daemon.again();
            return told;
        }
        told = daemon.publish(1).into_iter().map(|(_, told)| told).next().or(told);
    }
    if matches!(fate, Fate::After) {
        daemon.again();
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::number("SIM_CASES", 600) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_number_installs_twice(steps in steps()) {
        let mut daemon = Daemon::start(Ipv4Addr::new(10, 0, 0, 1), desired(1), Medium::either(steps.len()));
        daemon.publish_start();
        let mut current = 1;
        // The highest number under which each disk may have been destroyed.
        let mut spent: BTreeMap<usize, u64> = BTreeMap::new();
        let mut stages: BTreeMap<usize, (u64, InstallStage)> = BTreeMap::new();
        for (who, ask, fate) in steps {
            if matches!(ask, Ask::Raise) {
                current += 1;
                daemon.adopt(desired(current));
                daemon.commit(1);
                daemon.publish_start();
                continue;
            }
            let path = path(&daemon, who, ask);
            let told = told(&mut daemon, who, path, fate);
            let stored = daemon.install(&NAMES[who].parse().unwrap());
            match told {
                Some(Told::File(Stage::Script, _)) => {
                    prop_assert!(spent.get(&who).is_none_or(|spent| *spent < current), "{} would install again", NAMES[who]);
                    prop_assert!(stored.is_some(), "the start was not stored");
                }
                Some(Told::File(Stage::Answers, _)) => {
                    prop_assert!(matches!(ask, Ask::Answers(number) if number == current), "answers by an old URL");
                    prop_assert_eq!(stored.as_ref().map(|one| one.redeploy), Some(current));
                    prop_assert!(stored.is_some_and(|one| one.stage != InstallStage::Started), "not stored first");
                    spent.insert(who, current);
                }
                // Without a script of this number before it, nobody's installer asked.
                Some(Told::File(Stage::Initrd, _)) if who == 1 && stored.as_ref().is_some_and(|one| one.redeploy == current) => {
                    prop_assert!(stored.is_some_and(|one| one.stage != InstallStage::Started), "not stored first");
                    spent.insert(who, current);
                }
                _ => {}
            }
            let Some(stored) = daemon.install(&NAMES[who].parse().unwrap()) else { continue };
            if let Some((number, stage)) = stages.insert(who, (stored.redeploy, stored.stage)) {
                prop_assert!(stored.redeploy >= number, "the number went back");
                let ended = stage == InstallStage::Installed && stored.redeploy == number;
                prop_assert!(!ended || stored.stage == InstallStage::Installed, "what was installed is {:?}", stored.stage);
                let started_over = stored.redeploy == number && stored.stage == InstallStage::Started;
                prop_assert!(!started_over || stage == InstallStage::Started, "{:?} became started", stage);
            }
        }
    }
}
