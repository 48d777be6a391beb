//! Permission to install belongs to a machine: whatever its deployment, or the machine itself, is called
//! later. Over the table alone; `reconcile.rs` has the main cases through the keeper and its store.

use std::sync::Arc;

use voldemort::desired::Desired;
use voldemort::model::facts::Facts;
use voldemort::model::{Mac, Name, Time};
use voldemort::plan::{Action, Change, Consent, Hold, Impact, diff, hold};
use voldemort::proto::tree::{self, Answer, Asker, Method, Transport};
use voldemort::state::life::{AgentReport, Said};
use voldemort::state::{
    Adoption, Duty, InstallStage, Outcome, Permit, PermitStep, Purpose, Report, Server, State, Verb, command,
};

use super::loaded;

const HEAD: &str = r#"
[subnet.lab]
cidr = "10.0.0.0/16"
dynamic = "10.0.9.1-10.0.9.250"
[boot.b]
kernel  = "vmlinuz"
cmdline = ["url={{ answers_url }}"]
[boot.other]
kernel  = "vmlinuz"
cmdline = ["quiet", "url={{ answers_url }}"]
[template.site]
kind = "preseed"
file = "site.liquid"
"#;

pub(crate) fn desired(text: &str) -> Arc<Desired> {
    desired_with("", text)
}

/// Under these `[safety]` rules.
fn desired_with(safety: &str, text: &str) -> Arc<Desired> {
    loaded::desired(&[
        ("voldemort.toml", &format!("format = 1\n[safety]\n{safety}")),
        ("a.toml", &format!("{HEAD}{text}")),
        ("site.liquid", "d-i x/y string {{ completed_url }}\n"),
    ])
}

/// A deployment with a machine of its own, which has the same name.
fn inline(name: &str, mac: u8, redeploy: u64) -> String {
    format!(
        "[deployment.{name}]\nmac = \"52:54:00:00:00:{mac:02x}\"\naddress = \"10.0.1.{mac}\"\nsubnet = \"lab\"\n\
         boot = \"b\"\ntemplate = \"preseed\"\nredeploy = {redeploy}\n"
    )
}

/// A deployment on a machine that is declared.
fn pinned(name: &str, machine: &str, redeploy: u64) -> String {
    format!(
        "[deployment.{name}]\nmachine = \"{machine}\"\nsubnet = \"lab\"\naddress = \"auto\"\nboot = \"b\"\n\
         template = \"preseed\"\nredeploy = {redeploy}\n"
    )
}

fn machine(name: &str, mac: u8) -> String {
    format!("[machine.{name}]\nmac = \"52:54:00:00:00:{mac:02x}\"\nlabels = {{ size = \"small\" }}\n")
}

fn chosen(name: &str, size: &str, redeploy: u64) -> String {
    pinned(name, "x", redeploy).replace("machine = \"x\"", &format!("select = {{ size = \"{size}\" }}"))
}

/// With another boot and another template.
fn really_else(text: &str) -> String {
    text.replace("boot = \"b\"", "boot = \"other\"").replace("preseed", "site")
}

/// One host: every revision after the one before, and what machines do between them.
struct Site {
    state: State,
}

impl Site {
    fn new(text: &str) -> Site {
        Site { state: State::new(Server::stand_in("10.0.0.1".parse().unwrap())).adopt(desired(text)) }
    }

    /// Adopts it; the rows of its plan about deployments.
    fn adopt(&mut self, text: &str) -> Vec<Change> {
        let next = desired(text);
        let plan = diff(&next, &self.state);
        self.state = self.state.adopt(next);
        plan.changes.into_iter().filter(|change| change.kind == "deployment").collect()
    }

    /// The daemon is started anew, and the revision can't be loaded any more.
    fn restart(&mut self) {
        let lasting = self.state.lasting().clone();
        self.state = State::restored(Server::stand_in("10.0.0.1".parse().unwrap()), lasting);
    }

    fn duty(&self, name: &str) -> Duty {
        self.state.duty(&self.state.desired().deployments[name])
    }

