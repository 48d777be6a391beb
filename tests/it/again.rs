//! A load with a memory finds what one without finds, whatever was edited in between.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use voldemort::desired::{Desired, Media, Options};
use voldemort::inventory::{Depth, Loaded, Memory, load};
use voldemort::manifest::{Environment, report};
use voldemort::media::Shelf;

type Files = BTreeMap<Arc<str>, Bytes>;

const BASE: &str = r#"
[subnet.lab]
cidr    = "10.0.0.0/16"
gateway = "10.0.0.1"
dns     = ["10.0.0.1"]
dynamic = "10.0.200.0-10.0.200.99"
[boot.debian]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "url={{ answers_url }}", "host={{ name }}"]
[template.own]
kind = "preseed"
file = "own.liquid"
[template.own.vars]
mirror = { type = "string", default = "deb.example" }
colour = { type = "string", default = "blue" }
[profile.base]
boot     = "debian"
template = "preseed"
vars     = { root-hash = { secret = "root-password" } }
[profile.web]
extends  = ["base"]
packages = ["nginx"]
[profile.own]
boot     = "debian"
template = "own"
vars     = { colour = "green" }
"#;

const OWN: &str = "d-i mirror/http/hostname string {{ mirror }}\n# {{ colour }}\nd-i preseed/late_command string wget {{ completed_url }}\n";

const SECRET: &str = include_str!("../golden/inventory/tree/secrets/root-password.age");

const SLOTS: usize = 32;

/// What a deployment of the inventory is at the moment.
#[derive(Clone, Debug, Default)]
struct One {
    profile: u8,
    place: u8,
    address: u8,
    redeploy: u8,
}

/// Places for deployments, four to a file; a number of `PAD` moves the lines of its file.
#[derive(Clone, Debug, Default)]
struct Site {
    slots: Vec<Option<One>>,
    pads: Vec<u8>,
    /// Mistakes and changes of what deployments have in common.
    shared: u32,
}

#[derive(Clone, Debug)]
enum Edit {
    Slot(usize, Option<One>),
    Pad(usize, u8),
    Shared(u8),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let one = (0..5u8, 0..5u8, 0..8u8, 0..2u8).prop_map(|(profile, place, address, redeploy)| One {
        profile,
        place,
        address,
        redeploy,
    });
    let edit = prop_oneof![
        6 => (0..SLOTS, prop::option::weighted(0.8, one)).prop_map(|(at, one)| Edit::Slot(at, one)),
        1 => (0..10usize, 0..3u8).prop_map(|(at, pad)| Edit::Pad(at, pad)),
        2 => (0..14u8).prop_map(Edit::Shared),
    ];
    prop::collection::vec(edit, 1..24)
}

/// Edits of single deployments, most of them without a mistake; the others get in the way of another
/// file's address or machine.
fn calm() -> impl Strategy<Value = Vec<(usize, Option<One>)>> {
    let place = prop_oneof![5 => Just(0u8), 5 => Just(2u8), 1 => Just(4u8)];
    let address = prop_oneof![6 => Just(7u8), 3 => Just(0u8), 1 => Just(1u8)];
    let one = (0..4u8, place, address, 0..3u8);
    let one = one.prop_map(|(profile, place, address, redeploy)| One { profile, place, address, redeploy });
    prop::collection::vec((0..SLOTS, prop::option::weighted(0.8, one)), 1..24)
}

impl Site {
    fn new() -> Site {
        let one = |number: usize| (number % 3 != 2).then(|| One { address: 7, ..One::default() });
        Site { slots: (0..SLOTS).map(one).collect(), pads: vec![0; 10], shared: 0 }
    }

    fn edit(&mut self, edit: &Edit) {
        match edit {
            Edit::Slot(at, one) => self.slots[*at] = one.clone(),
            Edit::Pad(at, pad) => self.pads[*at] = *pad,
            // Twice the same takes it back.
            Edit::Shared(bit) => self.shared ^= 1 << bit,
        }
    }

    fn has(&self, bit: u8) -> bool {
        self.shared & 1 << bit != 0
    }

