//! What lasts: changes of stored records, as values.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Install, Kept, Lease, Lease6, Served};
use crate::model::{Mac, Name};

/// A change of what lasts.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    Lease4(Lease),
    Lease6(Lease6),
    /// All installations of a machine; an empty list removes the record.
    Installs(Name, Arc<[Install]>),
    /// The machine of a deployment; `None` takes the assignment away.
    Assignment(Name, Option<Name>),
    /// Whether a machine is protected.
    Protection(Name, bool),
    /// A deployment as it was last served; `None` takes it away.
    Served(Name, Option<Arc<Served>>),
    /// A note of the daemon's own.
    Note(Cow<'static, str>, Vec<u8>),
    /// A card in no manifest, and the machine that it was learned to be of; `None` forgets it.
    Card(Mac, Option<Name>),
    /// A saved plan that was applied, and the serial it was made for; `None` forgets it.
    UsedPlan(Arc<str>, Option<u64>),
    /// The revision that is served.
    Revision(Arc<Kept>),
    Serial(u64),
    /// Whether a restored copy is in use whose installations nobody has settled yet.
    Restored(bool),
}
