//! Several sources in one daemon: each moves alone, none takes another's machines away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use voldemort::api::resource::{Apply, EditRequest, Edited, Order, Outcome, Tree};
use voldemort::config::Write;
use voldemort::daemon::keeper::Keeper;
use voldemort::daemon::reconcile::{Follow, Followed, Reconciler};
use voldemort::edit::{Edit, Verb};
use voldemort::manifest::Kind;
use voldemort::media::Shelf;
use voldemort::model::{By, Caller, Git, Inventory, Name, Role, Selection, SourceCondition, Span};
use voldemort::plan::Consent;
use voldemort::source::git::{Fetcher, WRITE};
use voldemort::source::write::{Draft, DraftFile};
use voldemort::source::{Body, Snapshot, SourceConfig, SourceError, Update};
use voldemort::state::{Server, SourceStatus};
use voldemort::store::Store;

const NET: &str = "[subnet.lab]\ncidr = '10.0.10.0/24'\n[boot.local]\nkernel = 'files/vmlinuz'\n";

struct Lab {
    folder: TempDir,
    keeper: Keeper,
    reconciler: Arc<Reconciler>,
    updates: mpsc::Sender<(Name, Update)>,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn fleet(team: &str, first: u8, count: u8) -> String {
    let one = |number: u8| {
        format!(
            "[deployment.{team}-{number}]\nmac = '52:54:00:00:00:{:02x}'\naddress = '10.0.10.{}'\nboot = 'local'\n",
            first + number,
            first + number
        )
    };
    (0..count).map(one).collect()
}

impl Lab {
    async fn new(names: &[&str]) -> Lab {
        Lab::at(tempfile::tempdir().unwrap(), names).await
    }

    /// A daemon over the state that an earlier one left; revisions of `name!` wait for approval.
    async fn at(folder: TempDir, names: &[&str]) -> Lab {
        Lab::fetching(folder, names, Fetcher::default()).await
    }

    /// The same where repositories are fetched so.
    async fn fetching(folder: TempDir, names: &[&str], fetcher: Fetcher) -> Lab {
        Lab::writing(folder, names, fetcher, Write::Off).await
    }

    /// The same where they are written to so.
    async fn writing(folder: TempDir, names: &[&str], fetcher: Fetcher, writes: Write) -> Lab {
        Lab::of(folder, names, &Inventory::Own, fetcher, writes).await
    }

    /// The same, each source of this inventory.
    async fn of(
        folder: TempDir,
        names: &[&str],
        inventory: &Inventory,
        fetcher: Fetcher,
        writes: Write,
    ) -> Lab {
        std::fs::write(folder.path().join("vmlinuz"), "kernel").unwrap();
        let (store, mut saved) = Store::open(&folder.path().join("state"), || [7; 48]).unwrap();
        saved.new_site = true;
        let (kept, control) = (saved.kept.take(), saved.notes.remove("control"));
        let server = Server {
            address: [10, 0, 10, 1].into(),
            http_port: 80,
            others: Vec::new(),
            gives_addresses: true,
            loaders: BTreeMap::new(),
        };
        let (keeper, _) = Keeper::spawn(store, saved, server);
        let sources = names.iter().map(|text| {
            let (text, manual) = text.strip_suffix('!').map_or((*text, false), |text| (text, true));
            let place = SourceConfig {
                inventory: inventory.clone(),
                poll: None,
                state: folder.path().join("state"),
                fetcher: fetcher.clone(),
            };
            (name(text), Followed { location: text.to_owned(), manual, place, writes })
        });
        let state = folder.path().join("state");
        let follow = Follow { sources: sources.collect(), environment: None, state, control };
        let shelf = Shelf::default();
        let reconciler = Arc::new(Reconciler::new(keeper.clone(), shelf, Vec::new(), None, follow));
        if let Some(kept) = kept {
            reconciler.restore(kept).await;
        }
        let (updates, queue) = mpsc::channel(1);
        tokio::spawn(reconciler.clone().run(queue));
        Lab { folder, keeper, reconciler, updates }
    }

    /// Ends this daemon and waits until its state is free.
    async fn stop(self) -> TempDir {
        let Lab { folder, keeper, reconciler, updates } = self;
        drop((keeper, updates, reconciler));
        let state = folder.path().join("state");
        while Store::open(&state, || [7; 48]).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        folder
    }

    fn body(&self, text: &str) -> Body {
        Body::Inline { bytes: text.to_owned().into(), path: Some(self.folder.path().join("vmlinuz")) }
    }

    /// What a source holds now; waits until it was judged.
    async fn load(&self, source: &str, revision: &str, files: &[(&str, &str)]) -> SourceStatus {
        let files = files.iter().map(|(path, text)| (Arc::from(*path), self.body(text)));
        let snapshot = Snapshot { revision: revision.into(), files: files.collect(), ..Snapshot::default() };
        self.updates.send((name(source), Update::Snapshot(snapshot))).await.unwrap();
        self.judged(source, |status| status.attempted == revision).await
    }