    fn files(&self) -> Files {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        let mut base = "\n".repeat(self.pads[4].into()) + BASE;
        let changes = [
            (0, "packages = [\"nginx\"]", "packages = [\"nginx\", \"curl\"]"),
            (1, "\"auto=true\"", "\"auto=true\", \"quiet\""),
            (2, "extends  = [\"base\"]", "extends  = [\"bsae\"]"),
            (3, "gateway = \"10.0.0.1\"\n", ""),
            (4, "colour = \"green\"", "colour = 7"),
            (5, "\"deb.example\"", "\"mirror.example\""),
            (6, "kernel  = \"files/vmlinuz\"", "kernel  = \"files/missing\""),
            (7, "10.0.200.99", "10.0.200.50"),
            (14, "colour = \"green\"", "colour = \"green\", nobody = \"asks\""),
            (15, "vars     = { root-hash", "vars     = { token = \"$6$salt$0123456789abcdef\", root-hash"),
            (16, "{ type = \"string\", default = \"blue\" }", "{ type = \"string\", default = \"blue\", }"),
        ];
        for (bit, from, to) in changes {
            if self.has(bit) {
                base = base.replace(from, to);
            }
        }
        files.insert("base.toml".into(), base);
        files.insert(
            "own.liquid".into(),
            if self.has(8) { OWN.replace("completed_url", "name") } else { OWN.into() },
        );
        if !self.has(9) {
            files.insert("secrets/root-password.age".into(), SECRET.into());
        }
        if self.has(10) {
            files.insert("broken.toml".into(), "[deployment.d1\n".into());
        }
        if self.has(11) {
            files.insert(
                "a/new.toml".into(),
                "[machine.spare]\nmac = \"52:54:00:bb:00:01\"\nlabels = { size = \"s\" }\n".into(),
            );
        }
        if self.has(12) {
            files.insert("voldemort.toml".into(), "format = 1\n[check]\nV0404 = \"off\"\n".into());
        }
        if self.has(13) {
            files.insert(
                "b.toml".into(),
                "[deployment.d3]\nmac = \"52:54:00:cc:00:01\"\nprofile = \"web\"\n".into(),
            );
        }
        if self.has(17) {
            files.insert("secrets/forgotten.age".into(), SECRET.into());
        }
        if self.has(18) {
            let choosing = "profile = \"own\"\nselect = { size = \"s\" }\n";
            files.insert(
                "choice.toml".into(),
                format!("[deployment.any]\n{choosing}[deployment.other]\n{choosing}"),
            );
        }
        if self.has(19) {
            files.insert(
                "pool.toml".into(),
                "[pool.ci]\nprofile = \"web\"\nselect = { size = \"s\" }\n".into(),
            );
        }
        if self.has(20) {
            let power = "power = { kind = \"redfish\", url = \"https://10.0.0.9\", credentials = { secret = \"bmc\" } }";
            files.insert("bmc.toml".into(), format!("[machine.bmc]\nmac = \"52:54:00:bb:00:09\"\n{power}\n"));
            files.insert("secrets/bmc.age".into(), SECRET.into());
        }
        for number in 0..self.slots.len() {
            let (folder, pad) = (number / 4, self.pads[number / 4]);
            let text =
                files.entry(format!("d/{folder}.toml")).or_insert_with(|| "# pad\n".repeat(pad.into()));
            self.slot(number, text);
        }
        files.into_iter().map(|(name, text)| (name.into(), Bytes::from(text))).collect()
    }

    fn slot(&self, number: usize, text: &mut String) {
        let _ = writeln!(
            text,
            "[machine.m{number}]\nmac = \"52:54:00:aa:00:{number:02x}\"\nlabels = {{ size = \"s\" }}"
        );
        let Some(One { profile, place, address, redeploy }) = &self.slots[number] else { return };
        let _ = writeln!(text, "[deployment.d{number}]\nredeploy = {redeploy}");
        let _ = match profile {
            0 | 1 => writeln!(text, "profile = \"web\""),
            2 => writeln!(text, "profile = \"own\""),
            3 => writeln!(text, "profile = \"base\"\nhostname = \"h{number}\""),
            _ => writeln!(text, "profile = \"wbe\""),
        };
        let _ = match place {
            0 | 1 => writeln!(text, "machine = \"m{number}\""),
            2 => writeln!(text, "mac = \"52:54:00:dd:00:{number:02x}\""),
            3 => writeln!(text, "select = {{ size = \"s\" }}"),
            _ => writeln!(text, "machine = \"m{}\"", number / 2),
        };
        let _ = match address {
            0 => writeln!(text, "address = \"auto\""),
            1 => writeln!(text, "address = \"10.0.0.2\""),
            2 => writeln!(text, "address = \"10.0.200.7\""),
            _ => writeln!(text, "address = \"10.0.1.{number}\""),
        };
    }
}

