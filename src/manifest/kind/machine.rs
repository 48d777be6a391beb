//! `[machine.NAME]`: a physical machine.

use std::sync::Arc;

use super::Extra;
use super::boot::LOADER;
use super::table::{Labels, table};
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::manifest::{Marked, Value};
use crate::model::{Mac, PowerKind, Size};

table! {
    pub struct Machine: "machines", "A physical machine." {
        macs: Vec<Marked<Mac>> = must "mac": Several(&Text(Form::Mac)), "Hardware addresses of its network cards.";
        client_ids: Vec<Marked<Arc<str>>> = may "client-id": Several(&Text(Form::ClientId)),
            "DHCP client ids (option 61) that identify it when it sends from another card, as texts or as in \
             \"hex:01525400aa0001\".";
        uuid: Option<Marked<Arc<str>>> = may "uuid": Text(Form::Uuid),
            "UUID of its board (option 97, `dmidecode -s system-uuid`), by which it is known when neither card nor \
             client id are.";
        labels: Labels = may "labels": Map(&Text(Form::Any)), "Words of your own, to select by.";
        /// What it has.
        memory: Option<Marked<Size>> = may "memory": Text(Form::Size),
            "What it has, as in \"16 GiB\"; boots that need more are refused.";
        power: Option<Power> = may "power": Table(Power::FIELDS),
            "Its management controller, which is asked whether it is on.";
        protect: Option<Marked<bool>> = may "protect": Boolean, "Never wiped, released or pruned while true.";
        loader: Vec<Marked<Arc<str>>> = may "loader": Several(&Text(Form::Segment)), LOADER;
        ..extra: Extra;
    }
}

table! {
    pub struct Power: "`power` tables", "How to learn whether a machine is on. Nothing is switched yet." {
        kind: Option<Marked<PowerKind>> = must "kind": Text(Form::Choice(PowerKind::NAMES)),
            "What to talk to. ipmi and wol are accepted, not acted on yet.";
        url: Option<Marked<Arc<str>>> = may "url": Text(Form::Url),
            "Address of the management controller; not for wol.";
        credentials: Option<Marked<Value>> = may "credentials": Secret,
            "Its user name and password, `{ secret = \"…\" }`; not for wol.";
        fingerprint: Option<Marked<Arc<str>>> = may "fingerprint": Text(Form::Sha256),
            "SHA-256 of its certificate, if that is not signed by an authority that the daemon's host trusts.";
    }
}
