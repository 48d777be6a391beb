//! Turns the end of a simulated boot into a problem that points at what has to be changed.

use std::sync::Arc;

use crate::desired::{Deployment, Template};
use crate::manifest::{Code, Documents, Level, Mark, Position, Problem};
use crate::model::Name;
use crate::proto::tree;
use crate::render::installer::METADATA_FILES;
use crate::render::{self, CmdlineError, RenderError, Text, trace};
use crate::render::{Finding, Verdict};
use crate::state::{Stage, State};
use crate::walk::{self, Detail, End, Fault, SimulatedBoot, Step, Stop};

/// One deployment, and the documents that its simulated boots were made from.
pub(super) struct Judge<'a> {
    pub documents: &'a Documents,
    pub state: &'a State,
    pub deployment: &'a Deployment,
    /// Whether it stands for a pool of its name.
    pub is_pool: bool,
    /// Where what is simulated is written, if that is no deployment.
    pub place: Option<Mark>,
}

impl Judge<'_> {
    /// What is wrong with the boots (of several that stop, the first), and with the answers, which are
    /// the same in all. A boot that stops is reported alone: its answers do not matter yet.
    pub(super) fn problems(&self, boots: &[SimulatedBoot]) -> Vec<Problem> {
        let stopped = boots.iter().find_map(|boot| match &boot.end {
            End::Stopped(stop) => Some(self.stopped(boot, stop)),
            _ => None,
        });
        if stopped.as_ref().is_some_and(|problem| problem.level == Level::Error) {
            return stopped.into_iter().collect();
        }
        let mut problems = boots.first().map_or_else(Vec::new, |boot| self.answers(boot));
        // Answers that can't be parsed are worse than a missing completion call.
        if !problems.iter().any(|problem| problem.code == Code::Answers) {
            problems.extend(stopped);
        }
        problems.extend(self.user_data());
        problems
    }

    fn stopped(&self, boot: &SimulatedBoot, stop: &Stop) -> Problem {
        let name = &self.deployment.name;
        let code = if boot.route.is_signed() { Code::SignedWalk } else { Code::Walk };
        let (at, cause) = cause(&stop.why);
        let message = match stop.fault {
            Fault::NoCompletion => {
                format!("the installation of {name} would never count as done: nothing calls `completed_url`")
            }
            _ if boot.route.is_signed() => format!("{name} does not boot by {}: {cause}", boot.route),
            _ => format!("{name} does not boot: {cause}"),
        };
        let header = self.header();
        let mut problem = match self.place(stop) {
            Some((mark, label)) => {
                Problem::new(code, mark, message, label).also(header, "this boot was simulated")
            }
            None => Problem::new(code, header, message, "this boot was simulated"),
        };
        problem = problem.note(match at {
            Some(at) => format!("simulated by {}, which stops at {at}", boot.route),
            None => format!("simulated by {}", boot.route),
        });
        // Optional files that a program did not find are left out.
        let is_shown = |step: &&Arc<Step>| step.stage != Stage::Offer && step.detail != Detail::Nothing;
        for step in boot.steps.iter().filter(is_shown) {
            problem = problem.note(format!("{}: {}", step.stage, step.text));
        }
        // Without the call the installation counts as unreported, which is safe.
        let level = if stop.fault == Fault::NoCompletion { Level::Warning } else { problem.level };
        let problem = problem.level(level);
        match self.place {
            Some(_) => problem,
            None => {
                problem.help(format!("`voldemort check -v --deployment {name}` shows the simulated boot"))
            }
        }
    }

    fn header(&self) -> Mark {
        if self.is_pool {
            let pool = self.documents.pools.get(&self.deployment.name);
            return pool.map_or(Mark::new(0, 0..0), |own| own.mark);
        }
        let own = || self.documents.deployments.get(&self.deployment.name).map(|own| own.mark);
        self.place.or_else(own).unwrap_or(Mark::new(0, 0..0))
    }

    /// What in the manifests or templates made it stop.
    fn place(&self, stop: &Stop) -> Option<(Mark, String)> {
        match stop.fault {
            Fault::Script => self.word(&stop.why),
            Fault::File => self.file(&stop.why),
            Fault::Answers => self.in_template(),
            Fault::NoCompletion => self.template_file().or_else(|| self.command_line()),
            Fault::NoAnswers => self.command_line(),
            Fault::Address | Fault::Loader | Fault::Afterwards => None,
        }
    }

    /// The word of the command line that can't be filled in or passed on.
    fn word(&self, why: &str) -> Option<(Mark, String)> {
        let facts = self.facts()?;
        let secret = |name: &str| self.state.secrets().get(name);
        let words = &self.deployment.boot.cmdline;
        let written = &self.documents.boots.get(&self.deployment.boot.name)?.body.cmdline;
        let named = |text: &Text| {
            text.render(&facts, &secret)
                .is_ok_and(|filled| !filled.is_empty() && why.contains(&format!("`{filled}`")))
        };
        let at = match render::cmdline(words, &facts, &secret) {
            Err(CmdlineError::Render { word, .. } | CmdlineError::Control { word }) => Some(word),
            _ => words.iter().position(named),
        };
        match at {
            Some(at) => Some((written.get(at)?.mark, "this word of the command line".into())),
            None => self.command_line(),
        }
    }

    fn facts(&self) -> Option<render::Values> {
        let machine =
            self.state.desired().machines.get(self.state.assignments().get(&self.deployment.name)?)?;
        let mac = self.state.active_mac(machine)?;
        Some(tree::facts(self.state, self.deployment, mac, self.state.address_of(self.deployment, mac)))
    }

    fn file(&self, why: &str) -> Option<(Mark, String)> {
        let boot = &self.documents.boots.get(&self.deployment.boot.name)?.body;
        let mut files = boot.kernel.iter().chain(&boot.initrd).chain(&boot.modules);
        let file = files.find(|file| why.contains(&*file.value))?;
        Some((file.mark, "this file".into()))
    }

    /// Where rendering the template failed.
    fn in_template(&self) -> Option<(Mark, String)> {
        let template = self.deployment.template.as_ref()?;
        let error = tree::answer_file(self.state, self.deployment, template.kind.main_file())?.err()?;
        let mark = self.template_at(&template.name, Position { line: error.line, column: error.column })?;
        Some((mark, error.message))
    }

    fn template_at(&self, template: &Name, position: Position) -> Option<Mark> {
        let file = self.documents.templates.get(template)?.body.file.as_ref()?;
        let number = self.documents.sources.find_beside(file.mark.file, &file.value)?;
        Some(Mark::new(number, self.documents.sources.get(number).word_at(position)))
    }

    fn template_file(&self) -> Option<(Mark, String)> {
        let template = self.documents.templates.get(&self.deployment.template.as_ref()?.name)?;
        let mark = template.body.file.as_ref()?.mark;
        Some((mark, "have it call `{{ completed_url }}` at its very end".into()))
    }

    fn command_line(&self) -> Option<(Mark, String)> {
        let boot = self.documents.boots.get(&self.deployment.boot.name)?;
        let words = &boot.body.cmdline;
        let (Some(first), Some(last)) = (words.first(), words.last()) else {
            return Some((boot.mark, "its command line is empty".into()));
        };
        let same_file = first.mark.file == last.mark.file;
        let end = if same_file { last.mark.end } else { first.mark.end };
        Some((Mark { end, ..first.mark }, format!("the command line of boot {}", boot.name)))
    }

    fn answers(&self, boot: &SimulatedBoot) -> Vec<Problem> {
        let Some(template) = self.deployment.template.as_ref() else { return Vec::new() };
        let Some((file, text)) = boot.answers.first() else { return Vec::new() };
        self.read(template, file, walk::text_of(text).into())
    }

    /// The same of the user data that has a template of its own.
    fn user_data(&self) -> Vec<Problem> {
        let Some(template) = self.deployment.user_data.as_ref() else { return Vec::new() };
        let file = METADATA_FILES[0].name;
        match tree::answer_file(self.state, self.deployment, file) {
            None => Vec::new(),
            Some(Ok(text)) => self.read(template, file, text),
            Some(Err(RenderError { message, line, column })) => {
                let at = self.template_at(&template.name, Position { line, column });
                let text = format!("the {file} of {} can't be rendered", self.deployment.name);
                vec![Problem::new(Code::Answers, at.unwrap_or(self.header()), text, message)]
            }
        }
    }

    /// What the reader of a rendered file would say of it, one problem for each place and code.
    fn read(&self, template: &Template, file: &str, text: String) -> Vec<Problem> {
        let mut problems: Vec<Problem> = Vec::new();
        let found = template.kind.read(&text);
        let more = found.len().saturating_sub(MOST);
        for found in found.into_iter().take(MOST) {
            let problem = self.finding(template, file, &text, found);
            let same = |other: &&mut Problem| other.code == problem.code && other.mark() == problem.mark();
            match problems.iter_mut().find(same) {
                Some(other) => {
                    other.notes.push(problem.message);
                    other.notes.extend(problem.notes);
                }
                None => problems.push(problem),
            }
        }
        if let Some(last) = problems.last_mut().filter(|_| more > 0) {
            last.notes.push(format!("{more} more problems of this {file} are not shown"));
        }
        problems
    }

    fn finding(&self, template: &Template, file: &str, text: &str, found: Finding) -> Problem {
        let name = &self.deployment.name;
        let error = found.error;
        let (code, fault) = match found.verdict {
            Verdict::Refused => (Code::Answers, "is not right"),
            Verdict::Doubtful => (Code::DoubtfulAnswers, "may not mean what it says"),
            Verdict::Asks => (Code::Attended, "is not complete"),
        };
        let message = format!("the {file} of {name} {fault}: {}", error.message);
        let (number, line) = filled(text, error.line);
        let header = self.header();
        let own = self.documents.templates.get(&template.name).map(|own| own.mark);
        let traced = trace::template_line(template.text.source(), text, number)
            .and_then(|line| self.template_at(&template.name, Position { line, column: 1 }));
        let problem = match (traced, own) {
            (Some(mark), _) => Problem::new(code, mark, message, "rendered from this line"),
            (None, Some(mark)) => {
                Problem::new(code, mark, message, format!("rendered from template {}", template.name))
            }
            (None, None) => {
                let label = format!("rendered from template {}", template.name);
                return Problem::new(code, header, message, label).note(rendered(number, line));
            }
        };
        problem.also(header, "for this deployment").note(rendered(number, line))
    }
}

/// The address or the path at which a boot stopped, and why: the headline is for the reason.
fn cause(why: &str) -> (Option<&str>, &str) {
    match why.split_once(": ") {
        Some((at, cause)) if !at.contains(' ') && (at.starts_with('/') || at.contains("://")) => {
            (Some(at), cause)
        }
        _ => (None, why),
    }
}

/// Findings of one file that are reported: a file of another kind altogether has one in each line.
const MOST: usize = 50;

/// A line of a text, from 1, or the last one before it with something on it: what is not closed is
/// noticed at the end.
fn filled(text: &str, number: u32) -> (u32, &str) {
    let lines = text.lines().zip(1..=number.max(1));
    let found = lines.filter(|(line, _)| !line.trim().is_empty()).last();
    found.map_or((number, ""), |(line, at)| (at, line))
}

fn rendered(number: u32, line: &str) -> String {
    format!("line {number} of the rendered file: {line}")
}
