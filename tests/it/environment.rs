//! Environments: what an overlay changes, what it may not, and which problems it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::{Media, Options, Place, inherited};
use voldemort::inventory::{Depth, Loaded, Memory, load, survey, survey_again};
use voldemort::manifest::{Code, Environment, Level, report};
use voldemort::media::Shelf;
use voldemort::render::Value;

type Files = BTreeMap<Arc<str>, Bytes>;

const OPTIONS: Options = Options { media: Media::IfPresent, fallback: Vec::new() };

const BASE: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
dns = ["10.0.10.1", "10.0.10.2"]
[boot.live]
kernel = "vmlinuz"
cmdline = ["disk={{ disk }}", "one={{ one_two }}", "t={{ tree.a }}{{ tree.b }}"]
[profile.base]
boot = "live"
disk = "/dev/sda"
vars = { one-two = "base", tree = { a = "a", b = "b" } }
[profile.web]
extends = "base"
[machine.u01]
mac = "52:54:00:aa:00:01"
labels = { size = "small" }
[deployment.web-1]
profile = "web"
machine = "u01"
address = "10.0.10.21"
"#;

fn files(texts: &[(&str, &str)]) -> Files {
    texts.iter().map(|(name, text)| (Arc::from(*name), Bytes::from((*text).to_owned()))).collect()
}

fn loaded(files: &Files, environment: Option<&str>) -> Loaded {
    let environment = Environment::choose(files.keys().map(|path| &**path), environment).unwrap();
    let shelf = Shelf::new(Vec::new(), None);
    load("test".into(), files, &environment, &shelf, &OPTIONS, Depth::OneFirmware)
}

/// Loads the base with one overlay, which must have no mistakes.
fn with(overlay: &str) -> Loaded {
    let files = files(&[("a.toml", BASE), ("environments/prod.toml", overlay)]);
    let loaded = loaded(&files, Some("prod"));
    let bad: Vec<_> = loaded.problems.iter().filter(|problem| problem.level > Level::Note).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    loaded
}

fn text(loaded: &Loaded, name: &str) -> String {
    loaded.desired.deployments["web-1"].values[name].to_string()
}

#[test]
fn tables_merge_and_the_rest_is_replaced() {
    let loaded = with("[profile.base.vars]\ntree = { b = \"B\" }\n[subnet.lab]\ndns = [\"10.0.10.3\"]\n");
    let Value::Table(tree) = &loaded.desired.deployments["web-1"].values["tree"] else { panic!() };
    assert_eq!((tree["a"].to_string(), tree["b"].to_string()), ("a".into(), "B".into()));
    assert_eq!(text(&loaded, "one_two"), "base");
    assert_eq!(loaded.desired.subnets["lab"].dns.len(), 1);
    let emptied = with("subnet.lab.dns = []");
    assert!(emptied.desired.subnets["lab"].dns.is_empty(), "an empty list replaces one as well");
}

#[test]
fn later_wins() {
    let base = "[profile.base.vars]\none-two = \"1\"\n";
    assert_eq!(text(&with(base), "one_two"), "1");
    assert_eq!(text(&with(&format!("{base}[profile.web.vars]\none-two = \"2\"\n")), "one_two"), "2");
    assert_eq!(text(&with(&format!("{base}[deployment.web-1.vars]\none-two = \"3\"\n")), "one_two"), "3");
    let own = BASE.replace("machine = \"u01\"", "machine = \"u01\"\nvars = { one-two = \"own\" }");
    let files = files(&[("a.toml", &own), ("environments/prod.toml", base)]);
    assert_eq!(
        text(&loaded(&files, Some("prod")), "one_two"),
        "own",
        "the deployment beats an overlaid profile"
    );
    assert_eq!(text(&loaded(&files, None), "one_two"), "own");
}

#[test]
fn spellings_of_one_variable_replace_each_other() {
    assert_eq!(text(&with("[profile.base.vars]\none_two = \"under\"\n"), "one_two"), "under");
    assert_eq!(text(&with("[profile.base.vars]\ndisk = \"/dev/vda\"\n"), "disk"), "/dev/vda");
    assert_eq!(text(&with("[profile.base]\ndisk = \"/dev/vdb\"\n"), "disk"), "/dev/vdb");
    let inside = BASE.replace("disk = \"/dev/sda\"\nvars = {", "vars = { disk = \"/dev/sda\",");
    let files = files(&[("a.toml", &inside), ("environments/prod.toml", "profile.base.disk = \"/dev/vdc\"")]);
    assert_eq!(text(&loaded(&files, Some("prod")), "disk"), "/dev/vdc");
}

