//! What a selector asks of the hardware that our agent found: `memory = ">= 16 GiB"`.
//!
//! A selector has labels and facts in one table. A value that begins with a comparison is about a fact: of a closed list,
//! each with its unit. Any other value is a label's.

use std::collections::BTreeMap;
use std::fmt;

use super::facts::{DiskFacts, Facts, FirmwareMode, Transport};
use super::size::Size;
use super::words::words;

words! {
    /// A fact that machines can be chosen by.
    pub enum Fact {
        /// In bytes, `">= 16 GiB"`; likewise below.
        Memory = "memory",
        Sockets = "sockets",
        Cores = "cores",
        Threads = "threads",
        /// How many disks there are.
        Disks = "disks",
        DisksNvme = "disks.nvme",
        /// Those that do not rotate, NVMe among them.
        DisksSsd = "disks.ssd",
        DisksHdd = "disks.hdd",
        /// All disks together.
        DisksBytes = "disks.bytes",
        DisksLargest = "disks.largest",
        DisksSmallest = "disks.smallest",
        Nics = "nics",
        /// Of the fastest link, `">= 10 Gbit/s"`.
        NicsSpeed = "nics.speed",
        Arch = "arch",
        /// `bios` or `uefi`.
        Firmware = "firmware",
        /// `on`, `off` or `none`.
        SecureBoot = "secure-boot",
        /// Its version, or `none`.
        Tpm = "tpm",
        Vendor = "vendor",
        Product = "product",
    }
}

/// How a fact is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    More,
    Less,
    Is,
    IsNot,
}

/// The signs, the longer ones first.
const SIGNS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Is),
    ("!=", Comparison::IsNot),
    (">", Comparison::More),
    ("<", Comparison::Less),
];

/// What a fact is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Count,
    Bytes,
    Speed,
    Text,
}

/// One term of a selector about hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    fact: Fact,
    comparison: Comparison,
    value: Amount,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Amount {
    Number(u64),
    Text(String),
}

/// Why a term is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    #[error("there is no fact called `{0}`")]
    Unknown(String),
    #[error("`{fact}` is compared with {with}")]
    Value { fact: Fact, with: &'static str },
    #[error("`{0}` is a text: it is compared with == or !=")]
    Order(Fact),
}

/// Whether a selector's value is about a fact and not a label's.
pub fn is_wish(value: &str) -> bool {
    SIGNS.iter().any(|(sign, _)| value.trim_start().starts_with(sign))
}

impl Wish {
    /// Reads a term; `None` where it is a label.
    pub fn read(name: &str, value: &str) -> Option<Result<Wish, WishError>> {
        let value = value.trim();
        let (sign, comparison) = SIGNS.iter().find(|(sign, _)| value.starts_with(sign))?;
        Some(Wish::of(name, *comparison, value[sign.len()..].trim()))
    }

    fn of(name: &str, comparison: Comparison, value: &str) -> Result<Wish, WishError> {
        let fact = Fact::named(name).ok_or_else(|| WishError::Unknown(name.to_owned()))?;
        let unit = fact.unit();
        let wrong = WishError::Value { fact, with: unit.example() };
        let is_ordered = !matches!(comparison, Comparison::Is | Comparison::IsNot);
        if unit == Unit::Text && is_ordered {
            return Err(WishError::Order(fact));
        }
        let number = |found: Option<u64>| found.map(Amount::Number).ok_or(wrong.clone());
        let value = match unit {
            Unit::Count => number(value.parse().ok())?,
            Unit::Bytes => number(value.parse::<Size>().ok().map(|size| size.0))?,
            Unit::Speed => number(megabits(value))?,
            Unit::Text if value.is_empty() => return Err(wrong),
            Unit::Text => Amount::Text(value.to_owned()),
        };
        Ok(Wish { fact, comparison, value })
    }

    /// The fact that it is about, as a machine has it.
    pub fn found(&self, facts: &Facts) -> String {
        match self.fact.of(facts) {
            Some(found) => self.shown("==", &found),
            None => format!("{} was not found out", self.fact),
        }
    }

    fn shown(&self, sign: &str, value: &Amount) -> String {
        let (fact, unit) = (self.fact, self.fact.unit());
        match value {
            Amount::Text(text) => format!("{fact} {sign} {text}"),
            Amount::Number(bytes) if unit == Unit::Bytes => format!("{fact} {sign} {}", Size(*bytes)),
            Amount::Number(speed) if unit == Unit::Speed => format!("{fact} {sign} {speed} Mbit/s"),
            Amount::Number(number) => format!("{fact} {sign} {number}"),
        }
    }

