//! What a deployment says of its disk, held against the disks that our agent saw on its machine: one is chosen, or nothing
//! is installed. Over the state alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use voldemort::api::resource::{deployment, why};
use voldemort::model::disk::Hints;
use voldemort::model::facts::{DiskFacts, Facts, Transport as Bus};
use voldemort::model::{Content, Mac, Name, Time};
use voldemort::plan::{Impact, diff};
use voldemort::proto::tree::{self, Answer, Asker, Method, Transport};
use voldemort::render::{Text, Value};
use voldemort::state::life::{AgentReport, Said};
use voldemort::state::lifecycle::Word;
use voldemort::state::{Duty, Permit, PermitStep, Purpose, Server, State, Verb, command};

use super::{facts, loaded};

const CARD: &str = "52:54:00:00:00:01";

/// An inventory with a deployment `web` on a machine `u01`.
fn text(template: &str, disk: &str, redeploy: u64) -> String {
    format!(
        "[subnet.lab]\ncidr = \"10.0.0.0/16\"\n[boot.b]\nkernel = \"vmlinuz\"\ncmdline = [\"inst.ks={{{{ answers_url }}}}\"]\n\
         [boot.look]\nkernel = \"vmlinuz\"\n[machine.u01]\nmac = \"{CARD}\"\n[deployment.web]\nmachine = \"u01\"\n\
         address = \"10.0.1.1\"\nsubnet = \"lab\"\nboot = \"b\"\ntemplate = \"{template}\"\nunproven = true\n\
         ssh-keys = [\"ssh-ed25519 AAAA me\"]\nredeploy = {redeploy}\n{disk}\n"
    )
}

fn disk(name: &str, transport: Bus, serial: &str, wwn: &str, gib: u64) -> DiskFacts {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    DiskFacts {
        path: format!("/dev/{name}"),
        model: Some("ACME Disk".into()),
        serial: some(serial),
        wwn: some(wwn),
        bytes: gib << 30,
        transport,
        ..DiskFacts::default()
    }
}

fn nvme() -> DiskFacts {
    disk("nvme0n1", Bus::Nvme, "N1", "eui.0025388b01234567", 480)
}

fn sata() -> DiskFacts {
    disk("sda", Bus::Sata, "S1", "naa.5000c500a1b2c3d4", 480)
}

struct Site {
    state: State,
}

impl Site {
    fn new(text: &str) -> Site {
        let server = Server::stand_in("10.0.0.1".parse().unwrap());
        Site { state: State::new(server).adopt(loaded::desired(&[("a.toml", text)])) }
    }

    /// Our agent reports these disks.
    fn seen(&mut self, disks: &[DiskFacts]) {
        let card: Mac = CARD.parse().unwrap();
        let facts = Some(Arc::new(Facts { disks: disks.to_vec(), ..Facts::default() }));
        let said = Said::Hello { cards: [card].into(), disks: [].into(), facts };
        let report = AgentReport { card, subnet: None, epoch: 0, start: None, said };
        assert_eq!(self.state.act(Verb::Agent(report), Time(4)), command::Outcome::Done);
    }

    fn duty(&self) -> Duty {
        self.state.duty(&self.state.desired().deployments["web"])
    }