    async fn judged(&self, source: &str, test: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
        let mut statuses = self.reconciler.statuses();
        let wait =
            statuses.wait_for(|statuses: &BTreeMap<Name, SourceStatus>| test(&statuses[&name(source)]));
        let found = tokio::time::timeout(Duration::from_secs(20), wait).await.expect("a judgement in time");
        found.unwrap()[&name(source)].clone()
    }

    fn deployments(&self) -> usize {
        self.keeper.state().desired().deployments.len()
    }
}

const KERNEL: (&str, &str) = ("files/vmlinuz", "kernel");

#[tokio::test]
async fn each_source_moves_alone() {
    let lab = Lab::new(&["a", "b", "net"]).await;
    // What it needs of another source is not there yet.
    let early = lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 4))]).await;
    assert_eq!(early.condition, SourceCondition::Invalid);
    assert!(early.reason.contains("a:x.toml:"), "{}", early.reason);
    assert_eq!(lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await.condition, SourceCondition::Ready);
    assert_eq!(lab.judged("a", |status| status.condition == SourceCondition::Ready).await.applied, "a1");
    assert_eq!(
        lab.load("b", "b1", &[("x.toml", &fleet("b", 50, 4))]).await.condition,
        SourceCondition::Ready
    );
    assert_eq!(lab.deployments(), 8);
    // A broken one stays where it is while others move.
    let broken = lab.load("a", "a2", &[("x.toml", "[deployment.a-0]\nboot = 7\n")]).await;
    assert_eq!((broken.condition.name(), broken.applied.as_str()), ("Invalid", "a1"));
    assert_eq!(
        lab.load("b", "b2", &[("x.toml", &fleet("b", 50, 5))]).await.condition,
        SourceCondition::Ready
    );
    assert_eq!(lab.deployments(), 9);
    let away = SourceError::Git("away".into());
    lab.updates.send((name("a"), Update::Failed(away))).await.unwrap();
    assert_eq!(
        lab.judged("a", |status| status.condition == SourceCondition::Unreachable).await.applied,
        "a1"
    );
    assert_eq!(lab.deployments(), 9);
    assert!(lab.keeper.state().desired().revision.contains("a:a1 b:b2 net:n1"));
}

#[tokio::test]
async fn a_name_in_two_sources_is_refused_with_both_places() {
    let lab = Lab::new(&["a", "b", "net"]).await;
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    lab.load("a", "a1", &[("x.toml", &fleet("same", 10, 1))]).await;
    let twice = lab.load("b", "b1", &[("deep/y.toml", &fleet("same", 50, 1))]).await;
    assert_eq!(twice.condition, SourceCondition::Invalid);
    assert!(
        twice.reason.contains("a:x.toml:1:") && twice.reason.contains("b:deep/y.toml:1:"),
        "{}",
        twice.reason
    );
    // It moves from one to the other when the first lets go.
    let moved = lab.load("a", "a2", &[("x.toml", &fleet("other", 10, 1))]).await;
    assert_eq!(moved.condition, SourceCondition::Ready);
    assert_eq!(lab.judged("b", |status| status.condition == SourceCondition::Ready).await.applied, "b1");
}

#[tokio::test]
async fn thresholds_are_those_of_the_source_that_moves() {
    let lab = Lab::new(&["a", "b", "net"]).await;
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 6))]).await;
    lab.load("b", "b1", &[("x.toml", &fleet("b", 50, 90))]).await;
    // 3 of 96 are few, 3 of 6 are not.
    let held = lab.load("a", "a2", &[("x.toml", &fleet("a", 10, 3))]).await;
    assert_eq!(held.condition, SourceCondition::Held);
    assert!(held.reason.contains("removes 3 of 6 deployments"), "{}", held.reason);
    let loose = ("voldemort.toml", "format = 1\n[safety]\nmax-remove = '60%'\n");
    // What it loosens counts when that is served.
    let held = lab.load("a", "a3", &[("x.toml", &*fleet("a", 10, 3)), loose]).await;
    assert_eq!(held.condition, SourceCondition::Held);
    let alone = lab.load("a", "a4", &[("x.toml", &*fleet("a", 10, 6)), loose]).await;
    assert_eq!(alone.condition, SourceCondition::Ready, "{}", alone.reason);
    let loose = [("x.toml", &*fleet("a", 10, 3)), loose];
    let moved = lab.load("a", "a5", &loose).await;
    assert_eq!(moved.condition, SourceCondition::Ready, "{}", moved.reason);
    assert_eq!(
        lab.load("b", "b2", &[("x.toml", &fleet("b", 50, 45))]).await.condition,
        SourceCondition::Held
    );
    assert_eq!(lab.deployments(), 93);
    // By hand, for the source that is named.
    let sent = |source: Option<&str>| {
        let files = [("x.toml".to_owned(), fleet("b", 50, 45))].into();
        let source = source.map(str::to_owned);
        Tree { revision: "hand".into(), source, files, ..Tree::default() }
    };
    let unnamed = lab.reconciler.plan(sent(None)).await.unwrap();
    let Outcome::Invalid { report: problems, .. } = unnamed else { panic!("{unnamed:?}") };
    assert!(problems.contains("a, b, net") && problems.contains("--source"), "{problems}");
    let mut request = Apply { tree: sent(Some("b")), ..Apply::default() };
    request.consent.removals = Some(45);
    let outcome = lab.reconciler.apply(request, Caller::DAEMON).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
    assert_eq!(lab.deployments(), 48);
    assert_eq!(lab.judged("b", |status| status.condition == SourceCondition::Ready).await.attempted, "b2");
}

