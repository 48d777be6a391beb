//! What travels over the control API, as JSON.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::word::Word;
use crate::edit::Edit;
use crate::model::words::words;
use crate::model::{Phase, PowerKind, PowerState, ServiceState, SourceCondition, hex};
use crate::plan::{Consent, Hold, Plan, Selection};
use crate::secret;
use crate::state::{Aspect, Doubts, LeaseState, Stage};

/// `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub lineage: String,
    pub serial: u64,
    pub server: String,
    pub mode: String,
    /// Other DHCP servers that answer on our networks, as of the last look: `10.0.10.2 on eth0`. `None`
    /// until the first look ended, and where DHCP is off.
    #[serde(default)]
    pub other_servers: Option<Vec<String>>,
    pub deployments: usize,
    pub machines: usize,
    /// Installations that a new or restored state was asked for and that wait for a person's word.
    #[serde(default)]
    pub doubtful: usize,
    /// Reinstallations that wait for their turn.
    #[serde(default)]
    pub waiting: usize,
    /// Reinstallations that hold one of the places of `max-in-flight`.
    #[serde(default)]
    pub in_flight: usize,
    /// Every service of the daemon.
    #[serde(default)]
    pub services: Vec<ServiceStatus>,
    /// The only source, or the one of several that most needs somebody to look.
    pub source: SourceStatus,
    /// Every source.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    /// What is wrong with the state directory (it can't be written, or records in it are not believed), and
    /// what machines suffer from, in words: dynamic ranges that are used up, hardware marks that two
    /// machines show, deployments with an address of this host.
    #[serde(default)]
    pub troubles: Vec<String>,
}

/// How one service of the daemon stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// `dhcp eth0`, `http 10.0.10.1`, `sources`, …
    pub name: String,
    pub state: Word<ServiceState>,
    /// RFC 3339; when the state began. Empty where that is not known.
    pub since: String,
    /// Why it does not serve; empty if it does.
    pub reason: String,
    /// Whether others go on without it.
    #[serde(default)]
    pub auxiliary: bool,
}

/// How the daemon stands with its inventory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name in the daemon's file; `inventory` if it has none there.
    #[serde(default)]
    pub name: String,
    /// Directory or repository.
    pub location: String,
    /// The revision that is served.
    pub applied: String,
    /// The revision seen last.
    pub attempted: String,
    pub condition: Word<SourceCondition>,
    /// Why, in words; for `Invalid` every problem.
    pub reason: String,
    /// RFC 3339; when the condition began.
    pub since: String,
    /// RFC 3339; when it is read again if nothing calls before. `None` while it is being read.
    #[serde(default)]
    pub next: Option<String>,
}

/// A row of `GET /v1/deployments`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub name: String,
    pub machine: Option<String>,
    pub macs: Vec<String>,
    pub address: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address6: Option<Ipv6Addr>,
    pub boot: String,
    pub template: Option<String>,
    pub redeploy: u64,
    pub phase: Word<Phase>,
    /// What its next network boot leads to.
    pub next_boot: String,
    /// RFC 3339; when the phase began.
    pub since: Option<String>,
    pub subnet: Subnet,
    pub origin: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    pub name: String,
    pub cidr: String,
    pub gateway: Option<Ipv4Addr>,
}

/// A row of `GET /v1/machines`: from the manifests, or seen on the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// `None` for one that is in no manifest.
    pub name: Option<String>,
    pub macs: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub deployment: Option<String>,
    pub protected: bool,
    pub address: Option<IpAddr>,
    pub arch: Option<String>,
    /// RFC 3339.
    pub last_seen: Option<String>,
    /// Where its boots end, if it boots again and again and gets no further.
    #[serde(default)]
    pub stuck: Option<String>,
    pub origin: Option<String>,
    /// Where its manifest says how its power is told.
    #[serde(default)]
    pub power: Option<Power>,
}

/// What is known of a machine's power.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Power {
    pub kind: Word<PowerKind>,
    pub state: Word<PowerShown>,
    /// RFC 3339; since when it is known to be so, or unknown.
    pub since: Option<String>,
    /// Why it is unknown.
    pub reason: Option<String>,
    /// What it was before it became unknown.
    pub before: Option<Word<PowerState>>,
}

words! {
    /// What a machine's power is, as far as that is known.
    pub enum PowerShown {
        On = "on",
        Off = "off",
        PoweringOn = "powering on",
        PoweringOff = "powering off",
        Paused = "paused",
        Unknown = "unknown",
    }
}

impl From<PowerState> for PowerShown {
    fn from(state: PowerState) -> PowerShown {
        match state {
            PowerState::On => PowerShown::On,
            PowerState::Off => PowerShown::Off,
            PowerState::PoweringOn => PowerShown::PoweringOn,
            PowerState::PoweringOff => PowerShown::PoweringOff,
            PowerState::Paused => PowerShown::Paused,
        }
    }
}

