//! How the daemon follows its source: thresholds, approval, saved plans, suspension, pins, parts of
//! a revision. In process, with a state directory of its own and no network.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use voldemort::api::resource::{Apply, Order, Outcome, Ticket, Tree};
use voldemort::config::Write;
use voldemort::daemon::keeper::Keeper;
use voldemort::daemon::reconcile::{Follow, Followed, Reconciler};
use voldemort::media::Shelf;
use voldemort::model::{By, Caller, Inventory, Name, Proof, Role, Selection, SourceCondition};
use voldemort::plan::{Consent, Impact, Plan};
use voldemort::source::{SourceConfig, SourceError, Update, directory};
use voldemort::state::{
    Doubts, Duty, Event, InstallStage, LeaseAction, LeaseRequest, Outcome as Said, Permit, PermitStep,
    Report, Server, SourceStatus, Stage, Supply,
};
use voldemort::store::{Saved, Store, backup};

const HEAD: &str = r#"
[subnet.lab]
cidr    = "10.0.0.0/16"
gateway = "10.0.0.1"

[boot.debian-12]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "url={{ answers_url }}"]

[template.web]
kind = "preseed"
file = "web.liquid"

[profile.web]
subnet   = "lab"
boot     = "debian-12"
template = "web"
"#;

/// An inventory with the deployments `web-FIRST` to `web-LAST`.
fn write(root: &Path, numbers: std::ops::Range<u32>, more: impl Fn(u32) -> &'static str) {
    if std::fs::create_dir(root.join("files")).is_ok() {
        std::fs::write(root.join("files/vmlinuz"), "kernel").unwrap();
        std::fs::write(root.join("files/initrd.gz"), "initrd").unwrap();
    }
    std::fs::write(root.join("web.liquid"), "d-i x/y string {{ hostname }} {{ completed_url }}\n").unwrap();
    let mut text = HEAD.to_owned();
    for n in numbers {
        let (high, low) = (n / 200, n % 200 + 10);
        text += &format!(
            "[deployment.web-{n}]\nmac = \"52:54:00:00:{high:02x}:{low:02x}\"\nprofile = \"web\"\naddress = \"10.0.{high}.{low}\"\n{}\n",
            more(n)
        );
    }
    std::fs::write(root.join("site.toml"), text).unwrap();
}

fn plain(_: u32) -> &'static str {
    ""
}

fn tree(root: &Path) -> Tree {
    voldemort::cli::tree::read(root, None).unwrap()
}

/// The name of the only source.
fn only() -> Name {
    "inventory".parse().unwrap()
}

/// A daemon without its sockets.
struct House {
    keeper: Keeper,
    reconciler: Arc<Reconciler>,
    updates: mpsc::Sender<(Name, Update)>,
    task: tokio::task::JoinHandle<()>,
    thread: std::thread::JoinHandle<()>,
}

impl House {
    async fn start(state: &Path, manual: bool, seed: u8) -> House {
        House::open(state, manual, seed, |saved| saved.new_site = true).await
    }

    /// The same after `change` of what the state directory held.
    async fn open(state: &Path, manual: bool, seed: u8, change: impl FnOnce(&mut Saved)) -> House {
        let (store, mut saved) = Store::open(state, || [seed; 48]).unwrap();
        change(&mut saved);
        let (kept, control) = (saved.kept.take(), saved.notes.remove("control"));
        let (keeper, thread) = Keeper::spawn(store, saved, Server::stand_in("10.0.0.1".parse().unwrap()));
        let place = SourceConfig {
            inventory: Inventory::Own,
            poll: None,
            state: state.to_path_buf(),
            fetcher: Default::default(),
        };
        let followed = Followed { location: "the test".into(), manual, place, writes: Write::Off };
        let following = Follow {
            sources: [(only(), followed)].into(),
            environment: None,
            state: state.to_path_buf(),
            control,
        };
        let shelf = Shelf::new(Vec::new(), None);
        let reconciler = Arc::new(Reconciler::new(keeper.clone(), shelf, Vec::new(), None, following));
        if let Some(kept) = kept {
            reconciler.restore(kept).await;
        }
        let (updates, queue) = mpsc::channel(1);
        let task = tokio::spawn(reconciler.clone().run(queue));
        House { keeper, reconciler, updates, task, thread }
    }

    async fn stop(self) {
        let House { keeper, reconciler, updates, task, thread } = self;
        drop(updates);
        task.await.unwrap();
        drop((keeper, reconciler));
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    }

    /// The source has what lies in `root`; waits until it was looked at.
    async fn follow(&self, root: &Path) -> SourceStatus {
        let snapshot = directory::read(root).unwrap();
        let revision = snapshot.revision.to_string();
        self.updates.send((only(), Update::Snapshot(snapshot))).await.unwrap();
        self.until(|status| status.attempted == revision).await
    }

    async fn until(&self, mut right: impl FnMut(&SourceStatus) -> bool) -> SourceStatus {
        let mut statuses = self.reconciler.statuses();
        let right = |statuses: &BTreeMap<Name, SourceStatus>| right(&statuses[&only()]);
        let found = tokio::time::timeout(Duration::from_secs(30), statuses.wait_for(right)).await;
        found.expect("the status changes in time").unwrap()[&only()].clone()
    }

    fn count(&self) -> usize {
        self.keeper.state().desired().deployments.len()
    }

