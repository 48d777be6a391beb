//! A restart of the daemon while a hundred machines boot: each asks again as firmware and scripts do, and nearly all
//! get through.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::daemon::{Daemon, VOLDEMORTCTL, eventually};
use super::lab::mac;
use super::message::{Answer, Message};
use super::net::enter;
use super::services::{Host, LAB};

const MACHINES: usize = 100;
/// Of them so many must get through.
const ENOUGH: usize = 98;
/// Between two machines that are switched on.
const APART: Duration = Duration::from_millis(60);
const SIZE: usize = 300_000;

/// Firmware asks by DHCP at these intervals, in seconds, and gives up.
const PATIENCE: [u64; 4] = [1, 2, 4, 8];

/// The address at which a machine's relay receives the answer.
fn relay(number: usize) -> String {
    format!("10.0.10.{}", 3 + number)
}

/// A message by the machine's relay, again and again; the answer of this kind.
fn ask(socket: &UdpSocket, message: &Message, kind: u8) -> Option<Answer> {
    let mut buffer = [0; 2000];
    for seconds in PATIENCE {
        let _ = socket.send_to(&message.bytes(), "10.0.10.1:67");
        let end = Instant::now() + Duration::from_secs(seconds);
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left)).unwrap();
            let Ok((length, _)) = socket.recv_from(&mut buffer) else { continue };
            let answer = Answer::read(&buffer[..length]);
            if answer.kind() == kind {
                return Some(answer);
            }
        }
    }
    None
}

/// DISCOVER and REQUEST.
fn addressed(number: usize) -> Option<()> {
    let relay = relay(number);
    let socket = UdpSocket::bind((relay.as_str(), 67)).unwrap();
    let card = mac(&format!("52:54:00:00:01:{number:02x}"));
    let offer = ask(&socket, &Message::discover(card).relay(&relay), 2)?;
    let request = Message::request(card).wants(&offer.yiaddr().to_string()).server("10.0.10.1").relay(&relay);
    ask(&socket, &request, 5).map(drop)
}

/// The size of a file by TFTP, with the patience of a ROM: the request five times, each acknowledgement as often. It
/// rests after each block.
pub(crate) fn loaded(from: &str, name: &str, rest: Duration) -> Option<usize> {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut packet = [&[0, 1], name.as_bytes(), b"\0octet\0"].concat();
    let (mut to, mut block, mut size) = ("10.0.10.1:69".parse().unwrap(), 1u16, 0);
    let mut buffer = [0; 2000];
    loop {
        let answer = (0..5).find_map(|_| {
            let _ = socket.send_to(&packet, to);
            let (length, from) = socket.recv_from(&mut buffer).ok()?;
            (buffer[..4] == [0, 3, (block >> 8) as u8, block as u8]).then_some((length, from))
        });
        let (length, from) = answer?;
        (to, size) = (from, size + length - 4);
        packet = vec![0, 4, (block >> 8) as u8, block as u8];
        block = block.wrapping_add(1);
        std::thread::sleep(rest);
        if length < 516 {
            let _ = socket.send_to(&packet, to);
            return Some(size);
        }
    }
}

/// A file by HTTP, tried again as our scripts do it.
fn fetched(url: &str) -> Option<usize> {
    let again = ["--retry", "8", "--retry-delay", "3", "--retry-all-errors", "--speed-time", "20"];
    let output = Command::new("curl")
        .args(["-s", "-f", "-o", "/dev/null", "-w", "%{size_download}"])
        .args(again)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).parse().ok())?
}

fn boot(number: usize) -> Result<(), &'static str> {
    addressed(number).ok_or("DHCP")?;
    if loaded(&relay(number), "b/files/vmlinuz", Duration::ZERO) != Some(100_000) {
        return Err("TFTP");
    }
    for (name, size) in [("vmlinuz", 100_000), ("big", SIZE)] {
        if fetched(&format!("http://10.0.10.1/b/files/{name}")) != Some(size) {
            return Err("HTTP");
        }
    }
    Ok(())
}

#[test]
fn a_restart_loses_nearly_none_of_a_hundred_machines_that_boot() {
    let Some(host) = Host::new() else { return };
    let inventory = std::path::Path::new(&host.root);
    std::fs::write(inventory.join("files/big"), vec![0; SIZE]).unwrap();
    let lab =
        LAB.replace("kernel = \"files/vmlinuz\"", "kernel = \"files/vmlinuz\"\ninitrd = [\"files/big\"]");
    let lab = lab.replace("10.0.10.100-10.0.10.120", "10.0.10.110-10.0.10.250");
    std::fs::write(inventory.join("lab.toml"), lab).unwrap();
    for number in 0..MACHINES {
        host.net.client_ip(&["address", "add", &format!("{}/24", relay(number)), "dev", "cli"]);
    }
    let daemon = host.start();
    let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let outcomes: Vec<Result<(), &str>> = std::thread::scope(|scope| {
        let (begun, done, client) = (&begun, &done, &host.net.client);
        let machine = |number: usize| {
            move || {
                enter(client);
                begun.fetch_add(1, Ordering::Relaxed);
                let outcome = boot(number);
                done.fetch_add(1, Ordering::Relaxed);
                outcome
            }
        };
        let machines: Vec<_> = (0..MACHINES)
            .map(|number| {
                let machine = scope.spawn(machine(number));
                std::thread::sleep(APART);
                if number == MACHINES / 2 {
                    daemon.signal(Signal::SIGTERM);
                }
                machine
            })
            .collect();
        assert_eq!(daemon.ended(), Some(0));
        let successor = Daemon::start(&host.net, &host.config, &host.root);
        let outcomes = machines.into_iter().map(|machine| machine.join().unwrap()).collect();
        assert_eq!(successor.stop(), Some(0));
        outcomes
    });
    let lost: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.err()).collect();
    assert!(MACHINES - lost.len() >= ENOUGH, "{} did not get through: {lost:?}", lost.len());
}

