//! What `check` passes is adopted by a daemon, and what a daemon refuses is refused by `check`: over the golden
//! inventories and many that were made from a good one by small changes, each before a daemon of its own.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use voldemort::cli::check::{Job, Scope};
use voldemort::desired::{Media, Options};
use voldemort::media::Shelf;
use voldemort::model::SourceCondition;

use crate::golden;
use crate::outside::House;

/// How many inventories are made of the good one.
const MADE: u64 = 100;
/// With everything that it names.
const GOOD: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
dns = ["10.0.10.2"]
[subnet.far]
cidr = "10.0.20.0/24"
[boot.local]
kernel = "files/vmlinuz"
initrd = "files/initrd"
cmdline = ["console=ttyS0", "quiet"]
[boot.plain]
kernel = "files/vmlinuz"
[machine.m1]
mac = ["52:54:00:aa:00:01", "52:54:00:aa:00:02"]
labels = { rack = "1" }
[machine.m2]
mac = "52:54:00:aa:00:03"
labels = { rack = "2" }
[deployment.web-1]
machine = "m1"
subnet = "lab"
boot = "local"
address = "10.0.10.21"
[deployment.web-2]
machine = "m2"
subnet = "far"
boot = "plain"
address = "10.0.20.21"
[deployment.web-3]
mac = "52:54:00:aa:00:04"
subnet = "lab"
boot = "local"
address = "10.0.10.22"
"#;
/// What a daemon without its key can't read.
const WITH_KEYS: &str = "secret";

/// The same seed, the same changes.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % limit.max(1)
    }
}

/// Copies a tree, each manifest with one or two lines gone, twice there, moved, or with another value or digit.
fn copy(from: &Path, to: &Path, dice: &mut Dice, changed: bool) {
    fs::create_dir_all(to).unwrap();
    let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target, dice, changed);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        match String::from_utf8(bytes) {
            Ok(text) if changed && target.extension().is_some_and(|ending| ending == "toml") => {
                fs::write(&target, bent(&text, dice)).unwrap();
            }
            Ok(text) => fs::write(&target, text).unwrap(),
            Err(error) => fs::write(&target, error.into_bytes()).unwrap(),
        }
    }
}

fn bent(text: &str, dice: &mut Dice) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=dice.below(2) {
        if lines.is_empty() {
            break;
        }
        let at = dice.below(lines.len());
        let other = dice.below(lines.len());
        match dice.below(7) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            // The key of one line with the value of another.
            3 => {
                let key = lines[at].split_once('=').map(|(key, _)| key.to_owned());
                let value = lines[other].split_once('=').map(|(_, value)| value.to_owned());
                if let (Some(key), Some(value)) = (key, value) {
                    lines[at] = format!("{key}={value}");
                }
            }
            // Another digit: a name, an address, a card.
            _ => {
                let digit = char::from(b'0' + dice.below(10) as u8);
                let digits: Vec<usize> =
                    lines[at].match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
                if let Some(place) = digits.get(dice.below(digits.len())) {
                    lines[at].replace_range(*place..place + 1, &digit.to_string());
                }
            }
        }
    }
    lines.join("\n") + "\n"
}

/// What `check` has against it as a daemon without an environment reads it.
fn refused(root: &Path, media: &Path) -> Option<String> {
    let shelf = Shelf::new(vec![media.into()], None).with_directory(root.into());
    let options = Options { media: Media::Required, fallback: Vec::new() };
    match (Job { root, scope: Scope::Only(None), library: &shelf, options }).check() {
        Ok(checked) if checked.errors() == 0 => None,
        Ok(checked) => Some(checked.report()),
        Err(why) => Some(why),
    }
}

/// Whether a daemon adopts it, and the text of its condition.
async fn adopted(folder: TempDir) -> (bool, String) {
    let house = House::open(folder).await;
    let status = house.status("judged", |status| status.condition != SourceCondition::Loading).await;
    let adopts = !["Invalid", "Unreachable"].contains(&status.condition.name());
    (adopts, format!("{} {}", status.condition, status.reason))
}

#[tokio::test]
async fn check_and_the_daemon_agree() {
    let good = tempfile::tempdir().unwrap();
    fs::create_dir(good.path().join("files")).unwrap();
    fs::write(good.path().join("a.toml"), GOOD).unwrap();
    ["vmlinuz", "initrd"]
        .iter()
        .for_each(|name| fs::write(good.path().join("files").join(name), name).unwrap());
    let golden =
        golden::cases("check").into_iter().filter(|case| !case.to_string_lossy().contains(WITH_KEYS));
    let golden = golden.map(|case| (case.join("inventory"), 0));
    let made = (0..=MADE).map(|number| (good.path().to_owned(), number));
    let (mut passed, mut failed, mut differ) = (0, 0, Vec::new());
    for (base, number) in golden.chain(made) {
        let folder = tempfile::tempdir().unwrap();
        let (root, media) = (folder.path().join("inventory"), folder.path().join("media"));
        fs::create_dir(&media).unwrap();
        let mut dice = Dice((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        copy(&base, &root, &mut dice, number > 0);
        let problems = refused(&root, &media);
        let (adopts, condition) = adopted(folder).await;
        if problems.is_none() {
            passed += 1
        } else {
            failed += 1
        }
        if adopts == problems.is_some() {
            let problems = problems.unwrap_or_default();
            differ.push(format!("{} {number}: {condition}\ncheck: {problems}", base.display()));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n\n"));
    assert!(passed > 10 && failed > 10, "{passed} passed and {failed} were refused: too few of one kind");
}