    fn boots_disk(&self, name: &str) -> String {
        match self.duty(name) {
            Duty::LocalBoot(why) => why,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn installs(&self, name: &str) {
        assert_eq!(self.duty(name), Duty::Install { permit: true }, "{name}");
    }

    fn step(&mut self, name: &str, step: PermitStep) {
        let redeploy = self.state.desired().deployments[name].redeploy;
        let permit = Permit { deployment: name.parse().unwrap(), redeploy, epoch: None, step };
        self.state = self.state.after(Verb::Permit(permit.clone()), Time(1)).unwrap();
    }

    /// To the end.
    fn install(&mut self, name: &str) {
        self.installs(name);
        self.step(name, PermitStep::Start);
        self.step(name, PermitStep::Spend);
        let redeploy = self.state.desired().deployments[name].redeploy;
        let outcome = Outcome::Completed;
        let deployment = name.parse().unwrap();
        let report = Report { deployment, redeploy, epoch: None, outcome, note: String::new() };
        self.state = self.state.after(Verb::Report(report.clone()), Time(2)).unwrap();
        assert_eq!(self.boots_disk(name), "installed");
    }

    fn stage(&self, name: &str) -> InstallStage {
        self.state.install_of(&name.parse().unwrap()).unwrap().stage
    }

    /// The folder of an installation's URLs.
    fn url(&self, name: &str, purpose: Purpose) -> String {
        let kind = if purpose == Purpose::Hooks { "hooks" } else { "answers" };
        format!("{kind}/{name}/{}", self.state.token(purpose, &self.state.desired().deployments[name]))
    }

    fn get(&mut self, path: &str) -> Answer {
        let asker = Asker::new([10, 0, 1, 1], None, Transport::Http);
        let answer = tree::open(&self.state, &asker, Method::Get, path, "");
        if let Answer::Report(report, _) = &answer {
            self.state = self.state.after(Verb::Report(report.clone()), Time(3)).unwrap();
        }
        answer
    }
}

fn of<'a>(changes: &'a [Change], name: &str) -> &'a Change {
    changes.iter().find(|change| change.name == name).unwrap_or_else(|| panic!("{name}: {changes:?}"))
}

fn none_is_wiped(changes: &[Change]) {
    assert!(changes.iter().all(|change| change.impact != Impact::Wipe), "{changes:?}");
}

#[test]
fn a_rename_that_is_taken_back_installs_nothing() {
    let mut site = Site::new(&inline("db1", 1, 0));
    site.install("db1");
    none_is_wiped(&site.adopt(&inline("db01", 1, 0)));
    assert_eq!(
        site.boots_disk("db01"),
        "installed: redeploy = 0 was used on machine db01 as db1; raise it above to install"
    );
    let raised = site.adopt(&inline("db01", 1, 1));
    assert_eq!(of(&raised, "db01").impact, Impact::Wipe);
    site.install("db01");
    let back = site.adopt(&inline("db1", 1, 1));
    none_is_wiped(&back);
    let row = of(&back, "db1");
    assert_eq!((row.action, row.impact), (Action::Rename, Impact::Live));
    assert!(row.reason.contains("redeploy = 1 was used on machine db1 as db01"), "{}", row.reason);
    // The same again, with nothing in between.
    none_is_wiped(&site.adopt(&inline("db01", 1, 1)));
    none_is_wiped(&site.adopt(&inline("db1", 1, 1)));
    // And a raise is one.
    assert_eq!(of(&site.adopt(&inline("db1", 1, 2)), "db1").impact, Impact::Wipe);
    site.install("db1");
}

#[test]
fn a_rename_may_come_with_other_changes() {
    let site = || {
        let mut site = Site::new(&inline("db1", 1, 3));
        site.install("db1");
        site
    };
    // The number is dropped, or the boot is another one.
    for text in [inline("db01", 1, 0), inline("db01", 1, 3).replace("boot = \"b\"", "boot = \"other\"")] {
        let mut site = site();
        none_is_wiped(&site.adopt(&text));
        site.boots_disk("db01");
        none_is_wiped(&site.adopt(&inline("db1", 1, 3)));
    }
    // With a raise, then only the name back, or all of it.
    for back in [4, 3] {
        let mut site = site();
        assert_eq!(of(&site.adopt(&inline("db01", 1, 4)), "db01").impact, Impact::Wipe);
        site.install("db01");
        none_is_wiped(&site.adopt(&inline("db1", 1, back)));
        site.boots_disk("db1");
        site.adopt(&inline("db1", 1, 5));
        site.installs("db1");
    }
}

#[test]
fn a_rename_in_mid_install_keeps_the_permission_spent_and_the_urls_alive() {
    let mut site = Site::new(&(inline("db1", 1, 0) + &inline("old", 2, 0)));
    site.install("old");
    // The name was used before, on another machine, which is gone.
    site.adopt(&inline("db1", 1, 0));
    site.step("db1", PermitStep::Start);
    let (answers, hooks) = (site.url("db1", Purpose::Answers), site.url("db1", Purpose::Hooks));
    site.step("db1", PermitStep::Spend);
    none_is_wiped(&site.adopt(&inline("old", 1, 0)));
    assert_eq!(site.stage("old"), InstallStage::Spent);
    site.boots_disk("old");
    assert!(matches!(site.get(&format!("{answers}/preseed.cfg")), Answer::Serve(_)), "asked for once more");
    assert!(matches!(site.get(&format!("{hooks}/completed")), Answer::Report(..)));
    assert_eq!(site.stage("old"), InstallStage::Installed);
    // Taken back: still installed; raised: to be installed, whatever `old` used up elsewhere.
    none_is_wiped(&site.adopt(&inline("db1", 1, 0)));
    assert_eq!(site.stage("db1"), InstallStage::Installed);
    site.adopt(&inline("old", 1, 1));
    site.install("old");
}

