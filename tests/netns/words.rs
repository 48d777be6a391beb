//! The words of commands that settle installations and leases, and the exit codes for each way in which the API can be
//! out of reach.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::callers::err;
use super::daemon::{Daemon, VOLDEMORTCTL, detect};
use super::net::{Net, has, within};

fn ctl(net: &Net, line: &str) -> Output {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &net.server, VOLDEMORTCTL]).args(line.split(' ')).stdin(Stdio::null());
    command.output().unwrap()
}

/// Runs a command and returns its output, of either stream.
fn said(net: &Net, code: i32, line: &str) -> String {
    let output = ctl(net, line);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &err(&output);
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    text
}

/// Four machines in two racks, in a state directory that is new.
fn doubtful() -> Option<(Net, tempfile::TempDir, Daemon)> {
    let net = Net::new()?;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("inventory");
    std::fs::create_dir_all(root.join("files")).unwrap();
    std::fs::write(root.join("files/vmlinuz"), "the kernel").unwrap();
    let mut text = String::from(
        "[subnet.lab]\ncidr = '10.0.10.0/24'\ndynamic = '10.0.10.100-10.0.10.110'\n\
         [boot.b]\nkernel = 'files/vmlinuz'\ncmdline = ['url={{ answers_url }}']\n",
    );
    for number in 1..=4 {
        let rack = (number + 1) / 2;
        text += &format!(
            "[machine.m{number}]\nmac = '52:54:00:00:00:0{number}'\nlabels = {{ rack = '{rack}', size = 's{number}' }}\n\
             [deployment.web-{number}]\nmachine = 'm{number}'\naddress = '10.0.10.3{number}'\nboot = 'b'\n\
             template = 'preseed'\n"
        );
    }
    std::fs::write(root.join("lab.toml"), text).unwrap();
    let config = detect(&net, folder.path());
    let daemon = Daemon::behind(&net, &config, &["--inventory", root.to_str().unwrap()], &[]);
    Some((net, folder, daemon))
}

