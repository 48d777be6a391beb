use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::model::facts::Facts;
use crate::model::{
    BootWay, By, Caller, ClientArch, Cpu, FilePath, Firmware, Identity, OnReturn, Origin, PowerAction,
    PowerStep, Role, Selection, Span, Time, Token, WipeLevel,
};
use crate::state::certificate::WipeCertificate;
use crate::state::claim::Granted;
use crate::state::learned::Learned;
use crate::state::lease::LeaseState;
use crate::state::life::{Disk, Hold, Order};
use crate::state::lifecycle::{Condition, DiskState, Known, Work};
use crate::state::outbox::{EffectId, Pending, Task};
use crate::state::power_order::{PowerOrder, Sent};
use crate::state::prototype::Prototype;
use crate::state::revision::former::FormerRevision;
use crate::state::revision::stored::{SavedTree, SavedTrees};
use crate::state::{ApiToken, InstallStage, Revision, SourceRevision, Tenancy};

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_filter_map("a machine's address", |octets| Mac::new(octets).ok())
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?".prop_map(|name| name.parse().unwrap())
}

fn state() -> impl Strategy<Value = LeaseState> {
    select(vec![LeaseState::Offered, LeaseState::Bound, LeaseState::Released, LeaseState::Declined])
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn lease4() -> impl Strategy<Value = Record> {
    (any::<u32>(), mac(), of(data()), any::<Option<String>>(), state(), any::<u64>()).prop_map(
        |(address, mac, client_id, hostname, state, expires)| {
            let (address, expires) = (address.into(), Time(expires));
            Record::Lease4(Lease { address, mac, client_id, hostname, state, expires })
        },
    )
}

fn lease6() -> impl Strategy<Value = Record> {
    (any::<u128>(), mac(), data(), state(), any::<u64>()).prop_map(|(address, mac, duid, state, expires)| {
        Record::Lease6(Lease6 { address: address.into(), mac, duid, state, expires: Time(expires) })
    })
}

fn install() -> impl Strategy<Value = Install> {
    let mark = prop_oneof![
        vec(any::<u8>(), 1..9).prop_map(|id| Identity::ClientId(id.into())),
        any::<[u8; 16]>().prop_map(Identity::Uuid),
    ];
    let known = (vec(mac(), 0..3), vec(mark, 0..3));
    let names = (name(), name(), name(), vec(name(), 0..3), known);
    let numbers = any::<(u64, u64, u64)>();
    let stage = select(InstallStage::ALL.to_vec());
    (names, numbers, stage, any::<String>(), any::<(bool, bool, bool, bool)>()).prop_map(
        |(
            (machine, deployment, used_as, former, (cards, marks)),
            (epoch, redeploy, since),
            stage,
            digest,
            (again, closed, plain_urls, conflict),
        )| {
            let (former, cards, since, digest) = (former.into(), cards.into(), Time(since), digest.into());
            let marks = marks.into();
            Install {
                machine,
                cards,
                marks,
                deployment,
                former,
                used_as,
                epoch,
                redeploy,
                stage,
                since,
                digest,
                again,
                closed,
                plain_urls,
                conflict,
            }
        },
    )
}

fn served() -> impl Strategy<Value = Served> {
    let origin = (of(name()), any::<(String, u32, u32)>());
    (of(name()), any::<u64>(), of(name()), of(name()), origin).prop_map(
        |(machine, redeploy, boot, template, (source, (path, line, column)))| {
            let file = FilePath::new(source.as_ref(), &path.into());
            let origin = Origin { file, line, column };
            Served { machine, redeploy, boot, template, origin }
        },
    )
}

fn copies() -> impl Strategy<Value = BTreeMap<Arc<str>, PathBuf>> {
    let copy = (any::<String>(), any::<String>()).prop_map(|(path, copy)| (path.into(), copy.into()));
    vec(copy, 0..3).prop_map(|copies| copies.into_iter().collect())
}

fn former_revision() -> impl Strategy<Value = SavedRevision> {
    (any::<(String, String)>(), of(any::<String>()), of(any::<String>()), copies()).prop_map(
        |((revision, source), root, environment, copies)| {
            SavedRevision::Former(FormerRevision {
                revision: revision.into(),
                source: source.into(),
                root: root.map(PathBuf::from),
                environment: environment.map(Arc::from),
                copies,
            })
        },
    )
}

fn saved_tree() -> impl Strategy<Value = SavedTree> {
    let names = || vec(any::<String>(), 0..3);
    let part = of(((names(), names()), of(any::<String>())));
    (of(name()), any::<(String, String)>(), of(any::<String>()), copies(), part).prop_map(
        |(source, (revision, settled), root, copies, part)| SavedTree {
            source,
            revision: revision.into(),
            settled: settled.into(),
            root: root.map(PathBuf::from),
            copies,
            part: part.map(|((only, except), environment)| {
                (Selection { only, except }, environment.map(Arc::from))
            }),
        },
    )
}

fn revision() -> impl Strategy<Value = SavedRevision> {
    let trees = (of(any::<String>()), vec(saved_tree(), 0..4)).prop_map(|(environment, trees)| {
        SavedRevision::Trees(SavedTrees { environment: environment.map(Arc::from), trees })
    });
    prop_oneof![former_revision(), trees]
}

fn caller() -> impl Strategy<Value = Caller> {
    let by = prop_oneof![
        any::<u32>().prop_map(By::User),
        select(Token::OWN.to_vec()).prop_map(By::Token),
        name().prop_map(|name| By::Token(Token::of(name.as_str()).unwrap())),
        select(vec![By::Daemon, By::Machine, By::Webhook]),
    ];
    (by, select(Role::ALL.to_vec())).prop_map(|(by, role)| Caller { by, role })
}

fn effect() -> impl Strategy<Value = Record> {
    let order = (select(PowerAction::ALL.to_vec()), any::<String>(), any::<u64>());
    let sent = of((select(PowerStep::ALL.to_vec()), any::<u64>()));
    let pending =
        of((any::<u64>(), of(any::<u64>()), name(), (0..5u8, any::<u64>(), order, sent), of(caller())));
    (any::<u64>(), pending).prop_map(|(id, pending)| {
        let id = EffectId(id);
        let pending = pending.map(|(since, begun, name, (kind, epoch, order, sent), by)| {
            let (action, reason, until) = order;
            let order = PowerOrder { action, reason: reason.into(), epoch, until: Time(until) };
            let task = match kind {
                0 => Task::Fetch { source: name },
                1 => Task::ReadPower { machine: name },
                2 => Task::Restart { machine: name, epoch },
                3 => Task::PowerOff { machine: name, epoch },
                _ => Task::Power { machine: name, order },
            };
            let sent = sent.filter(|_| task.kind().is_power()).map(|(step, at)| Sent { step, at: Time(at) });
            Arc::new(Pending {
                id,
                task,
                by,
                since: Time(since),
                begun: begun.map(Time),
                sent,
                trouble: None,
            })
        });
        Record::Effect(id, pending)
    })
}

fn api_token() -> impl Strategy<Value = Record> {
    let times = (any::<u64>(), of(any::<u64>()), of(any::<u64>()));
    let pools = proptest::collection::vec(name(), 0..3);
    let value = of((any::<u32>(), any::<[u8; 32]>(), select(Role::ALL.to_vec()), pools, times, of(caller())));
    (name(), value).prop_map(|(name, value)| {
        let token = value.map(|(id, digest, role, pools, (created, expires, used), by)| {
            let (created, expires, used) = (Time(created), expires.map(Time), used.map(Time));
            Arc::new(ApiToken { name: name.clone(), id, digest, role, pools, by, created, expires, used })
        });
        Record::ApiToken(name, token)
    })
}

fn text() -> impl Strategy<Value = Arc<str>> {
    any::<String>().prop_map(Arc::from)
}

fn order() -> impl Strategy<Value = Order> {
    let work = select(vec![Work::Fencing, Work::Wiping, Work::Verifying]);
    let axes = (work, select(Condition::ALL.to_vec()), select(WipeLevel::ALL.to_vec()));
    let disks = of(vec(text(), 0..3));
    (axes, any::<(u64, u64, u64, u32)>(), any::<(bool, bool, bool)>(), disks, (text(), text(), caller()))
        .prop_map(
            |(
                (work, condition, level),
                (epoch, since, progress, attempts),
                flags,
                disks,
                (why, reason, by),
            )| {
                let (off, over_budget, consented) = flags;
                let (disks, since) = (disks.map(Arc::from), Time(since));
                Order {
                    epoch,
                    work,
                    condition,
                    why,
                    level,
                    off,
                    disks,
                    over_budget,
                    consented,
                    by,
                    reason,
                    since,
                    progress,
                    attempts,
                }
            },
        )
}

fn life() -> impl Strategy<Value = Life> {
    let disk = (text(), any::<u64>(), select(DiskState::ALL.to_vec())).prop_map(|(id, bytes, state)| Disk {
        id,
        bytes,
        state,
    });
    let hold = (caller(), text(), of(any::<u64>()))
        .prop_map(|(by, reason, until)| Arc::new(Hold { by, reason, until: until.map(Time) }));
    let known = (select(Known::ALL.to_vec()), of(name()), vec(mac(), 0..3), vec(disk, 0..3));
    (known, any::<(Option<u64>, u64)>(), of(order()), of(hold), (of(text()), of(text()))).prop_map(
        |((known, subnet, cards, disks), (reported, epoch), order, hold, (start, contested))| Life {
            known,
            subnet,
            cards: cards.into(),
            disks: disks.into(),
            reported: reported.map(Time),
            order: order.map(Arc::new),
            hold,
            epoch,
            start,
            contested,
        },
    )
}

fn claim() -> impl Strategy<Value = Record> {
    let place = (name(), any::<(u64, u64, Option<u64>, Option<u64>)>()).prop_map(
        |(machine, (epoch, since, ends, taken_back))| Granted {
            machine,
            epoch,
            since: Time(since),
            ends,
            taken_back,
        },
    );
    let policy = (select(OnReturn::ALL.to_vec()), select(WipeLevel::ALL.to_vec()));
    let numbers = any::<(u64, u64, Option<u64>, bool, Option<u32>, Option<u32>, bool)>();
    (name(), of((name(), caller(), numbers, policy, of(place)))).prop_map(|(name, claim)| {
        let claim = claim.map(
            |(
                pool,
                by,
                (number, asked, ttl, keep, key, prototype, has_user_data),
                (on_return, level),
                place,
            )| {
                let (name, asked, ttl) = (name.clone(), Time(asked), ttl.map(Span));
                let text = |number: Option<u32>| number.map(|number| number.to_string().into());
                let (key, prototype) = (text(key), text(prototype));
                Arc::new(Claim {
                    name,
                    pool,
                    number,
                    by,
                    asked,
                    ttl,
                    on_return,
                    level,
                    place,
                    keep,
                    key,
                    prototype,
                    has_user_data,
                })
            },
        );
        Record::Claim(name, claim)
    })
}

fn prototype() -> impl Strategy<Value = Record> {
    let files = vec(("[a-z]{1,8}/[a-z]{1,8}", data()), 0..4);
    (any::<String>(), of((name(), files))).prop_map(|(key, one)| {
        let one = one.map(|(pool, files)| {
            let files = files.into_iter().map(|(path, bytes)| (path.into(), bytes)).collect();
            let revision = Revision::of_one(SourceRevision { files, ..SourceRevision::default() });
            Arc::new(Prototype { pool, revision })
        });
        Record::Prototype(key.into(), one)
    })
}

fn certificate() -> impl Strategy<Value = Record> {
    let texts = any::<(String, String, Option<String>)>();
    let one = (name(), select(WipeLevel::ALL.to_vec()), caller(), texts, any::<(u64, Option<u64>)>());
    (any::<u64>(), of(one)).prop_map(|(epoch, one)| {
        let one = one.map(|(machine, level, by, (reason, text, failed), (wiped, verified))| {
            let (reason, text, failed) = (reason.into(), text.into(), failed.map(Arc::from));
            let (wiped, verified) = (Time(wiped), verified.map(Time));
            Arc::new(WipeCertificate { epoch, machine, level, by, reason, wiped, verified, text, failed })
        });
        Record::Certificate(epoch, one)
    })
}

fn card_boots() -> impl Strategy<Value = CardBoots> {
    let one = (select(Cpu::ALL.to_vec()), select(Firmware::ALL.to_vec()), select(BootWay::ALL.to_vec()));
    let programs = vec!["snponly.efi", "shimx64.efi", "BOOTX64.efi", "ipxe-shimx64.efi"];
    let one = (one, select(programs), any::<u64>()).prop_map(|((cpu, firmware, way), program, since)| {
        Learned { arch: ClientArch { cpu, firmware }, way, program, since: Time(since) }
    });
    (any::<u8>(), any::<u64>(), vec(one, 0..4)).prop_map(|(tries, tried, loaders)| CardBoots {
        tries,
        tried: Time(tried),
        loaders,
    })
}

/// Any record of a kind.
fn record(kind: RecordKind) -> BoxedStrategy<Record> {
    match kind {
        RecordKind::Lease4 => lease4().boxed(),
        RecordKind::Lease6 => lease6().boxed(),
        RecordKind::Installs => (name(), vec(install(), 0..4))
            .prop_map(|(name, list)| Record::Installs(name, list.into()))
            .boxed(),
        RecordKind::Assignment => {
            (name(), of(name())).prop_map(|(name, machine)| Record::Assignment(name, machine)).boxed()
        }
        RecordKind::Protection => {
            (name(), any::<bool>()).prop_map(|(name, is_set)| Record::Protection(name, is_set)).boxed()
        }
        RecordKind::Served => {
            (name(), of(served())).prop_map(|(name, one)| Record::Served(name, one.map(Arc::new))).boxed()
        }
        RecordKind::Note => {
            (any::<String>(), data()).prop_map(|(key, note)| Record::Note(key.into(), note.to_vec())).boxed()
        }
        RecordKind::Card => (mac(), of(name())).prop_map(|(mac, name)| Record::Card(mac, name)).boxed(),
        RecordKind::UsedPlan => (any::<String>(), any::<Option<u64>>())
            .prop_map(|(plan, serial)| Record::UsedPlan(plan.into(), serial))
            .boxed(),
        RecordKind::Revision => revision().prop_map(|one| Record::Revision(Arc::new(one))).boxed(),
        RecordKind::File => {
            (any::<String>(), of(data())).prop_map(|(path, file)| Record::File(path.into(), file)).boxed()
        }
        RecordKind::Serial => any::<u64>().prop_map(Record::Serial).boxed(),
        RecordKind::Restored => any::<bool>().prop_map(Record::Restored).boxed(),
        RecordKind::Effect => effect().boxed(),
        RecordKind::ApiToken => api_token().boxed(),
        RecordKind::Life => {
            (name(), of(life())).prop_map(|(machine, life)| Record::Life(machine, life.map(Arc::new))).boxed()
        }
        RecordKind::Claim => claim().boxed(),
        RecordKind::Prototype => prototype().boxed(),
        RecordKind::Certificate => certificate().boxed(),
        RecordKind::UserData => (name(), of(data()))
            .prop_map(|(name, sealed)| Record::UserData(name, sealed.map(|sealed| sealed[..].into())))
            .boxed(),
        RecordKind::Facts => (name(), of((text(), any::<u64>())))
            .prop_map(|(machine, facts)| {
                let facts = facts.map(|(vendor, memory)| {
                    Arc::new(Facts { vendor: Some(vendor.to_string()), memory, ..Facts::default() })
                });
                Record::Facts(machine, facts)
            })
            .boxed(),
        RecordKind::CardBoots => (mac(), of(card_boots()))
            .prop_map(|(card, boots)| Record::CardBoots(card, boots.map(Arc::new)))
            .boxed(),
        RecordKind::BootOnce => (name(), of((name(), any::<(u64, u64, Option<u64>)>())))
            .prop_map(|(machine, once)| {
                let once = once.map(|(boot, (since, until, begun))| {
                    let (since, until, begun) = (Time(since), Time(until), begun.map(Time));
                    Arc::new(BootOnce { boot, by: Caller::DAEMON, since, until, begun })
                });
                Record::BootOnce(machine, once)
            })
            .boxed(),
        RecordKind::Tenancy => (name(), of((name(), any::<(u64, u64, u64, bool)>())))
            .prop_map(|(machine, tenancy)| {
                let tenancy = tenancy.map(|(holder, (redeploy, epoch, since, is_claim))| Tenancy {
                    holder,
                    is_claim,
                    redeploy,
                    epoch,
                    since: Time(since),
                });
                Record::Tenancy(machine, tenancy)
            })
            .boxed(),
    }
}

fn any_record() -> impl Strategy<Value = Record> {
    select(RecordKind::ALL.to_vec()).prop_flat_map(record)
}

fn bytes_of(record: &Record) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    record.write_key(&mut key);
    let has_value = record.write_value(&mut value);
    assert!(has_value || value.is_empty(), "{record:?}");
    (key, has_value.then_some(value))
}

