use super::*;
use crate::model::AuditChain;

fn entry(about: &str) -> AuditEntry {
    AuditEntry { by: "user 0 (admin)".into(), about: about.into(), ..AuditEntry::default() }
}

fn verify(audit: &Audit, noted: Option<AuditHead>) -> Result<u64, String> {
    let mut chain = AuditChain::against(noted);
    for entry in audit.entries(0).unwrap() {
        chain.take(&serde_json::to_value(entry).unwrap())?;
    }
    chain.end().map(|()| chain.entries)
}

fn only_file(state: &Path) -> PathBuf {
    files(&state.join(FOLDER)).unwrap().remove(0).1
}

#[test]
fn entries_outlast_the_process_and_half_a_line_is_cut_off() {
    let state = tempfile::tempdir().unwrap();
    let audit = Audit::open(state.path());
    assert_eq!(audit.status(), AuditStatus::default());
    for number in 1..=3 {
        assert_eq!(audit.add(entry("x")).unwrap(), number);
    }
    let head = audit.status().head;
    let path = only_file(state.path());
    let whole = std::fs::read(&path).unwrap();
    let next = entry("next").after(&head).line();
    // As a kill leaves it, at each byte of the fourth entry.
    for length in (0..next.len()).step_by(7) {
        std::fs::write(&path, [&whole, &next.as_bytes()[..length]].concat()).unwrap();
        let audit = Audit::open(state.path());
        assert_eq!(audit.status().head, head);
        assert_eq!(audit.add(entry("after")).unwrap(), 4);
        assert_eq!(verify(&audit, Some(head.clone())), Ok(4));
        assert_eq!(audit.entries(3).unwrap().len(), 1);
    }
}

#[test]
fn a_folder_that_was_removed_is_made_again_and_missed() {
    let state = tempfile::tempdir().unwrap();
    let audit = Audit::open(state.path());
    audit.add(entry("1")).unwrap();
    std::fs::remove_dir_all(state.path().join(FOLDER)).unwrap();
    assert_eq!(audit.add(entry("2")).unwrap(), 2);
    assert!(verify(&audit, None).unwrap_err().contains("the files with the first entries are missing"));
}

#[test]
fn what_an_end_cut_off_is_said_by_the_next_daemon_and_only_once() {
    let state = tempfile::tempdir().unwrap();
    let audit = Audit::open(state.path());
    assert_eq!(audit.take_cut(), []);
    let begun = |subject: &str| AuditEntry { step: "begun".into(), subject: subject.into(), ..entry("x") };
    let first = audit.add(begun("/v1/one")).unwrap();
    let second = audit.add(begun("/v1/two")).unwrap();
    audit.add(AuditEntry { step: "ended".into(), begun: Some(first), ..entry("x") }).unwrap();
    let path = only_file(state.path());
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole, &b"{\"about\":"[..]].concat()).unwrap();
    let audit = Audit::open(state.path());
    let cut = audit.take_cut();
    assert_eq!((cut.len(), audit.take_cut().len()), (2, 0));
    assert!(cut[0].about.starts_with("9 bytes of an entry"), "{cut:?}");
    assert_eq!((cut[1].begun, cut[1].subject.as_str()), (Some(second), "/v1/two"));
    for entry in cut {
        audit.add(entry).unwrap();
    }
    assert_eq!(verify(&audit, None), Ok(5));
    assert_eq!(Audit::open(state.path()).take_cut(), []);
}

#[test]
fn an_operation_that_an_end_cut_off_is_found_by_its_name() {
    let state = tempfile::tempdir().unwrap();
    let audit = Audit::open(state.path());
    let step =
        |step: &str, begun: Option<u64>, about: &str| AuditEntry { step: step.into(), begun, ..entry(about) };
    let add = |one: AuditEntry| audit.add(one).unwrap();
    let (first, second) = (add(step("begun", None, "")), add(step("begun", None, "")));
    add(step("continued", Some(first), "operation 0-1: update \"x\""));
    add(step("continued", Some(second), "operation 0-12: y"));
    add(step("ended", Some(second), "operation 0-12: y: done"));
    let audit = Audit::open(state.path());
    for entry in audit.take_cut() {
        audit.add(entry).unwrap();
    }
    let steps = |name: &str| {
        let found = audit.of_operation(name).unwrap();
        found.into_iter().map(|entry| (entry.step, entry.begun)).collect::<Vec<_>>()
    };
    let pair = |step: &str, begun: u64| (step.to_owned(), Some(begun));
    assert_eq!(steps("0-1"), [pair("continued", first), pair("cut", first)]);
    assert_eq!(steps("0-12"), [pair("continued", second), pair("ended", second)]);
    assert_eq!(steps("0-2"), []);
    // Later ends say it no more.
    assert_eq!(Audit::open(state.path()).take_cut(), []);
}

