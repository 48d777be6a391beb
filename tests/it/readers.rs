//! The findings of `check` about answer files, compared with the programs that read them: Debian's
//! `debconf-set-selections`, pykickstart, cloud-init and libxml2. An error here must be one there, and the
//! other way round. The texts are those of the tests, and many random changes of them; `ANSWER_FILES` names
//! a folder of more, as `FOLDER/KIND/FILE`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use voldemort::render::Kind;
use voldemort::render::Verdict;

use crate::kit::has;

mod bend;
mod debian;

/// Texts of a kind that are tried: first our own, then some that were bent.
fn texts(kind: Kind, bent: usize) -> Vec<String> {
    let examples = [include_str!("answers/valid.txt"), include_str!("answers/wrong.txt")];
    let cases = examples.iter().flat_map(|text| text.split("=== ").skip(1));
    let named = cases.filter_map(|case| case.split_once('\n'));
    let own = named.filter(|(head, _)| head.split(' ').next() == Some(kind.name()));
    let fill =
        |text: &str| text.replace("{{ completed_url }}", "http://10.0.0.1/x").replace("{{ hostname }}", "a");
    let mut texts: Vec<String> = own.map(|(_, text)| fill(text)).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    texts.extend(files(&root.join("tests/it/readers/texts").join(kind.name())));
    // Short ones, for each bent place says more; and what a document says of its elements we skip.
    let fit = |text: &&String| text.len() < 1500 && !text.contains("<!ELEMENT");
    let seeds: Vec<String> = texts.iter().filter(fit).cloned().collect();
    texts.extend(bend::bend(&seeds, bent));
    texts.extend(files(&root.join("tests/golden/render").join(kind.name())));
    texts
}

fn files(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
}

/// What we refuse: the first reason.
fn refusal(kind: Kind, text: &str) -> Option<String> {
    let found = kind.read(text).into_iter().find(|found| found.verdict == Verdict::Refused);
    found.map(|found| found.error.to_string())
}

/// Whether a reader that is missing here may be. In continuous integration none is.
fn missing(program: &str, from: &str) {
    assert!(std::env::var_os("CI").is_none(), "{program} is missing ({from})");
    eprintln!("skipped: {program} is not installed ({from})");
}

/// The texts as files, and those of `ANSWER_FILES` behind them.
fn written(kind: Kind, texts: Vec<String>) -> (tempfile::TempDir, Vec<(PathBuf, String)>) {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (number, text) in texts.into_iter().enumerate() {
        let path = folder.path().join(format!("{number:04}"));
        std::fs::write(&path, &text).unwrap();
        files.push((path, text));
    }
    let more = std::env::var_os("ANSWER_FILES").map(|more| Path::new(&more).join(kind.name()));
    let more = more.and_then(|more| std::fs::read_dir(more).ok()).into_iter().flatten();
    for entry in more {
        let path = entry.unwrap().path();
        // What is not UTF-8 can't be a template.
        if let Ok(text) = std::fs::read_to_string(&path) {
            files.push((path, text));
        }
    }
    (folder, files)
}

/// Fails with every text of which we and the reader say different things. Where the reader knows more
/// of a text than its form, `both` is false: then it may refuse what we let pass.
fn compare(kind: Kind, files: &[(PathBuf, String)], theirs: &[Result<(), String>], both: bool) {
    assert_eq!(files.len(), theirs.len(), "the reader said something of each file");
    let mut odd = String::new();
    for ((path, text), theirs) in files.iter().zip(theirs) {
        let ours = refusal(kind, text);
        if ours.is_some() && theirs.is_ok() || both && ours.is_none() && theirs.is_err() {
            let path = path.display();
            write!(odd, "=== {path}\nours: {ours:?}\ntheirs: {theirs:?}\n{}\n", shown(text)).unwrap();
        }
    }
    let refused = theirs.iter().filter(|theirs| theirs.is_err()).count();
    println!("{kind}: {} files, {refused} of them refused", files.len());
    assert!(odd.is_empty(), "{odd}");
}

fn shown(text: &str) -> &str {
    const LONGEST: usize = 1500;
    &text[..(0..=LONGEST.min(text.len())).rfind(|end| text.is_char_boundary(*end)).unwrap_or(0)]
}