    /// Installs everything that is due.
    async fn install_all(&self) {
        let names: Vec<(Name, u64)> = self
            .keeper
            .state()
            .desired()
            .deployments
            .values()
            .map(|one| (one.name.clone(), one.redeploy))
            .collect();
        for (deployment, redeploy) in names {
            for step in [PermitStep::Start, PermitStep::Spend] {
                self.keeper
                    .permit(Permit { deployment: deployment.clone(), redeploy, epoch: None, step })
                    .await
                    .unwrap();
            }
            let report =
                Report { deployment, redeploy, epoch: None, outcome: Said::Completed, note: String::new() };
            self.keeper.report(report).await.unwrap();
        }
    }

    async fn plan(&self, tree: Tree) -> Plan {
        match self.reconciler.plan(tree).await.unwrap() {
            Outcome::Planned { plan, .. } => plan,
            other => panic!("{other:?}"),
        }
    }

    /// The ticket of a plan of `tree` that is saved now.
    async fn ticket(&self, tree: &Tree) -> Ticket {
        let plan = self.plan(tree.clone()).await;
        self.reconciler.ticket(tree, &plan.id)
    }

    async fn apply(&self, tree: Tree, ticket: Option<Ticket>) -> Outcome {
        self.reconciler.apply(Apply { tree, ticket, ..Apply::default() }, Caller::DAEMON).await.unwrap()
    }

    /// The same by a user of the socket who has this role.
    async fn apply_as(&self, role: Role, tree: Tree) -> Outcome {
        let by = Caller { by: By::User(1000), role };
        self.reconciler.apply(Apply { tree, ..Apply::default() }, by).await.unwrap()
    }

    async fn order(&self, order: Order) -> Outcome {
        self.reconciler.order(order).await.unwrap()
    }

    fn waiting(&self) -> String {
        self.reconciler.plans().first().map(|plan| plan.id.clone()).unwrap_or_default()
    }
}

fn wipes(plan: &Plan) -> usize {
    plan.changes.iter().filter(|change| change.impact == Impact::Wipe).count()
}

fn folders() -> (TempDir, TempDir) {
    (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn a_template_edit_over_a_hundred_installed_machines_wipes_none() {
    let (state, root) = folders();
    write(root.path(), 0..100, plain);
    let house = House::start(state.path(), false, 1).await;
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    house.install_all().await;
    std::fs::write(root.path().join("web.liquid"), "d-i other/thing string {{ completed_url }}\n").unwrap();
    let plan = house.plan(tree(root.path())).await;
    assert_eq!((plan.changes.len(), wipes(&plan), plan.uncompared), (100, 0, 0));
    assert!(plan.changes.iter().all(|change| change.impact == Impact::Live));
    let shown = plan.changes.iter().filter(|change| !change.served.is_empty()).count();
    assert_eq!(shown, 100, "each has its own host name and token in the old line");
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    assert_eq!(house.keeper.state().drift().len(), 100);
    assert!(house.plan(tree(root.path())).await.is_empty());
    house.stop().await;
}

#[tokio::test]
async fn a_revision_that_removes_much_is_held_until_the_exact_number_is_said() {
    let (state, root) = folders();
    write(root.path(), 0..10, plain);
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    for left in [6, 0] {
        write(root.path(), 0..left, plain);
        let status = house.follow(root.path()).await;
        let gone = 10 - left;
        assert_eq!((status.condition.name(), house.count()), ("Held", 10), "{}", status.reason);
        assert!(status.reason.contains(&format!("--allow-removals {gone}")), "{}", status.reason);
        assert!(status.reason.contains("web-9"), "{}", status.reason);
    }
    let plan = house.waiting();
    for number in [None, Some(9)] {
        let consent = Consent { removals: number, reinstalls: None };
        let outcome = house.order(Order::Approve { plan: plan.clone(), consent }).await;
        assert!(matches!(outcome, Outcome::Held { .. }) && house.count() == 10, "{outcome:?}");
    }
    let consent = Consent { removals: Some(10), reinstalls: None };
    let outcome = house.order(Order::Approve { plan, consent }).await;
    assert!(matches!(outcome, Outcome::Applied { .. }) && house.count() == 0, "{outcome:?}");
    assert_eq!(house.until(|_| true).await.condition, SourceCondition::Ready);
    house.stop().await;
}

/// However often and with whatever a source fails, the table is the one it was.
#[tokio::test]
async fn a_source_that_fails_a_hundred_times_changes_nothing() {
    let (state, root) = folders();
    write(root.path(), 0..10, plain);
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    let before = house.keeper.state();
    for round in 0..100 {
        let failure = match round % 3 {
            0 => SourceError::Git(format!("no end within {round}s")),
            1 => SourceError::Unreadable { path: "x".into(), why: format!("{round}") },
            _ => SourceError::Untrusted { revision: "main@sha1:1".into(), why: format!("{round}") },
        };
        house.updates.send((only(), Update::Failed(failure))).await.unwrap();
    }
    house.until(|status| status.reason.contains("99")).await;
    let after = house.keeper.state();
    assert!(Arc::ptr_eq(before.desired(), after.desired()));
    assert_eq!((before.serial(), house.count()), (after.serial(), 10));
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    house.stop().await;
}

/// A site where machines install all the time must be able to apply what was reviewed.
#[tokio::test]
async fn a_saved_plan_is_good_while_machines_do_what_it_is_not_about() {
    let (state, root) = folders();
    write(root.path(), 0..3, plain);
    let house = House::start(state.path(), false, 1).await;
    assert!(matches!(house.apply(tree(root.path()), None).await, Outcome::Applied { .. }));
    write(root.path(), 0..4, plain);
    let wanted = tree(root.path());
    let ticket = house.ticket(&wanted).await;
    let before = house.keeper.state().serial();
    house.install_all().await;
    assert!(house.keeper.state().serial() > before);
    let applied = house.apply(wanted, Some(ticket)).await;
    assert!(matches!(applied, Outcome::Applied { .. }), "{applied:?}");
    assert_eq!(house.count(), 4);
    house.stop().await;
}

#[tokio::test]
async fn a_saved_plan_is_good_once_and_only_for_its_plan() {
    let (state, root) = folders();
    write(root.path(), 0..3, plain);
    let house = House::start(state.path(), false, 1).await;
    let tree = tree(root.path());
    let ticket = house.ticket(&tree).await;
    let stale = house.ticket(&Tree::default()).await;
    let changed = house.apply(Tree { revision: "x".into(), ..Tree::default() }, Some(ticket.clone())).await;
    assert!(matches!(changed, Outcome::Moved { .. }), "another tree: {changed:?}");
    let forged = house.apply(tree.clone(), Some(Ticket { id: "0".repeat(32), ..ticket.clone() })).await;
    assert!(matches!(&forged, Outcome::Moved { reasons } if reasons[0].contains("not a plan of this")));
    let first = house.apply(tree.clone(), Some(ticket.clone())).await;
    assert!(matches!(first, Outcome::Applied { .. }), "{first:?}");
    let twice = house.apply(tree.clone(), Some(ticket.clone())).await;
    assert!(matches!(&twice, Outcome::Moved { reasons } if reasons[0].contains("already")), "{twice:?}");
    let moved = house.apply(Tree::default(), Some(stale)).await;
    assert!(matches!(&moved, Outcome::Stale { plan } if plan.changes.len() > 2), "{moved:?}");
    house.stop().await;

    let house = House::start(state.path(), false, 1).await;
    let restarted = house.apply(tree.clone(), Some(ticket.clone())).await;
    assert!(
        matches!(&restarted, Outcome::Moved { reasons } if reasons[0].contains("already")),
        "it is remembered: {restarted:?}"
    );
    house.stop().await;

    let emptied = tempfile::tempdir().unwrap();
    let house = House::start(emptied.path(), false, 2).await;
    let other = house.apply(tree, Some(ticket)).await;
    assert!(matches!(&other, Outcome::Moved { reasons } if reasons[0].contains("emptied")), "{other:?}");
    assert_eq!(house.count(), 0);
    house.stop().await;
}

#[tokio::test]
async fn in_manual_reconcile_a_revision_waits_for_a_word() {
    let (state, root) = folders();
    write(root.path(), 0..2, plain);
    let house = House::start(state.path(), true, 1).await;
    let status = house.follow(root.path()).await;
    assert_eq!((status.condition.name(), house.count()), ("Waiting", 0), "{}", status.reason);
    let plan = house.waiting();
    assert!(status.reason.contains(&format!("approve {plan}")), "{}", status.reason);
    let consent = Consent::default();
    let wrong = house.order(Order::Approve { plan: "00000000".into(), consent }).await;
    assert!(matches!(wrong, Outcome::Moved { .. }) && house.count() == 0);
    let outcome = house.order(Order::Approve { plan: plan.clone(), consent }).await;
    assert!(matches!(outcome, Outcome::Applied { .. }) && house.count() == 2, "{outcome:?}");
    assert!(house.reconciler.order(Order::Approve { plan, consent }).await.is_err(), "nothing waits");

    write(root.path(), 0..3, plain);
    house.follow(root.path()).await;
    let plan = house.waiting();
    house.order(Order::Reject { plan, reason: "not on a Friday".into() }).await;
    let status = house.until(|status| status.condition == SourceCondition::Rejected).await;
    assert!(status.reason.contains("Friday") && house.count() == 2, "{}", status.reason);
    house.stop().await;

    let house = House::start(state.path(), true, 1).await;
    assert_eq!(house.count(), 2, "what was approved is served after a restart");
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Rejected);
    write(root.path(), 0..4, plain);
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Waiting);
    house.stop().await;
}

