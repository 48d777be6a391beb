//! Metadata that cloud-init of a running machine reads: who gets it, at which stage of an installation, and under
//! which instance's id. Over the state alone; `tests/netns/metadata.rs` has cloud-init itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::{Desired, Media, Options};
use voldemort::inventory::{Depth, load};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;
use voldemort::model::{Content, Time};
use voldemort::proto::tree::{self, Answer, Asker, Method, RefusalReason, Transport};
use voldemort::state::{Outcome, Permit, PermitStep, Purpose, Report, Server, Stage, State, Verb};

const HEAD: &str = r#"
[subnet.lab]
cidr = "10.0.0.0/16"
[boot.b]
kernel  = "vmlinuz"
cmdline = ["url={{ answers_url }}"]
[boot.live]
kernel  = "vmlinuz"
cmdline = ["ds=nocloud;s={{ nocloud_url }}"]
[template.site]
kind = "preseed"
file = "site.liquid"
[template.running]
kind = "cloud-init"
file = "running.liquid"
vars = { motd = { type = "string", default = "hello" } }
"#;

fn load_text(text: &str) -> voldemort::inventory::Loaded {
    let files: BTreeMap<Arc<str>, Bytes> = [
        ("voldemort.toml".into(), Bytes::from_static(b"format = 1\n")),
        ("a.toml".into(), Bytes::from(format!("{HEAD}{text}"))),
        ("site.liquid".into(), Bytes::from_static(b"d-i x/y string {{ completed_url }} {{ nocloud_url }}\n")),
        ("running.liquid".into(), Bytes::from_static(b"#cloud-config\nfinal_message: {{ motd | yaml }}\n")),
        ("where.liquid".into(), Bytes::from_static(b"#cloud-config\nfinal_message: at {{ address }}\n")),
    ]
    .into();
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let shelf = Shelf::new(Vec::new(), None);
    load("r".into(), &files, &Environment::default(), &shelf, &options, Depth::OneFirmware)
}

fn desired(text: &str) -> Arc<Desired> {
    let loaded = load_text(text);
    assert_eq!(loaded.errors(), 0, "{}", loaded.report());
    loaded.desired
}

fn web(name: &str, redeploy: u64) -> String {
    format!(
        "[deployment.{name}]\nmac = \"52:54:00:00:00:01\"\naddress = \"10.0.1.1\"\nsubnet = \"lab\"\nboot = \"b\"\n\
         template = \"site\"\nuser-data = \"running\"\nssh-keys = [\"ssh-ed25519 AAAA me\"]\nredeploy = {redeploy}\n"
    )
}

struct Site(State);

impl Site {
    fn new(text: &str) -> Site {
        Site(State::new(Server::stand_in("10.0.0.1".parse().unwrap())).adopt(desired(text)))
    }

    fn adopt(&mut self, text: &str) {
        self.0 = self.0.adopt(desired(text));
    }

    fn folder(&self, name: &str) -> String {
        let deployment = &self.0.desired().deployments[name];
        format!("nocloud/{name}/{}", self.0.token(Purpose::Metadata, deployment))
    }

    fn step(&mut self, name: &str, step: PermitStep) {
        let redeploy = self.0.desired().deployments[name].redeploy;
        let permit = Permit { deployment: name.parse().unwrap(), redeploy, epoch: None, step };
        self.0 = self.0.after(Verb::Permit(permit), Time(1)).unwrap();
    }

    fn report(&mut self, name: &str, outcome: Outcome) {
        let redeploy = self.0.desired().deployments[name].redeploy;
        let report =
            Report { deployment: name.parse().unwrap(), redeploy, epoch: None, outcome, note: String::new() };
        self.0 = self.0.after(Verb::Report(report), Time(2)).unwrap();
    }

    fn install(&mut self, name: &str) {
        self.step(name, PermitStep::Start);
        self.step(name, PermitStep::Spend);
        self.report(name, Outcome::Completed);
    }

    fn ask(&self, path: &str) -> Answer {
        self.ask_from([10, 0, 1, 1], Method::Get, path)
    }

    fn ask_from(&self, address: [u8; 4], method: Method, path: &str) -> Answer {
        tree::open(&self.0, &Asker::new(address, None, Transport::Http), method, path, "")
    }

