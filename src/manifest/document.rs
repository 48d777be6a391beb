//! Resources as they were written, one structure for each kind. What is absent stays absent:
//! inheritance and defaults come later.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::shape::KNOWN;
use super::value::{Field, Table, Value};
use super::{Code, Kind, Level, Mark, Marked, Problem, Sources};
use crate::model::{Cidr, Cidr6, Mac, Name, Range, Range6, Size, Span, Window};

/// All resources of one revision.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    pub sources: Sources,
    pub subnets: BTreeMap<Name, Arc<Resource<Subnet>>>,
    pub boots: BTreeMap<Name, Arc<Resource<Boot>>>,
    pub templates: BTreeMap<Name, Arc<Resource<Template>>>,
    pub profiles: BTreeMap<Name, Arc<Resource<Profile>>>,
    pub machines: BTreeMap<Name, Arc<Resource<Machine>>>,
    pub deployments: BTreeMap<Name, Arc<Resource<Deployment>>>,
    pub pools: BTreeMap<Name, Arc<Resource<Pool>>>,
    /// `voldemort.toml`, if there is one.
    pub inventory: Option<Inventory>,
    /// The same of further sources, by their roots.
    pub beside: BTreeMap<Arc<str>, Inventory>,
    /// Resources that exist but could not be read: references to them are no mistakes.
    pub unread: BTreeSet<(Kind, Name)>,
    /// Files that are not valid TOML: they may define anything they mention.
    pub unparsed: Vec<u32>,
}

/// A resource and where it stands.
#[derive(Clone, Debug)]
pub struct Resource<T> {
    pub name: Name,
    /// The name in the header.
    pub mark: Mark,
    /// Whether nothing was wrong with it; otherwise settings may be missing that were meant to be there.
    pub whole: bool,
    pub body: T,
}

#[derive(Clone, Debug)]
pub struct Subnet {
    pub cidr: Option<Marked<Cidr>>,
    pub gateway: Option<Marked<Ipv4Addr>>,
    pub dns: Vec<Marked<Ipv4Addr>>,
    pub domain: Option<Marked<Arc<str>>>,
    pub dynamic: Vec<Marked<Range>>,
    pub lease: Option<Marked<Span>>,
    pub shares: Option<Marked<Name>>,
    pub mode: Option<Marked<Arc<str>>>,
    pub ipv6: Option<Ipv6>,
    pub extra: Extra,
}

/// `ipv6` of a subnet.
#[derive(Clone, Debug)]
pub struct Ipv6 {
    pub cidr: Option<Marked<Cidr6>>,
    pub dynamic: Vec<Marked<Range6>>,
    pub dns: Vec<Marked<Ipv6Addr>>,
    pub ra: Option<Marked<Arc<str>>>,
    pub router: Option<Marked<bool>>,
}

/// What DHCP clients are told beside the usual: `options` and `routes`.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// By name or number, as written.
    pub options: Table,
    pub routes: Option<Vec<WrittenRoute>>,
}

/// One of `routes`.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenRoute {
    pub to: Option<Marked<Cidr>>,
    pub via: Option<Marked<Ipv4Addr>>,
}

impl Extra {
    fn read(table: &mut Table) -> Extra {
        let options = table.take("options").map_or_else(Table::default, |found: Marked<Table>| found.value);
        let route = |Marked { value: mut table, .. }: Marked<Table>| WrittenRoute {
            to: table.take("to"),
            via: table.take("via"),
        };
        let said = table.0.contains_key("routes");
        let routes = table.take_list("routes").into_iter().map(route).collect();
        Extra { options, routes: said.then_some(routes) }
    }
}

#[derive(Clone, Debug)]
pub struct Boot {
    pub iso: Option<Iso>,
    pub kernel: Option<Marked<Arc<str>>>,
    pub initrd: Vec<Marked<Arc<str>>>,
    pub cmdline: Vec<Marked<Arc<str>>>,
    pub arch: Option<Marked<Arc<str>>>,
    pub loader: Vec<Marked<Arc<str>>>,
    /// What it needs.
    pub memory: Option<Marked<Size>>,
}

#[derive(Clone, Debug)]
pub struct Iso {
    pub file: Option<Marked<Arc<str>>>,
    pub prefix: Option<Marked<Arc<str>>>,
    /// 64 lower-case hexadecimal digits.
    pub sha256: Option<Marked<Arc<str>>>,
}

#[derive(Clone, Debug)]
pub struct Template {
    pub kind: Option<Marked<Arc<str>>>,
    pub file: Option<Marked<Arc<str>>>,
    /// By template spelling.
    pub vars: BTreeMap<Arc<str>, Variable>,
}

