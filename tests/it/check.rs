//! `tests/golden/check`: an inventory and what `voldemort check` says of it.

use std::path::Path;
use std::sync::Arc;

use voldemort::cli::check::check;
use voldemort::desired::{Media, Options};
use voldemort::inventory::Loaded;
use voldemort::manifest::{Code, Level, report};
use voldemort::media::{Entry, Index, Library, MediaError, Parts, Shelf};

use crate::golden;

/// Checks the inventory in a directory; a folder `media` in it holds images.
pub(crate) fn checked(root: &Path, media: Media) -> Loaded {
    let shelf = Shelf::new(Vec::new(), None).with_directory(root.into());
    check(root, &shelf, &Options { media, fallback: Vec::new() }).unwrap()
}

/// All problems in full, then on one line each, then what came of it.
fn transcript(checked: &Loaded) -> String {
    let sources = &checked.documents.sources;
    let mut text = String::new();
    for problem in &checked.problems {
        text += &report::full(problem, sources, false);
        text += "\n";
    }
    for problem in &checked.problems {
        text += &report::concise(problem, sources);
        text += "\n";
    }
    let deployments: Vec<&str> = checked.desired.deployments.keys().map(|name| name.as_str()).collect();
    text + &format!("\ndeployments: {}\n", deployments.join(" "))
}

#[test]
fn golden_inventories() {
    for case in golden::cases("check") {
        let checked = checked(&case.join("inventory"), Media::IfPresent);
        golden::assert_golden(&case.join("expected.txt"), &transcript(&checked));
        let ends_in_errors = checked.problems.iter().any(|problem| problem.level == Level::Error);
        let valid = case.file_name().unwrap().to_str().unwrap().starts_with("valid-");
        assert_eq!(ends_in_errors, !valid, "{}", case.display());
    }
}

#[test]
fn ten_mistakes_are_ten_messages() {
    let case = golden::cases("check").into_iter().find(|case| case.ends_with("ten-mistakes")).unwrap();
    let checked = checked(&case.join("inventory"), Media::IfPresent);
    let mut codes: Vec<String> = checked.problems.iter().map(|problem| problem.code.to_string()).collect();
    codes.sort();
    assert_eq!(
        codes,
        ["V0001", "V0011", "V0012", "V0101", "V0201", "V0210", "V0211", "V0220", "V0301", "V0401"]
    );
}

#[test]
fn missing_media_are_errors_when_asked_for() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.toml"), "[boot.a]\nkernel = \"gone\"\n").unwrap();
    let level = |media| checked(root.path(), media).problems[0].level;
    assert_eq!(level(Media::IfPresent), Level::Note);
    assert_eq!(level(Media::Required), Level::Error);
}

#[test]
fn digests_change_with_what_is_served_and_with_nothing_else() {
    let digest = |template: &str, manifest: &str| {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("t.liquid"), template).unwrap();
        std::fs::write(root.path().join("a.toml"), manifest).unwrap();
        let checked = checked(root.path(), Media::IfPresent);
        let deployment = checked.desired.deployments.values().next();
        deployment.unwrap_or_else(|| panic!("{:?}", checked.problems)).digest.clone()
    };
    let manifest = "[boot.b]\nkernel = \"k\"\n[template.t]\nkind = \"plain\"\nfile = \"t.liquid\"\n\
                    [deployment.d]\nboot = \"b\"\ntemplate = \"t\"\nmac = \"52:54:00:aa:00:01\"\naddress = \"10.0.0.2\"\n";
    let first = digest("hello", manifest);
    assert_eq!(first, digest("hello", &manifest.replace("[deployment.d]", "# a comment\n\n[deployment.d]")));
    assert_ne!(first, digest("hello!", manifest));
    for (from, to) in [("00:01", "00:02"), ("0.0.2", "0.0.3"), ("kernel = \"k\"", "kernel = \"l\"")] {
        assert_ne!(first, digest("hello", &manifest.replace(from, to)), "{to}");
    }
    assert_ne!(first, digest("hello", &format!("{manifest}disk = \"/dev/sdb\"\n")));
    assert_ne!(first, digest("hello", &format!("{manifest}redeploy = 1\n")));
}

#[test]
fn the_example_inventory_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/inventory");
    let checked = checked(&root, Media::IfPresent);
    let sources = &checked.documents.sources;
    let bad = checked.problems.iter().filter(|problem| problem.level != Level::Note);
    let bad: Vec<String> = bad.map(|problem| report::concise(problem, sources)).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    let demo = &checked.desired.deployments["demo-1"];
    assert_eq!(demo.address, Some("10.0.10.21".parse().unwrap()));
    assert_eq!((&*demo.boot.prefix, &*demo.boot.kernel.path), ("demo", "boot/vmlinuz"));
    assert_eq!(
        checked.desired.macs[&"52:54:00:de:00:01".parse::<voldemort::model::Mac>().unwrap()].as_str(),
        "demo-1"
    );
}

#[test]
fn the_example_shows_every_kind() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/inventory");
    let documents = checked(&root, Media::IfPresent).documents;
    let counts = [
        documents.subnets.len(),
        documents.boots.len(),
        documents.templates.len(),
        documents.profiles.len(),
        documents.machines.len(),
        documents.deployments.len(),
        documents.pools.len(),
    ];
    assert!(!counts.contains(&0), "{counts:?}");
}