    fn text(&self, path: &str) -> String {
        match self.ask(path) {
            Answer::Serve(artifact) => {
                // It moves nothing in the timeline of the machine's boots.
                assert_eq!(artifact.stage, Stage::File);
                let Content::Bytes(bytes) = artifact.content else { panic!("{path}: a file") };
                String::from_utf8(bytes.to_vec()).unwrap()
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    fn refused(&self, path: &str) -> (RefusalReason, String) {
        refusal(self.ask(path))
    }
}

fn refusal(answer: Answer) -> (RefusalReason, String) {
    match answer {
        Answer::Refuse(refusal) => (refusal.reason, refusal.text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_installed_machine_reads_its_metadata_again_and_again() {
    let mut site = Site::new(&web("web", 1));
    let early = site.folder("web");
    assert_eq!(site.refused(&format!("{early}/meta-data")).0, RefusalReason::Forbidden, "nothing has begun");
    site.step("web", PermitStep::Start);
    let folder = site.folder("web");
    assert_ne!(folder, early);
    assert!(matches!(
        site.ask_from([10, 0, 1, 1], Method::Head, &format!("{folder}/user-data")),
        Answer::Serve(_)
    ));
    // User data can have a disk written to, as an answer file can.
    let Answer::Permit(permit) = site.ask(&format!("{folder}/meta-data")) else { panic!() };
    assert_eq!(permit.step, PermitStep::Spend);
    site.step("web", PermitStep::Spend);
    let stages: [&dyn Fn(&mut Site); 3] = [&|_| {}, &|site| site.report("web", Outcome::Failed), &|site| {
        site.report("web", Outcome::Completed)
    }];
    for advance in stages {
        advance(&mut site);
        for _ in 0..2 {
            let meta = site.text(&format!("{folder}/meta-data"));
            let expected =
                "instance-id: \"web-1\"\nlocal-hostname: \"web\"\npublic-keys: [\"ssh-ed25519 AAAA me\"]\n";
            assert_eq!(meta, expected);
            let user = site.text(&format!("{folder}/user-data"));
            assert_eq!(user, "#cloud-config\nfinal_message: \"hello\"\n");
            assert_eq!(site.text(&format!("{folder}/vendor-data")), "");
            assert_eq!(site.text(&format!("{folder}/network-config")), "");
        }
    }
    assert_eq!(site.refused(&format!("{folder}/password")).0, RefusalReason::NotFound);
    let post = site.ask_from([10, 0, 1, 1], Method::Post, &format!("{folder}/meta-data"));
    assert_eq!(refusal(post).0, RefusalReason::Method);
}

#[test]
fn the_machine_alone_gets_it_and_a_token_is_needed() {
    let other = "[deployment.other]\nmac = \"52:54:00:00:00:02\"\naddress = \"10.0.1.2\"\nsubnet = \"lab\"\nboot = \"live\"\n";
    let mut site = Site::new(&(web("web", 1) + other));
    site.install("web");
    let path = format!("{}/user-data", site.folder("web"));
    for stranger in [[10, 0, 1, 2], [10, 0, 1, 99]] {
        let (reason, why) = refusal(site.ask_from(stranger, Method::Get, &path));
        assert_eq!(reason, RefusalReason::Forbidden);
        assert!(why.contains("which is not its machine"), "{why}");
    }
    assert_eq!(
        site.refused(&format!("nocloud/web/{}/user-data", "0".repeat(32))).0,
        RefusalReason::Forbidden
    );
    // The token of the answers is none of these, and the other way round.
    let answers = site.0.token(Purpose::Answers, &site.0.desired().deployments["web"]);
    assert_eq!(site.refused(&format!("nocloud/web/{answers}/user-data")).0, RefusalReason::Forbidden);
    let token = path.split('/').nth(2).unwrap();
    assert_eq!(site.refused(&format!("answers/web/{token}/preseed.cfg")).0, RefusalReason::Forbidden);
    // Nobody knows it any more.
    site.adopt(other);
    assert_eq!(site.refused(&path).0, RefusalReason::Gone);
}

#[test]
fn where_another_server_gives_the_addresses_a_machine_is_at_the_one_that_it_asks_from() {
    let deployment = web("web", 0)
        .replace("\"10.0.1.1\"", "\"auto\"")
        .replace("subnet = \"lab\"", "subnet = \"other\"")
        .replace("user-data = \"running\"", "user-data = \"where\"");
    let mut site = Site::new(&format!(
        "[subnet.other]\ncidr = \"10.1.0.0/16\"\nmode = \"proxy\"\n\
         [template.where]\nkind = \"cloud-init\"\nfile = \"where.liquid\"\n{deployment}"
    ));
    site.install("web");
    let asker =
        Asker::new([10, 1, 0, 77], None, Transport::Http).on_card("52:54:00:00:00:01".parse().unwrap());
    let path = format!("{}/user-data", site.folder("web"));
    let Answer::Serve(artifact) = tree::open(&site.0, &asker, Method::Get, &path, "") else {
        panic!("{path} is not served")
    };
    let Content::Bytes(bytes) = artifact.content else { panic!("{path}: a file") };
    assert!(bytes.ends_with(b"at 10.1.0.77\n"), "{bytes:?}");
}

/// cloud-init sets a machine up anew when the instance's id changes: that has to be with each installation, and
/// at no other moment.
#[test]
fn the_instances_id_is_that_of_the_installation_on_the_disk() {
    let mut site = Site::new(&web("web", 1));
    site.install("web");
    let first = site.folder("web");
    let id = |site: &Site, folder: &str| {
        let meta = site.text(&format!("{folder}/meta-data"));
        meta.lines().next().unwrap().to_owned()
    };
    // Renamed, or to be installed again but not yet: it is the same system.
    site.adopt(&web("renamed", 1));
    assert_eq!(id(&site, &first), "instance-id: \"web-1\"");
    assert!(site.text(&format!("{first}/meta-data")).contains("local-hostname: \"renamed\""));
    site.adopt(&web("renamed", 2));
    assert_eq!(id(&site, &first), "instance-id: \"web-1\"");
    // The new one has another id and another URL, and that of the old one ends.
    site.install("renamed");
    let second = site.folder("renamed");
    assert_eq!(id(&site, &second), "instance-id: \"renamed-2\"");
    assert_eq!(site.refused(&format!("{first}/meta-data")).0, RefusalReason::Forbidden);
    // A restart of the daemon changes nothing.
    let lasting = site.0.lasting().clone();
    let restarted = State::restored(Server::stand_in("10.0.0.1".parse().unwrap()), lasting);
    let site = Site(restarted.adopt(desired(&web("renamed", 2))));
    assert_eq!(id(&site, &second), "instance-id: \"renamed-2\"");
}

/// Until a person settles it nobody knows whose system is on the disk.
#[test]
fn what_is_doubtful_is_not_served() {
    let mut site = Site::new(&web("web", 1));
    site.step("web", PermitStep::Start);
    let folder = site.folder("web");
    site.0.begin_restored();
    let (reason, why) = site.refused(&format!("{folder}/user-data"));
    assert_eq!(reason, RefusalReason::Forbidden);
    assert!(why.contains("not known whether"), "{why}");
}

#[test]
fn a_machine_that_installs_nothing_has_it_at_each_boot() {
    let live = |redeploy: u64| {
        format!(
            "[deployment.live]\nmac = \"52:54:00:00:00:01\"\naddress = \"10.0.1.1\"\nsubnet = \"lab\"\nboot = \"live\"\n\
             user-data = \"running\"\nvars = {{ motd = \"from a deployment\" }}\nredeploy = {redeploy}\n"
        )
    };
    let mut site = Site::new(&live(0));
    let folder = site.folder("live");
    let Answer::Serve(script) = site.ask("ipxe/52-54-00-00-00-01.ipxe") else { panic!() };
    let Content::Bytes(script) = script.content else { panic!() };
    assert!(String::from_utf8_lossy(&script).contains(&format!("ds=nocloud;s=http://10.0.0.1/{folder}/")));
    assert!(site.text(&format!("{folder}/user-data")).contains("from a deployment"));
    assert!(site.text(&format!("{folder}/meta-data")).starts_with("instance-id: \"live-0\"\n"));
    site.adopt(&live(1));
    assert!(
        site.text(&format!("{}/meta-data", site.folder("live"))).starts_with("instance-id: \"live-1\"\n")
    );
    assert_eq!(site.refused(&format!("{folder}/meta-data")).0, RefusalReason::Forbidden);
}

#[test]
fn the_template_of_user_data_is_checked() {
    let wrong = load_text(&web("web", 1).replace("user-data = \"running\"", "user-data = \"site\""));
    assert!(wrong.report().to_string().contains("V0408"), "{}", wrong.report());
    let absent = load_text(&web("web", 1).replace("user-data = \"running\"", "user-data = \"runing\""));
    assert!(absent.report().to_string().contains("similar name exists: `running`"), "{}", absent.report());
    let odd = load_text(&(web("web", 1) + "vars = { motd = 5 }\n"));
    assert!(odd.report().to_string().contains("`motd` must be text"), "{}", odd.report());
}

#[test]
fn plans_and_explanations_show_it() {
    let mut site = Site::new(&web("web", 1));
    site.install("web");
    let deployment = site.0.desired().deployments["web"].clone();
    let served = voldemort::walk::served::served(&site.0, &deployment, Time(3));
    let of = |name: &str| served.iter().find(|(title, _)| title == name).map(|(_, text)| text.as_str());
    assert_eq!(of("nocloud/user-data"), Some("#cloud-config\nfinal_message: \"hello\"\n"));
    assert!(of("nocloud/meta-data").is_some_and(|text| text.contains("local-hostname: \"web\"")));
    // Who reads a plan does not get at the files.
    assert!(of("preseed.cfg").is_some_and(|text| text.contains("/nocloud/web/TOKEN/")), "{served:?}");
    let why = voldemort::api::resource::why::why(&site.0, "web", &[], voldemort::model::Time(0)).unwrap();
    let offer = why.offers.iter().find(|offer| offer.what == "metadata").unwrap();
    assert!(offer.value.contains("nocloud/user-data") && offer.value.contains("(running)"), "{offer:?}");
    assert!(offer.origin.as_deref().is_some_and(|origin| origin.starts_with("a.toml:")), "{offer:?}");
}

#[test]
fn the_example_passes_the_check() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/metadata");
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let loaded = voldemort::cli::check::check(&root, &Shelf::new(Vec::new(), None), &options).unwrap();
    assert_eq!(loaded.errors(), 0, "{}", loaded.report());
}
