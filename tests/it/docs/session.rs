//! The terminal sessions in README.md are real: a block ` ```console ` is run in an empty directory, line by line, and
//! what is printed is what stands there. `UPDATE_GOLDEN=1 cargo test --test it docs` records it anew.

use std::path::Path;
use std::process::Command;

/// Runs a line as a person types it, and gives what the terminal shows.
fn typed(line: &str, directory: &Path) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_voldemort")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {line}")])
        .current_dir(directory)
        .env_clear()
        .envs([("PATH", path.as_str()), ("HOME", "/nonexistent"), ("LC_ALL", "C.UTF-8"), ("COLUMNS", "100")])
        .output()
        .unwrap();
    without_times(&String::from_utf8(output.stdout).unwrap())
}

/// Durations are another at each run.
fn without_times(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match line.rsplit_once(" in ") {
            Some((start, end)) if end.ends_with(" ms") => lines.push(format!("{start} in 9 ms")),
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n")
}

/// Each command of the block with what is printed after it, in a directory with `you.pub`.
fn recorded(block: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl you@desk\n";
    std::fs::write(directory.path().join("you.pub"), key).unwrap();
    let mut shown: Vec<String> = Vec::new();
    for line in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
        shown.push(format!("$ {line}"));
        let printed = typed(line, directory.path());
        if !printed.is_empty() {
            shown.push(printed);
        }
    }
    shown.join("\n") + "\n"
}

#[test]
fn the_sessions_in_the_readme_are_real() {
    let file = super::root().join("README.md");
    let readme = std::fs::read_to_string(&file).unwrap();
    let mut made = String::new();
    let mut rest = readme.as_str();
    let mut sessions = 0;
    while let Some((before, after)) = rest.split_once("```console\n") {
        let (block, behind) = after.split_once("```").unwrap();
        made += &format!("{before}```console\n{}```", recorded(block));
        rest = behind;
        sessions += 1;
    }
    assert!(sessions > 0, "README.md has no session");
    crate::golden::assert_golden(&file, &(made + rest));
}
