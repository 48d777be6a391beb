//! Claims, orders to wipe and what is kept of them, over the state alone: who is served first, what a revision may take,
//! what a person may cancel, what is proven.

use std::sync::Arc;

use voldemort::api::resource::claim::{self, ClaimState};
use voldemort::api::resource::meaning;
use voldemort::desired::Desired;
use voldemort::manifest::Kind;
use voldemort::model::facts::Facts;
use voldemort::model::{
    By, Caller, Mac, Name, PowerAction, PowerState, PowerStep, Role, Span, Time, Token, WipeLevel,
};
use voldemort::plan::{Change, Consent, Hold, Impact, diff, hold};
use voldemort::state::claim::{Wanted, WhyNot};
use voldemort::state::command::Outcome;
use voldemort::state::life::{AgentReport, Instruction, Said, SeenDisk};
use voldemort::state::lifecycle::{Condition, DiskState, Work};
use voldemort::state::outbox::{Progress, TaskKind};
use voldemort::state::power_order::Sent;
use voldemort::state::prototype::{self, LoadedPrototypes, Prototype};
use voldemort::state::user_data::{self, UserData};
use voldemort::state::{self, Composition, Record, SourceRevision};
use voldemort::state::{Adoption, Applied, Claim, Command, Report, Revision, Server, State, Verb, apply};
use voldemort::store::Saved;

use super::loaded;

const HEAD: &str = r#"
[subnet.lab]
cidr = "10.0.0.0/16"
dynamic = "10.0.9.1-10.0.9.250"
[boot.b]
kernel  = "vmlinuz"
cmdline = ["url={{ answers_url }}"]
[boot.seeded]
kernel  = "vmlinuz"
cmdline = ["url={{ answers_url }}", "ds=nocloud;s={{ nocloud_url }}"]
[template.site]
kind = "preseed"
file = "site.liquid"
[profile.base]
boot = "b"
template = "preseed"
ssh-keys = ["ssh-ed25519 AAAA"]
[profile.given]
boot = "b"
template = "site"
[profile.seeded]
boot = "seeded"
template = "preseed"
ssh-keys = ["ssh-ed25519 AAAA"]
"#;

const POOL: &str =
    "[pool.ci]\nprofile = \"base\"\nselect = { size = \"small\" }\nclean = false\non-return = \"keep\"\n";

fn desired(safety: &str, text: &str) -> Arc<Desired> {
    loaded::desired(&[
        ("voldemort.toml", &format!("format = 1\n[safety]\n{safety}")),
        ("a.toml", &format!("{HEAD}{text}")),
        ("site.liquid", "# {{ user_data }}\nd-i x/y string {{ completed_url }}\n"),
    ])
}

fn machines(count: u8) -> String {
    let one = |number: u8| {
        format!(
            "[machine.m{number}]\nmac = \"52:54:00:00:00:{number:02x}\"\nlabels = {{ size = \"small\" }}\n"
        )
    };
    (1..=count).map(one).collect()
}

