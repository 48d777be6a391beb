//! Plans as people see them: `voldemort plan --against`, from one commit to a working tree.

use std::fs;
use std::path::Path;

use git2::{Repository, Signature, Time};
use voldemort::secret::{Key, Recipients, seal};

use crate::golden::{assert_golden, cases};
use crate::program::{Ran, voldemort};

/// A repository whose work tree holds `after` and whose only commit holds `before`, with fixed
/// dates so that the commit's name stays the same.
fn repository(folder: &Path, before: &Path, after: &Path) {
    let repository = Repository::init(folder).unwrap();
    copy(before, folder);
    let mut index = repository.index().unwrap();
    index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let author = Signature::new("a", "a@example.org", &Time::new(1_700_000_000, 0)).unwrap();
    repository.commit(Some("HEAD"), &author, &author, "before", &tree, &[]).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with(".git") {
            continue;
        }
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    copy(after, folder);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn plan(folder: &Path, arguments: &[&str]) -> Ran {
    voldemort(folder, &[&["plan", "."], arguments].concat())
}

#[test]
fn golden_plans() {
    for case in cases("plan") {
        let folder = tempfile::tempdir().unwrap();
        repository(folder.path(), &case.join("before"), &case.join("after"));
        for (file, output) in [("plan.txt", "text"), ("plan.json", "json"), ("plan.md", "markdown")] {
            let ran = plan(folder.path(), &["--against", "HEAD", "-o", output, "--detailed-exitcode"]);
            assert_eq!(ran.code, 2, "{}: {}", case.display(), ran.err);
            assert!(!ran.out.contains("-----BEGIN AGE"), "{}", ran.out);
            assert_golden(&case.join(file), &ran.out);
        }
        let held = plan(folder.path(), &["--against", "HEAD"]).err;
        assert_golden(&case.join("held.txt"), &held);
    }
}

#[test]
fn a_plan_of_nothing_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan/many/after");
    repository(folder.path(), &tree, &tree);
    let ran = plan(folder.path(), &["--against", "HEAD", "--detailed-exitcode"]);
    assert_eq!((ran.code, ran.out.lines().count(), ran.err.as_str()), (0, 1, ""), "{}", ran.out);
    assert!(ran.out.starts_with("No changes"), "{}", ran.out);
    let everything = plan(folder.path(), &["--against", "empty", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&everything.out).unwrap();
    let creates = json["changes"].as_array().unwrap().iter().all(|change| change["action"] == "create");
    assert!(creates && json["from"] == "" && json["holds"].as_array().unwrap().is_empty());
    let unknown = plan(folder.path(), &["--against", "no-such-branch"]);
    assert!(unknown.code == 1 && unknown.err.contains("no-such-branch"), "{}", unknown.err);
}

#[test]
fn part_of_a_revision_is_compared_with_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan/many");
    repository(folder.path(), &case.join("before"), &case.join("after"));
    let changed = |more: &[&str]| {
        let ran = plan(folder.path(), &[&["--against", "HEAD", "-o", "json"], more].concat());
        let json: serde_json::Value =
            serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
        let rows = json["changes"].as_array().unwrap().iter().filter(|row| row["kind"] == "deployment");
        rows.map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = changed(&[]);
    let one = all.last().unwrap().clone();
    assert!(all.len() > 2, "{all:?}");
    // A secret that others name has changed: that can't be left out.
    assert!(changed(&["--target", &one]).len() > 1);
    let secret = "secrets/root-password.age";
    std::fs::copy(case.join("before").join(secret), folder.path().join(secret)).unwrap();
    assert_eq!(changed(&["--target", &one]), std::slice::from_ref(&one));
    assert!(!changed(&["--exclude", &one]).contains(&one));
    let unknown = plan(folder.path(), &["--against", "HEAD", "--target", "nobody"]);
    assert!(
        unknown.code == 1 && unknown.err.contains("no deployment or machine is called nobody"),
        "{}",
        unknown.err
    );
}

const BOOT: &str = "[boot.b]\nkernel = \"k\"\ninitrd = [\"i\"]\n";

/// Files of a boot belong to the revision, too.
#[test]
fn kernels_and_initrds_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a.toml"), BOOT).unwrap();
    fs::write(tree.join("k"), vec![1; 3 << 20]).unwrap();
    fs::write(tree.join("i"), "small").unwrap();
    let work = folder.path().join("work");
    repository(&work, &tree, &tree);
    let same = plan(&work, &["--against", "HEAD"]);
    assert!(same.out.starts_with("No changes"), "{}", same.out);
    for (file, bytes) in [("i", b"other".to_vec()), ("k", vec![2; 3 << 20])] {
        fs::write(work.join(file), bytes).unwrap();
        let others = format!("the files themselves are others: {file}\n");
        let ran = plan(&work, &["--against", "HEAD", "--detailed-exitcode"]);
        assert_eq!(ran.code, 2, "{file}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains("boot b") && ran.out.contains(&others), "{}", ran.out);
        // Whatever else differs.
        fs::write(work.join("a.toml"), BOOT.to_owned() + "cmdline = [\"quiet\"]\n").unwrap();
        let both = plan(&work, &["--against", "HEAD"]).out;
        assert!(both.contains("cmdline:  -> quiet\n") && both.contains(&others), "{both}");
        fs::write(work.join("a.toml"), BOOT).unwrap();
        fs::copy(tree.join(file), work.join(file)).unwrap();
    }
    fs::rename(work.join("k"), work.join("k2")).unwrap();
    fs::write(work.join("a.toml"), "[boot.b]\nkernel = \"k2\"\ninitrd = [\"i\"]\n").unwrap();
    let moved = plan(&work, &["--against", "HEAD"]);
    assert!(moved.out.contains("kernel: k -> k2"), "{}{}", moved.out, moved.err);
}

/// Settings, the agent's boots and the passwords of controllers change what the daemon does as well.
#[test]
fn a_change_that_no_machine_is_served_is_a_row_too() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, work) = (folder.path().join("tree"), folder.path().join("work"));
    fs::create_dir_all(tree.join("secrets")).unwrap();
    let keys = Recipients::parse(&Key::generate().public()).0;
    for name in ["bmc", "other"] {
        fs::write(tree.join(format!("secrets/{name}.age")), seal(&keys, "ops:a").unwrap()).unwrap();
    }
    fs::write(tree.join("a.toml"), SITE).unwrap();
    let agent = "format = 1\n[agent]\nboot = { x86_64 = \"b\" }\n";
    fs::write(tree.join("voldemort.toml"), agent).unwrap();
    repository(&work, &tree, &tree);
    let first = plan(&work, &["--against", "empty"]).out;
    assert!(first.contains("subnet lab") && !first.contains("settings"), "{first}");
    let changed = |file: &str, bytes: &[u8], rows: &[&str]| {
        fs::write(work.join(file), bytes).unwrap();
        let ran = plan(&work, &["--against", "HEAD", "--detailed-exitcode"]);
        assert_eq!(ran.code, 2, "{file}: {}{}", ran.out, ran.err);
        let changes = ran.out.lines().filter(|line| line.starts_with("  ~ ")).count();
        let details = ran.out.lines().filter(|line| rows.contains(&line.trim())).count();
        assert_eq!((changes, details), (rows.len() / 2, rows.len()), "{}", ran.out);
        let markdown = plan(&work, &["--against", "HEAD", "-o", "markdown"]).out;
        assert!(
            markdown.contains("no machine is restarted") && !markdown.contains("No changes"),
            "{markdown}"
        );
        fs::copy(tree.join(file), work.join(file)).unwrap();
    };
    let safety = |line: &str| format!("{agent}[safety]\n{line}\n").into_bytes();
    let row = "~ settings safety  (voldemort.toml:1:1)";
    for (line, detail) in [
        ("max-in-flight = 4", "max-in-flight: any number -> 4"),
        ("max-remove = '90%'", "max-remove: 30% -> 90%"),
        ("max-wipes = '9/h'", "max-wipes: 4/h -> 9/h"),
        ("on-release = 'wipe'", "on-release: keep -> wipe"),
        ("asker = 'token'", "asker: machine -> token"),
        ("windows = ['Sat 22:00-23:00']", "windows: at any time -> Sat 22:00-23:00"),
    ] {
        changed("voldemort.toml", &safety(line), &[row, detail]);
    }
    let other = agent.replace("\"b\"", "\"c\"");
    let row = "~ settings agent  (voldemort.toml:1:1)";
    changed("voldemort.toml", other.as_bytes(), &[row, "x86_64: b -> c"]);
    let detail = "power: secret bmc has another ciphertext";
    let rows = ["~ machine m1  (a.toml:10:10)", detail, "~ subnet lab  (a.toml:7:9)", detail];
    changed("secrets/bmc.age", &seal(&keys, "ops:b").unwrap(), &rows);
    let other = SITE.replacen("bmc", "other", 1);
    let rows = ["~ subnet lab  (a.toml:7:9)", "power: ipmi (secret bmc) -> ipmi (secret other)"];
    changed("a.toml", other.as_bytes(), &rows);
}

