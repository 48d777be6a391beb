//! The group whose members may use the API's socket, and what the daemon's files let others do, whatever the umask.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use super::callers::{House, err};
use super::daemon::{Daemon, VOLDEMORT, VOLDEMORTCTL, detect};
use super::net::{Net, has};

/// A group that no host has.
pub(super) const GROUP: &str = "48151";
const OTHER: &str = "48152";

/// A daemon on a host with the group: the mount is seen by it alone.
pub(super) fn with_group(settings: &str) -> Option<(tempfile::TempDir, House)> {
    if !has("setpriv") || !has("mount") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("group");
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let others = groups.lines().filter(|line| !line.starts_with("voldemort:"));
    let lines: Vec<String> = others.map(str::to_owned).chain([format!("voldemort:x:{GROUP}:")]).collect();
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let mount = "mount --bind \"$0\" /etc/group && exec \"$@\"";
    let house = House::behind(&["sh", "-c", mount, file.to_str().unwrap()], settings)?;
    Some((folder, house))
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn members_of_the_group_are_editors_and_no_more() {
    let Some((_folder, house)) = with_group("") else { return };
    let socket = house.socket();
    let metadata = std::fs::metadata(&socket).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.gid().to_string()), (0o660, GROUP.to_owned()));
    let server = socket.display().to_string();
    let member = ["--reuid", "65534", "--regid", "65534", "--groups", GROUP];
    let by_name = |words: &[&str]| house.ctl_as(&member, &[&["--server", &server], words].concat());
    // As a supplementary group or the first one; another group gives no access.
    let first = ["--reuid", "65534", "--regid", GROUP, "--clear-groups"];
    let stranger = ["--reuid", "65534", "--regid", OTHER, "--groups", OTHER];
    let status = ["--server", &server, "get", "status"];
    for (who, expected) in [(&member[..], 0), (&first[..], 0), (&stranger[..], 6)] {
        let output = house.ctl_as(who, &status);
        assert_eq!(code(&output), Some(expected), "{who:?}: {}", err(&output));
    }
    for words in [
        &["suspend"][..],
        &["resume"],
        &["update", "deployment", "harry", "--boot", "local"],
        &["adopt", "--all"],
    ] {
        let output = by_name(words);
        assert_eq!(code(&output), Some(0), "{words:?}: {}", err(&output));
    }
    // What agrees to the loss of disks, or to what holds the daemon back, is for admins.
    for words in [
        &["approve", "installs", "--all"][..],
        &["approve", "installs", "harry"],
        &["approve", "1"],
        &["pin", "x", "--allow-removals", "1"],
        &["update", "deployment", "harry", "--address", "10.0.10.31", "--allow-reinstalls", "1"],
        &["serve-dhcp", "srv"],
    ] {
        let output = by_name(words);
        assert_eq!(code(&output), Some(6), "{words:?}: {}", err(&output));
        assert!(err(&output).contains("admin"), "{words:?}: {}", err(&output));
    }
    assert_eq!(house.daemon.stop(), Some(0));
}

#[test]
fn members_that_only_read_change_nothing() {
    let Some((_folder, house)) = with_group("group-role = \"viewer\"") else { return };
    let server = house.socket().display().to_string();
    let member = ["--reuid", "65534", "--regid", "65534", "--groups", GROUP];
    for (words, expected) in [
        (&["get", "status"][..], 0),
        (&["get", "deployments"], 0),
        (&["suspend"], 6),
        (&["adopt", "harry"], 6),
        (&["update", "deployment", "harry", "--boot", "local"], 6),
        (&["release", "lease", "10.0.10.30"], 6),
        (&["cancel", "effect", "1"], 6),
    ] {
        let output = house.ctl_as(&member, &[&["--server", &server], words].concat());
        assert_eq!(code(&output), Some(expected), "{words:?}: {}", err(&output));
    }
    assert_eq!(house.daemon.stop(), Some(0));
}

