use std::os::unix::fs::PermissionsExt;

use redb::{Database, ReadableDatabase, TableDefinition};

use super::mark::Mark;
use super::*;
use crate::model::Name;
use crate::model::{Mac, Time};
use crate::table::lease::LeaseState;
use std::sync::Arc;

use crate::table::{Event, Install, InstallStage, Lease, Stage};

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

/// Everything that the directory held.
fn with_everything(folder: &Path) {
    let (mut store, saved) = open(folder);
    assert!(saved.installs.is_empty() && saved.remarks.is_empty() && !saved.restored);
    let batch = Batch {
        leases: vec![lease(1, 1, 9)],
        installs: installs(),
        lists: Some(Lists {
            served: Vec::new(),
            assignments: vec![("web".parse().unwrap(), Some("rack1".parse().unwrap()))],
            protected: vec![("rack2".parse().unwrap(), true)],
        }),
        serial: Some(4),
        events: vec![event(1), event(2)],
        notes: vec![("control".into(), b"{}".to_vec())],
        cards: vec![(Mac::new([2, 0, 0, 0, 0, 9]).unwrap(), Some("rack1".parse().unwrap()))],
        used: vec![("abc".into(), Some(3))],
        ..Batch::default()
    };
    store.commit(&batch).unwrap();
}

fn refusal(folder: &Path) -> String {
    Store::open(folder, || [8; 48]).unwrap_err().to_string()
}

fn accepting(folder: &Path, loss: Loss) -> Saved {
    Store::open_accepting(folder, || [8; 48], Accept(vec![loss])).unwrap().1
}

#[test]
fn everything_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let saved = open(folder.path()).1;
    assert_eq!((saved.serial, saved.next_event, saved.restored), (4, 3, false));
    assert_eq!(saved.installs, [install()]);
    assert_eq!(saved.protected, ["rack2".parse::<Name>().unwrap()]);
    assert_eq!(saved.used, [("abc".to_owned(), 3)]);
    assert_eq!(saved.cards.len(), 1);
    assert_eq!(saved.events, [event(1), event(2)]);
    assert!(saved.damaged.is_empty() && saved.remarks.is_empty(), "{:?} {:?}", saved.damaged, saved.remarks);
}

#[test]
fn nobody_else_may_look_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("new/state");
    with_everything(&state);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files = || std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(mode(&state), 0o700);
    assert!(files().count() >= 5);
    for file in files() {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    // Version 0.1 left them open, and a restore may.
    let open_to_all =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open_to_all(&state, 0o755);
    files().for_each(|file| open_to_all(&file, 0o644));
    let remarks = open(&state).1.remarks;
    assert_eq!((mode(&state), files().all(|file| mode(&file) == 0o600)), (0o700, true));
    assert!(remarks.iter().any(|remark| remark.contains("mode 755")), "{remarks:?}");
    assert!(remarks.iter().any(|remark| remark.contains("records.redb had mode 644")), "{remarks:?}");
    // Somebody else's directory is not closed because of a wrong setting.
    let shared = folder.path().join("shared");
    std::fs::create_dir_all(shared.join("home")).unwrap();
    open_to_all(&shared, 0o755);
    let remarks = open(&shared).1.remarks;
    assert_eq!(mode(&shared), 0o755);
    assert!(remarks[0].contains("which is not voldemort's"), "{remarks:?}");
}

