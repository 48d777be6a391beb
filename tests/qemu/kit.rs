//! What these tests share.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex};

/// Where the demo's disk counts its installations; `examples/demo/make-iso` says the same.
const COUNTER_SECTOR: u64 = 1024;

/// So many tests run machines at once: an emulated one keeps a processor busy, and has up to 1.5 GB of memory.
const TURNS: usize = 2;
static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

/// The right to run a machine, and the media for it.
pub(crate) struct Kit {
    pub media: PathBuf,
    pub inventory: PathBuf,
    _turn: Turn,
}

struct Turn;

impl Turn {
    fn wait() -> Turn {
        let mut taken = GIVEN_BACK.wait_while(TAKEN.lock().unwrap(), |taken| *taken >= TURNS).unwrap();
        *taken += 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap() -= 1;
        GIVEN_BACK.notify_one();
    }
}

/// `None`: something is missing and the test must end; the reason was printed.
pub(crate) fn kit(needs_root: bool) -> Option<Kit> {
    let turn = Turn::wait();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let media = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo-media");
    let missing = missing(needs_root).or_else(|| image(root, &media));
    if let Some(missing) = missing {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "missing: {missing}");
        eprintln!("SKIPPED, missing: {missing}");
        return None;
    }
    Some(Kit { media, inventory: root.join("examples/inventory"), _turn: turn })
}

fn missing(needs_root: bool) -> Option<String> {
    let files = [
        ("/usr/bin/qemu-system-x86_64", "package qemu-system-x86"),
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "package ovmf"),
        ("/usr/lib/ipxe/snponly.efi", "package ipxe"),
        ("/usr/lib/ipxe/qemu/pxe-virtio.rom", "package ipxe-qemu"),
        ("/dev/net/tun", "the tun device"),
    ];
    let absent = files.iter().find(|(file, _)| !Path::new(file).exists());
    if let Some((_, what)) = absent {
        return Some((*what).into());
    }
    let root = nix::unistd::geteuid().is_root();
    (needs_root && !root).then(|| "root, to make a private network inside the test".into())
}

/// Makes the demo's installation image, if there is none of this version of its parts.
fn image(root: &Path, media: &Path) -> Option<String> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let image = media.join("demo.iso");
    let parts = ["make-iso", "init"].map(|part| root.join("examples/demo").join(part));
    let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    if time(&image).is_some_and(|made| parts.iter().all(|part| time(part).is_some_and(|part| part < made))) {
        return None;
    }
    std::fs::create_dir_all(media).unwrap();
    let made = Command::new(&parts[0]).arg(&image).output().unwrap();
    (!made.status.success()).then(|| String::from_utf8_lossy(&made.stderr).into_owned())
}

/// How many times the demo's installer installed this disk.
pub(crate) fn installations(disk: &Path) -> u32 {
    let mut sector = [0; 512];
    let mut file = File::open(disk).unwrap();
    file.seek(SeekFrom::Start(COUNTER_SECTOR * 512)).unwrap();
    file.read_exact(&mut sector).unwrap();
    let text = String::from_utf8_lossy(&sector);
    let number = text.lines().next().and_then(|line| line.strip_prefix("installations "));
    number.map_or(0, |number| number.parse().unwrap())
}