proptest! {
    #[test]
    fn records_are_read_as_they_were_written(record in any_record(), later in vec(any::<u8>(), 0..20)) {
        let (key, value) = bytes_of(&record);
        let kind = record.kind();
        prop_assert_eq!(RecordKind::of_code(kind.code()), Some(kind));
        prop_assert_eq!(kind.read(&key, value.as_deref()), Some(record.clone()));
        let text = kind.key_text(&key).unwrap();
        prop_assert_eq!(kind.key_bytes(&text), Some(key.clone()));
        // What a later version puts behind a value is not read, where a value is more than bytes.
        let is_bytes = matches!(kind, RecordKind::Note | RecordKind::File);
        if let Some(value) = value.filter(|_| !is_bytes) {
            prop_assert_eq!(kind.read(&key, Some(&[value, later].concat())), Some(record));
        }
    }

    #[test]
    fn no_bytes_panic(code: u8, key in vec(any::<u8>(), 0..20), value in vec(any::<u8>(), 0..200)) {
        if let Some(kind) = RecordKind::of_code(code % 26) {
            let _ = (kind.key_text(&key), kind.read(&key, None), kind.read(&key, Some(&value)));
        }
    }

    #[test]
    fn a_value_with_one_byte_changed_does_not_panic(record in any_record(), at: prop::sample::Index, to: u8) {
        let (key, value) = bytes_of(&record);
        if let Some(mut value) = value.filter(|value| !value.is_empty()) {
            let at = at.index(value.len());
            value[at] = to;
            let _ = record.kind().read(&key, Some(&value));
        }
    }
}

