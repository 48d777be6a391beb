//! What every template may know of the machine it is rendered for.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::desired::Deployment;
use crate::model::Mac;
use crate::model::facts::DiskFacts;
use crate::render::{RenderError, Scope, Text, Value, Values};
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

/// The URL of the answers of a deployment for a machine that reached the daemon at its address `at`.
pub fn answers_url(state: &State, deployment: &Deployment, mac: Mac, at: Option<IpAddr>) -> String {
    let mut facts = Values::new();
    let server = state.server().url_at(state.server().reached_at(at, &deployment.subnet));
    Facts { state, deployment, mac, address: None, at }.urls(
        &mut facts,
        &|name| name == "answers_url",
        &server,
    );
    facts.remove("answers_url").map_or_else(String::new, |url| url.to_string())
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
        let mut all = Values::clone(&self.deployment.values);
        all.extend(self.own(&|_| true));
        all
    }

    /// Calls `render` with the variables that `wanted` names, which are in order. Where that fails, `render` gets all of
    /// them, because its message may name any.
    pub fn fill<T, E>(&self, wanted: &[&str], render: impl Fn(&Values) -> Result<T, E>) -> Result<T, E> {
        let mut some = self.own(&|name| wanted.binary_search(&name).is_ok());
        for name in wanted {
            if let Some(set) = self.deployment.values.get(*name).filter(|_| !some.contains_key(*name)) {
                some.insert((*name).to_owned(), set.clone());
            }
        }
        render(&some).or_else(|_| render(&self.all()))
    }

    /// The text with these variables, and the user data that the machine is given, if it is.
    pub fn fill_text(
        &self,
        text: &Text,
        user_data: Option<&str>,
        secrets: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, RenderError> {
        let given = |mut facts: Values| {
            if let Some(given) = user_data.filter(|_| text.uses("user_data")) {
                facts.insert("user_data".into(), Value::String(given.to_owned()));
            }
            facts
        };
        let own = given(self.own(&|name| text.uses(name)));
        let filled = text.render_in(Scope::over(&own, &self.deployment.values), secrets);
        filled.or_else(|_| text.render(&given(self.all()), secrets))
    }

    /// The variables that are wanted, empty where nothing is known, but for those that manifests set.
    fn own(&self, wanted: &dyn Fn(&str) -> bool) -> Values {
        let Facts { state, deployment, mac, address: _, at } = *self;
        let subnet = &deployment.subnet;
        let text = |value: Option<String>| Value::String(value.unwrap_or_default());
        let mut facts = Values::new();
        let is_unset = |name: &str| wanted(name) && !deployment.values.contains_key(name);
        for list in ["packages", "users", "ssh_keys"] {
            put(&mut facts, &is_unset, list, || Value::List(Vec::new()));
        }
        self.hints(&mut facts, wanted);
        for empty in ["disk", "timezone", "user_data"] {
            put(&mut facts, &is_unset, empty, || text(None));
        }
        put(&mut facts, &is_unset, "hostname", || text(Some(deployment.name.to_string())));
        put(&mut facts, &is_unset, "domain", || text(subnet.domain.clone()));
        put(&mut facts, wanted, "name", || text(Some(deployment.name.to_string())));
        put(&mut facts, wanted, "mac", || text(Some(mac.to_string())));
        self.network(&mut facts, wanted);
        let server = state.server().url_at(state.server().reached_at(at, subnet));
        put(&mut facts, wanted, "server_url", || text(Some(server.clone())));
        put(&mut facts, wanted, "media_url", || text(Some(format!("{server}/{}", deployment.boot.prefix))));
        self.urls(&mut facts, wanted, &server);
        facts
    }

    /// What a disk is like is `disk_hints` to templates, which have a name in `disk` or nothing. A flag is a text there:
    /// one that is false differs from one that is not set. Where the one disk is known that is meant, templates have its
    /// name alone, as far as they read it.
    fn hints(&self, facts: &mut Values, wanted: &dyn Fn(&str) -> bool) {
        let Some(Value::Table(table)) = self.deployment.values.get("disk") else {
            return put(facts, wanted, "disk_hints", || Value::Table(BTreeMap::new()));
        };
        let hint = |(name, value): (&String, &Value)| match value {
            Value::Boolean(flag) => (name.clone(), Value::String(u8::from(*flag).to_string())),
            other => (name.clone(), other.clone()),
        };
        if !wanted("disk") && !wanted("disk_hints") {
            return;
        }
        let is_read = self.deployment.template.as_ref().is_some_and(|template| template.text.uses("disk"));
        let known = || self.state.hinted_disk(self.deployment).ok().flatten().and_then(DiskFacts::by_id);
        let name = is_read.then(known).flatten();
        let hints = || match &name {
            Some(_) => BTreeMap::new(),
            None => table.iter().map(hint).collect(),
        };
        put(facts, wanted, "disk_hints", || Value::Table(hints()));
        put(facts, wanted, "disk", || Value::String(name.clone().unwrap_or_default()));
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
        let hooks = OnceCell::new();
        for (variable, outcome) in
            [("completed_url", "completed"), ("failed_url", "failed"), ("progress_url", "progress")]
        {
            put(facts, wanted, variable, || {
                let token = hooks.get_or_init(|| state.token(Purpose::Hooks, deployment));
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