/// Each source has its own way: an editor's tree is held where a commit of that source would wait.
#[tokio::test]
async fn a_tree_is_held_where_its_own_source_is_manual() {
    let lab = Lab::new(&["a", "b!", "net"]).await;
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    let waits = lab.load("b", "b1", &[("x.toml", &fleet("b", 50, 3))]).await;
    assert_eq!(waits.condition, SourceCondition::Waiting, "{}", waits.reason);
    let apply = async |source: &str, role| {
        let files = [("x.toml".to_owned(), fleet(source, if source == "a" { 10 } else { 50 }, 2))].into();
        let tree = Tree { revision: "hand".into(), source: Some(source.into()), files, ..Tree::default() };
        let by = Caller { by: By::User(1000), role };
        lab.reconciler.apply(Apply { tree, ..Apply::default() }, by).await.unwrap()
    };
    let beside = apply("a", Role::Editor).await;
    assert!(matches!(beside, Outcome::Applied { .. }), "{beside:?}");
    assert_eq!(lab.deployments(), 2, "nothing of b came with it");
    match apply("b", Role::Editor).await {
        Outcome::Held { holds, .. } => assert!(holds[0].reason.contains("source b waits"), "{holds:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(lab.deployments(), 2);
    let admins = apply("b", Role::Admin).await;
    assert!(matches!(admins, Outcome::Applied { .. }), "{admins:?}");
    assert_eq!(lab.deployments(), 4);
}

/// Each source has settings of its own; whichever moves next changes nothing of those of the others.
#[tokio::test]
async fn settings_are_compared_with_those_of_the_source_itself() {
    let settings = |percent: u8, window: &str| {
        let safety = format!("max-remove = '{percent}%'\nwindows = ['{window}']\n");
        format!("format = 1\n[safety]\non-release = 'wipe'\nasker = 'token'\n{safety}")
    };
    let lab = Lab::new(&["a", "b", "net"]).await;
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    let of_a = settings(60, "Mon 22:00-23:00");
    let of_b = settings(50, "Fri 22:00-23:00");
    lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 2)), ("voldemort.toml", &of_a)]).await;
    lab.load("b", "b1", &[("x.toml", &fleet("b", 50, 2)), ("voldemort.toml", &of_b)]).await;
    let plan = async |source: &str, first: u8, settings: &str| {
        let files = [("x.toml", fleet(source, first, 2)), ("voldemort.toml", settings.to_owned())];
        let files = files.map(|(path, text)| (path.to_owned(), text)).into();
        let tree = Tree { revision: "hand".into(), source: Some(source.into()), files, ..Tree::default() };
        match lab.reconciler.plan(tree).await.unwrap() {
            Outcome::Planned { plan, .. } => plan.changes,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(plan("a", 10, &of_a).await, []);
    assert_eq!(plan("b", 50, &of_b).await, []);
    // A source without settings of its own changes none, though it says nothing of releases and askers.
    let files = [("net.toml".to_owned(), NET.to_owned()), (KERNEL.0.to_owned(), KERNEL.1.to_owned())].into();
    let tree = Tree { revision: "hand".into(), source: Some("net".into()), files, ..Tree::default() };
    match lab.reconciler.plan(tree).await.unwrap() {
        Outcome::Planned { plan, .. } => assert_eq!(plan.changes, []),
        other => panic!("{other:?}"),
    }
    let changes = plan("a", 10, &settings(70, "Mon 22:00-23:00")).await;
    let [only] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((only.kind.as_str(), only.origin.as_str()), ("settings", "a:voldemort.toml:1:1"));
    assert_eq!(only.details, ["max-remove: 60% -> 70%"]);
    let both = "windows: Fri 22:00-23:00; Mon 22:00-23:00 -> Fri 22:00-23:00; Tue 22:00-23:00";
    assert_eq!(plan("a", 10, &settings(60, "Tue 22:00-23:00")).await[0].details, [both]);
}

/// A source that is taken out of the daemon's file gives up all that it had, whichever source moves next.
#[tokio::test]
async fn a_source_that_is_followed_no_more_counts_as_removed() {
    let lab = Lab::new(&["a", "b", "net"]).await;
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 2))]).await;
    lab.load("b", "b1", &[("x.toml", &fleet("b", 50, 3))]).await;
    let lab = Lab::at(lab.stop().await, &["a", "net"]).await;
    assert_eq!(lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await.condition, SourceCondition::Ready);
    assert_eq!(lab.deployments(), 5);
    // What the other source says of thresholds is about that one.
    let loose = "format = 1\n[safety]\nmax-remove = '100%'\nallow-empty = true\n";
    let held = lab.load("a", "a2", &[("x.toml", &fleet("a", 10, 2)), ("voldemort.toml", loose)]).await;
    assert_eq!((held.condition.name(), lab.deployments()), ("Held", 5), "{}", held.reason);
    assert!(held.reason.contains("removes every deployment of source b (3)"), "{}", held.reason);
    assert!(held.reason.contains("--allow-removals 3"), "{}", held.reason);
    let plan = lab.reconciler.plans()[0].id.clone();
    let consent = Consent { removals: Some(3), ..Consent::default() };
    let approved = lab.reconciler.order(Order::Approve { plan, consent }).await.unwrap();
    assert!(matches!(approved, Outcome::Applied { .. }), "{approved:?}");
    assert_eq!(lab.deployments(), 2);
}