#[test]
fn a_part_that_is_missing_empty_or_damaged_is_refused() {
    type Harm = fn(&Path);
    let missing: Harm = |file| std::fs::remove_file(file).unwrap();
    let empty: Harm = |file| std::fs::write(file, "").unwrap();
    let garbage: Harm = |file| std::fs::write(file, [0x5a; 9000]).unwrap();
    let cut: Harm = |file| {
        let length = std::fs::metadata(file).unwrap().len();
        std::fs::File::options().write(true).open(file).unwrap().set_len(length / 3).unwrap();
    };
    let zeros: Harm = |file| {
        let length = std::fs::metadata(file).unwrap().len();
        std::fs::write(file, vec![0; length as usize]).unwrap();
    };
    for (file, loss) in
        [(records::FILE, Loss::Records), (journal::FILE, Loss::Leases), (mark::FILE, Loss::Key)]
    {
        for (number, harm) in [missing, empty, garbage, cut, zeros].into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            with_everything(folder.path());
            harm(&folder.path().join(file));
            for _ in 0..2 {
                let error = refusal(folder.path());
                assert!(error.contains(file), "{file} {number}: {error}");
                assert!(error.contains("voldemort state restore"), "{error}");
                assert!(error.contains(&format!("--accept-loss {loss}")), "{error}");
            }
            let saved = accepting(folder.path(), loss);
            assert!(
                saved.remarks.iter().any(|remark| remark.contains("agreed to it")),
                "{:?}",
                saved.remarks
            );
            match loss {
                Loss::Leases => assert_eq!((saved.installs, saved.restored), (vec![install()], false)),
                Loss::Records => {
                    assert!(saved.installs.is_empty() && saved.restored);
                    assert_eq!(saved.leases, [lease(1, 1, 9)]);
                }
                Loss::Key => {
                    assert_eq!((saved.installs, saved.restored), (vec![install()], true));
                    assert_eq!(saved.leases, [lease(1, 1, 9)]);
                }
            }
            // Nothing is in doubt about the directory itself any more.
            let again = open(folder.path()).1;
            assert!(again.remarks.is_empty() && again.lineage == saved.lineage, "{:?}", again.remarks);
        }
    }
}

#[test]
fn what_a_dead_first_start_left_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    Mark::new(mark::Phase::Making, &[7; 48]).write(folder.path()).unwrap();
    for half in [records::FILE, journal::FILE, events::FILE] {
        std::fs::write(folder.path().join(half), "").unwrap();
        let mut mark = Mark::read(folder.path()).unwrap().unwrap();
        mark.enter(mark::Phase::Making, folder.path()).unwrap();
        let (_, saved) = open(folder.path());
        assert!(saved.remarks.iter().all(|remark| remark.contains("had mode 644")), "{:?}", saved.remarks);
        assert!(!saved.restored);
    }
}

#[test]
fn another_directory_s_files_are_refused() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    with_everything(ours.path());
    drop(Store::open(other.path(), || [9; 48]).unwrap());
    for file in [records::FILE, journal::FILE, mark::FILE] {
        let own = std::fs::read(ours.path().join(file)).unwrap();
        std::fs::copy(other.path().join(file), ours.path().join(file)).unwrap();
        let error = refusal(ours.path());
        assert!(error.contains("another state directory"), "{file}: {error}");
        std::fs::write(ours.path().join(file), own).unwrap();
    }
    assert_eq!(open(ours.path()).1.installs, [install()]);
    // A database that version 0.1 would take.
    std::fs::copy(ours.path().join(records::FILE), ours.path().join(former::FILE)).unwrap();
    assert!(refusal(ours.path()).contains("was mixed into"));
}

#[test]
fn an_older_copy_of_the_records_beside_newer_leases_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let copy = std::fs::read(folder.path().join(records::FILE)).unwrap();
    let (mut store, _) = open(folder.path());
    store.commit(&Batch { serial: Some(5), ..Batch::default() }).unwrap();
    store.commit(&Batch { leases: vec![lease(2, 2, 9)], ..Batch::default() }).unwrap();
    drop(store);
    std::fs::write(folder.path().join(records::FILE), copy).unwrap();
    let saved = open(folder.path()).1;
    assert!(saved.restored && saved.remarks[0].contains("older copy"), "{:?}", saved.remarks);
}

const RAW: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// Changes a stored record as a disk would, or somebody with an editor.
fn tamper(folder: &Path, at: &str, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> bool) {
    let database = Database::open(folder.join(records::FILE)).unwrap();
    let mut key = at.as_bytes().to_vec();
    let mut value = {
        let read = database.begin_read().unwrap();
        let table = read.open_table(RAW).unwrap();
        table.get(&*key).unwrap().unwrap_or_else(|| panic!("{at}")).value().to_vec()
    };
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(RAW).unwrap();
        table.remove(&*key).unwrap();
        if change(&mut key, &mut value) {
            table.insert(&*key, &*value).unwrap();
        }
    }
    write.commit().unwrap();
}