#[test]
fn entries_that_come_while_the_disk_is_waited_for_are_written_together() {
    const CALLERS: usize = 40;
    let state = tempfile::tempdir().unwrap();
    let audit = Audit::open(state.path());
    std::thread::scope(|scope| {
        let writing = audit.inner();
        let adding = || audit.add(entry("x")).unwrap();
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(adding)).collect();
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        // The first one writes its own.
        while audit.queue().waiting.len() < CALLERS - 1 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        drop(writing);
        let mut numbers: Vec<u64> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=CALLERS as u64).collect::<Vec<_>>());
    });
    assert_eq!(audit.inner().waits, 2);
    assert_eq!(verify(&audit, None), Ok(CALLERS as u64));
}

/// `cargo test --release --lib -- --ignored how_many_entries --nocapture`, with `TMPDIR` on the disk of interest.
#[test]
#[ignore = "a measurement"]
fn how_many_entries_a_second() {
    for callers in [1, 8, 64] {
        let state = tempfile::tempdir().unwrap();
        let audit = Audit::open(state.path());
        let (start, each) = (Instant::now(), 2_000 / callers);
        std::thread::scope(|scope| {
            for _ in 0..callers {
                scope.spawn(|| (0..each).for_each(|_| assert!(audit.add(entry("x")).is_ok())));
            }
        });
        let (seconds, waits) = (start.elapsed().as_secs_f64(), audit.inner().waits);
        let entries = (callers * each) as f64;
        println!(
            "{callers} callers: {:.0} entries/s, {:.1} a wait",
            entries / seconds,
            entries / waits as f64
        );
    }
}

#[test]
fn one_changed_byte_is_found_also_by_a_later_daemon() {
    let state = tempfile::tempdir().unwrap();
    let audit = Audit::open(state.path());
    for number in 0..3 {
        audit.add(entry(&number.to_string())).unwrap();
    }
    let path = only_file(state.path());
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len() - 1).step_by(11) {
        let mut bytes = whole.clone();
        bytes[at] ^= 2;
        std::fs::write(&path, &bytes).unwrap();
        let audit = Audit::open(state.path());
        audit.add(entry("later")).unwrap();
        assert!(verify(&audit, None).is_err(), "byte {at}");
    }
}

#[test]
fn entries_that_are_cut_off_in_front_are_missed() {
    let state = tempfile::tempdir().unwrap();
    let audit = Audit::open(state.path());
    for number in 0..3 {
        audit.add(entry(&number.to_string())).unwrap();
    }
    let path = only_file(state.path());
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.split_once('\n').unwrap().1).unwrap();
    assert!(verify(&audit, None).is_err());
    std::fs::rename(&path, path.with_file_name(format!("{:020}.jsonl", 2))).unwrap();
    assert!(verify(&audit, None).is_err());
}

#[test]
fn the_oldest_are_dropped_and_the_chain_holds() {
    let state = tempfile::tempdir().unwrap();
    let audit = Audit::open(state.path());
    let long = "x".repeat(2 << 10);
    for _ in 0..(FILES_MAX * 4 + 6) {
        audit.add(entry(&long)).unwrap();
    }
    let files = files(&state.path().join(FOLDER)).unwrap();
    assert_eq!(files.len(), FILES_MAX);
    assert!(files[0].0 > 1);
    let kept = verify(&audit, None).unwrap();
    let first = audit.entries(0).unwrap()[0].sequence;
    assert_eq!(first + kept - 1, audit.status().head.sequence);
    let later = first + kept / 2;
    assert_eq!(audit.entries(later).unwrap()[0].sequence, later + 1);
}

#[test]
fn what_could_not_be_written_is_made_up_for_by_an_entry() {
    let state = tempfile::tempdir().unwrap();
    let audit = Audit::open(state.path());
    audit.add(entry("1")).unwrap();
    let (folder, away) = (state.path().join(FOLDER), state.path().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    let broken = Audit::open(state.path());
    assert!(broken.status().trouble.is_some());
    for _ in 0..2 {
        assert!(broken.add(entry("2")).is_err());
    }
    assert_eq!(broken.status().lost, 2);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    assert_eq!(broken.add(entry("3")).unwrap(), 3);
    let lost = &broken.entries(1).unwrap()[0];
    assert_eq!((lost.step.as_str(), &lost.about[..1]), ("lost", "2"));
    assert_eq!((verify(&broken, None), broken.status().trouble), (Ok(3), None));
}