#[derive(Clone, Debug)]
pub struct Variable {
    /// Where its name stands.
    pub mark: Mark,
    pub kind: Option<Marked<Arc<str>>>,
    pub default: Option<Marked<Value>>,
}

/// What profiles and deployments have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    pub subnet: Option<Marked<Name>>,
    pub boot: Option<Marked<Name>>,
    pub template: Option<Marked<Name>>,
    /// By template spelling; the generally known variables that have a setting of their own too.
    pub vars: Table,
    pub extra: Extra,
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
}

#[derive(Clone, Debug)]
pub struct Profile {
    pub extends: Vec<Marked<Name>>,
    pub settings: Settings,
}

#[derive(Clone, Debug)]
pub struct Machine {
    pub macs: Vec<Marked<Mac>>,
    pub client_ids: Vec<Marked<Arc<str>>>,
    pub uuid: Option<Marked<Arc<str>>>,
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// What it has.
    pub memory: Option<Marked<Size>>,
    pub power: Option<Power>,
    pub protect: Option<Marked<bool>>,
    pub loader: Vec<Marked<Arc<str>>>,
    pub extra: Extra,
}

#[derive(Clone, Debug)]
pub struct Power {
    pub kind: Option<Marked<Arc<str>>>,
    pub url: Option<Marked<Arc<str>>>,
    pub credentials: Option<Marked<Value>>,
    pub fingerprint: Option<Marked<Arc<str>>>,
}

#[derive(Clone, Debug)]
pub struct Deployment {
    pub profile: Option<Marked<Name>>,
    pub machine: Option<Marked<Name>>,
    pub select: Option<Marked<BTreeMap<Arc<str>, Arc<str>>>>,
    pub macs: Vec<Marked<Mac>>,
    pub address: Option<Marked<Address>>,
    pub address6: Option<Marked<Ipv6Addr>>,
    pub redeploy: Option<Marked<u64>>,
    pub settings: Settings,
}

/// The setting `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    Fixed(Ipv4Addr),
    Auto,
}

#[derive(Clone, Debug)]
pub struct Pool {
    pub profile: Option<Marked<Name>>,
    pub select: Option<Marked<BTreeMap<Arc<str>, Arc<str>>>>,
    pub max: Option<Marked<i64>>,
    pub ttl: Option<Marked<Span>>,
    pub on_return: Option<Marked<Arc<str>>>,
}

/// `voldemort.toml`.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub max_remove: Option<u8>,
    pub min_existing: Option<u32>,
    pub allow_empty: Option<bool>,
    pub max_reinstall: Option<u32>,
    pub max_in_flight: Option<u32>,
    pub windows: Vec<Window>,
    /// Whether `asker = "token"` is written.
    pub asker_by_token: bool,
    /// Levels of adjustable checks; `None` turns one off.
    pub levels: BTreeMap<Code, Option<Level>>,
}

impl Documents {
    /// The settings of the source that a problem was found in.
    fn inventory_of(&self, problem: &Problem) -> Option<&Inventory> {
        match self.sources.root(problem.mark().file) {
            root if root == self.sources.leading() => self.inventory.as_ref(),
            root => self.beside.get(root),
        }
    }

    /// Problems in the order of their places, with the levels that `[check]` gives them.
    pub fn weigh(&self, problems: Vec<Problem>) -> Vec<Problem> {
        let weigh = |problem: Problem| match self
            .inventory_of(&problem)
            .and_then(|own| own.levels.get(&problem.code))
        {
            None => Some(problem),
            Some(level) => level.map(|level| problem.level(level)),
        };
        let mut problems: Vec<Problem> = problems.into_iter().filter_map(weigh).collect();
        problems.sort_by_key(|problem| (problem.mark(), problem.code));
        problems
    }
}

/// A kind of resource that can be made from a checked table.
pub(super) trait Document {
    fn read(table: Table) -> Self;
}

impl Document for Subnet {
    fn read(mut table: Table) -> Subnet {
        let ipv6 = |Marked { value: mut table, .. }: Marked<Table>| Ipv6 {
            cidr: table.take("cidr"),
            dynamic: table.take_list("dynamic"),
            dns: table.take_list("dns"),
            ra: table.take("ra"),
            router: table.take("router"),
        };
        Subnet {
            cidr: table.take("cidr"),
            gateway: table.take("gateway"),
            dns: table.take_list("dns"),
            domain: table.take("domain"),
            dynamic: table.take_list("dynamic"),
            lease: table.take("lease"),
            shares: table.take("shares"),
            mode: table.take("mode"),
            ipv6: table.take("ipv6").map(ipv6),
            extra: Extra::read(&mut table),
        }
    }
}

