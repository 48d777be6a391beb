//! The language in one table: which kinds there are, which settings they have, what values
//! those take. Parser, JSON Schema and reference all read it here.

mod kinds;

use serde::{Deserialize, Serialize};

pub use kinds::{INVENTORY, KNOWN, fields};

/// A kind of resource: the first part of a table's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Subnet,
    Boot,
    Template,
    Profile,
    Machine,
    Deployment,
    Pool,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Subnet,
        Kind::Boot,
        Kind::Template,
        Kind::Profile,
        Kind::Machine,
        Kind::Deployment,
        Kind::Pool,
    ];

    /// As written in headers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Subnet => "subnet",
            Kind::Boot => "boot",
            Kind::Template => "template",
            Kind::Profile => "profile",
            Kind::Machine => "machine",
            Kind::Deployment => "deployment",
            Kind::Pool => "pool",
        }
    }
}

/// The settings of a table.
#[derive(Debug)]
pub struct Fields {
    /// What such a table is called in a sentence that goes on with "have no setting called".
    pub plural: &'static str,
    pub about: &'static str,
    pub keys: &'static [Key],
    /// Settings of which one at least must be there.
    pub either: &'static [&'static str],
}

/// One setting.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    pub about: &'static str,
}

/// What values a setting takes.
#[derive(Debug)]
pub enum Shape {
    Text(Form),
    /// A whole number of at least this.
    Integer(i64),
    Boolean,
    List(&'static Shape),
    /// One value, or a list of them; a list either way once read.
    Several(&'static Shape),
    Table(&'static Fields),
    /// Keys of the author's choice.
    Map(&'static Shape),
    /// Labels, or a table with `labels`.
    Selector,
    /// What a template variable may hold, secrets included.
    Anything,
    /// `{ secret = "…" }` and nothing else.
    Secret,
}

/// What a text must look like.
#[derive(Debug)]
pub enum Form {
    Any,
    /// Of a machine or a domain (RFC 1123 section 2.1).
    HostName,
    /// The name of a resource of this kind.
    Name(Kind),
    Mac,
    Address,
    Address6,
    /// An address or `auto`.
    AddressOrAuto,
    Cidr,
    Cidr6,
    Range,
    Range6,
    Duration,
    /// An amount of memory.
    Size,
    Percent,
    /// A maintenance window.
    Window,
    Sha256,
    Uuid,
    /// A DHCP client id.
    ClientId,
    Url,
    /// Relative, without `..`.
    Path,
    /// An image or a folder of media; may be anywhere on the host.
    File,
    /// One part of a path.
    Segment,
    Choice(&'static [&'static str]),
}

impl Fields {
    /// Whether a table with these settings has all that it must have.
    pub fn is_complete(&self, has: impl Fn(&str) -> bool) -> bool {
        let either = self.either.is_empty() || self.either.iter().any(|key| has(key));
        either && self.keys.iter().all(|key| !key.required || has(key.name))
    }

    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}
