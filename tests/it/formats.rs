//! Every form of a report: golden files, and what must hold for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use voldemort::cli::check::{Format, render};
use voldemort::desired::Media;
use voldemort::manifest::Position;
use voldemort::manifest::report::Roots;

use crate::check::checked;
use crate::golden;

const FORMATS: [(&str, Format); 6] = [
    ("json", Format::Json),
    ("jsonl", Format::Jsonl),
    ("github", Format::Github),
    ("sarif", Format::Sarif),
    ("junit", Format::Junit),
    ("gitlab", Format::Gitlab),
];

/// The cases whose forms are kept: ordinary mistakes, broken files, wild characters, and none at all.
const KEPT: [&str; 4] = ["ten-mistakes", "toml-classics", "wild-characters", "valid-odd"];

fn text(case: &Path, format: Format) -> String {
    render(format, &checked(&case.join("inventory"), Media::IfPresent), &Roots::of("site/inventory"), false)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => copy(&path, &to.join(entry.file_name())),
            path => std::fs::write(to.join(entry.file_name()), std::fs::read(path).unwrap()).unwrap(),
        }
    }
}

#[test]
fn golden_forms() {
    let cases = golden::cases("check");
    for name in KEPT {
        let case = cases.iter().find(|case| case.ends_with(name)).unwrap();
        for (extension, format) in FORMATS {
            let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
            let text = text(case, format).replace(&version, "\"version\": \"VERSION\"");
            golden::assert_golden(&case.join(format!("expected.{extension}")), &text);
        }
    }
}

#[test]
fn no_form_lets_control_characters_through() {
    let all = FORMATS.map(|(_, format)| format).into_iter().chain([Format::Full, Format::Concise]);
    let formats: Vec<Format> = all.collect();
    for case in golden::cases("check") {
        for format in &formats {
            let text = text(&case, *format);
            let wild = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
            assert_eq!(text.chars().find(wild), None, "{format:?} of {}", case.display());
        }
    }
}

#[test]
fn json_places_agree_with_the_files() {
    for case in golden::cases("check") {
        let checked = checked(&case.join("inventory"), Media::IfPresent);
        let json: Value =
            serde_json::from_str(&render(Format::Json, &checked, &Roots::default(), false)).unwrap();
        assert_eq!(json["format_version"], 2);
        let problems = json["problems"].as_array().unwrap();
        assert_eq!(problems.len(), checked.problems.len());
        assert_eq!(json["summary"]["errors"], checked.errors());
        let edits =
            problems.iter().flat_map(|problem| problem["fix"]["edits"].as_array().into_iter().flatten());
        let related = problems.iter().flat_map(|problem| problem["related"].as_array().unwrap());
        for place in problems.iter().chain(related).chain(edits) {
            let sources = &checked.documents.sources;
            let source = sources.get(sources.find(place["file"].as_str().unwrap()).unwrap());
            for end in ["start", "end"] {
                let end = &place["range"][end];
                let position = source.position(end["offset"].as_u64().unwrap() as usize);
                let Position { line, column } = position;
                assert_eq!(
                    (end["line"].as_u64(), end["column"].as_u64()),
                    (Some(line.into()), Some(column.into()))
                );
            }
        }
        let lines = render(Format::Jsonl, &checked, &Roots::default(), false);
        for (line, problem) in lines.lines().zip(problems) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["message"], &line["range"]), (&problem["message"], &problem["range"]));
        }
    }
}

/// Fingerprints by what they are for.
fn fingerprints(root: &Path) -> BTreeMap<String, String> {
    let checked = checked(root, Media::IfPresent);
    let report: Value =
        serde_json::from_str(&render(Format::Gitlab, &checked, &Roots::default(), false)).unwrap();
    let report = report.as_array().unwrap();
    let one = |problem: &Value| {
        let what = problem["description"].as_str().unwrap().lines().next().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&problem["fingerprint"]), format!("{} {what}", problem["check_name"]))
    };
    let found: BTreeMap<String, String> = report.iter().map(one).collect();
    assert_eq!(found.len(), report.len(), "no fingerprint is given twice");
    found
}

