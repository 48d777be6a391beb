//! The kinds of answer files: one file with one description for each. The list of kinds is
//! `model::installer`; a kind without a description does not compile.

mod agama;
mod alpine;
mod autoinstall;
mod autoyast;
mod cloud_init;
mod ignition;
mod kickstart;
mod plain;
mod preseed;
mod proxmox;
mod talos;

use std::str::FromStr;
use std::sync::LazyLock;

use super::Text;
use super::builtin::Input;
use super::common::Limits;
use super::finding::Finding;
use super::near;
pub use alpine::pack as overlay;

pub use crate::model::{InstallerKind as Kind, InstallerProof as Proof};

/// The description of a kind of installer.
#[derive(Debug)]
pub struct Installer {
    pub kind: Kind,
    /// The files a machine can fetch, the main one first.
    pub files: &'static [AnswerFile],
    /// Whether the installer gets the folder (with a slash at its end, as `s=` of NoCloud
    /// needs it) rather than the main file.
    pub takes_folder: bool,
    /// Whether it learns the URL of its answers from DHCP (option 250) rather than from the command line.
    pub by_dhcp: bool,
    /// What its reader makes of a rendered file, in any order; see `Kind::read`.
    pub check: fn(&str) -> Vec<Finding>,
    /// What must stand on the command line, the most important first. Empty where the reader is not
    /// known.
    pub needs: &'static [Need],
    /// The usual command line of a boot for it; empty where there is none.
    pub cmdline: &'static [&'static str],
    /// Parts of a template that stand where a password stands, be they hashes or clear text.
    pub passwords: fn(&str) -> Vec<&str>,
    /// How its images are recognised; `None` where no layout is known.
    pub image: Option<Image>,
    pub completion: Completion,
    /// The template that comes with the program.
    pub template: Option<Template>,
}

/// One of `words` has to begin a word of the command line.
#[derive(Debug)]
pub struct Need {
    pub words: &'static [&'static str],
    pub why: &'static str,
    pub help: &'static str,
}

/// Whether an image has a file.
pub type HasFile<'a> = &'a dyn Fn(&str) -> bool;

/// An installer's image.
#[derive(Debug)]
pub struct Image {
    /// Whether it is one, by the folder of a kernel (in lower case) and the files it has.
    pub recognises: fn(folder: &str, has: HasFile) -> bool,
    /// The arguments that the installer's own documents ask for.
    pub cmdline: &'static [&'static str],
    /// What else it needs, or nothing.
    pub hint: &'static str,
    /// Whether the initrd at this path of an image looks for its packages on its own disc.
    pub wants_disc: fn(initrd: &str) -> bool,
}

/// How the end of an installation becomes known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The answer file has the installer fetch `completed_url`.
    Hook,
    /// Nothing reports it. That the machine boots once more shows that it ended, and a person says how (`adopt`).
    SecondBoot,
    /// The installed system is asked.
    Probe,
    /// voldemort's agent reports it.
    Agent,
}

/// The source of a built-in template, and what it declares.
#[derive(Debug)]
pub struct Template {
    pub source: &'static str,
    /// What it reads beside the well-known and the common variables; a common one that is among them
    /// has another default here.
    pub inputs: fn() -> Vec<Input>,
    pub limits: &'static Limits,
    pub proof: Proof,
    /// What reads the results in the tests, or what was looked at; a part of a sentence.
    pub proven_by: &'static str,
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
    /// The same with the public keys that may log in as the image's own user.
    MetaDataWithKeys,
    /// cloud-init's network configuration; no bytes unless the built-in template has one to give.
    NetworkConfig,
    /// The script of the first start that belongs to the built-in template of Proxmox; no bytes without that.
    FirstBoot,
    /// The rendered template in an overlay of Alpine Linux.
    Overlay,
    /// No bytes, but found: cloud-init asks eleven times for a file that is missing.
    Empty,
}

/// Why a text is not a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind `{name}`{}", near::hint(name, Kind::NAMES.iter().copied()))]
pub struct KindError {
    pub name: String,
}

/// The descriptions, in the order of the kinds.
pub fn all() -> impl Iterator<Item = &'static Installer> {
    Kind::ALL.iter().map(|kind| kind.installer())
}

impl Kind {
    pub fn installer(self) -> &'static Installer {
        match self {
            Kind::Preseed => &preseed::INSTALLER,
            Kind::Kickstart => &kickstart::INSTALLER,
            Kind::Autoinstall => &autoinstall::INSTALLER,
            Kind::CloudInit => &cloud_init::INSTALLER,
            Kind::Ignition => &ignition::INSTALLER,
            Kind::Autoyast => &autoyast::INSTALLER,
            Kind::Agama => &agama::INSTALLER,
            Kind::Alpine => &alpine::INSTALLER,
            Kind::Proxmox => &proxmox::INSTALLER,
            Kind::Talos => &talos::INSTALLER,
            Kind::Plain => &plain::INSTALLER,
        }
    }

    /// The files a machine can fetch, the main one first.
    pub fn files(self) -> &'static [AnswerFile] {
        self.installer().files
    }

    /// The file the template is rendered to.
    pub fn main_file(self) -> &'static str {
        self.files()[0].name
    }

    /// Whether the installer is given the folder rather than the main file.
    pub fn answers_url_is_folder(self) -> bool {
        self.installer().takes_folder
    }

    /// What the reader of a rendered file makes of it, as far as the text alone can say: first what
    /// the reader refuses, then what is probably not meant, then what the installer would ask a
    /// person; within each of these by line. Positions are those in the rendered file. Questions are
    /// reported only where the file itself begins to answer them: scripts of its author may answer
    /// the rest.
    pub fn read(self, text: &str) -> Vec<Finding> {
        let mut found = (self.installer().check)(text);
        found.sort_by_key(|found| (found.verdict, found.error.line, found.error.column));
        found
    }
}

