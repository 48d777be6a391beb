//! Reports as a stranger's CI reads them: the program is run, in odd places too.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::program::{Ran, voldemort};

const FORMATS: [&str; 8] = ["full", "concise", "json", "jsonl", "github", "sarif", "junit", "gitlab"];

fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn check(folder: &Path, format: &str) -> Ran {
    voldemort(folder, &["check", "--format", format])
}

/// Whether a report has the form that its readers expect, and how many problems it holds.
fn problems(format: &str, report: &str) -> usize {
    match format {
        "json" => {
            let json: Value = serde_json::from_str(report).unwrap();
            assert_eq!(json["format_version"], 2);
            json["problems"].as_array().unwrap().len()
        }
        "jsonl" => {
            let lines = report.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.inspect(|line| assert_eq!(line["format_version"], 2)).count()
        }
        "github" => {
            let commands = ["::error title=", "::warning title=", "::notice title="];
            report
                .lines()
                .for_each(|line| assert!(commands.iter().any(|one| line.starts_with(one)), "{line}"));
            report.lines().count()
        }
        "sarif" => sarif(&serde_json::from_str(report).unwrap()),
        "junit" => junit(report),
        "gitlab" => serde_json::from_str::<Value>(report).unwrap().as_array().unwrap().len(),
        "concise" => report.lines().count(),
        _ => report.lines().filter(|line| line.contains("[V")).count(),
    }
}

/// What SARIF 2.1.0 requires (sections 3.13, 3.14, 3.18, 3.19, 3.27).
fn sarif(log: &Value) -> usize {
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    let [run] = log["runs"].as_array().unwrap().as_slice() else { panic!("{log}") };
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "voldemort");
    let rules = driver["rules"].as_array().unwrap();
    rules.iter().for_each(|rule| assert!(rule["id"].is_string() && rule["help"]["text"].is_string()));
    let results = run["results"].as_array().unwrap();
    for result in results {
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["artifactLocation"]["uri"].as_str().unwrap().is_ascii());
        for key in ["startLine", "startColumn", "endLine", "endColumn"] {
            assert!(place["region"][key].as_u64() >= Some(1), "{result}");
        }
    }
    results.len()
}

/// Well-formed, with the counts that it says it has: how many test cases fail.
fn junit(report: &str) -> usize {
    let mut open: Vec<&str> = Vec::new();
    let mut seen = [0; 2];
    let body = report.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").unwrap();
    for tag in body.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert!(!text.contains("]]>"));
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
        seen[0] += usize::from(name == "testcase" && !tag.starts_with('/'));
        seen[1] += usize::from(name == "failure" && !tag.starts_with('/'));
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, true) => {}
            (false, false) => open.push(name),
        }
        let known = ["amp;", "lt;", "gt;", "quot;", "apos;"];
        let mut entities = tag.split('&').skip(1).chain(text.split('&').skip(1));
        assert!(entities.all(|rest| known.iter().any(|one| rest.starts_with(one))), "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
    let counts = format!("tests=\"{}\" failures=\"{}\" errors=\"0\"", seen[0], seen[1]);
    assert_eq!(body.matches(&counts).count(), 2, "{counts} in {body}");
    seen[1]
}

#[test]
fn nothing_to_check_is_a_whole_report_without_problems() {
    let empty = tree(&[]);
    let comment = tree(&[("a.toml", b"# nothing yet\n"), ("README", b"\xff\xfe")]);
    for folder in [empty.path(), comment.path()] {
        for format in FORMATS {
            let ran = check(folder, format);
            assert_eq!((ran.code, problems(format, &ran.out)), (0, 0), "{format}: {}{}", ran.out, ran.err);
        }
    }
}

