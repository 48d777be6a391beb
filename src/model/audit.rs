//! Entries of the audit log: who changed what through the control API, or was refused. Each holds the SHA-256 of the
//! one before and of itself, so that a changed, removed or inserted entry shows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::hex;

/// The digest before the first entry of all.
pub const AUDIT_START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One entry. It holds names, numbers and digests, never a value of an edit or a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Counts from 1 without gaps.
    pub sequence: u64,
    /// RFC 3339.
    pub at: String,
    /// Who it was: `user 1000 (editor)`, `token start (admin)`, `a webhook`, `nobody known`; of what was adopted out of a
    /// source, `a commit by NAME <ADDRESS>` or `source NAME`.
    pub by: String,
    /// `begun`, before a change is tried; `continued`, where it goes on as an operation after its answer; `ended`, with
    /// its status; `refused`, where the caller may not ask for it;
    /// `lost`, where entries could not be written; `damaged`, where one can't be read any more; `adopted`, where a
    /// revision of a source was; `cut`, where a change has no end, or an entry was half written when the daemon ended.
    pub step: String,
    pub method: String,
    /// As the contract has it: `/v1/leases/{address}`. Empty where there is no such route.
    pub route: String,
    /// The path that was asked for, without its query.
    pub subject: String,
    /// What was wanted and what became of it: the resource, the keys that an edit sets, the commit.
    pub about: String,
    /// The number of the entry with which it had begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<u64>,
    /// The status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The serial of the state at that time.
    pub serial: u64,
    /// How many more like it were left out before it, because they were too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// The digest of the entry before it.
    pub before: String,
    /// SHA-256 of its JSON without this member: keys sorted, no blanks. Hexadecimal digits.
    pub digest: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl AuditEntry {
    /// The entry as the one after `head`.
    pub fn after(self, head: &AuditHead) -> AuditEntry {
        let mut entry = AuditEntry {
            sequence: head.sequence + 1,
            before: head.digest.clone(),
            digest: String::new(),
            ..self
        };
        entry.digest = serde_json::to_value(&entry).map(|entry| digest(&entry)).unwrap_or_default();
        entry
    }

    /// The entry as one line, in the form that its digest is made of.
    pub fn line(&self) -> String {
        serde_json::to_value(self).map(|entry| canonical(&entry, true)).unwrap_or_default()
    }

    /// The entry of such a line; `None` if one byte of it is not as [`AuditEntry::line`] makes it.
    pub fn of_line(line: &str) -> Option<AuditEntry> {
        let entry: AuditEntry = serde_json::from_str(line).ok()?;
        (entry.line() == line).then_some(entry)
    }

    /// What is said of an operation of the API, with its name in front.
    pub fn about_operation(name: &str, text: &str) -> String {
        format!("operation {name}: {text}")
    }

    /// The name of the operation that it is about.
    pub fn operation(&self) -> Option<&str> {
        self.about.strip_prefix("operation ")?.split_once(": ").map(|(name, _)| name)
    }

    pub fn head(&self) -> AuditHead {
        AuditHead { sequence: self.sequence, digest: self.digest.clone() }
    }
}

/// The last entry of a log: who has noted it can show later that nothing before it was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHead {
    /// 0 where there is no entry yet.
    pub sequence: u64,
    pub digest: String,
}

impl Default for AuditHead {
    fn default() -> AuditHead {
        AuditHead { sequence: 0, digest: AUDIT_START.to_owned() }
    }
}

impl std::fmt::Display for AuditHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, self.digest)
    }
}

impl std::str::FromStr for AuditHead {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<AuditHead, &'static str> {
        let wrong = "a head is SEQUENCE:DIGEST, as `voldemortctl audit verify` prints it";
        let (sequence, digest) = text.split_once(':').ok_or(wrong)?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        let sequence = sequence.parse().ok().filter(|_| is_digest).ok_or(wrong)?;
        Ok(AuditHead { sequence, digest: digest.to_ascii_lowercase() })
    }
}

/// The digest of an entry, as it came over the API: members that this version does not know count too.
fn digest(entry: &Value) -> String {
    hex(&Sha256::digest(canonical(entry, false)))
}

/// Sorted by hand: whether the JSON library keeps keys sorted depends on how it was built.
fn canonical(entry: &Value, whole: bool) -> String {
    let members = entry.as_object().into_iter().flatten().filter(|(name, _)| whole || *name != "digest");
    serde_json::to_string(&members.collect::<BTreeMap<_, _>>()).unwrap_or_default()
}

/// Follows a chain of entries from the oldest that is kept.
#[derive(Debug, Default)]
pub struct AuditChain {
    /// Before the first entry: the number and digest that it says the one before it had.
    pub oldest: Option<AuditHead>,
    pub head: AuditHead,
    /// Entries that were looked at.
    pub entries: u64,
    noted: Option<AuditHead>,
    met: bool,
}

impl AuditChain {
    /// Compares with a head that was noted elsewhere.
    pub fn against(noted: Option<AuditHead>) -> AuditChain {
        AuditChain { noted, ..AuditChain::default() }
    }

