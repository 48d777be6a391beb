//! `voldemort import`: configurations of other DHCP servers become manifests that pass the check.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::golden::{assert_golden, cases};

fn voldemort(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_voldemort"));
    command.args(words).current_dir(folder).env_remove("VOLDEMORT_OUTPUT_FORMAT").stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What is wrong with an inventory of these manifests.
fn problems(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let checked = voldemort(folder.path(), &["check", "--format", "concise"]);
    text(&checked.stdout)
}

const PROFILE: &str = "[boot.b]\nkernel = \"k\"\n[profile.base]\nboot = \"b\"\n";

#[test]
fn what_is_read_is_written_as_manifests_that_pass() {
    for case in cases("import") {
        let kind = case.file_name().unwrap().to_str().unwrap().to_owned();
        let folder = case.join("in");
        let main = ["dnsmasq.conf", "dhcpd.conf", "kea-dhcp4.conf"];
        let main = main.into_iter().find(|name| folder.join(name).is_file()).unwrap();
        let plain = voldemort(&folder, &["import", &kind, main]);
        assert!(plain.status.success(), "{kind}: {}", text(&plain.stderr));
        assert_eq!(problems(&[("imported.toml", &text(&plain.stdout))]), "", "{kind}");
        let whole = voldemort(&folder, &["import", &kind, main, "--profile", "base"]);
        assert_golden(&case.join("manifests.toml"), &text(&whole.stdout));
        assert_golden(&case.join("remarks.txt"), &text(&whole.stderr));
        let found = problems(&[("imported.toml", &text(&whole.stdout)), ("base.toml", PROFILE)]);
        let errors: Vec<&str> = found.lines().filter(|line| line.contains("error[")).collect();
        // The kernel of the test's profile is nowhere.
        assert!(errors.iter().all(|line| line.starts_with("base.toml")), "{kind}: {errors:?}");
    }
}

/// As copied from another host, into a folder of its own.
#[test]
fn a_configuration_in_another_folder_finds_its_files_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("old/etc");
    for inner in ["more", "hosts"] {
        std::fs::create_dir_all(etc.join(inner)).unwrap();
    }
    let write = |name: &str, text: &str| std::fs::write(etc.join(name), text).unwrap();
    write("dnsmasq.conf", "conf-dir=more\ndhcp-hostsdir=hosts\nconf-file=one.conf\n");
    write("one.conf", "dhcp-host=52:54:00:aa:00:01,10.0.10.21,web-1\n");
    write("more/a.conf", "dhcp-range=10.0.10.100,10.0.10.199,255.255.255.0,1h\n");
    write("hosts/rack1", "52:54:00:aa:00:02,10.0.10.22,web-2\n");
    let ran = voldemort(folder.path(), &["import", "dnsmasq", "old/etc/dnsmasq.conf"]);
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    assert!(!err.contains("is not read"), "{err}");
    for wanted in ["[subnet.net-10-0-10-0]", "[machine.web-1]", "[machine.web-2]"] {
        assert!(out.contains(wanted), "{wanted}: {out}{err}");
    }
}

#[test]
fn what_can_not_be_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("kea.conf", "{ \"Dhcp4\": { \"subnet4\": [ }\n");
    write("loop.conf", "conf-file=loop.conf\ndhcp-range=10.0.0.9,10.0.0.3,255.255.255.0\n");
    write("empty.conf", "# nothing\n");
    let broken = voldemort(folder.path(), &["import", "kea", "kea.conf"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(text(&broken.stderr).contains("kea.conf:1: nothing is taken over"), "{}", text(&broken.stderr));
    let circle = voldemort(folder.path(), &["import", "dnsmasq", "loop.conf"]);
    let said = text(&circle.stderr);
    assert!(
        said.contains("files within files go 16 deep") && said.contains("ends before it begins"),
        "{said}"
    );
    assert_eq!(voldemort(folder.path(), &["import", "isc", "empty.conf"]).status.code(), Some(1));
    assert_eq!(voldemort(folder.path(), &["import", "isc", "none.conf"]).status.code(), Some(1));
    assert_eq!(voldemort(folder.path(), &["import", "bind", "x"]).status.code(), Some(64));
}

/// The commands of "Bringing an existing fleet in", as they stand there.
#[test]
fn the_page_about_fleets_is_true() {
    let page = include_str!("../../docs/discovery.md");
    let section = page.split("## Bringing an existing fleet in").nth(1).unwrap();
    let script = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source =
        "dhcp-range=10.0.10.100,10.0.10.199,255.255.255.0,1h\ndhcp-host=52:54:00:aa:00:01,10.0.10.21,web-1\n";
    std::fs::write(folder.path().join("dnsmasq.conf"), source).unwrap();
    std::fs::write(folder.path().join("vmlinuz"), "a kernel").unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_voldemort")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(folder.path()).env("PATH", path).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let written = std::fs::read_to_string(folder.path().join("inventory/fleet.toml")).unwrap();
    assert!(written.contains("[deployment.web-1]"), "{written}");
}