/// One source becomes two, or two become one: what none of them has any more was removed.
#[tokio::test]
async fn what_is_lost_when_sources_are_split_or_merged_counts_as_removed() {
    let whole = format!("{NET}{}{}", fleet("a", 10, 3), fleet("b", 50, 3));
    let lab = Lab::new(&["inventory"]).await;
    assert_eq!(
        lab.load("inventory", "i1", &[("x.toml", &whole), KERNEL]).await.condition,
        SourceCondition::Ready
    );
    let lab = Lab::at(lab.stop().await, &["core", "edge"]).await;
    lab.load("core", "c1", &[("x.toml", &format!("{NET}{}", fleet("a", 10, 3))), KERNEL]).await;
    let held = lab.load("edge", "e1", &[("x.toml", "")]).await;
    assert_eq!(lab.deployments(), 6);
    let said = |lab: &Lab| {
        let statuses = lab.reconciler.statuses();
        let all = statuses.borrow();
        all.values().map(|status| format!("{} {}; ", status.condition, status.reason)).collect::<String>()
    };
    assert!(said(&lab).contains("Held"), "{held:?} {}", said(&lab));
    assert!(said(&lab).contains("removes 3 of 6 deployments; "), "{}", said(&lab));
    // Nothing is lost: nothing is held.
    lab.load("edge", "e2", &[("x.toml", &fleet("b", 50, 3))]).await;
    lab.judged("core", |status| status.condition == SourceCondition::Ready).await;
    assert_eq!(lab.judged("edge", |status| status.condition == SourceCondition::Ready).await.applied, "e2");
    assert_eq!(lab.deployments(), 6);
    // A file that one source gives to another is gone before the other may have it.
    let held = lab.load("core", "c2", &[("x.toml", NET), KERNEL]).await;
    assert!(held.reason.contains("removes every deployment (3)"), "{}", held.reason);

    let lab = Lab::at(lab.stop().await, &["inventory"]).await;
    let fewer = format!("{NET}{}", fleet("a", 10, 3));
    let held = lab.load("inventory", "i2", &[("x.toml", &fewer), KERNEL]).await;
    assert_eq!((held.condition.name(), lab.deployments()), ("Held", 6), "{}", held.reason);
    assert!(held.reason.contains("removes every deployment"), "{}", held.reason);
    assert_eq!(
        lab.load("inventory", "i3", &[("x.toml", &whole), KERNEL]).await.condition,
        SourceCondition::Ready
    );
    // Part of a tree is no way round it.
    let sent = |only: &str| {
        let words = Selection { only: vec![only.to_owned()], except: Vec::new() };
        let kernel = ("files/vmlinuz".to_owned(), "kernel".to_owned());
        let files = [("x.toml".to_owned(), fewer.clone()), kernel].into();
        let tree = Tree { revision: "hand".into(), selection: words, files, ..Tree::default() };
        Apply { tree, ..Apply::default() }
    };
    match lab.reconciler.apply(sent("b-*"), Caller::DAEMON).await.unwrap() {
        Outcome::Held { holds, .. } => assert!(holds[0].cure.contains("--allow-removals 3"), "{holds:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(lab.deployments(), 6);
    let one = lab.reconciler.apply(sent("b-1"), Caller::DAEMON).await.unwrap();
    assert!(matches!(one, Outcome::Applied { .. }), "one of six is below the line: {one:?}");
}

#[tokio::test]
async fn a_restart_serves_all_parts_and_waits_for_none() {
    let lab = Lab::new(&["a", "net"]).await;
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 3))]).await;
    let lab = Lab::at(lab.stop().await, &["a", "net"]).await;
    assert_eq!(lab.deployments(), 3);
    let status = lab.reconciler.statuses().borrow()[&name("a")].clone();
    assert_eq!((status.condition.name(), status.applied.as_str()), ("Cached", "a1"));
    // The other source is away, and stays as it was.
    assert_eq!(
        lab.load("a", "a2", &[("x.toml", &fleet("a", 10, 4))]).await.condition,
        SourceCondition::Ready
    );
    assert_eq!(lab.deployments(), 4);
    // One source becomes two: nothing is adopted before both were read.
    let lab = Lab::at(lab.stop().await, &["b", "core"]).await;
    assert_eq!(lab.deployments(), 4);
    let waiting = lab.load("core", "c1", &[("net.toml", NET), KERNEL]).await;
    assert_eq!(waiting.condition, SourceCondition::Waiting);
    assert_eq!(lab.deployments(), 4);
}

