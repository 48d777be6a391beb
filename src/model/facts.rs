//! What our agent finds out about the hardware of a machine, in the words of its JSON: a closed list, each with its unit.
//!
//! What the agent could not find out is absent. Texts come from the hardware: they are printable and short once
//! [`Facts::bounded`] has gone over them, and say nothing that is believed for its own sake.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::junk::{is_junk_serial, is_junk_uuid};
use super::printable::is_printable;
use super::size::Size;

/// The hardware of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Facts {
    /// The processor family as the kernel names it: `x86_64`, `aarch64`, …
    pub arch: String,
    /// How its firmware booted it.
    pub firmware: FirmwareMode,
    /// Whether UEFI Secure Boot is on; absent without UEFI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// The version of its TPM, `1.2` or `2.0`; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<String>,
    /// SMBIOS type 1: who made the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// As people write it, the first three fields big-endian, in lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// SMBIOS type 0: who made the firmware, its version, and its date as it stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bios_vendor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bios_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bios_date: Option<String>,
    /// The memory that is installed (SMBIOS type 17), else what the kernel has, in bytes.
    pub memory: u64,
    pub cpu: Processors,
    /// Network cards, in the order of their kernel names.
    pub nics: Vec<Nic>,
    /// Disks that can hold a system: no CD drives, no empty card readers, no partitions.
    pub disks: Vec<DiskFacts>,
    /// The address of its management controller; absent without one that says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bmc: Option<std::net::IpAddr>,
}

/// How the firmware boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareMode {
    Bios,
    Uefi,
    /// It was not found out.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The processors of a machine, all together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Processors {
    /// Filled sockets.
    pub sockets: u32,
    pub cores: u32,
    pub threads: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A network card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Nic {
    /// As our agent's kernel names it.
    pub name: String,
    /// Its address now, `52:54:00:aa:00:01`.
    pub mac: String,
    /// The one that it was made with, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permanent_mac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Where it sits, `0000:00:03.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci: Option<String>,
    /// In Mbit/s; absent without a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<u64>,
    /// Whether it has a link.
    pub carrier: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<Neighbour>,
}

/// What the switch at the other end of a cable says of itself by LLDP (IEEE 802.1AB).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct Neighbour {
    /// Its name, else its chassis id.
    pub system: String,
    /// The port id, else the port's description.
    pub port: String,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default)]
pub struct DiskFacts {
    /// What it is known by; see [`DiskFacts::identity`].
    pub id: String,
    /// Its device file in our agent, `/dev/nvme0n1`.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// `wwid` of sysfs: `naa.5000c500a1b2c3d4`, `eui.0025388b01234567`, `nvme.…`, `t10.…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    pub bytes: u64,
    pub rotational: bool,
    pub transport: Transport,
    /// In bytes; 0 if it was not found out.
    pub logical_block: u32,
    pub physical_block: u32,
    /// Whether the first and the last MiB hold only zeros and no signature was found.
    pub blank: bool,
    pub read_only: bool,
}

/// How a disk is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Nvme,
    Sata,
    Sas,
    Virtio,
    Usb,
    Mmc,
    /// Another, or it was not found out.
    #[default]
    #[serde(other)]
    Other,
}

/// The longest text of a fact, in characters.
const TEXT_MAX: usize = 128;
/// A machine has no more network cards or disks than this; what is beyond is left out.
pub const PARTS_MAX: usize = 256;

