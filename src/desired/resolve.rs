//! Documents to `Desired`: names become what they name, profiles are folded into deployments,
//! and what contradicts itself is reported, each mistake once and nothing that only follows
//! from another. Linear in the size of the inventory.

mod able;
mod address;
mod agent;
mod boot;
mod clear;
mod definition;
mod deployment;
mod digest;
mod earlier;
pub mod inherited;
mod ipv6;
mod login;
mod machine;
mod memory;
mod odd;
mod option;
mod pool;
mod power;
mod profile;
mod reference;
mod secret;
mod selector;
mod step;
mod subnet;
mod template;
mod typed;
mod unattended;
mod variable;
mod without;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub use earlier::Earlier;
pub use step::{Step, resolve_step};

use super::{Boot, Desired, Proof, Safety, Subnet, Template};
use crate::manifest::{Documents, Mark, Marked, Problem, inventory};
use crate::media::Library;
use crate::model::Name;
use crate::render;

/// What differs between a check on a laptop and the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub media: Media,
    /// The networks of deployments where the inventory declares none. Without any the /24
    /// around the address is taken, which is right for a check and for most labs.
    pub fallback: Vec<Arc<Subnet>>,
}

/// What it means that an image or a file is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// An error.
    Required,
    /// A note: the check was made without it.
    IfPresent,
    /// A note, and so is one that can't be used: what was served before stays served.
    Lenient,
}

/// Resolves an inventory. With errors among the problems the result is incomplete and must not
/// be served. Problems are in the order of their places.
pub fn resolve(documents: &Documents, library: &dyn Library, options: &Options) -> (Desired, Vec<Problem>) {
    resolve_again(&mut Earlier::default(), documents, library, options)
}

/// The same, quicker for what was resolved before: what has not changed is shared with the
/// earlier result.
pub fn resolve_again(
    earlier: &mut Earlier,
    documents: &Documents,
    library: &dyn Library,
    options: &Options,
) -> (Desired, Vec<Problem>) {
    let mut resolver = Resolver::new(earlier, documents, library, options);
    resolver.references();
    resolver.secret_files();
    resolver.dhcp_options();
    resolver.subnets();
    resolver.boots();
    resolver.agents();
    resolver.templates();
    resolver.profiles();
    resolver.machines();
    resolver.deployments();
    resolver.pools();
    resolver.selectors();
    resolver.memory();
    resolver.unattended();
    resolver.logins();
    resolver.variables();
    resolver.clear_secrets();
    resolver.odd_values();
    resolver.unknown_names();
    resolver.remember();
    let Resolver { desired, problems, .. } = resolver;
    (desired, documents.weigh(problems))
}

struct Resolver<'a> {
    earlier: &'a mut Earlier,
    documents: &'a Documents,
    library: &'a dyn Library,
    options: &'a Options,
    problems: Vec<Problem>,
    desired: Desired,
    /// References that lead nowhere, with the deployments they concern.
    dangling: BTreeMap<Mark, (Problem, Vec<Name>)>,
    /// Every secret that a value names, and where first.
    secrets: BTreeMap<Name, Mark>,
    templates: HashMap<Name, Arc<Template>>,
    profiles: HashMap<Name, Arc<profile::Effective>>,
    /// Machines pinned by a deployment.
    pinned: HashMap<Name, (Name, Mark)>,
    /// Fixed addresses by who was first.
    fixed: HashMap<Ipv4Addr, (Name, Mark)>,
    fixed6: HashMap<Ipv6Addr, (Name, Mark)>,
    digests: Digests,
    alike: HashMap<Option<Name>, Alike>,
    /// Deployments that lack a variable, by where it is wanted.
    lacking: BTreeMap<variable::Want, Vec<Name>>,
    /// Which deployments use a template.
    users: BTreeMap<Name, Vec<Name>>,
    /// Values already found to be of the wrong type.
    mistyped: HashSet<Mark>,
    /// What is wrong with selectors, which is among the problems as well.
    selecting: Vec<Problem>,
    /// How many problems were found and kept for a later report, or reported before.
    silent: usize,
}

/// The values of the last deployment of a profile.
#[derive(Default)]
struct Alike {
    values: Arc<BTreeMap<String, render::Value>>,
    /// The boot and the templates they were made for, where all else is the profile's and nothing is wrong.
    made_of: Option<MadeOf>,
}