#[tokio::test]
async fn each_source_waits_for_its_own_approval_and_a_pin_is_for_all() {
    let lab = Lab::new(&["a!", "b", "net"]).await;
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    let asked = lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 2))]).await;
    assert_eq!(asked.condition, SourceCondition::Waiting, "{}", asked.reason);
    // Another source moves; what waits is judged beside it and takes nothing of it back.
    assert_eq!(
        lab.load("b", "b1", &[("x.toml", &fleet("b", 50, 3))]).await.condition,
        SourceCondition::Ready
    );
    // What b did is judged when a third one has spoken.
    lab.load("net", "n2", &[("net.toml", "[deployment.x]\nboot = 7\n"), KERNEL]).await;
    let plans = lab.reconciler.plans();
    assert_eq!((plans.len(), plans[0].source.as_deref(), &*plans[0].revision), (1, Some("a"), "a1"));
    let approve = Order::Approve { plan: plans[0].id.clone(), consent: Default::default() };
    let approved = lab.reconciler.order(approve).await.unwrap();
    assert!(matches!(approved, Outcome::Applied { .. }), "{approved:?}");
    assert_eq!((lab.deployments(), lab.reconciler.plans().len()), (5, 0));
    // Back to before it, whatever comes.
    let earlier = lab.reconciler.revisions()[1].name.clone();
    assert_eq!(earlier, "b:b1 net:n1");
    let consent = Consent { removals: Some(2), ..Consent::default() };
    let pin = Order::Pin { revision: earlier, reason: String::new(), consent };
    let pinned = lab.reconciler.order(pin).await.unwrap();
    assert!(matches!(pinned, Outcome::Applied { .. }), "{pinned:?}");
    assert_eq!(
        lab.load("b", "b2", &[("x.toml", &fleet("b", 50, 4))]).await.condition,
        SourceCondition::Pinned
    );
    assert_eq!(lab.deployments(), 3);
    lab.reconciler.order(Order::Unpin).await.unwrap();
    assert_eq!(lab.judged("b", |status| status.condition == SourceCondition::Ready).await.applied, "b2");
    assert_eq!(lab.judged("a", |status| status.condition == SourceCondition::Waiting).await.attempted, "a1");
    assert_eq!(lab.deployments(), 4);
}

/// What was approved is served beside the next revision of another source, though who approved it went away meanwhile.
#[tokio::test]
async fn what_was_approved_stays_though_its_caller_goes_away() {
    let lab = Lab::new(&["a!", "b", "net"]).await;
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 2))]).await;
    lab.load("b", "b1", &[("x.toml", &fleet("b", 50, 3))]).await;
    // It has its turn when all that follows from these reports is done.
    assert!(lab.reconciler.order(Order::Unpin).await.is_err());
    assert_eq!((lab.deployments(), lab.reconciler.plans().len()), (3, 1));
    let plan = lab.reconciler.plans()[0].id.clone();
    let approve = Order::Approve { plan, consent: Default::default() };
    let mut approving = Box::pin(lab.reconciler.order(approve));
    while lab.deployments() != 5 {
        tokio::select! {
            biased;
            _ = &mut approving => panic!("it is done before its caller goes away"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(approving);
    lab.load("b", "b2", &[("x.toml", &fleet("b", 50, 4))]).await;
    assert_eq!(lab.deployments(), 6);
    assert_eq!(lab.judged("a", |status| status.applied == "a1").await.condition, SourceCondition::Ready);
}

/// Where a verb writes: to the source that is named, that holds the resource, or that alone may be
/// written to.
#[tokio::test]
async fn verbs_write_to_the_source_that_holds_the_resource() {
    let lab = Lab::new(&["a", "b", "net"]).await;
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 1))]).await;
    lab.load("b", "b1", &[("x.toml", &fleet("b", 20, 1))]).await;
    let edit = |verb, name: &str, source: Option<&str>| EditRequest {
        edit: Some(edit_of(verb, name)),
        source: source.map(str::to_owned),
        dry_run: true,
        ..EditRequest::default()
    };
    let why = async |request| match lab.reconciler.edit(request, Caller::DAEMON, Vec::new()).await {
        Ok(Edited::Refused { why, .. }) | Err(why) => why,
        Ok(other) => format!("{other:?}"),
    };
    let said = why(edit(Verb::Redeploy, "c-0", None)).await;
    assert_eq!(said, "none of the sources a, b, net has the deployment c-0");
    let said = why(edit(Verb::Redeploy, "a-0", Some("c"))).await;
    assert_eq!(said, "this daemon follows a, b, net, not c");
    let said = why(edit(Verb::Create, "c-0", None)).await;
    assert!(said.contains("name the one to write to with --source"), "{said}");
    let several = EditRequest {
        edits: vec![edit_of(Verb::Redeploy, "b-0"), edit_of(Verb::Redeploy, "a-0")],
        dry_run: true,
        ..EditRequest::default()
    };
    let said = why(several).await;
    assert_eq!(
        said,
        "these edits are of several sources, and one commit is of one: a has edits[1] (redeploy deployment a-0), b has \
         edits[0] (redeploy deployment b-0); send one request for each source"
    );
    // The one that holds it is found: it is read, whatever becomes of that.
    for request in [edit(Verb::Redeploy, "b-0", None), edit(Verb::Create, "c-0", Some("b"))] {
        let said = why(request).await;
        assert!(!said.contains("--source") && !said.contains("none of the sources"), "{said}");
    }
}

