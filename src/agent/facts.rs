//! What the machine is, read from /sys, /proc and /dev below a root directory: captured trees of other machines are
//! the tests.

mod disks;
mod lldp;
mod nics;
mod root;
mod smbios;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub use disks::{AttachedDisk, disk_names};
pub use lldp::neighbour;
pub use root::Root;

use crate::api::agent::{Facts, FirmwareMode, Neighbour, Processors};
use crate::model::Mac;

/// `EFI_GLOBAL_VARIABLE` (UEFI specification, 3.3).
const SECURE_BOOT: &str = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// What only the kernel's calls tell, not its files.
pub struct Calls<'a> {
    /// The address that the card of this name was made with (ETHTOOL_GPERMADDR).
    pub permanent_mac: &'a dyn Fn(&str) -> Option<Mac>,
    /// What switches said, by the name of the card.
    pub neighbours: &'a BTreeMap<String, Neighbour>,
    /// Whether the disk of this name is blank, where that was found out.
    pub blank: &'a dyn Fn(&str) -> bool,
    /// The address of the management controller, which only that itself says.
    pub bmc: Option<IpAddr>,
}

/// Reads everything. What is not there is absent, never an error.
pub fn read(root: &Root, calls: &Calls<'_>) -> Facts {
    let smbios = smbios::Table::read(root);
    let text = |structure, at| smbios.text(structure, at);
    let is_uefi = root.exists("sys/firmware/efi");
    let has_bios = root.exists("sys/firmware/dmi/tables") || smbios.has(smbios::FIRMWARE);
    let facts = Facts {
        arch: root.text("proc/sys/kernel/arch").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        firmware: match (is_uefi, has_bios) {
            (true, _) => FirmwareMode::Uefi,
            (false, true) => FirmwareMode::Bios,
            (false, false) => FirmwareMode::Unknown,
        },
        // Four bytes of attributes, then the value.
        secure_boot: if is_uefi {
            root.bytes(SECURE_BOOT).and_then(|bytes| Some(*bytes.get(4)? == 1))
        } else {
            None
        },
        tpm: root.text("sys/class/tpm/tpm0/tpm_version_major").map(|major| match &*major {
            "1" => "1.2".to_owned(),
            major => format!("{major}.0"),
        }),
        vendor: text(smbios::SYSTEM, 4),
        product: text(smbios::SYSTEM, 5),
        serial: text(smbios::SYSTEM, 7),
        uuid: smbios.uuid(),
        bios_vendor: text(smbios::FIRMWARE, 4),
        bios_version: text(smbios::FIRMWARE, 5),
        bios_date: text(smbios::FIRMWARE, 8),
        memory: smbios.memory().or_else(|| kernel_memory(root)).unwrap_or_default(),
        cpu: processors(root),
        nics: nics::read(root, calls),
        disks: disks::read(root, calls),
        bmc: calls.bmc,
    };
    facts.bounded()
}

/// What the kernel has, in bytes.
fn kernel_memory(root: &Root) -> Option<u64> {
    let text = root.text("proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

fn processors(root: &Root) -> Processors {
    const FOLDER: &str = "sys/devices/system/cpu";
    let is_processor =
        |name: &String| name.strip_prefix("cpu").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let (mut sockets, mut cores, mut threads) = (BTreeSet::new(), BTreeSet::new(), 0);
    for name in root.names(FOLDER).into_iter().filter(is_processor) {
        let topology = |file: &str| root.text(&format!("{FOLDER}/{name}/topology/{file}"));
        // One that is off has no topology.
        let Some(socket) = topology("physical_package_id") else { continue };
        // Kernels before 5.3 call the list by its older name.
        let siblings = topology("core_cpus_list").or_else(|| topology("thread_siblings_list"));
        cores.insert(siblings.unwrap_or_else(|| name.clone()));
        sockets.insert(socket);
        threads += 1;
    }
    let cpuinfo = root.text("proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Processors {
        sockets: sockets.len() as u32,
        cores: cores.len() as u32,
        threads,
        model: model.map(|(_, name)| name.split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}
