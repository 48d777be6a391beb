//! `[agent]`: the boots that our agent runs on, and whether what needs it has it.

use std::sync::Arc;

use super::Resolver;
use crate::desired::Boot;
use crate::manifest::{Code, Kind, Mark, Marked, Problem};
use crate::model::{Cpu, Name, Unknown};
use crate::render::known::AGENT;

impl Resolver<'_> {
    pub(super) fn agents(&mut self) {
        let documents = self.documents;
        let written = documents.inventories().filter_map(|own| own.agent.as_ref()?.boot.as_ref());
        let named: Vec<(Cpu, &Marked<Name>)> = written.flat_map(|boots| boots.all()).collect();
        for (cpu, name) in &named {
            self.agent_boot(*cpu, name);
        }
        self.undiscovered(!named.is_empty());
    }

    /// The first source that names a boot for an architecture is the one that counts.
    fn agent_boot(&mut self, cpu: Cpu, name: &Marked<Name>) {
        self.reference(Kind::Boot, name);
        let Some(boot) = self.boot(&name.value).cloned() else { return };
        if boot.cpu != cpu {
            let message = format!("boot `{}` is for {}, and not for {cpu}", boot.name, boot.cpu);
            let problem = Problem::new(Code::AgentBoot, name.mark, message, "no machine could run it");
            self.problems.push(problem.help(format!("name a boot that says `arch = \"{cpu}\"`")));
            return;
        }
        self.agent_words(&boot, name.mark);
        self.agent_initrd(&boot, name.mark);
        self.desired.agent.boots.entry(cpu).or_insert(boot);
    }

    /// Whatever the initrd holds is started on machines that are not ours: an installer, for example.
    fn agent_initrd(&mut self, boot: &Arc<Boot>, mark: Mark) {
        if boot.modules.is_empty() {
            let message = format!(
                "boot `{}` has no `modules`, so its own initrd is started on unknown machines",
                boot.name
            );
            let problem =
                Problem::new(Code::OtherInitrd, mark, message, "it has to hold our agent, and nothing else");
            self.problems.push(problem.help(
                "name the packages with the modules of its kernel (modules = [\"files/linux-image-….deb\"]): the \
                 initrd is made of them",
            ));
        }
    }

    /// The command line is filled in for machines that nothing is known of but the card.
    fn agent_words(&mut self, boot: &Arc<Boot>, mark: Mark) {
        let used = boot.cmdline.iter().flat_map(|word| word.variables());
        let unset = used.map(|used| &used.name).find(|name| !AGENT.contains(&name.as_str()));
        if let Some(unset) = unset {
            let message = format!(
                "the command line of boot `{}` uses `{unset}`, which an unknown machine has not",
                boot.name
            );
            let problem = Problem::new(Code::AgentBoot, mark, message, "our agent runs on any machine");
            self.problems.push(problem.help(format!("it may use {}", AGENT.join(", "))));
        }
    }

    /// Subnets where unknown machines would boot the agent, and can't.
    fn undiscovered(&mut self, has_agent: bool) {
        for resource in self.documents.subnets.values() {
            let Some(unknown) = resource.body.unknown.as_ref().filter(|one| one.value != Unknown::Ignore)
            else {
                continue;
            };
            if !has_agent && !self.incomplete() {
                let message = format!("unknown machines of subnet `{}` have nothing to boot", resource.name);
                let problem =
                    Problem::new(Code::AgentBoot, unknown.mark, message, "there is no agent to boot");
                self.problems.push(problem.help(
                    "name a boot in the inventory's voldemort.toml: [agent] boot = { x86_64 = \"NAME\" }",
                ));
            }
            let Some(subnet) = self.desired.subnets.get(&resource.name) else { continue };
            let gives =
                !subnet.dynamic.is_empty() || subnet.ipv6.as_ref().is_some_and(|ipv6| ipv6.gives_addresses());
            if !gives && subnet.mode == crate::model::Mode::Server {
                let message = format!("unknown machines of subnet `{}` get no address", resource.name);
                let problem =
                    Problem::new(Code::AgentBoot, unknown.mark, message, "so they can't boot anything");
                self.problems.push(problem.help("give the subnet a `dynamic` range"));
            }
        }
    }
}