#[test]
fn another_way_to_a_machine_takes_the_first_ones_place() {
    let selects = with("[deployment.web-1]\nselect = { size = \"small\" }\n");
    assert!(matches!(selects.desired.deployments["web-1"].place, Place::Select(_)));
    let inline = with("[deployment.web-1]\nmac = \"52:54:00:aa:00:09\"\n");
    let web: voldemort::model::Name = "web-1".parse().unwrap();
    assert_eq!(inline.desired.deployments["web-1"].place, Place::Machine(web));
}

#[test]
fn an_overlay_can_add() {
    let loaded = with(
        "[deployment.web-2]\nprofile = \"more\"\nmac = \"52:54:00:aa:00:07\"\naddress = \"10.0.10.22\"\n\
                       [profile.more]\nextends = [\"web\"]\n",
    );
    assert_eq!(loaded.desired.deployments.len(), 2);
}

#[test]
fn values_know_the_overlay_they_come_from() {
    let loaded = with("\n[profile.base]\ndisk = \"/dev/vda\"\n");
    let shelf = Shelf::new(Vec::new(), None);
    let values = inherited(&loaded.documents, &shelf, &"web-1".parse().unwrap()).unwrap();
    let disk = values.iter().find(|row| row.key == "disk").unwrap();
    let origin = loaded.documents.sources.origin(disk.mark.unwrap());
    assert_eq!(origin.to_string(), "environments/prod.toml:3:8");
}

#[test]
fn without_a_name_overlays_are_no_part_of_the_inventory() {
    let overlay = "[deployment.web-1]\naddress = \"10.0.10.99\"\n";
    let files = files(&[("a.toml", BASE), ("environments/prod.toml", overlay)]);
    let address = |environment| loaded(&files, environment).desired.deployments["web-1"].address.unwrap();
    assert_eq!(address(None).to_string(), "10.0.10.21");
    assert_eq!(address(Some("prod")).to_string(), "10.0.10.99");
    let plain = loaded(&self::files(&[("a.toml", BASE)]), None);
    assert_eq!(
        plain.desired.deployments["web-1"].digest,
        loaded(&files, None).desired.deployments["web-1"].digest
    );
}

/// Codes and places of what a check of everything finds.
fn found(texts: &[(&str, &str)]) -> Vec<(Code, String, String)> {
    let shelf = Shelf::new(Vec::new(), None);
    let loaded = survey("test".into(), &files(texts), &shelf, &OPTIONS, Depth::OneFirmware);
    let problems = loaded.problems.iter().filter(|problem| problem.level > Level::Note);
    let sources = &loaded.documents.sources;
    problems.map(|one| (one.code, sources.origin(one.mark()).to_string(), one.message.clone())).collect()
}

#[test]
fn a_mistake_of_the_inventory_is_told_once() {
    let wrong = BASE.replace("boot = \"live\"", "boot = \"lvie\"");
    let all = found(&[("a.toml", &wrong), ("environments/a.toml", ""), ("environments/b.toml", "")]);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(!all[0].2.contains("environment"), "{all:?}");
}

#[test]
fn a_mistake_of_environments_names_them() {
    let overlay = "[subnet.lab]\ncidr = \"10.0.11.0/24\"\ndns = []\n";
    let all = found(&[
        ("a.toml", BASE),
        ("environments/a.toml", overlay),
        ("environments/b.toml", overlay),
        ("environments/c.toml", ""),
    ]);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].0, all[0].1.as_str()), (Code::Outside, "a.toml:20:11"));
    assert!(all[0].2.ends_with("(in environments a, b)"), "{all:?}");
}