fn redeploy(name: &str) -> EditRequest {
    EditRequest { edit: Some(edit_of(Verb::Redeploy, name)), ..EditRequest::default() }
}

fn edit_of(verb: Verb, name: &str) -> Edit {
    Edit {
        verb,
        kind: Kind::Deployment,
        name: Some(name.into()),
        mac: None,
        settings: Vec::new(),
        deployment_type: None,
        if_match: None,
    }
}

/// A program in the place of the one that works on repositories. It hangs where `when` (of a shell's `case`) fits
/// its arguments, having made the file `began`.
fn hanging(folder: &TempDir, when: &str) -> (Fetcher, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let (program, began) = (folder.path().join("hangs"), folder.path().join("began"));
    let own = env!("CARGO_BIN_EXE_voldemort");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in {when}) : > {}; exec sleep 600;; esac\nexec {own} \"$@\"\n",
        began.display()
    );
    std::fs::write(&program, text).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (Fetcher { program }, began)
}

/// Orders and the other source go on while an edit waits for a git server.
async fn others_go_on(lab: &Lab, request: EditRequest, began: &std::path::Path) {
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 1))]).await;
    let reconciler = lab.reconciler.clone();
    let edit = tokio::spawn(async move { reconciler.edit(request, Caller::DAEMON, Vec::new()).await });
    let others = async {
        while !began.exists() {
            assert!(!edit.is_finished(), "the edit ended before");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lab.reconciler.order(Order::Suspend { reason: "a test".into(), seconds: None }).await.unwrap();
        lab.reconciler.order(Order::Resume).await.unwrap();
        lab.load("net", "n2", &[("net.toml", NET), KERNEL, ("more", "more")]).await;
    };
    tokio::time::timeout(Duration::from_secs(20), others).await.expect("others go on while the edit waits");
    assert!(!edit.is_finished());
    edit.abort();
}

#[tokio::test]
async fn an_edit_whose_fetch_hangs_holds_up_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (fetcher, began) = hanging(&folder, "*");
    let lab = Lab::fetching(folder, &["a", "net"], fetcher).await;
    others_go_on(&lab, EditRequest { dry_run: true, ..redeploy("a-0") }, &began).await;
}

/// Makes the daemon's own repository with these files.
async fn begin(folder: &TempDir, files: &[(&str, &str)]) {
    let state = folder.path().join("state");
    drop(Store::open(&state, || [7; 48]).unwrap());
    let fetcher = Fetcher { program: env!("CARGO_BIN_EXE_voldemort").into() };
    let own = SourceConfig { inventory: Inventory::Own, poll: None, state, fetcher };
    let file = |(path, text): &(&str, &str)| DraftFile {
        path: (*path).to_owned(),
        before: None,
        after: (*text).to_owned(),
    };
    let files = files.iter().map(file).collect();
    let draft = Draft { files, message: "Begin\n".into(), author: ("a".into(), "a@localhost".into()) };
    let reading = own.read(()).await.unwrap();
    own.write(&reading, &draft, None, ()).await.unwrap();
}

