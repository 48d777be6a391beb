//! What an installer must find on its command line to need nobody at the keyboard.

use std::collections::BTreeMap;

use super::variable::Want;
use super::{Resolver, deployments};
use crate::desired::{Boot, Template};
use crate::manifest::{Code, Problem};
use crate::model::Name;
use crate::render::{Kind, Text};

/// One of `words` has to begin a word of the command line.
struct Need {
    words: &'static [&'static str],
    why: &'static str,
    help: &'static str,
}

/// By what reads the answers. Sources: the Debian installation guide's appendix on preseeding,
/// anaconda's boot options, Subiquity's and cloud-init's NoCloud pages, Ignition's platform
/// "metal", AutoYaST's guide.
fn needs(kind: Kind) -> &'static [Need] {
    const NOCLOUD: Need = Need {
        words: &["ds=", "cloud-config-url="],
        why: "nothing names the answers to cloud-init",
        help: "add \"ds=nocloud;s={{ answers_url }}\"",
    };
    match kind {
        Kind::Preseed => &[
            Need {
                words: &["url=", "preseed/url="],
                why: "Debian's installer looks for its answers at `url=`",
                help: "add \"url={{ answers_url }}\"",
            },
            Need {
                words: &["auto", "locale=", "debian-installer/locale="],
                why: "language and keyboard are asked for before the answers are fetched",
                help: "add \"auto=true\" and \"priority=critical\"",
            },
        ],
        Kind::Kickstart => &[Need {
            words: &["inst.ks=", "ks="],
            why: "the installer looks for its answers at `inst.ks=`",
            help: "add \"inst.ks={{ answers_url }}\"",
        }],
        Kind::Autoinstall => &[
            Need {
                words: &["autoinstall"],
                why: "without the word `autoinstall` the installer asks before it touches a disk",
                help: "add \"autoinstall\"",
            },
            NOCLOUD,
        ],
        Kind::CloudInit => &[NOCLOUD],
        Kind::Ignition => &[Need {
            words: &[
                "ignition.config.url=",
                "flatcar.config.url=",
                "coreos.config.url=",
                "coreos.inst.ignition_url=",
            ],
            why: "nothing names the configuration to Ignition",
            help: "add \"ignition.config.url={{ answers_url }}\"",
        }],
        Kind::Autoyast => &[Need {
            words: &["autoyast=", "autoyast2=", "inst.auto="],
            why: "the installer looks for its answers at `autoyast=`",
            help: "add \"autoyast={{ answers_url }}\"",
        }],
        Kind::Plain => &[],
    }
}

/// A word that begins with a tag may turn out to be any. What the manifest holds as one word may be
/// several to the kernel.
fn meets(word: &Text, need: &Need) -> bool {
    let begins =
        |text: &str| text.starts_with('{') || need.words.iter().any(|wanted| text.starts_with(wanted));
    word.source().split_whitespace().any(begins)
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
        let problems =
            pairs.into_values().filter_map(|(boot, template, users)| self.attended(boot, template, &users));
        let problems: Vec<Problem> = problems.collect();
        self.problems.extend(problems);
    }

    fn attended(&self, boot: &Boot, template: &Template, users: &[&Name]) -> Option<Problem> {
        let own = self.documents.boots.get(&boot.name)?;
        let lacks = |want: &Want| matches!(want, Want::Boot { boot: lacking, .. } if *lacking == boot.name);
        // A word with a mistake of its own may be the one that is missed.
        if own.body.cmdline.len() != boot.cmdline.len() || self.lacking.keys().any(lacks) {
            return None;
        }
        let uses = |name: &str| boot.cmdline.iter().any(|word| word.uses(name));
        let needs = needs(template.kind);
        let (mark, label) = match own.body.cmdline.first() {
            Some(first) => (first.mark, "no word of this command line uses `answers_url`"),
            None => (own.mark, "it has no command line"),
        };
        if !uses("answers_url") && !uses("answers_base_url") {
            if template.kind == Kind::Plain && uses("completed_url") {
                return None;
            }
            let message =
                format!("boot `{}` never reads the answers of template `{}`", boot.name, template.name);
            let problem = Problem::new(Code::NoAnswers, mark, message, label);
            let naming = needs.iter().find(|need| need.help.contains("answers_url"));
            let help = naming.map_or("use `{{ answers_url }}` in one of its words", |need| need.help);
            return Some(problem.note(format!("concerns {}", deployments(users))).help(help));
        }
        let missing = needs.iter().find(|need| !boot.cmdline.iter().any(|word| meets(word, need)))?;
        let message = format!("boot `{}` with template `{}` would ask questions", boot.name, template.name);
        let problem = Problem::new(Code::Attended, mark, message, missing.why);
        Some(problem.note(format!("concerns {}", deployments(users))).help(missing.help))
    }
}