/// A row of `GET /v1/leases`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    pub address: IpAddr,
    pub mac: String,
    pub machine: Option<String>,
    pub hostname: Option<String>,
    pub state: Word<LeaseShown>,
    /// RFC 3339.
    pub expires: String,
}

words! {
    /// What becomes of an address now.
    pub enum LeaseShown {
        Offered = "offered",
        Bound = "bound",
        Released = "released",
        Declined = "declined",
        /// Its time is over, whatever it was.
        Expired = "expired",
    }
}

impl From<LeaseState> for LeaseShown {
    fn from(state: LeaseState) -> LeaseShown {
        match state {
            LeaseState::Offered => LeaseShown::Offered,
            LeaseState::Bound => LeaseShown::Bound,
            LeaseState::Released => LeaseShown::Released,
            LeaseState::Declined => LeaseShown::Declined,
        }
    }
}

/// `DELETE /v1/leases/ADDRESS`: an address that is free now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Freed {
    pub address: IpAddr,
    /// Who had it, or who declined it or was seen using it.
    pub mac: String,
    /// What it was.
    pub state: Word<LeaseState>,
    /// RFC 3339; until when it would have been that.
    pub until: String,
}

/// A row of `GET /v1/boots`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    pub name: String,
    pub prefix: String,
    pub arch: String,
    pub kernel: String,
    pub initrd: Vec<String>,
    pub image: Option<String>,
    pub origin: String,
}

/// `GET /v1/events?after=SEQUENCE&lineage=LINEAGE&wait=SECONDS&mac=MAC`. Without `after`, from the oldest
/// on. 410 where what came after it is no longer kept: it was forgotten, or `after` is of another
/// lineage, or was never reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
    /// What to pass as `after` next.
    pub next: u64,
    /// What the numbers belong to; another state directory has another one.
    pub lineage: String,
    /// The number of the oldest event that is kept.
    pub oldest: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub seq: u64,
    /// RFC 3339.
    pub at: String,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    pub stage: Word<Stage>,
    pub mac: Option<String>,
    pub address: Option<IpAddr>,
    pub deployment: Option<String>,
    pub text: String,
}

/// A tree of manifests, for `POST /v1/plan` and `POST /v1/apply`. It names no place on the daemon's host:
/// what it does not hold is found by content, or is not served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    pub revision: String,
    /// Which of the daemon's sources it stands for; may be left out where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The environment to lay over it; the daemon's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Text files by path.
    #[serde(deserialize_with = "few")]
    pub files: BTreeMap<String, String>,
    /// Files that are no text, in hexadecimal, by path: secrets, and what the daemon asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "few")]
    pub binary: BTreeMap<String, String>,
    /// Files that are not sent: images, kernels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "few")]
    pub media: BTreeMap<String, Blob>,
    /// What of it takes part.
    #[serde(default, skip_serializing_if = "Selection::is_all")]
    pub selection: Selection,
}

/// A file that the daemon may have already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// In bytes.
    pub length: u64,
    /// Device, inode, size and time of the file at the sender: the same file on the same host.
    pub mark: String,
    /// Of its bytes; only where the daemon asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Most files of a tree, of each kind.
const FILES_MAX: usize = 200_000;
/// Longest path of a file in it, and longest name of its revision, in bytes.
const NAME_MAX: usize = 1024;

/// A map of at most [`FILES_MAX`] entries: a small body can name millions.
fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Few<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = BTreeMap<String, T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("files by path")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut files = BTreeMap::new();
            while let Some((path, file)) = map.next_entry()? {
                files.insert(path, file);
                if files.len() > FILES_MAX {
                    return Err(A::Error::custom(format!("a tree has at most {FILES_MAX} files")));
                }
            }
            Ok(files)
        }
    }
    deserializer.deserialize_map(Few(PhantomData))
}

