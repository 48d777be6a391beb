//! Disks: how they are named, and what they are like.

use std::fmt;

use super::facts::{DiskFacts, Transport};
use super::size::Size;

/// What the one disk is like that is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    pub serial: Option<String>,
    /// The World Wide Name or a part of it, and likewise the model.
    pub wwn: Option<String>,
    pub model: Option<String>,
    /// In bytes.
    pub min_size: Option<u64>,
    pub max_size: Option<u64>,
    pub rotational: Option<bool>,
    pub transport: Option<String>,
}

/// What the kernel counts a disk's size in; installers compare that number.
const SECTOR: u64 = 512;
/// The longest serial number that virtio passes on.
const VIRTIO_SERIAL: usize = 20;

impl Hints {
    /// Whether a disk is like this; by the rules of `templates/part/disk.liquid`, which asks the machine itself.
    pub fn fits(&self, disk: &DiskFacts) -> bool {
        let squeezed = |text: &str| text.replace(' ', "");
        let is = |wanted: &Option<String>, fits: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(fits);
        let found = |text: &Option<String>| text.clone().unwrap_or_default();
        let sectors = |bytes: u64| bytes / SECTOR;
        is(&self.serial, &|wanted| squeezed(wanted) == squeezed(&found(&disk.serial)))
            && is(&self.wwn, &|wanted| {
                squeezed(&found(&disk.wwn)).contains(&squeezed(&wanted.replacen("0x", "", 1)))
            })
            && is(&self.model, &|wanted| found(&disk.model).contains(wanted))
            && self.min_size.is_none_or(|least| sectors(disk.bytes) >= sectors(least))
            && self.max_size.is_none_or(|most| sectors(disk.bytes) <= sectors(most))
            && self.rotational.is_none_or(|wanted| disk.rotational == wanted)
            && is(&self.transport, &|wanted| disk.transport.name() == wanted)
    }

    /// A single hint that fits this disk alone among all disks of its machine, if there is one.
    pub fn telling(disk: &DiskFacts, all: &[DiskFacts]) -> Option<Hints> {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let whole_gib = disk.bytes >> 30 << 30;
        let transport = Some(disk.transport.name().to_owned());
        let none = Hints::default;
        let candidates = [
            Hints { serial: text(&disk.serial), ..none() },
            Hints { wwn: text(&disk.wwn), ..none() },
            Hints { model: text(&disk.model), ..none() },
            Hints { min_size: (whole_gib > 0).then_some(whole_gib), ..none() },
            Hints { max_size: (whole_gib > 0).then_some(whole_gib + (1 << 30)), ..none() },
            Hints { transport: transport.filter(|_| disk.transport.is_known()), ..none() },
            Hints { rotational: Some(disk.rotational), ..none() },
        ];
        let alone = |hints: &Hints| all.iter().filter(|one| hints.fits(one)).count() == 1;
        candidates.into_iter().filter(|hints| *hints != none()).find(alone)
    }
}

/// As manifests write it.
impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &String| format!("{text:?}");
        let size = |bytes: &u64| format!("\"{}\"", Size(*bytes).written());
        let parts = [
            ("serial", self.serial.as_ref().map(quoted)),
            ("wwn", self.wwn.as_ref().map(quoted)),
            ("model", self.model.as_ref().map(quoted)),
            ("min-size", self.min_size.as_ref().map(size)),
            ("max-size", self.max_size.as_ref().map(size)),
            ("rotational", self.rotational.map(|flag| flag.to_string())),
            ("transport", self.transport.as_ref().map(quoted)),
        ];
        let written = parts.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", value?)));
        write!(f, "{{ {} }}", written.collect::<Vec<_>>().join(", "))
    }
}

