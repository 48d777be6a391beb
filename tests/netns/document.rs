//! A program that knows nothing but `schemas/openapi.json` sends what that allows and what it does not, as each role: no
//! answer is an error of the daemon, and each is as the document says.

use std::process::{Command, Stdio};

use super::callers::{House, err};
use super::net::has;

/// How long each role's requests are sent, in seconds.
const TIME: u32 = 22;
/// What is looked at of each answer.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

#[test]
fn every_answer_is_as_the_document_says_for_each_role() {
    if !has("schemathesis") {
        return;
    }
    let Some(house) = House::behind(&[], "") else { return };
    let file = house.folder.path().join("inventory/lab.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let more = "[profile.base]\nboot = 'local'\n[pool.spare]\nprofile = 'base'\nselect = { rack = 'r1' }\n\
                [machine.ron]\nmac = '00:11:22:33:44:56'\nlabels = { rack = 'r1' }\n";
    std::fs::write(&file, before + more).unwrap();
    let socket = house.socket().display().to_string();
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/openapi.json");
    // The order in which less and less is allowed: what an admin changes is there for the others to read.
    for role in ["admin", "editor", "claimer", "viewer"] {
        let words = ["--server", &socket, "token", "create", &format!("its-{role}"), "--role", role];
        let output = house.ctl_as(&["--reuid", "0"], &words);
        assert!(output.status.success(), "{}", err(&output));
        let token = format!("Authorization: Bearer {}", String::from_utf8_lossy(&output.stdout).trim());
        let time = TIME.to_string();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &house.net.server, "schemathesis", "run", document]);
        command.args(["--url", "http://127.0.0.1:12345", "--header", &token, "--checks", CHECKS]);
        command.args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-time",
            &time,
            "--no-shrink",
            "--seed",
            "1",
        ]);
        // They wait for what happens, for as long as the request wants.
        command.args(["--exclude-path", "/v1/events", "--exclude-path", "/v1/logs", "--warnings", "off"]);
        let ran = command.current_dir(house.folder.path()).stdin(Stdio::null()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), err(&ran));
        let seen = said.contains("Test cases:") && said.contains(" passed");
        assert!(ran.status.success() && seen, "as {role}:\n{said}");
    }
    assert_eq!(house.daemon.stop(), Some(0));
}