/// The contract says of each route which role it needs: nobody gets further without one, and no viewer does more
/// than read.
#[test]
fn every_route_of_the_contract_asks_for_its_role() {
    if !has("curl") {
        return;
    }
    let Some((_folder, house)) = with_group("group-role = \"viewer\"") else { return };
    let contract =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/openapi.json")).unwrap();
    let contract: serde_json::Value = serde_json::from_str(&contract).unwrap();
    let socket = house.socket().display().to_string();
    let member = ["--reuid", "65534", "--regid", "65534", "--groups", GROUP];
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let ask = |who: &[&str], way: &[&str], method: &str, path: &str| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &house.net.server, "setpriv"]).args(who);
        command.args(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method]).args(way);
        let output = command.arg(format!("http://127.0.0.1:12345{path}")).output().unwrap();
        String::from_utf8_lossy(&output.stdout).parse::<u16>().unwrap_or_default()
    };
    let by_socket = ["--unix-socket", socket.as_str()];
    let roles = ["viewer", "claimer", "editor", "admin"];
    let token = |role: &str| {
        let words = ["--server", &socket, "token", "create", &format!("its-{role}"), "--role", role];
        let output = house.ctl_as(&["--reuid", "0"], &words);
        assert!(output.status.success(), "{}", err(&output));
        format!("Authorization: Bearer {}", String::from_utf8_lossy(&output.stdout).trim())
    };
    let tokens = roles.map(token);
    let mut routes = 0;
    for (path, operations) in contract["paths"].as_object().unwrap() {
        // Every variable is a name that nobody has.
        let mut parts = path.split('{');
        let first = parts.next().unwrap().to_owned();
        let rest = parts.map(|part| format!("nobody{}", part.split_once('}').unwrap().1));
        let path = first + &rest.collect::<String>();
        for (method, operation) in operations.as_object().unwrap() {
            routes += 1;
            let (role, method) = (operation["x-role"].as_str(), method.to_uppercase());
            let without = ask(&nobody, &[], &method, &path);
            let member = ask(&member, &by_socket, &method, &path);
            match role {
                None => assert!(
                    without != 403 && operation["security"] == serde_json::json!([]),
                    "{method} {path}"
                ),
                Some("viewer") => {
                    assert_eq!((without, member == 403), (401, false), "{method} {path}: {member}")
                }
                Some(_) => assert_eq!((without, member), (401, 403), "{method} {path}"),
            }
            if role.is_some() {
                // Without a group the socket can't even be opened.
                assert_eq!(ask(&nobody, &by_socket, &method, &path), 0, "{method} {path}");
                assert_eq!(
                    ask(&nobody, &["-H", "Authorization: Bearer x"], &method, &path),
                    401,
                    "{method} {path}"
                );
            }
            let needed = role.map(|role| roles.iter().position(|known| *known == role).unwrap());
            for (at, token) in tokens.iter().enumerate().filter(|_| needed.is_some()) {
                let by_token = ask(&nobody, &["-H", token], &method, &path);
                let may = needed.is_some_and(|needed| needed <= at);
                assert!(![0, 401].contains(&by_token), "{method} {path} by {}: {by_token}", roles[at]);
                assert_eq!(by_token != 403, may, "{method} {path} by {}: {by_token}", roles[at]);
            }
            let admin = ask(&["--reuid", "0"], &by_socket, &method, &path);
            assert!(![0, 401, 403].contains(&admin) || role.is_none(), "{method} {path}: {admin}");
        }
    }
    assert!(routes >= 20, "{routes}");
    // What is not in the contract is nothing for callers, and says nothing to others.
    for (who, way, expected) in [(&nobody[..], &[][..], 401), (&member, &by_socket, 404)] {
        assert_eq!(ask(who, way, "GET", "/v1/secrets"), expected);
        assert_eq!(ask(who, way, "POST", "/v1/whatever-comes"), expected);
    }
    assert_eq!(house.daemon.stop(), Some(0));
}

/// Everything at the top of a folder has no right for others.
fn is_closed(folder: &Path) {
    let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder), 0o700, "{}", folder.display());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{} {:o}", path.display(), mode(&path));
    }
}

#[test]
fn nobody_else_reads_or_writes_the_daemons_files_whatever_the_umask() {
    if !has("git") {
        return;
    }
    for umask in ["000", "077"] {
        let Some(net) = Net::new() else { return };
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let script = format!(
            "cd {} && git init -q -b main work && cd work && mkdir files && head -c 3000000 /dev/zero > files/vmlinuz \
             && printf '[boot.local]\nkernel = \"files/vmlinuz\"\n' > lab.toml && git add -A \
             && git -c user.name=t -c user.email=t@example.org commit -qm one && git clone -q --bare . ../bare",
            here.display()
        );
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        let config = detect(&net, here);
        let text = std::fs::read_to_string(&config).unwrap();
        let socket = here.join("run/voldemort/api.sock");
        std::fs::create_dir(here.join("run")).unwrap();
        let text = text.replace("unix:/run/voldemort/api.sock", &format!("unix:{}", socket.display()));
        std::fs::write(&config, text).unwrap();
        let inventory = format!("file://{}", here.join("bare").display());
        let words = format!("umask {umask}; exec \"$@\"");
        let before = ["sh", "-c", &words, "sh"];
        let daemon = Daemon::behind(&net, &config, &["--new-site", "--inventory", &inventory], &before);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o660, 0o755), "umask {umask}");
        let status = ["--server", socket.to_str().unwrap(), "get", "status"];
        let said = net.server_output(&[&[VOLDEMORTCTL], &status[..]].concat());
        assert!(said.contains("Ready"), "{said}");
        is_closed(&here.join("state"));
        assert!(here.join("state/git").is_dir(), "the inventory is a repository");
        let copy = here.join("copy");
        let words =
            format!("{words} state backup {} --directory {}", copy.display(), here.join("state").display());
        let words = words.replace("exec \"$@\"", &format!("exec {VOLDEMORT}"));
        assert!(Command::new("sh").args(["-c", &words]).status().unwrap().success());
        is_closed(&copy);
        assert_eq!(daemon.stop(), Some(0));
    }
}
