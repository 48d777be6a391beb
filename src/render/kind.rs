//! The kinds of answer files.

mod cloud;
mod kickstart;
mod preseed;
mod xml;

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

    /// What is wrong with a rendered file by the rules of what reads it, as far as its text
    /// alone can tell. Positions are those in the rendered file.
    pub fn check(self, text: &str) -> Vec<RenderError> {
        self.read(text).0
    }

    /// The same, and the first question its installer would ask a person nevertheless, which counts
    /// in a file without a fault. Only what the file itself begins to answer is judged: the rest may
    /// be left to scripts of its author.
    pub fn read(self, text: &str) -> (Vec<RenderError>, Option<RenderError>) {
        match self {
            Kind::Preseed => preseed::read(text),
            Kind::Autoinstall => (cloud::check(text, true), cloud::asks(text)),
            Kind::Autoyast => (xml::check(text), xml::asks(text)),
            // Kickstart refuses such a file; the others never ask.
            Kind::Kickstart => (kickstart::check(text), None),
            Kind::CloudInit => (cloud::check(text, false), None),
            Kind::Ignition => (ignition(text), None),
            Kind::Plain => (Vec::new(), None),
        }
    }
}

/// NoCloud's `meta-data`. The instance's id changes with the permission number, so that a
/// machine installed again is a new instance to cloud-init.
pub fn meta_data(name: &str, redeploy: u64, hostname: &str) -> String {
    format!("instance-id: {name}-{redeploy}\nlocal-hostname: {hostname}\n")
}

fn wrong(line: usize, column: usize, message: impl Into<String>) -> RenderError {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    RenderError { line: narrow(line), column: narrow(column), message: message.into() }
}

/// JSON with a version that Ignition knows.
fn ignition(text: &str) -> Vec<RenderError> {
    let value: serde_json::Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            // What people write and `butane` turns into this.
            let butane = text.lines().any(|line| line.starts_with("variant:"));
            let hint = if butane { "; this is Butane's YAML: `butane` makes JSON of it" } else { "" };
            return vec![wrong(error.line(), error.column(), format!("{error}{hint}"))];
        }
    };
    let message = match value.pointer("/ignition/version") {
        Some(serde_json::Value::String(version))
            if version.starts_with("3.") || version.starts_with("2.") =>
        {
            if version.split('.').count() >= 3 {
                return Vec::new();
            }
            format!("Ignition's versions have three numbers, as in `{version}.0`")
        }
        Some(serde_json::Value::String(version)) => {
            format!("Ignition does not know the version `{version}`; 3.x and 2.x exist")
        }
        Some(_) => "`ignition.version` must be a text".to_owned(),
        None => "`ignition.version` is missing".to_owned(),
    };
    // In JSON that its author wrote on several lines the version stands on one of them.
    let line = text.lines().position(|line| line.contains("\"version\"")).map_or(1, |at| at + 1);
    vec![wrong(line, 1, message)]
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
        assert_eq!(meta_data("web-1", 2, "web-1"), "instance-id: web-1-2\nlocal-hostname: web-1\n");
    }

    #[test]
    fn ignition_is_json_with_a_version() {
        assert_eq!(Kind::Ignition.check(r#"{"ignition": {"version": "3.4.0"}}"#), []);
        let error = &Kind::Ignition.check("{\n \"a\": }")[0];
        assert_eq!((error.line, error.column), (2, 7));
        assert!(Kind::Ignition.check("{}")[0].message.contains("missing"));
        assert!(Kind::Ignition.check(r#"{"ignition": {"version": "9"}}"#)[0].message.contains("`9`"));
        let short = &Kind::Ignition.check("{\n\"ignition\": {\n\"version\": \"3.4\"}}")[0];
        assert!(short.line == 3 && short.message.contains("`3.4.0`"), "{short}");
        let butane = &Kind::Ignition.check("variant: fcos\nversion: 1.5.0\n")[0];
        assert!(butane.message.contains("Butane"), "{butane}");
    }
}