#[test]
fn a_rename_before_anything_was_destroyed_goes_on() {
    let mut site = Site::new(&inline("db1", 1, 0));
    site.step("db1", PermitStep::Start);
    let answers = site.url("db1", Purpose::Answers);
    site.adopt(&inline("db01", 1, 0));
    assert_eq!(site.duty("db01"), Duty::Install { permit: false });
    let Answer::Permit(permit) = site.get(&format!("{answers}/preseed.cfg")) else { panic!() };
    assert_eq!((permit.deployment.as_str(), permit.step), ("db01", PermitStep::Spend));
    site.state = site.state.after(Verb::Permit(permit.clone()), Time(1)).unwrap();
    assert_eq!(site.stage("db01"), InstallStage::Spent);
}

#[test]
fn exchanged_names_and_machines_install_nothing() {
    let machines = machine("m1", 1) + &machine("m2", 2);
    let both = |a: u64, b: u64| {
        let text = machines.clone() + &pinned("a", "m1", a) + &pinned("b", "m2", b);
        let mut site = Site::new(&text);
        site.install("a");
        site.install("b");
        site
    };
    for (a, b) in [(0, 0), (5, 0), (0, 5)] {
        // The names change places, with their numbers and without.
        for (x, y) in [(a, b), (b, a)] {
            let mut site = both(a, b);
            let swapped = machines.clone() + &pinned("a", "m2", x) + &pinned("b", "m1", y);
            none_is_wiped(&site.adopt(&swapped));
            site.boots_disk("a");
            site.boots_disk("b");
            none_is_wiped(&site.adopt(&(machines.clone() + &pinned("a", "m1", a) + &pinned("b", "m2", b))));
        }
        // The boxes change places.
        let mut site = both(a, b);
        let text = machine("m1", 2) + &machine("m2", 1) + &pinned("a", "m1", a) + &pinned("b", "m2", b);
        none_is_wiped(&site.adopt(&text));
        site.boots_disk("a");
        site.boots_disk("b");
        // And with names and machines in one table.
        let mut site = Site::new(&(inline("a", 1, a) + &inline("b", 2, b)));
        site.install("a");
        site.install("b");
        none_is_wiped(&site.adopt(&(inline("a", 2, a) + &inline("b", 1, b))));
        none_is_wiped(&site.adopt(&(inline("a", 2, b) + &inline("b", 1, a))));
        site.boots_disk("a");
        site.boots_disk("b");
        // Raised above both, it is installed, and only that one.
        site.adopt(&(inline("a", 2, 6) + &inline("b", 1, a)));
        site.install("a");
        site.boots_disk("b");
    }
}

#[test]
fn names_that_move_on_by_one_install_nothing() {
    let machines = machine("m1", 1) + &machine("m2", 2) + &machine("m3", 3);
    let text = machines.clone() + &pinned("a", "m1", 5) + &pinned("b", "m2", 0);
    let mut site = Site::new(&text);
    site.install("a");
    site.install("b");
    none_is_wiped(&site.adopt(&(machines.clone() + &pinned("b", "m1", 5) + &pinned("c", "m2", 0))));
    site.boots_disk("b");
    site.boots_disk("c");
    // The old name goes to a new machine in the same revision.
    let mut site = Site::new(&(inline("db1", 1, 0)));
    site.install("db1");
    none_is_wiped(&site.adopt(&(inline("db01", 1, 0) + &inline("db1", 2, 0))));
    site.boots_disk("db01");
    none_is_wiped(&site.adopt(&inline("db1", 1, 0)));
    site.boots_disk("db1");
}

#[test]
fn a_machine_that_is_renamed_stays_installed() {
    let mut site = Site::new(&(machine("m1", 1) + &pinned("a", "m1", 1)));
    site.install("a");
    let both = machine("rack1", 1) + &pinned("front", "rack1", 1);
    none_is_wiped(&site.adopt(&both));
    assert!(site.boots_disk("front").contains("redeploy = 1 was used on machine rack1 as a"));
    // Gone for a while, and back under a third name.
    site.adopt("");
    none_is_wiped(&site.adopt(&(machine("u01", 1) + &pinned("front", "u01", 1))));
    site.boots_disk("front");
}

