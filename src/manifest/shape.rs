//! How the language is described: the settings of a table, what values they take, what they are for.
//! Parser, JSON Schema, reference, flags of commands and edits all read these descriptions; `kind`
//! has them.

use super::{Field, Kind, Marked, Table, Value};

/// The settings of a table.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// What such a table is called in a sentence that goes on with "have no setting called".
    pub plural: &'static str,
    pub about: &'static str,
    pub keys: &'static [Key],
    /// Settings of which one at least must be there.
    pub either: &'static [&'static str],
    /// Of the table of a resource: what makes it a new one in an environment.
    pub addition: Addition,
}

/// What makes a table of an environment a new resource, rather than a change to one that the
/// inventory has.
#[derive(Clone, Copy, Debug)]
pub enum Addition {
    /// It has all settings that it must have.
    Complete,
    /// It has one of these settings. They exclude each other: one that is laid over others takes their
    /// place. The words go on behind "to add a KIND, ".
    OneOf(&'static [&'static str], &'static str),
    /// Another resource names it. The words go on behind "to add a KIND, ".
    Named(&'static str),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub required: bool,
    /// Whether it is a variable of templates at the same time, which may be set below `vars` as well.
    pub variable: bool,
    pub about: &'static str,
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Text(Form),
    /// A whole number of at least this.
    Integer(i64),
    Boolean,
    List(&'static Shape),
    /// One value, or a list of them; a list either way once read.
    Several(&'static Shape),
    Table(&'static Fields),
    /// A text, or a table.
    TextOr(&'static Fields),
    /// Keys of the author's choice.
    Map(&'static Shape),
    /// Keys that are variables of templates: hyphens and underscores are the same in them.
    Variables(&'static Shape),
    /// Labels, or a table with `labels`.
    Selector,
    /// What a template variable may hold, secrets included.
    Anything,
    /// `{ secret = "…" }` and nothing else.
    Secret,
}

/// What a text must look like.
#[derive(Clone, Copy, Debug)]
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
    /// How often within an hour.
    Rate,
    /// A maintenance window.
    Window,
    Sha256,
    Uuid,
    /// A DHCP client id.
    ClientId,
    Url,
    /// A host, with a port if that is not the usual one.
    Endpoint,
    /// Relative, without `..`.
    Path,
    /// An image or a folder of media; may be anywhere on the host.
    File,
    /// One part of a path.
    Segment,
    Choice(&'static [&'static str]),
}

impl Fields {
    /// Of a table that has no more to its description.
    pub const fn new(plural: &'static str, about: &'static str, keys: &'static [Key]) -> Fields {
        Fields { plural, about, keys, either: &[], addition: Addition::Complete }
    }

    /// Whether a table with these settings has all that it must have.
    pub fn is_complete(&self, has: impl Fn(&str) -> bool) -> bool {
        let either = self.either.is_empty() || self.either.iter().any(|key| has(key));
        either && self.keys.iter().all(|key| !key.required || has(key.name))
    }

    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The setting whose keys are variables of templates.
    pub fn variables_key(&self) -> Option<&'static Key> {
        self.keys.iter().find(|key| matches!(key.shape, Shape::Variables(_)))
    }

    /// What a table of this kind has below that setting.
    pub fn variables_in<'a>(&self, table: &'a Table) -> Option<&'a Table> {
        match table.0.get(self.variables_key()?.name)? {
            Field { value: Marked { value: Value::Table(variables), .. }, .. } => Some(variables),
            _ => None,
        }
    }

    /// The names of the settings that are variables of templates at the same time.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.keys.iter().filter(|key| key.variable).map(|key| key.name)
    }
}

impl Key {
    /// A setting that must be there.
    pub const fn must(name: &'static str, shape: Shape, about: &'static str) -> Key {
        Key { name, shape, required: true, variable: false, about }
    }

    /// A setting that may be left out.
    pub const fn may(name: &'static str, shape: Shape, about: &'static str) -> Key {
        Key { name, shape, required: false, variable: false, about }
    }

    /// A setting that is a variable of templates at the same time.
    pub const fn variable(name: &'static str, shape: Shape, about: &'static str) -> Key {
        Key { name, shape, required: false, variable: true, about }
    }

    /// How many keys several lists have together.
    pub const fn count(lists: &[&[Key]]) -> usize {
        let (mut list, mut count) = (0, 0);
        while list < lists.len() {
            count += lists[list].len();
            list += 1;
        }
        count
    }

    /// The keys of several lists, one after the other. `N`: how many they are together.
    pub const fn joined<const N: usize>(lists: &[&[Key]]) -> [Key; N] {
        let mut all = [Key::may("", Shape::Anything, ""); N];
        let (mut list, mut at) = (0, 0);
        while list < lists.len() {
            let mut key = 0;
            while key < lists[list].len() {
                all[at] = lists[list][key];
                (key, at) = (key + 1, at + 1);
            }
            list += 1;
        }
        all
    }
}

impl Shape {
    /// The kind of resource that a value names, or each value of a list.
    pub const fn names(&self) -> Option<Kind> {
        match self {
            Shape::Text(Form::Name(kind)) => Some(*kind),
            Shape::List(inner) | Shape::Several(inner) => inner.names(),
            _ => None,
        }
    }

    /// Whether a value may be a table, which may have a header of its own.
    pub const fn is_table(&self) -> bool {
        match self {
            Shape::Table(_) | Shape::TextOr(_) | Shape::Map(_) | Shape::Variables(_) => true,
            Shape::Selector | Shape::Anything | Shape::Secret => true,
            Shape::Text(_) | Shape::Integer(_) | Shape::Boolean => false,
            Shape::List(_) | Shape::Several(_) => false,
        }
    }
}
