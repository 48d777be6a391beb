//! `examples/ci`: what a runner would execute is executed here, on the example inventory, with the
//! binary that was built. Left out is only how voldemort and the repository get there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use saphyr_parser::{Event, Parser};

/// A YAML document.
#[derive(Clone, Debug)]
enum Yaml {
    Text(String),
    List(Vec<Yaml>),
    Map(BTreeMap<String, Yaml>),
}

impl Yaml {
    fn at(&self, path: &[&str]) -> &Yaml {
        path.iter().fold(self, |yaml, key| match yaml {
            Yaml::Map(map) => map.get(*key).unwrap_or_else(|| panic!("no {key} in {yaml:?}")),
            _ => panic!("{yaml:?} has no {key}"),
        })
    }

    fn list(&self) -> &[Yaml] {
        let Yaml::List(list) = self else { panic!("{self:?} is no list") };
        list
    }

    fn text(&self) -> &str {
        let Yaml::Text(text) = self else { panic!("{self:?} is no text") };
        text
    }
}

fn parse(text: &str) -> Yaml {
    let mut events = Parser::new_from_str(text).map(|event| event.unwrap().0);
    while !matches!(events.next(), Some(Event::DocumentStart(_))) {}
    let first = events.next().unwrap();
    node(first, &mut events)
}

fn node<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Yaml {
    match event {
        Event::Scalar(text, ..) => Yaml::Text(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            loop {
                match events.next().unwrap() {
                    Event::SequenceEnd => return Yaml::List(list),
                    event => list.push(node(event, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut map = BTreeMap::new();
            loop {
                match events.next().unwrap() {
                    Event::MappingEnd => return Yaml::Map(map),
                    key => {
                        let key = node(key, events).text().to_owned();
                        let event = events.next().unwrap();
                        assert!(map.insert(key, node(event, events)).is_none(), "a key twice");
                    }
                }
            }
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci").join(name)
}

fn read(name: &str) -> Yaml {
    parse(&std::fs::read_to_string(example(name)).unwrap())
}

/// A copy of the example inventory below `inventory`; with a mistake if wanted.
fn repository(mistake: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/inventory");
    let copied =
        Command::new("cp").arg("-r").arg(from).arg(folder.path().join("inventory")).status().unwrap();
    assert!(copied.success());
    if mistake {
        std::fs::write(folder.path().join("inventory/bad.toml"), "[deployment.bad]\nprofil = \"web\"\n")
            .unwrap();
    }
    folder
}

/// Runs a command line as a runner does: `voldemort` is in the path.
fn shell(line: &str, folder: &Path, variables: &[(&str, &str)]) -> Output {
    let binary = Path::new(env!("CARGO_BIN_EXE_voldemort")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", line]).current_dir(folder).env("PATH", path).stdin(Stdio::null());
    command.env_remove("VOLDEMORT_OUTPUT_FORMAT").env_remove("INVENTORY");
    command.envs(variables.iter().copied()).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn the_github_workflow_annotates() {
    let workflow = read("github.yml");
    let inventory = workflow.at(&["env", "INVENTORY"]).text();
    let steps = workflow.at(&["jobs", "check", "steps"]).list();
    let runs = steps.iter().filter(|step| matches!(step, Yaml::Map(step) if step.contains_key("run")));
    let (checks, installs): (Vec<_>, Vec<_>) =
        runs.partition(|step| step.at(&["name"]).text() == "Check the inventory");
    assert_eq!((installs.len(), checks.len()), (2, 1));
    // The step that installs is left out when the cache has the commit that it would install.
    let install = installs.last().unwrap();
    let cache =
        steps.iter().find(|step| matches!(step, Yaml::Map(step) if step.contains_key("with"))).unwrap();
    let id = cache.at(&["id"]).text();
    assert_eq!(install.at(&["if"]).text(), format!("steps.{id}.outputs.cache-hit != 'true'"));
    let commit = install.at(&["env", "COMMIT"]).text();
    assert!(cache.at(&["with", "key"]).text().ends_with(commit), "{commit}");
    let line = checks[0].at(&["run"]).text();
    let good = shell(line, repository(false).path(), &[("INVENTORY", inventory)]);
    assert!(good.status.success(), "{good:?}");
    let bad = shell(line, repository(true).path(), &[("INVENTORY", inventory)]);
    assert_eq!(bad.status.code(), Some(1));
    let expected =
        "::error title=V0011 unknown setting,file=inventory/bad.toml,line=2,col=1,endLine=2,endColumn=7::";
    assert!(stdout(&bad).contains(expected), "{}", stdout(&bad));
}

#[test]
fn the_gitlab_job_reports() {
    let job = read("gitlab.yml").at(&["inventory"]).clone();
    let inventory = job.at(&["variables", "INVENTORY"]).text().to_owned();
    for (mistake, code) in [(false, 0), (true, 1)] {
        let folder = repository(mistake);
        let lines: Vec<&str> = job.at(&["script"]).list().iter().map(Yaml::text).collect();
        let output = shell(&lines.join("\n"), folder.path(), &[("INVENTORY", &inventory)]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let report = |kind: &str| {
            let name = job.at(&["artifacts", "reports", kind]).text();
            std::fs::read_to_string(folder.path().join(name)).unwrap()
        };
        let quality: serde_json::Value = serde_json::from_str(&report("codequality")).unwrap();
        let bad = quality.as_array().unwrap().iter().filter(|one| one["severity"] == "major");
        let paths: Vec<&str> = bad.map(|one| one["location"]["path"].as_str().unwrap()).collect();
        assert_eq!(paths, if mistake { vec!["inventory/bad.toml"] } else { vec![] });
        assert_eq!(report("junit").contains("<failure type=\"V0011\""), mistake);
    }
}

#[test]
fn the_hook_checks_what_is_staged() {
    let folder = repository(false);
    let git = |line: &str| {
        let fixed = [("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")];
        let identity = "-c user.name=t -c user.email=t@example.org -c commit.gpgsign=false";
        shell(&format!("git {identity} {line}"), folder.path(), &fixed)
    };
    assert!(git("init -q .").status.success());
    let hook = folder.path().join(".git/hooks/pre-commit");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::copy(example("pre-commit"), &hook).unwrap();
    assert!(git("add .").status.success());
    let good = git("commit -q -m good");
    assert!(good.status.success(), "{good:?}");

    // A mistake that is not staged does not matter; once it is, the commit is refused.
    let bad = folder.path().join("inventory/bad.toml");
    std::fs::write(&bad, "[deployment.bad]\nprofil = \"web\"\n").unwrap();
    assert!(git("commit -q --allow-empty -m unstaged").status.success());
    assert!(git("add .").status.success());
    std::fs::remove_file(&bad).unwrap();
    let refused = git("commit -q -m bad");
    assert_eq!(refused.status.code(), Some(1));
    let said = format!("{}{}", stdout(&refused), String::from_utf8_lossy(&refused.stderr));
    assert!(said.contains("inventory") || said.contains("bad.toml:2:1: error[V0011]"), "{said}");
    assert!(said.contains("V0011"), "{said}");
}
