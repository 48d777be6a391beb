//! What an installer's command line needs for an unattended installation.

use std::collections::{BTreeMap, BTreeSet};

use super::pool::of_pools;
use super::variable::Want;
use super::{Resolver, deployments};
use crate::desired::{Boot, Template};
use crate::manifest::{Code, Problem};
use crate::model::Name;
use crate::render::Text;
use crate::render::installer::Need;

/// A word that begins with a tag may turn out to be any. What the manifest holds as one word may be
/// several to the kernel.
fn meets(word: &Text, need: &Need) -> bool {
    let begins =
        |text: &str| text.starts_with('{') || need.words.iter().any(|wanted| text.starts_with(wanted));
    word.source().split_whitespace().any(begins)
}

/// With the deployments that it concerns.
fn concerning(problem: Problem, users: &[&Name]) -> Problem {
    if users.is_empty() { problem } else { problem.note(format!("concerns {}", deployments(users))) }
}

impl Resolver<'_> {
    /// Boots that do not lead their installer to the answers, once for each boot and template.
    pub(super) fn unattended(&mut self) {
        let mut pairs: BTreeMap<(&Name, &Name), (&Boot, &Template, Vec<&Name>)> = BTreeMap::new();
        for deployment in self.desired.deployments.values() {
            let Some(template) = &deployment.template else { continue };
            let fresh = || (&*deployment.boot, &**template, Vec::new());
            let pair = pairs.entry((&deployment.boot.name, &template.name));
            pair.or_insert_with(fresh).2.push(&deployment.name);
        }
        let problems = pairs.into_values().filter_map(|(boot, template, users)| {
            self.attended(boot, template, &users).or_else(|| self.wants_disc(boot, template, &users))
        });
        let problems: Vec<Problem> = problems.collect();
        let of_pools = self.unattended_pools();
        self.problems.extend(problems.into_iter().chain(of_pools));
    }

    /// The same for what claims of pools would install, where no deployment does. Nothing is kept from being served by it.
    fn unattended_pools(&self) -> Vec<Problem> {
        if self.desired.pools.is_empty() {
            return Vec::new();
        }
        let deployments = self.desired.deployments.values();
        let known: BTreeSet<(&Name, Option<&Name>)> =
            deployments.map(|one| (&one.boot.name, one.template.as_ref().map(|own| &own.name))).collect();
        let mut pairs: BTreeMap<(&Name, &Name), (&Boot, &Template, Vec<&Name>)> = BTreeMap::new();
        for pool in self.desired.pools.values() {
            let prototype = &*pool.prototype;
            let Some(template) = &prototype.template else { continue };
            let fresh = || (&*prototype.boot, &**template, Vec::new());
            let pair = pairs.entry((&prototype.boot.name, &template.name));
            pair.or_insert_with(fresh).2.push(&pool.name);
        }
        let pairs =
            pairs.into_iter().filter(|((boot, template), _)| !known.contains(&(*boot, Some(*template))));
        let problem = |(boot, template, pools): (&Boot, &Template, Vec<&Name>)| {
            let found =
                self.attended(boot, template, &[]).or_else(|| self.wants_disc(boot, template, &[]))?;
            Some(of_pools(found, &pools))
        };
        pairs.filter_map(|(_, pair)| problem(pair)).collect()
    }

    fn attended(&self, boot: &Boot, template: &Template, users: &[&Name]) -> Option<Problem> {
        let own = self.documents.boots.get(&boot.name)?;
        let lacks = |want: &Want| matches!(want, Want::Boot { boot: lacking, .. } if *lacking == boot.name);
        // A word with a mistake of its own may be the one that is missed.
        if own.body.cmdline.len() != boot.cmdline.len() || self.lacking.keys().any(lacks) {
            return None;
        }
        let uses = |name: &str| boot.cmdline.iter().any(|word| word.uses(name));
        let needs = template.kind.installer().needs;
        let (mark, label) = match own.body.cmdline.first() {
            Some(first) => (first.mark, "no word of this command line uses `answers_url`"),
            None => (own.mark, "it has no command line"),
        };
        if !template.kind.installer().by_dhcp && !uses("answers_url") && !uses("answers_base_url") {
            // The completion call of the boot itself, where the reader of the answers is unknown.
            if needs.is_empty() && uses("completed_url") {
                return None;
            }
            let message =
                format!("boot `{}` never reads the answers of template `{}`", boot.name, template.name);
            let problem = Problem::new(Code::NoAnswers, mark, message, label);
            let naming = needs.iter().find(|need| need.help.contains("{{ answers_"));
            let help = naming.map_or("use `{{ answers_url }}` in one of its words", |need| need.help);
            return Some(concerning(problem, users).help(help));
        }
        let missing = needs.iter().find(|need| !boot.cmdline.iter().any(|word| meets(word, need)))?;
        let message = format!("boot `{}` with template `{}` would ask questions", boot.name, template.name);
        let problem = Problem::new(Code::Attended, mark, message, missing.why);
        Some(concerning(problem, users).help(missing.help))
    }

    /// The installer of a disc that is booted from the network: it does not find its packages.
    fn wants_disc(&self, boot: &Boot, template: &Template, users: &[&Name]) -> Option<Problem> {
        let own = self.documents.boots.get(&boot.name)?;
        let image = template.kind.installer().image.as_ref()?;
        own.body.iso.as_ref()?;
        let initrd = own.body.initrd.iter().find(|initrd| (image.wants_disc)(&initrd.value))?;
        let message = format!(
            "the installer of boot `{}` looks for its own disc, which this machine does not have",
            boot.name
        );
        let problem = Problem::new(Code::WantsDisc, initrd.mark, message, "this initrd is made for the disc");
        Some(concerning(problem, users).help(image.hint))
    }
}
