//! Loads the modules that the machine's devices want, again and again: a driver makes new devices appear.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::console::say;
use crate::agent::command_line::{blacklist, module_parameters};
use crate::agent::modules::{Index, Module, index};

const FOLDER: &str = "/lib/modules";
/// Longest time that [`settled`] is waited for: a driver that hangs must not keep the machine from saying hello.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static SETTLED: AtomicBool = AtomicBool::new(false);

/// Whether every device that was found has the modules that it wants.
pub(crate) fn settled() -> bool {
    SETTLED.load(Ordering::Acquire)
}

/// Looks for devices and loads, for ever: most within the first seconds, plugged ones later.
pub(crate) fn watch() {
    let mut loader = Loader::new();
    if loader.index.is_empty() {
        say(&format!("{} names no modules: only the drivers inside this kernel are there", index::PLACE));
    }
    let since = Instant::now();
    let mut pause = Duration::from_millis(100);
    loop {
        if loader.round() {
            pause = Duration::from_millis(100);
        } else {
            SETTLED.store(true, Ordering::Release);
            let longest = if since.elapsed() < PATIENCE { 1 } else { 10 };
            pause = (pause * 2).min(Duration::from_secs(longest));
        }
        std::thread::sleep(pause);
    }
}

/// What was loaded, or failed and is not tried again.
struct Loader {
    index: Index,
    command_line: String,
    blacklist: Vec<String>,
    done: BTreeSet<String>,
    /// Devices that were looked at.
    known: BTreeSet<String>,
    /// Whether a file of the index was found missing.
    incomplete: bool,
}

impl Loader {
    fn new() -> Loader {
        let command_line = super::start::command_line();
        Loader {
            index: read_index(),
            blacklist: blacklist(&command_line),
            command_line,
            done: BTreeSet::new(),
            known: BTreeSet::new(),
            incomplete: false,
        }
    }

    /// Loads for devices that are new; whether there were any that wanted something.
    fn round(&mut self) -> bool {
        let mut devices: Vec<String> = devices(Path::new("/sys")).into_iter().collect();
        devices.retain(|device| !self.known.contains(device));
        // Network cards first: what comes later may hang.
        devices.sort_by_key(|device| !is_network(device));
        let mut loaded = false;
        for device in devices {
            let wanted: Vec<String> = self.index.for_device(&device).map(String::from).collect();
            self.known.insert(device);
            for name in wanted {
                if !self.blacklist.contains(&name) {
                    loaded |= self.load(&name);
                }
            }
        }
        loaded
    }

    /// Loads a module and what it needs; whether anything was loaded.
    fn load(&mut self, name: &str) -> bool {
        let mut loaded = false;
        for module in self.index.order(name) {
            if !self.done.insert(module.name.clone()) {
                continue;
            }
            let parameters = module_parameters(&self.command_line, &module.name);
            match insert(module, &parameters) {
                Ok(()) => loaded = true,
                // Its device is not of a kind that it drives after all.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                // The kernel unpacks no more than half of the memory takes, and goes on.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if !std::mem::replace(&mut self.incomplete, true) {
                        let memory =
                            memory().map_or(String::new(), |mebibytes| format!(" ({mebibytes} MiB)"));
                        say(&format!(
                            "the initrd was not unpacked whole: this machine has too little memory{memory} for it"
                        ));
                    }
                }
                Err(error) => say(&format!("the module {} can't be loaded: {error}", module.name)),
            }
        }
        loaded
    }
}

/// What the kernel has, in MiB.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    Some(kibibytes?.trim().parse::<u64>().ok()? / 1024)
}

pub(super) fn read_index() -> Index {
    let text = std::fs::read(index::PLACE).unwrap_or_default();
    Index::read(&String::from_utf8_lossy(&text))
}

/// Puts one module into the kernel; one that is there already is fine.
pub(super) fn insert(module: &Module, parameters: &str) -> io::Result<()> {
    let path: PathBuf = Path::new(FOLDER).join(module.path.trim_start_matches(&format!("{FOLDER}/")[..]));
    let file = File::open(path)?;
    let parameters = CString::new(parameters).unwrap_or_default();
    // SAFETY: the descriptor is open and the text ends with NUL; both outlive the call, which keeps neither.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), parameters.as_ptr(), 0) };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(()),
        error if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        error => Err(error),
    }
}

/// The `modalias` of every device under this `/sys`.
fn devices(sys: &Path) -> BTreeSet<String> {
    let entries =
        |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = entries(sys.join("bus")).flat_map(|bus| entries(bus.join("devices")));
    let read = |device: PathBuf| std::fs::read_to_string(device.join("modalias")).ok();
    found.filter_map(read).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
}

/// PCI class 02, or the network device of virtio.
fn is_network(modalias: &str) -> bool {
    modalias.contains("bc02sc") || modalias.starts_with("virtio:d00000001")
}

/// Modules of the kernel that were asked for by name or alias, with what they need: the last error, if any.
pub(super) fn load_by_name(names: &[String]) -> io::Result<()> {
    let mut loader = Loader::new();
    let mut failures: BTreeMap<String, io::Error> = BTreeMap::new();
    for name in names {
        let asked: Vec<String> = loader.index.asked(name).into_iter().map(String::from).collect();
        if asked.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("{name} is not in {}", index::PLACE),
            ));
        }
        // A blacklist rules out aliases, not the name itself.
        let by_name = asked.first() == Some(&index::folded(name));
        for module in asked.iter().filter(|module| by_name || !loader.blacklist.contains(module)) {
            for module in loader.index.order(module) {
                let parameters = module_parameters(&loader.command_line, &module.name);
                if let Err(error) = insert(module, &parameters) {
                    failures.insert(module.name.clone(), error);
                }
                loader.done.insert(module.name.clone());
            }
        }
    }
    match failures.pop_last() {
        Some((name, error)) => Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_all_buses_are_found() {
        let sys = tempfile::tempdir().unwrap();
        for (device, alias) in
            [("pci/devices/0", "pci:v1bc02sc00\n"), ("usb/devices/1-1", "usb:v2\n"), ("usb/devices/2", "")]
        {
            let device = sys.path().join("bus").join(device);
            std::fs::create_dir_all(&device).unwrap();
            std::fs::write(device.join("modalias"), alias).unwrap();
        }
        std::fs::create_dir_all(sys.path().join("bus/pci/devices/none")).unwrap();
        assert_eq!(devices(sys.path()), ["pci:v1bc02sc00", "usb:v2"].map(String::from).into());
        assert!(is_network("pci:v1bc02sc00") && !is_network("usb:v2"));
    }
}
