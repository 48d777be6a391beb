//! HTTP and HTTPS beside nginx with sendfile: an image, rendered texts, small files, parts of a
//! large one, a thousand connections. wrk asks, but for the image.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::boots::{self, Fetched};
use super::lab::{DAEMON, DEFAULT, IMAGE, Lab, PACKAGES, PEERS, Server};
use super::{Entrant, compare, peers};

const OURS: SocketAddrV4 = SocketAddrV4::new(DAEMON, 80);
/// How long wrk asks, and over how many connections.
const SECONDS: &str = "2";
const CONNECTIONS: &str = "64";
/// A thousand connections come from several addresses: no machine may have so many.
const USERS: u32 = 5;
const FIRST_USER: u32 = 61_000;
/// Only a machine itself is given its answers: this user asks from the address of this one.
const INSTALLER: u32 = FIRST_USER + USERS;
const INSTALLING: u32 = 999;
const CONNECTIONS_PER_USER: &str = "200";

pub(crate) fn image(lab: &Lab, daemon: &Server) {
    let peer = peers::nginx(lab);
    versus(daemon, peer.as_ref(), "HTTP, 1 GiB out of an image", "MB", &|ours| match ours {
        true => read_image(OURS, "/debian/image"),
        false => read_image(SocketAddrV4::new(PEERS, 8080), "/image"),
    });
}

pub(crate) fn plain(lab: &Lab, daemon: &Server) {
    let (script, answers) = texts(lab);
    let peer = peers::nginx(lab);
    let peer = peer.as_ref();
    let base = |ours| if ours { format!("http://{DAEMON}") } else { format!("http://{PEERS}:8080") };
    let url =
        |ours: bool, path: &str, other: &str| format!("{}{}", base(ours), if ours { path } else { other });
    let paths: Vec<String> = answers.iter().map(|(url, _)| path(url)).collect();
    let (own, others) = paths.split_last().expect("machines install");
    let what = format!("HTTP, answer file of {} bytes, rendered", answers[others.len()].1.len());
    versus(daemon, peer, &what, "requests", &|ours| wrk_as(INSTALLER, &[&url(ours, own, "/answers")]));
    let what = format!("HTTP, iPXE script of {} bytes, rendered", script.1.len());
    versus(daemon, peer, &what, "requests", &|ours| wrk(&[&url(ours, &path(&script.0), "/script")]));
    versus(daemon, peer, "HTTP, answer files over 1,000 connections", "requests", &|ours| {
        crowd(others.iter().map(|path| url(ours, path, "/answers")))
    });
    let walk = |ours: bool| {
        let script = lab.path("walk.lua");
        let prefix = if ours { "/debian/pool/" } else { "/pool/" };
        let text = format!(
            "local at = 0\nrequest = function()\n at = (at + 1) % {PACKAGES}\n \
             return wrk.format('GET', '{prefix}' .. at .. '.deb')\nend\n"
        );
        fs::write(&script, text).expect("a script can be written");
        wrk(&["-s", script.to_str().expect("a plain name"), &base(ours)])
    };
    versus(daemon, peer, "HTTP, 1,000 files of 4 KiB", "requests", &walk);
    let range = "Range: bytes=123456789-123460884";
    let part = |ours| wrk(&["-H", range, &url(ours, "/debian/image", "/image")]);
    versus(daemon, peer, "HTTP, 4 KiB out of 1 GiB by Range", "requests", &part);
    let part = "Range: bytes=123456789-124505364";
    let part = |ours| wrk(&["-H", part, &url(ours, "/debian/image", "/image")]);
    versus(daemon, peer, "HTTP, 1 MiB out of 1 GiB by Range", "requests", &part);
}

