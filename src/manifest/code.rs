//! The numbers of mistakes. A number never changes its meaning and is never used again.

use std::fmt;
use std::str::FromStr;

use super::Level;

macro_rules! codes {
    ($($name:ident = $number:literal $level:ident $adjustable:literal $title:literal;)*) => {
        /// The kind of a mistake; `voldemort explain` describes each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// All codes, by number.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// `11` of `V0011`.
            pub fn number(self) -> u16 {
                match self { $(Code::$name => $number,)* }
            }

            /// A few words that name the mistake.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            /// The level unless `[check]` or the occasion says otherwise.
            pub fn level(self) -> Level {
                match self { $(Code::$name => Level::$level,)* }
            }

            /// Whether `[check]` of `voldemort.toml` may change the level.
            pub fn adjustable(self) -> bool {
                match self { $(Code::$name => $adjustable,)* }
            }

            /// The page that `voldemort explain` prints.
            pub fn page(self) -> &'static str {
                match self {
                    $(Code::$name => include_str!(concat!("explain/", stringify!($number), ".md")),)*
                }
            }
        }
    };
}

// Ranges: 00xx syntax and shape, 01xx names, 02xx addresses and uniqueness, 03xx media,
// 04xx templates and variables, 05xx secrets.
codes! {
    Syntax = 1 Error false "not valid TOML";
    Encoding = 2 Error false "not UTF-8 text";
    ModernToml = 3 Warning true "valid in TOML 1.1 only";
    StaleSchema = 4 Warning true "installed schema out of date";
    Bounds = 5 Error false "larger or deeper than a manifest may be";
    Unread = 6 Warning true "manifest under a name that is not read";
    UnknownKind = 10 Error false "unknown kind of resource";
    UnknownKey = 11 Error false "unknown setting";
    WrongType = 12 Error false "wrong kind of value";
    MissingKey = 13 Error false "missing setting";
    BadName = 14 Error false "not a name";
    Twice = 15 Error false "defined twice";
    BadText = 16 Error false "text of the wrong form";
    Exclusive = 17 Error false "settings that exclude each other";
    Format = 18 Error false "unknown inventory format";
    // 19 is RETIRED, see `manifest::inventory`.
    UnknownName = 101 Error false "reference to nothing";
    Cycle = 102 Error false "profiles that extend each other in a circle";
    NoBoot = 103 Error false "deployment without a boot";
    NoMachine = 104 Error false "deployment without a machine";
    NotInherited = 105 Warning true "setting left out that nothing sets";
    MacTwice = 201 Error false "hardware address used twice";
    BadMac = 202 Error false "not the hardware address of a network card";
    SharedMark = 203 Error false "mark that many machines have";
    Overlap = 210 Error false "overlapping subnets";
    Outside = 211 Error false "address outside its subnet";
    Reserved = 212 Error false "reserved address";
    InDynamic = 213 Error false "fixed address in a dynamic range";
    AddressTwice = 214 Error false "address used twice";
    BadSubnet = 215 Error false "subnet that contradicts itself";
    NoSubnet = 216 Error false "no subnet to choose";
    NoDynamic = 217 Error false "automatic address without a dynamic range";
    MachineTwice = 220 Error false "machine given twice";
    NoMatch = 221 Warning true "selector that no machine satisfies";
    BadOption = 230 Error false "DHCP option that can't be sent";
    NotInImage = 301 Error false "file not in the image";
    NoMedia = 302 Error false "media not found";
    BadMedia = 303 Error false "media that can't be used";
    Prefix = 304 Error false "path prefix already taken";
    Walk = 305 Error false "boot that does not get to its end";
    SignedWalk = 306 Warning true "boot that does not work with Secure Boot";
    NoAnswers = 307 Error false "answers that the boot never reads";
    Attended = 308 Warning true "installer that would ask questions";
    TooLittleMemory = 309 Error true "machine with less memory than its boot needs";
    WantsDisc = 310 Warning true "installer that looks for its own disc";
    AgentBoot = 311 Error false "machines that our agent can't run on";
    OtherInitrd = 312 Warning true "initrd that may not be our agent's";
    Unset = 401 Error false "template variable that nothing sets";
    BadTemplate = 402 Error false "mistake in a template";
    WrongVariable = 403 Error false "value of another type than its variable";
    Unused = 404 Warning true "variable that nothing uses";
    NoTemplateFile = 405 Error false "template file that does not exist";
    Answers = 406 Error false "rendered answer file that its reader would refuse";
    DoubtfulAnswers = 407 Warning true "rendered answer file that probably means something else";
    WrongTemplate = 408 Error false "template of a kind that can't be used there";
    NoLogin = 409 Warning true "installed system that nobody can log in to";
    Unable = 410 Error false "setting that the built-in template can't carry out";
    Unproven = 411 Error false "built-in template that no test has proven";
    OddValue = 412 Warning true "value that no installer can use";
    NoSecret = 501 Error false "secret that does not exist";
    BadSecret = 502 Error false "secret that is no age file";
    StaleSecret = 503 Warning true "secret encrypted to other keys than the present ones";
    BadRecipient = 504 Error false "recipient that is no public key";
    UnusedSecret = 505 Note true "secret that nothing uses";
    ClearSecret = 506 Warning true "text in clear among the secrets";
    OpenSecret = 507 Error false "secret on a kernel command line";
    ClearText = 508 Warning true "secret in clear text";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V{:04}", self.number())
    }
}

impl FromStr for Code {
    type Err = ();

    /// Reads `V0011`; letter case and leading zeros do not matter.
    fn from_str(text: &str) -> Result<Code, ()> {
        let digits = text.strip_prefix(['V', 'v']).unwrap_or(text);
        let number: u16 = digits.parse().map_err(|_| ())?;
        Code::ALL.iter().copied().find(|code| code.number() == number).ok_or(())
    }
}
