//! A git source behind real servers: git's own http-backend behind TLS, and OpenSSH's sshd, both
//! on loopback with throw-away keys.

#[path = "remote/ssh.rs"]
mod ssh;
#[path = "remote/web.rs"]
mod web;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};
use voldemort::model::{Access, Git, Inventory, Reference, Signed, SourceCondition, Span, Verify};
use voldemort::source::git::Fetcher;
use voldemort::source::{Body, Handle, Snapshot, SourceConfig, SourceError, Update, spawn};

const PATIENCE: Duration = Duration::from_secs(120);

/// A bare repository `repos/x.git` with a clone to commit in.
pub(crate) struct Lab {
    folder: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let lab = Lab { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(lab.path("repos")).unwrap();
        lab.run("git", &["init", "-q", "--bare", "-b", "main", "repos/x.git"]);
        lab.run("git", &["clone", "-q", "repos/x.git", "clone"]);
        lab.git(&["checkout", "-q", "-b", "main"]);
        lab.commit("a.toml", "1");
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn run(&self, program: &str, words: &[&str]) -> String {
        self.run_in(self.folder.path(), program, words)
    }

    fn run_in(&self, folder: &Path, program: &str, words: &[&str]) -> String {
        let mut command = Command::new(program);
        command.current_dir(folder).args(words).env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GNUPGHOME", self.path("gnupg"));
        let output = command.stdin(std::process::Stdio::null()).output().expect(program);
        assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn git(&self, words: &[&str]) -> String {
        let person = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
        self.run_in(&self.path("clone"), "git", &[&person[..], words].concat())
    }

    /// Writes a file, commits it and pushes.
    fn commit(&self, path: &str, content: &str) -> String {
        self.commit_with(path, content, &[])
    }

    fn commit_with(&self, path: &str, content: &str, settings: &[&str]) -> String {
        fs::write(self.path("clone").join(path), content).unwrap();
        self.git(&["add", "-A"]);
        self.git(&[settings, &["commit", "-q", "-m", "change"]].concat());
        self.git(&["push", "-q", "-f", "origin", "main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(crate) fn follow(&self, git: Git) -> Following {
        let (out, updates) = channel(16);
        let state = self.path("state");
        let fetcher = Fetcher { program: env!("CARGO_BIN_EXE_voldemort").into() };
        let handle = spawn(SourceConfig { inventory: Inventory::Git(git), poll: None, state, fetcher }, out);
        Following { updates, handle }
    }

    fn mirror(&self) -> PathBuf {
        let mut mirrors = fs::read_dir(self.path("state/git")).unwrap().map(|entry| entry.unwrap().path());
        mirrors.find(|path| path.extension().is_some_and(|ending| ending == "git")).unwrap()
    }
}

pub(crate) struct Following {
    updates: Receiver<Update>,
    handle: Handle,
}

impl Following {
    async fn next(&mut self) -> Update {
        tokio::time::timeout(PATIENCE, self.updates.recv()).await.expect("an update in time").expect("alive")
    }

    pub(crate) async fn snapshot(&mut self) -> Snapshot {
        match self.next().await {
            Update::Snapshot(snapshot) => snapshot,
            Update::Failed(why) => panic!("{why}"),
        }
    }

    pub(crate) async fn failure(&mut self) -> SourceError {
        match self.next().await {
            Update::Snapshot(snapshot) => panic!("{snapshot:?}"),
            Update::Failed(why) => why,
        }
    }
}

impl Lab {
    /// Why this can't be followed; the result of an earlier fetch may be reported first.
    pub(crate) async fn refusal(&self, git: Git) -> String {
        let mut source = self.follow(git);
        match source.next().await {
            Update::Failed(why) => why.to_string(),
            Update::Snapshot(_) => source.failure().await.to_string(),
        }
    }
}

pub(crate) fn text(snapshot: &Snapshot, path: &str) -> String {
    match &snapshot.files[path] {
        Body::Inline { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
        Body::OnDisk { path, .. } => fs::read_to_string(path).unwrap(),
    }
}

/// Polls hourly: what is seen in time was asked for.
pub(crate) fn at(url: String, access: Access) -> Git {
    Git { poll: Span::seconds(3600), limit: Span::seconds(20), access, ..Git::at(url) }
}

fn ssh_key(lab: &Lab, name: &str) -> String {
    let path = lab.path(name).display().to_string();
    lab.run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &path]);
    fs::read_to_string(lab.path(&format!("{name}.pub"))).unwrap()
}

fn signed_by(key: &str) -> [String; 6] {
    let key = format!("user.signingkey={key}");
    ["-c", "gpg.format=ssh", "-c", &key, "-c", "commit.gpgsign=true"].map(str::to_owned)
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn commits_are_signed_by_allowed_ssh_keys() {
    let lab = Lab::new();
    let ours = ssh_key(&lab, "ours");
    ssh_key(&lab, "other");
    let (our_key, other_key) =
        (lab.path("ours").display().to_string(), lab.path("other").display().to_string());
    let signers = lab.write("signers", &format!("ops@example.org namespaces=\"git\" {ours}"));
    let verify = Verify { signed: Signed::Head, signers: Some(signers.clone()), keyring: None };
    let url = lab.path("repos/x.git").display().to_string();
    let git = Git { verify: Some(verify.clone()), ..at(url.clone(), Access::default()) };
    let mut source = lab.follow(git.clone());
    let SourceError::Untrusted { revision, why } = source.failure().await else { panic!() };
    assert!(revision.starts_with("main@sha1:") && why.ends_with("is not signed"), "{revision} {why}");
    lab.commit_with("a.toml", "2", &words(&signed_by(&our_key)));
    assert_eq!(text(&source.snapshot().await, "a.toml"), "2");
    lab.commit_with("a.toml", "3", &words(&signed_by(&other_key)));
    let error = source.failure().await;
    assert_eq!(error.condition(), SourceCondition::Untrusted);
    assert!(error.to_string().contains("is not signed by a key in"), "{error}");
    // A daemon that starts now gets the last commit that was signed.
    let mut late = lab.follow(git.clone());
    assert_eq!(text(&late.snapshot().await, "a.toml"), "2");
    assert_eq!(late.failure().await.condition(), SourceCondition::Untrusted);
    // A key whose time is over, and a signature made for something else than git.
    lab.commit_with("a.toml", "4", &words(&signed_by(&our_key)));
    assert_eq!(text(&source.snapshot().await, "a.toml"), "4");
    lab.write("signers", &format!("ops@example.org valid-before=\"20200101\" {ours}"));
    source.handle.poke();
    assert_eq!(source.failure().await.condition(), SourceCondition::Untrusted);
    lab.write("signers", &format!("ops@example.org namespaces=\"file\" {ours}"));
    let mut file = lab.follow(Git { path: String::new(), ..git.clone() });
    while !matches!(file.next().await, Update::Failed(SourceError::Untrusted { .. })) {}
    // A missing list does not make a commit untrusted.
    fs::remove_file(&signers).unwrap();
    source.handle.poke();
    let error = loop {
        match source.next().await {
            Update::Failed(SourceError::Git(why)) => break why,
            Update::Failed(_) => {}
            Update::Snapshot(snapshot) => panic!("{snapshot:?}"),
        }
    };
    assert!(error.contains("`signers`"), "{error}");
}

#[tokio::test]
async fn every_commit_and_tags_can_be_asked_for_signatures() {
    let lab = Lab::new();
    let ours = ssh_key(&lab, "ours");
    let key = lab.path("ours").display().to_string();
    let signing = signed_by(&key);
    let signers = lab.write("signers", &format!("ops@example.org {ours}"));
    let verify = |signed| Some(Verify { signed, signers: Some(signers.clone()), keyring: None });
    let url = lab.path("repos/x.git").display().to_string();
    lab.commit_with("a.toml", "signed", &words(&signing));
    let git = Git { verify: verify(Signed::EveryCommit), ..at(url.clone(), Access::default()) };
    let mut source = lab.follow(git);
    assert_eq!(text(&source.snapshot().await, "a.toml"), "signed", "trust begins at the first head");
    // An unsigned commit hides behind a signed one.
    fs::write(lab.path("clone/b.toml"), "b").unwrap();
    lab.git(&["add", "-A"]);
    lab.git(&["commit", "-q", "-m", "unsigned"]);
    let hidden = lab.git(&["rev-parse", "HEAD"]);
    lab.commit_with("a.toml", "on top", &words(&signing));
    let error = source.failure().await.to_string();
    assert!(error.contains(&hidden) && error.ends_with("is not signed"), "{error}");
    lab.git(&["reset", "-q", "--hard", "HEAD~2"]);
    lab.commit_with("a.toml", "again", &words(&signing));
    assert_eq!(text(&source.snapshot().await, "a.toml"), "again");

    let tag = |git: Git| Git { reference: Reference::Tag("v1".into()), verify: verify(Signed::Tag), ..git };
    lab.git(&["tag", "v1"]);
    lab.git(&["push", "-q", "-f", "origin", "v1"]);
    let mut source = lab.follow(tag(at(url, Access::default())));
    assert!(source.failure().await.to_string().contains("not annotated"));
    lab.git(&[&words(&signing)[..], &["tag", "-f", "-s", "v1", "-m", "one"]].concat());
    lab.git(&["push", "-q", "-f", "origin", "v1"]);
    assert_eq!(text(&source.snapshot().await, "a.toml"), "again");
    lab.git(&["tag", "-f", "-a", "v1", "-m", "two"]);
    lab.git(&["push", "-q", "-f", "origin", "v1"]);
    assert!(source.failure().await.to_string().ends_with("is not signed"));
}

#[tokio::test]
async fn commits_are_signed_by_allowed_openpgp_keys() {
    let lab = Lab::new();
    fs::create_dir(lab.path("gnupg")).unwrap();
    lab.run("chmod", &["700", "gnupg"]);
    let generate = |who: &str, until: &str| {
        let words = [
            "--batch",
            "-q",
            "--passphrase",
            "",
            "--faked-system-time",
            "20230101T000000!",
            "--quick-generate-key",
            who,
            "ed25519",
            "sign",
            until,
        ];
        lab.run("gpg", &words);
    };
    generate("ours@example.org", "never");
    generate("old@example.org", "1d");
    let keyring = lab.path("keyring.gpg");
    lab.run(
        "gpg",
        &["--batch", "-q", "-o", "keyring.gpg", "--export", "ours@example.org", "old@example.org"],
    );
    generate("other@example.org", "never");
    // git can't set the clock of a key that has expired: a stand-in for gpg does.
    let program = lab.write("gpg-then", "#!/bin/sh\nexec gpg --faked-system-time 20230101T000100! \"$@\"\n");
    lab.run("chmod", &["755", "gpg-then"]);
    let program = format!("gpg.program={}", program.display());
    let sign = |content: &str, who: &str| {
        let key = format!("user.signingkey={who}");
        lab.commit_with("a.toml", content, &["-c", &program, "-c", &key, "-c", "commit.gpgsign=true"])
    };
    let verify = Some(Verify { signed: Signed::Head, signers: None, keyring: Some(keyring) });
    let url = lab.path("repos/x.git").display().to_string();
    sign("ours", "ours@example.org");
    let mut source = lab.follow(Git { verify, ..at(url, Access::default()) });
    assert_eq!(text(&source.snapshot().await, "a.toml"), "ours");
    for (who, part) in [("other@example.org", "not signed by a key in"), ("old@example.org", "expired")] {
        sign(who, who);
        let error = source.failure().await;
        assert!(
            error.condition() == SourceCondition::Untrusted && error.to_string().contains(part),
            "{who}: {error}"
        );
    }
    // The same signature under another text.
    let raw = lab.git(&["cat-file", "commit", "HEAD~2"]).replace("change", "changed");
    fs::write(lab.path("clone/forged"), format!("{raw}\n")).unwrap();
    let forged = lab.git(&["hash-object", "-t", "commit", "-w", "forged"]);
    lab.git(&["push", "-q", "-f", "origin", &format!("{forged}:refs/heads/main")]);
    let error = source.failure().await;
    assert!(error.to_string().contains("wrong signature"), "{error}");
    lab.run("gpgconf", &["--kill", "all"]);
}
