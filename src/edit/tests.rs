use serde_json::json;

use super::*;

const LAB: &str = r#"# The lab.

# ---- networks ----

[subnet.lab]
cidr    = "10.0.10.0/24"  # all of it
gateway = "10.0.10.1"

[boot.debian-12]
kernel = "files/vmlinuz"

# ---- machines ----

# Harry's machine.
# It hums.
[deployment.harry]
mac      = "00:11:22:33:44:55"
address  = "10.0.10.30"   # by the window
boot     = "debian-12"
packages = [
    "openssh-server",   # to look in
    "nginx",
]
[deployment.harry.vars]
user = "ops"
# user = "root"

# ---- the others ----

[deployment.ron]
mac  = "00:11:22:33:44:66"
boot = "debian-12"
"#;

fn files(text: &str) -> BTreeMap<Arc<str>, Bytes> {
    BTreeMap::from([("lab.toml".into(), Bytes::from(text.to_owned()))])
}

fn edit(verb: Verb, kind: Kind, name: &str, settings: &[(&str, Value)]) -> Edit {
    let setting = |(path, value): &(&str, Value)| Setting {
        path: path.split('.').map(str::to_owned).collect(),
        value: value.clone(),
    };
    Edit {
        verb,
        kind,
        name: Some(name.into()).filter(|name: &String| !name.is_empty()),
        mac: None,
        settings: settings.iter().map(setting).collect(),
        deployment_type: None,
        if_match: None,
    }
}

fn changes(files: &BTreeMap<Arc<str>, Bytes>, edit: &Edit, known: &Known) -> Changes {
    apply(files, std::slice::from_ref(edit), known).unwrap()
}

/// The one file that changes.
fn only(changes: Changes) -> NewText {
    assert_eq!(changes.files.len(), 1, "{changes:?}");
    changes.files.into_iter().next().unwrap()
}

fn changed(text: &str, edit: &Edit) -> String {
    only(changes(&files(text), edit, &Known::default())).after
}

fn refused(text: &str, edit: &Edit) -> String {
    apply(&files(text), std::slice::from_ref(edit), &Known::default()).unwrap_err().refusal.to_string()
}