/// An editor may do what a commit can do, and in manual reconcile a commit does nothing by itself.
#[tokio::test]
async fn in_manual_reconcile_a_tree_of_an_editor_is_held_and_that_of_an_admin_applied() {
    let (state, root) = folders();
    write(root.path(), 0..2, plain);
    let house = House::start(state.path(), true, 1).await;
    house.follow(root.path()).await;
    let outcome = house.apply_as(Role::Editor, tree(root.path())).await;
    let Outcome::Held { plan, holds } = outcome else { panic!("{outcome:?}") };
    assert!(!plan.is_empty() && house.count() == 0, "{plan:?}");
    assert!(holds[0].reason.contains("reconcile = \"manual\""), "{holds:?}");
    assert!(holds[0].cure.contains("admin"), "{holds:?}");
    let outcome = house.apply_as(Role::Admin, tree(root.path())).await;
    assert!(matches!(outcome, Outcome::Applied { .. }) && house.count() == 2, "{outcome:?}");
    // What changes nothing needs nobody, as with a commit.
    let outcome = house.apply_as(Role::Editor, tree(root.path())).await;
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    house.stop().await;

    let (state, _) = folders();
    let house = House::start(state.path(), false, 1).await;
    let outcome = house.apply_as(Role::Editor, tree(root.path())).await;
    assert!(matches!(outcome, Outcome::Applied { .. }) && house.count() == 2, "{outcome:?}");
    house.stop().await;
}