#[test]
fn what_can_not_be_read_is_no_report() {
    let folder = tree(&[("a.toml", b"")]);
    for format in FORMATS {
        let ran = voldemort(folder.path(), &["check", "gone", "--format", format, "--output-file", "report"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{format}");
        assert!(ran.err.contains("gone"), "{}", ran.err);
        assert!(!folder.path().join("report").exists(), "an old report must not look like a new one");
    }
    assert_eq!(voldemort(folder.path(), &["check", "--format", "xml"]).code, 64);
    let broken = voldemort(folder.path(), &["check", "--format", "json", "--output-file", "no/report.json"]);
    assert_eq!((broken.code, broken.out.as_str()), (1, ""));
    assert!(broken.err.contains("no/report.json"), "{}", broken.err);
}

/// A runner that is not root finds a file of another user.
#[test]
fn a_file_that_may_not_be_read_is_named() {
    let folder = tree(&[("a.toml", b""), ("secret.toml", b"")]);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.path().join("secret.toml"), fs::Permissions::from_mode(0o000)).unwrap();
    let program = folder.path().join("voldemort");
    fs::copy(env!("CARGO_BIN_EXE_voldemort"), &program).unwrap();
    let mut command = Command::new(program);
    // SAFETY: geteuid(2) can't fail.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(65534);
    }
    command.args(["check", "--format", "json"]).current_dir(folder.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("secret.toml"), "{err}");
    let out: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(out["error"].as_str().unwrap().contains("secret.toml") && out.get("problems").is_none(), "{out}");
}

#[test]
fn problems_without_a_place_and_with_wild_characters_are_told_by_all() {
    let folder = tree(&[
        ("latin.toml", b"name = \"caf\xe9\"\n"),
        ("environments/-.toml", b""),
        ("a b\x1b[31m&<\"'>%,:.toml", "[deployment.x]\nprofil = \"\u{202e}\\u001b]]>\"\n".as_bytes()),
    ]);
    let wanted = problems("json", &check(folder.path(), "json").out);
    assert!(wanted >= 3);
    for format in FORMATS.into_iter().filter(|format| *format != "junit") {
        let ran = check(folder.path(), format);
        assert_eq!((ran.code, problems(format, &ran.out)), (1, wanted), "{format}: {}", ran.out);
    }
    assert_eq!(problems("junit", &check(folder.path(), "junit").out), 3, "each file fails");
}

#[test]
fn a_report_in_a_file_is_the_one_on_stdout() {
    let folder = tree(&[("a.toml", b"[deployment.x]\nprofil = 1\n")]);
    for format in FORMATS {
        let stdout = check(folder.path(), format);
        let name = format!("report.{format}");
        let ran = voldemort(folder.path(), &["check", "--format", format, "--output-file", &name]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{format}");
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), stdout.out, "{format}");
    }
}

#[test]
fn a_person_is_shown_the_worst_and_a_program_all() {
    let wrong = |number| format!("[deployment.d{number}]\nprofil = \"x\"\n");
    let many: String = (0..20_000).map(wrong).collect();
    let folder = tree(&[("many.toml", many.as_bytes())]);
    let full = check(folder.path(), "full");
    assert_eq!((full.code, problems("full", &full.out)), (1, 100));
    assert!(full.out.len() < 50_000, "{} bytes", full.out.len());
    let count = problems("concise", &check(folder.path(), "concise").out);
    assert!(count >= 20_000);
    let left = format!("{} problems more: `--max-problems all`", count - 100);
    assert!(full.out.lines().last().unwrap().starts_with(&left), "{:?}", full.out.lines().last());
    for format in ["json", "sarif", "gitlab"] {
        assert_eq!(problems(format, &check(folder.path(), format).out), count, "{format}");
    }
    let few = tree(&[(
        "a.toml",
        format!("[profile.p]\nextends = []\nvars = {{ a = \"x\" }}\n{}", wrong(1)).as_bytes(),
    )]);
    let one = voldemort(few.path(), &["check", "--max-problems", "1"]);
    assert!(one.out.starts_with("error"), "{}", one.out);
    let all = voldemort(few.path(), &["check", "--max-problems", "all"]);
    assert!(problems("full", &all.out) > 1 && !all.out.contains("--max-problems"), "{}", all.out);
    assert_eq!(voldemort(few.path(), &["check", "--max-problems", "few"]).code, 64);
}
