//! Files made to break the reader end in problems, never in a panic or a full stack.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use voldemort::desired::{self, Media, Options};
use voldemort::manifest::{self, Code, Problem, report};
use voldemort::media::Shelf;

fn problems(text: impl Into<Bytes>) -> Vec<Problem> {
    let files = BTreeMap::from([(Arc::from("a.toml"), text.into())]);
    let (documents, mut problems) = manifest::parse(&files);
    let shelf = Shelf::new(Vec::new(), None);
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    problems.extend(desired::resolve(&documents, &shelf, &options).1);
    for problem in &problems {
        let full = report::full(problem, &documents.sources, false);
        let concise = report::concise(problem, &documents.sources);
        assert!(!concise.contains(char::is_control), "{concise:?}");
        assert!(!full.contains(|c: char| c.is_control() && c != '\n'), "{full:?}");
        assert!(full.len() < 20_000, "{} bytes", full.len());
        let problems = std::slice::from_ref(problem);
        report::json(&report::Report {
            problems,
            sources: &documents.sources,
            roots: &report::Roots::default(),
        });
    }
    problems
}

#[test]
fn nesting_ends_in_an_error() {
    let deep = 100_000;
    let texts = [
        format!("x = {}{}", "[".repeat(deep), "]".repeat(deep)),
        format!("x = {}", "[".repeat(deep)),
        format!("x = {}1{}", "{a=".repeat(deep), "}".repeat(deep)),
        format!("{} = 1", vec!["a"; deep].join(".")),
        format!("[{}]", vec!["a"; deep].join(".")),
        format!("[[{}]]", vec!["\"a\""; deep].join(" . ")),
        format!("x = [{}]", vec!["{a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a=["; 40].join("")),
    ];
    for text in texts {
        let found = problems(text.clone());
        assert!(found.iter().any(|problem| problem.code == Code::Bounds), "{}", &text[..20]);
    }
}

#[test]
fn wide_files_end_soon() {
    let many = |line: &str| line.repeat(20_000);
    assert!(!problems("[".repeat(100_000)).is_empty());
    assert!(!problems("]}".repeat(100_000)).is_empty());
    assert_eq!(problems(many("x y z\n")).len(), 20);
    assert_eq!(problems(many("a = \"\n")).len(), 20);
    assert_eq!(problems(many("[deployment.a]\n")).len(), 20);
    assert!(problems(vec![b'\n'; voldemort::model::MANIFEST_MAX_BYTES]).is_empty());
    assert_eq!(problems(vec![b'\n'; voldemort::model::MANIFEST_MAX_BYTES + 1])[0].code, Code::Bounds);
    assert_eq!(problems(vec![0xff; 100])[0].code, Code::Encoding);
}

#[test]
fn long_chains_of_profiles_end() {
    let link = |n: usize| format!("[profile.p{n}]\nextends = [\"p{}\"]\n", n + 1);
    let chain: String = (0..5000).map(link).collect();
    assert!(problems(chain).iter().any(|problem| problem.code == Code::Bounds));
    let round: String = (0..20)
        .map(|n| format!("[profile.p{n}]\nextends = [\"p{}\", \"p{}\"]\n", (n + 1) % 20, (n + 7) % 20))
        .collect();
    assert!(problems(round).iter().all(|problem| problem.code == Code::Cycle));
}

/// Pieces that manifests and mistakes are made of.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "[",
        "]",
        "{",
        "}",
        "=",
        ",",
        ".",
        "\n",
        "\r\n",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "#",
        " ",
        "\\",
        "\t",
        "\u{0}",
        "\u{feff}",
        "\u{a0}",
        "\u{2028}",
        "#",
        "\u{301}",
        "é",
        "deployment",
        "machine",
        "profile",
        "template",
        "subnet",
        "boot",
        "pool",
        "web-1",
        "mac",
        "vars",
        "extends",
        "select",
        "labels",
        "address",
        "\"52:54:00:aa:00:01\"",
        "\"10.0.0.1\"",
        "52:54:00:aa:00:01",
        "1979-05-27",
        "true",
        "1.5",
        "0x1f",
        "99999999999999999999",
        "[deployment.web-1]\n",
        "[subnet.lab]\ncidr = \"10.0.0.0/24\"\n",
        "[profile.a]\nextends = [\"a\"]\n",
        "profile = \"a\"\n",
        "subnet = \"lab\"\n",
        "{ secret = \"x\" }",
        "\\u001b",
        "x-y",
        "[[a]]\n",
    ];
    prop_oneof![8 => proptest::sample::select(words.to_vec()).prop_map(String::from), 1 => ".{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_panics(pieces in proptest::collection::vec(piece(), 0..40)) {
        problems(pieces.concat());
    }
}