/// A change of settings alone is one that a person may not want.
#[tokio::test]
async fn in_manual_reconcile_settings_wait_for_a_word_too() {
    let (state, root) = folders();
    write(root.path(), 0..2, plain);
    let house = House::start(state.path(), true, 1).await;
    house.follow(root.path()).await;
    let consent = Consent::default();
    house.order(Order::Approve { plan: house.waiting(), consent }).await;
    let asker = || house.keeper.state().desired().safety.asker;
    std::fs::write(root.path().join("voldemort.toml"), "format = 1\n[safety]\nasker = 'token'\n").unwrap();
    let status = house.follow(root.path()).await;
    assert_eq!((status.condition.name(), asker()), ("Waiting", Proof::Machine), "{}", status.reason);
    let outcome = house.order(Order::Approve { plan: house.waiting(), consent }).await;
    assert!(matches!(outcome, Outcome::Applied { .. }) && asker() == Proof::Token, "{outcome:?}");
    house.stop().await;
}

/// A caller that goes away when the state has what it asked for, before it was told so.
async fn left<T>(house: &House, count: usize, order: impl Future<Output = T>) {
    let mut order = Box::pin(order);
    while house.count() != count {
        tokio::select! {
            biased;
            _ = &mut order => panic!("it is done before its caller goes away"),
            () = tokio::task::yield_now() => {}
        }
    }
}

/// Half of an adoption would be taken back by the next one, and shown to nobody.
#[tokio::test]
async fn what_is_begun_is_done_though_its_caller_goes_away() {
    let (state, root) = folders();
    write(root.path(), 0..2, plain);
    let house = House::start(state.path(), true, 1).await;
    let first = house.follow(root.path()).await.attempted;
    let consent = Consent::default();
    let approve = Order::Approve { plan: house.waiting(), consent };
    left(&house, 2, house.reconciler.order(approve)).await;
    assert_eq!(house.until(|status| status.condition == SourceCondition::Ready).await.applied, first);
    assert!(house.reconciler.plans().is_empty());

    write(root.path(), 0..3, plain);
    left(&house, 3, house.apply(tree(root.path()), None)).await;
    let by_hand = house.until(|status| status.applied != first).await.applied;
    assert_eq!(by_hand, house.keeper.state().desired().revision.to_string());

    let pin = Order::Pin { revision: first.clone(), reason: "3 breaks".into(), consent };
    left(&house, 2, house.reconciler.order(pin)).await;
    let status = house.until(|status| status.condition == SourceCondition::Pinned).await;
    assert_eq!(status.applied, first);
    house.stop().await;
}

/// What `get plans` shows is what `approve` takes, also where it shows what machines would be served;
/// and the flag that consents is named before it is needed.
#[tokio::test]
async fn the_plan_that_is_shown_is_the_one_that_is_approved() {
    let (state, root) = folders();
    write(root.path(), 0..10, plain);
    let house = House::start(state.path(), true, 1).await;
    house.follow(root.path()).await;
    let approve = async |removals| {
        let consent = Consent { removals, ..Consent::default() };
        house.order(Order::Approve { plan: house.waiting(), consent }).await
    };
    assert!(matches!(approve(None).await, Outcome::Applied { .. }));
    house.install_all().await;
    // Another text for all, and fewer of them.
    write(root.path(), 0..5, plain);
    std::fs::write(root.path().join("web.liquid"), "d-i other/thing string {{ completed_url }}\n").unwrap();
    let status = house.follow(root.path()).await;
    assert_eq!(status.condition, SourceCondition::Waiting);
    for part in [format!("approve {}", house.waiting()), "agree with --allow-removals 5".to_owned()] {
        assert!(status.reason.contains(&part), "{part}: {}", status.reason);
    }
    assert!(matches!(approve(None).await, Outcome::Held { .. }));
    let outcome = approve(Some(5)).await;
    assert!(matches!(outcome, Outcome::Applied { .. }) && house.count() == 5, "{outcome:?}");
    house.stop().await;
}

#[tokio::test]
async fn a_suspended_daemon_goes_on_where_the_source_is_then() {
    let (state, root) = folders();
    write(root.path(), 0..1, plain);
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    house.order(Order::Suspend { reason: "moving racks".into(), seconds: None }).await;
    write(root.path(), 0..2, plain);
    let status = house.follow(root.path()).await;
    assert_eq!((status.condition.name(), house.count()), ("Suspended", 1));
    assert!(status.reason.contains("moving racks"), "{}", status.reason);
    house.stop().await;

    let house = House::start(state.path(), false, 1).await;
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Suspended);
    house.order(Order::Resume).await;
    house.until(|status| status.condition == SourceCondition::Ready).await;
    assert_eq!(house.count(), 2);
    // It ends by itself.
    house.order(Order::Suspend { reason: String::new(), seconds: Some(1) }).await;
    write(root.path(), 0..3, plain);
    house.follow(root.path()).await;
    house.until(|status| status.condition == SourceCondition::Ready).await;
    assert_eq!(house.count(), 3);
    house.stop().await;
}

#[tokio::test]
async fn a_pin_goes_back_and_stays_there() {
    let (state, root) = folders();
    let house = House::start(state.path(), false, 1).await;
    write(root.path(), 0..1, plain);
    let first = house.follow(root.path()).await.attempted;
    write(root.path(), 0..2, plain);
    house.follow(root.path()).await;
    let digest = first.rsplit(':').next().unwrap()[..12].to_owned();
    let pin = Order::Pin { revision: digest, reason: "2 breaks".into(), consent: Consent::default() };
    let outcome = house.order(pin).await;
    assert!(matches!(outcome, Outcome::Applied { .. }) && house.count() == 1, "{outcome:?}");
    let status = house.until(|status| status.condition == SourceCondition::Pinned).await;
    assert_eq!(status.applied, first);
    let by_hand = house.apply(tree(root.path()), None).await;
    assert!(matches!(by_hand, Outcome::Held { .. }) && house.count() == 1);
    house.stop().await;

    let house = House::start(state.path(), false, 1).await;
    assert_eq!(house.count(), 1, "also after a restart");
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Pinned);
    house.order(Order::Unpin).await;
    house.until(|status| status.condition == SourceCondition::Ready).await;
    assert_eq!(house.count(), 2);
    house.stop().await;
}