/// A boot and the two templates of a deployment.
type MadeOf = (Arc<Boot>, [Option<Arc<Template>>; 2]);

/// Parts of deployment digests that many deployments share.
#[derive(Default)]
struct Digests {
    boots: HashMap<Name, [u8; 32]>,
    templates: HashMap<Name, [u8; 32]>,
    subnets: HashMap<Name, [u8; 32]>,
    secrets: HashMap<Name, [u8; 32]>,
    /// Values that several deployments have, as they are hashed; the last ones first.
    written: VecDeque<(Arc<render::Values>, Box<[u8]>)>,
}

impl<'a> Resolver<'a> {
    fn new(
        earlier: &'a mut Earlier,
        documents: &'a Documents,
        library: &'a dyn Library,
        options: &'a Options,
    ) -> Resolver<'a> {
        let secrets = std::mem::take(&mut earlier.beside.secrets);
        Resolver {
            earlier,
            documents,
            library,
            options,
            problems: Vec::new(),
            desired: Desired {
                safety: safety(documents),
                definitions: Arc::new(definition::definitions(documents)),
                ..Desired::default()
            },
            dangling: BTreeMap::new(),
            secrets,
            templates: HashMap::new(),
            profiles: HashMap::new(),
            pinned: HashMap::with_capacity(documents.deployments.len()),
            fixed: HashMap::with_capacity(documents.deployments.len()),
            fixed6: HashMap::new(),
            digests: Digests::default(),
            alike: HashMap::new(),
            lacking: BTreeMap::new(),
            users: BTreeMap::new(),
            mistyped: HashSet::new(),
            selecting: Vec::new(),
            silent: 0,
        }
    }

    /// Rises with everything that is found to be wrong.
    fn faults(&self) -> usize {
        self.problems.len() + self.silent
    }

    fn boot(&self, name: &Name) -> Option<&Arc<Boot>> {
        self.desired.boots.get(name)
    }

    /// Whether resources may be missing because of mistakes that were reported already.
    fn incomplete(&self) -> bool {
        !self.documents.unparsed.is_empty() || !self.documents.unread.is_empty()
    }
}

fn safety(documents: &Documents) -> Safety {
    let usual = Safety::default();
    let absent = inventory::Safety::default();
    let written = documents.inventory.as_ref().map_or(&absent, |own| &own.safety);
    // A source that says nothing says what is usual, whichever of them moved last.
    let is_silent = documents.inventories().count() < documents.sources.count();
    let all = || documents.inventories().map(|own| &own.safety).chain(is_silent.then_some(&absent));
    let count = |number: &Option<Marked<u32>>| number.as_ref().map(|number| number.value);
    Safety {
        max_remove: written.max_remove.as_ref().map_or(usual.max_remove, |part| part.value),
        min_existing: count(&written.min_existing).unwrap_or(usual.min_existing),
        allow_empty: written.allow_empty.as_ref().map_or(usual.allow_empty, |flag| flag.value),
        max_reinstall: count(&written.max_reinstall).or(usual.max_reinstall),
        // Waves are of the whole table: which source moved last decides nothing.
        max_in_flight: all().filter_map(|one| count(&one.max_in_flight)).min().or(usual.max_in_flight),
        // So is the budget: whoever allows least decides.
        max_wipes: all()
            .filter_map(|one| one.max_wipes.as_ref().map(|rate| rate.value.0))
            .min()
            .or(usual.max_wipes),
        // And one source does not have the machines of others wiped.
        on_release: all()
            .map(|one| one.on_release.as_ref().map_or(usual.on_release, |what| what.value))
            .min()
            .unwrap_or(usual.on_release),
        windows: all().flat_map(|one| &one.windows).map(|window| window.value.clone()).collect(),
        // One source does not weaken it for the machines of others.
        asker: if all().all(inventory::Safety::is_asker_proven_by_token) {
            Proof::Token
        } else {
            usual.asker
        },
        source: documents.sources.leading().cloned(),
    }
}

/// `web-1, web-2 and 7 more`.
fn listed<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 6;
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match names.len() {
        0..=SHOWN => names.join(", "),
        more => format!("{} and {} more", names[..SHOWN].join(", "), more - SHOWN),
    }
}

/// `deployment web-1`, `deployments web-1, web-2`.
fn deployments<T: std::fmt::Display>(names: &[T]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("deployment{plural} {}", listed(names))
}

/// Each name once, in order.
fn unique(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().collect()
}
