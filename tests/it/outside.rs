//! Files outside the source that decide what is served: kernels, images, the key. Changes of them take
//! effect without a command, and the source's condition says what is missing. In process, on a real
//! directory, without a network.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::sync::mpsc;
use voldemort::api::resource::Order;
use voldemort::config::Write;
use voldemort::daemon::keeper::Keeper;
use voldemort::daemon::reconcile::{Follow, Followed, Reconciler};
use voldemort::media::{Shelf, Sight, identity};
use voldemort::model::{Content, Inventory, Name, SourceCondition, Span};
use voldemort::secret::{Key, Recipients, seal};
use voldemort::source::{Handle, SourceConfig, spawn};
use voldemort::state::{Server, SourceStatus};
use voldemort::store::{Saved, Store};

const PATIENCE: Duration = Duration::from_secs(30);
const HEAD: &str = "[subnet.lab]\ncidr = '10.0.10.0/24'\n[deployment.web-1]\nmac = '52:54:00:00:00:01'\n\
    address = '10.0.10.20'\nboot = 'b'\n";

/// A daemon without its sockets, over a directory.
pub(crate) struct House {
    folder: TempDir,
    keeper: Keeper,
    reconciler: Arc<Reconciler>,
    _handle: Handle,
}

fn only() -> Name {
    "inventory".parse().unwrap()
}