fn pinned(name: &str, machine: u8) -> String {
    format!("[deployment.{name}]\nprofile = \"base\"\nmachine = \"m{machine}\"\n")
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn caller(text: &str) -> Caller {
    Caller { by: By::Token(Token::Named(name(text))), role: Role::Claimer }
}

/// One daemon without a disk.
struct Site {
    state: State,
    records: Vec<Record>,
}

impl Site {
    fn new(text: &str) -> Site {
        let mut site =
            Site { state: State::new(Server::stand_in([10, 0, 0, 1].into())), records: Vec::new() };
        site.adopt("", text);
        site
    }

    fn run(&mut self, by: Caller, verb: Verb) -> Outcome {
        let mut out = Applied::default();
        let outcome = apply(&mut self.state, Command { by, verb }, Time(1_000_000), &mut out);
        self.records.extend(out.records);
        outcome
    }

    fn adopt(&mut self, safety: &str, text: &str) -> (Vec<Change>, Vec<Hold>) {
        let next = desired(safety, text);
        let plan = diff(&next, &self.state);
        let holds = hold(&plan, &next, &self.state, &Consent::default());
        let adoption = Adoption::new(&self.state, next, self.state.secrets().clone());
        assert_eq!(self.run(Caller::DAEMON, Verb::Adopt(adoption.into())), Outcome::Done);
        (plan.changes, holds)
    }

    fn wanted(&self, pool: &str) -> Wanted {
        let pool = name(pool);
        let key = prototype::key(&self.state.desired().pools[&pool]);
        let stored = Prototype { pool: pool.clone(), revision: Revision::default() };
        Wanted { prototype: Some((key, stored.into())), ..Wanted::of(pool) }
    }

    fn claim(&mut self, by: &str) -> Arc<Claim> {
        let wanted = self.wanted("ci");
        match self.run(caller(by), Verb::Claim(wanted.into())) {
            Outcome::Claimed(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    fn release(&mut self, claim: &Claim) {
        assert_eq!(self.run(claim.by.clone(), Verb::Release(claim.name.clone())), Outcome::Done);
    }

    fn machine_of(&self, claim: &Claim) -> Option<String> {
        self.state.claims().get(&claim.name)?.machine().map(ToString::to_string)
    }

    fn agent(&mut self, number: u8, epoch: u64, said: Said) -> Outcome {
        let card = Mac::new([0x52, 0x54, 0, 0, 0, number]).unwrap();
        self.run(Caller::MACHINE, Verb::Agent(AgentReport { card, subnet: None, epoch, start: None, said }))
    }

    /// Our agent shows the one disk of a machine.
    fn hello(&mut self, number: u8, epoch: u64, blank: bool) -> Outcome {
        let disks = [SeenDisk { id: format!("wwn:{number}").into(), bytes: 4096, blank }].into();
        let cards = [Mac::new([0x52, 0x54, 0, 0, 0, number]).unwrap()].into();
        self.agent(number, epoch, Said::Hello { cards, disks, facts: None })
    }

    /// Time goes by, in steps of a second as of a daemon that runs; the clock stands at so many seconds then.
    fn ticks(&mut self, seconds: std::ops::RangeInclusive<u64>) {
        for second in seconds {
            let command = Command::daemon(Verb::Tick);
            apply(&mut self.state, command, Time(1_000_000 + second * 1000), &mut Applied::default());
        }
    }

    fn restarts(&self) -> Vec<String> {
        let all = self.state.outbox().of(TaskKind::Restart);
        all.map(|pending| pending.task.subject().to_string()).collect()
    }

    fn work(&self, machine: &str) -> Work {
        self.state.work(&name(machine))
    }

    fn epoch(&self, machine: &str) -> u64 {
        self.state.agent_epoch(&name(machine))
    }
}

#[test]
fn callers_are_served_in_turn_and_of_each_the_first_that_asked() {
    let mut site = Site::new(&format!("{}{POOL}", machines(2)));
    let [a1, a2, a3, a4] = [1, 2, 3, 4].map(|_| site.claim("anna"));
    let [b1, b2] = [1, 2].map(|_| site.claim("ben"));
    let has = |site: &Site| {
        let all = [&a1, &a2, &a3, &a4, &b1, &b2];
        all.map(|claim| site.machine_of(claim).unwrap_or_default()).join(" ")
    };
    assert_eq!(has(&site), "m1 m2    ");
    // Whoever got a machine longest ago is next, however many the other has asked for.
    site.release(&a1);
    assert_eq!(has(&site), " m2   m1 ");
    site.release(&a2);
    assert_eq!(has(&site), "  m2  m1 ");
    // A revision in between changes nobody's turn.
    site.adopt(
        "",
        &format!("{}{POOL}{}", machines(2), "[template.more]\nkind = \"preseed\"\nfile = \"site.liquid\"\n"),
    );
    site.release(&b1);
    assert_eq!(has(&site), "  m2   m1");
    site.release(&b2);
    assert_eq!(has(&site), "  m2 m1  ");
}

#[test]
fn a_pool_that_was_full_gives_the_next_machine_when_one_is_given_back() {
    let full = POOL.replace("\"keep\"", "\"wipe\"\nmax = 1\nper-caller = 2");
    let mut site = Site::new(&format!("{}{full}", machines(2)));
    let (first, second) = (site.claim("anna"), site.claim("anna"));
    let wanted = site.wanted("ci");
    let refused = site.run(caller("anna"), Verb::Claim(wanted.clone().into()));
    assert!(matches!(refused, Outcome::Refused(why) if why.contains("has 2 claims of pool ci already")));
    assert_eq!((site.machine_of(&first).as_deref(), site.machine_of(&second)), (Some("m1"), None));
    site.release(&first);
    assert_eq!((site.work("m1"), site.machine_of(&second).as_deref()), (Work::Fencing, Some("m2")));
    assert!(matches!(site.run(caller("anna"), Verb::Claim(wanted.into())), Outcome::Claimed(_)));
    // What a pool could give out follows what people do with machines.
    let free = |site: &Site| site.state.free_for(&site.state.desired().pools[&name("ci")]);
    let mut site = Site::new(&format!("{}{POOL}", machines(3)));
    assert_eq!(free(&site), 3);
    site.run(caller("op"), Verb::Hold(name("m1"), "it hums".into(), None));
    assert_eq!(free(&site), 2);
    site.adopt("", &format!("{}{}", machines(3), POOL.replace("clean = false", "clean = true")));
    assert_eq!(free(&site), 0);
    assert_eq!(site.hello(2, 0, true), Outcome::Done);
    assert_eq!(free(&site), 1);
    site.adopt("", &format!("{}{POOL}", machines(3)));
    assert_eq!(free(&site), 2);
    site.run(caller("op"), Verb::Unhold(name("m1")));
    site.adopt("", &format!("{}{POOL}{}", machines(4), pinned("db", 2)));
    assert_eq!(free(&site), 3);
}

#[test]
fn a_discovered_machine_is_not_forgotten_while_a_person_holds_it() {
    let mut site = Site::new(&machines(1));
    let (held, free) = (name("m525400000008"), name("m525400000009"));
    for number in [8, 9] {
        assert_eq!(site.hello(number, 0, false), Outcome::Done);
    }
    let hold = Verb::Hold(held.clone(), "a customer's".into(), None);
    assert_eq!(site.run(caller("op"), hold), Outcome::Done);
    let week = 7 * 24 * 3600;
    site.ticks(week..=week);
    assert!(site.state.life(&free).is_none(), "nobody accepted it");
    assert!(site.state.hold(&held).is_some());
    assert_eq!(site.run(caller("op"), Verb::Unhold(held.clone())), Outcome::Done);
    site.ticks(week + 1..=week + 1);
    assert!(site.state.life(&held).is_none(), "nobody holds it any more");
}

#[test]
fn a_revision_gives_machines_to_who_waited_before_it_gives_them_to_its_own() {
    let web = "[deployment.web]\nprofile = \"base\"\nselect = { size = \"small\" }\n";
    let mut site = Site::new(&format!("{}{POOL}{}", machines(1), pinned("db", 1)));
    let claim = site.claim("anna");
    assert_eq!(site.machine_of(&claim), None);
    let (plan, _) = site.adopt("", &format!("{}{POOL}{}{web}", machines(2), pinned("db", 1)));
    assert_eq!(site.machine_of(&claim).as_deref(), Some("m2"));
    assert_eq!(site.state.assignments().get(&name("web")), None, "it began to wait after the claim");
    let row = plan.iter().find(|change| change.name == "web").unwrap();
    assert_eq!(row.machine, None, "{row:?}");
    // What is left over is its own at once.
    site.adopt("", &format!("{}{POOL}{}{web}", machines(3), pinned("db", 1)));
    assert_eq!(site.state.assignments().get(&name("web")), Some(&name("m3")));

    // The same with as many machines as are wanted: the claim gets the first.
    let mut site = Site::new(&format!("{}{POOL}{}", machines(1), pinned("db", 1)));
    let claim = site.claim("anna");
    site.adopt("", &format!("{}{POOL}{}{web}", machines(3), pinned("db", 1)));
    assert_eq!(site.machine_of(&claim).as_deref(), Some("m2"));
    assert_eq!(site.state.assignments().get(&name("web")), Some(&name("m3")));
}

#[test]
fn losing_a_deployment_wipes_where_two_revisions_say_so_and_within_the_budget() {
    let all =
        |count: u8| -> String { (1..=count).map(|number| pinned(&format!("d{number}"), number)).collect() };
    let wipe = "on-release = \"wipe\"\nmax-remove = \"100%\"\nallow-empty = true\n";
    let rows = |plan: &[Change]| plan.iter().filter(|change| change.impact == Impact::Wipe).count();
    let loose = "max-remove = \"100%\"\nallow-empty = true\n";
    let mut site = Site::new(&format!("{}{}", machines(6), all(6)));
    site.adopt(loose, &format!("{}{}", machines(6), all(6)));
    // The revision that brings the rule wipes nothing by it.
    let (plan, _) = site.adopt(wipe, &format!("{}{}", machines(6), all(5)));
    assert_eq!((rows(&plan), site.work("m6")), (0, Work::None));
    let (plan, holds) = site.adopt(wipe, &format!("{}{}", machines(6), all(4)));
    assert_eq!((rows(&plan), site.work("m5")), (1, Work::Fencing), "{plan:#?}");
    assert!(holds.is_empty(), "{holds:?}");
    let order = site.state.life(&name("m5")).unwrap().order.clone().unwrap();
    assert!(order.reason.starts_with("deployment d5 lost it"), "{}", order.reason);
    // More than the budget of an hour waits for a person.
    let tight = format!("{wipe}max-wipes = \"2/h\"\n");
    site.adopt(&tight, &format!("{}{}", machines(6), all(4)));
    let next = desired(&tight, &machines(6));
    let plan = diff(&next, &site.state);
    let holds = hold(&plan, &next, &site.state, &Consent::default());
    assert_eq!(rows(&plan.changes), 4);
    assert!(holds.iter().any(|hold| format!("{hold:?}").contains("wipes")), "{holds:?}");
    // Protected machines keep what they have.
    let protected = machines(6).replace("[machine.m1]\n", "[machine.m1]\nprotect = true\n");
    site.adopt(wipe, &format!("{protected}{}", all(4)));
    site.adopt(wipe, &protected);
    assert_eq!((site.work("m1"), site.work("m2")), (Work::None, Work::Fencing));
}

#[test]
fn an_order_is_cancelled_before_our_agent_runs_and_not_after() {
    let wiping = POOL.replace("\"keep\"", "\"wipe-and-off\"");
    let mut site = Site::new(&format!("{}{wiping}", machines(2)));
    let withdraw = |site: &mut Site, machine: &str| site.run(caller("op"), Verb::Withdraw(name(machine)));
    assert!(matches!(withdraw(&mut site, "m1"), Outcome::Refused(why) if why.contains("no order")));
    assert_eq!(site.hello(1, 0, false), Outcome::Done);
    let claim = site.claim("anna");
    let waits = site.claim("anna");
    let third = site.claim("ben");
    site.release(&claim);
    let epoch = site.epoch("m1");
    assert_eq!((site.work("m1"), site.machine_of(&waits).as_deref()), (Work::Fencing, Some("m2")));
    assert_eq!(withdraw(&mut site, "m1"), Outcome::Done);
    // It is free as it is, goes to who waits, and is not switched off.
    assert_eq!(site.machine_of(&third).as_deref(), Some("m1"));
    let life = site.state.life(&name("m1")).unwrap();
    assert!(life.order.is_none() && life.epoch > epoch);
    assert!(matches!(site.hello(1, epoch, false), Outcome::Refused(_)), "the order's agent is late");
    let off = site.state.outbox().iter().any(|one| format!("{:?}", one.task).contains("PowerOff"));
    assert!(!off);

    site.release(&third);
    assert_eq!(site.hello(1, site.epoch("m1"), false), Outcome::Done);
    assert_eq!(site.work("m1"), Work::Wiping);
    assert!(matches!(withdraw(&mut site, "m1"), Outcome::Refused(why) if why.contains("our agent runs")));
    assert_eq!(site.work("m1"), Work::Wiping);
}

#[test]
fn a_certificate_is_kept_of_each_wipe_also_without_its_machine() {
    let wiping = POOL.replace("\"keep\"", "\"wipe\"");
    let mut site = Site::new(&format!("{}{wiping}", machines(1)));
    assert_eq!(site.hello(1, 0, false), Outcome::Done);
    let claim = site.claim("anna");
    site.release(&claim);
    let epoch = site.epoch("m1");
    assert!(
        matches!(site.agent(1, epoch, Said::Wiped("{}".into())), Outcome::Refused(_)),
        "it does not wipe yet"
    );
    assert!(site.state.certificates().is_empty());
    assert_eq!(site.hello(1, epoch, false), Outcome::Done);
    assert!(matches!(
        site.state.instruction(&name("m1"), epoch),
        Instruction::Wipe { level: WipeLevel::Clear, .. }
    ));
    for late in [0, epoch - 1, epoch + 1] {
        assert!(matches!(site.agent(1, late, Said::Wiped("{}".into())), Outcome::Refused(_)), "{late}");
    }
    assert_eq!(site.agent(1, epoch, Said::Wiped("first".into())), Outcome::Done);
    let kept = |site: &Site| site.state.certificates().get(&epoch).cloned().unwrap();
    assert_eq!((kept(&site).verified, &*kept(&site).text), (None, "first"));
    // Something was found: it is wiped again, and the last word counts.
    assert_eq!(site.agent(1, epoch, Said::Verified(false)), Outcome::Done);
    assert_eq!(site.agent(1, epoch, Said::Wiped("second".into())), Outcome::Done);
    assert_eq!(site.agent(1, epoch, Said::Verified(true)), Outcome::Done);
    let one = kept(&site);
    assert_eq!((&*one.text, one.machine.as_str(), one.level), ("second", "m1", WipeLevel::Clear));
    assert!(one.verified.is_some() && one.reason.starts_with("claim ci-1"));
    assert_eq!(site.state.life(&name("m1")).unwrap().disks[0].state, DiskState::Clean);
    site.adopt("max-remove = \"100%\"\nallow-empty = true\n", POOL);
    assert_eq!(kept(&site), one);
}

/// A machine that is given out and runs its former system does not boot from the network by itself.
#[test]
fn a_machine_that_runs_something_else_is_restarted_for_its_claim_or_a_person_is_told() {
    let machine = |number: u8, more: &str| {
        format!(
            "[machine.m{number}]\nmac = \"52:54:00:00:00:{number:02x}\"\nlabels = {{ size = \"small\" }}\n{more}\n"
        )
    };
    let redfish = |number: u8| format!("power = {{ kind = \"redfish\", url = \"https://10.0.9.{number}\" }}");
    let text = [
        machine(1, &redfish(1)),
        machine(2, ""),
        machine(3, "power = { kind = \"wol\" }"),
        machine(4, &redfish(4)),
        machine(5, &redfish(5)),
    ];
    let mut site = Site::new(&format!("{}{POOL}", text.concat()));
    let seen = |site: &mut Site, machine: &str, power| {
        assert_eq!(site.run(Caller::DAEMON, Verb::PowerSeen(name(machine), power)), Outcome::Done);
    };
    seen(&mut site, "m1", PowerState::On);
    seen(&mut site, "m4", PowerState::Off);
    seen(&mut site, "m5", PowerState::On);
    site.ticks(0..=1);
    let claims: Vec<_> = (1..=5).map(|_| site.claim("anna")).collect();
    let of = |machine: &str| claims.iter().find(|claim| claim.machine() == Some(&name(machine))).unwrap();
    // One of them begins at once, as one in our agent does.
    let tenant = site.state.tenant(&name("m5")).unwrap().clone();
    let permit = state::Permit::new(&site.state, &tenant, state::PermitStep::Start);
    assert_eq!(site.run(Caller::MACHINE, Verb::Permit(permit)), Outcome::Done);
    site.ticks(2..=80);
    assert_eq!(site.restarts(), [""; 0], "it may be on its way");
    site.ticks(81..=95);
    assert_eq!(site.restarts(), ["m1"]);
    let lacks =
        |site: &Site, machine: &str| site.state.needs_a_start(&name(machine)).map(ToString::to_string);
    assert_eq!(lacks(&site, "m2").as_deref(), Some("it has no `power` in its manifest"));
    assert!(lacks(&site, "m3").unwrap().contains("wol"), "{:?}", lacks(&site, "m3"));
    assert_eq!(lacks(&site, "m4").as_deref(), Some("it is off, and its manifest has no power-on = true"));
    assert_eq!((lacks(&site, "m1"), lacks(&site, "m5")), (None, None));

    // It is not restarted again, also where that led nowhere.
    let restart = site.state.outbox().of(TaskKind::Restart).next().unwrap().clone();
    assert!(site.state.wants(&restart.task));
    site.run(Caller::DAEMON, Verb::Progress(restart.id, Progress::Done));
    site.ticks(96..=990);
    assert_eq!((site.restarts(), lacks(&site, "m1")), (vec![], None));
    site.ticks(991..=1100);
    assert_eq!(site.restarts(), [""; 0]);
    assert!(lacks(&site, "m1").unwrap().contains("did not boot from the network"));
    // Whatever was said is over with the claim, and nothing of it is done any more.
    site.release(of("m1"));
    site.release(of("m2"));
    assert_eq!((lacks(&site, "m1"), lacks(&site, "m2")), (None, None));
    assert!(!site.state.wants(&restart.task));
}

/// Its self-test takes minutes, and many machines are switched one after the other.
#[test]
fn a_machine_that_is_being_switched_is_not_restarted_for_its_claim() {
    let machine = "[machine.m1]\nmac = \"52:54:00:00:00:01\"\nlabels = { size = \"small\" }\n\
                   power = { kind = \"redfish\", url = \"https://10.0.9.1\" }\n";
    let mut site = Site::new(&format!("{machine}{POOL}"));
    let does = |site: &mut Site, verb| assert_eq!(site.run(Caller::DAEMON, verb), Outcome::Done);
    let sent = Progress::Sent(Sent { step: PowerStep::On, at: Time(1_000_000) });
    let lacks = |site: &Site| site.state.needs_a_start(&name("m1")).map(ToString::to_string);
    does(&mut site, Verb::PowerSeen(name("m1"), PowerState::Off));
    site.ticks(0..=1);
    site.claim("anna");
    site.ticks(2..=95);
    assert_eq!(lacks(&site).as_deref(), Some("it is off, and its manifest has no power-on = true"));
    // A person switches it on. It is seen to be on before that is done.
    site.run(caller("op"), Verb::PowerOrder(name("m1"), PowerAction::On, "".into()));
    let order = site.state.outbox().of(TaskKind::Power).next().unwrap().id;
    does(&mut site, Verb::Progress(order, sent.clone()));
    does(&mut site, Verb::PowerSeen(name("m1"), PowerState::On));
    site.ticks(96..=100);
    assert_eq!(site.restarts(), [""; 0]);
    does(&mut site, Verb::Progress(order, Progress::Done));
    site.ticks(101..=900);
    assert_eq!((site.restarts(), lacks(&site)), (vec![], None));
    site.ticks(901..=1005);
    assert_eq!(site.restarts(), ["m1"], "it booted something else");
    // The turn of the restart comes after an hour.
    let restart = site.state.outbox().of(TaskKind::Restart).next().unwrap().id;
    site.ticks(1006..=4599);
    assert_eq!(lacks(&site), None);
    does(&mut site, Verb::Progress(restart, Progress::Failed("no answer".into())));
    site.ticks(4600..=4600);
    assert!(lacks(&site).unwrap().starts_with("an order to switch it has trouble"), "it was not restarted");
    does(&mut site, Verb::Progress(restart, sent));
    does(&mut site, Verb::Progress(restart, Progress::Done));
    site.ticks(4601..=5400);
    assert_eq!((site.restarts(), lacks(&site)), (vec![], None));
    site.ticks(5401..=5600);
    assert!(lacks(&site).unwrap().contains("did not boot from the network"));
}

/// Where nothing is installed, the claim's system runs when its script was fetched: until then another one may.
#[test]
fn a_claim_that_boots_from_the_network_waits_until_its_script_is_fetched() {
    let live = "[boot.live]\nkernel = \"vmlinuz\"\n[profile.net]\nboot = \"live\"\n";
    let machine = |number: u8, more: &str| {
        format!(
            "[machine.m{number}]\nmac = \"52:54:00:00:00:{number:02x}\"\nlabels = {{ size = \"small\" }}\n\
             power = {{ kind = \"redfish\", url = \"https://10.0.9.{number}\" }}\n{more}\n"
        )
    };
    let pool = POOL.replace("\"base\"", "\"net\"");
    let mut site =
        Site::new(&[machine(1, ""), machine(2, "power-on = true"), live.to_owned(), pool].concat());
    for (machine, power) in [("m1", PowerState::On), ("m2", PowerState::Off)] {
        assert_eq!(site.run(Caller::DAEMON, Verb::PowerSeen(name(machine), power)), Outcome::Done);
    }
    let is_installed = |site: &Site, claim: &Claim| {
        let row = claim::one(&site.state, &claim.name, Time(1_000_000)).unwrap();
        assert!(row.state == ClaimState::Installed || row.state == ClaimState::Waiting, "{row:?}");
        row.state == ClaimState::Installed
    };
    let fetches = |site: &mut Site, card: u8, claim: &Claim| {
        let mac = Mac::new([0x52, 0x54, 0, 0, 0, card]).ok();
        let event = state::Event::new(Time(1_000_000), state::Stage::Script, "its script");
        let event = state::Event { mac, deployment: Some(claim.name.clone()), ..event };
        assert_eq!(site.run(Caller::MACHINE, Verb::Observe(vec![event])), Outcome::Done);
    };
    site.ticks(0..=1);
    let [first, second, next] = ["anna", "anna", "ben"].map(|by| site.claim(by));
    assert_eq!([&first, &second].map(|claim| site.machine_of(claim).unwrap()), ["m1", "m2"]);
    site.ticks(2..=80);
    assert_eq!(site.restarts(), [""; 0], "it may be on its way");
    let switched: Vec<_> =
        site.state.outbox().of(TaskKind::Power).map(|one| one.task.subject().to_string()).collect();
    assert_eq!(switched, ["m2"], "it is off");
    site.ticks(81..=95);
    assert_eq!(site.restarts(), ["m1"]);
    assert!(!is_installed(&site, &first) && !is_installed(&site, &second));
    let restart = site.state.outbox().of(TaskKind::Restart).next().unwrap().clone();
    assert!(site.state.wants(&restart.task));
    fetches(&mut site, 1, &first);
    assert!(is_installed(&site, &first) && !is_installed(&site, &second));
    assert!(!site.state.wants(&restart.task));

    // A hold, however long, starts nothing.
    assert_eq!(site.run(caller("op"), Verb::Hold(name("m2"), "it hums".into(), None)), Outcome::Done);
    site.ticks(96..=400);
    assert_eq!(site.run(caller("op"), Verb::Unhold(name("m2"))), Outcome::Done);
    assert!(!is_installed(&site, &second));
    fetches(&mut site, 2, &second);
    assert!(is_installed(&site, &second));

    // The next one does not have the system that the one before it left behind.
    site.release(&first);
    assert_eq!(site.machine_of(&next).as_deref(), Some("m1"));
    fetches(&mut site, 1, &first);
    assert!(!is_installed(&site, &next));
    site.ticks(401..=500);
    assert!(!is_installed(&site, &next));
    fetches(&mut site, 1, &next);
    assert!(is_installed(&site, &next));
}

/// What was begun is brought to its end: the machine may be off.
#[test]
fn a_restart_for_a_claim_that_boots_from_the_network_goes_on_after_a_start_of_the_daemon() {
    let text = [
        "[machine.m1]\nmac = \"52:54:00:00:00:01\"\nlabels = { size = \"small\" }\n",
        "power = { kind = \"redfish\", url = \"https://10.0.9.1\" }\n",
        "[boot.live]\nkernel = \"vmlinuz\"\n[profile.net]\nboot = \"live\"\n",
        &POOL.replace("\"base\"", "\"net\""),
    ]
    .concat();
    let mut site = Site::new(&text);
    let seen = Verb::PowerSeen(name("m1"), PowerState::On);
    assert_eq!(site.run(Caller::DAEMON, seen), Outcome::Done);
    site.ticks(0..=1);
    let claim = site.claim("anna");
    site.ticks(2..=95);
    assert_eq!(site.restarts(), ["m1"]);
    for (step, goes_on) in [(PowerStep::BootOnce, true), (PowerStep::Off, true), (PowerStep::On, false)] {
        let restart = site.state.outbox().of(TaskKind::Restart).next().unwrap().clone();
        let sent = Progress::Sent(Sent { step, at: Time(1_000_000) });
        assert_eq!(site.run(Caller::DAEMON, Verb::Progress(restart.id, sent)), Outcome::Done);
        let prototypes = site.state.prototypes().iter();
        let saved = Saved {
            claims: site.state.claims().values().cloned().collect(),
            tenancies: vec![(name("m1"), site.state.tenancy(&name("m1")).unwrap().clone())],
            prototypes: prototypes.map(|(key, one)| (key.clone(), one.clone())).collect(),
            effects: site.state.outbox().iter().cloned().collect(),
            serial: 3,
            ..Saved::default()
        };
        let state = saved.state(Server::stand_in([10, 0, 0, 1].into()));
        let mut again = Site { state, records: Vec::new() };
        let runs = site.state.desired().pools[&name("ci")].prototype.clone();
        let keys = again.state.missing_prototypes().into_iter().map(|(key, _)| (key, runs.clone()));
        let loaded = LoadedPrototypes { prototypes: keys.collect(), ..LoadedPrototypes::default() };
        assert_eq!(again.run(Caller::DAEMON, Verb::Prototypes(loaded.into())), Outcome::Done);
        again.adopt("", &text);
        let found = |site: &Site| {
            let row = claim::one(&site.state, &claim.name, Time(1_000_000)).unwrap();
            (site.state.wants(&restart.task), row.state == ClaimState::Waiting)
        };
        assert_eq!(found(&again), (goes_on, goes_on), "{step}: before the clock goes");
        again.ticks(96..=97);
        assert_eq!(found(&again), (goes_on, goes_on), "{step}");
    }
}

/// What is to be wiped is the machine that was given back, and no other that shows its network card.
#[test]
fn an_order_without_disks_is_not_for_a_machine_with_other_marks() {
    let wiped = POOL.replace("\"keep\"", "\"wipe\"");
    let mut site = Site::new(&format!("{}{wiped}", machines(1)));
    let hello = |site: &mut Site, epoch, serial: &str, disk: &str| {
        let disks = [SeenDisk { id: disk.into(), bytes: 4096, blank: false }].into();
        let cards = [Mac::new([0x52, 0x54, 0, 0, 0, 1]).unwrap()].into();
        let facts = Facts { serial: Some(serial.into()), ..Facts::default() };
        assert_eq!(
            site.agent(1, epoch, Said::Hello { cards, disks, facts: Some(facts.into()) }),
            Outcome::Done
        );
    };
    hello(&mut site, 0, "A1", "wwn:a");
    let claim = site.claim("anna");
    site.release(&claim);
    let epoch = site.epoch("m1");
    hello(&mut site, epoch, "B2", "wwn:b");
    let m1 = name("m1");
    let order = |site: &Site| site.state.life(&m1).unwrap().order.clone().unwrap();
    let why = order(&site).why.to_string();
    assert!(
        why.contains("its serial number was A1 and is B2") && why.contains("voldemortctl wipe m1"),
        "{why}"
    );
    assert_eq!((site.work("m1"), order(&site).condition), (Work::Fencing, Condition::Failed));
    assert_eq!(&*site.state.life(&m1).unwrap().disks[0].id, "wwn:a", "nothing of it is believed");
    // To have it tried again is no consent to another machine.
    assert_eq!(site.run(Caller::DAEMON, Verb::Retry(m1.clone())), Outcome::Done);
    hello(&mut site, epoch, "B2", "wwn:b");
    assert_eq!((site.work("m1"), order(&site).condition), (Work::Fencing, Condition::Failed));
    // The board was replaced: a person names the disks, which are the same.
    let wipe = Verb::Wipe(m1.clone(), vec!["wwn:a".into()], WipeLevel::Clear);
    assert_eq!(site.run(Caller::DAEMON, wipe), Outcome::Done);
    let epoch = site.epoch("m1");
    hello(&mut site, epoch, "B2", "wwn:b");
    assert_eq!(order(&site).condition, Condition::Failed, "the order names other disks");
    assert_eq!(site.run(Caller::DAEMON, Verb::Retry(m1.clone())), Outcome::Done);
    hello(&mut site, epoch, "B2", "wwn:a");
    assert_eq!(site.work("m1"), Work::Wiping);
}

/// Of two machines with one card neither is given anything, nor out, until a person says so.
#[test]
fn a_contested_machine_is_nobodys_until_a_person_says_so() {
    let mut site = Site::new(&format!("{}{POOL}", machines(2)));
    site.hello(1, 0, true);
    let two = || Said::Contested("two machines show a card, one here, the other there".into());
    assert_eq!(site.agent(1, 0, two()), Outcome::Done);
    let (first, second) = (site.claim("anna"), site.claim("ben"));
    assert_eq!((site.machine_of(&first).as_deref(), site.machine_of(&second)), (Some("m2"), None));
    let why = site.state.why_waiting(&second);
    assert_eq!(why.get(&WhyNot::Contested), Some(&(1, name("m1"))), "{why:?}");
    let standing = meaning::standing(&site.state, Kind::Machine, &name("m1"));
    let named = standing.conditions.iter().find(|one| one.status && one.reason.contains("the other there"));
    assert!(named.is_some(), "{standing:?}");
    let stored = site.records.iter().rev().find_map(|record| match record {
        Record::Life(machine, Some(life)) if *machine == name("m1") => Some(life.clone()),
        _ => None,
    });
    assert!(stored.unwrap().contested.as_ref().unwrap().contains("the other there"), "it is stored");
    assert_eq!(site.run(Caller::DAEMON, Verb::Retry(name("m1"))), Outcome::Done);
    assert_eq!(site.machine_of(&second).as_deref(), Some("m1"));
    // What it installs is refused, too, where both appear later.
    assert_eq!(site.agent(1, 0, two()), Outcome::Done);
    assert_eq!(site.state.boot_of(&name("m1"), false), voldemort::state::lifecycle::Boot::Disk);
    // The agent of one alone reports.
    site.hello(1, 0, true);
    assert_eq!(site.state.boot_of(&name("m1"), false), voldemort::state::lifecycle::Boot::Installer);
}

#[test]
fn two_disks_of_one_number_and_a_strangers_disk_stop_an_order() {
    let wiping = POOL.replace("\"keep\"", "\"wipe\"");
    let mut site = Site::new(&format!("{}{wiping}", machines(2)));
    let claims = [site.claim("anna"), site.claim("anna")];
    assert_eq!(site.hello(2, 0, false), Outcome::Done);
    site.release(&claims[0]);
    let disk = |id: &str| SeenDisk { id: id.into(), bytes: 4096, blank: false };
    let hello = |disks: Vec<SeenDisk>| Said::Hello { cards: [].into(), disks: disks.into(), facts: None };
    let trouble = |site: &Site| site.state.life(&name("m1")).unwrap().order.clone().unwrap();
    // The other's disk is in use there.
    assert_eq!(site.agent(1, site.epoch("m1"), hello(vec![disk("wwn:2")])), Outcome::Done);
    assert_eq!(trouble(&site).condition, Condition::Failed);
    assert!(trouble(&site).why.contains("is machine m2's"), "{}", trouble(&site).why);
    assert_eq!(site.run(caller("op"), Verb::Retry(name("m1"))), Outcome::Done);
    assert_eq!(site.agent(1, site.epoch("m1"), hello(vec![disk("a"), disk("a")])), Outcome::Done);
    assert!(trouble(&site).why.contains("two of its disks are known by a"), "{}", trouble(&site).why);
    assert_eq!(trouble(&site).work, Work::Fencing);
}

/// What our agent saw before an installer wrote may be heard of after it.
#[test]
fn a_late_report_makes_no_disk_of_a_tenancy_clean() {
    let mut site = Site::new(&format!("{}{POOL}", machines(1)));
    let claim = site.claim("anna");
    assert_eq!(site.hello(1, 0, true), Outcome::Done);
    let disk = |site: &Site| site.state.life(&name("m1")).unwrap().disks[0].state;
    assert_eq!(disk(&site), DiskState::InUse);
    site.release(&claim);
    assert_eq!(disk(&site), DiskState::Dirty);
}

/// Also where the report is older than the whole tenancy: nobody had seen the disk before, and an installer wrote to it.
#[test]
fn a_report_older_than_a_tenancy_makes_no_disk_clean() {
    for (steps, expected) in [(2, DiskState::Dirty), (1, DiskState::Clean)] {
        let mut site = Site::new(&format!("{}{POOL}", machines(1)));
        let claim = site.claim("anna");
        for step in [state::PermitStep::Start, state::PermitStep::Spend].into_iter().take(steps) {
            let tenant = site.state.tenant(&name("m1")).unwrap().clone();
            let permit = state::Permit::new(&site.state, &tenant, step);
            assert_eq!(site.run(Caller::MACHINE, Verb::Permit(permit)), Outcome::Done);
        }
        site.release(&claim);
        assert_eq!(site.hello(1, 0, true), Outcome::Done);
        assert_eq!(site.state.life(&name("m1")).unwrap().disks[0].state, expected, "{steps} steps");
    }
}

/// A system that runs from the network writes to disks without saying so.
#[test]
fn disks_of_who_booted_from_the_network_are_not_clean() {
    let live = "[boot.live]\nkernel = \"vmlinuz\"\n[profile.net]\nboot = \"live\"\n";
    let pool = POOL.replace("\"base\"", "\"net\"").replace("clean = false\n", "");
    let all = format!("{}{live}{pool}", machines(1));
    let state_of = |site: &Site| site.state.life(&name("m1")).unwrap().disks[0].state;
    let mut site = Site::new(&all);
    assert_eq!(site.hello(1, 0, true), Outcome::Done);
    let claim = site.claim("anna");
    assert_eq!((site.machine_of(&claim).as_deref(), site.work("m1")), (Some("m1"), Work::NetworkBoot));
    site.release(&claim);
    assert_eq!(state_of(&site), DiskState::Dirty);
    let next = site.claim("ben");
    assert_eq!(site.machine_of(&next), None);
    assert_eq!(site.state.why_waiting(&next).get(&WhyNot::Dirty), Some(&(1, name("m1"))));

    // The same of a deployment that a revision removes.
    let removable = "max-remove = \"100%\"\nallow-empty = true\n";
    let own = "[deployment.web]\nprofile = \"net\"\nmachine = \"m1\"\n";
    let mut site = Site::new(&format!("{all}{own}"));
    site.adopt(removable, &format!("{all}{own}"));
    assert_eq!(site.hello(1, 0, true), Outcome::Done);
    site.adopt(removable, &all);
    assert_ne!(state_of(&site), DiskState::Clean);
    let claim = site.claim("anna");
    assert_eq!(site.machine_of(&claim), None);

    // And of a rescue system on a machine that nobody has.
    let mut site = Site::new(&all);
    assert_eq!(site.hello(1, 0, true), Outcome::Done);
    assert_eq!(state_of(&site), DiskState::Clean);
    let once = Verb::BootOnce(name("m1"), name("live"), Time(2_000_000));
    assert_eq!(site.run(Caller::DAEMON, once), Outcome::Done);
    assert_eq!(state_of(&site), DiskState::Clean, "it has not booted it");
    assert_eq!(site.run(Caller::MACHINE, Verb::BeginBoot(name("m1"))), Outcome::Done);
    assert_eq!(state_of(&site), DiskState::Dirty);
}

/// What our agent finds after it has wiped differs from what it found before.
#[test]
fn what_is_seen_while_a_wipe_is_verified_begins_no_second_one() {
    let wiping = POOL.replace("\"keep\"", "\"wipe\"");
    let mut site = Site::new(&format!("{}{wiping}", machines(1)));
    let hello = |site: &mut Site, start: &str, blank| {
        let card = Mac::new([0x52, 0x54, 0, 0, 0, 1]).unwrap();
        let disks = [SeenDisk { id: "wwn:1".into(), bytes: 4096, blank }].into();
        let said = Said::Hello { cards: [card].into(), disks, facts: None };
        let (epoch, start) = (site.epoch("m1"), Some(start.into()));
        let report = AgentReport { card, subnet: None, epoch, start, said };
        assert_eq!(site.run(Caller::MACHINE, Verb::Agent(report)), Outcome::Done);
    };
    let claim = site.claim("anna");
    site.release(&claim);
    hello(&mut site, "b1", false);
    assert_eq!(site.agent(1, site.epoch("m1"), Said::Wiped("{}".into())), Outcome::Done);
    hello(&mut site, "b1", true);
    assert_eq!(site.work("m1"), Work::Verifying);
    // Who was started since has not seen what was wiped.
    hello(&mut site, "b2", true);
    assert_eq!(site.work("m1"), Work::Wiping);
    // Nor has who was started while a person holds the machine.
    assert_eq!(site.agent(1, site.epoch("m1"), Said::Wiped("{}".into())), Outcome::Done);
    let hold = Verb::Hold(name("m1"), "a new fan".into(), None);
    assert_eq!(site.run(Caller::DAEMON, hold), Outcome::Done);
    hello(&mut site, "b3", true);
    assert_eq!(site.work("m1"), Work::Wiping);
}

/// After a restore an order is cancelled, a clean disk is distrusted and a claim does not end by itself: also at the start
/// after the next one.
#[test]
fn what_a_restore_distrusts_lasts() {
    let wiping = POOL.replace("\"keep\"", "\"wipe\"");
    let text = format!("{}{wiping}", machines(3));
    let mut site = Site::new(&text);
    (1..=3).for_each(|number| assert_eq!(site.hello(number, 0, true), Outcome::Done));
    let released = site.claim("anna");
    let wanted = Wanted { ttl: Some(Span::seconds(60)), ..site.wanted("ci") };
    let Outcome::Claimed(lasting) = site.run(caller("ben"), Verb::Claim(wanted.into())) else { panic!() };
    assert_eq!(site.machine_of(&lasting).as_deref(), Some("m2"));
    site.ticks(0..=1);
    site.release(&released);
    assert_eq!(site.work("m1"), Work::Fencing);
    let lives = ["m1", "m2", "m3"].map(|one| (name(one), site.state.life(&name(one)).unwrap().clone()));
    let tenancy = (name("m2"), site.state.tenancy(&name("m2")).unwrap().clone());
    let saved = Saved {
        lives: lives.to_vec(),
        claims: site.state.claims().values().cloned().collect(),
        tenancies: vec![tenancy],
        serial: 3,
        restored: true,
        ..Saved::default()
    };
    let state = saved.state(Server::stand_in([10, 0, 0, 1].into()));
    let mut restored = Site { state, records: Vec::new() };
    let tree = SourceRevision { revision: "r".into(), settled: "r".into(), ..SourceRevision::default() };
    let kept = Revision { environment: None, sources: Composition::One(tree) };
    let secrets = restored.state.secrets().clone();
    let adoption = Adoption::new(&restored.state, desired("", &text), secrets).keeping(Some(kept.into()));
    assert_eq!(restored.run(Caller::DAEMON, Verb::Adopt(adoption.into())), Outcome::Done);
    let flag = |record: &Record| matches!(record, Record::Restored(false));
    let until = restored.records.iter().position(flag).expect("it is settled");
    let stored = |machine: &str| {
        let last = restored.records[..until].iter().rev().find_map(|record| match record {
            Record::Life(own, Some(life)) if *own == name(machine) => Some(life.clone()),
            _ => None,
        });
        last.unwrap_or_else(|| panic!("{machine} is not stored"))
    };
    assert!(stored("m1").order.is_none() && stored("m1").hold.is_some());
    assert_eq!(stored("m3").disks[0].state, DiskState::Dirty);
    let ends = restored.records[..until].iter().rev().find_map(|record| match record {
        Record::Claim(own, Some(claim)) if *own == lasting.name => claim.place.clone(),
        _ => None,
    });
    assert_eq!(ends.expect("the claim is stored").ends, None);
    // An hour after its time it has its machine still.
    restored.ticks(0..=3700);
    assert!(restored.state.life(&name("m2")).unwrap().order.is_none());
    assert_eq!(restored.machine_of(&lasting).as_deref(), Some("m2"));
}

#[test]
fn the_first_revision_after_a_restore_wipes_no_machine_that_a_deployment_lost() {
    let wipe = "on-release = \"wipe\"\nmax-remove = \"100%\"\nallow-empty = true\n";
    let before = format!("{}{}", machines(2), pinned("db", 1));
    let mut site = Site::new(&before);
    site.adopt(wipe, &before);
    let tenancy = (name("m1"), site.state.tenancy(&name("m1")).unwrap().clone());
    let saved = Saved { tenancies: vec![tenancy], serial: 3, restored: true, ..Saved::default() };
    let mut restored =
        Site { state: saved.state(Server::stand_in([10, 0, 0, 1].into())), records: Vec::new() };
    // What was served when the backup was made is served again; then the source is read.
    restored.adopt(wipe, &before);
    let next = desired(wipe, &machines(2));
    let plan = diff(&next, &restored.state);
    assert!(plan.changes.iter().any(|change| change.name == "db"), "{plan:#?}");
    assert!(plan.changes.iter().all(|change| change.impact != Impact::Wipe), "{plan:#?}");
    let tree = SourceRevision { revision: "r".into(), settled: "r".into(), ..SourceRevision::default() };
    let kept = Revision { environment: None, sources: Composition::One(tree) };
    let secrets = restored.state.secrets().clone();
    let adoption = Adoption::new(&restored.state, next, secrets).keeping(Some(kept.into()));
    assert_eq!(restored.run(Caller::DAEMON, Verb::Adopt(adoption.into())), Outcome::Done);
    assert!(restored.state.tenancy(&name("m1")).is_none());
    assert_eq!(restored.work("m1"), Work::None, "somebody else may have it since the backup was made");
    // What a later revision takes away is known.
    restored.adopt(wipe, &before);
    restored.adopt(wipe, &machines(2));
    assert_eq!(restored.work("m1"), Work::Fencing);
}

#[test]
fn a_claim_that_had_not_begun_before_the_backup_installs_nothing_after_it() {
    let machine = "[machine.m1]\nmac = \"52:54:00:00:00:01\"\nlabels = { size = \"small\" }\n\
                   power = { kind = \"redfish\", url = \"https://10.0.9.1\" }\n";
    let text = format!("{machine}{POOL}");
    let mut site = Site::new(&text);
    let old = site.claim("anna");
    let waits = site.claim("ben");
    let begin = |saved: Saved| {
        let state = saved.state(Server::stand_in([10, 0, 0, 1].into()));
        let mut again = Site { state, records: Vec::new() };
        let runs = site.state.desired().pools[&name("ci")].prototype.clone();
        let keys = again.state.missing_prototypes().into_iter().map(|(key, _)| (key, runs.clone()));
        let loaded = LoadedPrototypes { prototypes: keys.collect(), ..LoadedPrototypes::default() };
        assert_eq!(again.run(Caller::DAEMON, Verb::Prototypes(loaded.into())), Outcome::Done);
        again.adopt("", &text);
        again
    };
    let prototypes = site.state.prototypes().iter();
    let backup = Saved {
        claims: site.state.claims().values().cloned().collect(),
        tenancies: vec![(name("m1"), site.state.tenancy(&name("m1")).unwrap().clone())],
        prototypes: prototypes.map(|(key, one)| (key.clone(), one.clone())).collect(),
        serial: 3,
        ..Saved::default()
    };
    let boots_its_disk =
        |site: &Site, claim: &Claim| match site.state.duty(site.state.deployment(&claim.name).unwrap()) {
            state::Duty::LocalBoot(why) => why.contains("restored from a backup"),
            duty => panic!("{duty:?}"),
        };
    let mut restored = begin(Saved { restored: true, ..backup });
    assert!(boots_its_disk(&restored, &old));
    assert_eq!(restored.run(Caller::DAEMON, Verb::PowerSeen(name("m1"), PowerState::On)), Outcome::Done);
    restored.ticks(0..=200);
    assert_eq!(restored.restarts(), [""; 0]);
    // The source is read, and the daemon is started anew.
    let tree = SourceRevision { revision: "r".into(), settled: "r".into(), ..SourceRevision::default() };
    let kept = Revision { environment: None, sources: Composition::One(tree) };
    let secrets = restored.state.secrets().clone();
    let adoption = Adoption::new(&restored.state, desired("", &text), secrets).keeping(Some(kept.into()));
    assert_eq!(restored.run(Caller::DAEMON, Verb::Adopt(adoption.into())), Outcome::Done);
    let note = restored.records.iter().rev().find_map(|record| match record {
        Record::Note(note, bytes) if &**note == state::trust::NOTE => Some(bytes.clone()),
        _ => None,
    });
    let prototypes = restored.state.prototypes().iter();
    let mut again = begin(Saved {
        claims: restored.state.claims().values().cloned().collect(),
        tenancies: vec![(name("m1"), restored.state.tenancy(&name("m1")).unwrap().clone())],
        prototypes: prototypes.map(|(key, one)| (key.clone(), one.clone())).collect(),
        notes: [(state::trust::NOTE.to_owned(), note.unwrap())].into(),
        serial: 4,
        ..Saved::default()
    });
    assert!(boots_its_disk(&again, &old));
    // Whoever looked gives it back. The next claim is installed.
    again.release(&old);
    assert_eq!(again.machine_of(&waits).as_deref(), Some("m1"));
    let duty = again.state.duty(again.state.deployment(&waits.name).unwrap());
    assert_eq!(duty, state::Duty::Install { permit: true });
}

#[test]
fn user_data_are_for_one_machine_and_gone_with_its_installation() {
    let pool = |profile: &str| POOL.replace("\"base\"", &format!("\"{profile}\""));
    let ask = |site: &mut Site, text: &str| {
        let user_data = Some(site.state.sealed_user_data([7; user_data::NONCE], text));
        let wanted = Wanted { user_data, ..site.wanted("ci") };
        site.run(caller("anna"), Verb::Claim(wanted.into()))
    };
    let answers = |site: &Site, claim: &Name, file: &str| {
        let own = site.state.deployment(claim).unwrap().clone();
        voldemort::proto::tree::answer_file(&site.state, &own, file).unwrap().unwrap()
    };
    let mut site = Site::new(&format!("{}{}", machines(1), pool("base")));
    assert!(matches!(ask(&mut site, "x"), Outcome::Refused(why) if why.contains("no user data")));

    let mut site = Site::new(&format!("{}{}", machines(1), pool("given")));
    let Outcome::Claimed(claim) = ask(&mut site, "hunter2") else { panic!("a claim") };
    assert!(claim.has_user_data);
    let is_in = |record: &Record| {
        let mut bytes = Vec::new();
        record.write_value(&mut bytes);
        bytes.windows(7).any(|part| part == b"hunter2")
    };
    assert!(!site.records.iter().any(is_in), "it is sealed wherever it is stored");
    assert_eq!(answers(&site, &claim.name, "preseed.cfg").lines().next(), Some("# hunter2"));
    let report = Report {
        deployment: claim.name.clone(),
        redeploy: 0,
        epoch: None,
        outcome: state::Outcome::Completed,
        note: String::new(),
    };
    assert_eq!(site.run(Caller::MACHINE, Verb::Report(report.clone())), Outcome::Done);
    assert_eq!(site.state.user_data(&claim.name), UserData::None);
    assert!(site.state.lasting().user_data.is_empty() && !site.state.claims()[&claim.name].has_user_data);
    assert_eq!(answers(&site, &claim.name, "preseed.cfg").lines().next(), Some("# "));

    // Where cloud-init reads them whenever the machine starts, they stay as long as the claim.
    let mut site = Site::new(&format!("{}{}", machines(1), pool("seeded")));
    let Outcome::Claimed(claim) = ask(&mut site, "#cloud-config\n") else { panic!("a claim") };
    let report = Report { deployment: claim.name.clone(), ..report };
    assert_eq!(site.run(Caller::MACHINE, Verb::Report(report)), Outcome::Done);
    assert_eq!(answers(&site, &claim.name, "nocloud/user-data"), "#cloud-config\n");
    site.release(&claim);
    assert!(site.state.lasting().user_data.is_empty());
    // Those of a claim whose record is lost are not taken for none.
    let Outcome::Claimed(claim) = ask(&mut site, "#cloud-config\n") else { panic!("a claim") };
    let lost = site.state.clone().with_lasting(|lasting| lasting.user_data.clear());
    assert!(matches!(lost.user_data(&claim.name), UserData::Withheld(_)));
}

#[test]
fn a_claim_is_made_of_what_its_pool_is_when_it_is_stored() {
    let mut site = Site::new(&format!("{}{POOL}", machines(1)));
    let early = site.wanted("ci");
    site.adopt("", &format!("{}{}", machines(1), POOL.replace("\"base\"", "\"seeded\"")));
    assert_eq!(site.run(caller("anna"), Verb::Claim(early.into())), Outcome::Moved);
    assert!(site.state.claims().is_empty() && site.state.prototypes().is_empty());
    let claim = site.claim("anna");
    assert_eq!(site.state.deployment(&claim.name).unwrap().boot.name.as_str(), "seeded");
    // It goes on as it was made.
    site.adopt("", &format!("{}{POOL}", machines(1)));
    assert_eq!(site.state.deployment(&claim.name).unwrap().boot.name.as_str(), "seeded");
    assert_eq!(site.state.prototypes().len(), 1);
    site.release(&claim);
    assert!(site.state.prototypes().is_empty());
    // Why a machine is not given out is said of machines as they are.
    let pool = site.state.desired().pools[&name("ci")].clone();
    assert_eq!(site.state.why_not(&pool, &name("m1")), None);
    assert_eq!(site.state.why_not(&pool, &name("m7")), Some(WhyNot::NotAccepted));
}
