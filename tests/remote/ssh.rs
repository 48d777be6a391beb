//! A real sshd on loopback, with keys and settings of its own.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use voldemort::model::{Access, Git, Inventory, Span};
use voldemort::source::SourceConfig;
use voldemort::source::git::Fetcher;
use voldemort::source::write::{Draft, DraftFile, WriteError};

use super::{Lab, at, ssh_key, text};

struct Sshd {
    child: Child,
    port: u16,
}

impl Sshd {
    /// `None` where it is not installed or this is not root.
    fn start(lab: &Lab) -> Option<Sshd> {
        let installed = fs::metadata("/usr/sbin/sshd").is_ok();
        if !installed || !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root and openssh-server");
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        ssh_key(lab, "host");
        let person = ssh_key(lab, "person");
        let keys = lab.write("authorized", &person);
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {host}\nAuthorizedKeysFile {keys}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nLogLevel ERROR\n",
            host = lab.path("host").display(),
            keys = keys.display(),
        );
        let config = lab.write("sshd_config", &config);
        fs::create_dir_all("/run/sshd").unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(config).stdin(Stdio::null()).stderr(Stdio::null());
        let sshd = Sshd { child: command.spawn().unwrap(), port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(sshd)
    }

    fn url(&self, lab: &Lab, path: &str) -> String {
        format!("ssh://root@127.0.0.1:{}{}", self.port, lab.path(path).display())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn known(lab: &Lab, port: u16, key: &str) -> String {
    let key = fs::read_to_string(lab.path(&format!("{key}.pub"))).unwrap();
    format!("[127.0.0.1]:{port} {key}")
}

#[tokio::test]
async fn ssh_with_a_key_and_a_known_host() {
    let lab = Lab::new();
    let Some(sshd) = Sshd::start(&lab) else { return };
    let known_hosts = lab.write("known hosts", &known(&lab, sshd.port, "host"));
    let access =
        Access { key: Some(lab.path("person")), known_hosts: Some(known_hosts), ..Access::default() };
    let mut source = lab.follow(at(sshd.url(&lab, "repos/x.git"), access.clone()));
    assert_eq!(text(&source.snapshot().await, "a.toml"), "1");
    assert!(lab.mirror().join("shallow").exists());
    lab.commit("a.toml", "2");
    source.handle.poke();
    assert_eq!(text(&source.snapshot().await, "a.toml"), "2");

    let error = lab.refusal(at(sshd.url(&lab, "repos/none.git"), access.clone())).await;
    assert!(error.contains("ssh: ") && error.contains("none.git"), "{error}");
    // Another host key than the one that is known, and none.
    ssh_key(&lab, "impostor");
    let wrong = lab.write("wrong", &known(&lab, sshd.port, "impostor"));
    let empty = lab.write("empty", "");
    for file in [wrong, empty] {
        let access = Access { known_hosts: Some(file), ..access.clone() };
        let error = lab.refusal(at(sshd.url(&lab, "repos/x.git"), access)).await;
        assert!(error.contains("Host key verification failed"), "{error}");
    }
    let access = Access { key: Some(lab.path("impostor")), ..access };
    let error = lab.refusal(at(sshd.url(&lab, "repos/x.git"), access)).await;
    assert!(error.contains("Permission denied"), "{error}");
}

#[tokio::test]
async fn what_is_written_travels_by_ssh_too() {
    let lab = Lab::new();
    let Some(sshd) = Sshd::start(&lab) else { return };
    let known_hosts = lab.write("known_hosts", &known(&lab, sshd.port, "host"));
    ssh_key(&lab, "stranger");
    let place = |key: &str| {
        let (key, known_hosts) = (Some(lab.path(key)), Some(known_hosts.clone()));
        let access = Access { key, known_hosts, ..Access::default() };
        SourceConfig {
            inventory: Inventory::Git(at(sshd.url(&lab, "repos/x.git"), access)),
            poll: None,
            state: lab.path("state"),
            fetcher: Fetcher { program: env!("CARGO_BIN_EXE_voldemort").into() },
        }
    };
    let draft = |before: &str, after: &str| Draft {
        files: vec![DraftFile { path: "a.toml".into(), before: Some(before.into()), after: after.into() }],
        message: "Change it\n".into(),
        author: ("t".into(), "t@localhost".into()),
    };
    let there = |what: &str| lab.run("git", &["-C", "repos/x.git", "show", what]);
    let source = place("person");
    let reading = source.read(()).await.unwrap();
    let commit = source.write(&reading, &draft("1", "2"), None, ()).await.unwrap().unwrap();
    assert_eq!(lab.run("git", &["-C", "repos/x.git", "rev-parse", "main"]), commit);
    assert_eq!(there("main:a.toml"), "2");
    // Another commit came first: it is not overwritten.
    let late = source.write(&reading, &draft("1", "3"), None, ()).await;
    assert!(matches!(late, Err(WriteError::Moved(_))), "{late:?}");
    let reading = source.read(()).await.unwrap();
    let branch = source.write(&reading, &draft("2", "4"), Some("voldemort/x"), ()).await;
    assert!(branch.is_ok(), "{branch:?}");
    assert_eq!((there("main:a.toml"), there("voldemort/x:a.toml")), ("2".to_owned(), "4".to_owned()));
    let refused = place("stranger").write(&reading, &draft("2", "5"), None, ()).await;
    assert!(
        matches!(&refused, Err(WriteError::Failed(why)) if why.contains("Permission denied")),
        "{refused:?}"
    );
    assert_eq!(there("main:a.toml"), "2");
}

/// A host that accepts and says nothing: time runs out, and no ssh is left behind.
#[tokio::test]
async fn ssh_that_hangs_ends_with_its_fetch() {
    let lab = Lab::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let git = Git {
        limit: Span::seconds(1),
        ..at(format!("ssh://root@127.0.0.1:{port}/x.git"), Access::default())
    };
    let error = lab.refusal(git).await;
    assert!(error.contains("no end within 1s"), "{error}");
    let word = format!("-p\0{port}\0");
    let alive = || {
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let path = entry.ok()?.path();
            let stat = fs::read_to_string(path.join("stat")).ok()?;
            (!stat.contains(") Z ")).then(|| fs::read(path.join("cmdline")).ok()).flatten()
        });
        processes.filter(|line| String::from_utf8_lossy(line).contains(&word)).count()
    };
    let start = Instant::now();
    while alive() > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "ssh lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
