//! `options` and `routes`, which several kinds have: what DHCP clients are given beside the usual.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Kind;
use super::table::{Mention, Setting, table};
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::manifest::{Field, Marked};
use crate::model::Cidr;

table! {
    #[derive(Default)]
    pub struct Extra: "options", "What DHCP clients are given beside the usual." {
        /// By name or number, as written.
        options: Options = may "options": Map(&Anything),
            "Further DHCP options, by name or number, as in { ntp-servers = [\"10.0.0.1\"], 43 = \"hex:0104\" }.";
        routes: Option<Vec<WrittenRoute>> = may "routes": List(&Table(WrittenRoute::FIELDS)),
            "Classless static routes that clients are given; the default route by `gateway` is added.";
    }
}

table! {
    /// One of `routes`.
    #[derive(PartialEq)]
    pub struct WrittenRoute: "routes", "A classless static route (DHCP options 121 and 249)." {
        to: Option<Marked<Cidr>> = must "to": Text(Form::Cidr),
            "The network it leads to, as in \"10.1.0.0/16\".";
        via: Option<Marked<Ipv4Addr>> = must "via": Text(Form::Address), "The router.";
    }
}

/// The table `options`.
#[derive(Clone, Debug, Default)]
pub struct Options(pub BTreeMap<Arc<str>, Field>);

impl Setting for Options {
    fn take(table: &mut crate::manifest::Table, key: &str) -> Options {
        table
            .take(key)
            .map_or_else(Options::default, |found: Marked<crate::manifest::Table>| Options(found.value.0))
    }

    fn mentions<'a>(&'a self, _: Option<Kind>, visit: &mut dyn FnMut(Mention<'a>)) {
        visit(Mention::Options(&self.0));
    }
}