    /// The next entry.
    ///
    /// # Errors
    ///
    /// Where the chain is broken, in a sentence.
    pub fn take(&mut self, entry: &Value) -> Result<(), String> {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let sequence = entry["sequence"].as_u64().ok_or("an entry has no sequence")?;
        if text("step") == "damaged" {
            return Err(format!("entry {sequence}: {}", text("about")));
        }
        if self.oldest.is_none() {
            let before = AuditHead { sequence: sequence.saturating_sub(1), digest: text("before") };
            if before.sequence == 0 && before != AuditHead::default() {
                return Err("entry 1 says that there was one before it".to_owned());
            }
            self.meet(&before)?;
            (self.head, self.oldest) = (before.clone(), Some(before));
        }
        let expected = self.head.sequence + 1;
        if sequence > expected {
            let last = sequence - 1;
            return Err(match expected == last {
                true => format!("entry {expected} is missing or can't be read"),
                false => format!("entries {expected} to {last} are missing or can't be read"),
            });
        }
        if sequence < expected {
            return Err(format!("entry {sequence} comes after entry {}", self.head.sequence));
        }
        if text("before") != self.head.digest {
            return Err(format!("entry {sequence} does not follow entry {}", self.head.sequence));
        }
        if digest(entry) != text("digest") {
            return Err(format!("entry {sequence} was changed: it does not fit its digest"));
        }
        self.head = AuditHead { sequence, digest: text("digest") };
        self.entries += 1;
        self.meet(&self.head.clone())
    }

    fn meet(&mut self, head: &AuditHead) -> Result<(), String> {
        match &self.noted {
            Some(noted) if noted.sequence == head.sequence => {
                self.met = true;
                match noted.digest == head.digest {
                    true => Ok(()),
                    false => Err(format!("entry {} is another one than was noted: {head}", head.sequence)),
                }
            }
            _ => Ok(()),
        }
    }

    /// To be asked at the end of the log.
    ///
    /// # Errors
    ///
    /// The noted head is not in what is kept of it.
    pub fn end(&self) -> Result<(), String> {
        let Some(noted) = self.noted.as_ref().filter(|noted| !self.met && **noted != AuditHead::default())
        else {
            return Ok(());
        };
        Err(match noted.sequence > self.head.sequence {
            true => format!(
                "entry {} was noted, and the log ends with entry {}: entries were cut off, or it is another log",
                noted.sequence, self.head.sequence
            ),
            false => format!("entry {} is no longer kept: compare with a later head", noted.sequence),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(count: u64) -> Vec<AuditEntry> {
        let mut head = AuditHead::default();
        let entry = |number: u64| {
            let entry = AuditEntry {
                by: "user 0 (admin)".into(),
                about: format!("{number}"),
                ..AuditEntry::default()
            };
            let entry = entry.after(&head);
            head = entry.head();
            entry
        };
        (0..count).map(entry).collect()
    }

    fn check(entries: &[AuditEntry], noted: Option<AuditHead>) -> Result<AuditHead, String> {
        let mut chain = AuditChain::against(noted);
        for entry in entries {
            chain.take(&serde_json::to_value(entry).unwrap())?;
        }
        chain.end().map(|()| chain.head)
    }

    #[test]
    fn whatever_is_changed_removed_or_inserted_shows() {
        let whole = log(5);
        let head = whole[4].head();
        assert_eq!(check(&whole, None), Ok(head.clone()));
        assert_eq!(check(&whole[2..], Some(whole[1].head())), Ok(head.clone()), "the oldest may be gone");
        let mut changed = whole.clone();
        changed[2].about = "x".into();
        assert!(check(&changed, None).unwrap_err().contains("entry 3 was changed"));
        changed[2] = changed[2].clone().after(&whole[1].head());
        assert!(check(&changed, None).unwrap_err().contains("entry 4 does not follow"));
        let without: Vec<_> = [&whole[..1], &whole[2..]].concat();
        assert!(check(&without, None).unwrap_err().contains("entry 2 is missing"));
        assert!(check(&[&whole[..], &whole[4..]].concat(), None).is_err());
        assert!(check(&whole[..4], Some(head.clone())).unwrap_err().contains("cut off"));
        assert!(check(&[], Some(head)).is_err());
        assert!(check(&whole[2..], Some(whole[0].head())).unwrap_err().contains("no longer kept"));
        let other = AuditHead { sequence: 3, digest: AUDIT_START.into() };
        assert!(check(&whole, Some(other)).unwrap_err().contains("another one"));
    }

    #[test]
    fn each_byte_of_a_line_counts() {
        let entry = log(1).remove(0);
        let line = entry.line();
        assert_eq!(AuditEntry::of_line(&line), Some(entry.clone()));
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            let read = std::str::from_utf8(&bytes).ok().and_then(AuditEntry::of_line);
            let broken = |read: AuditEntry| check(&[read], Some(entry.head())).is_err();
            assert!(read.is_none_or(broken), "byte {at}");
        }
        assert_eq!(AuditEntry::of_line(&format!("{line} ")), None);
    }

    #[test]
    fn a_head_is_read_as_it_is_printed() {
        let head = log(3)[2].head();
        assert_eq!(head.to_string().parse(), Ok(head));
        for wrong in ["", "3", "3:", "x:0", "3:zz"] {
            assert!(wrong.parse::<AuditHead>().is_err(), "{wrong}");
        }
    }
}
