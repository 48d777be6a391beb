//! What every template may know of the machine it is rendered for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::desired::Deployment;
use crate::model::Mac;
use crate::render::{Value, Values};
use crate::table::{Purpose, Table};

/// The variables of a deployment on the machine with `mac` at `address`: those that manifests
/// set, and the generally known ones, empty where nothing is known.
pub fn facts(table: &Table, deployment: &Deployment, mac: Mac, address: Option<Ipv4Addr>) -> Values {
    facts_at(table, deployment, mac, address, None)
}

/// The same for a machine that reached us at our IPv6 address `at`: URLs lead there.
pub fn facts_at(
    table: &Table,
    deployment: &Deployment,
    mac: Mac,
    address: Option<Ipv4Addr>,
    at: Option<Ipv6Addr>,
) -> Values {
    let subnet = &deployment.subnet;
    let text = |value: Option<String>| Value::String(value.unwrap_or_default());
    let mut facts = Values::new();
    for list in ["packages", "users", "ssh_keys"] {
        facts.insert(list.into(), Value::List(Vec::new()));
    }
    for empty in ["disk", "timezone"] {
        facts.insert(empty.into(), text(None));
    }
    facts.insert("hostname".into(), text(Some(deployment.name.to_string())));
    facts.insert("domain".into(), text(subnet.domain.clone()));
    facts.extend(deployment.values.clone());
    facts.insert("name".into(), text(Some(deployment.name.to_string())));
    facts.insert("mac".into(), text(Some(mac.to_string())));
    facts.insert("address".into(), text(address.map(|address| address.to_string())));
    let address6 = table.address6_of(deployment, mac).map(|address| address.to_string());
    facts.insert("address6".into(), text(address6));
    facts.insert("netmask".into(), text(Some(subnet.cidr.netmask().to_string())));
    facts.insert("prefix_length".into(), Value::Integer(subnet.cidr.length().into()));
    facts.insert("gateway".into(), text(subnet.gateway.map(|gateway| gateway.to_string())));
    let dns = subnet.dns.iter().map(|server| text(Some(server.to_string()))).collect();
    facts.insert("dns".into(), Value::List(dns));
    let own = at.map_or_else(|| table.server.address_on(&subnet.cidr).into(), IpAddr::V6);
    let server = table.server.url_at(own);
    facts.insert("server_url".into(), text(Some(server.clone())));
    facts.insert("media_url".into(), text(Some(format!("{server}/{}", deployment.boot.prefix))));
    facts.extend(urls(table, deployment, &server));
    facts
}

/// The URLs that belong to one installation.
fn urls(table: &Table, deployment: &Deployment, server: &str) -> Values {
    let name = &deployment.name;
    let answers = table.token(Purpose::Answers, name, deployment.redeploy);
    let folder = format!("{server}/answers/{name}/{answers}/");
    let main = match &deployment.template {
        Some(template) if !template.kind.answers_url_is_folder() => template.kind.main_file(),
        _ => "",
    };
    let hooks = table.token(Purpose::Hooks, name, deployment.redeploy);
    let hook = |outcome: &str| format!("{server}/hooks/{name}/{hooks}/{outcome}");
    [
        ("answers_url", format!("{folder}{main}")),
        ("answers_base_url", folder.clone()),
        ("completed_url", hook("completed")),
        ("failed_url", hook("failed")),
        ("progress_url", hook("progress")),
    ]
    .into_iter()
    .map(|(name, url)| (name.to_owned(), Value::String(url)))
    .collect()
}
