//! Disks in memory that behave as they should, and as they should not.

mod fake;

use std::ops::ControlFlow;

use fake::{Fake, Room};

use super::device::Refusal;
use super::*;
use crate::api::agent::{Certificate, DiskCertificate};

const MIB: u64 = 1 << 20;

fn ordered(name: &str) -> OrderedDisk {
    OrderedDisk { id: format!("serial:{name}"), bytes: 600 * MIB, serial: Some(name.into()) }
}

fn wiped(room: &Room, level: WipeLevel, names: &[&str]) -> OrderResult {
    let disks: Vec<OrderedDisk> = names.iter().map(|name| ordered(name)).collect();
    wipe_at(room, level, &disks, &mut |_| ControlFlow::Continue(()))
}

fn certificate(result: OrderResult) -> Certificate {
    match result {
        OrderResult::Done { certificate: Some(certificate) } => certificate,
        other => panic!("{other:?}"),
    }
}

/// The certificate of the only disk, and what was tried.
fn one(result: OrderResult) -> (DiskCertificate, Vec<String>) {
    let disk = certificate(result).disks.remove(0);
    let tried = disk.methods.iter().map(|one| format!("{}: {}", one.method, one.status)).collect();
    (disk, tried)
}

fn why(result: OrderResult) -> String {
    match result {
        OrderResult::Failed { why, .. } | OrderResult::NotBlank { why } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_level_does_what_it_says() {
    let room = Room::of([Fake::new("a"), Fake::new("b")]);
    let result = wiped(&room, WipeLevel::Quick, &["a"]);
    let said = "wiped serial:a (serial a): quick, asked was quick; signatures ok; discard ok";
    assert_eq!(summary(&result), [said]);
    let (quick, tried) = one(result);
    assert_eq!(quick.reached.as_str(), "quick");
    assert_eq!(tried, ["signatures: ok", "discard: ok"]);
    assert_eq!(quick.samples, None);
    let (clear, tried) = one(wiped(&room, WipeLevel::Clear, &["b"]));
    assert_eq!((clear.reached.as_str(), &tried[..]), ("clear", &["zeroout: ok".to_owned()][..]));
    assert_eq!(room.disk("b", |disk| disk.traces()), 0);
    assert!(line(&clear).contains("; zeroout ok, read back at 258 places of 65536 bytes (seed "));
    let samples = clear.samples.unwrap();
    assert_eq!((samples.offsets[0], samples.offsets.len(), samples.length), (0, 258, 65536));
    assert_eq!(clear.serial.as_deref(), Some("b"));
    assert!(room.disk("a", |disk| disk.is_reread) && room.disk("b", |disk| disk.is_reread));
}

#[test]
fn a_disk_that_only_pretends_to_zero_itself_is_written() {
    let room = Room::of([Fake { ignores_zero: true, ..Fake::new("a") }]);
    let (_, tried) = one(wiped(&room, WipeLevel::Clear, &["a"]));
    assert!(tried[0].starts_with("zeroout: byte ") && tried[0].ends_with("is not zero"), "{tried:?}");
    assert_eq!(tried[1], "overwrite: ok");
    assert_eq!(room.disk("a", |disk| disk.traces()), 0);
    // And one that drops writes too is not wiped.
    let room = Room::of([Fake { ignores_zero: true, ignores_writes: true, ..Fake::new("a") }]);
    let why = why(wiped(&room, WipeLevel::Clear, &["a"]));
    assert!(why.starts_with("/dev/a (serial a) is not wiped: it can't be overwritten: byte "), "{why}");
    let room = Room::of([Fake { ignores_zero: true, ignores_writes: true, ..Fake::new("a") }]);
    assert!(matches!(wiped(&room, WipeLevel::Quick, &["a"]), OrderResult::Failed { .. }));
}

#[test]
fn all_disks_of_an_order_or_none() {
    let room = Room::of([
        Fake::new("a"),
        Fake { read_only: true, ..Fake::new("ro") },
        Fake { used_by: vec!["sda1 is mounted at /mnt".into()], ..Fake::new("used") },
        Fake::new("twin"),
        Fake { path: "/dev/twin2".into(), ..Fake::new("twin") },
    ]);
    let other = |change: &dyn Fn(&mut OrderedDisk)| {
        let mut disk = ordered("a");
        change(&mut disk);
        why(wipe_at(&room, WipeLevel::Quick, &[ordered("a"), disk], &mut |_| ControlFlow::Continue(())))
    };
    let cases = [
        (why(wiped(&room, WipeLevel::Quick, &["a", "ro"])), "/dev/ro (serial ro) is read-only"),
        (why(wiped(&room, WipeLevel::Quick, &["a", "used"])), "is in use: sda1 is mounted at /mnt"),
        (
            why(wiped(&room, WipeLevel::Quick, &["a", "gone"])),
            "the disk serial:gone is not there (there: serial:a,",
        ),
        (
            why(wiped(&room, WipeLevel::Quick, &["a", "twin"])),
            "/dev/twin and /dev/twin2 all say that they are serial:twin",
        ),
        (other(&|_| {}), "the order names /dev/a (serial a) twice"),
        (other(&|disk| disk.bytes = 5), "has 629145600 bytes, and the order says 5"),
        (other(&|disk| disk.serial = Some("S9".into())), "is not the disk with the serial number S9"),
    ];
    for (why, expected) in cases {
        assert!(why.starts_with("nothing was written: ") && why.contains(expected), "{why}");
    }
    assert!(room.all(|disk| disk.writes == 0));
    // Reading is no harm to a disk in use.
    let verified = verify_at(&room, &[ordered("used")], &mut |_| ControlFlow::Continue(()));
    assert_eq!(why(verified), "/dev/used (serial used) has data at byte 0");
}

#[test]
fn an_order_without_disks_is_carried_out() {
    let room = Room::of([]);
    assert_eq!(certificate(wiped(&room, WipeLevel::Purge, &[])).disks, []);
}

#[test]
fn a_disk_that_is_sanitized_is_followed_to_the_end() {
    let room = Room::of([Fake::nvme("n").sanitizing(0b111)]);
    let (disk, tried) = one(wiped(&room, WipeLevel::Purge, &["n"]));
    assert_eq!(
        (disk.reached.as_str(), &tried[..]),
        ("purge", &["nvme-sanitize-block: ok".to_owned(), "signatures: ok".to_owned()][..],)
    );
    assert_eq!(disk.firmware.as_deref(), Some("FW1"));
    assert_eq!(room.disk("n", |disk| (disk.traces(), disk.secret_is_there())), (0, false));
}

#[test]
fn another_method_follows_only_after_a_status_that_failed() {
    // Block erase is refused, crypto erase ends with a failure in the log, and a format follows.
    let refused =
        Fake { refuses: vec![(0x84, 2)], fails: vec![4], ..Fake::nvme("n").sanitizing(0b011).formatting() };
    let room = Room::of([refused]);
    let (disk, tried) = one(wiped(&room, WipeLevel::Purge, &["n"]));
    assert_eq!(disk.reached.as_str(), "purge");
    assert_eq!(
        tried,
        [
            "nvme-sanitize-block: status 0x1",
            "nvme-sanitize-crypto: failed, says the disk's sanitize log",
            "nvme-format-user-data: ok",
            "signatures: ok",
        ]
    );
    // The format keeps LBA format 2, its metadata and protection, and never erases with 0.
    let formats = room.disk("n", |disk| disk.formats.clone());
    assert_eq!(formats, [0x1 << 9 | 1 << 5 | 1 << 4 | 2]);
}

#[test]
fn what_says_ok_and_did_nothing_is_found_out() {
    // fos#125: a format that erases nothing says that it succeeded.
    let liar = Fake { formats_nothing: true, ..Fake::nvme("n").formatting() };
    let room = Room::of([liar]);
    let (disk, tried) = one(wiped(&room, WipeLevel::Purge, &["n"]));
    assert_eq!(disk.reached.as_str(), "clear");
    assert_eq!(tried[0], "nvme-sanitize: the disk has no such command");
    assert!(tried[1].starts_with("nvme-format-user-data: ok, but byte"), "{tried:?}");
    assert!(tried[1].ends_with("is as it was before"), "{tried:?}");
    assert_eq!(tried.last().unwrap(), "zeroout: ok");
}

#[test]
fn a_sanitize_that_was_begun_before_the_power_failed_is_followed() {
    let room = Room::of([Fake { running: Some((2, 3)), ..Fake::nvme("n").sanitizing(0b10) }]);
    let (_, tried) = one(wiped(&room, WipeLevel::Purge, &["n"]));
    assert_eq!(tried[0], "nvme-sanitize-block: ok (begun before this start)");
    assert_eq!(room.disk("n", |disk| disk.started), 0, "no second one was started");
}

#[test]
fn other_namespaces_of_a_disk_are_spared() {
    let mut second = Fake { namespace: 2, ..Fake::nvme("n2").sanitizing(0b10).formatting() };
    second.formats_all = true;
    let mut first = Fake { namespaces: vec![1, 2], ..Fake::nvme("n").sanitizing(0b10).formatting() };
    first.formats_all = true;
    second.namespaces = vec![1, 2];
    let room = Room::of([first.clone(), second.clone()]);
    let (disk, tried) = one(wiped(&room, WipeLevel::Purge, &["n"]));
    assert_eq!(disk.reached.as_str(), "clear");
    assert!(
        tried[0].starts_with("nvme-sanitize: not done: it would also wipe the namespaces 2 of"),
        "{tried:?}"
    );
    assert!(tried[1].starts_with("nvme-format: not done"), "{tried:?}");
    assert!(room.disk("n2", |disk| disk.secret_is_there()));
    // Both are named: then both may go.
    let room = Room::of([first, second]);
    let both = certificate(wiped(&room, WipeLevel::Purge, &["n", "n2"]));
    assert!(both.disks.iter().all(|disk| disk.reached.as_str() == "purge"), "{both:?}");
}

#[test]
fn a_disk_whose_namespaces_are_not_known_is_not_wiped_as_a_whole() {
    let second = Fake { namespaces: vec![1, 2], ..Fake::nvme("n").sanitizing(0b10).formatting() };
    let refused = "nvme-identify: its namespaces are not known: status 0x1";
    let empty = "nvme-identify: its namespaces are not known: the list of them is empty";
    for (disk, expected) in [
        (Fake { refuses: vec![(0x06, 2)], ..second.clone() }, refused),
        // It may have namespaces that are not attached, and does not say which.
        (Fake { manages: true, ..second.clone() }, refused),
        (Fake { namespaces: Vec::new(), ..second }, empty),
    ] {
        let room = Room::of([Fake { formats_all: true, ..disk.clone() }]);
        let (done, tried) = one(wiped(&room, WipeLevel::Purge, &["n"]));
        assert_eq!((done.reached.as_str(), &*tried[0], &*tried[1]), ("clear", expected, "zeroout: ok"));
        assert_eq!(room.disk("n", |disk| (disk.started, disk.formats.len())), (0, 0));
        // A format of this one alone spares the others.
        let room = Room::of([disk]);
        let (done, tried) = one(wiped(&room, WipeLevel::Purge, &["n"]));
        let format = "nvme-format-user-data: ok";
        assert_eq!((done.reached.as_str(), &*tried[0], &*tried[1]), ("purge", expected, format));
        assert_eq!(room.disk("n", |disk| disk.started), 0);
    }
    // Where there can be one alone, none is to be spared.
    let old = Fake { refuses: vec![(0x06, 2)], formats_all: true, ..Fake::nvme("n").formatting() };
    let (done, _) = one(wiped(&Room::of([old]), WipeLevel::Purge, &["n"]));
    assert_eq!(done.reached.as_str(), "purge");
}

#[test]
fn ata_disks_are_sanitized_and_never_locked() {
    let room = Room::of([Fake::ata("s", 1 << 15)]);
    let (disk, tried) = one(wiped(&room, WipeLevel::Purge, &["s"]));
    assert_eq!((disk.reached.as_str(), &*tried[0]), ("purge", "ata-sanitize-block: ok"));
    let commands = room.disk("s", |disk| disk.ata_commands.clone());
    assert!(commands.iter().all(|command| matches!(command, 0xec | 0xb4)), "{commands:?}");
    let room = Room::of([Fake { frozen: true, ..Fake::ata("s", 1 << 15) }]);
    let (disk, tried) = one(wiped(&room, WipeLevel::Purge, &["s"]));
    assert_eq!(disk.reached.as_str(), "clear");
    assert!(tried[0].contains("firmware has locked it"), "{tried:?}");
    let room = Room::of([Fake { ata_word: 0, ..Fake::ata("s", 0) }]);
    let (disk, tried) = one(wiped(&room, WipeLevel::Purge, &["s"]));
    assert_eq!((disk.reached.as_str(), &*tried[0]), ("clear", "ata-sanitize: the disk has no such command"));
    let room = Room::of([Fake::new("v")]);
    let (disk, tried) = one(wiped(&room, WipeLevel::Purge, &["v"]));
    assert_eq!(
        (disk.reached.as_str(), &*tried[0]),
        ("clear", "purge: the disk has no commands that sanitize it")
    );
}

#[test]
fn thirty_disks_of_which_one_fails_and_one_panics() {
    let mut disks: Vec<Fake> = (0..30).map(|at| Fake::new(&format!("d{at}"))).collect();
    disks[7].fails_to_open = true;
    disks[9].panics = true;
    let room = Room::of(disks);
    let names: Vec<String> = (0..30).map(|at| format!("d{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match wiped(&room, WipeLevel::Clear, &names) {
        OrderResult::Failed { why, certificate: Some(certificate) } => {
            assert_eq!(certificate.disks.len(), 28);
            assert!(why.contains("/dev/d7 (serial d7) is not wiped: it is away"), "{why}");
            assert!(why.contains("/dev/d9 (serial d9) is not wiped: the work ended unexpectedly"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert!(room.most_at_once() <= 16, "{}", room.most_at_once());
}

#[test]
fn an_order_that_is_withdrawn_ends_before_the_next_step() {
    let room = Room::of([Fake::new("a")]);
    let result = wipe_at(&room, WipeLevel::Clear, &[ordered("a")], &mut |_| ControlFlow::Break(()));
    assert!(why(result).contains("the order was withdrawn meanwhile"));
    assert!(room.all(|disk| disk.writes == 0));
}

#[expect(
    clippy::single_range_in_vec_init,
    reason = "one partition, one place: ranges of bytes, not their numbers"
)]
#[test]
fn a_wiped_disk_is_blank_and_a_trace_is_named() {
    let room = Room::of([Fake { partitions: vec![100 * MIB..200 * MIB], ..Fake::new("a") }]);
    one(wiped(&room, WipeLevel::Quick, &["a"]));
    let verify = || verify_at(&room, &[ordered("a")], &mut |_| ControlFlow::Continue(()));
    assert_eq!(verify(), OrderResult::Done { certificate: None });
    room.change("a", |disk| disk.put(200 * MIB - 512, b"RAID"));
    assert_eq!(why(verify()), format!("/dev/a (serial a) has data at byte {}", 200 * MIB - 512));
}

#[test]
fn a_quick_wipe_that_fails_half_way_leaves_the_partition_table() {
    // Where the second partition, a copy of a superblock in it, and the disk itself begin or end.
    for broken in [200 * MIB, 264 * MIB, 300 * MIB - 1, 600 * MIB - 1] {
        let partitions = vec![MIB..100 * MIB, 200 * MIB..300 * MIB];
        let room = Room::of([Fake { partitions, broken: Some(broken), ..Fake::new("a") }]);
        let why = why(wiped(&room, WipeLevel::Quick, &["a"]));
        assert!(why.contains("its ends can't be written: medium error"), "{why}");
        let is_zero = |byte: u64| room.disk("a", |disk| !disk.pages.contains_key(&(byte / (64 << 10))));
        assert!(!is_zero(0) && !room.disk("a", |disk| disk.is_reread), "{broken}: the partitions are known");
        room.change("a", |disk| disk.broken = None);
        one(wiped(&room, WipeLevel::Quick, &["a"]));
        for byte in [0, MIB, 100 * MIB - 1, 200 * MIB, 264 * MIB, 300 * MIB - 1, 600 * MIB - 1] {
            assert!(is_zero(byte), "{broken}: {byte}");
        }
        assert!(room.disk("a", |disk| disk.is_reread));
    }
}

#[test]
fn recorded_pages_are_read_as_the_specification_says() {
    let log = |bytes: &[u8]| {
        let mut log = [0; nvme::LOG];
        log[..bytes.len()].copy_from_slice(bytes);
        nvme::sanitize_state(&log)
    };
    // NVMe 2.0c, figure 291: SPROG, SSTAT, SCDW10.
    assert_eq!(log(&[0xff, 0xff, 0, 0]), (nvme::Sanitize::Never, None));
    assert_eq!(
        log(&[0xff, 0xff, 0x01, 0x01, 0x0a, 0, 0, 0]),
        (nvme::Sanitize::Done, Some(nvme::Action::Block))
    );
    assert_eq!(
        log(&[0, 0x80, 0x02, 0x01, 0x04, 0, 0, 0]),
        (nvme::Sanitize::Running(0x8000), Some(nvme::Action::Crypto))
    );
    assert_eq!(
        log(&[0xff, 0xff, 0x03, 0, 0x02, 0, 0, 0]),
        (nvme::Sanitize::Failed, Some(nvme::Action::Block))
    );
    assert_eq!(
        log(&[0xff, 0xff, 0x04, 0x01, 0x03, 0, 0, 0]),
        (nvme::Sanitize::Done, Some(nvme::Action::Overwrite))
    );
    // SAT-4: the registers of SANITIZE STATUS EXT at half its way, and of a command that was aborted.
    let mut sense = [0; 22];
    sense[..8].copy_from_slice(&[0x72, 0x01, 0, 0x1d, 0, 0, 0, 14]);
    sense[8..].copy_from_slice(&[0x09, 0x0c, 1, 0, 0x40, 0, 0, 0x00, 0, 0x80, 0, 0, 0x40, 0x50]);
    let registers = ata::registers(&sense).unwrap();
    assert_eq!(ata::Sanitize::of(&registers), ata::Sanitize::Running(0x8000));
    (sense[11], sense[21]) = (0x04, 0x51);
    assert_eq!(ata::registers(&sense), Err(Refusal::Ata { status: 0x51, error: 0x04 }));
    assert!(matches!(ata::registers(&[0x70; 18]), Err(Refusal::Lost(_))));
    assert!(matches!(ata::registers(&sense[..15]), Err(Refusal::Lost(_))));
    let block = ata::pass_through(&ata::Action::Block.command());
    assert_eq!(block, [0x85, 0x07, 0x20, 0, 0x12, 0, 0x10, 0x42, 0x72, 0, 0x45, 0, 0x6b, 0x40, 0xb4, 0]);
    let overwrite = ata::pass_through(&ata::Action::Overwrite.command());
    assert_eq!(overwrite, [0x85, 0x07, 0x20, 0, 0x14, 0, 0x11, 0, 0, 0x57, 0, 0x4f, 0, 0x40, 0xb4, 0]);
}