#[tokio::test]
async fn several_edits_are_one_commit_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let (text, more) = (fleet("a", 10, 5), fleet("b", 30, 1));
    begin(&folder, &[("net.toml", NET), ("x.toml", &text), ("y.toml", &more), KERNEL]).await;
    let own = folder.path().join("state/inventory.git");
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").arg("-C").arg(&own).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let (before, head) = (git(&["rev-list", "--count", "HEAD"]), git(&["rev-parse", "HEAD"]));
    let fetcher = Fetcher { program: env!("CARGO_BIN_EXE_voldemort").into() };
    let lab = Lab::writing(folder, &["one"], fetcher, Write::Direct).await;
    lab.load("one", "r1", &[("net.toml", NET), ("x.toml", &text), ("y.toml", &more), KERNEL]).await;
    let send = async |edits: Vec<Edit>, dry_run: bool| {
        let request = EditRequest { edits, dry_run, ..EditRequest::default() };
        lab.reconciler.edit(request, Caller::DAEMON, Vec::new()).await.unwrap()
    };
    let redeploy = |name: &str| edit_of(Verb::Redeploy, name);
    let all = || {
        let rows = (0..5).map(|number| redeploy(&format!("a-{number}")));
        rows.chain([redeploy("b-0")]).collect::<Vec<_>>()
    };
    let planned = send(all(), true).await;
    let Edited::Planned { change, further, plan, .. } = &planned else { panic!("{planned:?}") };
    assert_eq!((change.path.as_str(), further[0].path.as_str(), further.len()), ("x.toml", "y.toml", 1));
    assert_eq!(
        (change.resources.len(), further[0].resources[0].edit, plan.changes.is_empty()),
        (5, 5, false)
    );
    assert_eq!(change.patch.matches("\n+redeploy = 1\n").count(), 5, "{}", change.patch);

    // One that can't be made, one that would be wrong, one that was changed: none of them is made.
    let why = |edited: &Edited| match edited {
        Edited::Refused { why, edit } => format!("{why} {:?}", edit.as_ref().map(|edit| edit.index)),
        other => format!("{other:?}"),
    };
    let said = why(&send(vec![redeploy("a-0"), redeploy("a-9")], false).await);
    assert!(
        said.starts_with("edits[1] (redeploy deployment a-9): there is no deployment")
            && said.ends_with("Some(1)"),
        "{said}"
    );
    let seen = Edit { if_match: Some("\"x\"".into()), ..redeploy("a-1") };
    let changed = send(vec![redeploy("a-0"), seen], false).await;
    assert!(matches!(&changed, Edited::Changed { edit: Some(edit), .. } if edit.index == 1), "{changed:?}");
    assert_eq!(git(&["rev-list", "--count", "HEAD"]), before);

    let written = send(all(), false).await;
    assert!(matches!(&written, Edited::Written { .. }), "{written:?}");
    assert_eq!(git(&["rev-list", "--count", &format!("{}..HEAD", head.trim())]).trim(), "1");
    let message = git(&["log", "-1", "--format=%B"]);
    assert!(message.starts_with("Redeploy a-0 … b-0 (6)\n\n- Redeploy deployment a-0\n- "), "{message}");
    assert!(
        message.trim_end().ends_with("- Redeploy deployment b-0\n\nRequested-by: the daemon"),
        "{message}"
    );
    assert_eq!(git(&["diff", "--stat", "HEAD~", "HEAD"]).lines().count(), 3, "two files and their sum");
}

/// A server that does not answer holds up an edit for the source's `timeout`, and those behind it not much longer.
#[tokio::test]
async fn edits_behind_one_that_hangs_end_and_name_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let (fetcher, _) = hanging(&folder, "*");
    let git = Git { limit: Span::seconds(1), ..Git::at("https://nowhere.invalid/x.git".into()) };
    let lab = Lab::of(folder, &["a", "net"], &Inventory::Git(git), fetcher, Write::Direct).await;
    let send = |_| {
        let reconciler = lab.reconciler.clone();
        let request = EditRequest { source: Some("a".into()), ..redeploy("a-0") };
        tokio::spawn(async move { reconciler.edit(request, Caller::DAEMON, Vec::new()).await })
    };
    let all: Vec<_> = (0..8).map(send).collect();
    let ends = async {
        let mut ends = Vec::new();
        for edit in all {
            ends.push(edit.await.unwrap().unwrap_err());
        }
        ends
    };
    let ends = tokio::time::timeout(Duration::from_secs(20), ends).await.expect("each ends");
    assert!(ends.iter().all(|why| why.starts_with("source a")), "{ends:#?}");
    assert!(ends.iter().any(|why| why.contains("is busy: another edit")), "{ends:#?}");
}

/// The daemon ends behind the commit and before its answer: the request that is sent again is the same one.
#[tokio::test]
async fn a_request_with_a_key_is_made_once_over_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let text = fleet("a", 10, 2);
    let files = [("net.toml", NET), ("x.toml", text.as_str()), KERNEL];
    begin(&folder, &files).await;
    let fetcher = || Fetcher { program: env!("CARGO_BIN_EXE_voldemort").into() };
    let send = async |lab: &Lab, key: &str| {
        lab.reconciler.edit_once(redeploy("a-0"), Caller::DAEMON, Vec::new(), Some(key.into())).await.unwrap()
    };
    let lab = Lab::writing(folder, &["one"], fetcher(), Write::Direct).await;
    lab.load("one", "r1", &files).await;
    let written = send(&lab, "k1").await;
    let Edited::Written { commit: Some(first), .. } = written else { panic!("{written:?}") };
    let lab = Lab::writing(lab.stop().await, &["one"], fetcher(), Write::Direct).await;
    let again = send(&lab, "k1").await;
    assert!(matches!(&again, Edited::Made { commit } if *commit == first), "{again:?}");
    let other = send(&lab, "k2").await;
    assert!(matches!(&other, Edited::Written { commit: Some(commit), .. } if *commit != first), "{other:?}");
}

#[tokio::test]
async fn an_edit_whose_push_hangs_holds_up_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    begin(&folder, &[("x.toml", &fleet("a", 10, 1))]).await;
    let (fetcher, began) = hanging(&folder, &format!("*{WRITE}*"));
    let lab = Lab::writing(folder, &["a", "net"], fetcher, Write::Direct).await;
    others_go_on(&lab, EditRequest { source: Some("a".into()), ..redeploy("a-0") }, &began).await;
}