#[test]
fn a_deployment_that_moves_to_another_machine_and_back_installs_nothing() {
    let machines = machine("m1", 1) + &machine("m2", 2);
    let mut site = Site::new(&(machines.clone() + &pinned("a", "m1", 0)));
    site.install("a");
    none_is_wiped(&site.adopt(&(machines.clone() + &pinned("a", "m2", 0))));
    assert_eq!(site.boots_disk("a"), "redeploy = 0 was used on machine m1; raise it to install on m2");
    none_is_wiped(&site.adopt(&(machines.clone() + &pinned("a", "m1", 0))));
    assert_eq!(site.boots_disk("a"), "installed");
    site.adopt(&(machines.clone() + &pinned("a", "m2", 1)));
    site.install("a");
    // Back with the number, and without it.
    for redeploy in [1, 0] {
        none_is_wiped(&site.adopt(&(machines.clone() + &pinned("a", "m1", redeploy))));
        site.boots_disk("a");
    }
}

/// What another machine does must never open a permission.
#[test]
fn an_installation_of_one_machine_opens_nothing_on_another() {
    let machines = machine("m1", 1) + &machine("m2", 2);
    let mut site = Site::new(&(machines.clone() + &pinned("a", "m1", 0) + &pinned("b", "m2", 0)));
    site.install("a");
    site.install("b");
    site.adopt(&(machines.clone() + &pinned("a", "m2", 1) + &pinned("b", "m1", 0)));
    site.install("a");
    site.boots_disk("b");
    let other = really_else(&pinned("web", "m1", 0));
    let mut site = Site::new(&(machines.clone() + &pinned("a", "m1", 0)));
    site.install("a");
    site.adopt(&(machines.clone() + &pinned("a", "m2", 0) + &other));
    site.boots_disk("a");
    site.install("web");
    assert!(site.boots_disk("a").contains("was used on machine m1"), "{}", site.boots_disk("a"));
}

#[test]
fn a_new_box_under_a_known_name_says_why_it_is_not_installed() {
    let mut site = Site::new(&inline("db1", 1, 0));
    site.install("db1");
    let rows = site.adopt(&inline("db1", 2, 0));
    none_is_wiped(&rows);
    let why = site.boots_disk("db1");
    assert_eq!(
        why,
        "installed: redeploy = 0 was used on machine db1 when it had 52:54:00:00:00:01; raise it to install \
         the box with 52:54:00:00:00:02"
    );
    site.adopt(&inline("db1", 2, 1));
    site.install("db1");
    // The former box comes back under its name: its number is used up there.
    let mut site = Site::new(&inline("db1", 1, 0));
    site.install("db1");
    site.adopt("");
    let rows = site.adopt(&inline("db1", 2, 0));
    assert!(of(&rows, "db1").reason.contains("52:54:00:00:00:01"), "{rows:?}");
}

#[test]
fn a_number_that_is_lowered_and_raised_again_is_used() {
    let mut site = Site::new(&inline("a", 1, 2));
    site.install("a");
    for redeploy in [0, 1, 2, 0, 2] {
        none_is_wiped(&site.adopt(&inline("a", 1, redeploy)));
        site.boots_disk("a");
    }
    site.adopt(&inline("a", 1, 3));
    site.install("a");
}

#[test]
fn what_is_removed_and_brought_back_stays_installed() {
    let mut site = Site::new(&inline("a", 1, 1));
    site.install("a");
    site.adopt("");
    none_is_wiped(&site.adopt(&inline("a", 1, 1)));
    assert_eq!(site.boots_disk("a"), "installed");
    // Something really else was there meanwhile, which the plan showed.
    let other = really_else(&inline("web", 1, 0));
    assert_eq!(of(&site.adopt(&other), "web").impact, Impact::Wipe);
    site.install("web");
    let rows = site.adopt(&inline("a", 1, 1));
    none_is_wiped(&rows);
    assert!(site.boots_disk("a").contains("web was installed there since"), "{}", site.boots_disk("a"));
}

#[test]
fn selectors_choose_and_never_unchoose() {
    let machines = machine("m1", 1) + &machine("m2", 2);
    let mut site = Site::new(&(machines.clone() + &pinned("a", "m2", 0)));
    site.install("a");
    let on = |site: &Site, name: &str| site.state.assignments()[name].to_string();
    // Pinned, then chosen: it keeps its machine.
    none_is_wiped(&site.adopt(&(machines.clone() + &chosen("a", "small", 0))));
    assert_eq!(on(&site, "a"), "m2");
    // Under another name: so does that.
    none_is_wiped(&site.adopt(&(machines.clone() + &chosen("b", "small", 0))));
    assert_eq!(on(&site, "b"), "m2");
    // A machine that matches no more is drift.
    let large = machines.replace("\"small\"", "\"large\"");
    none_is_wiped(&site.adopt(&(large.clone() + &chosen("b", "small", 0))));
    assert_eq!(on(&site, "b"), "m2");
    none_is_wiped(&site.adopt(&(machines.clone() + &chosen("b", "large", 0))));
    assert_eq!(on(&site, "b"), "m2");
    site.boots_disk("b");
    // Its machine is gone: another is chosen, and waits for a raise.
    none_is_wiped(&site.adopt(&(machine("m1", 1) + &chosen("b", "small", 0))));
    assert_eq!(on(&site, "b"), "m1");
    assert!(site.boots_disk("b").contains("was used on machine m2"));
}