/// Lines `FILE<tab>REASON` of a helper's output, the reason empty where the file is read.
fn said(output: &str, files: &[(PathBuf, String)]) -> Vec<Result<(), String>> {
    let lines = output.lines().filter_map(|line| line.split_once('\t'));
    let said: Vec<(&str, &str)> = lines.collect();
    assert_eq!(said.len(), files.len(), "{output}");
    let verdict = |why: &str| if why.is_empty() { Ok(()) } else { Err(why.to_owned()) };
    said.into_iter().map(|(_, why)| verdict(why)).collect()
}

fn python(program: &str, script: &str, files: &[(PathBuf, String)]) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("-c").arg(script).args(files.iter().map(|(path, _)| path));
    if program.starts_with('/') {
        // Debian's own packages, and no others in front of them.
        command.env_remove("PYTHONPATH");
    }
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => Some(text),
        // The module is missing.
        Some(3) => None,
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn preseed_is_read_as_the_installer_reads_it() {
    let Some(installer) = debian::Installer::unpack() else {
        return missing("the installer", "package debian-installer-12-netboot-amd64, cpio, and root");
    };
    let (_folder, files) = written(Kind::Preseed, texts(Kind::Preseed, 100));
    let theirs = installer.read(&files, false);
    compare(Kind::Preseed, &files, &theirs, true);
    // The same with the installer's database of questions, which takes longer.
    let some: Vec<_> = files.into_iter().step_by(15).collect();
    compare(Kind::Preseed, &some, &installer.read(&some, true), true);
}

#[test]
fn kickstart_is_read_as_pykickstart_reads_it() {
    let (_folder, files) = written(Kind::Kickstart, texts(Kind::Kickstart, 100));
    let Some(output) = python("python3", include_str!("readers/kickstart.py"), &files) else {
        return missing("pykickstart", "tests/run installs it");
    };
    compare(Kind::Kickstart, &files, &said(&output, &files), false);
}

/// What built-in templates make of every variation and of odd deployments, as files.
fn rendered(kind: Kind) -> (tempfile::TempDir, Vec<(PathBuf, String)>) {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/render").join(kind.name());
    let texts = files(&golden).into_iter().chain(crate::render::odd(kind)).enumerate();
    let files = texts.map(|(number, text)| {
        let path = folder.path().join(format!("{number:04}"));
        std::fs::write(&path, &text).unwrap();
        (path, text)
    });
    let files = files.collect();
    (folder, files)
}

/// Fails with everything that a reader minds in what our templates make.
fn none_refused(files: &[(PathBuf, String)], theirs: &[Result<(), String>]) {
    assert_eq!(files.len(), theirs.len(), "the reader said something of each file");
    let refused = files.iter().zip(theirs).filter_map(|((_, text), said)| Some((text, said.as_ref().err()?)));
    let refused: String = refused.map(|(text, why)| format!("=== {why}\n{text}\n")).collect();
    assert!(refused.is_empty(), "{refused}");
}

#[test]
fn every_release_takes_our_kickstart_files() {
    let (_folder, files) = rendered(Kind::Kickstart);
    let Some(output) = python("python3", include_str!("readers/kickstart_releases.py"), &files) else {
        return missing("pykickstart", "tests/run installs it");
    };
    none_refused(&files, &said(&output, &files));
}

#[test]
fn cloud_init_takes_our_configuration_by_its_schema() {
    for kind in [Kind::CloudInit, Kind::Autoinstall] {
        let (_folder, files) = rendered(kind);
        let Some(output) = python("/usr/bin/python3", include_str!("readers/cloud_schema.py"), &files) else {
            return missing("cloud-init", "package cloud-init");
        };
        none_refused(&files, &said(&output, &files));
    }
}

#[test]
fn the_installer_takes_our_preseed_files() {
    let Some(installer) = debian::Installer::unpack() else {
        return missing("the installer", "package debian-installer-12-netboot-amd64, cpio, and root");
    };
    let (_folder, files) = rendered(Kind::Preseed);
    // Two installers share the work: a shell reads each file.
    let (front, back) = files.split_at(files.len() / 2);
    let theirs = std::thread::scope(|scope| {
        let second = scope.spawn(|| debian::Installer::unpack().expect("a second one").read(back, false));
        let mut theirs = installer.read(front, false);
        theirs.extend(second.join().unwrap());
        theirs
    });
    none_refused(&files, &theirs);
}

