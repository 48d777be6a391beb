//! Manifests, to documents, problems, reports and repairs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::{Media, Options};
use voldemort::inventory::{Depth, survey};
use voldemort::manifest::fix::{Files, Verdict, mend};
use voldemort::manifest::{Level, is_manifest, report};
use voldemort::media::Shelf;

use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "manifest",
    pace: 100,
    seeds,
    run,
    words: &[
        "[deployment.web-1]\n",
        "[profile.base]\n",
        "[machine.m]\n",
        "[template.t.vars]\n",
        "[pool.ci]\n",
        "extends = [\"base\"]\n",
        "address = \"auto\"\n",
        "mac = \"52:54:00:aa:00:01\"\n",
        "{ secret = \"x\" }",
        "redeploy = 2\n",
        "\"\"\"",
        "'''",
        "\u{feff}",
        "\u{2028}",
        "\\u001b",
        "[[",
        "]]",
        "\n#= environments/prod/a.toml\n",
        "{{ answers_url }}",
    ],
};

/// A line that begins a file and names it.
const FILE: &str = "#= ";
/// Inputs longer than this find nothing that shorter ones don't.
const LONGEST: usize = 4 << 10;
/// Problems of one input that are written out: more find nothing new.
const REPORTED: usize = 8;
const OPTIONS: Options = Options { media: Media::IfPresent, fallback: Vec::new() };

fn seeds() -> Vec<Vec<u8>> {
    let root = super::root();
    let golden = ["check", "fix"].map(|area| root.join("tests/golden").join(area));
    let cases = golden.iter().flat_map(|area| std::fs::read_dir(area).unwrap());
    let mut folders: Vec<_> = cases.map(|case| case.unwrap().path().join("inventory")).collect();
    folders.extend([root.join("examples/inventory"), root.join("tests/golden/inventory/tree")]);
    folders.sort();
    let seeds = folders.iter().map(|folder| written(folder)).filter(|seed| seed.len() <= LONGEST);
    seeds.filter(|seed| !seed.is_empty()).collect()
}

fn written(folder: &Path) -> Vec<u8> {
    let texts = seed::files(folder).into_iter().filter_map(|(path, bytes)| {
        let path = path.to_str()?.to_owned();
        is_manifest(&path).then(|| [FILE.as_bytes(), path.as_bytes(), b"\n", &bytes].concat())
    });
    texts.collect::<Vec<_>>().concat()
}

fn files(bytes: &[u8]) -> Files {
    let mut files = BTreeMap::from([(Arc::from("a.toml"), Vec::new())]);
    let mut name: Arc<str> = "a.toml".into();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let named = line.strip_prefix(FILE.as_bytes()).and_then(|name| std::str::from_utf8(name).ok());
        match named.map(str::trim).filter(|name| is_manifest(name) && files.len() < 8) {
            Some(next) => name = next.into(),
            None => files.entry(name.clone()).or_default().extend(line),
        }
    }
    files.into_iter().map(|(name, text)| (name, Bytes::from(text))).collect()
}

fn check(files: &Files) -> Verdict {
    let checked = survey("test".into(), files, &Shelf::new(Vec::new(), None), &OPTIONS, Depth::OneFirmware);
    ((*checked.documents).clone(), checked.problems)
}

fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let files = files(bytes);
    let before = check(&files);
    reported(&before);
    if before.1.iter().all(|problem| problem.fix.is_empty()) {
        return;
    }
    let mended = mend(files.clone(), check);
    assert_eq!(mended.fixed.is_empty(), mended.files == files, "what is said is what was done");
    if mended.fixed.is_empty() {
        return;
    }
    let after = check(&mended.files);
    let unparsed = |(documents, _): &Verdict| -> BTreeSet<Arc<str>> {
        documents.unparsed.iter().map(|file| documents.sources.get(*file).path.shown().clone()).collect()
    };
    assert!(unparsed(&after).is_subset(&unparsed(&before)), "a file that could be read can't be any more");
    let errors = |verdict: &Verdict| verdict.1.iter().filter(|one| one.level == Level::Error).count();
    assert!(errors(&before) > 0 || errors(&after) == 0, "what was right is wrong now");
    assert!(mend(mended.files, check).fixed.is_empty(), "mending comes to an end");
}

/// Every problem can be printed, whatever is in the file.
fn reported((documents, problems): &Verdict) {
    let sources = &documents.sources;
    for problem in problems.iter().take(REPORTED) {
        let full = report::full(problem, sources, false);
        assert!(!full.contains(|c: char| c.is_control() && c != '\n'), "{full:?}");
        assert!(full.len() < 20_000, "{} bytes", full.len());
        let concise = report::concise(problem, sources);
        assert!(!concise.contains(char::is_control), "{concise:?}");
    }
    let problems = &problems[..problems.len().min(REPORTED)];
    let whole = report::Report { problems, sources, roots: &report::Roots::default() };
    let json = report::json(&whole);
    serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
}
