use super::*;
use crate::model::{Mac, Time};
use crate::table::lease::LeaseState;
use crate::table::{InstallStage, Stage};

fn lease(last: u8, machine: u8, expires: u64) -> Lease {
    Lease {
        address: [10, 0, 0, last].into(),
        mac: Mac::new([0x52, 0x54, 0, 0, 0, machine]).unwrap(),
        client_id: None,
        hostname: None,
        state: LeaseState::Bound,
        expires: Time(expires),
    }
}

fn install() -> Install {
    Install {
        machine: "rack1".parse().unwrap(),
        cards: [Mac::new([0x52, 0x54, 0, 0, 0, 1]).unwrap()].into(),
        deployment: "web".parse().unwrap(),
        former: ["old".parse().unwrap()].into(),
        used_as: "old".parse().unwrap(),
        epoch: 4,
        redeploy: 1,
        stage: InstallStage::Started,
        since: Time(5),
        digest: "abc".into(),
        again: false,
        closed: false,
        plain_urls: false,
    }
}

fn installs() -> Vec<(Name, Arc<[Install]>)> {
    vec![("rack1".parse().unwrap(), [install()].into())]
}

fn event(number: u64) -> (u64, Event) {
    (number, Event::new(Time(number), Stage::Ack, "gave 10.0.0.1"))
}

fn open(folder: &Path) -> (Store, Saved) {
    Store::open(folder, || [7; 48]).unwrap()
}

/// The state file as version 0.1 left it: leases in JSON, in the same file as all the rest.
fn earlier(folder: &Path) {
    drop(open(folder));
    std::fs::remove_file(folder.join("leases.journal")).unwrap();
    let database = Database::create(folder.join("state.redb")).unwrap();
    let write = database.begin_write().unwrap();
    let mut leases = write.open_table(LEASES).unwrap();
    let text =
        r#"{"mac":"52:54:00:00:00:01","client_id":[255,1],"hostname":"a","state":"bound","expires":9}"#;
    leases.insert(0x0a00_0001, text.as_bytes()).unwrap();
    let text = r#"{"mac":"52:54:00:00:00:02","state":"declined","expires":8}"#;
    leases.insert(0x0a00_0002, text.as_bytes()).unwrap();
    drop(leases);
    write.commit().unwrap();
}

#[test]
fn leases_of_an_earlier_version_move_into_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    earlier(folder.path());
    let (mut store, saved) = open(folder.path());
    let id = Some(Bytes::from_static(&[255, 1]));
    let first = Lease { client_id: id, hostname: Some("a".into()), ..lease(1, 1, 9) };
    let second = Lease { state: LeaseState::Declined, ..lease(2, 2, 8) };
    assert_eq!(saved.leases, [first, second.clone()]);
    store.commit(&Batch { leases: vec![lease(1, 3, 99)], ..Batch::default() }).unwrap();
    drop(store);
    let (store, saved) = open(folder.path());
    assert_eq!(saved.leases, [lease(1, 3, 99), second.clone()]);
    drop(store);
    // It died between the two: the journal is there, and nothing is forgotten yet.
    let journal = std::fs::read(folder.path().join("leases.journal")).unwrap();
    earlier(folder.path());
    std::fs::write(folder.path().join("leases.journal"), journal).unwrap();
    assert_eq!(open(folder.path()).1.leases, [lease(1, 3, 99), second]);
}

#[test]
fn one_batch_is_in_both_files_and_events_follow() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    store
        .commit(&Batch { leases: vec![lease(1, 1, 9)], events: vec![event(1)], ..Batch::default() })
        .unwrap();
    store.commit(&Batch { events: vec![event(2)], ..Batch::default() }).unwrap();
    let batch = Batch { leases: vec![lease(2, 2, 9)], installs: installs(), ..Batch::default() };
    store.commit(&batch).unwrap();
    store.commit(&Batch { events: vec![event(3)], ..Batch::default() }).unwrap();
    drop(store);
    let saved = open(folder.path()).1;
    assert_eq!(saved.leases, [lease(1, 1, 9), lease(2, 2, 9)]);
    assert_eq!(saved.installs, [install()]);
    assert_eq!(saved.events, [event(1), event(2), event(3)]);
}

#[test]
fn a_batch_whose_leases_fail_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    let _whole = store.journal.fill_disk();
    let batch = Batch { leases: vec![lease(2, 2, 9)], installs: installs(), ..Batch::default() };
    assert!(store.commit(&batch).is_err());
    drop(store);
    let saved = open(folder.path()).1;
    assert!(saved.leases.is_empty() && saved.installs.is_empty());
}
