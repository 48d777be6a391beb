//! A git source, live: real repositories, made and changed by the `git` people use.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};
use voldemort::model::{Git, Inventory, Reference, SourceCondition, Span, Time};
use voldemort::source::git::Fetcher;
use voldemort::source::{Body, Handle, Snapshot, SourceConfig, Update, spawn};

const PATIENCE: Duration = Duration::from_secs(20);
/// A new commit in a local repository is live within a second; test machines stall.
const SOON: Duration = Duration::from_secs(3);

struct Lab {
    folder: TempDir,
}

struct Following {
    updates: Receiver<Update>,
    handle: Handle,
}

impl Lab {
    /// A repository with a work tree, on the branch `main`, with one commit.
    fn new() -> Lab {
        let lab = Lab { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(lab.path("repo")).unwrap();
        lab.git(&["init", "-q", "-b", "main"]);
        lab.commit("inventory/a.toml", "1");
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        self.path("repo").display().to_string()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let person = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false"];
        let mut command = Command::new("git");
        command.current_dir(self.path("repo")).args(person).args(arguments);
        command.stdin(Stdio::null());
        let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().expect("git is installed");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs git with something to read; its answer.
    fn feed(&self, arguments: &[&str], input: &str) -> String {
        self.feed_bytes(arguments, input.as_bytes())
    }

    fn feed_bytes(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.path("repo")).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path("repo").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a file and commits everything; returns the commit.
    fn commit(&self, path: &str, content: impl AsRef<[u8]>) -> String {
        self.write(path, content);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn follow(&self, url: &str, reference: Reference, path: &str) -> Following {
        self.follow_with(url, reference, path, real())
    }

    /// Polls hourly: whatever is seen in time was reported, not polled.
    fn follow_with(&self, url: &str, reference: Reference, path: &str, fetcher: Fetcher) -> Following {
        let git = Git { reference, path: path.into(), poll: Span::seconds(3600), ..Git::at(url.into()) };
        self.start(Inventory::Git(git), fetcher)
    }

    fn start(&self, inventory: Inventory, fetcher: Fetcher) -> Following {
        let (out, updates) = channel(16);
        let handle = spawn(SourceConfig { inventory, poll: None, state: self.path("state"), fetcher }, out);
        Following { updates, handle }
    }

    /// A program that replaces voldemort's.
    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_voldemort").into()
}

fn real() -> Fetcher {
    Fetcher { program: program() }
}

impl Following {
    async fn next(&mut self) -> Update {
        tokio::time::timeout(PATIENCE, self.updates.recv()).await.expect("an update in time").expect("alive")
    }

    async fn snapshot(&mut self) -> Snapshot {
        match self.next().await {
            Update::Snapshot(snapshot) => snapshot,
            Update::Failed(why) => panic!("{why}"),
        }
    }

    async fn failure(&mut self) -> String {
        match self.next().await {
            Update::Snapshot(snapshot) => panic!("{snapshot:?}"),
            Update::Failed(why) => why.to_string(),
        }
    }
}

fn text(snapshot: &Snapshot, path: &str) -> String {
    match &snapshot.files[path] {
        Body::Inline { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
        Body::OnDisk { path, .. } => fs::read_to_string(path).unwrap(),
    }
}

#[tokio::test]
async fn a_new_commit_is_live_at_once() {
    let lab = Lab::new();
    let mut source = lab.follow(&lab.url(), Reference::Default, "inventory");
    let first = source.snapshot().await;
    let commit = first.commit.clone().unwrap();
    assert_eq!((&*commit.subject, commit.at > Time(0)), ("change", true), "{commit:?}");
    assert!(commit.author.contains('<'), "{commit:?}");
    assert_eq!(*first.revision, format!("main@sha1:{}", lab.git(&["rev-parse", "HEAD"])));
    assert_eq!(text(&first, "a.toml"), "1");
    for round in 2..5 {
        let commit = lab.commit("inventory/a.toml", round.to_string());
        let start = Instant::now();
        let next = source.snapshot().await;
        assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
        assert_eq!(*next.revision, format!("main@sha1:{commit}"));
        assert_eq!(text(&next, "a.toml"), round.to_string());
    }
    // Packed references are files of their own.
    lab.git(&["pack-refs", "--all"]);
    lab.commit("inventory/a.toml", "packed");
    assert_eq!(text(&source.snapshot().await, "a.toml"), "packed");
}

#[tokio::test]
async fn commits_beside_the_folder_are_nothing() {
    let lab = Lab::new();
    let mut source = lab.follow(&lab.url(), Reference::Branch("main".into()), "inventory");
    source.snapshot().await;
    lab.commit("README", "beside");
    source.handle.poke();
    let last = lab.commit("inventory/a.toml", "2");
    let next = source.snapshot().await;
    assert_eq!(*next.revision, format!("main@sha1:{last}"), "the next thing said is the next change");
    let mut absent = lab.follow(&lab.url(), Reference::Branch("main".into()), "nowhere");
    assert!(absent.failure().await.contains("has no folder `nowhere`"));
}

#[tokio::test]
async fn branches_tags_and_commits_of_a_bare_repository() {
    let lab = Lab::new();
    let first = lab.git(&["rev-parse", "HEAD"]);
    lab.git(&["tag", "-a", "v1", "-m", "one"]);
    lab.git(&["branch", "old"]);
    lab.commit("inventory/a.toml", "2");
    lab.git(&["clone", "-q", "--bare", ".", "../bare.git"]);
    let url = format!("file://{}", lab.path("bare.git").display());
    for (reference, content, name) in [
        (Reference::Default, "2", "main"),
        (Reference::Branch("old".into()), "1", "old"),
        (Reference::Tag("v1".into()), "1", "v1"),
        (Reference::Commit(first.clone()), "1", "commit"),
    ] {
        let snapshot = lab.follow(&url, reference, "").snapshot().await;
        assert_eq!(text(&snapshot, "inventory/a.toml"), content, "{name}");
        assert!(snapshot.revision.starts_with(&format!("{name}@sha1:")), "{}", snapshot.revision);
    }
    let missing = lab.follow(&url, Reference::Branch("v1".into()), "").failure().await;
    assert!(missing.contains("no branch `v1` (it has: main, old)"), "{missing}");
    let missing = lab.follow(&url, Reference::Commit("0".repeat(40)), "").failure().await;
    assert!(missing.contains("no branch or tag holds the commit"), "{missing}");
}

#[tokio::test]
async fn history_may_be_rewritten_and_branches_may_vanish() {
    let lab = Lab::new();
    lab.commit("inventory/a.toml", "2");
    let mut source = lab.follow(&lab.url(), Reference::Branch("main".into()), "inventory");
    source.snapshot().await;
    lab.git(&["reset", "-q", "--hard", "HEAD~1"]);
    assert_eq!(text(&source.snapshot().await, "a.toml"), "1");
    lab.git(&["checkout", "-q", "-b", "other"]);
    lab.git(&["branch", "-D", "main"]);
    let why = source.failure().await;
    assert!(why.contains("no branch `main`"), "{why}");
    lab.git(&["branch", "main"]);
    assert_eq!(
        text(&source.snapshot().await, "a.toml"),
        "1",
        "the same tree, and said again after a failure"
    );
}

/// The first fetch links what lies on this host: nothing that happens there later reaches it.
#[tokio::test]
async fn a_pruned_repository_takes_nothing_of_what_is_served() {
    let lab = Lab::new();
    lab.git(&["gc", "-q"]);
    let first = lab.git(&["rev-parse", "HEAD"]);
    let mut source = lab.follow(&lab.url(), Reference::Branch("main".into()), "inventory");
    source.snapshot().await;
    let mirror = voldemort::source::git::mirror_of(
        &Git { reference: Reference::Branch("main".into()), path: "inventory".into(), ..Git::at(lab.url()) },
        &lab.path("state"),
    );
    let packs = fs::read_dir(mirror.join("objects/pack")).unwrap();
    assert_eq!(packs.count(), 2, "a pack and its index, linked");
    lab.git(&["checkout", "-q", "--orphan", "other"]);
    lab.commit("inventory/a.toml", "other");
    lab.git(&["branch", "-q", "-M", "main"]);
    lab.git(&["reflog", "expire", "--expire=now", "--all"]);
    lab.git(&["gc", "-q", "--prune=now"]);
    let gone = Command::new("git").current_dir(lab.path("repo")).args(["cat-file", "-e", &first]).status();
    assert!(!gone.unwrap().success(), "pruned there");
    let folder = mirror.display().to_string();
    lab.git(&[
        "-C",
        &folder,
        "-c",
        "safe.directory=*",
        "cat-file",
        "-p",
        &format!("{first}:inventory/a.toml"),
    ]);
    assert_eq!(text(&source.snapshot().await, "a.toml"), "other");
    lab.git(&["-C", &folder, "-c", "safe.directory=*", "fsck", "--strict"]);
}

#[tokio::test]
async fn a_repository_that_is_away_leaves_the_last_fetch() {
    let lab = Lab::new();
    lab.follow(&lab.url(), Reference::Default, "").snapshot().await;
    fs::rename(lab.path("repo"), lab.path("away")).unwrap();
    let mut source = lab.follow(&lab.url(), Reference::Default, "");
    assert_eq!(text(&source.snapshot().await, "inventory/a.toml"), "1");
    assert!(source.failure().await.contains("fetching"));
    fs::rename(lab.path("away"), lab.path("repo")).unwrap();
    assert_eq!(text(&source.snapshot().await, "inventory/a.toml"), "1");
}

/// A hang and a crash end the child only.
#[tokio::test]
async fn a_child_that_hangs_or_crashes_is_a_failure() {
    let lab = Lab::new();
    let note = lab.path("pid");
    let hang = lab.script("hang", &format!("echo $$ > {}; exec sleep 1000", note.display()));
    let git = Git { limit: Span::seconds(1), ..Git::at(lab.url()) };
    let mut source = lab.start(Inventory::Git(git), Fetcher { program: hang });
    assert!(source.failure().await.contains("no end within 1s"));
    let pid = fs::read_to_string(&note).unwrap();
    let process = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let gone = |_: &()| !fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z "));
    let start = Instant::now();
    while !gone(&()) {
        assert!(start.elapsed() < PATIENCE, "the child lives on");
        tokio::task::yield_now().await;
    }
    let crash = lab.script("crash", "kill -9 $$");
    let mut source = lab.follow_with(&lab.url(), Reference::Tag("x".into()), "", Fetcher { program: crash });
    assert!(source.failure().await.contains("signal: 9"));
}

/// Killed in the middle, again and again, the mirror still serves the next fetch.
#[tokio::test]
async fn a_fetch_killed_in_the_middle_does_no_harm() {
    let lab = Lab::new();
    for number in 0..500 {
        lab.write(&format!("many/{number}.toml"), number.to_string().repeat(50));
    }
    lab.commit("many/last", "x");
    let script = format!(
        "n=$(cat {count} 2>/dev/null || echo 0); echo $((n + 1)) > {count}\n\
         [ $n -ge 8 ] && exec {real} \"$@\"\n\
         {real} \"$@\" & child=$!; sleep 0.00$n; kill -9 $child; wait $child; exit 1",
        count = lab.path("count").display(),
        real = program().display(),
    );
    let program = lab.script("killer", &script);
    let mut source = lab.follow_with(&lab.url(), Reference::Default, "", Fetcher { program });
    // The same failure is reported once: poke until the ninth child is let through.
    let handle = source.handle.clone();
    let poking = tokio::spawn(async move {
        loop {
            handle.poke();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let snapshot = loop {
        match source.next().await {
            Update::Snapshot(snapshot) => break snapshot,
            Update::Failed(why) => assert!(why.to_string().contains("fetching"), "{why}"),
        }
    };
    poking.abort();
    assert_eq!(snapshot.files.len(), 502);
}

/// The daemon ends a fetch that takes too long: a hundred times, at any point of it, and what the
/// last good one brought stays to be read.
#[tokio::test]
async fn a_fetch_ended_at_any_point_a_hundred_times_does_no_harm() {
    let lab = Lab::new();
    let place = |limit: Span| {
        let git = Git { limit, ..Git::at(lab.url()) };
        let state = lab.path("state");
        SourceConfig { inventory: Inventory::Git(git), poll: None, state, fetcher: real() }
    };
    let patient = place(Span::seconds(20));
    let start = Instant::now();
    patient.read(()).await.unwrap();
    let whole = start.elapsed().as_millis() as u64;
    let mirror = voldemort::source::git::mirror_of(&Git::at(lab.url()), &lab.path("state"));
    // What verbs read from is fetched by the same child, and as often as one likes.
    let mirror = mirror.with_extension("edit.git");
    let mut followed = lab.git(&["rev-parse", "HEAD"]);
    let (mut ended, mut brought) = (0, 0);
    for round in 0..100 {
        for number in 0..20 {
            lab.write(&format!("many/{number}.toml"), format!("{round} {number} ").repeat(50));
        }
        let commit = lab.commit("inventory/a.toml", round.to_string());
        match place(Span(1 + round * (whole + 10) / 100)).read(()).await {
            Ok(reading) => {
                assert_eq!(text(&reading.snapshot, "inventory/a.toml"), round.to_string());
                (followed, brought) = (commit, brought + 1);
            }
            Err(why) => {
                assert!(why.to_string().contains("no end within"), "{why}");
                ended += 1;
                // Whatever was going on, the last good one or the next is whole.
                let note = fs::read_to_string(mirror.join("followed.txt")).unwrap();
                let noted = note.split('\t').next().unwrap();
                assert!([&followed, &commit].iter().any(|one| *one == noted), "{note}");
                let folder = mirror.display().to_string();
                lab.git(&["-C", &folder, "-c", "safe.directory=*", "ls-tree", "-r", noted]);
                followed = noted.to_owned();
            }
        }
    }
    assert!(ended >= 10, "{ended} ended, {brought} brought: the limits are spread over a fetch");
    assert_eq!(text(&patient.read(()).await.unwrap().snapshot, "inventory/a.toml"), "99");
}

/// However many ask, there is one fetch at a time, and a second between two.
#[tokio::test]
async fn a_flood_of_calls_is_one_fetch_at_a_time() {
    let lab = Lab::new();
    let (count, real_one) = (lab.path("count"), program());
    let text = format!(
        "echo begin >> {0}; {1} \"$@\"; code=$?; echo end >> {0}; exit $code",
        count.display(),
        real_one.display()
    );
    let program = lab.script("counter", &text);
    let mut source = lab.follow_with(&lab.url(), Reference::Default, "", Fetcher { program });
    source.snapshot().await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        for _ in 0..100 {
            source.handle.poke();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let log = fs::read_to_string(&count).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines.chunks(2).all(|pair| pair[0] == "begin" && pair.get(1).is_none_or(|end| *end == "end")),
        "{log}"
    );
    let fetches = lines.iter().filter(|line| **line == "begin").count();
    assert!((2..=5).contains(&fetches), "{fetches} fetches in {:?}", start.elapsed());
}

/// What a hostile person may commit: refused whole, quickly, and without much memory.
#[tokio::test]
async fn hostile_trees_are_refused() {
    let lab = Lab::new();
    let mut source = lab.follow(&lab.url(), Reference::Default, "");
    source.snapshot().await;
    // Trees that name each other: ten levels of ten are ten thousand million files.
    let empty = lab.git(&["hash-object", "-w", "--stdin", "-t", "blob"]);
    let mut tree = format!("100644 blob {empty}");
    for _ in 0..10 {
        let lines: String = (0..10).map(|number| format!("{tree}\tn{number}\n")).collect();
        tree = format!("040000 tree {}", lab.feed(&["mktree"], &lines));
    }
    let root = tree.rsplit(' ').next().unwrap().to_owned();
    let bomb = lab.git(&["commit-tree", &root, "-m", "bomb"]);
    lab.git(&["update-ref", "refs/heads/main", &bomb]);
    let why = source.failure().await;
    assert!(why.contains("more than 1000000 files"), "{why}");
    // A name that is no text.
    let name = [&b"100644 blob "[..], empty.as_bytes(), b"\t\xff.toml\0"].concat();
    let root = lab.feed_bytes(&["mktree", "-z"], &name);
    let commit = lab.git(&["commit-tree", &root, "-m", "name"]);
    lab.git(&["update-ref", "refs/heads/main", &commit]);
    let why = source.failure().await;
    assert!(why.contains("the name is not UTF-8"), "{why}");
    // Names that differ in case are different names.
    let root = lab.feed(&["mktree"], &format!("100644 blob {empty}\tA.toml\n100644 blob {empty}\ta.toml\n"));
    let commit = lab.git(&["commit-tree", &root, "-m", "case"]);
    lab.git(&["update-ref", "refs/heads/main", &commit]);
    assert_eq!(source.snapshot().await.files.len(), 2);
}

#[tokio::test]
async fn a_hundred_thousand_references_are_no_trouble() {
    let lab = Lab::new();
    let head = lab.git(&["rev-parse", "HEAD"]);
    let lines: String = (0..100_000).map(|number| format!("{head} refs/heads/b{number:06}\n")).collect();
    let packed = format!("# pack-refs with: peeled fully-peeled sorted \n{lines}{head} refs/heads/main\n");
    fs::write(lab.path("repo/.git/packed-refs"), packed).unwrap();
    let start = Instant::now();
    assert_eq!(
        text(&lab.follow(&lab.url(), Reference::Default, "").snapshot().await, "inventory/a.toml"),
        "1"
    );
    let why = lab.follow(&lab.url(), Reference::Branch("x".into()), "").failure().await;
    assert!(why.len() < 500, "{why}");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_empty_repository_is_no_empty_inventory() {
    let lab = Lab::new();
    lab.git(&["init", "-q", "--bare", "-b", "main", "../empty.git"]);
    let url = lab.path("empty.git").display().to_string();
    let mut source = lab.follow(&url, Reference::Default, "");
    let why = source.failure().await;
    assert!(why.contains("no commit"), "{why}");
    lab.git(&["push", "-q", "../empty.git", "main"]);
    assert_eq!(text(&source.snapshot().await, "inventory/a.toml"), "1");
}

#[tokio::test]
async fn links_stay_inside_and_submodules_outside() {
    let lab = Lab::new();
    lab.write("inventory/real/x.toml", "x");
    lab.write("inventory/.hidden/y.toml", "y");
    symlink("real/x.toml", lab.path("repo/inventory/link.toml")).unwrap();
    symlink("real", lab.path("repo/inventory/folder")).unwrap();
    symlink("..", lab.path("repo/inventory/real/up")).unwrap();
    // Through a folder that is a link itself, and up from where the link is, however it was reached.
    symlink("folder/x.toml", lab.path("repo/inventory/through.toml")).unwrap();
    lab.write("inventory/deep/below/y.toml", "y");
    lab.write("inventory/deep/z.toml", "z");
    symlink("../z.toml", lab.path("repo/inventory/deep/below/beside.toml")).unwrap();
    symlink("deep/below", lab.path("repo/inventory/near")).unwrap();
    let head = lab.git(&["rev-parse", "HEAD"]);
    lab.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},inventory/sub")]);
    lab.git(&["add", "inventory"]);
    lab.git(&["commit", "-q", "-m", "links"]);
    let mut source = lab.follow(&lab.url(), Reference::Default, "inventory");
    let snapshot = source.snapshot().await;
    let names: Vec<&str> = snapshot.files.keys().map(|path| &**path).collect();
    let deep = ["deep/below/beside.toml", "deep/below/y.toml", "deep/z.toml"];
    let near = ["near/beside.toml", "near/y.toml"];
    let rest = ["real/x.toml", "through.toml"];
    assert_eq!(names, [&["a.toml"], &deep[..], &["folder/x.toml", "link.toml"], &near, &rest].concat());
    for path in ["link.toml", "through.toml"] {
        assert_eq!(text(&snapshot, path), "x", "{path}");
    }
    assert_eq!(text(&snapshot, "near/beside.toml"), "z");
    symlink("../../repo/inventory/a.toml", lab.path("repo/inventory/leak.toml")).unwrap();
    lab.git(&["add", "inventory/leak.toml"]);
    lab.git(&["commit", "-q", "-m", "leak"]);
    let why = source.failure().await;
    assert!(why.contains("leak.toml") && why.contains("leads out of the inventory"), "{why}");
}

#[tokio::test]
async fn large_and_binary_files_are_copied_out() {
    let lab = Lab::new();
    let large = vec![b'l'; Body::INLINE_MAX as usize + 1];
    lab.write("large.img", &large);
    lab.commit("vmlinuz", b"MZ\0kernel");
    let snapshot = lab.follow(&lab.url(), Reference::Default, "").snapshot().await;
    let Body::OnDisk { path, length } = &snapshot.files["large.img"] else { panic!("{snapshot:?}") };
    assert_eq!((*length, fs::read(path).unwrap()), (large.len() as u64, large));
    let Body::Inline { path: Some(path), .. } = &snapshot.files["vmlinuz"] else { panic!("{snapshot:?}") };
    assert_eq!(fs::read(path).unwrap(), b"MZ\0kernel");
    let Body::Inline { path: None, .. } = &snapshot.files["inventory/a.toml"] else { panic!("{snapshot:?}") };
}

#[tokio::test]
async fn what_cannot_be_fetched_is_said() {
    let lab = Lab::new();
    for (url, part) in [
        ("svn://example.invalid/x", "svn:// is not known"),
        ("http://example.invalid/x.git", "would travel unprotected"),
        ("git://example.invalid/x.git", "would travel unprotected"),
        ("-oProxyCommand=touch:x", "not one"),
    ] {
        let why = lab.follow(url, Reference::Default, "").failure().await;
        assert!(why.contains(part), "{url}: {why}");
    }
    let absent: &Path = &lab.path("nothing");
    let why = lab.follow(&absent.display().to_string(), Reference::Default, "").failure().await;
    assert!(why.contains("nothing"), "{why}");
}

#[tokio::test]
async fn the_daemons_own_repository_begins_empty() {
    let lab = Lab::new();
    let mut source = lab.start(Inventory::Own, real());
    assert!(source.snapshot().await.files.is_empty());
    let own = lab.path("state/inventory.git").display().to_string();
    lab.git(&["push", "-q", "-f", &own, "main:main"]);
    assert_eq!(text(&source.snapshot().await, "inventory/a.toml"), "1");
}

/// The copies that machines fetch are identified by their content: reading the tree again, by a follower, a
/// verb or another daemon, leaves them as they are, and a copy that was changed is rewritten at the next
/// look.
#[tokio::test]
async fn copies_stay_as_they_are_and_heal() {
    let lab = Lab::new();
    let kernel = vec![b'k'; 5000];
    lab.commit("vmlinuz", &kernel);
    let large = vec![b'l'; Body::INLINE_MAX as usize + 1];
    lab.commit("large.img", &large);
    let mut source = lab.follow(&lab.url(), Reference::Default, "");
    let copies = source.snapshot().await.copies();
    let files = [(&copies["vmlinuz"], kernel), (&copies["large.img"], large)];
    let shelf = voldemort::media::Shelf::default().with_copies(copies.clone());
    let id = |name: &str| voldemort::media::Library::file(&shelf, name).unwrap().id;
    let ids = [id("vmlinuz"), id("large.img")];
    let found = |path: &Path| voldemort::media::identity::of(&fs::metadata(path).unwrap());
    let before = files.each_ref().map(|(path, _)| found(path));
    lab.follow(&lab.url(), Reference::Default, "").snapshot().await;
    lab.commit("inventory/b.toml", "2");
    source.snapshot().await;
    assert_eq!(files.each_ref().map(|(path, _)| found(path)), before);
    // Removed, cut short, changed in place, touched.
    let harm: [fn(&Path); 4] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::File::options().write(true).open(path).unwrap().set_len(7).unwrap(),
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().write_all(b"x").unwrap(),
        |path| fs::File::open(path).unwrap().set_modified(std::time::SystemTime::now()).unwrap(),
    ];
    for (number, harm) in harm.into_iter().enumerate() {
        for (path, _) in &files {
            harm(path);
        }
        source.handle.poke();
        let start = Instant::now();
        let whole = || {
            files.iter().all(|(path, bytes)| fs::read(path).is_ok_and(|found| found == *bytes))
                && ids.iter().zip(&files).all(|(id, (path, _))| id.is_kept_by(&found(path)))
        };
        while !whole() {
            assert!(start.elapsed() < PATIENCE, "harm {number} is not mended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!([id("vmlinuz"), id("large.img")], ids);
    }
}

/// The mirror in the state directory holds nothing that can't be fetched again.
#[tokio::test]
async fn a_damaged_mirror_is_made_anew() {
    let lab = Lab::new();
    let url = format!("file://{}", lab.url());
    let mut source = lab.follow(&url, Reference::Default, "");
    source.snapshot().await;
    let mirror = || {
        let mut found = fs::read_dir(lab.path("state/git")).unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| path.extension().is_some_and(|ending| ending == "git")).unwrap()
    };
    let objects = |damage: &dyn Fn(&Path)| {
        let mut pending = vec![mirror().join("objects")];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { pending.push(path) } else { damage(&path) }
            }
        }
    };
    let damages: [&dyn Fn(); 3] = [
        &|| fs::remove_dir_all(mirror()).unwrap(),
        &|| objects(&|path| fs::remove_file(path).unwrap()),
        // Objects are linked from the repository: a damaged copy takes their place.
        &|| {
            objects(&|path| {
                let length = fs::metadata(path).unwrap().len() as usize;
                fs::remove_file(path).unwrap();
                fs::write(path, vec![0; length]).unwrap();
            })
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage();
        lab.commit("inventory/a.toml", format!("again {number}"));
        let snapshot = loop {
            match source.next().await {
                Update::Snapshot(snapshot) => break snapshot,
                // It may be seen while it is being damaged.
                Update::Failed(_) => source.handle.poke(),
            }
        };
        assert_eq!(text(&snapshot, "inventory/a.toml"), format!("again {number}"));
    }
}

/// The repository is packed, cleaned, forced to other commits, and replaced.
#[tokio::test]
async fn what_becomes_of_the_repository_is_followed() {
    let lab = Lab::new();
    let first = lab.git(&["rev-parse", "HEAD"]);
    let mut source = lab.follow(&lab.url(), Reference::Default, "");
    source.snapshot().await;
    lab.commit("inventory/a.toml", "2");
    assert_eq!(text(&source.snapshot().await, "inventory/a.toml"), "2");
    lab.git(&["reset", "-q", "--hard", &first]);
    lab.git(&["reflog", "expire", "--expire=now", "--all"]);
    lab.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(text(&source.snapshot().await, "inventory/a.toml"), "1");
    lab.commit("inventory/a.toml", "3");
    assert_eq!(text(&source.snapshot().await, "inventory/a.toml"), "3");
    fs::remove_dir_all(lab.path("repo")).unwrap();
    source.failure().await;
    fs::create_dir(lab.path("repo")).unwrap();
    lab.git(&["init", "-q", "-b", "main"]);
    lab.commit("inventory/a.toml", "another history");
    source.handle.poke();
    let snapshot = loop {
        if let Update::Snapshot(snapshot) = source.next().await {
            break snapshot;
        }
    };
    assert_eq!(text(&snapshot, "inventory/a.toml"), "another history");
}

/// What no manifest can use is left out with a word; a manifest is not.
#[tokio::test]
async fn links_and_names_that_lead_nowhere_are_left_out() {
    let lab = Lab::new();
    let link = |target: &str, name: &str| symlink(target, lab.path("repo/inventory").join(name)).unwrap();
    link("nowhere", "dangling");
    link("/srv/iso/debian.iso", "debian.iso");
    link("../../../etc/passwd", "outward");
    link("round", "round");
    lab.git(&["add", "-A"]);
    lab.git(&["commit", "-q", "-m", "links"]);
    let mut source = lab.follow(&lab.url(), Reference::Default, "inventory");
    let snapshot = source.snapshot().await;
    assert_eq!(snapshot.files.keys().map(|path| &**path).collect::<Vec<_>>(), ["a.toml"]);
    let warnings: Vec<String> = snapshot.warnings().collect();
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    assert!(
        warnings[1].contains("/srv/iso/debian.iso") && warnings[1].contains("[media] paths"),
        "{warnings:?}"
    );
    link("nowhere", "dangling.toml");
    lab.git(&["add", "-A"]);
    lab.git(&["commit", "-q", "-m", "manifest"]);
    match source.next().await {
        Update::Failed(error) => assert_eq!(error.condition(), SourceCondition::Invalid, "{error}"),
        other => panic!("{other:?}"),
    }
}

/// Two megabytes of repository may be any number of gigabytes. What is too much is left out and named; a boot
/// that names it is refused then, and no other.
#[tokio::test]
async fn all_files_together_are_limited() {
    let lab = Lab::new();
    let zeros = |name: &str, mebibytes: u64, first: u8| {
        let file = fs::File::create(lab.path("repo").join(name)).unwrap();
        file.set_len(mebibytes << 20).unwrap();
        // Each is another content.
        (&file).write_all(&[first]).unwrap();
    };
    (0..9).for_each(|number| zeros(&format!("zeros-{number}"), 120, number));
    zeros("dump.img", 257, 0);
    lab.git(&["add", "-A"]);
    lab.git(&["commit", "-q", "-m", "bomb"]);
    let mut source = lab.follow(&lab.url(), Reference::Default, "");
    let snapshot = source.snapshot().await;
    assert_eq!(snapshot.left_out.keys().map(|path| &**path).collect::<Vec<_>>(), ["dump.img", "zeros-8"]);
    for (name, limit) in [("dump.img", "256 MiB"), ("zeros-8", "1024 MiB")] {
        let why = &snapshot.left_out[name].why;
        assert!(why.contains(limit) && why.contains("[media] paths"), "{why}");
    }
    assert!(snapshot.files.contains_key("zeros-7"));
    // A manifest of that size is no file to leave out.
    fs::rename(lab.path("repo/dump.img"), lab.path("repo/dump.toml")).unwrap();
    lab.git(&["add", "-A"]);
    lab.git(&["commit", "-q", "-m", "manifest"]);
    let why = source.failure().await;
    assert!(why.contains("dump.toml") && why.contains("256 MiB"), "{why}");
}

/// A partial clone may lack what its commits name.
#[tokio::test]
async fn a_partial_clone_is_named() {
    let lab = Lab::new();
    lab.git(&["config", "uploadpack.allowFilter", "true"]);
    let (from, to) = (format!("file://{}", lab.url()), lab.path("partial").display().to_string());
    lab.git(&["clone", "-q", "--filter=blob:none", "--no-checkout", &from, &to]);
    let why = lab.follow(&to, Reference::Default, "").failure().await;
    assert!(why.contains("is a partial clone"), "{why}");
}
