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
            "How it is switched, and asked whether it is on.";
        power_on: Option<Marked<bool>> = may "power-on": Boolean,
            "Whether it is switched on when it is to install; false if absent.";
        protect: Option<Marked<bool>> = may "protect": Boolean, "Never wiped, released or pruned while true.";
        loader: Vec<Marked<Arc<str>>> = may "loader": Several(&Text(Form::Segment)), LOADER;
        ..extra: Extra;
    }
}

table! {
    pub struct Power: "`power` tables", "How a machine is switched, and how to learn whether it is on." {
        kind: Option<Marked<PowerKind>> = must "kind": Text(Form::Choice(PowerKind::NAMES)),
            "What to talk to: a controller by redfish or ipmi, the network card by wol, or a program by command.";
        url: Option<Marked<Arc<str>>> = may "url": Text(Form::Url),
            "Address of the management controller as a URL; for redfish and ipmi.";
        address: Option<Marked<Arc<str>>> = may "address": Text(Form::Endpoint),
            "Host of the management controller instead of `url`, as in \"10.0.99.11\" or \"bmc1:623\"; for command what the \
             program takes.";
        command: Option<Marked<Arc<str>>> = may "command": Text(Form::Segment),
            "Name of a `[power.command.NAME]` in the daemon's file; for command alone.";
        credentials: Option<Marked<Value>> = may "credentials": Secret,
            "Its user name and password, `{ secret = \"…\" }`; for wol the SecureOn password of the card.";
        fingerprint: Option<Marked<Arc<str>>> = may "fingerprint": Text(Form::Sha256),
            "SHA-256 of its certificate, if that is not signed by an authority that the daemon's host trusts.";
    }
}