/// NoCloud's `meta-data`. Quotes keep names such as `no`, `123` and `2026-01` texts, where YAML has truths,
/// numbers and dates.
pub fn meta_data(instance_id: &str, hostname: &str) -> String {
    format!("instance-id: \"{instance_id}\"\nlocal-hostname: \"{hostname}\"\n")
}

/// The folder of the metadata that cloud-init of a running machine reads.
pub const METADATA_FOLDER: &str = "nocloud";

/// Its files. Their names begin with the folder, because a deployment may have answers of the same names.
pub const METADATA_FILES: &[AnswerFile] = &[
    AnswerFile { name: "nocloud/user-data", content: AnswerContent::Main },
    AnswerFile { name: "nocloud/meta-data", content: AnswerContent::MetaDataWithKeys },
    AnswerFile { name: "nocloud/vendor-data", content: AnswerContent::Empty },
    AnswerFile { name: "nocloud/network-config", content: AnswerContent::Empty },
];

/// The keys in `meta-data` (`public-keys` of cloud-init's `normalize_pubkey_data`).
pub static PUBLIC_KEYS: LazyLock<Text> =
    LazyLock::new(|| Text::parse("public-keys: {{ ssh_keys | yaml }}\n").expect("a test parses it"));

/// `network-config` of the built-in cloud-init template: empty where DHCP on the interface that booted is
/// all that is asked for, because that is what cloud-init does without one.
pub static NETWORK_CONFIG: LazyLock<Text> = LazyLock::new(|| {
    Text::parse(concat!(
        include_str!("../../templates/part/netplan.liquid"),
        include_str!("../../templates/part/network-config.liquid")
    ))
    .expect("a test parses it")
});

/// `first-boot` of the built-in Proxmox template.
pub static FIRST_BOOT: LazyLock<Text> = LazyLock::new(|| {
    Text::parse(concat!(
        include_str!("../../templates/part/scripts.liquid"),
        include_str!("../../templates/part/proxmox-first-boot.liquid")
    ))
    .expect("a test parses it")
});

impl AnswerContent {
    /// The template of a file that a built-in template has beside its main file.
    pub fn part(self) -> Option<&'static Text> {
        match self {
            AnswerContent::NetworkConfig => Some(&NETWORK_CONFIG),
            AnswerContent::FirstBoot => Some(&FIRST_BOOT),
            AnswerContent::Main
            | AnswerContent::MetaData
            | AnswerContent::MetaDataWithKeys
            | AnswerContent::Overlay
            | AnswerContent::Empty => None,
        }
    }
}

const fn main_file(name: &'static str) -> AnswerFile {
    AnswerFile { name, content: AnswerContent::Main }
}

/// The files of cloud-init's NoCloud source.
const NOCLOUD_FILES: &[AnswerFile] = &[
    main_file("user-data"),
    AnswerFile { name: "meta-data", content: AnswerContent::MetaData },
    AnswerFile { name: "vendor-data", content: AnswerContent::Empty },
    AnswerFile { name: "network-config", content: AnswerContent::Empty },
];

/// Subiquity's and cloud-init's NoCloud pages.
const NOCLOUD_NEED: Need = Need {
    words: &["ds=", "cloud-config-url="],
    why: "nothing names the answers to cloud-init",
    help: "add \"ds=nocloud-net;s={{ answers_url }}\"",
};

/// What a rule finds in the lines that are no comments.
fn lines<'a>(text: &'a str, rule: impl Fn(&'a str) -> Vec<&'a str>) -> Vec<&'a str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with('#')).flat_map(rule).collect()
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Kind, KindError> {
        let found = Kind::ALL.iter().copied().find(|kind| kind.name() == text);
        found.ok_or_else(|| KindError { name: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for (kind, installer) in Kind::ALL.iter().zip(all()) {
            assert_eq!(kind.to_string().parse(), Ok(*kind));
            assert_eq!(installer.kind, *kind);
            assert_eq!(kind.files().iter().filter(|file| file.content == AnswerContent::Main).count(), 1);
        }
        let error = "kickstrat".parse::<Kind>().unwrap_err();
        assert_eq!(error.to_string(), "unknown kind `kickstrat`; did you mean `kickstart`?");
    }

    #[test]
    fn usual_command_lines_meet_their_needs() {
        for installer in all() {
            let image = installer.image.iter().map(|image| image.cmdline);
            for words in image.chain([installer.cmdline]).filter(|words| !words.is_empty()) {
                for need in installer.needs {
                    let met =
                        words.iter().any(|word| need.words.iter().any(|wanted| word.starts_with(wanted)));
                    assert!(met, "{}: {words:?} lacks {:?}", installer.kind, need.words);
                }
            }
        }
    }

    #[test]
    fn nocloud_has_a_folder() {
        assert!(Kind::Autoinstall.answers_url_is_folder());
        assert!(!Kind::Preseed.answers_url_is_folder());
        assert_eq!(Kind::CloudInit.main_file(), "user-data");
        assert!(PUBLIC_KEYS.uses("ssh_keys"));
        assert_eq!(meta_data("web-1-2", "web-1"), "instance-id: \"web-1-2\"\nlocal-hostname: \"web-1\"\n");
    }
}
