//! Manual pages: one for each command, and without a warning of those who read them.

use std::path::Path;
use std::process::Command;

use clap::CommandFactory;

fn pages(command: &clap::Command, name: &str, found: &mut Vec<String>) {
    found.push(format!("{name}.1"));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        pages(below, &format!("{name}-{}", below.get_name()), found);
    }
}

/// What a program says about a page.
fn said(program: &str, words: &[&str], page: &Path) -> Option<String> {
    let output = Command::new(program).args(words).arg(page).env("LC_ALL", "C.UTF-8").output();
    let Ok(output) = output else {
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: there is no {program}");
        eprintln!("SKIPPED: `{program}` is not installed");
        return None;
    };
    Some(
        String::from_utf8_lossy(&output.stderr).into_owned()
            + if output.status.success() { "" } else { "failed" },
    )
}

#[test]
fn every_command_has_a_page_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("man/man1");
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_voldemort"))
            .args(["man", made.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run();
    let mut wanted = Vec::new();
    for command in [voldemort::cli::Arguments::command(), voldemort::cli::ctl::Ctl::command()] {
        pages(&command, command.get_name(), &mut wanted);
    }
    wanted.sort();
    let mut found: Vec<String> = std::fs::read_dir(&made)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, wanted);
    let text = std::fs::read_to_string(made.join("voldemortctl-redeploy.1")).unwrap();
    assert!(text.contains("\\-\\-allow\\-reinstalls") && text.contains("voldemort manual"), "{text}");
    run();
    assert_eq!(
        std::fs::read_to_string(made.join("voldemortctl-redeploy.1")).unwrap(),
        text,
        "without a date"
    );
    for name in &found {
        let page = made.join(name);
        for (program, words) in
            [("groff", &["-man", "-Tutf8", "-ww", "-z"][..]), ("mandoc", &["-T", "lint", "-W", "error"])]
        {
            assert_eq!(said(program, words, &page).unwrap_or_default(), "", "{program} about {name}");
        }
    }
}