    /// Whether a machine with these facts is wanted. What our agent could not find out fits nothing.
    pub fn fits(&self, facts: &Facts) -> bool {
        match (&self.value, self.fact.of(facts)) {
            (Amount::Number(wanted), Some(Amount::Number(found))) => match self.comparison {
                Comparison::AtLeast => found >= *wanted,
                Comparison::AtMost => found <= *wanted,
                Comparison::More => found > *wanted,
                Comparison::Less => found < *wanted,
                Comparison::Is => found == *wanted,
                Comparison::IsNot => found != *wanted,
            },
            (Amount::Text(wanted), Some(Amount::Text(found))) => {
                found.eq_ignore_ascii_case(wanted) == (self.comparison == Comparison::Is)
            }
            _ => false,
        }
    }
}

/// `10 Gbit/s`, in Mbit/s.
fn megabits(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    match text[digits..].trim_start() {
        "Mbit/s" => Some(number),
        "Gbit/s" => number.checked_mul(1000),
        _ => None,
    }
}

impl Unit {
    fn example(self) -> &'static str {
        match self {
            Unit::Count => "a whole number, as in \">= 2\"",
            Unit::Bytes => "an amount of bytes, as in \">= 16 GiB\"",
            Unit::Speed => "a speed, as in \">= 10 Gbit/s\"",
            Unit::Text => "a text, as in \"== x86_64\"",
        }
    }
}

impl Fact {
    fn unit(self) -> Unit {
        match self {
            Fact::Memory | Fact::DisksBytes | Fact::DisksLargest | Fact::DisksSmallest => Unit::Bytes,
            Fact::NicsSpeed => Unit::Speed,
            Fact::Arch | Fact::Firmware | Fact::SecureBoot | Fact::Tpm | Fact::Vendor | Fact::Product => {
                Unit::Text
            }
            Fact::Sockets
            | Fact::Cores
            | Fact::Threads
            | Fact::Disks
            | Fact::DisksNvme
            | Fact::DisksSsd
            | Fact::DisksHdd
            | Fact::Nics => Unit::Count,
        }
    }

    /// The fact of a machine; `None` where it was not found out.
    fn of(self, facts: &Facts) -> Option<Amount> {
        let count = |is_meant: &dyn Fn(&DiskFacts) -> bool| {
            let meant = facts.disks.iter().filter(|disk| is_meant(disk)).count();
            Some(Amount::Number(meant as u64))
        };
        let some = |number: u64| (number > 0).then_some(Amount::Number(number));
        let bytes = || facts.disks.iter().map(|disk| disk.bytes);
        let text = |text: Option<&str>| {
            text.filter(|text| !text.is_empty()).map(|text| Amount::Text(text.to_owned()))
        };
        match self {
            Fact::Memory => some(facts.memory),
            Fact::Sockets => some(facts.cpu.sockets.into()),
            Fact::Cores => some(facts.cpu.cores.into()),
            Fact::Threads => some(facts.cpu.threads.into()),
            Fact::Disks => count(&|_| true),
            Fact::DisksNvme => count(&|disk| disk.transport == Transport::Nvme),
            Fact::DisksSsd => count(&|disk| !disk.rotational),
            Fact::DisksHdd => count(&|disk| disk.rotational),
            Fact::DisksBytes => Some(Amount::Number(bytes().fold(0, u64::saturating_add))),
            Fact::DisksLargest => Some(Amount::Number(bytes().max().unwrap_or(0))),
            Fact::DisksSmallest => Some(Amount::Number(bytes().min().unwrap_or(0))),
            Fact::Nics => Some(Amount::Number(facts.nics.len() as u64)),
            Fact::NicsSpeed => {
                Some(Amount::Number(facts.nics.iter().filter_map(|nic| nic.speed).max().unwrap_or(0)))
            }
            Fact::Arch => text(Some(&facts.arch)),
            Fact::Firmware => text(match facts.firmware {
                FirmwareMode::Bios => Some("bios"),
                FirmwareMode::Uefi => Some("uefi"),
                FirmwareMode::Unknown => None,
            }),
            Fact::SecureBoot => text(Some(match facts.secure_boot {
                Some(true) => "on",
                Some(false) => "off",
                None => "none",
            })),
            Fact::Tpm => text(Some(facts.tpm.as_deref().unwrap_or("none"))),
            Fact::Vendor => text(facts.vendor.as_deref()),
            Fact::Product => text(facts.product.as_deref()),
        }
    }
}