impl Document for Boot {
    fn read(mut table: Table) -> Boot {
        let iso = |Marked { value: mut table, .. }: Marked<Table>| Iso {
            file: table.take("file"),
            prefix: table.take("prefix"),
            sha256: table.take("sha256"),
        };
        Boot {
            iso: table.take("iso").map(iso),
            kernel: table.take("kernel"),
            initrd: table.take_list("initrd"),
            cmdline: table.take_list("cmdline"),
            arch: table.take("arch"),
            loader: table.take_list("loader"),
            memory: table.take("memory"),
        }
    }
}

impl Document for Template {
    fn read(mut table: Table) -> Template {
        let vars = table.take("vars").map_or_else(Table::default, |vars: Marked<Table>| vars.value);
        let variable = |(name, field): (Arc<str>, Field)| {
            let Value::Table(mut table) = field.value.value else { return None };
            let variable =
                Variable { mark: field.key, kind: table.take("type"), default: table.take("default") };
            Some((underscored(&name), variable))
        };
        Template {
            kind: table.take("kind"),
            file: table.take("file"),
            vars: vars.0.into_iter().filter_map(variable).collect(),
        }
    }
}

impl Settings {
    fn read(table: &mut Table) -> Settings {
        let mut vars = match table.take("vars") {
            Some(Marked { value: Table(vars), .. }) => respelt(vars),
            None => BTreeMap::new(),
        };
        for known in KNOWN {
            if let Some(field) = table.0.remove(known) {
                vars.insert(underscored(known), Field { value: deep(field.value), ..field });
            }
        }
        Settings {
            subnet: table.take("subnet"),
            boot: table.take("boot"),
            template: table.take("template"),
            vars: Table(vars),
            extra: Extra::read(table),
            labels: table.take_labels("labels"),
        }
    }
}

impl Document for Profile {
    fn read(mut table: Table) -> Profile {
        Profile { extends: table.take_list("extends"), settings: Settings::read(&mut table) }
    }
}

impl Document for Machine {
    fn read(mut table: Table) -> Machine {
        let power = |Marked { value: mut table, .. }: Marked<Table>| Power {
            kind: table.take("kind"),
            url: table.take("url"),
            credentials: table.take("credentials"),
            fingerprint: table.take("fingerprint"),
        };
        Machine {
            macs: table.take_list("mac"),
            client_ids: table.take_list("client-id"),
            uuid: table.take("uuid"),
            labels: table.take_labels("labels"),
            memory: table.take("memory"),
            power: table.take("power").map(power),
            protect: table.take("protect"),
            loader: table.take_list("loader"),
            extra: Extra::read(&mut table),
        }
    }
}

impl Document for Deployment {
    fn read(mut table: Table) -> Deployment {
        let address = |Marked { value, mark }: Marked<Value>| match value {
            Value::Address(address) => Some(Marked::new(Address::Fixed(address), mark)),
            Value::Auto => Some(Marked::new(Address::Auto, mark)),
            _ => None,
        };
        let number =
            |Marked { value, mark }: Marked<i64>| Some(Marked::new(u64::try_from(value).ok()?, mark));
        let redeploy = table.take("redeploy").and_then(number);
        Deployment {
            profile: table.take("profile"),
            machine: table.take("machine"),
            select: selector(&mut table),
            macs: table.take_list("mac"),
            address: table.take("address").and_then(address),
            address6: table.take("address6"),
            redeploy,
            settings: Settings::read(&mut table),
        }
    }
}

impl Document for Pool {
    fn read(mut table: Table) -> Pool {
        Pool {
            profile: table.take("profile"),
            select: selector(&mut table),
            max: table.take("max"),
            ttl: table.take("ttl"),
            on_return: table.take("on-return"),
        }
    }
}

fn selector(table: &mut Table) -> Option<Marked<BTreeMap<Arc<str>, Arc<str>>>> {
    let mark = table.0.get("select")?.value.mark;
    Some(Marked::new(table.take_labels("select"), mark))
}

/// A manifest's spelling of a name as templates spell it.
fn underscored(name: &str) -> Arc<str> {
    name.replace('-', "_").into()
}

fn respelt(table: BTreeMap<Arc<str>, Field>) -> BTreeMap<Arc<str>, Field> {
    table
        .into_iter()
        .map(|(key, field)| (underscored(&key), Field { value: deep(field.value), ..field }))
        .collect()
}

/// Tables inside a value are respelt too: templates reach into them with dots.
fn deep(value: Marked<Value>) -> Marked<Value> {
    let Marked { value, mark } = value;
    let value = match value {
        Value::Table(Table(table)) => Value::Table(Table(respelt(table))),
        Value::List(list) => Value::List(list.into_iter().map(deep).collect()),
        other => other,
    };
    Marked::new(value, mark)
}