impl DiskFacts {
    /// What a disk is known by, on whatever machine and under whatever name: its WWN, else its serial number with model
    /// and size, else its place with its size. Serial numbers that board makers put into everything identify nothing,
    /// nor do names of the form `t10.` (SPC-4 section 7.8.6.4), which are vendor, model and serial number, with such one.
    pub fn identity(&self) -> String {
        let serial = self.serial.as_deref().filter(|serial| !is_junk_serial(serial));
        let is_junk = |wwn: &str| wwn.starts_with("t10.") && is_junk_serial(last_word(wwn));
        match (self.wwn.as_deref().filter(|wwn| !is_junk(wwn)), serial) {
            (Some(wwn), _) if !wwn.is_empty() => format!("wwn:{wwn}"),
            (_, Some(serial)) => {
                let model = self.model.as_deref().unwrap_or("");
                format!("serial:{serial}:{model}:{}", self.bytes)
            }
            _ => format!("{PLACE}{}:{}", self.path, self.bytes),
        }
    }
}

/// What the identity of a disk begins with that is known by its place alone.
const PLACE: &str = "path:";

/// Whether an identity tells a disk from those of other machines.
pub fn is_unique_disk(identity: &str) -> bool {
    !identity.starts_with(PLACE)
}

fn last_word(text: &str) -> &str {
    text.split_whitespace().next_back().unwrap_or_default()
}

impl Facts {
    /// The same without control characters, endless texts and endless lists, and with the disks' own identities.
    pub fn bounded(mut self) -> Facts {
        clean(&mut self.arch);
        let texts = [
            &mut self.tpm,
            &mut self.vendor,
            &mut self.product,
            &mut self.serial,
            &mut self.uuid,
            &mut self.bios_vendor,
            &mut self.bios_version,
            &mut self.bios_date,
            &mut self.cpu.model,
        ];
        texts.into_iter().for_each(clean_optional);
        self.nics.truncate(PARTS_MAX);
        for nic in &mut self.nics {
            clean(&mut nic.name);
            clean(&mut nic.mac);
            [&mut nic.permanent_mac, &mut nic.driver, &mut nic.pci].into_iter().for_each(clean_optional);
            if let Some(neighbour) = &mut nic.neighbour {
                clean(&mut neighbour.system);
                clean(&mut neighbour.port);
            }
        }
        self.disks.truncate(PARTS_MAX);
        for disk in &mut self.disks {
            clean(&mut disk.path);
            [&mut disk.model, &mut disk.serial, &mut disk.wwn].into_iter().for_each(clean_optional);
            disk.id = disk.identity();
        }
        self
    }
}

impl Facts {
    /// In a few words, for people: `Dell Inc. PowerEdge R640 (serial ABC), 64 GiB, 2 disks, 2 network cards`.
    pub fn summary(&self) -> String {
        let make: Vec<&str> =
            [&self.vendor, &self.product].into_iter().flatten().map(String::as_str).collect();
        let mut parts = vec![if make.is_empty() { "a machine".to_owned() } else { make.join(" ") }];
        if let Some(serial) = self.serial.as_deref().filter(|serial| !is_junk_serial(serial)) {
            parts[0].push_str(&format!(" (serial {serial})"));
        }
        parts.push(Size(self.memory).to_string());
        parts.push(counted(self.disks.len(), "disk"));
        parts.push(counted(self.nics.len(), "network card"));
        parts.join(", ")
    }

    /// Whether nothing is other in later facts of the same machine on which it depends what boot programs run.
    pub fn boots_alike(&self, later: &Facts) -> bool {
        let cards = |facts: &Facts| -> Vec<String> {
            let own = |nic: &Nic| nic.permanent_mac.clone().unwrap_or_else(|| nic.mac.clone());
            let mut cards: Vec<String> = facts.nics.iter().map(own).collect();
            cards.sort();
            cards
        };
        let marks = |facts: &Facts| {
            let Facts { vendor, product, serial, uuid, bios_version, .. } = facts.clone();
            (facts.firmware, facts.secure_boot, vendor, product, serial, uuid, bios_version)
        };
        marks(self) == marks(later) && cards(self) == cards(later)
    }