#[test]
fn the_next_revision_is_judged_by_what_was_stored() {
    let machines = machine("m1", 1) + "protect = true\n" + &machine("m2", 2);
    let text = machines.clone() + &pinned("a", "m1", 0) + &pinned("b", "m2", 1);
    let site = || {
        let mut site = Site::new(&text);
        site.install("a");
        site.install("b");
        site.restart();
        site
    };
    let holds = |site: &Site, text: &str| {
        let next = desired(text);
        let plan = diff(&next, &site.state);
        let holds = hold(&plan, &next, &site.state, &Default::default());
        (plan, holds.into_iter().map(|hold| hold.reason).collect::<Vec<_>>().join("; "))
    };
    assert_eq!(holds(&site(), &text).1, "");
    let (plan, held) = holds(&site(), "");
    assert!(held.contains("removes every deployment (2)") && held.contains("protected"), "{held}");
    assert_eq!(plan.deployments_before, 2);
    let (_, held) = holds(&site(), &(machine("m2", 2) + &pinned("b", "m2", 1)));
    assert!(held.contains("releases or wipes protected machines"), "{held}");
    // A rename is none of it, and installs nothing.
    let mut renamed = site();
    let next = machines.clone() + &pinned("a", "m1", 0) + &pinned("b2", "m2", 1);
    assert_eq!(holds(&renamed, &next).1, "");
    none_is_wiped(&renamed.adopt(&next));
    renamed.boots_disk("b2");
    // Nor is another name of the machine.
    let mut renamed = site();
    let next = next.replace("m2", "rack2");
    assert_eq!(holds(&renamed, &next).1, "");
    none_is_wiped(&renamed.adopt(&next));
    renamed.boots_disk("b2");
}

#[test]
fn names_are_found_by_their_installations() {
    let mut site = Site::new(&inline("db1", 1, 0));
    site.install("db1");
    site.adopt(&inline("db01", 1, 0));
    let name = |text: &str| -> Name { text.parse().unwrap() };
    assert_eq!(site.state.used_number(&name("db01")), Some(0));
    assert_eq!(site.state.used_number(&name("db1")), None);
    assert_eq!(site.state.installs().named(&name("db1")).count(), 1);
}

/// A revision is judged beside the keeper: meanwhile a machine may begin its installation.
#[test]
fn what_machines_did_since_a_revision_was_judged_is_kept_or_judged_again() {
    let site = Site::new(&(inline("web", 1, 1) + &inline("db", 2, 1)));
    let judged = |text: String| {
        let secrets = site.state.secrets().clone();
        Verb::Adopt(Box::new(Adoption::new(&site.state, desired(&text), secrets)))
    };
    let concerns_web = judged(inline("web", 1, 2) + &inline("db", 2, 1));
    let concerns_db = judged(inline("web", 1, 1) + &inline("db", 2, 2));
    let mut since = Site { state: site.state.clone() };
    since.step("web", PermitStep::Start);
    let mut state = since.state.clone();
    assert_eq!(state.act(concerns_web, Time(3)), command::Outcome::Moved);
    assert!(
        state.installs() == since.state.installs() && Arc::ptr_eq(state.desired(), since.state.desired())
    );
    assert_eq!(state.act(concerns_db.clone(), Time(3)), command::Outcome::Done);
    assert_eq!(Site { state: state.clone() }.stage("web"), InstallStage::Started);
    assert_eq!(state.desired().deployments["db"].redeploy, 2);
    // It was judged over what was desired before.
    assert_eq!(state.act(concerns_db, Time(4)), command::Outcome::Moved);
}

