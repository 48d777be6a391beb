//! What shall run where.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{Boot, DhcpOptions, Subnet, Template};
use crate::model::disk::Hints;
use crate::model::{Name, Origin};
use crate::render::installer::Completion;
use crate::render::{Kind, Text, Value};

/// One `[deployment.NAME]` with all it inherits.
#[derive(Clone, Debug)]
pub struct Deployment {
    pub name: Name,
    pub place: Place,
    /// The profile that it names itself.
    pub profile: Option<Name>,
    /// `None`: the machine gets one of the subnet's dynamic addresses and keeps it.
    pub address: Option<Ipv4Addr>,
    /// `None`: one of the dynamic IPv6 addresses, where there are any.
    pub address6: Option<Ipv6Addr>,
    pub subnet: Arc<Subnet>,
    pub boot: Arc<Boot>,
    /// Without one the machine boots from the network every time (diskless).
    pub template: Option<Arc<Template>>,
    /// What cloud-init gets as user data when the machine runs; see [`Deployment::metadata`].
    pub user_data: Option<Arc<Template>>,
    /// Values of the template's variables and of the generally known ones that manifests set
    /// (`packages`, `users`, `ssh_keys`, `disk`, `timezone`, …), by template spelling. Those of a profile
    /// with nothing of their own share them.
    pub values: Arc<BTreeMap<String, Value>>,
    /// Permission number: an installation happens once for each number higher than any before.
    pub redeploy: u64,
    pub options: DhcpOptions,
    /// SHA-256 over everything that decides what the machine is served, in hexadecimal.
    pub digest: Arc<str>,
    pub origin: Origin,
}

/// By identity: what was resolved anew may differ in anything, and [`Deployment::digest`] says in what matters.
impl PartialEq for Deployment {
    fn eq(&self, other: &Deployment) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Deployment {}

/// Where a deployment goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// To this machine.
    Machine(Name),
    /// To any free machine that carries these labels.
    Select(BTreeMap<String, String>),
}

impl Deployment {
    /// Whether network boots of this deployment install something and end with a completion
    /// call, rather than being the machine's normal way to run.
    pub fn installs(&self) -> bool {
        self.template.is_some() || self.boot.cmdline.iter().any(|word| word.uses("completed_url"))
    }

    /// The template of the user data at `nocloud_url`: its own, else the answers where cloud-init reads these.
    /// Without one the user data is empty.
    pub fn metadata(&self) -> Option<&Arc<Template>> {
        let answers = || self.template.as_ref().filter(|template| template.kind == Kind::CloudInit);
        self.user_data.as_ref().or_else(answers)
    }

    /// Whether anything leads its machine to `nocloud_url`.
    pub fn has_metadata(&self) -> bool {
        let leads = |text: &Text| text.uses("nocloud_url");
        self.user_data.is_some()
            || self.template.as_ref().is_some_and(|template| leads(&template.text))
            || self.boot.cmdline.iter().any(leads)
    }

    /// Whether its machine would be given the user data of a claim: by a template that uses them, or by cloud-init's
    /// metadata where no template of its own makes those.
    pub fn reads_user_data(&self) -> bool {
        let uses = |template: &Arc<Template>| template.text.uses("user_data");
        let own = self.user_data.as_ref();
        self.template.as_ref().is_some_and(uses) || own.map_or_else(|| self.has_metadata(), uses)
    }

    /// What its disk is like, where its manifests say that instead of a name.
    pub fn disk_hints(&self) -> Option<Hints> {
        let Some(Value::Table(table)) = self.values.get("disk") else { return None };
        let text = |key: &str| match table.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => None,
        };
        let size = |key: &str| match table.get(key) {
            Some(Value::Integer(bytes)) => u64::try_from(*bytes).ok(),
            _ => None,
        };
        let rotational = match table.get("rotational") {
            Some(Value::Boolean(flag)) => Some(*flag),
            _ => None,
        };
        Some(Hints {
            serial: text("serial"),
            wwn: text("wwn"),
            model: text("model"),
            min_size: size("min_size"),
            max_size: size("max_size"),
            rotational,
            transport: text("transport"),
        })
    }

    /// Whether its installer says when it is done.
    pub fn reports(&self) -> bool {
        let reports =
            |template: &Arc<Template>| template.kind.installer().completion != Completion::SecondBoot;
        self.template.as_ref().is_none_or(reports)
    }

    /// Whether its installer fetches answers, and can destroy nothing before it has them.
    pub fn has_answers(&self) -> bool {
        let asks = |word: &Text| word.uses("answers_url") || word.uses("answers_base_url");
        let by_dhcp = |template: &Arc<Template>| template.kind.installer().by_dhcp;
        let told = self.boot.cmdline.iter().any(asks);
        self.template.as_ref().is_some_and(|template| told || by_dhcp(template))
    }
}