/// Whether a machine with these labels and facts is what a selector asks for. Without facts no wish about them is met.
pub fn selects<'a>(
    selector: impl IntoIterator<Item = (&'a String, &'a String)>,
    label: impl Fn(&str) -> Option<&'a str>,
    facts: Option<&Facts>,
) -> Result<(), Lacks> {
    for (name, value) in selector {
        match Wish::read(name, value) {
            None if label(name) != Some(value) => return Err(Lacks::Label),
            None => {}
            Some(Ok(wish)) if facts.is_some_and(|facts| wish.fits(facts)) => {}
            Some(_) => return Err(Lacks::Fact),
        }
    }
    Ok(())
}

/// The first wish about hardware of a selector that these facts do not meet.
pub fn unmet(selector: &BTreeMap<String, String>, facts: &Facts) -> Option<Wish> {
    let wishes = selector.iter().filter_map(|(name, value)| Wish::read(name, value)?.ok());
    wishes.into_iter().find(|wish| !wish.fits(facts))
}

/// What a machine lacks that a selector asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    Label,
    Fact,
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, own)| *own == self.comparison).map_or("", |(sign, _)| sign);
        f.write_str(&self.shown(sign, &self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::facts::{Nic, Processors};

    fn facts() -> Facts {
        let disk =
            |transport, rotational, bytes| DiskFacts { transport, rotational, bytes, ..DiskFacts::default() };
        Facts {
            arch: "x86_64".into(),
            firmware: FirmwareMode::Uefi,
            secure_boot: Some(false),
            memory: 32 << 30,
            cpu: Processors { sockets: 2, cores: 16, threads: 32, model: None },
            nics: vec![Nic { speed: Some(25_000), ..Nic::default() }, Nic::default()],
            disks: vec![disk(Transport::Nvme, false, 1 << 40), disk(Transport::Sata, true, 4 << 40)],
            vendor: Some("Dell Inc.".into()),
            ..Facts::default()
        }
    }

    #[test]
    fn facts_are_compared_in_their_units() {
        for (name, value, fits) in [
            ("memory", ">= 32 GiB", true),
            ("memory", "> 32GiB", false),
            ("memory", "<= 64 GiB", true),
            ("cores", "== 16", true),
            ("cores", "< 16", false),
            ("disks.nvme", ">=1", true),
            ("disks.hdd", "!= 1", false),
            ("disks.ssd", "== 1", true),
            ("disks.bytes", ">= 5 TiB", true),
            ("disks.smallest", "> 1 TiB", false),
            ("nics.speed", ">= 25 Gbit/s", true),
            ("nics.speed", ">= 40000 Mbit/s", false),
            ("nics", "== 2", true),
            ("firmware", "== uefi", true),
            ("secure-boot", "== on", false),
            ("tpm", "== none", true),
            ("vendor", "== dell inc.", true),
            // It was not found out.
            ("product", "!= R640", false),
        ] {
            let wish = Wish::read(name, value).unwrap().unwrap();
            assert_eq!(wish.fits(&facts()), fits, "{wish}");
        }
        assert!(!Wish::read("memory", "> 1 GiB").unwrap().unwrap().fits(&Facts::default()));
    }

    #[test]
    fn what_is_no_wish_is_said() {
        assert_eq!(Wish::read("size", "small"), None);
        assert_eq!(Wish::read("memory", "16 GiB"), None);
        let wrong = |name: &str, value: &str| Wish::read(name, value).unwrap().unwrap_err().to_string();
        assert_eq!(wrong("memry", ">= 1 GiB"), "there is no fact called `memry`");
        assert!(wrong("memory", ">= 16").contains("amount of bytes"));
        assert!(wrong("cores", ">= many").contains("whole number"));
        assert!(wrong("arch", ">= x86_64").contains("== or !="));
        assert!(wrong("nics.speed", "> 10").contains("10 Gbit/s"));
    }

    #[test]
    fn a_selector_has_labels_and_facts() {
        let selector = |terms: &[(&str, &str)]| -> Vec<(String, String)> {
            terms.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let select = |terms: &[(&str, &str)], facts: Option<&Facts>| {
            let terms = selector(terms);
            selects(
                terms.iter().map(|(name, value)| (name, value)),
                |name| (name == "size").then_some("small"),
                facts,
            )
        };
        let both = [("size", "small"), ("memory", ">= 16 GiB")];
        assert_eq!(select(&both, Some(&facts())), Ok(()));
        assert_eq!(select(&both, None), Err(Lacks::Fact));
        assert_eq!(select(&[("size", "large")], Some(&facts())), Err(Lacks::Label));
        let wish =
            unmet(&selector(&[("size", "small"), ("memory", "> 1 TiB")]).into_iter().collect(), &facts());
        let wish = wish.unwrap();
        assert_eq!(
            (wish.to_string(), wish.found(&facts())),
            ("memory > 1 TiB".into(), "memory == 32 GiB".into())
        );
    }
}