impl House {
    /// The inventory has these files.
    async fn new(files: &[(&str, &str)]) -> House {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("inventory/secrets")).unwrap();
        fs::create_dir(folder.path().join("media")).unwrap();
        for (path, text) in files {
            fs::write(folder.path().join("inventory").join(path), text).unwrap();
        }
        House::open(folder).await
    }

    /// Starts a daemon again that stopped here.
    async fn again(self) -> House {
        let House { folder, keeper, reconciler, _handle } = self;
        drop((reconciler, _handle));
        keeper.close().await;
        keeper.ended().await;
        // Its state directory is locked until the last of its tasks is gone.
        House::open(folder).await
    }

    /// A daemon over the folder `inventory` in it.
    pub(crate) async fn open(folder: TempDir) -> House {
        let state = folder.path().join("state");
        let (store, mut saved) = opened(&state).await;
        let kept = saved.kept.take();
        let (keeper, _) = Keeper::spawn(store, saved, Server::stand_in("10.0.10.1".parse().unwrap()));
        let place = SourceConfig {
            inventory: Inventory::Directory(folder.path().join("inventory")),
            poll: Some(Span::seconds(3600)),
            state: state.clone(),
            fetcher: Default::default(),
        };
        let followed =
            Followed { location: "here".into(), manual: false, place: place.clone(), writes: Write::Off };
        let follow = Follow {
            sources: [(only(), followed)].into(),
            environment: None,
            state: state.clone(),
            control: None,
        };
        let shelf = Shelf::new(vec![folder.path().join("media")], Some(state.join("digests")));
        let identity = Some(folder.path().join("age.key"));
        let reconciler = Arc::new(Reconciler::new(keeper.clone(), shelf, Vec::new(), identity, follow));
        if let Some(kept) = kept {
            reconciler.restore(kept).await;
        }
        let (updates, queue) = mpsc::channel(1);
        tokio::spawn(reconciler.clone().run(queue));
        let (out, mut found) = mpsc::channel(1);
        let handle = spawn(place, out);
        tokio::spawn(async move {
            while let Some(update) = found.recv().await {
                if updates.send((only(), update)).await.is_err() {
                    return;
                }
            }
        });
        House { folder, keeper, reconciler, _handle: handle }
    }

    fn media(&self, name: &str) -> PathBuf {
        self.folder.path().join("media").join(name)
    }

    pub(crate) async fn status(&self, what: &str, test: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
        let mut statuses = self.reconciler.statuses();
        let found = {
            let wait = statuses.wait_for(|all: &BTreeMap<Name, SourceStatus>| test(&all[&only()]));
            tokio::time::timeout(PATIENCE, wait).await.map(|found| found.unwrap()[&only()].clone())
        };
        found.unwrap_or_else(|_| panic!("{what}: {:?}", self.reconciler.statuses().borrow()[&only()]))
    }

    async fn condition(&self, condition: SourceCondition) -> SourceStatus {
        self.status(condition.name(), |status| status.condition == condition).await
    }

    /// Waits until the kernel that is served is the file as it is now.
    async fn serves(&self, path: &Path) {
        let start = std::time::Instant::now();
        while !self.is_served(path) {
            assert!(start.elapsed() < PATIENCE, "{path:?} is not served as it is");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_served(&self, path: &Path) -> bool {
        let table = self.keeper.state();
        let boot = table.desired().boots.values().next();
        let entry = boot.and_then(|boot| boot.kernel.entry.clone());
        let Some(Content::File { path: served, id, .. }) = entry.map(|entry| entry.content()) else {
            return false;
        };
        *served == *path && fs::metadata(path).is_ok_and(|found| id == identity::of(&found))
    }
}

/// As soon as the one before has let go of it.
async fn opened(state: &Path) -> (Store, Saved) {
    let start = std::time::Instant::now();
    loop {
        match Store::open(state, || [7; 48]) {
            Ok(opened) => return opened,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn manifest(kernel: &str) -> String {
    format!("{HEAD}[boot.b]\n{kernel}\n")
}

/// As after a copy that ended a while ago.
fn age(path: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
}

#[tokio::test]
async fn a_kernel_that_arrives_changes_or_goes_takes_effect_by_itself() {
    let house = House::new(&[("a.toml", &manifest("kernel = 'vmlinuz'"))]).await;
    let kernel = house.media("vmlinuz");
    let missing = house.condition(SourceCondition::Invalid).await;
    assert!(missing.reason.contains("`vmlinuz` was not found"), "{}", missing.reason);
    assert!(missing.reason.contains("[media] paths"), "{}", missing.reason);
    // It arrives, without any notification.
    fs::write(&kernel, "first").unwrap();
    house.condition(SourceCondition::Ready).await;
    house.serves(&kernel).await;
    // Touched; written to in place; replaced by a rename.
    age(&kernel, 3600);
    house.serves(&kernel).await;
    fs::write(&kernel, "second!").unwrap();
    house.serves(&kernel).await;
    fs::write(house.media("new"), "third one").unwrap();
    fs::rename(house.media("new"), &kernel).unwrap();
    house.serves(&kernel).await;
    assert_eq!(house.condition(SourceCondition::Ready).await.reason, "");
    // Gone: what is served stays, and everybody can see what is missing.
    fs::rename(&kernel, house.media("away")).unwrap();
    let gone = house.condition(SourceCondition::Invalid).await;
    assert!(gone.reason.contains("`vmlinuz` was not found"), "{}", gone.reason);
    assert_eq!(gone.applied, gone.attempted, "it is the served revision that lacks it");
    assert_eq!(house.keeper.state().desired().deployments.len(), 1);
    fs::rename(house.media("away"), &kernel).unwrap();
    house.condition(SourceCondition::Ready).await;
    house.serves(&kernel).await;
}

/// What can't be used beside it does not hold up what can.
#[tokio::test]
async fn one_damaged_file_does_not_stop_the_other() {
    let both = format!("{}[boot.c]\nkernel = 'other'\n", manifest("kernel = 'vmlinuz'"));
    let house = House::new(&[("a.toml", &both)]).await;
    let kernel = house.media("vmlinuz");
    fs::write(&kernel, "first").unwrap();
    fs::write(house.media("other"), "other").unwrap();
    house.condition(SourceCondition::Ready).await;
    fs::write(house.media("other"), "").unwrap();
    fs::write(&kernel, "second!").unwrap();
    let damaged = house.condition(SourceCondition::Invalid).await;
    assert!(damaged.reason.contains("`other` is empty"), "{}", damaged.reason);
    house.serves(&kernel).await;
    fs::write(house.media("other"), "again").unwrap();
    house.condition(SourceCondition::Ready).await;
}

#[tokio::test]
async fn an_images_digest_is_compared_again_when_it_changes() {
    let digest = "sha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'";
    let iso = format!("iso = {{ file = 'x.iso', {digest} }}\nkernel = 'k'");
    let house = House::new(&[("a.toml", &manifest(&iso))]).await;
    house.condition(SourceCondition::Invalid).await;
    fs::write(house.media("x.iso"), "half").unwrap();
    let half = house.status("another digest", |status| status.reason.contains("not the image")).await;
    assert_eq!(half.condition, SourceCondition::Invalid);
    // The digest is right then; that it is no image is found next.
    fs::write(house.media("x.iso"), "abc").unwrap();
    house.status("the right digest", |status| status.reason.contains("neither an ISO 9660")).await;
    // What can't be read, to its end or at all, is reported at once.
    for (target, words) in [
        (PathBuf::from("/dev/zero"), "it is not a regular file but a character device"),
        (PathBuf::from("/proc/self/status"), "a file system of the kernel"),
        (house.media("fifo"), "it is not a regular file but a FIFO (named pipe)"),
    ] {
        if words.contains("FIFO") {
            nix::unistd::mkfifo(&target, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        fs::remove_file(house.media("x.iso")).unwrap();
        std::os::unix::fs::symlink(&target, house.media("x.iso")).unwrap();
        let refused = house.status(words, |status| status.reason.contains(words)).await;
        assert!(
            refused.condition == SourceCondition::Invalid && refused.reason.contains("a.toml:"),
            "{}",
            refused.reason
        );
    }
    // The daemon goes on following.
    fs::write(house.media("vmlinuz"), "kernel").unwrap();
    fs::write(house.folder.path().join("inventory/a.toml"), manifest("kernel = 'vmlinuz'")).unwrap();
    house.condition(SourceCondition::Ready).await;
}

/// The digest of a large image takes minutes: the status shows the progress, and the daemon continues.
#[tokio::test]
async fn a_large_image_holds_up_nothing() {
    let iso = format!("iso = {{ file = 'x.iso', sha256 = '{}' }}\nkernel = 'k'", "0".repeat(64));
    let house = House::new(&[("a.toml", &manifest(&iso))]).await;
    house.condition(SourceCondition::Invalid).await;
    // Nothing but holes, and hours to go on a slow disk.
    File::create(house.media("x.iso")).unwrap().set_len(64 << 30).unwrap();
    let waiting = house.condition(SourceCondition::Waiting).await;
    assert!(
        waiting.reason.starts_with("waiting for x.iso: its sha256 is being computed: "),
        "{}",
        waiting.reason
    );
    assert!(waiting.reason.contains(" % of 65536 MiB"), "{}", waiting.reason);
    let later = house.status("progress", |status| status.reason != waiting.reason).await;
    assert_eq!((later.condition, later.since), (SourceCondition::Waiting, waiting.since));
    let events = house
        .keeper
        .timeline()
        .events(0, 1000, |_| true)
        .1
        .into_iter()
        .filter(|(_, event)| event.text.contains("Waiting"));
    assert_eq!(events.count(), 1, "how far it is is no news");
    fs::write(house.media("vmlinuz"), "kernel").unwrap();
    fs::write(house.folder.path().join("inventory/a.toml"), manifest("kernel = 'vmlinuz'")).unwrap();
    house.condition(SourceCondition::Ready).await;
}

/// Reproducible builds have one time for all, and some are of one length.
#[tokio::test]
async fn other_bytes_of_the_same_length_and_time_are_noticed() {
    let digest = "sha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'";
    let iso = format!("iso = {{ file = 'x.iso', {digest} }}\nkernel = 'k'");
    let house = House::new(&[("a.toml", &manifest(&iso))]).await;
    let image = house.media("x.iso");
    let then = SystemTime::now() - Duration::from_secs(3600);
    let put = |text: &str| {
        fs::write(&image, text).unwrap();
        File::open(&image).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
    };
    put("abd");
    house.status("another digest", |status| status.reason.contains("not the image")).await;
    put("abc");
    house.status("the right digest", |status| status.reason.contains("neither an ISO 9660")).await;
    put("abd");
    house.status("another digest", |status| status.reason.contains("not the image")).await;
}

/// Permissions are no part of what a file is, and decide whether it can be served.
#[test]
fn permissions_that_change_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmlinuz");
    fs::write(&path, "kernel").unwrap();
    let before = Sight::at(&path).unwrap();
    // The clock of a file system may tick a hundred times a second only.
    let start = std::time::Instant::now();
    while Sight::at(&path).unwrap() == before {
        assert!(start.elapsed() < PATIENCE);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    }
    assert_eq!(Sight::at(&path).unwrap().id, before.id);
}

/// What a source has to show for itself must not hide that something it serves is gone.
#[tokio::test]
async fn what_is_missing_shows_beside_everything_else() {
    let good = manifest("kernel = 'vmlinuz'");
    let house = House::new(&[("a.toml", &good)]).await;
    let (kernel, away) = (house.media("vmlinuz"), house.media("away"));
    fs::write(&kernel, "kernel").unwrap();
    house.condition(SourceCondition::Ready).await;
    let written = |text: &str| fs::write(house.folder.path().join("inventory/a.toml"), text).unwrap();
    let lacking = async |condition: SourceCondition| {
        fs::rename(&kernel, &away).unwrap();
        let both = |status: &SourceStatus| {
            status.condition == condition && status.reason.contains("`vmlinuz` was not found")
        };
        let status = house.status(condition.name(), both).await;
        assert!(status.reason.contains("what is served lacks something"), "{}", status.reason);
        fs::rename(&away, &kernel).unwrap();
        let alone = |status: &SourceStatus| {
            status.condition == condition && !status.reason.contains("lacks something")
        };
        house.status(condition.name(), alone).await.reason
    };
    house.reconciler.order(Order::Suspend { reason: "racks".into(), seconds: None }).await.unwrap();
    assert!(lacking(SourceCondition::Suspended).await.contains("racks"));
    house.reconciler.order(Order::Resume).await.unwrap();
    house.condition(SourceCondition::Ready).await;
    written("rubbish = ");
    house.condition(SourceCondition::Invalid).await;
    assert!(lacking(SourceCondition::Invalid).await.contains("a.toml"));
    written(&good);
    house.condition(SourceCondition::Ready).await;
    fs::rename(&kernel, &away).unwrap();
    house.condition(SourceCondition::Invalid).await;
    // Nothing but a start in between.
    let house = house.again().await;
    let status = house.condition(SourceCondition::Invalid).await;
    assert!(status.reason.contains("`vmlinuz` was not found"), "{}", status.reason);
    assert_eq!(house.keeper.state().desired().deployments.len(), 1);
    fs::rename(&away, &kernel).unwrap();
    house.condition(SourceCondition::Ready).await;
    house.serves(&kernel).await;
}

/// `check` reads manifests of up to 16 MiB, and so does the daemon.
#[tokio::test]
async fn a_manifest_that_grows_keeps_its_machines() {
    let house = House::new(&[("a.toml", &manifest("kernel = 'vmlinuz'"))]).await;
    fs::write(house.media("vmlinuz"), "kernel").unwrap();
    let first = house.condition(SourceCondition::Ready).await;
    let grown = |length: usize| {
        let text = manifest("kernel = 'vmlinuz'");
        fs::write(house.folder.path().join("inventory/a.toml"), text + &"# 456789\n".repeat(length / 9))
            .unwrap();
    };
    grown(3 << 20);
    let second = house.status("grown", |status| status.applied != first.applied).await;
    assert_eq!((second.condition.name(), house.keeper.state().desired().deployments.len()), ("Ready", 1));
    grown(17 << 20);
    let refused = house.condition(SourceCondition::Invalid).await;
    assert!(refused.reason.contains("larger than 16 MiB"), "{}", refused.reason);
    assert_eq!(house.keeper.state().desired().deployments.len(), 1);
}

/// An inventory with a secret, sealed for this key.
fn with_secret(key: &Key) -> (String, Vec<u8>) {
    let text = format!(
        "{}[template.t]\nkind = 'plain'\nfile = 't.liquid'\n[template.t.vars]\nroot-hash = {{ type = 'secret' }}\n",
        manifest("kernel = 'vmlinuz'\ncmdline = ['x={{ answers_url }}']")
    );
    let text = text
        .replace("boot = 'b'\n", "boot = 'b'\ntemplate = 't'\nvars = { root-hash = { secret = 'root' } }\n");
    (text, seal(&Recipients::parse(&key.public()).0, "hunter2").unwrap())
}

#[tokio::test]
async fn a_key_that_arrives_late_is_taken() {
    let key = Key::generate();
    let (text, sealed) = with_secret(&key);
    let house = House::new(&[("a.toml", &text), ("t.liquid", "{{ root_hash }} {{ completed_url }}\n")]).await;
    fs::write(house.media("vmlinuz"), "kernel").unwrap();
    fs::write(house.folder.path().join("inventory/secrets/root.age"), sealed).unwrap();
    let missing = house.status("no key", |status| status.reason.contains("age.key")).await;
    assert_eq!(missing.condition, SourceCondition::Invalid, "{}", missing.reason);
    fs::write(house.folder.path().join("age.key"), key.file()).unwrap();
    let ready = house.condition(SourceCondition::Ready).await;
    assert_eq!(ready.reason, "");
    let known = |house: &House| house.keeper.state().secrets().get("root");
    assert_eq!(known(&house).as_deref(), Some("hunter2"));
    // It goes: what is in memory stays, and the status says what is missing.
    let (path, away) = (house.folder.path().join("age.key"), house.folder.path().join("away.key"));
    fs::rename(&path, &away).unwrap();
    let gone = house.condition(SourceCondition::Invalid).await;
    assert!(gone.reason.contains("age.key"), "{}", gone.reason);
    assert_eq!(known(&house).as_deref(), Some("hunter2"));
    // A start without it serves everything that needs no secret.
    let house = house.again().await;
    let gone = house.condition(SourceCondition::Invalid).await;
    assert!(gone.reason.contains("age.key"), "{}", gone.reason);
    assert_eq!((known(&house), house.keeper.state().desired().deployments.len()), (None, 1));
    fs::rename(&away, &path).unwrap();
    house.condition(SourceCondition::Ready).await;
    assert_eq!(known(&house).as_deref(), Some("hunter2"));
}

/// A link to a big disk is the natural way to a big image.
#[tokio::test]
async fn a_link_into_a_media_directory_is_followed_and_no_other() {
    let house = House::new(&[("a.toml", &manifest("kernel = 'vmlinuz'"))]).await;
    house.condition(SourceCondition::Invalid).await;
    let link = house.folder.path().join("inventory/vmlinuz");
    fs::write(house.folder.path().join("host"), "secret").unwrap();
    std::os::unix::fs::symlink(house.folder.path().join("host"), &link).unwrap();
    let outside =
        house.status("outside", |status| status.reason.contains("leads out of the inventory")).await;
    assert!(outside.reason.contains("[media] paths"), "{}", outside.reason);
    fs::write(house.media("linux"), "kernel").unwrap();
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(house.media("linux"), &link).unwrap();
    house.condition(SourceCondition::Ready).await;
}