/// A deployment that chooses by hardware gets its machine when our agent reports, not with the next revision alone.
#[test]
fn what_chooses_by_facts_is_placed_when_they_come() {
    let wish = chosen("a", "small", 0).replace("size = \"small\"", "memory = \">= 2 GiB\"");
    let text = machine("m1", 1) + &machine("m2", 2) + &wish;
    let site = Site { state: State::new(Server::stand_in("10.0.0.1".parse().unwrap())) };
    let adoption = Adoption::new(&site.state, desired(&text), site.state.secrets().clone());
    let mut state = site.state.clone();
    assert_eq!(state.act(Verb::Adopt(Box::new(adoption)), Time(3)), command::Outcome::Done);
    let mut report = |card: u8, memory: u64| {
        let card: Mac = format!("52:54:00:00:00:{card:02x}").parse().unwrap();
        let facts = Some(Arc::new(Facts { memory, ..Facts::default() }));
        let said = Said::Hello { cards: [card].into(), disks: [].into(), facts };
        let report = AgentReport { card, subnet: None, epoch: 0, start: None, said };
        assert_eq!(state.act(Verb::Agent(report), Time(4)), command::Outcome::Done);
        state.assignments().get("a").map(ToString::to_string)
    };
    assert_eq!(report(1, 1 << 30), None);
    assert_eq!(report(2, 4 << 30).as_deref(), Some("m2"));
    assert_eq!(report(1, 8 << 30).as_deref(), Some("m2"));
}

/// Machines from `from` to `to`, each with a deployment that asks for this number.
fn fleet(from: u8, to: u8, redeploy: u64) -> String {
    (from..=to).map(|number| inline(&format!("m{number}"), number, redeploy)).collect()
}

/// What speaks against a revision with these rules, as the daemon judges it.
fn held(site: &Site, safety: &str, text: &str, consent: &Consent) -> Vec<Hold> {
    let next = desired_with(safety, text);
    hold(&diff(&next, &site.state), &next, &site.state, consent)
}

#[test]
fn a_revision_that_loosens_its_thresholds_can_not_use_that_at_once() {
    let usual = Consent::default();
    let loose = "max-remove = '100%'\nallow-empty = true\n";
    let mut site = Site::new(&fleet(1, 10, 0));
    // The first revision of a source brings its own.
    let new = Site { state: State::new(Server::stand_in("10.0.0.1".parse().unwrap())) };
    assert_eq!(held(&new, "max-reinstall = 0", &fleet(1, 10, 0), &usual), []);
    for (text, reason) in [
        (fleet(1, 6, 0), "removes 4 of 10 deployments; max-remove is 30% in what is served"),
        (String::new(), "removes every deployment (10); allow-empty is false in what is served"),
    ] {
        let holds = held(&site, loose, &text, &usual);
        assert!(holds.len() == 1 && holds[0].reason.contains(reason), "{holds:?}");
        assert!(holds[0].cure.contains("commit the change of [safety] alone first"), "{holds:?}");
        // A person may agree, as to any other.
        let count = holds[0].names.len();
        let consent = Consent { removals: Some(count), ..usual };
        assert_eq!(held(&site, loose, &text, &consent), []);
    }
    // What is stricter counts at once.
    let holds = held(&site, "max-remove = '10%'", &fleet(1, 8, 0), &usual);
    assert!(holds[0].reason.ends_with("max-remove is 10%"), "{holds:?}");
    // The loosening alone passes, also over a restart after which the revision can't be loaded.
    assert_eq!(held(&site, loose, &fleet(1, 10, 0), &usual), []);
    site.state = site.state.adopt(desired_with(loose, &fleet(1, 10, 0)));
    site.restart();
    assert_eq!(held(&site, loose, &fleet(1, 6, 0), &usual), []);
    assert_eq!(held(&site, loose, "", &usual), []);
}

#[test]
fn reinstallations_are_limited_by_what_is_served_too() {
    let usual = Consent::default();
    let mut site = Site::new("");
    site.state = site.state.adopt(desired_with("max-reinstall = 1", &fleet(1, 3, 0)));
    (1..=3).for_each(|number| site.install(&format!("m{number}")));
    let raised = fleet(1, 3, 1);
    for safety in ["max-reinstall = 3", ""] {
        let holds = held(&site, safety, &raised, &usual);
        assert!(
            holds[0].reason.contains("reinstalls 3 machines; max-reinstall is 1 in what is served"),
            "{holds:?}"
        );
        assert!(holds[0].cure.starts_with("agree with --allow-reinstalls 3, or commit"), "{holds:?}");
        assert_eq!(held(&site, safety, &raised, &Consent { reinstalls: Some(3), ..usual }), []);
    }
    site.restart();
    assert_eq!(held(&site, "", &fleet(1, 3, 0), &usual), [], "nothing is reinstalled");
    site.state = site.state.adopt(desired_with("", &fleet(1, 3, 0)));
    assert_eq!(held(&site, "", &raised, &usual), []);
}

/// A machine with a board that shows a UUID, and with a network card.
fn board(name: &str, last: u8, mac: u8) -> String {
    machine(name, mac) + &format!("uuid = \"4c4c4544-0042-3510-8056-b4c04f4e4d{last:02x}\"\n")
}

