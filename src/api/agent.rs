//! What our agent on a machine and the daemon say to each other: JSON over the HTTP service that boots machines.
//!
//! | request | authorization | answer |
//! |---|---|---|
//! | `POST /agent/v1/hello` with [`Hello`] | the token of the kernel command line, or a session | 200 [`Welcome`] |
//! | `GET /agent/v1/order?wait=SECONDS` | a session | 200 [`SignedOrder`], or 204: none for now, ask again |
//! | `POST /agent/v1/report` with [`Report`] | a session | 204: stored |
//! | `POST /agent/v1/log` with [`Log`] | a session | 204 |
//!
//! The authorization is `Authorization: Bearer TOKEN`. Every other answer is `application/problem+json` with a sentence in
//! `detail`, which the agent shows on the machine's console. What the agent does with it:
//!
//! | status | it means | the agent |
//! |---|---|---|
//! | 401 | this token or session opens nothing here | says hello again with its command line's token, and with that refused restarts the machine after a while |
//! | 409 | the report does not fit the present order, or the machine is not believed to be itself | asks for its order again |
//! | 410 | the epoch that it was started under is over | restarts the machine |
//! | 413, 422 | the daemon does not read the message | goes on without it |
//! | 429, 503 | too much at once, or the daemon stops | waits as `Retry-After` says |
//!
//! Hello may be said again at any time, with what was found out since (a switch names itself after up to 30 seconds);
//! an order may be delivered again, and is carried out again: wiping twice within one order is allowed. A report may be
//! sent again until it is answered. A wipe that is reported as done without a certificate that shows it for each disk of the
//! order (409) waits for a person.

mod fit;
pub mod hello;
pub mod order;

use ring::signature::{ED25519, UnparsedPublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Word;
use crate::model::{WipeLevel, from_base64};

pub use crate::model::agent_command_line::{CommandLine, CommandLineError};
pub use crate::model::facts::{DiskFacts, Facts, FirmwareMode, Neighbour, Nic, Processors, Transport};

/// The path that the agent's requests begin with.
pub const ROOT: &str = "agent/v1/";
/// The longest that [`ROOT`]`order?wait=` waits, in seconds.
pub const WAIT_MAX: u64 = 60;
/// The largest body of a request, in bytes.
pub const BODY_MAX: usize = 256 * 1024;
/// The lines of one [`Log`], and the characters of one of them.
pub const LINES_MAX: usize = 200;
pub const LINE_MAX: usize = 1000;

/// The agent runs, and shows the hardware.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Hello {
    /// Of the agent's program.
    pub version: String,
    /// `/proc/sys/kernel/random/boot_id`: another one after each start.
    pub boot_id: String,
    /// The card that it speaks by, `52:54:00:aa:00:01`: that of `BOOTIF=` where that is still there.
    pub card: String,
    pub facts: Facts,
}

/// The daemon knows the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Welcome {
    /// Authorizes what follows: bound to the card, the epoch and this start of the agent. It outlives a restart of the
    /// daemon.
    pub session: String,
    /// The name by which people know the machine.
    pub machine: String,
    /// The epoch that the agent was started under; 0 if only its hardware is of interest.
    pub epoch: u64,
    /// For the machine's console: what happens now, in a sentence.
    pub message: String,
}

/// An order as it travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SignedOrder {
    /// JSON of an [`Order`]. What is signed is this text, byte for byte.
    pub order: String,
    /// Ed25519 (RFC 8032), in base64.
    pub signature: String,
}

/// Why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("the order's signature is not that of the daemon that this machine booted from")]
    Signature,
    #[error("the order can't be read: {0}")]
    Form(String),
    #[error("the order is for another start of the agent")]
    OtherBoot,
}

impl SignedOrder {
    /// The order, if the daemon with this key made it for this start of the agent.
    ///
    /// # Errors
    ///
    /// If it did not: nothing of the order may be believed then.
    pub fn open(&self, key: &[u8; 32], boot_id: &str) -> Result<Order, OrderError> {
        let signature = from_base64(&self.signature).ok_or(OrderError::Signature)?;
        let key = UnparsedPublicKey::new(&ED25519, key);
        key.verify(self.order.as_bytes(), &signature).map_err(|_| OrderError::Signature)?;
        let order: Order =
            serde_json::from_str(&self.order).map_err(|error| OrderError::Form(error.to_string()))?;
        if order.boot_id == boot_id { Ok(order) } else { Err(OrderError::OtherBoot) }
    }
}

/// One thing to do, for one start of the agent on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Order {
    /// Told apart from the others of this machine by it; a report names it.
    pub id: String,
    pub epoch: u64,
    pub machine: String,
    /// For this start of the agent alone.
    pub boot_id: String,
    /// Why, for the machine's console.
    pub reason: String,
    #[serde(flatten)]
    pub task: Task,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "task", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Task {
    /// Wipes these disks, all of them or none: if one is not there, the order fails before anything is written.
    Wipe {
        level: Word<WipeLevel>,
        disks: Vec<OrderedDisk>,
    },
    /// Reads back what was wiped.
    Verify {
        disks: Vec<OrderedDisk>,
    },
    /// Restarts the machine.
    Reboot,
    PowerOff,
    /// Hands over to the system on the machine's disk: the daemon answers its next network boot with that.
    LocalDisk,
}

