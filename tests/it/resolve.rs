//! What manifests mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use voldemort::desired::{self, Desired, Media, Options, Place, Subnet};
use voldemort::manifest;
use voldemort::media::Shelf;
use voldemort::model::{Origin, Span};
use voldemort::render::Value;

/// Resolves one manifest that must have no mistakes.
fn resolve(text: &str, fallback: Option<Arc<Subnet>>) -> Desired {
    let files = [
        ("a.toml", text),
        ("t.liquid", "{{ a }} {{ b }} {{ c }}"),
        ("secrets/x.age", include_str!("../golden/inventory/tree/secrets/root-password.age")),
    ];
    let files: BTreeMap<Arc<str>, Bytes> = files
        .into_iter()
        .map(|(name, text)| (name.into(), Bytes::copy_from_slice(text.as_bytes())))
        .collect();
    let (documents, mut problems) = manifest::parse(&files);
    let shelf = Shelf::new(Vec::new(), None);
    let (desired, found) = desired::resolve(
        &documents,
        &shelf,
        &Options { media: Media::IfPresent, fallback: fallback.into_iter().collect() },
    );
    problems.extend(found);
    problems.retain(|problem| problem.level > manifest::Level::Note);
    assert!(problems.is_empty(), "{problems:#?}");
    desired
}

const BOOT: &str = "[boot.b]\nkernel = \"k\"\ncmdline = [\"answers={{ answers_url }}\"]\n";

fn string(text: &str) -> Value {
    Value::String(text.into())
}

#[test]
fn later_wins_tables_merge_lists_replace() {
    let desired = resolve(
        &format!(
            r#"{BOOT}
[template.t]
kind = "plain"
file = "t.liquid"
[template.t.vars]
a = {{ type = "string", default = "template" }}
b = {{ type = "table", default = {{ x = 0 }} }}
c = {{ type = "list", default = ["template"] }}
[profile.one]
vars = {{ a = "one", b = {{ x = 1, deep = {{ p = 1 }} }} }}
packages = ["one", "more"]
[profile.two]
vars = {{ a = "two", b = {{ y-z = 2, deep = {{ q = 2 }} }} }}
[profile.both]
extends  = ["one", "two"]
boot     = "b"
template = "t"
disk     = "/dev/sda"
[deployment.d]
profile  = "both"
mac      = "52:54:00:aa:00:01"
address  = "10.0.0.2"
packages = ["own"]
vars     = {{ b = {{ x = 9 }} }}
ssh-keys = "ssh-ed25519 AAAA a"
"#
        ),
        None,
    );
    let values = &desired.deployments["d"].values;
    assert_eq!(values["a"], string("two"));
    assert_eq!(values["c"], Value::List(vec![string("template")]));
    assert_eq!(values["packages"], Value::List(vec![string("own")]));
    assert_eq!(values["ssh_keys"], Value::List(vec![string("ssh-ed25519 AAAA a")]));
    assert_eq!(values["disk"], string("/dev/sda"));
    let deep = BTreeMap::from([("p".into(), Value::Integer(1)), ("q".into(), Value::Integer(2))]);
    let b = [
        ("x".to_owned(), Value::Integer(9)),
        ("y_z".into(), Value::Integer(2)),
        ("deep".into(), Value::Table(deep)),
    ];
    assert_eq!(values["b"], Value::Table(b.into()));
}

#[test]
fn machines_are_pinned_selected_or_implied() {
    let desired = resolve(
        &format!(
            r#"{BOOT}
[subnet.lab]
cidr = "10.0.0.0/24"
dynamic = "10.0.0.100-10.0.0.110"
[machine.m]
mac = ["52:54:00:aa:00:01", "52:54:00:aa:00:02"]
protect = false
[machine.n]
mac = "52:54:00:aa:00:03"
labels = {{ size = "small" }}
[deployment.pinned]
machine = "m"
boot = "b"
address = "10.0.0.2"
redeploy = 3
[deployment.selected]
select = {{ labels = {{ size = "small" }} }}
boot = "b"
[deployment.implied]
mac = "52:54:00:aa:00:04"
boot = "b"
address = "auto"
"#
        ),
        None,
    );
    let deployments = &desired.deployments;
    assert_eq!(deployments["pinned"].place, Place::Machine("m".parse().unwrap()));
    assert_eq!(deployments["pinned"].redeploy, 3);
    assert_eq!(deployments["selected"].place, Place::Select([("size".into(), "small".into())].into()));
    assert_eq!(deployments["selected"].address, None);
    assert_eq!(deployments["implied"].place, Place::Machine("implied".parse().unwrap()));
    assert_eq!(desired.machines["implied"].macs, ["52:54:00:aa:00:04".parse().unwrap()]);
    assert_eq!(desired.machines["m"].protect, Some(false));
    assert_eq!(desired.macs[&"52:54:00:aa:00:02".parse::<voldemort::model::Mac>().unwrap()].as_str(), "m");
    assert_eq!(desired.subnets["lab"].lease, Span::seconds(3600));
    assert!(!deployments["pinned"].installs());
}

#[test]
fn the_daemons_subnet_serves_inventories_without_one() {
    let subnet = Arc::new(Subnet {
        name: "default".parse().unwrap(),
        cidr: Some("10.9.0.0/16".parse().unwrap()),
        gateway: None,
        dns: Vec::new(),
        domain: None,
        dynamic: vec!["10.9.1.0-10.9.2.0".parse().unwrap()],
        lease: Span::seconds(60),
        options: Default::default(),
        mode: Default::default(),
        unknown: Default::default(),
        idle: Default::default(),
        power: None,
        ipv6: None,
        segment: "default".parse().unwrap(),
        origin: Origin { file: "daemon.toml".into(), line: 1, column: 1 },
    });
    let text = format!("{BOOT}[deployment.d]\nboot = \"b\"\nmac = \"52:54:00:aa:00:01\"\n");
    let fixed = format!("{text}address = \"10.9.7.7\"\n");
    assert_eq!(resolve(&fixed, Some(subnet.clone())).deployments["d"].subnet, subnet);
    assert_eq!(resolve(&fixed, None).deployments["d"].subnet.cidr, "10.9.7.0/24".parse().ok());
    let dynamic = resolve(&text, Some(subnet.clone()));
    assert_eq!(dynamic.deployments["d"].address, None);
    assert_eq!(dynamic.subnets["default"], subnet);
    assert_eq!(resolve("", Some(subnet)).subnets.len(), 1);
    assert_eq!(resolve(&fixed, None).subnets.len(), 1);
}

#[test]
fn origins_and_secrets_are_kept() {
    let text = format!(
        "{BOOT}[deployment.d]\nboot = \"b\"\nmac = \"52:54:00:aa:00:01\"\naddress = \"10.0.0.2\"\n\
         users = [{{ name = \"ops\", password-hash = {{ secret = \"x\" }} }}]\n"
    );
    let deployment = resolve(&text, None).deployments["d"].clone();
    assert_eq!(deployment.origin.to_string(), "a.toml:4:13");
    let user =
        BTreeMap::from([("name".into(), string("ops")), ("password_hash".into(), Value::Secret("x".into()))]);
    assert_eq!(deployment.values["users"], Value::List(vec![Value::Table(user)]));
}