#[test]
fn a_machine_whose_network_card_was_changed_is_followed_by_its_other_marks() {
    // Machine and deployment get other names in the same commit, with the revision before at hand or not.
    for is_loaded in [true, false] {
        let mut site = Site::new(&(board("m1", 1, 1) + &pinned("web", "m1", 0)));
        site.install("web");
        if !is_loaded {
            site.restart();
        }
        none_is_wiped(&site.adopt(&(board("rack1", 1, 9) + &pinned("shop", "rack1", 0))));
        assert!(site.boots_disk("shop").starts_with("installed"), "{}", site.boots_disk("shop"));
    }
    // Two boards exchange their names and get new cards: the installations go with the boards.
    let both = pinned("a", "m1", 0) + &pinned("b", "m2", 5);
    let mut site = Site::new(&(board("m1", 1, 1) + &board("m2", 2, 2) + &both));
    site.install("a");
    site.install("b");
    none_is_wiped(&site.adopt(&(board("m1", 2, 8) + &board("m2", 1, 9) + &both)));
    site.boots_disk("a");
    site.boots_disk("b");
    // A card that went to another box tells more than the board that stayed.
    let mut site = Site::new(&(board("m1", 1, 1) + &pinned("a", "m1", 0)));
    site.install("a");
    site.adopt(&(board("m1", 1, 2) + &machine("m2", 1) + &pinned("a", "m1", 0)));
    assert_eq!(site.state.installs().on(&"m2".parse().unwrap()).len(), 1);
    // A board that is protected is not taken by another name.
    let db = |text: String| text + "protect = true\n" + &pinned("db", "m1", 0);
    let mut site = Site::new(&db(board("m1", 1, 1)));
    site.install("db");
    let taken = db(board("m1", 7, 8)) + &board("m2", 1, 9) + &pinned("new", "m2", 0);
    let holds = held(&site, "", &taken, &Consent::default());
    assert!(holds.iter().any(|hold| hold.reason.contains("protected machines")), "{holds:?}");
}

/// A word that was on its way when its machine was given to another.
#[test]
fn a_late_word_of_an_earlier_tenancy_changes_nothing() {
    let machines = machine("m1", 1) + &machine("m2", 2);
    let mut site = Site::new(&(machines.clone() + &pinned("web", "m1", 1)));
    let epoch = |site: &Site, name: &str| site.state.epoch_of(&name.parse().unwrap());
    let deployment = |site: &Site| site.state.desired().deployments["web"].clone();
    // The script of m1 is asked for; before that is stored, the deployment goes to m2 and is begun there.
    let start = Permit::new(&site.state, &deployment(&site), PermitStep::Start);
    site.step("web", PermitStep::Start);
    let spend = Permit::new(&site.state, &deployment(&site), PermitStep::Spend);
    let (first, url) = (epoch(&site, "web").unwrap(), site.url("web", Purpose::Hooks));
    assert_eq!(site.state.install_of(&"web".parse().unwrap()).unwrap().epoch, first);
    site.adopt(&(machines.clone() + &pinned("web", "m2", 1)));
    assert!(epoch(&site, "web").unwrap() > first);
    assert!(site.state.after(Verb::Permit(start), Time(4)).is_err());
    site.step("web", PermitStep::Start);
    assert!(
        site.state.after(Verb::Permit(spend), Time(4)).is_err(),
        "m1 must not use up the permission of m2"
    );
    assert_eq!(site.stage("web"), InstallStage::Started);
    // m1 got another deployment; what its first installer says comes too late.
    site.adopt(&(machines.clone() + &pinned("web", "m2", 1) + &pinned("db", "m1", 1)));
    let asker = Asker::new([10, 0, 1, 1], None, Transport::Http);
    let Answer::Report(report, _) =
        tree::open(&site.state, &asker, Method::Get, &format!("{url}/completed"), "")
    else {
        panic!("the URL is known")
    };
    let why = site.state.after(Verb::Report(report), Time(5)).unwrap_err();
    assert!(why.contains(&format!("epoch {first}")) && why.contains("nothing was changed"), "{why}");
    site.installs("db");
}

/// A raised number gives a permission anew: the report of the installation before it neither ends the new one's wait
/// for a window nor counts as its own.
#[test]
fn a_report_of_a_number_that_was_raised_meanwhile_changes_nothing() {
    let mut site = Site::new(&inline("web", 1, 1));
    site.step("web", PermitStep::Start);
    let url = site.url("web", Purpose::Hooks);
    site.step("web", PermitStep::Spend);
    let window = |redeploy| desired_with("max-in-flight = 1\n", &inline("web", 1, redeploy));
    site.state = site.state.adopt(window(2));
    let waves = site.state.waves();
    let asker = Asker::new([10, 0, 1, 1], None, Transport::Http);
    let Answer::Report(report, _) =
        tree::open(&site.state, &asker, Method::Get, &format!("{url}/failed"), "")
    else {
        panic!("the URL is known")
    };
    assert!(site.state.after(Verb::Report(report), Time(5)).is_err());
    assert_eq!((site.state.waves(), site.stage("web")), (waves, InstallStage::Spent));
    site.installs("web");
}