#[tokio::test]
async fn part_of_a_revision_is_applied_and_survives_a_restart() {
    let (state, root) = folders();
    write(root.path(), 0..4, plain);
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    house.install_all().await;
    // web-3 goes, web-4 comes, all others are to be installed again.
    write(root.path(), 0..5, |_| "redeploy = 1");
    let text = std::fs::read_to_string(root.path().join("site.toml")).unwrap();
    std::fs::write(root.path().join("site.toml"), text.replace("web-3]", "db-3]")).unwrap();
    let only = |names: &[&str]| Selection {
        only: names.iter().map(|name| (*name).into()).collect(),
        except: vec![],
    };
    let part = |selection| Tree { selection, ..tree(root.path()) };
    let plan = house.plan(part(only(&["web-1"]))).await;
    assert_eq!((plan.changes.len(), wipes(&plan)), (1, 1), "{:?}", plan.changes);
    let except = Selection { only: vec![], except: vec!["web-[0-9]".into(), "web-?".into()] };
    assert!(
        matches!(house.reconciler.plan(part(except)).await, Ok(Outcome::Invalid { .. })),
        "an idle pattern"
    );
    let outcome = house.apply(part(only(&["web-1", "web-4"])), None).await;
    assert!(matches!(&outcome, Outcome::Applied { plan } if wipes(plan) == 1), "{outcome:?}");
    assert!(house.until(|_| true).await.reason.contains("in part"));
    let numbers = |house: &House| -> Vec<(String, u64)> {
        house
            .keeper
            .state()
            .desired()
            .deployments
            .values()
            .map(|one| (one.name.to_string(), one.redeploy))
            .collect()
    };
    let wanted = [("web-0", 0), ("web-1", 1), ("web-2", 0), ("web-3", 0), ("web-4", 1)];
    let wanted: Vec<(String, u64)> = wanted.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    assert_eq!(numbers(&house), wanted);
    house.stop().await;

    let house = House::start(state.path(), false, 1).await;
    assert_eq!(numbers(&house), wanted, "a restart does not apply the rest");
    let rest = house
        .plan(Tree {
            selection: Selection { only: vec![], except: vec!["web-2".into()] },
            ..tree(root.path())
        })
        .await;
    assert!(rest.changes.iter().all(|change| change.name != "web-2") && !rest.is_empty());
    house.stop().await;
}

/// A subnet changes for all that use it, and those that are not selected keep their addresses.
#[tokio::test]
async fn a_subnet_is_not_renumbered_for_a_part_of_its_deployments() {
    let (state, root) = folders();
    write(root.path(), 0..3, plain);
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    let site = root.path().join("site.toml");
    let edit = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&site).unwrap();
        std::fs::write(&site, text.replace(from, to)).unwrap();
    };
    let plan = async |only: &[&str], except: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).into()).collect();
        let selection = Selection { only: words(only), except: words(except) };
        // What is served is written down right after the status says so.
        loop {
            match house.reconciler.plan(Tree { selection: selection.clone(), ..tree(root.path()) }).await {
                Err(why) if why.contains("nothing is served yet") => tokio::task::yield_now().await,
                outcome => return outcome.unwrap(),
            }
        }
    };
    let is_refused = |outcome: Outcome, names: &str| match outcome {
        Outcome::Invalid { report, .. } => assert!(
            report.contains(&format!("the addresses of {names} can't be used in subnet lab as it becomes")),
            "{report}"
        ),
        other => panic!("{other:?}"),
    };
    edit("10.0.", "10.1.");
    is_refused(plan(&["web-0"], &[]).await, "web-1, web-2");
    is_refused(plan(&[], &["web-1"]).await, "web-1");
    assert!(matches!(plan(&["web-?"], &[]).await, Outcome::Planned { .. }));
    edit("10.1.", "10.0.");
    // Where the addresses stay good, it changes for all.
    edit("10.0.0.0/16\"", "10.0.0.0/17\"\ndynamic = \"10.0.9.1-10.0.9.9\"");
    assert!(matches!(plan(&["web-0"], &[]).await, Outcome::Planned { .. }));
    // web-0 itself goes on to another address, the others are in the range.
    edit("10.0.9.1-10.0.9.9", "10.0.0.10-10.0.0.19");
    edit("\"10.0.0.10\"", "\"10.0.0.99\"");
    edit("\"10.0.0.11\"", "\"10.0.0.98\"");
    edit("\"10.0.0.12\"", "\"10.0.0.97\"");
    is_refused(plan(&["web-0"], &[]).await, "web-1, web-2");
    house.stop().await;
}

#[tokio::test]
async fn renamed_machines_stay_installed_and_protected_also_after_a_restart() {
    let (state, root) = folders();
    write(root.path(), 0..2, |_| "");
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    house.install_all().await;
    let site = root.path().join("site.toml");
    let text = std::fs::read_to_string(&site).unwrap();
    std::fs::write(&site, text.replace("deployment.web-0]", "deployment.front]")).unwrap();
    let plan = house.plan(tree(root.path())).await;
    assert!(plan.changes.iter().all(|change| change.impact == Impact::Live), "{:?}", plan.changes);
    assert_eq!(plan.blast, Default::default());
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    house.stop().await;
    let house = House::start(state.path(), false, 1).await;
    let table = house.keeper.state();
    let front: Name = "front".parse().unwrap();
    assert_eq!(
        table.duty(&table.desired().deployments[&front]),
        Duty::LocalBoot(
            "installed: redeploy = 0 was used on machine front as web-0; raise it above to install".into()
        )
    );
    assert_eq!(table.install_of(&front).unwrap().machine, front);
    house.stop().await;
}