/// Media as they may be: an image whose bytes are others than those asked for.
struct Changed;

impl Library for Changed {
    fn image(&self, file: &str, sha256: Option<&str>) -> Result<Arc<Index>, MediaError> {
        let expected = sha256.unwrap_or_default().to_owned();
        Err(MediaError::Checksum { path: file.into(), expected, found: "cd".repeat(32) })
    }

    fn file(&self, path: &str) -> Result<Entry, MediaError> {
        Err(MediaError::Missing { path: path.into(), beside: Vec::new() })
    }

    fn agent(&self, _: &Parts, _: bool) -> Result<Option<Entry>, MediaError> {
        Ok(None)
    }
}

#[test]
fn another_image_than_the_one_asked_for_is_told_at_its_digest() {
    let root = tempfile::tempdir().unwrap();
    let digest = "ab".repeat(32);
    let text = format!(
        "[boot.a]\niso = {{ file = \"a.iso\", sha256 = \"{digest}\" }}\nkernel = \"k\"\ninitrd = \"i\"\n"
    );
    std::fs::write(root.path().join("a.toml"), text).unwrap();
    let checked =
        check(root.path(), &Changed, &Options { media: Media::IfPresent, fallback: Vec::new() }).unwrap();
    let [problem] = checked.problems.as_slice() else { panic!("{:?}", checked.problems) };
    assert_eq!((problem.code, problem.level), (Code::BadMedia, Level::Error));
    assert_eq!(checked.documents.sources.text_at(problem.mark()), format!("\"{digest}\""));
    assert!(problem.notes[0].ends_with(&"cd".repeat(32)), "{problem:?}");
}

/// What the daemon would refuse is refused before it is committed: an image that is not there, a wrong path in one, a
/// secret that its key does not open.
#[test]
fn an_inventory_is_checked_as_the_daemon_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text = "[boot.b]\nkernel = \"linux\"\niso = { file = \"netinst\" }\n[subnet.lab]\ncidr = \"10.0.10.0/24\"\n\
                [deployment.web]\nmac = \"52:54:00:aa:00:01\"\nboot = \"b\"\naddress = \"10.0.10.21\"\n";
    std::fs::create_dir_all(here.join("inventory")).unwrap();
    std::fs::create_dir_all(here.join("images/netinst")).unwrap();
    std::fs::write(here.join("inventory/a.toml"), text).unwrap();
    let settings = format!(
        "network = {{ interface = 'e', address = '10.0.0.1' }}\n[media]\npaths = ['images', 'gone']\n\
         [state]\ndirectory = '{}'\n",
        here.join("state").display()
    );
    std::fs::write(here.join("voldemort.toml"), settings).unwrap();
    let check = |more: &[&str]| crate::program::voldemort(here, &[&["check", "inventory"], more].concat());
    assert_eq!(check(&[]).code, 0, "without images it can't be known");
    for more in [&["--media", "images"][..], &["--config", "voldemort.toml"]] {
        let ran = check(more);
        assert!(ran.code == 1 && ran.out.contains("linux"), "{more:?}: {}{}", ran.out, ran.err);
    }
    std::fs::write(here.join("images/netinst/linux"), "kernel").unwrap();
    assert_eq!(check(&["--media", "images"]).code, 0);
    let ran = check(&["--config", "voldemort.toml"]);
    assert!(ran.code == 0 && ran.err.contains("gone, which is no folder here"), "{}{}", ran.out, ran.err);
    let ran = check(&["--media", "nowhere"]);
    assert!(ran.code == 1 && ran.err.contains("--media nowhere: there is no such folder"), "{}", ran.err);
    // A secret, with no key and then with another one's.
    let key = voldemort::secret::Key::generate();
    let sealed =
        voldemort::secret::seal(&voldemort::secret::Recipients::parse(&key.public()).0, "hunter2").unwrap();
    std::fs::create_dir(here.join("inventory/secrets")).unwrap();
    std::fs::write(here.join("inventory/secrets/root.age"), sealed).unwrap();
    let more = "[deployment.web.vars]\nroot-hash = { secret = \"root\" }\n";
    std::fs::write(here.join("inventory/a.toml"), text.to_owned() + more).unwrap();
    assert_eq!(check(&["--media", "images"]).code, 0);
    let ran = check(&["--config", "voldemort.toml"]);
    assert!(ran.code == 1 && ran.err.contains("secrets/root.age can't be decrypted: no key"), "{}", ran.err);
    let settings = std::fs::read_to_string(here.join("voldemort.toml")).unwrap();
    std::fs::write(here.join("voldemort.toml"), settings + "[secrets]\nidentity = 'age.key'\n").unwrap();
    std::fs::write(here.join("age.key"), key.file()).unwrap();
    assert_eq!(check(&["--config", "voldemort.toml"]).code, 0);
    std::fs::write(here.join("age.key"), voldemort::secret::Key::generate().file()).unwrap();
    let ran = check(&["--config", "voldemort.toml"]);
    assert!(ran.code == 1 && ran.err.contains("not encrypted to this host's key"), "{}", ran.err);
}
