//! Disks that can hold a system.

use super::{Calls, Root};
use crate::api::agent::{DiskFacts, Transport};

/// Block devices that are no disks of the machine: made by the kernel, or for media that come and go.
const NO_DISKS: [&str; 10] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtdblock", "drbd"];
/// `/sys/block/NAME/size` counts sectors of this size, whatever the disk's own is.
const SECTOR: u64 = 512;

/// The names of the disks, as in `/sys/block`.
pub fn disk_names(root: &Root) -> Vec<String> {
    let mut names = root.names("sys/block");
    names.retain(|name| is_disk(root, name));
    names
}

/// One disk for as long as it is attached. After it was pulled the kernel may give its name to another one, and disks
/// of one model have one size: what was found out by reading a disk is kept under this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttachedDisk {
    name: String,
    sectors: u64,
    serial: Option<String>,
    wwn: Option<String>,
    /// The kernel's own number, which no other disk gets before the next start (`diskseq`, Linux 5.15).
    sequence: Option<u64>,
}

impl AttachedDisk {
    /// The disk that has this name now.
    pub fn of(root: &Root, name: &str) -> AttachedDisk {
        AttachedDisk {
            name: name.to_owned(),
            sectors: root.number(&format!("sys/block/{name}/size")).unwrap_or_default(),
            serial: serial(root, name),
            wwn: wwn(root, name),
            sequence: root.number(&format!("sys/block/{name}/diskseq")),
        }
    }

    /// Its name, as in `/sys/block`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

pub(super) fn read(root: &Root, calls: &Calls<'_>) -> Vec<DiskFacts> {
    disk_names(root).into_iter().map(|name| disk(root, calls, &name)).collect()
}

fn is_disk(root: &Root, name: &str) -> bool {
    let path = |file: &str| format!("sys/block/{name}/{file}");
    let no_disk = NO_DISKS.iter().any(|kind| name.starts_with(kind));
    // The other parts of an eMMC: what boots the board, and what is written under a key.
    let is_part = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    // One path of several to the same NVMe disk.
    let is_hidden = root.text(&path("hidden")).as_deref() == Some("1");
    // A card reader without a card.
    let is_empty = root.number(&path("size")).unwrap_or_default() == 0;
    !(no_disk || is_part || is_hidden || is_empty || !root.exists(&path("device")))
}

fn disk(root: &Root, calls: &Calls<'_>, name: &str) -> DiskFacts {
    let path = |file: &str| format!("sys/block/{name}/{file}");
    let text = |file: &str| root.text(&path(file));
    let number = |file: &str| root.number(&path(file)).and_then(|number| u32::try_from(number).ok());
    let mut disk = DiskFacts {
        path: format!("/dev/{name}"),
        model: text("device/model").or_else(|| text("device/name")),
        serial: serial(root, name),
        wwn: wwn(root, name),
        bytes: root.number(&path("size")).unwrap_or_default() * SECTOR,
        rotational: text("queue/rotational").as_deref() == Some("1"),
        transport: transport(name, &root.real(&format!("sys/block/{name}")).unwrap_or_default()),
        logical_block: number("queue/logical_block_size").unwrap_or_default(),
        physical_block: number("queue/physical_block_size").unwrap_or_default(),
        blank: (calls.blank)(name),
        read_only: text("ro").as_deref() == Some("1"),
        ..DiskFacts::default()
    };
    if disk.transport == Transport::Usb && disk.serial.is_none() {
        disk.serial = bridge_serial(root, &root.real(&format!("sys/block/{name}")).unwrap_or_default());
    }
    disk.id = disk.identity();
    disk
}

fn serial(root: &Root, name: &str) -> Option<String> {
    let path = |file: &str| format!("sys/block/{name}/{file}");
    root.text(&path("serial"))
        .or_else(|| root.text(&path("device/serial")))
        .or_else(|| unit_serial(root, &path("device/vpd_pg80")))
}

fn wwn(root: &Root, name: &str) -> Option<String> {
    let text = |file: &str| root.text(&format!("sys/block/{name}/{file}"));
    let wwid = text("wwid").or_else(|| text("device/wwid"))?;
    Some(wwid.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The serial number of the USB device on the way to a disk: many bridges don't pass on that of the disk.
fn bridge_serial(root: &Root, place: &str) -> Option<String> {
    let ways = place.match_indices('/').map(|(at, _)| &place[..at]);
    let device = ways.rev().find(|way| root.exists(&format!("{way}/idVendor")))?;
    root.text(&format!("{device}/serial"))
}

/// The page of vital product data with the serial number (SPC-5, 7.7.19): four bytes of header, the last two of
/// them its length.
fn unit_serial(root: &Root, path: &str) -> Option<String> {
    let page = root.bytes(path)?;
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let text = String::from_utf8_lossy(page.get(4..(4 + length).min(page.len()))?);
    let text = text.trim_matches(|sign: char| sign.is_whitespace() || sign == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// By the devices on the way to it.
fn transport(name: &str, place: &str) -> Transport {
    let passes = |start: &str| place.split('/').any(|word| word.starts_with(start));
    if name.starts_with("nvme") {
        Transport::Nvme
    } else if name.starts_with("mmcblk") {
        Transport::Mmc
    } else if passes("usb") {
        Transport::Usb
    } else if passes("ata") {
        Transport::Sata
    } else if passes("end_device-") || passes("sas_") {
        Transport::Sas
    } else if passes("virtio") {
        Transport::Virtio
    } else {
        Transport::Other
    }
}