    fn held(&self) -> String {
        match self.duty() {
            Duty::LocalBoot(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn next_boot(&self) -> String {
        deployment::one(&self.state, "web").unwrap().next_boot
    }

    /// What `why` says of the disk.
    fn why(&self) -> Option<String> {
        let found = why::why(&self.state, "web", &[], Time(5)).unwrap();
        found.offers.into_iter().find(|offer| offer.what == "disk").map(|offer| offer.value)
    }

    fn step(&mut self, step: PermitStep) -> Result<(), String> {
        let permit = Permit { deployment: "web".parse().unwrap(), redeploy: 0, epoch: None, step };
        self.state = self.state.after(Verb::Permit(permit), Time(6)).map_err(|why| why.to_string())?;
        Ok(())
    }

    /// The main answer file, as the machine gets it.
    fn answers(&self, file: &str) -> String {
        let token = self.state.token(Purpose::Answers, &self.state.desired().deployments["web"]);
        let asker = Asker::new([10, 0, 1, 1], None, Transport::Http);
        let path = format!("answers/web/{token}/{file}");
        match tree::open(&self.state, &asker, Method::Get, &path, "") {
            Answer::Serve(artifact) => match artifact.content {
                Content::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_one_disk_that_fits_is_shown_and_named_to_the_installer() {
    let mut site =
        Site::new(&text("kickstart", "disk = { transport = \"nvme\", min-size = \"400 GiB\" }", 0));
    site.state = site.state.clone().with_memo();
    assert_eq!((site.next_boot().as_str(), site.why()), ("installs", None), "nobody has looked");
    site.seen(&[nvme(), sata()]);
    let shown = "ACME Disk (serial number N1, 480 GiB, /dev/nvme0n1)";
    assert_eq!(site.duty(), Duty::Install { permit: true });
    assert_eq!((site.next_boot(), site.why()), (format!("installs on {shown}"), Some(shown.to_owned())));
    site.step(PermitStep::Start).unwrap();
    site.step(PermitStep::Spend).unwrap();
    let answers = site.answers("ks.cfg");
    assert!(answers.contains("--only-use=disk/by-id/nvme-eui.0025388b01234567"), "{answers}");
    assert!(!answers.contains("hinted"), "{answers}");
    // What was rendered before the disks were others is not served again.
    site.seen(&[sata(), disk("nvme0n1", Bus::Nvme, "N2", "eui.2", 480)]);
    assert!(site.answers("ks.cfg").contains("nvme-eui.2"));
    // A disk whose stable name is not known is found by the installer itself.
    site.seen(&[sata(), disk("nvme0n1", Bus::Nvme, "N2", "", 480)]);
    assert!(site.answers("ks.cfg").contains("hinted"));
}

#[test]
fn a_deployment_whose_hints_fit_no_single_disk_is_held() {
    for (hints, disks, words) in [
        (
            "{ min-size = \"400 GiB\" }",
            vec![nvme(), sata()],
            vec![
                "2 disks of machine u01 fit { min-size = \"400 GiB\" }",
                "serial number N1",
                "serial number S1",
                "`disk = { serial = \"N1\" }` or `disk = { serial = \"S1\" }`",
            ],
        ),
        (
            "{ serial = \"X\" }",
            vec![nvme(), sata()],
            vec![
                "no disk of machine u01 fits { serial = \"X\" }",
                "serial number N1",
                "`disk = { serial = \"S1\" }`",
            ],
        ),
        (
            "{ transport = \"virtio\" }",
            vec![disk("vda", Bus::Virtio, "", "", 8), disk("vdb", Bus::Virtio, "", "", 8)],
            vec!["no serial number", "no hint tells them apart: name one below /dev/disk/by-path"],
        ),
    ] {
        let mut site = Site::new(&text("kickstart", &format!("disk = {hints}"), 0));
        site.seen(&disks);
        let why = site.held();
        for words in words.iter().chain(&["held: "]) {
            assert!(why.contains(words), "{words}: {why}");
        }
        assert_eq!((site.next_boot(), site.why()), (format!("boots its own disk: {why}"), Some(why.clone())));
        let machine: Name = "u01".parse().unwrap();
        assert_eq!(site.state.word(&machine), Word::Held);
        assert!(site.state.kept_from_boot(&machine).is_none(), "our agent may look again");
        let refused = site.step(PermitStep::Start).unwrap_err();
        assert!(refused.contains(&why), "{refused}");
        // Our agent sees the right one alone.
        site.seen(&[disk("sda", Bus::Virtio, "X", "", 480)]);
        assert_eq!(site.duty(), Duty::Install { permit: true });
        assert_eq!(site.state.word(&machine), Word::Waiting);
    }
}

/// The disks may be others when the installer asks for its answers: nothing is destroyed by then.
#[test]
fn answers_are_not_given_to_a_machine_whose_disk_is_not_clear_any_more() {
    let mut site = Site::new(&text("kickstart", "disk = { transport = \"nvme\" }", 0));
    site.seen(&[nvme()]);
    site.step(PermitStep::Start).unwrap();
    site.seen(&[nvme(), disk("nvme1n1", Bus::Nvme, "N2", "", 480)]);
    let refused = site.step(PermitStep::Spend).unwrap_err();
    assert!(refused.contains("2 disks of machine u01 fit"), "{refused}");
    site.seen(&[nvme()]);
    site.step(PermitStep::Spend).unwrap();
}

#[test]
fn what_is_installed_is_not_held() {
    let mut site = Site::new(&text("kickstart", "disk = { transport = \"nvme\" }", 0));
    site.seen(&[nvme()]);
    site.step(PermitStep::Start).unwrap();
    site.step(PermitStep::Spend).unwrap();
    site.seen(&[sata()]);
    assert!(site.held().contains("is under way"), "{}", site.held());
    assert_ne!(site.state.word(&"u01".parse::<Name>().unwrap()), Word::Held);
}

#[test]
fn a_plan_shows_the_disk() {
    let row = |template: &str, disk: &str, disks: &[DiskFacts]| {
        let mut site = Site::new(&text(template, "", 0));
        site.seen(disks);
        let next = loaded::desired(&[("a.toml", text(template, disk, 1).as_str())]);
        let change =
            diff(&next, &site.state).changes.into_iter().find(|change| change.name == "web").unwrap();
        (change.impact, change.reason)
    };
    let hints = "disk = { transport = \"nvme\" }";
    let (impact, reason) = row("kickstart", hints, &[nvme(), sata()]);
    assert!(
        impact == Impact::NextBoot
            && reason.ends_with("; disk: ACME Disk (serial number N1, 480 GiB, /dev/nvme0n1)"),
        "{reason}"
    );
    let (_, reason) = row("kickstart", hints, &[sata()]);
    assert!(reason.contains("held: no disk of machine u01 fits"), "{reason}");
    let (_, reason) = row("kickstart", "disk = \"/dev/sda\"", &[sata(), nvme()]);
    assert!(
        reason.contains("warning: /dev/sda may be another one of the 2 disks of machine u01"),
        "{reason}"
    );
    assert!(reason.contains("`disk = { serial = \"S1\" }`"), "{reason}");
    let (_, reason) = row("kickstart", "disk = \"/dev/sda\"", &[nvme()]);
    assert!(reason.contains("warning: our agent saw no /dev/sda on machine u01, but ACME Disk"), "{reason}");
    for (disk, disks) in [
        ("disk = \"/dev/sda\"", vec![sata()]),
        ("disk = \"/dev/disk/by-id/wwn-0x5\"", vec![sata(), nvme()]),
        ("", vec![sata(), nvme()]),
        (hints, vec![]),
    ] {
        let (_, reason) = row("kickstart", disk, &disks);
        assert!(!reason.contains("disk"), "{disk}: {reason}");
    }
}

/// What the function of the templates finds in the tree of a machine: a disk, or nothing.
fn found_by_shell(root: &Path, hints: &Hints) -> String {
    let text = |text: &Option<String>| text.clone().map(Value::String);
    let size = |size: Option<u64>| size.map(|size| Value::Integer(size.try_into().unwrap()));
    let flag = hints.rotational.map(|flag| Value::String(u8::from(flag).to_string()));
    let all = [
        ("serial", text(&hints.serial)),
        ("wwn", text(&hints.wwn)),
        ("model", text(&hints.model)),
        ("min_size", size(hints.min_size)),
        ("max_size", size(hints.max_size)),
        ("rotational", flag),
        ("transport", text(&hints.transport)),
    ];
    let table = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let values = BTreeMap::from([("disk_hints".to_owned(), Value::Table(table))]);
    let part =
        Text::parse(concat!(include_str!("../../templates/part/disk.liquid"), "{{ hinted }}")).unwrap();
    let function = part.render(&values, &|_| None).unwrap();
    let script = function.replace("/sys/block/", &format!("{}/sys/block/", root.display()));
    let ran = Command::new("sh").args(["-e", "-c", &format!("{script}; hinted")]).output().unwrap();
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

/// The daemon chooses as the installers do, on every machine whose tree was captured and by every hint there is.
#[test]
fn the_daemon_and_the_shell_agree() {
    let mut tried = 0;
    for tree in facts::captures() {
        let folder = tempfile::tempdir().unwrap();
        facts::expand(&tree, folder.path());
        let disks = facts::facts(folder.path()).disks;
        // Of a machine with thirty alike one is enough.
        let some = if disks.len() > 8 { 1 } else { disks.len() };
        for disk in disks.iter().take(some) {
            let none = Hints::default;
            let hints = [
                Hints { serial: disk.serial.clone(), ..none() },
                Hints { wwn: disk.wwn.clone(), ..none() },
                Hints { wwn: disk.wwn.as_ref().map(|wwn| wwn[..wwn.len() / 2].to_owned()), ..none() },
                Hints { model: disk.model.clone(), ..none() },
                Hints { min_size: Some(disk.bytes), ..none() },
                Hints { min_size: Some(disk.bytes + 512), ..none() },
                Hints { max_size: Some(disk.bytes), ..none() },
                Hints { rotational: Some(disk.rotational), ..none() },
                Hints { transport: Some(disk.transport.name().to_owned()), ..none() },
                Hints { serial: disk.serial.clone(), transport: Some("usb".into()), ..none() },
            ];
            for hints in hints.into_iter().filter(|hints| *hints != none()) {
                if hints.transport.as_deref().is_some_and(|name| ["mmc", "other"].contains(&name)) {
                    continue;
                }
                let fitting: Vec<&str> =
                    disks.iter().filter(|disk| hints.fits(disk)).map(|disk| disk.path.as_str()).collect();
                let one = if let [only] = fitting.as_slice() { only } else { "" };
                assert_eq!(found_by_shell(folder.path(), &hints), one, "{}: {hints}", tree.display());
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "{tried}");
}