#[test]
fn fingerprints_survive_moved_lines() {
    for name in ["ten-mistakes", "names", "addresses", "shapes"] {
        let case = golden::cases("check").into_iter().find(|case| case.ends_with(name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        copy(&case.join("inventory"), folder.path());
        let before = fingerprints(folder.path());
        let mut manifests: Vec<PathBuf> = Vec::new();
        let mut folders = vec![folder.path().to_owned()];
        while let Some(next) = folders.pop() {
            for path in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.extension().is_some_and(|end| end == "toml") => manifests.push(path),
                    false => {}
                }
            }
        }
        for path in manifests {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("# moved\n\n# down\n{text}")).unwrap();
        }
        let after = fingerprints(folder.path());
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>(),
            "{name}: {before:#?}"
        );
    }
}

#[test]
fn sarif_points_at_its_rules() {
    for case in golden::cases("check") {
        let sarif: Value = serde_json::from_str(&text(&case, Format::Sarif)).unwrap();
        assert_eq!(sarif["version"], "2.1.0");
        let run = &sarif["runs"][0];
        for result in run["results"].as_array().unwrap() {
            let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
            assert_eq!(rule["id"], result["ruleId"]);
            assert!(rule["help"]["text"].as_str().unwrap().contains("Wrong:"));
            places(result);
        }
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let ids: BTreeSet<&str> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), rules.len(), "each rule once");
    }
}

/// What the standard asks of places (SARIF 2.1.0, sections 3.28 to 3.30 and 3.55 to 3.57).
fn places(result: &Value) {
    let region = |region: &Value| {
        let number = |key: &str| region[key].as_u64().unwrap_or_else(|| panic!("{key} in {region}"));
        let start = (number("startLine"), number("startColumn"));
        assert!(
            start >= (1, 1) && start.1 >= 1 && start <= (number("endLine"), number("endColumn")),
            "{region}"
        );
    };
    let location = |location: &Value| {
        let place = &location["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.is_ascii() && !uri.contains([' ', '\\', ':']), "{uri}");
        region(&place["region"]);
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    assert!(!result["message"]["text"].as_str().unwrap().is_empty());
    assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
    assert_eq!(list(&result["locations"]).len(), 1);
    list(&result["locations"]).iter().chain(&list(&result["relatedLocations"])).for_each(location);
    for fix in list(&result["fixes"]) {
        assert!(!fix["description"]["text"].as_str().unwrap().is_empty());
        for change in list(&fix["artifactChanges"]) {
            assert!(
                change["artifactLocation"]["uri"].is_string() && !list(&change["replacements"]).is_empty()
            );
            list(&change["replacements"]).iter().for_each(|one| region(&one["deletedRegion"]));
        }
    }
    for print in result["partialFingerprints"].as_object().unwrap().values() {
        assert!(print.is_string());
    }
}

/// What GitLab reads (Code Quality report format), and what readers of JUnit's XML lean on.
#[test]
fn other_services_find_what_they_read() {
    for case in golden::cases("check") {
        let report: Value = serde_json::from_str(&text(&case, Format::Gitlab)).unwrap();
        let mut prints = BTreeSet::new();
        for one in report.as_array().unwrap() {
            assert!(prints.insert(one["fingerprint"].as_str().unwrap().to_owned()), "{one}");
            assert!(
                ["info", "minor", "major", "critical", "blocker"]
                    .contains(&one["severity"].as_str().unwrap())
            );
            assert!(one["description"].is_string() && one["check_name"].is_string());
            let path = one["location"]["path"].as_str().unwrap();
            assert!(!path.starts_with("./") && !path.starts_with('/'), "{path}");
            assert!(one["location"]["lines"]["begin"].as_u64() >= Some(1));
        }
        let junit = text(&case, Format::Junit);
        let count = |what: &str| junit.matches(what).count();
        assert!(junit.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites "));
        assert!(junit.contains(&format!(
            "tests=\"{}\" failures=\"{}\"",
            count("<testcase "),
            count("<failure ")
        )));
        assert_eq!(count("<testcase "), count(" classname="), "each has what GitLab and Jenkins ask for");
    }
}