/// Lines that are only in the first, and only in the second.
fn differences<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let lines = |text: &'a str| text.split_inclusive('\n').collect::<Vec<_>>();
    let (before, after) = (lines(before), lines(after));
    let head = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
    let tail =
        before[head..].iter().rev().zip(after[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    (before[head..before.len() - tail].to_vec(), after[head..after.len() - tail].to_vec())
}

#[test]
fn one_value_changes_and_its_comment_stays() {
    let update = edit(Verb::Update, Kind::Deployment, "harry", &[("address", json!("10.0.10.31"))]);
    let after = changed(LAB, &update);
    let (old, new) = differences(LAB, &after);
    assert_eq!(old, ["address  = \"10.0.10.30\"   # by the window\n"]);
    assert_eq!(new, ["address  = \"10.0.10.31\"   # by the window\n"]);
}

#[test]
fn new_keys_stand_in_line_with_the_others() {
    let update = edit(
        Verb::Update,
        Kind::Deployment,
        "harry",
        &[("disk", json!("/dev/vda")), ("vars.root-hash", json!({ "secret": "root" }))],
    );
    let after = changed(LAB, &update);
    assert!(after.contains("]\ndisk     = \"/dev/vda\"\n[deployment.harry.vars]\n"), "{after}");
    assert!(
        after.contains("user = \"ops\"\nroot-hash = { secret = \"root\" }\n# user = \"root\"\n"),
        "{after}"
    );
    let labels = edit(Verb::Update, Kind::Deployment, "ron", &[("labels.rack", json!("1"))]);
    assert!(changed(LAB, &labels).ends_with("boot = \"debian-12\"\nlabels = { rack = \"1\" }\n"));
}

#[test]
fn lists_keep_the_comments_of_what_stays() {
    let update = |items: Value| edit(Verb::Update, Kind::Deployment, "harry", &[("packages", items)]);
    let after = changed(LAB, &update(json!(["openssh-server", "nginx", "git"])));
    let (old, new) = differences(LAB, &after);
    assert_eq!((old.len(), new), (0, vec!["    \"git\",\n"]), "{after}");
    let after = changed(LAB, &update(json!(["nginx"])));
    assert_eq!(
        after.parse::<toml::Table>().unwrap()["deployment"]["harry"]["packages"].to_string(),
        "[\"nginx\"]"
    );
    let short = "[deployment.a]\nmac = \"00:11:22:33:44:55\"\npackages = [\"a\", \"b\"]  # few\n";
    let list = |items: Value| edit(Verb::Update, Kind::Deployment, "a", &[("packages", items)]);
    assert!(
        changed(short, &list(json!(["a", "b", "c"]))).contains("packages = [\"a\", \"b\", \"c\"]  # few\n")
    );
    assert!(changed(short, &list(json!(["c"]))).contains("packages = [\"c\"]  # few\n"));
    assert!(changed(short, &list(json!(["b"]))).contains("packages = [\"b\"]  # few\n"));
    assert!(changed(short, &list(json!([]))).contains("packages = []  # few\n"));
}

#[test]
fn a_removed_resource_takes_its_own_comments_along_and_no_others() {
    let after = changed(LAB, &edit(Verb::Delete, Kind::Deployment, "harry", &[]));
    let (old, new) = differences(LAB, &after);
    assert!(new.is_empty(), "{new:?}");
    let text = old.concat();
    assert!(text.starts_with("# Harry's machine.\n") && text.contains("# user = \"root\"\n"), "{text}");
    assert!(after.contains("# ---- machines ----\n\n# ---- the others ----\n\n[deployment.ron]"), "{after}");
}

#[test]
fn other_ways_to_write_a_resource_are_edited_too() {
    let inline = "# top\n[deployment]\n# ours\nharry = { mac = \"00:11:22:33:44:55\", boot = \"b\" } # h\nron = { mac = \"00:11:22:33:44:66\", boot = \"b\" }\n";
    let after = changed(inline, &edit(Verb::Update, Kind::Deployment, "harry", &[("boot", json!("c"))]));
    assert_eq!(after, inline.replacen("\"b\"", "\"c\"", 1));
    let after = changed(inline, &edit(Verb::Update, Kind::Deployment, "harry", &[("redeploy", json!(3))]));
    assert!(after.contains("boot = \"b\", redeploy = 3 } # h\n"), "{after}");
    let after = changed(inline, &edit(Verb::Delete, Kind::Deployment, "ron", &[]));
    assert!(after.contains("harry") && !after.contains("ron"), "{after}");
    let dotted = "deployment.harry.mac = \"00:11:22:33:44:55\"\ndeployment.harry.boot = \"b\"\n";
    let after = changed(dotted, &edit(Verb::Update, Kind::Deployment, "harry", &[("boot", json!("c"))]));
    assert_eq!(after, dotted.replace("\"b\"", "\"c\""));
    let new = edit(Verb::Create, Kind::Deployment, "ron", &[("boot", json!("b"))]);
    assert_eq!(changed(dotted, &new), format!("{dotted}\n[deployment.ron]\nboot = \"b\"\n"));
    let closed = "deployment = { harry = { boot = \"b\" } }\n";
    let change = only(changes(&files(closed), &new, &Known::default()));
    assert_eq!((&*change.path, change.before), ("deployments.toml", None));
}

#[test]
fn line_ends_and_byte_order_marks_stay() {
    let windows = format!("\u{feff}{}", LAB.replace('\n', "\r\n"));
    let mixed = LAB.replacen('\n', "\r\n", 3);
    let mixed = mixed.replace("[deployment.ron]\n", "[deployment.ron]\r\n");
    let update = edit(
        Verb::Update,
        Kind::Deployment,
        "harry",
        &[("address", json!("10.0.10.31")), ("disk", json!("/dev/vda"))],
    );
    let after = changed(&windows, &update);
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());
    assert!(after.starts_with('\u{feff}'));
    let (old, new) = differences(&windows, &after);
    assert_eq!((old.len(), new.len()), (6, 7), "{old:?} {new:?}");
    let (old, new) = (mixed.clone(), changed(&mixed, &update));
    assert_eq!(old.matches("\r\n").count(), new.matches("\r\n").count());
    assert!(new.contains("[deployment.ron]\r\n"));
    let new = edit(Verb::Create, Kind::Deployment, "luna", &[("boot", json!("debian-12"))]);
    assert_eq!(
        changed(&windows, &new),
        format!("{windows}\r\n[deployment.luna]\r\nboot = \"debian-12\"\r\n")
    );
}

