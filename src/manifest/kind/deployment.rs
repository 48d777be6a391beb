//! `[deployment.NAME]`: what shall run where.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::table::{Labels, table};
use super::{Kind, Settings};
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::manifest::value::Extract;
use crate::manifest::{Marked, Value};
use crate::model::{Mac, Name};

table! {
    pub struct Deployment: "deployments", "What shall run where." {
        profile: Option<Marked<Name>> = may "profile": Text(Form::Name(Kind::Profile)), "Profile to start from.";
        machine: Option<Marked<Name>> = may "machine": Text(Form::Name(Kind::Machine)), "The machine to use.";
        select: Option<Marked<Labels>> = may "select": Selector,
            "Labels that a free machine must have, and what its hardware must be, as in \"memory\" = \">= 16 GiB\"; instead \
             of `machine`.";
        macs: Vec<Marked<Mac>> = may "mac": Several(&Text(Form::Mac)),
            "Hardware addresses of a machine that is defined by this line alone.";
        address: Option<Marked<Address>> = may "address": Text(Form::AddressOrAuto),
            "Address of the machine; \"auto\" (or absent) takes a dynamic one.";
        address6: Option<Marked<Ipv6Addr>> = may "address6": Text(Form::Address6),
            "IPv6 address of the machine; a dynamic one if absent.";
        redeploy: Option<Marked<u64>> = may "redeploy": Integer(0),
            "Raise it to install again; nothing else reinstalls an installed machine.";
        ..settings: Settings;
    }
    addition: Addition::OneOf(&["machine", "select", "mac"], "name its machine");
}

impl Deployment {
    /// One that has all its settings of a profile, and names no machine.
    pub fn of_profile(profile: Option<Marked<Name>>) -> Deployment {
        let (machine, select, address, address6, redeploy) = (None, None, None, None, None);
        let settings = Settings::default();
        Deployment { profile, machine, select, macs: Vec::new(), address, address6, redeploy, settings }
    }
}

/// The setting `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    Fixed(Ipv4Addr),
    Auto,
}

impl Extract for Address {
    fn extract(value: Value) -> Option<Address> {
        match value {
            Value::Address(address) => Some(Address::Fixed(address)),
            Value::Auto => Some(Address::Auto),
            _ => None,
        }
    }
}