    /// Why later facts can't be of the same machine: all marks that both show differ. Marks that many boards have count
    /// for nothing.
    pub fn other_than(&self, later: &Facts) -> Option<String> {
        let is_mark = |uuid: &&String| {
            let digits = u128::from_str_radix(&uuid.replace('-', ""), 16);
            digits.is_ok_and(|digits| !is_junk_uuid(digits.to_be_bytes()))
        };
        let uuid = |facts: &Facts| facts.uuid.as_ref().filter(is_mark).map(|uuid| uuid.to_ascii_lowercase());
        let serial = |facts: &Facts| facts.serial.clone().filter(|serial| !is_junk_serial(serial));
        let marks =
            [("UUID", uuid(self).zip(uuid(later))), ("serial number", serial(self).zip(serial(later)))];
        let both: Vec<_> =
            marks.into_iter().filter_map(|(what, pair)| pair.map(|pair| (what, pair))).collect();
        let differ = !both.is_empty() && both.iter().all(|(_, (was, is))| was != is);
        let said = |(what, (was, is)): &(&str, (String, String))| format!("its {what} was {was} and is {is}");
        differ.then(|| both.iter().map(said).collect::<Vec<_>>().join(", "))
    }

    /// What differs in later facts of the same machine, each in a few words. What changes with every start, such as
    /// links and kernel names, is no difference.
    pub fn changes(&self, later: &Facts) -> Vec<String> {
        let mut changes = Vec::new();
        let mut add = |name: &str, before: &str, after: &str| {
            if before != after {
                let shown = |text: &str| if text.is_empty() { "nothing" } else { text }.to_owned();
                changes.push(format!("{name} was {} and is {}", shown(before), shown(after)));
            }
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        add("the vendor", &text(&self.vendor), &text(&later.vendor));
        add("the product", &text(&self.product), &text(&later.product));
        add("the serial number", &text(&self.serial), &text(&later.serial));
        add("the UUID", &text(&self.uuid), &text(&later.uuid));
        add("the firmware", &text(&self.bios_version), &text(&later.bios_version));
        add("the processor", &text(&self.cpu.model), &text(&later.cpu.model));
        let cores = |facts: &Facts| facts.cpu.cores.to_string();
        add("the number of cores", &cores(self), &cores(later));
        add("the memory", &Size(self.memory).to_string(), &Size(later.memory).to_string());
        let disks = |facts: &Facts| -> Vec<(String, u64)> {
            facts.disks.iter().map(|disk| (disk.identity(), disk.bytes)).collect()
        };
        let nics = |facts: &Facts| -> Vec<(String, u64)> {
            let own = |nic: &Nic| nic.permanent_mac.clone().unwrap_or_else(|| nic.mac.clone());
            facts.nics.iter().map(|nic| (own(nic), 0)).collect()
        };
        moved("disk", &disks(self), &disks(later), &mut changes);
        moved("network card", &nics(self), &nics(later), &mut changes);
        changes
    }
}

/// What is gone, and what is new.
fn moved(what: &str, before: &[(String, u64)], after: &[(String, u64)], changes: &mut Vec<String>) {
    let shown = |(id, bytes): &(String, u64)| match bytes {
        0 => id.clone(),
        bytes => format!("{id} ({})", Size(*bytes)),
    };
    let gone = before.iter().filter(|one| !after.contains(one));
    changes.extend(gone.map(|one| format!("{what} {} is gone", shown(one))));
    let new = after.iter().filter(|one| !before.contains(one));
    changes.extend(new.map(|one| format!("{what} {} is new", shown(one))));
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What SMBIOS and disks pad their texts with goes.
fn clean(text: &mut String) {
    let kept: String = text.chars().filter(|c| is_printable(*c)).take(TEXT_MAX).collect();
    *text = kept.trim().to_owned();
}

fn clean_optional(text: &mut Option<String>) {
    if let Some(inner) = text {
        clean(inner);
    }
    if text.as_ref().is_some_and(String::is_empty) {
        *text = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_known_by_what_identifies_it() {
        let disk = DiskFacts { path: "/dev/sda".into(), bytes: 4096, ..DiskFacts::default() };
        assert_eq!(disk.identity(), "path:/dev/sda:4096");
        let numbered = DiskFacts { serial: Some("S1".into()), model: Some("M".into()), ..disk.clone() };
        assert_eq!(numbered.identity(), "serial:S1:M:4096");
        let named = DiskFacts { wwn: Some("naa.5000".into()), ..numbered.clone() };
        assert_eq!(named.identity(), "wwn:naa.5000");
        let junk = DiskFacts { serial: Some("To be filled by O.E.M.".into()), ..disk.clone() };
        assert_eq!(junk.identity(), "path:/dev/sda:4096");
        // A SATA disk of QEMU that nobody gave a serial number.
        let (serial, wwn) = (Some("QM00001".into()), Some("t10.ATA QEMU HARDDISK QM00001".into()));
        let counted = DiskFacts { serial, wwn, ..disk.clone() };
        assert_eq!(counted.identity(), "path:/dev/sda:4096");
        assert!(!is_unique_disk(&counted.identity()) && is_unique_disk(&numbered.identity()));
        let given = DiskFacts { wwn: Some("t10.ATA QEMU HARDDISK SATA-1".into()), ..disk };
        assert_eq!(given.identity(), "wwn:t10.ATA QEMU HARDDISK SATA-1");
    }

    #[test]
    fn another_machine_shows_other_marks_in_all_that_both_have() {
        let facts = |uuid: &str, serial: &str| Facts {
            uuid: (!uuid.is_empty()).then(|| uuid.into()),
            serial: (!serial.is_empty()).then(|| serial.into()),
            ..Facts::default()
        };
        let (one, other) = ("4c4c4544-0032-3510-8052-b4c04f4a3132", "4c4c4544-0032-3510-8052-b4c04f4a3133");
        let was = facts(one, "A1");
        let why = was.other_than(&facts(other, "B2")).unwrap();
        assert!(why.contains(other) && why.contains("its serial number was A1 and is B2"), "{why}");
        assert!(was.other_than(&facts("", "B2")).is_some());
        // A firmware that turns the bytes of its UUID round, or a board that lost its serial number.
        for same in [facts(other, "A1"), facts(one, "B2"), facts(one, ""), facts("", "")] {
            assert_eq!(was.other_than(&same), None);
        }
        let junk = "03000200-0400-0500-0006-000700080009";
        assert_eq!(facts(junk, "A1").other_than(&facts(junk, "Default string")), None);
        assert_eq!(facts(junk, "None").other_than(&facts(one, "B2")), None);
    }

    #[test]
    fn what_hardware_says_is_bounded() {
        let mut facts = Facts { vendor: Some("  ACME\u{7}\n ".into()), ..Facts::default() };
        facts.product = Some(" \0 ".into());
        facts.serial = Some("x".repeat(1000));
        facts.disks = vec![DiskFacts { id: "a lie".into(), ..DiskFacts::default() }; 1000];
        let bounded = facts.bounded();
        assert_eq!(bounded.vendor.as_deref(), Some("ACME"));
        assert_eq!((bounded.product, bounded.serial.map(|text| text.len())), (None, Some(TEXT_MAX)));
        assert_eq!((bounded.disks.len(), &*bounded.disks[0].id), (PARTS_MAX, "path::0"));
    }

    #[test]
    fn facts_of_a_later_agent_are_read() {
        let text = r#"{"arch": "x86_64", "firmware": "coreboot", "memory": 1, "gpus": [],
            "disks": [{"path": "/dev/sda", "transport": "fibre"}]}"#;
        let facts: Facts = serde_json::from_str(text).unwrap();
        assert_eq!((facts.firmware, facts.disks[0].transport), (FirmwareMode::Unknown, Transport::Other));
        let again: Facts = serde_json::from_str(&serde_json::to_string(&facts).unwrap()).unwrap();
        assert_eq!(again, facts);
    }
}