/// Who follows the daemon outlasts one that is started again, and sees what happens then.
#[test]
fn followers_outlast_a_restart() {
    let Some(host) = Host::new() else { return };
    let daemon = host.start();
    let mut followers = Vec::new();
    for line in ["events -f -o jsonl", "get deployments --watch -o jsonl", "audit -f"] {
        let file =
            |kind: &str| host.folder.path().join(format!("{}.{kind}", line.split(' ').next().unwrap()));
        let create = |kind| std::fs::File::create(file(kind)).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &host.net.server, VOLDEMORTCTL]).args(line.split(' '));
        let child = command.stdin(Stdio::null()).stdout(create("out")).stderr(create("err")).spawn().unwrap();
        followers.push((line, child, file("out"), file("err")));
    }
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    for (line, _, out, _) in &followers {
        eventually(line, || read(out), |text| !text.is_empty());
    }
    assert_eq!(daemon.stop(), Some(0));
    for (line, _, _, err) in &followers {
        eventually(line, || read(err), |text| text.contains("asking again until it answers"));
    }
    let before = read(&followers[0].2).lines().count();
    let daemon = host.start();
    for (line, child, _, err) in &mut followers {
        let text = eventually(line, || read(err), |text| text.contains("the daemon answers again"));
        assert_eq!(text.matches("asking again").count(), 1, "{line}: {text}");
        assert!(child.try_wait().unwrap().is_none(), "{line} still follows");
    }
    eventually("events", || read(&followers[0].2), |text| text.lines().count() > before);
    for (_, mut child, ..) in followers {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(daemon.stop(), Some(0));
}

/// More than a moment to read.
const MANY: usize = 1_000;

/// The status of a request, again and again until the daemon is ready; 0 where it does not answer.
fn statuses(namespace: &str, is_ready: &AtomicBool, arguments: &[&str]) -> Vec<u16> {
    enter(namespace);
    let mut all = Vec::new();
    loop {
        let was_ready = is_ready.load(Ordering::Relaxed);
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        all.push(String::from_utf8_lossy(&output.stdout).parse().unwrap());
        if was_ready {
            return all;
        }
    }
}

/// A daemon that was just started reads what it served before; until then it can't say of anything that it is not there.
#[test]
fn a_daemon_that_starts_denies_nothing_that_it_serves() {
    let Some(host) = Host::new() else { return };
    let mut lab = LAB.to_owned() + "[subnet.wide]\ncidr = \"10.20.0.0/16\"\n";
    for number in 0..MANY {
        let (high, low) = (number / 200, number % 200 + 10);
        lab += &format!(
            "[deployment.w-{number}]\nmac = \"52:54:00:01:{high:02x}:{low:02x}\"\naddress = \"10.20.{high}.{low}\"\n\
             boot = \"b\"\n"
        );
    }
    std::fs::write(Path::new(&host.root).join("lab.toml"), lab).unwrap();
    let socket = host.folder.path().join("api.sock");
    let settings = std::fs::read_to_string(&host.config).unwrap();
    let settings = settings.replace("/run/voldemort/api.sock", &socket.display().to_string());
    std::fs::write(&host.config, settings).unwrap();
    let daemon = host.start();
    assert_eq!(daemon.stop(), Some(0));
    let is_ready = AtomicBool::new(false);
    let socket = socket.display().to_string();
    let row = ["--unix-socket", &socket, "http://localhost/v1/deployments/w-1"];
    let status = ["--unix-socket", &socket, "http://localhost/v1/status"];
    let kernel = ["http://10.0.10.1/b/files/vmlinuz"];
    std::thread::scope(|scope| {
        let (net, is_ready) = (&host.net, &is_ready);
        let asks = [
            scope.spawn(|| statuses(&net.server, is_ready, &row)),
            scope.spawn(|| statuses(&net.server, is_ready, &status)),
            scope.spawn(|| statuses(&net.client, is_ready, &kernel)),
        ];
        let daemon = Daemon::start(net, &host.config, &host.root);
        is_ready.store(true, Ordering::Relaxed);
        for asked in asks {
            let found = asked.join().unwrap();
            assert!(
                found.iter().all(|status| [0, 200, 503].contains(status)) && found.ends_with(&[200]),
                "{found:?}"
            );
        }
        assert_eq!(daemon.stop(), Some(0));
    });
}