#[test]
fn new_resources_go_next_to_their_kind() {
    let new = |kind| edit(Verb::Create, kind, "new", &[("boot", json!("debian-12"))]);
    let place = |files: &[(&str, &str)], kind| {
        let files =
            files.iter().map(|(path, text)| ((*path).into(), Bytes::from((*text).to_owned()))).collect();
        only(changes(&files, &new(kind), &Known::default())).path
    };
    let one = "[deployment.a]\nboot = \"debian-12\"\n";
    let two = "[deployment.b]\nboot = \"debian-12\"\n[deployment.c]\nboot = \"debian-12\"\n";
    assert_eq!(&*place(&[("lab.toml", LAB)], Kind::Deployment), "lab.toml");
    assert_eq!(&*place(&[("lab.toml", LAB)], Kind::Profile), "profiles.toml");
    assert_eq!(&*place(&[("a/one.toml", one), ("b/two.toml", two)], Kind::Deployment), "b/two.toml");
    assert_eq!(
        &*place(&[("b/two.toml", two), ("deployments.toml", one)], Kind::Deployment),
        "deployments.toml"
    );
    assert_eq!(&*place(&[("broken.toml", "[[["), ("z.toml", one)], Kind::Deployment), "z.toml");
    assert_eq!(
        &*place(&[("a.toml", "[deployment.x]\nboot = \n"), ("z.toml", one)], Kind::Deployment),
        "z.toml"
    );
}

#[test]
fn a_new_table_is_in_the_order_of_the_reference() {
    let new = edit(
        Verb::Create,
        Kind::Boot,
        "debian-13",
        &[
            ("kernel", json!("vmlinuz")),
            ("iso.file", json!("/srv/a \"b\".iso")),
            ("cmdline", json!(["a=b", "url={{ answers_url }}"])),
            ("iso.prefix", json!("debian")),
        ],
    );
    let after = changed("", &new);
    assert_eq!(
        after,
        "[boot.debian-13]\niso     = { file = '/srv/a \"b\".iso', prefix = \"debian\" }\nkernel  = \"vmlinuz\"\n\
         cmdline = [\"a=b\", \"url={{ answers_url }}\"]\n"
    );
}

#[test]
fn a_network_card_stands_for_its_deployment() {
    let by = |verb, mac: &str, settings: &[(&str, Value)]| Edit {
        mac: Some(mac.into()),
        ..edit(verb, Kind::Deployment, "", settings)
    };
    let mac = [("mac", json!("00-11-22-33-44-55")), ("address", json!("10.0.10.77"))];
    let after = changed(LAB, &by(Verb::Update, "00-11-22-33-44-55", &mac));
    assert_eq!(after, LAB.replace("10.0.10.30", "10.0.10.77"), "the address is no new setting");
    assert_eq!(changed(LAB, &by(Verb::Deploy, "001122334455", &mac)), after);
    let why = refused(LAB, &by(Verb::Update, "00:11:22:33:44:56", &mac));
    assert_eq!(
        why,
        "no deployment has the hardware address 00:11:22:33:44:56; one typing mistake away is \
         00:11:22:33:44:55, of deployment harry (lab.toml:17)"
    );
    let mac = [("mac", json!("00:11:22:33:44:65"))];
    let new = changes(&files(LAB), &by(Verb::Create, "00:11:22:33:44:65", &mac), &Known::default());
    let notes = new.resources[0].notes.clone();
    assert!(only(new).after.ends_with(
        "\n\n[deployment.00-11-22-33-44-65]\nmac  = \"00:11:22:33:44:65\"\nboot = \"debian-12\"\n"
    ));
    assert!(notes[0].starts_with("look twice at 00:11:22:33:44:65"), "{notes:?}");
    let pinned = format!("{LAB}[machine.u01]\nmac = [\"52:54:00:00:00:01\"]\n");
    let mac = [("mac", json!("52:54:00:00:00:01"))];
    let after = changed(&pinned, &by(Verb::Create, "52:54:00:00:00:01", &mac));
    assert!(after.contains("[deployment.u01]\nmachine = \"u01\"\nboot    = \"debian-12\"\n"), "{after}");
}