#[tokio::test]
async fn a_saved_plan_holds_while_the_directory_comes_to_it() {
    let (state, root) = folders();
    write(root.path(), 0..2, plain);
    let house = House::start(state.path(), true, 1).await;
    let tree = tree(root.path());
    let ticket = house.ticket(&tree).await;
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Waiting);
    let applied = house.apply(tree, Some(ticket)).await;
    assert!(matches!(applied, Outcome::Applied { .. }), "{applied:?}");
    assert_eq!(house.until(|_| true).await.condition, SourceCondition::Ready);
    assert!(house.reconciler.plans().is_empty(), "what was applied by hand does not wait");
    house.stop().await;
}

#[tokio::test]
async fn waves_show_who_waits() {
    let (state, root) = folders();
    write(root.path(), 0..3, plain);
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    house.install_all().await;
    std::fs::write(root.path().join("voldemort.toml"), "format = 1\n[safety]\nmax-in-flight = 1\n").unwrap();
    write(root.path(), 0..3, |_| "redeploy = 1");
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    let start = |name: &str| Permit {
        deployment: name.parse().unwrap(),
        redeploy: 1,
        epoch: None,
        step: PermitStep::Start,
    };
    house.keeper.permit(start("web-0")).await.unwrap();
    house.keeper.permit(start("web-1")).await.unwrap();
    let rows = voldemort::api::resource::deployment::all(&house.keeper.state(), None).collect::<Vec<_>>();
    let phases: Vec<&str> = rows.iter().map(|row| row.phase.as_str()).collect();
    assert_eq!(phases, ["installing", "waiting", "waiting"]);
    assert!(rows[1].next_boot.contains("1 of 1 in flight"), "{}", rows[1].next_boot);
    house.stop().await;
    let house = House::start(state.path(), false, 1).await;
    assert_eq!(house.keeper.state().waves(), (2, 1), "a restart forgets nobody");
    house.stop().await;
}

fn phases(house: &House) -> Vec<String> {
    let rows = voldemort::api::resource::deployment::all(&house.keeper.state(), None).collect::<Vec<_>>();
    rows.into_iter().map(|row| row.phase.to_string()).collect()
}

fn all() -> Doubts {
    Doubts { all: true, ..Doubts::default() }
}

fn named(names: &[&str]) -> Doubts {
    Doubts { deployments: names.iter().map(|name| (*name).to_owned()).collect(), ..Doubts::default() }
}

/// The source of a deployment is known, and not looked for in the name of its file.
#[tokio::test]
async fn a_colon_in_the_name_of_a_file_names_no_source() {
    let (state, root) = folders();
    let write = |numbers| {
        write(root.path(), numbers, plain);
        std::fs::rename(root.path().join("site.toml"), root.path().join("rack1:site.toml")).unwrap();
    };
    write(0..2);
    let house = House::open(state.path(), false, 1, |_| {}).await;
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    assert_eq!(phases(&house), ["doubtful"; 2]);
    write(0..3);
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    assert_eq!(phases(&house), ["doubtful", "doubtful", "waiting"], "what comes later is no doubt");
    house.stop().await;
}

/// A lost state directory must not install what is installed.
#[tokio::test]
async fn a_new_state_serves_and_installs_nothing_before_a_person_says_so() {
    let (state, root) = folders();
    write(root.path(), 0..4, plain);
    let house = House::open(state.path(), false, 1, |_| {}).await;
    let plan = house.plan(tree(root.path())).await;
    assert!(plan.changes.iter().all(|change| change.kind != "deployment" || !change.installs));
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    assert_eq!(phases(&house), ["doubtful"; 4]);
    let row = voldemort::api::resource::deployment::one(&house.keeper.state(), "web-1").unwrap();
    assert!(row.next_boot.contains("voldemortctl approve installs web-1"), "{}", row.next_boot);
    let events = house.keeper.timeline().events(0, 100, |_| true);
    let message =
        "4 installations are doubtful, their machines boot their disks: web-0, web-1, web-2, web-3;";
    assert!(events.1.iter().any(|(_, event)| event.text.starts_with(message)));
    house.stop().await;

    let house = House::open(state.path(), false, 1, |saved| saved.new_site = true).await;
    house.follow(root.path()).await;
    assert_eq!(phases(&house), ["doubtful"; 4], "the flag is for the first start alone");
    let unknown = house.reconciler.order(Order::ApproveInstalls(named(&["web-1", "web-9"]))).await;
    assert!(unknown.unwrap_err().contains("web-9"), "and nothing is done in part");
    house.order(Order::ApproveInstalls(named(&["web-0"]))).await;
    // One that is raised, and one that comes later, are no doubt.
    write(root.path(), 0..5, |n| if n == 1 { "redeploy = 1" } else { "" });
    let plan = house.plan(tree(root.path())).await;
    assert_eq!(wipes(&plan), 1, "the disk of web-1 may hold something: {:?}", plan.changes);
    house.follow(root.path()).await;
    assert_eq!(phases(&house), ["waiting", "waiting", "doubtful", "doubtful", "waiting"]);
    house.order(Order::KeepSystems(all())).await;
    assert_eq!(phases(&house), ["waiting", "waiting", "installed", "installed", "waiting"]);
    house.stop().await;

    let house = House::open(state.path(), false, 1, |_| {}).await;
    assert_eq!(phases(&house), ["waiting", "waiting", "installed", "installed", "waiting"]);
    house.install_all().await;
    assert_eq!(phases(&house), ["installed"; 5]);
    house.stop().await;
}