impl DiskFacts {
    /// The name below `/dev/disk/by-id` that udev gives it (60-persistent-storage.rules), where that follows from what
    /// our agent has found out.
    pub fn by_id(&self) -> Option<String> {
        let wwn = self.wwn.as_deref().unwrap_or_default();
        let naa = wwn.strip_prefix("naa.").filter(|digits| {
            matches!(digits.len(), 16 | 32) && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        let is_plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
        };
        let serial =
            self.serial.as_deref().filter(|serial| serial.len() <= VIRTIO_SERIAL && is_plain(serial));
        let name = match self.transport {
            Transport::Sata | Transport::Sas => format!("wwn-0x{}", naa?.to_ascii_lowercase()),
            // A disk of virtio-scsi is a SCSI disk.
            Transport::Virtio if self.path.starts_with("/dev/vd") => format!("virtio-{}", serial?),
            Transport::Virtio => format!("wwn-0x{}", naa?.to_ascii_lowercase()),
            Transport::Nvme if is_plain(wwn) => format!("nvme-{wwn}"),
            Transport::Nvme | Transport::Usb | Transport::Mmc | Transport::Other => return None,
        };
        Some(format!("/dev/disk/by-id/{name}"))
    }

    /// For people: `Samsung SSD 870 (serial number S5, 931.6 GiB, /dev/sda)`.
    pub fn described(&self) -> String {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let serial = text(&self.serial).map(|serial| format!("serial number {serial}"));
        let mark = serial.or_else(|| text(&self.wwn).map(|wwn| format!("WWN {wwn}")));
        let mark = mark.unwrap_or_else(|| "no serial number".to_owned());
        let model = text(&self.model).unwrap_or_else(|| "a disk".to_owned());
        format!("{model} ({mark}, {}, {})", Size(self.bytes), self.path)
    }
}

impl Transport {
    /// As hints name it.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Nvme => "nvme",
            Transport::Sata => "sata",
            Transport::Sas => "sas",
            Transport::Virtio => "virtio",
            Transport::Usb => "usb",
            Transport::Mmc => "mmc",
            Transport::Other => "other",
        }
    }

    /// Whether hints can name it.
    const fn is_known(self) -> bool {
        !matches!(self, Transport::Mmc | Transport::Other)
    }
}

/// The kernel's name of a whole disk, as `sda` or `nvme0n1`: which disk has it may change with every start.
pub fn is_kernel_name(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let letters = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase());
    if let Some((controller, number)) = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n')) {
        return digits(controller) && digits(number);
    }
    let lettered = ["sd", "vd", "xvd", "hd", "dasd"].iter().filter_map(|prefix| name.strip_prefix(prefix));
    let is_lettered = lettered.into_iter().any(letters);
    is_lettered || ["mmcblk", "pmem"].iter().filter_map(|prefix| name.strip_prefix(prefix)).any(digits)
}