/// A disk that an order names. Every field that is there has to be what the agent sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct OrderedDisk {
    /// [`DiskFacts::identity`].
    pub id: String,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

/// How an order stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// [`Order::id`].
    pub order: String,
    pub epoch: u64,
    #[serde(flatten)]
    pub result: OrderResult,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum OrderResult {
    /// It is being carried out. Sent when it begins, and then at least every minute.
    Running { disks: Vec<DiskProgress> },
    /// It is carried out. Of a wipe: every disk is wiped, and the certificate shows it. Of a verification: nothing of what was there was found.
    Done {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<Certificate>,
    },
    /// A verification found something of what was there.
    NotBlank { why: String },
    /// It can't be carried out: a person has to look.
    Failed {
        why: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<Certificate>,
    },
}

/// How far a disk is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DiskProgress {
    pub id: String,
    /// What is done with it now, in a few words.
    pub step: String,
    /// 0 to 100.
    pub percent: u8,
}

/// What was done to disks, for the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Certificate {
    /// Of the agent's program, and of the kernel that it ran on.
    pub agent: String,
    pub kernel: String,
    /// Seconds since the Unix epoch by the machine's clock, which may be wrong.
    pub started: u64,
    pub finished: u64,
    pub disks: Vec<DiskCertificate>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct DiskCertificate {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    pub bytes: u64,
    /// The level that was asked for, and the one that was reached.
    pub asked: Word<WipeLevel>,
    pub reached: Word<WipeLevel>,
    /// What was tried, in order: the last one is what wiped it.
    pub methods: Vec<MethodUsed>,
    /// What was read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Samples>,
    pub seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct MethodUsed {
    /// `nvme-sanitize-block`, `nvme-format-crypto`, `ata-sanitize-block`, `zeroout`, `overwrite`, `discard`, `signatures`, …
    pub method: String,
    /// What the device said to it, `ok` or its error or status.
    pub status: String,
}

/// Where a disk was read back: blocks at both ends, and some that follow from the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Samples {
    pub seed: u64,
    /// The length of each sample, in bytes.
    pub length: u64,
    /// Where each begins, in bytes from the disk's beginning.
    pub offsets: Vec<u64>,
}

/// Lines of the machine's console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Log {
    pub lines: Vec<String>,
    /// How many were left out before these.
    #[serde(default)]
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;
    use crate::model::base64;

    fn order() -> Order {
        let disk = OrderedDisk { id: "wwn:naa.5000".into(), bytes: 4096, serial: None };
        Order {
            id: "7-wipe".into(),
            epoch: 7,
            machine: "rack1-u01".into(),
            boot_id: "b1".into(),
            reason: "claim ci-1 was released".into(),
            task: Task::Wipe { level: WipeLevel::Clear.into(), disks: vec![disk] },
        }
    }

    #[test]
    fn messages_have_their_form() {
        let text = json!({
            "id": "7-wipe", "epoch": 7, "machine": "rack1-u01", "boot-id": "b1", "reason": "claim ci-1 was released",
            "task": "wipe", "level": "clear", "disks": [{"id": "wwn:naa.5000", "bytes": 4096}]
        });
        assert_eq!(serde_json::to_value(order()).unwrap(), text);
        assert_eq!(serde_json::from_value::<Order>(text).unwrap(), order());
        let report = json!({"order": "7-wipe", "epoch": 7, "result": "done"});
        let read: Report = serde_json::from_value(report.clone()).unwrap();
        assert_eq!(read.result, OrderResult::Done { certificate: None });
        assert_eq!(serde_json::to_value(read).unwrap(), report);
        let report = json!({"order": "7", "epoch": 7, "result": "not-blank", "why": "a signature at 0"});
        let read: Report = serde_json::from_value(report).unwrap();
        assert!(matches!(read.result, OrderResult::NotBlank { why } if why == "a signature at 0"));
        let hello =
            json!({"version": "0.3", "boot-id": "b1", "card": "52:54:00:aa:00:01", "facts": {"memory": 1}});
        let read: Hello = serde_json::from_value(hello).unwrap();
        assert_eq!((read.facts.memory, read.facts.disks.len()), (1, 0));
        for (task, word) in
            [(Task::Reboot, "reboot"), (Task::PowerOff, "power-off"), (Task::LocalDisk, "local-disk")]
        {
            assert_eq!(serde_json::to_value(task).unwrap(), json!({ "task": word }));
        }
    }

    #[test]
    fn only_the_daemons_own_order_is_opened() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let key: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let text = serde_json::to_string(&order()).unwrap();
        let signed =
            SignedOrder { signature: base64(pair.sign(text.as_bytes()).as_ref()), order: text.clone() };
        assert_eq!(signed.open(&key, "b1"), Ok(order()));
        assert_eq!(signed.open(&key, "b2"), Err(OrderError::OtherBoot));
        assert_eq!(signed.open(&[2; 32], "b1"), Err(OrderError::Signature));
        let other = SignedOrder { order: text.replace("5000", "5001"), ..signed.clone() };
        assert_eq!(other.open(&key, "b1"), Err(OrderError::Signature));
        let unsigned = SignedOrder { signature: String::new(), ..signed };
        assert_eq!(unsigned.open(&key, "b1"), Err(OrderError::Signature));
    }
}