#[tokio::test]
async fn a_restored_state_is_settled_also_by_the_revision_that_the_backup_has() {
    let (state, root) = folders();
    write(root.path(), 0..2, plain);
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    house.install_all().await;
    house.stop().await;
    let copy = tempfile::tempdir().unwrap();
    backup::restore(state.path(), copy.path(), &[5; 48]).unwrap();
    let house = House::open(copy.path(), false, 2, |saved| assert!(saved.restored)).await;
    assert_eq!(house.count(), 2, "it is served as before");
    let status = house.follow(root.path()).await;
    assert_eq!(status.condition, SourceCondition::Ready, "{status:?}");
    house.stop().await;
    // What is done from now on is not taken back by a start of the daemon.
    let house = House::open(copy.path(), false, 3, |saved| assert!(!saved.restored)).await;
    assert_eq!(phases(&house), ["installed", "installed"]);
    house.stop().await;
}

#[tokio::test]
async fn a_doubt_goes_along_with_a_rename_and_an_empty_first_revision_has_none() {
    let (state, root) = folders();
    write(root.path(), 0..1, plain);
    let house = House::open(state.path(), false, 1, |_| {}).await;
    house.follow(root.path()).await;
    let site = root.path().join("site.toml");
    let text = std::fs::read_to_string(&site).unwrap();
    std::fs::write(&site, text.replace("deployment.web-0]", "deployment.front]")).unwrap();
    house.follow(root.path()).await;
    assert_eq!(phases(&house), ["doubtful"]);
    house.order(Order::ApproveInstalls(named(&["front"]))).await;
    house.install_all().await;
    assert_eq!(phases(&house), ["installed"]);
    house.stop().await;

    let (state, root) = folders();
    write(root.path(), 0..0, plain);
    let house = House::open(state.path(), false, 1, |_| {}).await;
    house.follow(root.path()).await;
    write(root.path(), 0..2, plain);
    house.follow(root.path()).await;
    assert_eq!(phases(&house), ["waiting"; 2]);
    house.stop().await;
}

#[tokio::test]
async fn a_rename_and_its_revert_wipe_nothing_also_over_restarts() {
    let (state, root) = folders();
    let names = |name: &str, redeploy: u32| {
        let more = if redeploy == 0 { "" } else { "redeploy = 1" };
        write(root.path(), 0..1, |_| more);
        let site = root.path().join("site.toml");
        let text = std::fs::read_to_string(&site).unwrap();
        std::fs::write(&site, text.replace("deployment.web-0]", &format!("deployment.{name}]"))).unwrap();
    };
    names("db1", 0);
    let mut house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    house.install_all().await;
    for (name, redeploy, wiped) in
        [("db01", 0, 0), ("db01", 1, 1), ("db1", 1, 0), ("db01", 1, 0), ("db1", 0, 0)]
    {
        names(name, redeploy);
        let plan = house.plan(tree(root.path())).await;
        assert_eq!(wipes(&plan), wiped, "{name} {redeploy}: {:?}", plan.changes);
        house.follow(root.path()).await;
        if wiped > 0 {
            house.install_all().await;
        }
        assert_eq!(phases(&house), ["installed"], "{name} {redeploy}");
        house.stop().await;
        house = House::start(state.path(), false, 1).await;
        assert_eq!(phases(&house), ["installed"], "{name} {redeploy}, started anew");
    }
    house.stop().await;
}

#[tokio::test]
async fn a_revision_that_can_not_be_loaded_any_more_still_judges_the_next() {
    let (state, root) = folders();
    write(root.path(), 0..10, plain);
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    house.install_all().await;
    house.stop().await;
    let lost = |saved: &mut Saved| saved.kept = None;

    let house = House::open(state.path(), false, 1, lost).await;
    write(root.path(), 0..4, plain);
    let status = house.follow(root.path()).await;
    assert_eq!((status.condition.name(), house.count()), ("Held", 0), "{}", status.reason);
    assert!(status.reason.contains("removes 6 of 10") && status.reason.contains("--allow-removals 6"));
    write(root.path(), 0..10, |_| "redeploy = 1");
    std::fs::write(root.path().join("voldemort.toml"), "format = 1\n[safety]\nmax-reinstall = 3\n").unwrap();
    let status = house.follow(root.path()).await;
    assert!(status.reason.contains("reinstalls 10 machines"), "{}", status.reason);
    write(root.path(), 0..10, plain);
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    assert_eq!(phases(&house), ["installed"; 10]);
    house.stop().await;
}

/// A flood loses events. That a machine booted again without a report is none.
#[tokio::test]
async fn a_reboot_without_a_report_is_stored_also_under_a_flood() {
    let (state, root) = folders();
    write(root.path(), 0..1, plain);
    let house = House::start(state.path(), false, 1).await;
    house.follow(root.path()).await;
    let deployment: Name = "web-0".parse().unwrap();
    for step in [PermitStep::Start, PermitStep::Spend] {
        house
            .keeper
            .permit(Permit { deployment: deployment.clone(), redeploy: 0, epoch: None, step })
            .await
            .unwrap();
    }
    // The keeper is held up until its queue is full.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    house.keeper.lease(Vec::new(), move |_| {
        let _ = wait.recv();
    });
    let event = |text: &str| Event::new(voldemort::model::Time(1), Stage::Daemon, text.to_owned());
    let lost = house.keeper.counters().events_lost();
    let mut number = 0;
    while house.keeper.counters().events_lost() == lost {
        house.keeper.note(event(&number.to_string()));
        number += 1;
    }
    let boots = Event { stage: Stage::LocalBoot, deployment: Some(deployment.clone()), ..event("boots") };
    house.keeper.note(boots);
    go.send(()).unwrap();
    let stored = async {
        loop {
            let stage = house.keeper.state().install_of(&deployment).unwrap().stage;
            if stage == InstallStage::Unreported {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), stored).await.expect("it is unreported");
    let table = house.keeper.state();
    assert!(matches!(table.duty(&table.desired().deployments[&deployment]), Duty::LocalBoot(_)));
    house.stop().await;
}