/// The program of a folder here, built.
fn go_program(name: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/readers").join(name);
    let built = tempfile::tempdir().unwrap();
    let program = built.path().join("reader");
    let ready = has("go") && {
        let mut go = Command::new("go");
        // Without optimisation: Talos's library takes minutes to compile.
        go.args(["build", "-gcflags=all=-N -l", "-o"]).arg(&program).arg(".").current_dir(folder);
        go.status().is_ok_and(|status| status.success())
    };
    ready.then_some((built, program))
}

#[test]
fn ignition_takes_our_configurations() {
    let Some((_built, program)) = go_program("ignition") else {
        return missing("Ignition's parser", "a Go module; tests/run installs go");
    };
    let (_folder, files) = rendered(Kind::Ignition);
    let output = Command::new(&program).args(files.iter().map(|(path, _)| path)).output().unwrap();
    none_refused(&files, &said(&String::from_utf8_lossy(&output.stdout), &files));
}

#[test]
fn our_proxmox_answers_are_toml() {
    let (_folder, files) = rendered(Kind::Proxmox);
    let Some(output) = python("python3", include_str!("readers/answer_toml.py"), &files) else {
        return missing("tomllib", "python3, 3.11 or later");
    };
    none_refused(&files, &said(&output, &files));
}

#[test]
fn talos_takes_our_machine_configurations() {
    let Some((_built, program)) = go_program("talos") else {
        return missing("Talos's library", "a Go module; tests/run installs go");
    };
    let (_folder, files) = rendered(Kind::Talos);
    let output = Command::new(&program).args(files.iter().map(|(path, _)| path)).output().unwrap();
    none_refused(&files, &said(&String::from_utf8_lossy(&output.stdout), &files));
}

#[test]
fn the_shell_of_busybox_takes_our_alpine_scripts() {
    if !has("busybox") {
        return missing("busybox", "package busybox");
    }
    let (_folder, files) = rendered(Kind::Alpine);
    let one = |(path, _): &(PathBuf, String)| {
        let output = Command::new("busybox").args(["ash", "-n"]).arg(path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    };
    let said: Vec<Result<(), String>> = files.iter().map(one).collect();
    none_refused(&files, &said);
}

#[test]
fn libxml2_takes_our_profiles() {
    if !has("xmllint") {
        return missing("xmllint", "package libxml2-utils");
    }
    let (_folder, files) = rendered(Kind::Autoyast);
    none_refused(&files, &xmllint(&files));
}

#[test]
fn cloud_config_is_read_as_cloud_init_reads_it() {
    let (_folder, files) = written(Kind::CloudInit, texts(Kind::CloudInit, 400));
    let script = include_str!("readers/cloud.py");
    let Some(output) = python("/usr/bin/python3", script, &files) else {
        return missing("cloud-init", "package cloud-init");
    };
    compare(Kind::CloudInit, &files, &said(&output, &files), true);
}

#[test]
fn a_schema_check_of_cloud_init_agrees_about_what_is_yaml() {
    if !has("cloud-init") {
        return missing("cloud-init", "package cloud-init");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("user-data");
    for (text, valid) in [
        ("#cloud-config\nhostname: x\nhostname: y\n", true),
        ("#cloud-config\nhostname: x\n---\nhostname: y\n", false),
        ("#cloud-config\nhostname: [x\n", false),
        ("hostname: x\n", false),
    ] {
        std::fs::write(&path, text).unwrap();
        let output = Command::new("cloud-init")
            .args(["schema", "-c"])
            .arg(&path)
            .env_remove("PYTHONPATH")
            .output()
            .unwrap();
        assert_eq!(output.status.success(), valid, "{text}");
        assert_eq!(refusal(Kind::CloudInit, text).is_none(), valid, "{text}");
    }
}

#[test]
fn profiles_are_read_as_libxml2_reads_them() {
    if !has("xmllint") {
        return missing("xmllint", "package libxml2-utils");
    }
    let (_folder, files) = written(Kind::Autoyast, texts(Kind::Autoyast, 400));
    compare(Kind::Autoyast, &files, &xmllint(&files), true);
}

/// What libxml2 says of each file.
fn xmllint(files: &[(PathBuf, String)]) -> Vec<Result<(), String>> {
    let one = |(path, _): &(PathBuf, String)| {
        let output = Command::new("xmllint").args(["--noout", "--nonet"]).arg(path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("?").to_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    };
    files.iter().map(one).collect()
}