/// The disk of a partition that the kernel names so, as `sda` of `sda1` and `nvme0n1` of `nvme0n1p2`.
pub fn disk_of_partition(name: &str) -> Option<&str> {
    let disk = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if disk.len() == name.len() {
        return None;
    }
    // Names that end in a digit have a `p` between.
    let disk = match disk.strip_suffix('p') {
        Some(numbered) if numbered.ends_with(|c: char| c.is_ascii_digit()) => numbered,
        _ => disk,
    };
    is_kernel_name(disk).then_some(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(path: &str, transport: Transport, serial: &str, wwn: &str) -> DiskFacts {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        DiskFacts {
            path: path.into(),
            transport,
            serial: text(serial),
            wwn: text(wwn),
            model: Some("ACME Disk".into()),
            bytes: 480 << 30,
            ..DiskFacts::default()
        }
    }

    #[test]
    fn every_hint_has_to_fit() {
        let one = disk("/dev/sda", Transport::Sata, "S 1", "naa.5000c500a1b2c3d4");
        let none = Hints::default;
        let some = |text: &str| Some(text.to_owned());
        for (hints, fits) in [
            (none(), true),
            (Hints { serial: some("S1"), ..none() }, true),
            (Hints { serial: some("S"), ..none() }, false),
            (Hints { wwn: some("0x5000c500"), ..none() }, true),
            (Hints { wwn: some("eui"), ..none() }, false),
            (Hints { model: some("ACME"), ..none() }, true),
            (Hints { model: some("acme"), ..none() }, false),
            (Hints { min_size: Some(480 << 30), max_size: Some(480 << 30), ..none() }, true),
            (Hints { min_size: Some(481 << 30), ..none() }, false),
            (Hints { max_size: Some(479 << 30), ..none() }, false),
            (Hints { rotational: Some(true), ..none() }, false),
            (Hints { transport: some("sata"), ..none() }, true),
            (Hints { transport: some("nvme"), serial: some("S1"), ..none() }, false),
        ] {
            assert_eq!(hints.fits(&one), fits, "{hints}");
        }
    }

    #[test]
    fn a_hint_that_tells_a_disk_from_the_others_is_found() {
        let telling = |all: &[DiskFacts]| Hints::telling(&all[0], all).map(|hints| hints.to_string());
        let sata =
            |serial: &str, bytes: u64| DiskFacts { bytes, ..disk("/dev/sda", Transport::Sata, serial, "") };
        assert_eq!(telling(&[sata("A", 1), sata("B", 1)]).as_deref(), Some("{ serial = \"A\" }"));
        let larger = telling(&[sata("A", 2 << 40), sata("A", 1 << 40)]);
        assert_eq!(larger.as_deref(), Some("{ min-size = \"2 TiB\" }"));
        let smaller = telling(&[sata("A", 1 << 40), sata("A", 2 << 40)]);
        assert_eq!(smaller.as_deref(), Some("{ max-size = \"1025 GiB\" }"));
        let nvme = disk("/dev/nvme0n1", Transport::Nvme, "A", "");
        let by_transport = telling(&[nvme, disk("/dev/sda", Transport::Sata, "A", "")]);
        assert_eq!(by_transport.as_deref(), Some("{ transport = \"nvme\" }"));
        assert_eq!(telling(&[sata("A", 1), sata("A", 1)]), None);
    }

    #[test]
    fn stable_names_are_those_of_udev() {
        let by_id = |disk: DiskFacts| disk.by_id();
        let named = |name: &str| Some(format!("/dev/disk/by-id/{name}"));
        let naa = "naa.5000c500a1b2c3d4";
        assert_eq!(by_id(disk("/dev/sda", Transport::Sata, "S", naa)), named("wwn-0x5000c500a1b2c3d4"));
        let raid = "naa.600508b1001c0123456789abcdef0123";
        assert_eq!(
            by_id(disk("/dev/sda", Transport::Sas, "S", raid)),
            named("wwn-0x600508b1001c0123456789abcdef0123")
        );
        let eui = "eui.0025388b01234567";
        assert_eq!(by_id(disk("/dev/nvme0n1", Transport::Nvme, "S", eui)), named(&format!("nvme-{eui}")));
        assert_eq!(by_id(disk("/dev/vda", Transport::Virtio, "root-1", "")), named("virtio-root-1"));
        for none in [
            disk("/dev/sda", Transport::Sata, "S", "t10.ATA QEMU HARDDISK S"),
            disk("/dev/sda", Transport::Usb, "S", naa),
            disk("/dev/vda", Transport::Virtio, "", ""),
            disk("/dev/vda", Transport::Virtio, "a/b", ""),
            disk("/dev/vda", Transport::Virtio, "longer-than-20-characters", ""),
            disk("/dev/nvme0n1", Transport::Nvme, "S", ""),
        ] {
            assert_eq!(none.by_id(), None, "{none:?}");
        }
    }

    #[test]
    fn kernel_names_are_known() {
        for name in ["sda", "sdaa", "vdb", "xvda", "nvme0n1", "nvme10n2", "mmcblk0", "dasda"] {
            assert!(is_kernel_name(name) && disk_of_partition(name).is_none(), "{name}");
        }
        for name in ["", "sd", "sda1", "nvme0", "nvme0n1p1", "mmcblk0p1", "md0", "/dev/sda", "disk", "sdA"] {
            assert!(!is_kernel_name(name), "{name}");
        }
        let partitions =
            [("sda1", "sda"), ("nvme0n1p2", "nvme0n1"), ("mmcblk0p1", "mmcblk0"), ("vdb12", "vdb")];
        for (name, disk) in partitions {
            assert_eq!(disk_of_partition(name), Some(disk));
        }
        assert_eq!(disk_of_partition("md127"), None);
    }
}