impl Tree {
    /// The files that the daemon is sent: all that is text, and secrets.
    pub fn of_files<'a>(files: impl Iterator<Item = (&'a str, &'a Bytes)>) -> Tree {
        let mut tree = Tree::default();
        for (path, bytes) in files {
            match std::str::from_utf8(bytes) {
                Ok(text) => drop(tree.files.insert(path.to_owned(), text.to_owned())),
                Err(_) if path.starts_with(secret::FOLDER) => {
                    tree.binary.insert(path.to_owned(), hex(bytes));
                }
                // Images, kernels: the daemon is told what they are.
                Err(_) => {}
            }
        }
        tree
    }

    /// Stands for the files, whatever their revision is called.
    pub fn digest(&self) -> String {
        let mut sum = Sha256::new();
        sum.update(format!("{}\n{:?}\n", self.selection, self.environment));
        if let Some(source) = &self.source {
            sum.update(format!("{source}\n"));
        }
        let media = self.media.iter().map(|(path, blob)| (path, blob.sha256.as_ref().unwrap_or(&blob.mark)));
        for (path, text) in self.files.iter().chain(&self.binary).chain(media) {
            for part in [path, text] {
                sum.update((part.len() as u64).to_be_bytes());
                sum.update(part);
            }
        }
        sum.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The files again. What is no hexadecimal is left out, and missed where it is named.
    pub fn bytes(&self) -> BTreeMap<Arc<str>, Bytes> {
        let text = |(path, text): (&String, &String)| (path.as_str().into(), Bytes::from(text.clone()));
        let digits = |hex: &String| -> Option<Bytes> {
            let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
            (0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>().map(Bytes::from)
        };
        let binary = self.binary.iter().filter_map(|(path, hex)| Some((path.as_str().into(), digits(hex)?)));
        self.files.iter().map(text).chain(binary).collect()
    }

    /// Why this is no tree that a command would send: paths that lead out of it or are hidden (what is
    /// hidden is ours), names that are no text.
    pub fn strange(&self) -> Option<String> {
        let printable =
            |name: &str| name.len() <= NAME_MAX && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable(&self.revision) {
            return Some("the tree's revision is a word of printable ASCII".into());
        }
        let good = |path: &str| {
            let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\0');
            path.len() <= NAME_MAX && path.split('/').all(part)
        };
        let mut paths = self.files.keys().chain(self.binary.keys()).chain(self.media.keys());
        let bad = paths.find(|path| !good(path))?;
        let shown: String = bad.chars().take(100).flat_map(char::escape_default).collect();
        Some(format!("`{shown}` is no path of a file in an inventory"))
    }
}

/// What a saved plan is bound to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// Made of all else by the daemon's own key.
    pub id: String,
    /// The daemon's inventory.
    pub source: String,
    /// The revision of it that was seen last.
    pub attempted: String,
    /// Digest of the tree.
    pub tree: String,
    /// What the tree calls itself.
    pub to: String,
    pub lineage: String,
    pub serial: u64,
    pub version: String,
}

impl Ticket {
    /// What differs between this ticket of now and `then`.
    pub fn differences(&self, then: &Ticket) -> Vec<String> {
        let Ticket { id: _, source, attempted, tree, to, lineage, serial, version } = then;
        let mut reasons = Vec::new();
        let mut differ = |what: &str, then: &str, now: &str| {
            if then != now {
                reasons.push(format!("{what}: then {then}, now {now}"));
            }
        };
        differ("the daemon follows another source", source, &self.source);
        // A directory that is followed comes to hold what was planned: that is no other plan.
        if self.attempted != *to {
            differ("the source has moved on", attempted, &self.attempted);
        }
        differ("the plan's own files were changed", tree, &self.tree);
        differ("it is of another voldemort", version, &self.version);
        differ("the daemon's state directory is another one (emptied?)", lineage, &self.lineage);
        if *lineage == self.lineage && *serial != self.serial {
            let why = "revisions and installations count; so does this plan, if it was applied already";
            reasons.push(format!(
                "the table has moved on: then at serial {serial}, now {} ({why})",
                self.serial
            ));
        }
        reasons
    }

    /// What `id` is made of.
    pub fn text(&self) -> String {
        let Ticket { id: _, source, attempted, tree, to, lineage, serial, version } = self;
        [source, attempted, tree, to, lineage, &serial.to_string(), version].map(String::as_str).join("\n")
    }
}

/// `POST /v1/orders`: what to do about revisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Adopts a waiting plan.
    Approve {
        plan: String,
        consent: Consent,
    },
    /// Turns a waiting plan's revision down.
    Reject {
        plan: String,
        reason: String,
    },
    /// Adopts nothing of the source until resumed.
    Suspend {
        reason: String,
        seconds: Option<u64>,
    },
    Resume,
    /// Goes back to a kept revision and stays there.
    Pin {
        revision: String,
        reason: String,
        consent: Consent,
    },
    Unpin,
    /// Settles doubtful installations: they are to be made.
    ApproveInstalls(Doubts),
    /// Settles doubtful installations: their machines have their systems.
    KeepSystems(Doubts),
}

/// A row of `GET /v1/plans`: a revision that waits for somebody's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingPlan {
    /// Changes with what the plan does.
    pub id: String,
    /// Whose revision it is, where the daemon follows several sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub revision: String,
    /// `Waiting` (for approval) or `Held` (by a safety rule).
    pub condition: Word<SourceCondition>,
    /// RFC 3339.
    pub since: String,
    pub plan: Plan,
    pub holds: Vec<Hold>,
}