#[test]
fn what_one_environment_uses_is_not_unused() {
    let base = BASE.replace("one-two = \"base\"", "one-two = \"base\", sometimes = \"x\"");
    let uses = "[boot.live]\ncmdline = [\"disk={{ disk }}\", \"one={{ one_two }}\", \"t={{ tree.a }}{{ tree.b }}\", \"{{ sometimes }}\"]\n";
    assert_eq!(found(&[("a.toml", &base)]).len(), 1);
    assert_eq!(found(&[("a.toml", &base), ("environments/a.toml", uses), ("environments/b.toml", "")]), []);
    assert_eq!(found(&[("a.toml", &base), ("environments/b.toml", "")]).len(), 1);
    // The other way round: the inventory uses it, an environment does not.
    let less = "[boot.live]\ncmdline = [\"disk={{ disk }}\"]\n";
    assert_eq!(found(&[("a.toml", BASE), ("environments/a.toml", less)]), []);
}

/// What is kept of the inventory and its environments must not show, whichever file changes.
#[test]
fn a_memory_of_environments_changes_nothing() {
    let overlay = "[profile.base.vars]\none-two = \"1\"\n[profile.wrong]\ndisk = \"x\"\n";
    let base = [
        ("a.toml", BASE),
        ("b.toml", "[profile.db]\nextends = \"base\"\n"),
        ("environments/prod.toml", overlay),
    ];
    let edits = [
        ("a.toml", BASE.replace("\"base\", tree", "\"other\", tree")),
        ("environments/prod.toml", "[deployment.web-1]\naddress = \"10.0.11.1\"\n".to_owned()),
        ("environments/prod/more.toml", "[machine.u01]\nmac = 1\n".to_owned()),
        ("b.toml", "[profile.wrong]\nboot = \"none\"\n".to_owned()),
        ("environments/test.toml", "[subnet.lab]\ncidr = \"10.0.12.0/24\"\n".to_owned()),
        ("a.toml", format!("# down\n{BASE}[deployment.web-1]\n")),
        ("a.toml", BASE.to_owned()),
    ];
    let mut files = files(&base);
    let mut memory = Memory::default();
    let shelf = Shelf::new(Vec::new(), None);
    let content_of = |loaded: &Loaded| {
        let concise = |problem| report::concise(problem, &loaded.documents.sources);
        (loaded.problems.iter().map(concise).collect::<Vec<_>>(), loaded.environments.clone())
    };
    for (path, text) in [("b.toml", base[1].1.to_owned())].into_iter().chain(edits) {
        files.insert(path.into(), text.into());
        let again = survey_again(&mut memory, "test".into(), &files, &shelf, &OPTIONS, Depth::EveryFirmware);
        let anew = survey("test".into(), &files, &shelf, &OPTIONS, Depth::EveryFirmware);
        assert!(!anew.problems.is_empty());
        assert_eq!(content_of(&again), content_of(&anew), "after {path}");
    }
}

/// `without` in an overlay takes away what the resource says, and what it inherits.
#[test]
fn an_environment_leaves_settings_out() {
    let overlay = "[deployment.web-1]\nwithout = [\"vars.tree.b\"]\nvars = { tree = { b = \"x\" } }\n\
        [profile.base]\nwithout = [\"disk\"]\n[profile.web]\ndisk = \"/dev/vda\"\n\
        [subnet.lab]\nwithout = [\"dns\"]\n[machine.u01]\nwithout = [\"labels.size\"]\n";
    let loaded = with(overlay);
    assert_eq!((text(&loaded, "disk"), text(&loaded, "one_two")), ("/dev/vda".into(), "base".into()));
    assert!(loaded.desired.subnets["lab"].dns.is_empty() && loaded.desired.machines["u01"].labels.is_empty());
    let files = files(&[
        ("a.toml", BASE),
        ("environments/prod.toml", "[subnet.lab]\nwithout = [\"gateway\", \"cidr\"]\n"),
    ]);
    let loaded = self::loaded(&files, Some("prod"));
    let codes: Vec<Code> = loaded.problems.iter().map(|problem| problem.code).collect();
    assert!(codes.contains(&Code::NotInherited) && codes.contains(&Code::MissingKey), "{codes:?}");
    let plain = self::files(&[(
        "a.toml",
        &format!("{BASE}[subnet.other]\ncidr = \"10.0.20.0/24\"\nwithout = \"dns\"\n"),
    )]);
    let codes: Vec<Code> = self::loaded(&plain, None).problems.iter().map(|problem| problem.code).collect();
    assert!(codes.contains(&Code::UnknownKey), "{codes:?}");
}
