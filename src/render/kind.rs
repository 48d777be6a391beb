//! The kinds of answer files.

mod autoyast;
mod cloud;
mod ignition;
mod kickstart;
mod mime;
mod preseed;
mod xml;
mod yaml;

use std::fmt;
use std::str::FromStr;

use super::{RenderError, near};

/// What reads the rendered file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Debian's installer.
    Preseed,
    /// Anaconda: RHEL and its kin, Fedora.
    Kickstart,
    /// Ubuntu's installer, Subiquity.
    Autoinstall,
    /// cloud-init, from its NoCloud source.
    CloudInit,
    /// Fedora CoreOS and Flatcar.
    Ignition,
    /// SUSE's installer.
    Autoyast,
    /// Any other text, fetched by whatever the boot runs.
    Plain,
}

/// One file below `answers_base_url`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerFile {
    pub name: &'static str,
    pub content: AnswerContent,
}

/// Where the bytes of an answer file come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerContent {
    /// The rendered template.
    Main,
    /// `meta_data`.
    MetaData,
    /// No bytes, but found: cloud-init asks eleven times for a file that is missing.
    Empty,
}

/// What happens to an installation because of something in its answer file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The program that reads the file stops with an error, or leaves the file out.
    Refused,
    /// The file is read, and probably does not mean what its author wanted.
    Doubtful,
    /// The installer stops and asks a person.
    Asks,
}

/// One thing that can be said of a rendered answer file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// Where, and a sentence without a full stop.
    pub error: RenderError,
}

/// Why a text is not a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind `{name}`{}", near::hint(name, Kind::ALL.iter().map(|kind| kind.name())))]
pub struct KindError {
    pub name: String,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Preseed,
        Kind::Kickstart,
        Kind::Autoinstall,
        Kind::CloudInit,
        Kind::Ignition,
        Kind::Autoyast,
        Kind::Plain,
    ];

    /// As manifests write it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Preseed => "preseed",
            Kind::Kickstart => "kickstart",
            Kind::Autoinstall => "autoinstall",
            Kind::CloudInit => "cloud-init",
            Kind::Ignition => "ignition",
            Kind::Autoyast => "autoyast",
            Kind::Plain => "plain",
        }
    }

    /// The files a machine can fetch, the main one first.
    pub fn files(self) -> &'static [AnswerFile] {
        const fn main(name: &'static str) -> AnswerFile {
            AnswerFile { name, content: AnswerContent::Main }
        }
        const NOCLOUD: &[AnswerFile] = &[
            main("user-data"),
            AnswerFile { name: "meta-data", content: AnswerContent::MetaData },
            AnswerFile { name: "vendor-data", content: AnswerContent::Empty },
            AnswerFile { name: "network-config", content: AnswerContent::Empty },
        ];
        match self {
            Kind::Preseed => const { &[main("preseed.cfg")] },
            Kind::Kickstart => const { &[main("ks.cfg")] },
            Kind::Autoinstall | Kind::CloudInit => NOCLOUD,
            Kind::Ignition => const { &[main("config.ign")] },
            Kind::Autoyast => const { &[main("autoinst.xml")] },
            Kind::Plain => const { &[main("answers.txt")] },
        }
    }

    /// The file the template is rendered to.
    pub fn main_file(self) -> &'static str {
        self.files()[0].name
    }

    /// Whether the installer is given the folder (with a slash at its end, as `s=` of NoCloud
    /// wants it) rather than the main file.
    pub fn answers_url_is_folder(self) -> bool {
        matches!(self, Kind::Autoinstall | Kind::CloudInit)
    }

    /// What the reader of a rendered file makes of it, as far as the text alone can say: first what
    /// the reader refuses, then what is probably not meant, then what the installer would ask a
    /// person; within each of these by line. Positions are those in the rendered file. Questions are
    /// reported only where the file itself begins to answer them: scripts of its author may answer
    /// the rest.
    pub fn read(self, text: &str) -> Vec<Finding> {
        let mut found = match self {
            Kind::Preseed => preseed::read(text),
            Kind::Kickstart => kickstart::read(text),
            Kind::Autoinstall => cloud::read(text, true),
            Kind::CloudInit => cloud::read(text, false),
            Kind::Ignition => ignition::read(text),
            Kind::Autoyast => autoyast::read(text),
            Kind::Plain => Vec::new(),
        };
        found.sort_by_key(|found| (found.verdict, found.error.line, found.error.column));
        found
    }
}

/// NoCloud's `meta-data`. The instance's id changes with the permission number, so that a
/// machine installed again is a new instance to cloud-init. Quotes keep names such as `no`, `123`
/// and `2026-01` texts, where YAML has truths, numbers and dates.
pub fn meta_data(name: &str, redeploy: u64, hostname: &str) -> String {
    format!("instance-id: \"{name}-{redeploy}\"\nlocal-hostname: \"{hostname}\"\n")
}

fn place(line: usize, column: usize, message: impl Into<String>) -> RenderError {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    RenderError { line: narrow(line), column: narrow(column), message: message.into() }
}

fn refused(line: usize, column: usize, message: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Refused, error: place(line, column, message) }
}

fn doubtful(line: usize, column: usize, message: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Doubtful, error: place(line, column, message) }
}

fn asks(line: usize, message: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Asks, error: place(line, 1, message) }
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Kind, KindError> {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| KindError { name: text.to_owned() })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(kind.files().iter().filter(|file| file.content == AnswerContent::Main).count(), 1);
        }
        let error = "kickstrat".parse::<Kind>().unwrap_err();
        assert_eq!(error.to_string(), "unknown kind `kickstrat`; did you mean `kickstart`?");
    }

    #[test]
    fn nocloud_has_a_folder() {
        assert!(Kind::Autoinstall.answers_url_is_folder());
        assert!(!Kind::Preseed.answers_url_is_folder());
        assert_eq!(Kind::CloudInit.main_file(), "user-data");
        assert_eq!(meta_data("web-1", 2, "web-1"), "instance-id: \"web-1-2\"\nlocal-hostname: \"web-1\"\n");
    }
}