/// A row of `GET /v1/drift`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    pub deployment: String,
    pub machine: Option<String>,
    pub kind: Word<Aspect>,
    pub actual: String,
    pub desired: String,
    /// RFC 3339; since when it is known to be so, where that is known.
    #[serde(default)]
    pub since: Option<String>,
    /// What it means, in words.
    pub text: String,
}

/// `POST /v1/apply`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    pub tree: Tree,
    #[serde(default)]
    pub consent: Consent,
    /// Lineage and serial that the plan was made for.
    pub expected: Option<(String, u64)>,
    /// Of a saved plan.
    #[serde(default)]
    pub ticket: Option<Ticket>,
}

/// The answer to `POST /v1/plan` and `POST /v1/apply`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// What would happen; `holds` is why it would be held.
    Planned {
        plan: Plan,
        holds: Vec<Hold>,
    },
    Applied {
        plan: Plan,
    },
    Held {
        plan: Plan,
        holds: Vec<Hold>,
    },
    Stale {
        plan: Plan,
    },
    /// What was agreed to is not what there is any more: everything that differs.
    Moved {
        reasons: Vec<String>,
    },
    /// An order was carried out.
    Done {
        text: String,
    },
    /// The manifests are wrong: every problem as text.
    Invalid {
        problems: String,
    },
    /// Files that the tree only names, and of which has to be said what they hold: small ones are
    /// sent, large ones with their digest.
    Wanted {
        files: Vec<String>,
    },
}

/// `POST /v1/edits`: a change of the inventory itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditRequest {
    pub edit: Edit,
    /// The source to write to; may be left out where there is one, or one that holds the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why, for the commit.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who wants it, for the commit: `Name <address>`.
    #[serde(default)]
    pub author: Option<String>,
    #[serde(default)]
    pub consent: Consent,
    /// Only tell what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// The deployment's machine has its system already: record it as installed first.
    #[serde(default)]
    pub installed: bool,
}

/// One file with another text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileChange {
    pub kind: String,
    pub name: String,
    /// `Update deployment web-1`.
    pub summary: String,
    /// From the root of the repository.
    pub path: String,
    /// What `git apply` takes.
    pub patch: String,
    /// What a person should hear.
    pub notes: Vec<String>,
}

/// The answer to `POST /v1/edits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Edited {
    /// What would be done (`dry_run`).
    Planned { change: FileChange, plan: Plan, holds: Vec<Hold> },
    /// It is written. `commit` is absent for a directory.
    Written {
        change: FileChange,
        commit: Option<String>,
        plan: Plan,
        /// How the daemon stands with its inventory afterwards: `Ready` is live.
        condition: Word<SourceCondition>,
        reason: String,
    },
    /// It is on a branch of its own; nothing is live before that is merged.
    Branch { change: FileChange, commit: String, branch: String, plan: Plan },
    /// The daemon may not write to this inventory; `steps` are what a person does with the patch.
    Off { change: FileChange, plan: Plan, steps: Vec<String> },
    /// Everything is as wanted already.
    Unchanged,
    /// A safety rule stopped it; nothing was written.
    Held { plan: Plan, holds: Vec<Hold> },
    /// A protection stopped it; nothing was written.
    Protected { why: String },
    /// The manifests would be wrong: every problem as text.
    Invalid { problems: String },
    /// It can't be done like this.
    Refused { why: String },
}

/// `POST /v1/adopt`: a machine has its system already and is not to be installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopt {
    pub deployment: String,
    #[serde(default)]
    pub reason: Option<String>,
}

/// `GET /v1/why/NAME-OR-MAC`: what a machine would be offered, and what happened at its last boot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Why {
    pub subject: String,
    /// One sentence: how its last boot ended, or why there was none.
    pub verdict: String,
    pub machine: Option<Machine>,
    pub deployment: Option<Deployment>,
    /// What it would be offered at a boot now.
    pub offers: Vec<Offer>,
    /// The timeline of its last boot, oldest first.
    pub boot: Vec<Event>,
    /// Hardware addresses one typing mistake away.
    pub look_alikes: Vec<LookAlike>,
}

/// One thing that a machine is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    pub what: String,
    pub value: String,
    /// `file:line:column` that it comes from.
    pub origin: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LookAlike {
    pub mac: String,
    /// The machine of the manifests that has it; `None` for one that was only seen.
    pub machine: Option<String>,
    pub origin: Option<String>,
}

/// What every error of the API looks like: `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    pub status: u16,
    /// What went wrong, and the way out.
    pub detail: String,
}