fn phases(net: &Net) -> Vec<String> {
    let rows: serde_json::Value = serde_json::from_str(&said(net, 0, "get deployments -o json")).unwrap();
    rows.as_array().unwrap().iter().map(|row| row["phase"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn doubtful_installations_are_settled_by_name_label_or_all() {
    let Some((net, _folder, daemon)) = doubtful() else { return };
    assert_eq!(phases(&net), ["doubtful"; 4]);
    for (line, code, part) in [
        ("approve installs", 64, "which installations?"),
        ("approve installs -l rack", 64, "is no label"),
        ("approve installs -l rack=1,rack=2", 64, "rack=1 and rack=2"),
        ("approve installs --all web-1", 64, "cannot be used with"),
        ("approve installs --all -l rack=1", 64, "cannot be used with"),
        ("approve 7 --all", 64, "go with `approve installs`"),
        ("approve installs web-9", 1, "web-9"),
        ("approve installs web-1 web-9", 1, "web-9"),
        ("approve installs -l rack=9", 1, "rack=9"),
        ("approve installs -l rack=1,size=s4", 1, "rack=1"),
        ("adopt", 64, "which deployments?"),
        ("adopt --all web-1", 64, "cannot be used with"),
        ("adopt web-9", 1, "web-9"),
    ] {
        let text = said(&net, code, line);
        assert!(text.contains(part), "{line}: {text}");
        let json = ctl(&net, &format!("{line} -o json"));
        let text = String::from_utf8_lossy(&json.stdout).into_owned();
        let value: Result<serde_json::Value, _> = serde_json::from_str(&text);
        assert!(value.is_ok_and(|value| value["error"].is_string()), "{line} -o json: {text}");
    }
    assert_eq!(phases(&net), ["doubtful"; 4], "nothing was done in part");
    said(&net, 0, "approve installs -l rack=1,size=s1");
    assert_eq!(phases(&net), ["waiting", "doubtful", "doubtful", "doubtful"]);
    said(&net, 0, "approve installs web-2");
    said(&net, 0, "adopt web-3 -m known");
    assert_eq!(phases(&net), ["waiting", "waiting", "installed", "doubtful"]);
    said(&net, 0, "adopt --all");
    assert_eq!(phases(&net), ["waiting", "waiting", "installed", "installed"]);
    // Nothing is left to be settled, and the answer says so; a chosen name that does not exist is an error.
    for (line, code) in [("adopt --all", 0), ("approve installs --all", 0), ("approve installs -l rack=1", 1)]
    {
        let text = said(&net, code, line);
        assert!(text.contains("doubtful"), "{line}: {text}");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn leases_are_released_by_their_address() {
    if !has("busybox") {
        return;
    }
    let Some((net, _folder, daemon)) = doubtful() else { return };
    net.client_mac("52:54:00:00:00:99");
    let lease = net.client_output(&["sh", "-c", "busybox udhcpc -f -q -n -t 5 -i cli -s /bin/true 2>&1"]);
    let address = lease.split("lease of ").nth(1).expect(&lease).split(' ').next().unwrap().to_owned();
    for (line, code, part) in [
        ("release", 64, "lease"),
        ("release lease", 64, "which addresses?"),
        ("release lease web-1", 64, "web-1"),
        ("release lease 10.0.10", 64, "10.0.10"),
        ("release lease 10.0.10.31", 1, "10.0.10.31"),
        ("release lease 10.0.10.109", 1, "10.0.10.109"),
        ("release lease 192.0.2.1", 1, "192.0.2.1"),
        ("release lease 2001:db8::1", 1, "2001:db8::1"),
    ] {
        let text = said(&net, code, line);
        assert!(text.contains(part), "{line}: {text}");
    }
    let text = said(&net, 0, &format!("release lease {address}"));
    assert!(text.contains(&format!("{address} is free")) && text.contains("52:54:00:00:00:99"), "{text}");
    said(&net, 1, &format!("release lease {address}"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn each_way_out_of_reach_has_its_exit_code() {
    let Some(net) = Net::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let server = |address: &str, code: i32| {
        let begun = Instant::now();
        let text = said(&net, code, &format!("--server {address} get status"));
        assert!(begun.elapsed() < Duration::from_secs(9), "{address} took {:?}", begun.elapsed());
        text
    };
    // Nothing listens there, or no daemon.
    assert!(server(&path("none.sock"), 5).contains("no such socket"));
    server("127.0.0.1:9", 5);
    std::fs::write(path("token"), "word").unwrap();
    let with_token = |address: &str| format!("{address} --token-file {}", path("token"));
    server(&with_token("127.0.0.1:9"), 5);
    server(&with_token("10.0.10.77:12345"), 5);
    std::fs::write(path("file"), "").unwrap();
    server(&path("file"), 5);
    drop(UnixListener::bind(path("dead.sock")).unwrap());
    server(&path("dead.sock"), 5);
    // A socket that takes connections and says nothing, and one that closes them.
    let silent = UnixListener::bind(path("silent.sock")).unwrap();
    assert!(server(&path("silent.sock"), 5).contains("does not answer"));
    drop(silent);
    let listener = within(&net.server, || TcpListener::bind("127.0.0.1:1234").unwrap());
    assert!(server(&with_token("127.0.0.1:1234"), 5).contains("does not answer"));
    let closing = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
            let _ = stream.read(&mut [0; 100]);
        }
    });
    // The one that was not answered is still in the queue.
    server(&with_token("127.0.0.1:1234"), 5);
    closing.join().unwrap();
    // A token that can't be read, and one that is none.
    server("127.0.0.1:9 --token-file /nonexistent", 6);
    std::fs::write(path("token"), "two words").unwrap();
    server(&with_token("127.0.0.1:9"), 5);
    if !has("setpriv") {
        return;
    }
    // A socket, or the folder that it lies in, that is closed to us.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let closed = UnixListener::bind(path("closed.sock")).unwrap();
    std::fs::set_permissions(path("closed.sock"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(path("shut")).unwrap();
    std::fs::set_permissions(path("shut"), std::fs::Permissions::from_mode(0o700)).unwrap();
    for socket in [path("closed.sock"), path("shut/api.sock")] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", VOLDEMORTCTL]);
        let output = command.args(["--server", &socket, "get", "status"]).output().unwrap();
        assert_eq!(output.status.code(), Some(6), "{socket}: {}", err(&output));
    }
    drop(closed);
}

/// A token that a daemon left on this host goes to no other host.
#[test]
fn a_token_of_this_host_stays_on_it() {
    let (Some((net, _folder, daemon)), true) = (doubtful(), true) else { return };
    net.client_ip(&["address", "add", "10.0.10.9/24", "dev", "cli"]);
    let listener = within(&net.client, || TcpListener::bind("10.0.10.9:12345").unwrap());
    let thief = std::thread::spawn(move || {
        listener.set_nonblocking(true).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        let mut heard = String::new();
        while Instant::now() < end {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::yield_now();
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                heard += &String::from_utf8_lossy(&bytes[..count]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
            return heard;
        }
        heard
    });
    let text = said(&net, 6, "--server 10.0.10.9:12345 get status");
    assert!(text.contains("another host"), "{text}");
    let heard = thief.join().unwrap();
    assert!(!heard.to_ascii_lowercase().contains("authorization"), "{heard}");
    assert_eq!(daemon.stop(), Some(0));
}
