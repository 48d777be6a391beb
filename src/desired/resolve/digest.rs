//! What a deployment is served, as one number: equal digests mean equal answers.
//!
//! The bytes of media are not looked at: an inventory has the same digests on a laptop without
//! the images. An image counts with its name and the `sha256` written down for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Digests;
use crate::desired::{Boot, Deployment, DhcpOptions, Ipv6, Place, Subnet, Template};
use crate::manifest::Sources;
use crate::model::{Mac, Mode, Name, hex};
use crate::render::{Value, Values};

/// Takes values so that no two different sequences of them look alike. They are hashed at the end.
struct Sum(Vec<u8>);

impl Sum {
    fn new(what: &str) -> Sum {
        let mut sum = Sum(Vec::with_capacity(1 << 10));
        sum.text(what);
        sum
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn shown(&mut self, value: impl std::fmt::Display) {
        self.text(&value.to_string());
    }

    fn option<T: std::fmt::Display>(&mut self, value: Option<T>) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            self.shown(value);
        }
    }

    fn list<T: std::fmt::Display>(&mut self, values: impl ExactSizeIterator<Item = T>) {
        self.number(values.len() as u64);
        values.for_each(|value| self.shown(value));
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                self.number(1);
                self.text(text);
            }
            Value::Integer(number) => {
                self.number(2);
                self.shown(number);
            }
            Value::Boolean(flag) => self.number(3 + u64::from(*flag)),
            Value::List(list) => {
                self.number(5);
                self.number(list.len() as u64);
                list.iter().for_each(|value| self.value(value));
            }
            Value::Table(table) => {
                self.number(6);
                self.number(table.len() as u64);
                for (key, value) in table {
                    self.text(key);
                    self.value(value);
                }
            }
            Value::Secret(name) => {
                self.number(7);
                self.text(name);
            }
        }
    }

    /// Nothing where nothing is set, so that digests made before there were options stay right.
    fn dhcp_options(&mut self, options: &DhcpOptions) {
        if *options != DhcpOptions::default() {
            self.list(options.lines().collect::<Vec<_>>().iter());
        }
    }

    fn end(self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

pub(super) fn subnet(subnet: &Subnet) -> [u8; 32] {
    let Subnet {
        name: _,
        cidr,
        gateway,
        dns,
        domain,
        dynamic: _,
        lease,
        options,
        mode,
        unknown: _,
        idle: _,
        power: _,
        ipv6,
        segment: _,
        origin: _,
    } = subnet;
    let mut sum = Sum::new("subnet");
    cidr.iter().for_each(|cidr| sum.shown(cidr));
    sum.option(gateway.as_ref());
    sum.list(dns.iter());
    sum.option(domain.as_ref());
    sum.number(lease.0);
    sum.dhcp_options(options);
    if *mode != Mode::Server {
        sum.shown(mode);
    }
    // Nothing where there is none, so that digests made before there was IPv6 stay right. What is
    // lent is left out, as with IPv4, and what is advertised to the whole wire.
    if let Some(Ipv6 { cidr, dynamic: _, dns, ra: _, router: _ }) = ipv6 {
        sum.shown(cidr);
        sum.list(dns.iter());
    }
    sum.end()
}

pub(super) fn boot(boot: &Boot, iso: Option<&str>, sha256: Option<&str>) -> [u8; 32] {
    let Boot { name, prefix, kernel, initrd, modules, agent: _, cmdline, cpu, loader, tree: _, origin: _ } =
        boot;
    let mut sum = Sum::new("boot");
    sum.shown(name);
    sum.text(prefix);
    sum.option(iso);
    sum.option(sha256);
    sum.text(&kernel.path);
    sum.list(initrd.iter().map(|file| &file.path));
    sum.list(cmdline.iter().map(|word| word.source()));
    sum.shown(cpu);
    if !loader.is_empty() {
        sum.list(loader.iter());
    }
    if !modules.is_empty() {
        sum.text("modules");
        sum.list(modules.iter().map(|file| &file.path));
    }
    sum.end()
}

pub(super) fn template(template: &Template) -> [u8; 32] {
    // Defaults of inputs are among the values of each deployment.
    let Template { name, kind, text, inputs: _, origin: _ } = template;
    let mut sum = Sum::new("template");
    sum.shown(name);
    sum.text(&format!("{kind:?}"));
    sum.text(text.source());
    sum.end()
}

pub(super) fn deployment(
    deployment: &Deployment,
    macs: &[Mac],
    known: &mut Digests,
    sources: &Sources,
) -> Arc<str> {
    let Deployment {
        name,
        place,
        // What it brings stands in the other members.
        profile: _,
        address,
        address6,
        subnet,
        boot,
        template,
        user_data,
        values,
        redeploy,
        options,
        digest: _,
        origin: _,
    } = deployment;
    let mut sum = Sum::new("deployment");
    sum.shown(name);
    match place {
        Place::Machine(machine) => {
            sum.number(1);
            sum.shown(machine);
            sum.list(macs.iter());
        }
        Place::Select(labels) => {
            sum.number(2);
            sum.number(labels.len() as u64);
            for (key, value) in labels {
                sum.text(key);
                sum.text(value);
            }
        }
    }
    sum.option(address.as_ref());
    sum.bytes(&match known.subnets.get(&subnet.name) {
        Some(digest) => *digest,
        None => self::subnet(subnet),
    });
    sum.bytes(known.boots.get(&boot.name).map_or(&[][..], |digest| digest));
    sum.bytes(
        template
            .as_ref()
            .and_then(|template| known.templates.get(&template.name))
            .map_or(&[][..], |digest| digest),
    );
    known.values(values, sources, &mut sum);
    sum.number(*redeploy);
    sum.dhcp_options(options);
    if let Some(address6) = address6 {
        sum.shown(address6);
    }
    // Nothing where there is none, as with IPv6.
    if let Some(template) = user_data {
        sum.text("user-data");
        sum.bytes(known.templates.get(&template.name).map_or(&[][..], |digest| digest));
    }
    hex(&sum.end()).into()
}

impl Deployment {
    /// The same where nothing differs but the ciphertext of secrets: `changed` has these, with their new digests. What it
    /// is served is something else then, and its digest too. `None` where it names none of them.
    pub fn resealed(&self, changed: &BTreeMap<Name, [u8; 32]>) -> Option<Deployment> {
        let mut sum = Sum::new("resealed");
        sum.text(&self.digest);
        let start = sum.0.len();
        self.values.values().for_each(|value| changed_secrets(value, changed, &mut sum));
        if sum.0.len() == start {
            return None;
        }
        Some(Deployment { digest: hex(&sum.end()).into(), ..self.clone() })
    }
}

/// Those of the `changed` secrets that a value names.
fn changed_secrets(value: &Value, changed: &BTreeMap<Name, [u8; 32]>, sum: &mut Sum) {
    match value {
        Value::Secret(name) => {
            if let Some(digest) = changed.get(name.as_str()) {
                sum.text(name);
                sum.bytes(digest);
            }
        }
        Value::List(list) => list.iter().for_each(|value| changed_secrets(value, changed, sum)),
        Value::Table(table) => table.values().for_each(|value| changed_secrets(value, changed, sum)),
        _ => {}
    }
}

impl Digests {
    /// What counts of the values, which most deployments share with others of their profile.
    fn values(&mut self, values: &Arc<Values>, sources: &Sources, sum: &mut Sum) {
        let known = self.written.iter().find(|(known, _)| Arc::ptr_eq(known, values));
        if let Some((_, bytes)) = known {
            return sum.0.extend_from_slice(bytes);
        }
        let start = sum.0.len();
        sum.number(values.len() as u64);
        for (key, value) in &**values {
            sum.text(key);
            sum.value(value);
            secrets(value, sum, self, sources);
        }
        // Of its own alone no other deployment has them.
        if Arc::strong_count(values) > 2 {
            self.written.truncate(WRITTEN_MAX - 1);
            self.written.push_front((values.clone(), sum.0[start..].into()));
        }
    }
}

/// Most profiles whose values are remembered.
const WRITTEN_MAX: usize = 64;

/// A secret's ciphertext replaces its text: when it changes, another text is served.
fn secrets(value: &Value, sum: &mut Sum, known: &mut Digests, sources: &Sources) {
    match value {
        Value::Secret(name) => {
            let Ok(name) = name.parse::<Name>() else { return };
            let digest = known.secrets.entry(name).or_insert_with_key(|name| secret(name, sources));
            sum.bytes(digest);
        }
        Value::List(list) => list.iter().for_each(|value| secrets(value, sum, known, sources)),
        Value::Table(table) => table.values().for_each(|value| secrets(value, sum, known, sources)),
        _ => {}
    }
}

pub(super) fn secret(name: &Name, sources: &Sources) -> [u8; 32] {
    let mut sum = Sum::new("secret");
    if let Some(file) = sources.find_any(&crate::secret::path(name)) {
        sum.bytes(&sources.get(file).bytes);
    }
    sum.end()
}