#[test]
fn a_record_with_one_bit_flipped_is_not_believed() {
    for at in [
        "install\0rack1",
        "assigned\0web",
        "protected\0rack2",
        "note\0control",
        "card\002:00:00:00:00:09",
        "used\0abc",
    ] {
        for in_name in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            with_everything(folder.path());
            tamper(folder.path(), at, |key, value| {
                if in_name {
                    *key.last_mut().unwrap() ^= 1
                } else {
                    *value.last_mut().unwrap() ^= 1
                }
                true
            });
            let (mut store, saved) = open(folder.path());
            assert_eq!(saved.damaged.len(), 1, "{at} {in_name}");
            let damage = &saved.damaged[0];
            let (kind, name) = at.split_once('\0').unwrap();
            assert!(damage.kind == kind && damage.names.iter().any(|own| own == name), "{damage}");
            assert!(!saved.restored, "the record is there");
            match kind {
                "install" => assert!(saved.installs.is_empty() && damage.guards_disks()),
                "assigned" => assert!(saved.assignments.is_empty() && damage.guards_disks()),
                "protected" => assert!(saved.protected.contains(&"rack2".parse().unwrap())),
                "note" => assert_eq!(saved.notes["control"], b""),
                "card" => assert!(saved.cards.is_empty()),
                _ => assert!(saved.used.iter().any(|(id, _)| id == "abc")),
            }
            // What is put in its place settles it, wherever the damaged one lies.
            let note = vec![("control".into(), b"{}".to_vec())];
            let assignments = vec![("web".parse().unwrap(), Some("rack1".parse().unwrap()))];
            let lists = Some(Lists { assignments, ..Lists::default() });
            store.commit(&Batch { installs: installs(), notes: note, lists, ..Batch::default() }).unwrap();
            drop(store);
            let saved = open(folder.path()).1;
            assert!(
                saved.damaged.is_empty() && !saved.restored,
                "{at}: {:?} {:?}",
                saved.damaged,
                saved.remarks
            );
        }
    }
}

#[test]
fn records_that_are_gone_or_put_back_make_all_doubtful() {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    tamper(folder.path(), "install\0rack1", |_, _| false);
    let saved = open(folder.path()).1;
    assert!(saved.restored && saved.installs.is_empty() && saved.remarks.len() == 1, "{:?}", saved.remarks);

    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path());
    let mut old = Vec::new();
    tamper(folder.path(), "install\0rack1", |_, value| {
        old = value.clone();
        true
    });
    let (mut store, _) = open(folder.path());
    let next: Arc<[Install]> = [Install { redeploy: 2, ..install() }].into();
    let installs = vec![("rack1".parse().unwrap(), next)];
    store.commit(&Batch { installs, ..Batch::default() }).unwrap();
    drop(store);
    assert!(!open(folder.path()).1.restored);
    tamper(folder.path(), "install\0rack1", |_, value| {
        *value = old;
        true
    });
    assert!(open(folder.path()).1.restored);
}

#[test]
fn a_disk_that_fails_for_a_moment_is_used_again() {
    for landed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        with_everything(folder.path());
        let (mut store, _) = open(folder.path());
        let next: Arc<[Install]> = [Install { redeploy: 9, ..install() }].into();
        let failed = Batch { installs: vec![("rack1".parse().unwrap(), next)], ..Batch::default() };
        store.records.fail(&failed.changes(None), landed);
        store.probe().unwrap();
        store.commit(&Batch { serial: Some(6), ..Batch::default() }).unwrap();
        drop(store);
        let saved = open(folder.path()).1;
        assert_eq!((saved.installs, saved.serial, saved.restored), (vec![install()], 6, false), "{landed}");
    }
}

#[test]
fn lost_events_lose_nothing_else_and_no_number_twice() {
    for content in [&b""[..], b"no database", &[0; 4096]] {
        let folder = tempfile::tempdir().unwrap();
        with_everything(folder.path());
        std::fs::write(folder.path().join(events::FILE), content).unwrap();
        let saved = open(folder.path()).1;
        assert_eq!((saved.installs, saved.next_event), (vec![install()], 3));
        assert!(
            saved.events.is_empty() && saved.remarks[0].contains("events are lost"),
            "{:?}",
            saved.remarks
        );
    }
}

#[test]
fn two_daemons_can_not_have_one_directory() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    assert!(matches!(Store::open(folder.path(), || [7; 48]), Err(StoreError::Busy { .. })));
}
