//! Settings that a template of the program does not carry out: errors, because nothing would show on the
//! machine that they were left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Resolver;
use super::address::fixed;
use super::profile::Effective;
use crate::desired::{Boot, Deployment, Template};
use crate::manifest::document::{self, Resource};
use crate::manifest::{Code, Field, Level, Mark, Problem};
use crate::model::{InstallerProof as Proof, Mode};
use crate::render::known::is_well_known;
use crate::render::{Value, builtin, common};

impl Resolver<'_> {
    /// Holds the common variables of a deployment against what its template does with them. Each is
    /// reported once for each place it is written.
    pub(super) fn able(
        &mut self,
        effective: &Effective,
        boot: &Boot,
        template: &Arc<Template>,
        values: &BTreeMap<String, Value>,
    ) {
        self.hinted(effective, boot, template, values);
        if template.origin.is_some() {
            return;
        }
        let Some(builtin) = &template.kind.installer().template else { return };
        let limits = builtin.limits;
        if builtin.proof == Proof::Rendered && effective.unproven != Some(true) {
            self.unproven(effective, template, builtin.proven_by);
        }
        for unable in limits.cannot {
            let Some(field) = effective.vars.get(unable.variable) else { continue };
            let is_set = values.get(unable.variable).is_some_and(common::is_set);
            // The boot may hand it to the installer.
            if is_set && !boot.cmdline.iter().any(|word| word.uses(unable.variable)) {
                let key = unable.variable.replace('_', "-");
                let message = format!("template `{}` can't carry out `{key}`", template.name);
                let problem = Problem::new(Code::Unable, field.key, message, unable.why);
                self.unable(field.key, problem.help(format!(
                    "remove it, or write a template of your own that does it ([template.NAME], kind = \"{}\")",
                    template.kind
                )));
            }
        }
        let disk = effective.vars.get("disk").zip(values.get("disk")).filter(|_| limits.can("disk"));
        if let Some((field, wrong)) =
            disk.and_then(|(field, disk)| Some((field, common::wrong_hints(limits, disk)?)))
        {
            self.unable_disk(field, template, wrong);
        } else if let Some((field, _)) = disk.filter(|(_, disk)| common::is_chance(limits, disk)) {
            self.chance(field, template);
        }
        if let Some(field) = effective.vars.get("vlan").filter(|_| common::lacks_bond(limits, values)) {
            self.groundless(field, template);
        }
        for (name, rule) in common::RULES {
            let is_read = limits.can(name) && (template.inputs.contains_key(name) || is_well_known(name));
            let Some(field) = effective.vars.get(name).filter(|_| is_read) else { continue };
            if let Some(wrong) = rule(limits, values) {
                let message =
                    format!("template `{}` can't carry out this `{}`", template.name, name.replace('_', "-"));
                let label = format!("`{}` {wrong}", name.replace('_', "-"));
                self.unable(field.value.mark, Problem::new(Code::Unable, field.value.mark, message, label));
            }
        }
    }

    /// What a disk is like has to arrive where its name would.
    fn hinted(
        &mut self,
        effective: &Effective,
        boot: &Boot,
        template: &Template,
        values: &BTreeMap<String, Value>,
    ) {
        let Some(field) = effective.vars.get("disk") else { return };
        if !matches!(values.get("disk"), Some(Value::Table(_))) {
            return;
        }
        let is_own = template.origin.is_some();
        let why = match () {
            () if boot.cmdline.iter().any(|word| word.uses("disk")) => {
                "the boot's command line needs the name of the disk"
            }
            () if is_own && template.text.uses("disk") && !template.text.uses("disk_hints") => {
                "its text reads `disk`, a name, and not `disk_hints`"
            }
            () => return,
        };
        self.unable_disk(field, template, why.to_owned());
    }

    /// Where our agent has seen the disks, the daemon chooses; that is not known here.
    fn chance(&mut self, field: &Field, template: &Template) {
        let mark = field.value.mark;
        let message =
            format!("with template `{}` the first disk that fits this `disk` is taken", template.name);
        let label = "several disks may fit, and its installer does not stop then";
        let problem = Problem::new(Code::Unable, mark, message, label).level(Level::Warning);
        self.unable(mark, problem.help("say `serial` or `wwn`, which are one disk's alone"));
    }

    /// A VLAN without a bond, where the name of the card's interface is needed.
    fn groundless(&mut self, field: &Field, template: &Template) {
        let mark = field.value.mark;
        let message = format!("template `{}` can't carry out this `vlan`", template.name);
        let label =
            "its installer finds the card below by the name of its interface, which is not known here";
        let problem = Problem::new(Code::Unable, mark, message, label).level(Level::Warning);
        self.unable(
            mark,
            problem.help("name it by a `bond`, of one interface if there are no more: bond = [\"eno1\"]"),
        );
    }

    fn unable_disk(&mut self, field: &Field, template: &Template, why: String) {
        let mark = field.value.mark;
        let message = format!("template `{}` can't carry out this `disk`", template.name);
        self.unable(mark, Problem::new(Code::Unable, mark, message, why));
    }

    /// A template of the program that writes the network down for IPv4 alone.
    pub(super) fn dual_stack(&mut self, effective: &Effective, deployment: &Deployment) {
        let Some(template) = deployment.template.as_ref().filter(|template| template.origin.is_none()) else {
            return;
        };
        let both = deployment.subnet.cidr.is_some() && deployment.address6.is_some();
        let builtin = builtin::lookup(template.name.as_str());
        let ipv4_alone = builtin.is_some_and(|builtin| !builtin.reads("address6"));
        if !(is_static(deployment) && both && ipv4_alone) {
            return;
        }
        let Some(field) = effective.vars.get("network") else { return };
        let message = format!("template `{}` can't carry out this `network`", template.name);
        let label = "its installer writes down IPv4 alone, and the deployment has an `address6`";
        let problem = Problem::new(Code::Unable, field.value.mark, message, label);
        self.unable(field.value.mark, problem.help("remove `address6`, and set it in `first-boot`"));
    }

    /// A template of the program that writes the network down where another server gives the address.
    pub(super) fn lent_elsewhere(
        &mut self,
        resource: &Resource<document::Deployment>,
        effective: &Effective,
        deployment: &Deployment,
    ) {
        let (Some(template), Some(field)) = (&deployment.template, effective.vars.get("network")) else {
            return;
        };
        let subnet = &deployment.subnet;
        let is_lent = subnet.cidr.is_some() && subnet.mode != Mode::Server && fixed(resource).is_none();
        if !is_lent || template.origin.is_some() || !is_static(deployment) {
            return;
        }
        let message = format!("template `{}` can't carry out this `network`", template.name);
        let label = "the address is another server's to give, and not known here";
        let problem = Problem::new(Code::Unable, field.value.mark, message, label).level(Level::Warning);
        let help = "write the deployment's `address`, which that server must give to no other machine";
        self.unable(field.value.mark, problem.help(help));
    }

    fn unproven(&mut self, effective: &Effective, template: &Template, by: &str) {
        let Some(choice) = &effective.template else { return };
        let mark = choice.name.mark;
        let message = format!("no test has proven that its installer takes template `{}`", template.name);
        let problem = Problem::new(Code::Unproven, mark, message, format!("proof = rendered: {by}"));
        let help = "set `unproven = true` in the deployment or its profile to use it all the same, on a machine to spare";
        self.unable(mark, problem.help(help));
    }

    fn unable(&mut self, mark: Mark, problem: Problem) {
        self.silent += 1;
        if self.mistyped.insert(mark) {
            self.problems.push(problem);
        }
    }
}

/// Whether its network is to be written down.
fn is_static(deployment: &Deployment) -> bool {
    matches!(deployment.values.get("network"), Some(Value::String(text)) if text == "static")
}