#[test]
fn redeploy_goes_above_every_number_that_was_used() {
    let redeploy = edit(Verb::Redeploy, Kind::Deployment, "ron", &[]);
    assert!(changed(LAB, &redeploy).ends_with("boot = \"debian-12\"\nredeploy = 1\n"));
    let known = Known { installs: BTreeMap::from([("ron".parse().unwrap(), 6)]) };
    let change = changes(&files(LAB), &redeploy, &known);
    assert_eq!(change.summary(), "Redeploy deployment ron");
    let after = only(change).after;
    assert!(after.ends_with("redeploy = 7\n"), "{after}");
}

#[test]
fn what_can_not_be_done_says_why() {
    let update = |name: &str| edit(Verb::Update, Kind::Deployment, name, &[("boot", json!("x"))]);
    assert_eq!(
        refused(LAB, &update("hary")),
        "there is no deployment called `hary`; did you mean `harry` (lab.toml:16)?"
    );
    assert_eq!(
        refused(LAB, &edit(Verb::Create, Kind::Deployment, "harry", &[])),
        "deployment `harry` exists already, in lab.toml:16; `update` changes it"
    );
    assert!(refused(LAB, &update("Harry")).starts_with("`Harry`: a name"));
    assert!(refused(LAB, &edit(Verb::Update, Kind::Deployment, "harry", &[])).contains("no change to"));
    assert!(refused("", &edit(Verb::Create, Kind::Deployment, "a", &[])).contains("no boot yet"));
    let typed =
        Edit { deployment_type: Some("kickstrat".into()), ..edit(Verb::Create, Kind::Deployment, "a", &[]) };
    assert!(refused(LAB, &typed).ends_with("did you mean `kickstart`?"));
    assert_eq!(
        refused("", &edit(Verb::Delete, Kind::Boot, "a", &[])),
        "there is no boot called `a`; the inventory has no boot at all"
    );
    let same = edit(Verb::Update, Kind::Deployment, "harry", &[("address", json!("10.0.10.30"))]);
    let same = changes(&files(LAB), &same, &Known::default());
    assert!(same.files.is_empty() && !same.resources[0].is_changed, "{same:?}");
}

#[test]
fn settings_are_taken_away_with_their_comment() {
    let update = edit(Verb::Update, Kind::Deployment, "harry", &[("address", Value::Null)]);
    assert_eq!(changed(LAB, &update), LAB.replace("address  = \"10.0.10.30\"   # by the window\n", ""));
    let one = "[deployment.a]\nboot = \"b\"\nvars = { user = \"ops\" }\n";
    let update = edit(Verb::Update, Kind::Deployment, "a", &[("vars.user", Value::Null)]);
    assert_eq!(changed(one, &update), "[deployment.a]\nboot = \"b\"\n");
    let last = edit(Verb::Delete, Kind::Deployment, "b", &[]);
    assert_eq!(changed(&format!("{one}\n\n# b\n[deployment.b]\nboot = \"b\"\n"), &last), one);
    assert_eq!(changed("# b\n[deployment.b]\n", &last), "");
    let text = "[deployment.a]\nboot = \"b\"\n\n# money matters\n\n# the disk\ndisk = \"/dev/sda\"\ntimezone = \"UTC\"\n";
    let update = edit(Verb::Update, Kind::Deployment, "a", &[("disk", Value::Null)]);
    assert_eq!(changed(text, &update), text.replace("# the disk\ndisk = \"/dev/sda\"\n", ""));
}

