//! What every template may know of the machine it is rendered for.

use std::net::{IpAddr, Ipv4Addr};

use crate::desired::Deployment;
use crate::model::Mac;
use crate::render::{Value, Values};
use crate::state::{Purpose, State};

/// The variables of a deployment on the machine with `mac` at `address`: those that manifests
/// set, and the generally known ones, empty where nothing is known.
pub fn facts(state: &State, deployment: &Deployment, mac: Mac, address: Option<Ipv4Addr>) -> Values {
    facts_at(state, deployment, mac, address, None)
}

/// The same for a machine that reached the daemon at its address `at`: the URLs use it.
pub fn facts_at(
    state: &State,
    deployment: &Deployment,
    mac: Mac,
    address: Option<Ipv4Addr>,
    at: Option<IpAddr>,
) -> Values {
    Facts { state, deployment, mac, address, at }.all()
}

/// Where the variables of a deployment come from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub state: &'a State,
    pub deployment: &'a Deployment,
    pub mac: Mac,
    pub address: Option<Ipv4Addr>,
    pub at: Option<IpAddr>,
}

impl Facts<'_> {
    pub fn all(&self) -> Values {
        self.some(&|_| true)
    }

    /// Calls `render` with the variables that `uses` names. Where that fails, `render` gets all of them,
    /// because its message may name any.
    pub fn fill<T, E>(
        &self,
        uses: &dyn Fn(&str) -> bool,
        render: impl Fn(&Values) -> Result<T, E>,
    ) -> Result<T, E> {
        render(&self.some(uses)).or_else(|_| render(&self.all()))
    }

    /// The variables that are wanted: those that manifests set, and the generally known ones, empty
    /// where nothing is known.
    fn some(&self, wanted: &dyn Fn(&str) -> bool) -> Values {
        let Facts { state, deployment, mac, address: _, at } = *self;
        let subnet = &deployment.subnet;
        let text = |value: Option<String>| Value::String(value.unwrap_or_default());
        let mut facts = Values::new();
        for list in ["packages", "users", "ssh_keys"] {
            put(&mut facts, wanted, list, || Value::List(Vec::new()));
        }
        for empty in ["disk", "timezone", "user_data"] {
            put(&mut facts, wanted, empty, || text(None));
        }
        put(&mut facts, wanted, "hostname", || text(Some(deployment.name.to_string())));
        put(&mut facts, wanted, "domain", || text(subnet.domain.clone()));
        let set = deployment.values.iter().filter(|(name, _)| wanted(name));
        facts.extend(set.map(|(name, value)| (name.clone(), value.clone())));
        put(&mut facts, wanted, "name", || text(Some(deployment.name.to_string())));
        put(&mut facts, wanted, "mac", || text(Some(mac.to_string())));
        self.network(&mut facts, wanted);
        let server = state.server().url_at(state.server().reached_at(at, subnet));
        put(&mut facts, wanted, "server_url", || text(Some(server.clone())));
        put(&mut facts, wanted, "media_url", || text(Some(format!("{server}/{}", deployment.boot.prefix))));
        self.urls(&mut facts, wanted, &server);
        facts
    }

    /// The machine's network: IPv4's, or IPv6's where there is no other.
    fn network(&self, facts: &mut Values, wanted: &dyn Fn(&str) -> bool) {
        let Facts { state, deployment, mac, address, at: _ } = *self;
        let subnet = &deployment.subnet;
        let text = |value: Option<String>| Value::String(value.unwrap_or_default());
        let address6 = || state.address6_of(deployment, mac).map(|address| address.to_string());
        let address4 = || address.filter(|_| subnet.cidr.is_some()).map(|address| address.to_string());
        let only = subnet.ipv6.as_ref().filter(|_| subnet.cidr.is_none());
        let own = || if only.is_some() { address6() } else { address4() };
        put(facts, wanted, "address", || text(own()));
        put(facts, wanted, "address6", || text(address6()));
        put(facts, wanted, "netmask", || text(subnet.cidr.map(|cidr| cidr.netmask().to_string())));
        let six = only.map_or(0, |ipv6| ipv6.cidr.length());
        put(facts, wanted, "prefix_length6", || {
            Value::Integer(subnet.ipv6.as_ref().map_or(0, |ipv6| ipv6.cidr.length()).into())
        });
        put(facts, wanted, "prefix_length", || {
            Value::Integer(subnet.cidr.map_or(six, |cidr| cidr.length()).into())
        });
        put(facts, wanted, "gateway", || text(subnet.gateway.map(|gateway| gateway.to_string())));
        let dns = || match only {
            Some(ipv6) => ipv6.dns.iter().map(|server| text(Some(server.to_string()))).collect(),
            None => subnet.dns.iter().map(|server| text(Some(server.to_string()))).collect(),
        };
        put(facts, wanted, "dns", || Value::List(dns()));
    }

    /// The URLs that belong to one installation.
    fn urls(&self, facts: &mut Values, wanted: &dyn Fn(&str) -> bool, server: &str) {
        let Facts { state, deployment, .. } = *self;
        let name = &deployment.name;
        let folder = || {
            let token = state.token(Purpose::Answers, deployment);
            format!("{server}/answers/{name}/{token}/")
        };
        let main = match &deployment.template {
            Some(template) if !template.kind.answers_url_is_folder() => template.kind.main_file(),
            _ => "",
        };
        put(facts, wanted, "answers_url", || Value::String(format!("{}{main}", folder())));
        put(facts, wanted, "answers_base_url", || Value::String(folder()));
        put(facts, wanted, "nocloud_url", || {
            Value::String(format!("{server}/nocloud/{name}/{}/", state.token(Purpose::Metadata, deployment)))
        });
        for (variable, outcome) in
            [("completed_url", "completed"), ("failed_url", "failed"), ("progress_url", "progress")]
        {
            put(facts, wanted, variable, || {
                let token = state.token(Purpose::Hooks, deployment);
                Value::String(format!("{server}/hooks/{name}/{token}/{outcome}"))
            });
        }
    }
}

fn put(facts: &mut Values, wanted: &dyn Fn(&str) -> bool, name: &str, value: impl FnOnce() -> Value) {
    if wanted(name) {
        facts.insert(name.to_owned(), value());
    }
}