const SITE: &str = r#"
[boot.b]
kernel = "k"
[boot.c]
kernel = "k"

[subnet.lab]
cidr  = "10.0.10.0/24"
power = { kind = "ipmi", credentials = { secret = "bmc" } }
[machine.m1]
mac   = ["52:54:00:00:00:01"]
power = { kind = "redfish", url = "https://10.0.99.1", credentials = { secret = "bmc" } }
[machine.m2]
mac   = ["52:54:00:00:00:02"]
"#;

#[test]
fn what_can_not_be_compared_is_never_taken_for_empty() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan/many/after");
    let (work, bare) = (folder.path().join("work"), folder.path().join("bare"));
    repository(&work, &tree, &tree);
    git2::build::RepoBuilder::new().bare(true).clone(work.to_str().unwrap(), &bare).unwrap();
    let ran = plan(&bare, &["--against", "HEAD"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(ran.err.contains("without a work tree"), "{}", ran.err);

    // As the runners of CI clone it.
    let commit = Repository::open(&work).unwrap().head().unwrap().target().unwrap();
    fs::write(work.join(".git/shallow"), format!("{commit}\n")).unwrap();
    let ran = plan(&work, &["--against", "HEAD~1"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("git fetch --unshallow"), "{}", ran.err);
}

#[test]
fn json_has_exactly_the_keys_of_its_schema() {
    let schema = voldemort::plan::schema::schema();
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan/many/plan.json");
    let plan: serde_json::Value = serde_json::from_str(&fs::read_to_string(case).unwrap()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut wanted = keys(&schema["properties"]);
    let mut found = keys(&plan);
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
    let mut wanted = keys(&schema["$defs"]["Change"]["properties"]);
    let mut found = keys(&plan["changes"][0]);
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}
