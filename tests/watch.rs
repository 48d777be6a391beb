//! A directory source, live: what people and tools do to a folder while the daemon follows it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};
use voldemort::model::{Inventory, Span};
use voldemort::source::git::Fetcher;
use voldemort::source::{Body, Handle, Snapshot, SourceConfig, Update, spawn};

/// Longest wait for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a change must be seen; the debouncer's quiet time is a third of it. Generous beyond
/// the 0.3 s promised because test machines stall.
const SOON: Duration = Duration::from_secs(2);

struct Lab {
    folder: TempDir,
    updates: Receiver<Update>,
    watch: Handle,
}

impl Lab {
    /// Follows `root`, a path below the lab's folder, after `prepare`.
    async fn new(root: &str, prepare: impl FnOnce(&Path)) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let (out, updates) = channel(16);
        let watch = spawn(
            SourceConfig {
                inventory: Inventory::Directory(folder.path().join(root)),
                poll: None,
                state: folder.path().join("state"),
                fetcher: Fetcher::default(),
            },
            out,
        );
        Lab { folder, updates, watch }
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.folder.path().join(path), text).unwrap();
    }

    async fn next(&mut self) -> Update {
        tokio::time::timeout(PATIENCE, self.updates.recv()).await.expect("an update in time").expect("alive")
    }

    async fn snapshot(&mut self) -> Snapshot {
        match self.next().await {
            Update::Snapshot(snapshot) => snapshot,
            Update::Failed(why) => panic!("{why}"),
        }
    }

    /// Waits until `path` holds `text`, over as many snapshots and failures as that takes.
    async fn until(&mut self, path: &str, text: &str) {
        let start = Instant::now();
        loop {
            if let Update::Snapshot(snapshot) = self.next().await
                && content(&snapshot, path).as_deref() == Some(text)
            {
                break;
            }
        }
        assert!(start.elapsed() < SOON, "seen after {:?}", start.elapsed());
    }
}

fn content(snapshot: &Snapshot, path: &str) -> Option<String> {
    match snapshot.files.get(path)? {
        Body::Inline { bytes, .. } => Some(String::from_utf8(bytes.to_vec()).unwrap()),
        Body::OnDisk { .. } => None,
    }
}

fn inventory(folder: &Path) {
    fs::create_dir(folder.join("inventory")).unwrap();
    fs::write(folder.join("inventory/a.toml"), "1").unwrap();
}

#[tokio::test]
async fn edits_renames_and_new_folders_are_seen() {
    let mut lab = Lab::new("inventory", inventory).await;
    assert_eq!(content(&lab.snapshot().await, "a.toml").unwrap(), "1");
    lab.write("inventory/a.toml", "2");
    lab.until("a.toml", "2").await;
    lab.write("inventory/.a.toml.new", "3");
    fs::rename(lab.folder.path().join("inventory/.a.toml.new"), lab.folder.path().join("inventory/a.toml"))
        .unwrap();
    lab.until("a.toml", "3").await;
    fs::create_dir_all(lab.folder.path().join("inventory/x/y/z")).unwrap();
    lab.write("inventory/x/y/z/b.toml", "4");
    lab.until("x/y/z/b.toml", "4").await;
    lab.write("inventory/x/y/z/b.toml", "5");
    lab.until("x/y/z/b.toml", "5").await;
    fs::remove_dir_all(lab.folder.path().join("inventory/x")).unwrap();
    assert_eq!(lab.snapshot().await.files.len(), 1);
}

#[tokio::test]
async fn a_root_that_is_a_swapped_link_is_followed() {
    let mut lab = Lab::new("links/current", |folder| {
        for version in ["v1", "v2"] {
            fs::create_dir_all(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("a.toml"), version).unwrap();
        }
        fs::create_dir(folder.join("links")).unwrap();
        symlink("../v1", folder.join("links/current")).unwrap();
    })
    .await;
    assert_eq!(content(&lab.snapshot().await, "a.toml").unwrap(), "v1");
    symlink("../v2", lab.folder.path().join("links/next")).unwrap();
    fs::rename(lab.folder.path().join("links/next"), lab.folder.path().join("links/current")).unwrap();
    lab.until("a.toml", "v2").await;
    lab.write("v2/a.toml", "v2, edited");
    lab.until("a.toml", "v2, edited").await;
}