/// Before installations noted marks: the value ends behind the flags.
#[test]
fn installations_of_earlier_versions_have_no_marks() {
    let install = Install {
        machine: "m".parse().unwrap(),
        cards: [].into(),
        marks: [].into(),
        deployment: "d".parse().unwrap(),
        former: [].into(),
        used_as: "d".parse().unwrap(),
        epoch: 7,
        redeploy: 1,
        stage: InstallStage::Spent,
        since: Time(5),
        digest: "abc".into(),
        again: true,
        closed: false,
        plain_urls: true,
        conflict: false,
    };
    let record = Record::Installs(install.machine.clone(), [install].into());
    let (key, value) = bytes_of(&record);
    let mut value = value.unwrap();
    // A list of one, its length (4 bytes), then the installation, which ends with the number of its marks.
    assert_eq!((value[0], usize::from(value[1])), (1, value.len() - 5));
    assert_eq!(value.pop(), Some(0));
    value[1] -= 1;
    assert_eq!(RecordKind::Installs.read(&key, Some(&value)), Some(record));
}

/// Before effects had their caller: the value ends behind the name.
#[test]
fn effects_of_earlier_and_later_versions_have_no_caller() {
    let former = [&5u64.to_le_bytes()[..], &[9], &6u64.to_le_bytes(), &[1, 3], b"lab"].concat();
    let key = 7u64.to_be_bytes();
    let (id, since, begun) = (EffectId(7), Time(5), Some(Time(6)));
    let task = Task::Fetch { source: "lab".parse().unwrap() };
    let pending =
        |by| Arc::new(Pending { id, task: task.clone(), by, since, begun, sent: None, trouble: None });
    let read = |value: &[u8]| RecordKind::Effect.read(&key, Some(value)).unwrap();
    assert_eq!(read(&former), Record::Effect(id, Some(pending(None))));
    let by = Caller { by: By::User(1000), role: Role::Editor };
    let record = Record::Effect(id, Some(pending(Some(by))));
    let own = [&former[..], &[5, 1, 2, 0xe8, 7]].concat();
    assert_eq!((bytes_of(&record).1.unwrap(), read(&own)), (own.clone(), record));
    // A way to identify callers that this version does not know, a role, and no name of a token.
    for unknown in [&[3, 200, 1][..], &[3, 3, 200], &[7, 2, 3, 3, b'N', b'E', b'W']] {
        assert_eq!(read(&[&former[..], unknown].concat()), Record::Effect(id, Some(pending(None))));
    }
    let by = Caller { by: By::Token(Token::Named("new".parse().unwrap())), role: Role::Admin };
    let token = [&former[..], &[7, 2, 3, 3, b'n', b'e', b'w']].concat();
    assert_eq!(read(&token), Record::Effect(id, Some(pending(Some(by)))));
}

/// Numbers lie in files: none may change, and none may be used twice.
#[test]
fn codes_of_kinds_stay() {
    let codes: Vec<(u8, &str)> = RecordKind::ALL.iter().map(|kind| (kind.code(), kind.name())).collect();
    let known = [
        (1, "lease4"),
        (2, "lease6"),
        (3, "install"),
        (4, "assigned"),
        (5, "protected"),
        (6, "served"),
        (7, "note"),
        (8, "card"),
        (9, "used"),
        (10, "kept"),
        (11, "file"),
        (12, "serial"),
        (13, "restored"),
        (14, "effect"),
        (15, "token"),
        (16, "tenancy"),
        (17, "machine"),
        (18, "claim"),
        (19, "facts"),
        (20, "prototype"),
        (21, "certificate"),
        (22, "boots"),
        (23, "boot-once"),
        (24, "user-data"),
    ];
    assert_eq!(codes, known);
}