/// Leases that are promised stay so when the manifest makes them shorter; an end that only a clock that was
/// ahead can have set does not.
#[tokio::test]
async fn a_shorter_lease_takes_nothing_back_that_was_promised() {
    const HOUR: u64 = 3_600_000;
    let (state, root) = folders();
    write(root.path(), 0..1, plain);
    let with_lease = |lease: &str| {
        let text = std::fs::read_to_string(root.path().join("site.toml")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("lease") && !line.starts_with("dynamic"));
        let text = lines.collect::<Vec<_>>().join("\n");
        let more = format!("[subnet.lab]\nlease = \"{lease}\"\ndynamic = \"10.0.9.1-10.0.9.250\"");
        std::fs::write(root.path().join("site.toml"), text.replacen("[subnet.lab]", &more, 1)).unwrap();
    };
    let mac = |last| voldemort::model::Mac::new([0x52, 0x54, 0xaa, 0, 0, last]).unwrap();
    let now = || jiff::Timestamp::now().as_millisecond() as u64;
    let ends = |house: &House| {
        let table = house.keeper.state();
        let lease = |last| table.leases().binding(mac(last)).map(|lease| lease.expires.0);
        (lease(1), lease(2))
    };
    with_lease("24h");
    let house = House::start(state.path(), false, 1).await;
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    let subnet = house.keeper.state().desired().subnets["lab"].clone();
    let supply = Supply::Dynamic { subnet, server: "10.0.0.1".parse().unwrap() };
    let bind = |last, at| {
        let request = |action| LeaseRequest {
            mac: mac(last),
            at: voldemort::model::Time(at),
            client_id: None,
            hostname: None,
            action,
        };
        let address = [10, 0, 9, last].into();
        let offer = LeaseAction::Offer { supply: supply.clone(), requested: Some(address) };
        let bind = LeaseAction::Bind { supply: supply.clone(), address };
        let (sender, answer) = tokio::sync::oneshot::channel();
        house.keeper.lease(vec![request(offer), request(bind)], move |found| drop(sender.send(found)));
        answer
    };
    assert!(bind(1, now()).await.unwrap().unwrap()[1].is_some());
    // The clock is a year ahead for a moment.
    assert!(bind(2, now() + 365 * 24 * HOUR).await.unwrap().unwrap()[1].is_some());
    let promised = ends(&house).0;
    with_lease("1h");
    assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
    house.stop().await;
    for _ in 0..2 {
        let house = House::start(state.path(), false, 1).await;
        let (kept, ahead) = ends(&house);
        assert_eq!(kept, promised);
        assert!(ahead.is_some_and(|end| end <= now() + 24 * HOUR), "{ahead:?}");
        house.stop().await;
    }
}

/// Which machine a client id or UUID was taken for, and which ones are ambiguous, does not depend on the
/// daemon's last start.
#[tokio::test]
async fn learned_cards_and_contests_outlive_a_restart() {
    let (state, root) = folders();
    write(root.path(), 0..1, plain);
    let id = "[machine.m1]\nmac = \"52:54:00:00:77:01\"\nclient-id = \"rack-1\"\n[deployment.known]\nmachine = \"m1\"\nprofile = \"web\"\n\
              address = \"10.0.5.1\"\n";
    let text = std::fs::read_to_string(root.path().join("site.toml")).unwrap();
    std::fs::write(root.path().join("site.toml"), text + id).unwrap();
    let mac = |last| voldemort::model::Mac::new([0x52, 0x54, 0xaa, 0, 0, last]).unwrap();
    let offer = |last, seconds: u64| Event {
        mac: Some(mac(last)),
        deployment: Some("known".parse().unwrap()),
        ..Event::new(voldemort::model::Time(seconds * 1000), Stage::Offer, "offered")
    };
    let now = jiff::Timestamp::now().as_second() as u64;
    let house = House::start(state.path(), false, 1).await;
    let status = house.follow(root.path()).await;
    assert_eq!(status.condition, SourceCondition::Ready, "{}", status.reason);
    house.keeper.note(offer(1, now));
    assert!(house.keeper.ping().await);
    house.stop().await;
    let house = House::start(state.path(), false, 1).await;
    let known =
        |house: &House, last| house.keeper.state().machine(mac(last)).map(|machine| machine.name.to_string());
    assert_eq!(known(&house, 1).as_deref(), Some("m1"));
    // Another card shows the same identity while the first is still active.
    house.keeper.note(offer(1, now));
    house.keeper.note(offer(2, now + 1));
    assert!(house.keeper.ping().await);
    assert_eq!(house.keeper.state().contested().len(), 1);
    house.stop().await;
    for _ in 0..2 {
        let house = House::start(state.path(), false, 1).await;
        assert_eq!(house.keeper.state().contested().len(), 1);
        assert_eq!((known(&house, 1), known(&house, 2)), (None, None));
        assert_eq!(house.follow(root.path()).await.condition, SourceCondition::Ready);
        assert_eq!(house.keeper.state().contested().len(), 1);
        house.stop().await;
    }
}