/// Part of one source's revision: the others, and what else of it there is, stay as they were; so
/// does it through moves of others and a restart. The source's next revision is whole again.
#[tokio::test]
async fn part_of_one_source_is_applied_beside_the_others() {
    let lab = Lab::new(&["a", "b", "net"]).await;
    let shown = |lab: &Lab| {
        let table = lab.keeper.state();
        let rows = table.desired().deployments.values();
        rows.map(|one| format!("{}={}", one.name, one.address.unwrap().octets()[3]))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let part = |source: &str, revision: &str, text: String, only: &[&str], except: &[&str]| {
        let words = |list: &[&str]| list.iter().map(|word| word.to_string()).collect();
        let selection = Selection { only: words(only), except: words(except) };
        let tree = Tree {
            revision: revision.into(),
            source: Some(source.into()),
            files: [("x.toml".to_owned(), text)].into(),
            selection,
            ..Tree::default()
        };
        Apply { tree, ..Apply::default() }
    };
    let early = lab
        .reconciler
        .apply(part("a", "a0", fleet("a", 10, 1), &["a-0"], &[]), Caller::DAEMON)
        .await
        .unwrap_err();
    assert!(early.contains("apply everything first"), "{early}");
    lab.load("net", "n1", &[("net.toml", NET), KERNEL]).await;
    lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 3))]).await;
    lab.load("b", "b1", &[("x.toml", &fleet("b", 50, 2))]).await;
    assert_eq!(shown(&lab), "a-0=10 a-1=11 a-2=12 b-0=50 b-1=51");
    let applied =
        async |lab: &Lab, request| match lab.reconciler.apply(request, Caller::DAEMON).await.unwrap() {
            Outcome::Applied { plan } => plan.changes.len(),
            other => panic!("{other:?}"),
        };
    // One of three; then all but one of the other source.
    assert_eq!(
        applied(&lab, part("a", "hand", fleet("a", 20, 3), &["a-1"], &[])).await,
        2,
        "machine and deployment"
    );
    assert_eq!(shown(&lab), "a-0=10 a-1=21 a-2=12 b-0=50 b-1=51");
    applied(&lab, part("b", "hand", fleet("b", 60, 3), &[], &["b-0"])).await;
    let both = "a-0=10 a-1=21 a-2=12 b-0=50 b-1=61 b-2=62";
    assert_eq!(shown(&lab), both);
    let status = lab.reconciler.statuses().borrow()[&name("a")].clone();
    assert_eq!((status.condition.name(), status.applied.as_str()), ("Ready", "hand (only a-1)"));
    // Others move, and the daemon ends and starts.
    lab.load(
        "net",
        "n2",
        &[("net.toml", NET), ("more.toml", "[boot.more]\nkernel = 'files/vmlinuz'\n"), KERNEL],
    )
    .await;
    assert_eq!(shown(&lab), both);
    let lab = Lab::at(lab.stop().await, &["a", "b", "net"]).await;
    assert_eq!(shown(&lab), both);
    let status = lab.reconciler.statuses().borrow()[&name("b")].clone();
    assert_eq!((status.condition.name(), status.applied.as_str()), ("Cached", "hand (without b-0)"));
    // What a source had when it was applied by hand is no news; its next revision is.
    assert_eq!(
        lab.load("a", "a1", &[("x.toml", &fleet("a", 10, 3))]).await.condition,
        SourceCondition::Ready
    );
    assert_eq!(shown(&lab), both);
    let misspelt = lab
        .reconciler
        .apply(part("a", "hand", fleet("a", 20, 3), &["a-9"], &[]), Caller::DAEMON)
        .await
        .unwrap();
    assert!(matches!(&misspelt, Outcome::Invalid { report, .. } if report.contains("a-9")), "{misspelt:?}");
    // Each layer is loaded again and again: there is an end to it.
    applied(&lab, part("a", "hand", fleet("a", 30, 3), &["a-2"], &[])).await;
    applied(&lab, part("b", "hand", fleet("b", 70, 3), &["b-0"], &[])).await;
    assert_eq!(shown(&lab), "a-0=10 a-1=21 a-2=32 b-0=70 b-1=61 b-2=62");
    let fifth = lab
        .reconciler
        .apply(part("a", "hand", fleet("a", 40, 3), &["a-0"], &[]), Caller::DAEMON)
        .await
        .unwrap_err();
    assert!(fifth.contains("too many partial applies"), "{fifth}");
    assert_eq!(lab.load("a", "a2", &[("x.toml", &fleet("a", 10, 4))]).await.applied, "a2");
    assert_eq!(shown(&lab), "a-0=10 a-1=11 a-2=12 a-3=13 b-0=70 b-1=61 b-2=62");
    assert_eq!(lab.load("b", "b2", &[("x.toml", &fleet("b", 50, 2))]).await.applied, "b2");
    assert_eq!(shown(&lab), "a-0=10 a-1=11 a-2=12 a-3=13 b-0=50 b-1=51");
}