pub(crate) fn tls(lab: &Lab, daemon: &Server) {
    let (_, answers) = texts(lab);
    let peer = peers::nginx(lab);
    let peer = peer.as_ref();
    let url = |ours: bool, path: &str, other: &str| match ours {
        true => format!("https://{DAEMON}{path}"),
        false => format!("https://{PEERS}:8443{other}"),
    };
    let answers = answers.last().map(|(url, _)| path(url)).expect("a machine installs");
    let answers = |ours| url(ours, &answers, "/answers");
    versus(daemon, peer, "HTTPS, 1 GiB", "MB", &|ours| {
        let url = url(ours, "/debian/image", "/image");
        let status = Command::new("curl").args(["-skf", "-o", "/dev/null", &url]).status();
        assert!(status.is_ok_and(|status| status.success()), "{url}");
        IMAGE as f64 / 1e6
    });
    versus(daemon, peer, "HTTPS, answer file", "requests", &|ours| wrk_as(INSTALLER, &[&answers(ours)]));
    let close = |ours| wrk_as(INSTALLER, &["-H", "Connection: close", &answers(ours)]);
    versus(daemon, peer, "HTTPS, the same with a greeting each", "requests", &close);
}

fn versus(daemon: &Server, peer: Option<&peers::Peer>, what: &str, unit: &str, work: &dyn Fn(bool) -> f64) {
    let mut entrants =
        vec![Entrant { name: "voldemort", measure: Box::new(|| daemon.measure(|| work(true))) }];
    if let Some(peer) = peer {
        entrants.push(Entrant { name: peer.name, measure: Box::new(|| peer.server.measure(|| work(false))) });
    }
    compare(what, unit, 1.0, entrants);
}

/// The script of one machine and the answers of others. The other servers have the same texts in files.
/// A machine installs once, so it is asked for once.
fn texts(lab: &Lab) -> &'static (Fetched, Vec<Fetched>) {
    static TEXTS: OnceLock<(Fetched, Vec<Fetched>)> = OnceLock::new();
    TEXTS.get_or_init(|| install(lab))
}

fn install(lab: &Lab) -> (Fetched, Vec<Fetched>) {
    let machines: Vec<u32> = (1..=USERS).chain([INSTALLING]).collect();
    for (user, machine) in (FIRST_USER..).zip(&machines) {
        lab.user_has(user, *machine);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let texts = runtime.block_on(boots::texts(DEFAULT, &machines)).expect("machines boot");
    let (script, answers) = (&texts.0.1, &texts.1.last().expect("a machine installs").1);
    for (name, text) in [("script", script), ("answers", answers)] {
        fs::write(lab.path("files").join(name), text).expect("a file can be written");
    }
    texts
}

fn path(url: &str) -> String {
    url.trim_start_matches(&format!("http://{DAEMON}")).to_owned()
}

/// Megabytes of one large reply.
fn read_image(server: SocketAddrV4, path: &str) -> f64 {
    let mut stream = TcpStream::connect(server).expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer).expect("more") {
            0 => break,
            read => bytes += read as u64,
        }
    }
    assert!((IMAGE..IMAGE + 1000).contains(&bytes), "{bytes}");
    IMAGE as f64 / 1e6
}

/// Requests that wrk got answered.
fn wrk(words: &[&str]) -> f64 {
    wrk_as(0, words)
}

/// The same, from the address that a user has.
fn wrk_as(user: u32, words: &[&str]) -> f64 {
    answered(start_wrk(CONNECTIONS, words, user))
}

/// The same of several, each with its own address and URL.
fn crowd(urls: impl Iterator<Item = String>) -> f64 {
    let start = |(user, url): (u32, String)| start_wrk(CONNECTIONS_PER_USER, &[&url], user);
    let all: Vec<Child> = (FIRST_USER..).zip(urls).map(start).collect();
    all.into_iter().map(answered).sum()
}

fn start_wrk(connections: &str, words: &[&str], user: u32) -> Child {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", connections, "-d", SECONDS]).args(words).uid(user).stdout(Stdio::piped());
    command.spawn().expect("wrk is installed")
}

fn answered(wrk: Child) -> f64 {
    let output = wrk.wait_with_output().expect("wrk ends");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| line.contains("Socket errors") || line.contains("Non-2xx")) {
        println!(" {line}");
    }
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in"));
    requests.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("wrk: {text}"))
}