/// A number that is lowered and raised again is the permission that it was, and a rename carries it along.
#[test]
fn what_gives_no_permission_carries_the_epoch_along() {
    let mut site = Site::new(&inline("web", 1, 2));
    let epoch = |site: &Site, name: &str| site.state.epoch_of(&name.parse().unwrap()).unwrap();
    let first = epoch(&site, "web");
    site.adopt(&inline("web", 1, 1));
    site.adopt(&inline("web", 1, 2));
    assert_eq!(epoch(&site, "web"), first);
    site.adopt(&inline("www", 1, 2));
    assert_eq!(epoch(&site, "www"), first, "deployment and machine have other names");
    site.adopt(&really_else(&inline("db", 1, 2)));
    assert!(epoch(&site, "db") > first, "another deployment");
    let second = epoch(&site, "db");
    site.adopt("");
    site.restart();
    site.adopt(&really_else(&inline("db", 1, 2)));
    assert!(epoch(&site, "db") > second, "an epoch is never given twice");
}

/// What was agreed to and waits for its machine is not agreed to again with each later change of it.
#[test]
fn only_reinstallations_that_are_newly_opened_count() {
    let usual = Consent::default();
    let mut site = Site::new("");
    site.state = site.state.adopt(desired_with("max-reinstall = 1", &fleet(1, 3, 0)));
    (1..=3).for_each(|number| site.install(&format!("m{number}")));
    site.state = site.state.adopt(desired_with("max-reinstall = 1", &fleet(1, 3, 1)));
    let zone = |text: String| text.replace("redeploy = ", "timezone = \"Europe/Oslo\"\nredeploy = ");
    let same = "max-reinstall = 1";
    assert_eq!(held(&site, same, &zone(fleet(1, 3, 1)), &usual), [], "a time zone opens nothing");
    let plan = diff(&desired_with(same, &zone(fleet(1, 3, 1))), &site.state);
    assert!(plan.changes.iter().all(|change| change.reason.starts_with("as agreed before: ")), "{plan:?}");
    // A number that is raised again, or another disk, is a new question.
    assert_eq!(held(&site, same, &fleet(1, 3, 2), &usual).len(), 1);
    let disk = |text: String| text.replace("redeploy = ", "disk = \"/dev/vdb\"\nredeploy = ");
    assert_eq!(held(&site, same, &disk(fleet(1, 3, 1)), &usual).len(), 1);
    let later = zone(fleet(1, 2, 1)) + &fleet(3, 3, 2);
    assert_eq!(held(&site, same, &later, &usual), [], "one of three is new");
}

/// During every installation the machine is where it should be: nobody is told to wipe it again.
#[test]
fn an_installation_says_how_far_it_is_and_advises_nothing_before_it_went_wrong() {
    let mut site = Site::new(&inline("web", 1, 0));
    site.step("web", PermitStep::Start);
    site.step("web", PermitStep::Spend);
    let said = site.boots_disk("web");
    assert!(
        said.starts_with("installation 0 is under way: it got its answers at 1970-01-01T00:00:00.001"),
        "{said}"
    );
    assert!(!said.contains("redeploy") && said.ends_with("its end is awaited"), "{said}");
    let (outcome, note) = (Outcome::Progress, "partitioning".to_owned());
    let report = Report { deployment: "web".parse().unwrap(), redeploy: 0, epoch: None, outcome, note };
    site.state = site.state.after(Verb::Report(report.clone()), Time(3_000)).unwrap();
    let said = site.boots_disk("web");
    assert!(said.contains(", last reported at 1970-01-01T00:00:03.000Z: partitioning"), "{said}");
    let epoch = site.state.install_of(&"web".parse().unwrap()).unwrap().epoch;
    let reboot = Verb::Reboot { deployment: "web".parse().unwrap(), epoch, at: Time(4_000) };
    site.state = site.state.after(reboot, Time(4_000)).unwrap();
    let said = site.boots_disk("web");
    assert!(
        ["booted again at 1970-01-01T00:00:04", "adopt web", "raise redeploy", "disk is overwritten"]
            .iter()
            .all(|part| said.contains(part)),
        "{said}"
    );
    let report = Report { outcome: Outcome::Completed, ..report };
    site.state = site.state.after(Verb::Report(report), Time(5_000)).unwrap();
    assert_eq!((site.boots_disk("web").as_str(), site.state.progress(epoch)), ("installed", None));
}