#[test]
fn hostile_edits_are_refused() {
    let long = Setting { path: vec!["a".into(); 100_000], value: json!(1) };
    let none = Setting { path: Vec::new(), value: json!(1) };
    for setting in [long, none] {
        let edit = Edit { settings: vec![setting], ..edit(Verb::Update, Kind::Deployment, "ron", &[]) };
        assert!(refused(LAB, &edit).ends_with("there is no such setting"));
    }
    let odd = edit(Verb::Update, Kind::Deployment, "ron", &[("a]\n[deployment", json!("\"\n[boot.x]\n"))]);
    let after = changed(LAB, &odd);
    assert!(layout::differing(LAB, &after, &[(Kind::Deployment, "ron")]).is_some(), "{after}");
    let half = edit(Verb::Update, Kind::Deployment, "ron", &[("disk", json!(1.5))]);
    assert!(refused(LAB, &half).contains("no such value"));
}

#[test]
fn several_edits_are_one_change_or_none() {
    let redeploy = |name: &str| edit(Verb::Redeploy, Kind::Deployment, name, &[]);
    let new = edit(Verb::Create, Kind::Boot, "rescue", &[("kernel", json!("files/rescue"))]);
    let to_it = edit(Verb::Update, Kind::Deployment, "ron", &[("boot", json!("rescue"))]);
    let known = Known::default();
    let all = [redeploy("harry"), new.clone(), to_it, redeploy("ron"), redeploy("ron")];
    let changes = apply(&files(LAB), &all, &known).unwrap();
    assert_eq!(changes.summary(), "Redeploy harry, ron, ron; Create boot rescue; Update deployment ron");
    let after = only(changes).after;
    assert!(
        after.contains("boot = \"rescue\"\nredeploy = 2\n"),
        "each is made on what the one before left: {after}"
    );
    assert!(after.contains("[boot.rescue]\nkernel = \"files/rescue\"\n") && after.contains("redeploy = 1\n"));
    // The first that can't be made is named, and nothing is changed.
    let stopped = apply(&files(LAB), &[redeploy("harry"), redeploy("ron"), redeploy("luna")], &known);
    let stopped = stopped.unwrap_err();
    assert!(stopped.index == 2 && stopped.refusal.to_string().contains("called `luna`"), "{stopped:?}");
    // Text that one of them can't follow.
    let half = edit(Verb::Update, Kind::Deployment, "ron", &[("disk", json!(1.5))]);
    assert_eq!(apply(&files(LAB), &[redeploy("harry"), half], &known).unwrap_err().index, 1);
    // One that changes nothing is none of the changes.
    let same = edit(Verb::Update, Kind::Deployment, "harry", &[("boot", json!("debian-12"))]);
    let changes =
        apply(&files(LAB), &[same, edit(Verb::Delete, Kind::Deployment, "ron", &[])], &known).unwrap();
    assert_eq!(changes.resources.iter().map(|one| one.is_changed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(changes.summary(), "Delete deployment ron");
    assert!(!only(changes).after.contains("[deployment.ron]"));
    // In files of their own.
    let two = BTreeMap::from([
        ("a.toml".into(), Bytes::from("[deployment.a]\nboot = \"b\"\n")),
        ("b.toml".into(), Bytes::from("[deployment.b]\nboot = \"b\"\n")),
    ]);
    let changes = apply(&two, &[redeploy("b"), redeploy("a")], &known).unwrap();
    let paths: Vec<&str> = changes.files.iter().map(|file| &*file.path).collect();
    assert_eq!((paths.as_slice(), changes.resources[0].path.as_ref()), (&["a.toml", "b.toml"][..], "b.toml"));
}

/// A fleet in one file: each edit must not cost a look at all of it.
#[test]
fn a_thousand_edits_of_a_large_file_are_made_together() {
    let fleet: String = (0..5000).map(|n| format!("[deployment.w{n:04}]\nboot = \"b\"\n\n")).collect();
    let edits: Vec<Edit> = (0..EDITS_MAX)
        .map(|n| edit(Verb::Redeploy, Kind::Deployment, &format!("w{:04}", 5 * n), &[]))
        .collect();
    let begun = std::time::Instant::now();
    let changes = apply(&files(&fleet), &edits, &Known::default()).unwrap();
    assert_eq!(changes.summary(), "Redeploy w0000 … w4995 (1000)");
    assert_eq!(only(changes).after.matches("redeploy = 1\n").count(), EDITS_MAX);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

fn new_machine(number: usize) -> Edit {
    let mac = format!("52:54:00:00:{:02x}:{:02x}", number / 256, number % 256);
    let settings = [("mac", json!(mac)), ("labels.size", json!("small"))];
    let edit = edit(Verb::Create, Kind::Machine, &format!("n{number:04}"), &settings);
    Edit { mac: Some(mac), ..edit }
}

#[test]
fn new_machines_are_written_together_as_one_after_the_other() {
    let redeploy = edit(Verb::Redeploy, Kind::Deployment, "ron", &[]);
    let edits = [new_machine(1), new_machine(2), redeploy, new_machine(3), new_machine(4)];
    let lab = "[machine.m1]\nmac = \"00:11:22:33:44:77\"  # no line end";
    let carriage = lab.replace('\n', "\r\n");
    for text in [LAB, "", lab, carriage.as_str()] {
        let edits = if text.contains("ron") { &edits[..] } else { &edits[3..] };
        let together = apply(&files(text), edits, &Known::default()).unwrap();
        let mut one_by_one = files(text);
        for edit in edits {
            for file in changes(&one_by_one, edit, &Known::default()).files {
                one_by_one.insert(file.path, file.after.into());
            }
        }
        for file in &together.files {
            assert_eq!(file.after.as_bytes(), &one_by_one[&file.path][..], "{text:?}");
        }
        assert!(
            together.resources.iter().all(|one| one.is_changed) && together.resources.len() == edits.len()
        );
    }
    // The same name again, and one before it that can't be written.
    let again = [new_machine(1), new_machine(2), new_machine(1)];
    let stopped = apply(&files(LAB), &again, &Known::default()).unwrap_err();
    assert!(stopped.index == 2 && matches!(stopped.refusal, Refusal::Exists { .. }), "{stopped:?}");
    let inline = "machine = { m1 = { mac = \"00:11:22:33:44:77\" } }\n";
    let broken = BTreeMap::from([
        ("a.toml".into(), Bytes::from(inline)),
        ("machines.toml".into(), Bytes::from("machine = {}\n")),
    ]);
    let stopped = apply(&broken, &again, &Known::default()).unwrap_err();
    assert_eq!(stopped.index, 0, "{stopped:?}");
}

#[test]
fn a_thousand_new_machines_are_written_together() {
    let fleet: String =
        (0..5000).map(|n| format!("[machine.w{n:04}]\nlabels = {{ size = \"small\" }}\n\n")).collect();
    let edits: Vec<Edit> = (0..EDITS_MAX).map(new_machine).collect();
    let begun = std::time::Instant::now();
    let changes = apply(&files(&fleet), &edits, &Known::default()).unwrap();
    assert_eq!(changes.summary(), "Create machines n0000 … n0999 (1000)");
    assert_eq!(only(changes).after.matches("[machine.n").count(), EDITS_MAX);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn a_summary_is_short() {
    let resource = |done, kind, name: String| Resource {
        done,
        kind,
        name: name.parse().unwrap(),
        path: "a.toml".into(),
        is_changed: true,
        notes: Vec::new(),
    };
    let many = |kind, count: usize| -> Vec<Resource> {
        (1..=count).map(|n| resource(Done::Update, kind, format!("web-{n:03}"))).collect()
    };
    let said = |all: &[Resource]| summary(&all.iter().collect::<Vec<_>>());
    assert_eq!(said(&many(Kind::Machine, 2)), "Update machines web-001, web-002");
    assert_eq!(said(&many(Kind::Machine, 40)), "Update machines web-001 … web-040 (40)");
    let all: Vec<Resource> = Kind::ALL.into_iter().flat_map(|kind| many(kind, 5)).collect();
    assert_eq!(said(&all), format!("Change {} resources", all.len()));
}

mod property {
    use proptest::prelude::*;

    use super::*;

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            "# [a-z\\[\\]\"= ]{0,12}",
            "x-[a-z]{1,6} = '''[a-z\\[\\]\n#]{0,12}'''",
        ]
    }

    fn resource() -> impl Strategy<Value = (String, Vec<String>)> {
        let pair = ("[a-h]{1,3}", "[a-z ]{0,6}", any::<bool>(), 1..4usize);
        (proptest::collection::vec(line(), 0..4), proptest::collection::btree_map("[a-h]{1,3}", pair, 1..4))
            .prop_map(|(lines, pairs)| {
                let pairs = pairs.into_iter().map(|(key, (_, value, comment, blanks))| {
                    format!(
                        "{key}{}= \"{value}\"{}",
                        " ".repeat(blanks),
                        if comment { "   # why" } else { "" }
                    )
                });
                let comments =
                    lines.iter().filter(|line| !line.starts_with("x-")).cloned().collect::<Vec<_>>();
                (comments.join("\n"), pairs.collect())
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn no_text_makes_it_panic_or_touch_anything_else(
            text in "(\\[deployment\\.ron\\]|\\[|\\]|deployment|\\.ron|=|\"|'''|#|\\n|\\r\\n|\u{feff}|é|x = 1|\\{|\\}|,| ){0,24}",
            verb in prop_oneof![
                Just(Verb::Create),
                Just(Verb::Update),
                Just(Verb::Delete),
                Just(Verb::Redeploy),
            ],
        ) {
            let edit = edit(verb, Kind::Deployment, "ron", &[("boot", json!("b"))]);
            let change = apply(&files(&text), &[edit], &Known::default());
            let change = change.ok().and_then(|changes| changes.files.into_iter().next());
            if let Some((before, after)) = change.and_then(|change| Some((change.before?, change.after))) {
                prop_assert!(layout::differing(&before, &after, &[(Kind::Deployment, "ron")]).is_some());
            }
        }

        #[test]
        fn all_else_stays_byte_for_byte(
            resources in proptest::collection::vec(resource(), 1..6),
            pick in any::<prop::sample::Index>(),
            windows in any::<bool>(),
            delete in any::<bool>(),
        ) {
            let end = if windows { "\r\n" } else { "\n" };
            let blocks: Vec<String> = resources.iter().enumerate().map(|(number, (above, pairs))| {
                format!("\n{above}\n\n[profile.p{number}]\n{}\n", pairs.join("\n")).replace('\n', end)
            }).collect();
            let text = blocks.concat();
            let number = pick.index(blocks.len());
            let name = format!("p{number}");
            let edit = match delete {
                true => edit(Verb::Delete, Kind::Profile, &name, &[]),
                false => edit(Verb::Update, Kind::Profile, &name, &[("disk", json!("/dev/sdz"))]),
            };
            let after = changed(&text, &edit);
            let (head, tail) = (blocks[..number].concat(), blocks[number + 1..].concat());
            prop_assert!(after.starts_with(head.trim_end()), "{after}");
            prop_assert!(after.ends_with(tail.trim_start()), "{after}");
            prop_assert_eq!(after.contains(&format!("[{}.{}]", "profile", name)), !delete);
            if !delete {
                let block = after.strip_prefix(&head).and_then(|rest| rest.strip_suffix(&tail)).unwrap();
                let (old, new) = differences(&blocks[number], block);
                prop_assert!(old.is_empty() && new.len() == 1, "{:?} {:?}", old, new);
            }
        }
    }
}