/// What warnings, selectors and pools real inventories have: bits of `shared`.
const TOLERABLE: [u8; 8] = [8, 14, 15, 16, 17, 18, 19, 20];

/// Everything by which a person or a machine can distinguish two loads.
fn content_of(loaded: &Loaded) -> Vec<String> {
    let problems = loaded.problems.iter();
    problems.map(|problem| report::full(problem, &loaded.documents.sources, false)).collect()
}

fn meaning(desired: &Desired) -> String {
    let Desired {
        revision: _,
        subnets,
        boots,
        machines,
        deployments,
        macs,
        pools,
        selects,
        safety,
        agent,
        secrets,
        definitions,
        fixed: _,
    } = desired;
    let macs: BTreeMap<_, _> = macs.iter().collect();
    let rest = format!("{macs:?}{pools:?}{selects}{safety:?}{agent:?}{secrets:?}{definitions:?}");
    format!("{subnets:#?}{boots:#?}{machines:#?}{deployments:#?}{rest}")
}

fn library(root: &Path) -> Shelf {
    std::fs::create_dir(root.join("files")).unwrap();
    for file in ["files/vmlinuz", "files/initrd.gz"] {
        std::fs::write(root.join(file), "content").unwrap();
    }
    Shelf::new(Vec::new(), None).with_directory(root.into())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_memory_changes_nothing(edits in edits(), media in any::<bool>(), one in any::<bool>()) {
        let root = tempfile::tempdir().unwrap();
        let shelf = library(root.path());
        let media = if media { Media::Required } else { Media::IfPresent };
        let options = Options { media, fallback: Vec::new() };
        let depth = if one { Depth::OneFirmware } else { Depth::EveryFirmware };
        let mut memory = Memory::default();
        let mut site = Site::new();
        memory.load("".into(), &site.files(), &Environment::base(), &shelf, &options, depth);
        for edit in &edits {
            site.edit(edit);
            let files = site.files();
            let again = memory.load("".into(), &files, &Environment::base(), &shelf, &options, depth);
            let fresh = load("".into(), &files, &Environment::base(), &shelf, &options, depth);
            prop_assert_eq!(content_of(&again), content_of(&fresh), "after {:?}", edit);
            prop_assert_eq!(meaning(&again.desired), meaning(&fresh.desired), "after {:?}", edit);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// From one good revision to the next only what differs is resolved; whatever it gets in the way
    /// of is found all the same.
    #[test]
    fn a_step_comes_to_what_everything_comes_to(
        edits in calm(),
        tolerable in prop::sample::subsequence(TOLERABLE.to_vec(), 0..=TOLERABLE.len()),
    ) {
        let root = tempfile::tempdir().unwrap();
        let shelf = library(root.path());
        let options = Options { media: Media::Required, fallback: Vec::new() };
        let mut memory = Memory::default();
        let mut site = Site::new();
        tolerable.iter().for_each(|bit| site.edit(&Edit::Shared(*bit)));
        let load_all = |memory: &mut Memory, site: &Site| {
            memory.load("".into(), &site.files(), &Environment::base(), &shelf, &options, Depth::OneFirmware)
        };
        load_all(&mut memory, &site);
        for (at, one) in &edits {
            let former = site.slots[*at].clone();
            site.slots[*at] = one.clone();
            let again = load_all(&mut memory, &site);
            let fresh = load_all(&mut Memory::default(), &site);
            prop_assert_eq!(content_of(&again), content_of(&fresh), "after {:?} at {}", one, at);
            prop_assert_eq!(meaning(&again.desired), meaning(&fresh.desired), "after {:?} at {}", one, at);
            if again.errors() > 0 {
                site.slots[*at] = former;
                load_all(&mut memory, &site);
            }
        }
    }
}

/// What did not change is shared, so that it need not be compared again.
#[test]
fn one_edit_leaves_the_rest_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let shelf = library(root.path());
    let options = Options { media: Media::Required, fallback: Vec::new() };
    let mut memory = Memory::default();
    let mut site = Site::new();
    let before =
        memory.load("".into(), &site.files(), &Environment::base(), &shelf, &options, Depth::EveryFirmware);
    assert_eq!(content_of(&before), [""; 0]);
    site.edit(&Edit::Slot(0, Some(One { redeploy: 1, address: 7, ..One::default() })));
    let after =
        memory.load("".into(), &site.files(), &Environment::base(), &shelf, &options, Depth::EveryFirmware);
    let others =
        after.desired.deployments.iter().filter(|(_, one)| !one.origin.file.inside().ends_with("0.toml"));
    let shared = |name, one| Arc::ptr_eq(one, &before.desired.deployments[name]);
    assert!(others.clone().count() > 6 && others.clone().all(|(name, one)| shared(name, one)));
    assert_ne!(after.desired.deployments["d0"].digest, before.desired.deployments["d0"].digest);
}

/// Warnings, selectors and pools do not make one edit a look at everything: machines are shared with
/// the revision before by one pointer only where a step was taken.
#[test]
fn a_step_is_taken_past_warnings_selectors_and_pools() {
    let root = tempfile::tempdir().unwrap();
    let shelf = library(root.path());
    let options = Options { media: Media::Required, fallback: Vec::new() };
    for bits in [&[][..], &[8], &[14], &[15], &[16], &[17], &[18], &[19], &[20], &TOLERABLE] {
        let mut site = Site::new();
        bits.iter().for_each(|bit| site.edit(&Edit::Shared(*bit)));
        let mut files = site.files();
        let machines: String = (0..9)
            .map(|number| format!("[machine.x{number}]\nmac = \"52:54:00:ee:00:{number:02x}\"\n"))
            .collect();
        // A machine that nobody is pinned to, and a pool that gives it out.
        let pool = "[machine.z]\nmac = \"52:54:00:ee:01:00\"\nlabels = { of = \"z\" }\n\
                    [pool.z]\nprofile = \"own\"\nselect = { of = \"z\" }\n";
        files.insert("x/machines.toml".into(), Bytes::from(machines + pool));
        let racks = |redeploy: u8| -> Bytes {
            let one = |number: u8| {
                format!(
                    "[deployment.y{number}]\nmachine = \"x{number}\"\nprofile = \"own\"\n\
                     address = \"10.0.9.{number}\"\nredeploy = {redeploy}\n"
                )
            };
            (1..5).map(one).collect::<String>().into()
        };
        let mut memory = Memory::default();
        let mut load_with = |text: Bytes| {
            files.insert("x/racks.toml".into(), text);
            memory.load("".into(), &files, &Environment::base(), &shelf, &options, Depth::OneFirmware)
        };
        let (before, after) = (load_with(racks(1)), load_with(racks(2)));
        assert_eq!((before.errors(), after.errors()), (0, 0), "{bits:?}: {:?}", content_of(&before));
        assert_eq!(
            content_of(&before).is_empty(),
            bits.is_empty() || (18..21).any(|quiet| *bits == [quiet]),
            "{bits:?}"
        );
        assert!(
            before.desired.machines.ptr_eq(&after.desired.machines),
            "{bits:?}: {:?}",
            content_of(&after)
        );
        assert_eq!(after.desired.deployments["y1"].redeploy, 2);
        // A mistake that comes with the next edit is reported as usual.
        let wrong = load_with(Bytes::from("[deployment.y1]\nmachine = \"x1\"\nprofile = \"owm\"\n"));
        let fresh = load("".into(), &files, &Environment::base(), &shelf, &options, Depth::OneFirmware);
        assert!(wrong.errors() == 1 && content_of(&wrong) == content_of(&fresh), "{:?}", content_of(&wrong));
    }
}