#[tokio::test]
async fn a_config_map_is_followed() {
    let mut lab = Lab::new("inventory", |folder| {
        let root = folder.join("inventory");
        fs::create_dir_all(root.join("..1")).unwrap();
        fs::write(root.join("..1/a.toml"), "1").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/a.toml", root.join("a.toml")).unwrap();
    })
    .await;
    lab.until("a.toml", "1").await;
    let root = lab.folder.path().join("inventory");
    fs::create_dir(root.join("..2")).unwrap();
    fs::write(root.join("..2/a.toml"), "2").unwrap();
    symlink("..2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    lab.until("a.toml", "2").await;
}

#[tokio::test]
async fn a_removed_root_fails_and_comes_back() {
    let mut lab = Lab::new("inventory", inventory).await;
    lab.snapshot().await;
    for round in 0..2 {
        fs::rename(lab.folder.path().join("inventory"), lab.folder.path().join(format!("old-{round}")))
            .unwrap();
        let Update::Failed(why) = lab.next().await else { panic!("a missing root is never an empty one") };
        assert!(why.to_string().contains("inventory: no such file"), "{why}");
        fs::create_dir(lab.folder.path().join("inventory")).unwrap();
        let text = format!("again {round}");
        lab.write("inventory/a.toml", &text);
        lab.until("a.toml", &text).await;
        let text = format!("later {round}");
        lab.write("inventory/a.toml", &text);
        lab.until("a.toml", &text).await;
    }
}

#[tokio::test]
async fn a_root_whose_parents_are_missing_is_found_when_it_appears() {
    let mut lab = Lab::new("one/two/inventory", |_| ()).await;
    assert!(matches!(lab.next().await, Update::Failed(_)));
    fs::create_dir_all(lab.folder.path().join("one/two/inventory")).unwrap();
    lab.write("one/two/inventory/a.toml", "here");
    lab.until("a.toml", "here").await;
}

/// Nothing is reported when nothing changed; a poke looks again all the same.
#[tokio::test]
async fn only_changes_are_reported_and_a_poke_reads_again() {
    let mut lab = Lab::new("inventory", inventory).await;
    let first = lab.snapshot().await;
    lab.write("inventory/.hidden", "x");
    lab.write("neighbour", "x");
    lab.watch.poke();
    lab.write("inventory/a.toml", "2");
    let second = lab.snapshot().await;
    assert_ne!(first.revision, second.revision);
    assert_eq!(content(&second, "a.toml").unwrap(), "2");
}

/// A change that no notification reports, as on a network file system: one through a mapping.
#[tokio::test]
async fn what_is_not_reported_is_found_by_looking() {
    let folder = tempfile::tempdir().unwrap();
    inventory(folder.path());
    let path = folder.path().join("inventory/a.toml");
    let (out, updates) = channel(16);
    let config = SourceConfig {
        inventory: Inventory::Directory(folder.path().join("inventory")),
        poll: Some(Span::seconds(1)),
        state: folder.path().join("state"),
        fetcher: Fetcher::default(),
    };
    let watch = spawn(config, out);
    let mut lab = Lab { folder, updates, watch };
    lab.snapshot().await;
    assert!(lab.watch.next().is_some());
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    // SAFETY: one byte of a file of one byte, unmapped before the file goes.
    unsafe {
        let flags = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let map =
            libc::mmap(std::ptr::null_mut(), 1, flags.0, flags.1, std::os::fd::AsRawFd::as_raw_fd(&file), 0);
        assert_ne!(map, libc::MAP_FAILED);
        *map.cast::<u8>() = b'2';
        libc::munmap(map, 1);
    }
    drop(file);
    lab.until("a.toml", "2").await;
}

#[tokio::test]
async fn the_watch_ends_with_its_listener() {
    let lab = Lab::new("inventory", inventory).await;
    let Lab { folder, mut updates, watch } = lab;
    updates.recv().await.unwrap();
    updates.close();
    fs::write(folder.path().join("inventory/a.toml"), "2").unwrap();
    watch.poke();
    assert!(updates.recv().await.is_none());
}
