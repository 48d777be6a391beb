//! How the power of a machine is read and switched, and its values.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::words::words;
use super::{Name, Span, Time};

/// `power` of a machine's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    pub kind: PowerKind,
    /// Of its management controller.
    pub url: Option<Arc<str>>,
    /// Host of its management controller, with a port if that is not the usual one; for a program whatever it takes.
    pub address: Option<Arc<str>>,
    /// The program of the daemon's file that switches it.
    pub command: Option<Name>,
    /// The secret that holds `user:password`; for wake-on-LAN the SecureOn password.
    pub credentials: Option<Name>,
    /// SHA-256 of the controller's certificate, in lower-case hexadecimal digits: accepted although no
    /// authority of this host signed it.
    pub fingerprint: Option<Arc<str>>,
}

words! {
    /// The protocol of the controller. The room `power` has a driver for each.
    pub enum PowerKind {
        Redfish = "redfish",
        /// IPMI 2.0 over LAN, by the program `ipmitool`.
        Ipmi = "ipmi",
        /// Wake-on-LAN: wakes a machine, and can't read its power state.
        Wol = "wol",
        /// A program that the daemon's file names.
        Command = "command",
    }
}

/// What can be done with the power of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether the power state can be read.
    pub read: bool,
    pub on: bool,
    pub off: bool,
    /// Whether the next boot alone can be made one from the network.
    pub boot_once: bool,
}

words! {
    /// What a person, or a rule, wants of a machine's power.
    pub enum PowerAction {
        On = "on",
        Off = "off",
        /// Off, and on again when it is seen to be off.
        Cycle = "cycle",
        /// Its next boot is one from the network; it is not switched.
        BootOnce = "boot-once",
        /// Its next boot is one from the network where its controller can do that, and it is switched on.
        Install = "install",
    }
}

words! {
    /// One request that changes something at a controller, in the order in which a task makes them.
    pub enum PowerStep {
        BootOnce = "boot-once",
        Off = "off",
        On = "on",
        /// Boots are again as they are set up in the firmware: after a controller that can't do so for one boot alone.
        ClearBoot = "clear-boot",
    }
}

/// A program that switches machines. The daemon's file names it, and manifests refer to its name: a commit must not
/// choose programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerProgram {
    pub program: PathBuf,
    /// Before the word that says what it is to do.
    pub arguments: Vec<String>,
    /// One call takes no longer.
    pub timeout: Span,
}

words! {
    /// `PowerState` of DSP0268.
    pub enum PowerState {
        On = "on",
        Off = "off",
        PoweringOn = "powering on",
        PoweringOff = "powering off",
        Paused = "paused",
    }
}

/// What is known of a machine's power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerReading {
    /// The error says why it is not known.
    pub state: Result<PowerState, Arc<str>>,
    /// When it was first found to be in this state.
    pub since: Time,
    /// If the state is unknown: the one before, and until when it was known.
    pub before: Option<(PowerState, Time)>,
}

impl PowerReading {
    /// The reading after this one: an unchanged state keeps its time. `None` if nothing changed.
    pub fn next(
        before: Option<&PowerReading>,
        state: Result<PowerState, Arc<str>>,
        now: Time,
    ) -> Option<PowerReading> {
        let Some(former) = before else { return Some(PowerReading { state, since: now, before: None }) };
        let (since, before) = match (&former.state, &state) {
            (one, other) if one == other => return None,
            // Another reason for the same missing state is no change.
            (Err(_), Err(_)) => (former.since, former.before),
            (Ok(was), Err(_)) => (now, Some((*was, now))),
            (_, Ok(_)) => (now, None),
        };
        Some(PowerReading { state, since, before })
    }
}

impl PowerKind {
    /// What the driver of this kind can do. A program of the operator's may still say that it can't.
    pub const fn capabilities(self) -> Capabilities {
        match self {
            PowerKind::Redfish | PowerKind::Ipmi | PowerKind::Command => {
                Capabilities { read: true, on: true, off: true, boot_once: true }
            }
            PowerKind::Wol => Capabilities { read: false, on: true, off: false, boot_once: false },
        }
    }

    /// Whether the power state can be read.
    pub const fn can_read(self) -> bool {
        self.capabilities().read
    }

    /// Why machines of this kind can't be switched so; `None` where they can.
    pub fn unable(self, action: PowerAction) -> Option<String> {
        let Capabilities { read, on, off, boot_once } = self.capabilities();
        let can = match action {
            PowerAction::On | PowerAction::Install => on,
            PowerAction::Off => off,
            PowerAction::Cycle => on && off && read,
            PowerAction::BootOnce => boot_once,
        };
        let able: Vec<&str> = [(on, "on"), (off, "off"), (boot_once, "boot-once")]
            .into_iter()
            .filter_map(|(can, word)| can.then_some(word))
            .collect();
        (!can).then(|| format!("`power` of kind \"{self}\" can't do {action}: it can do {}", able.join(", ")))
    }
}

impl Power {
    /// What machines of one controller have in common: it gets one request at a time.
    pub fn controller(&self) -> Option<String> {
        match self.kind {
            PowerKind::Redfish => {
                let url = &**self.url.as_ref()?;
                let host = url.find("://").map_or(0, |at| at + 3);
                Some(url[host..].find('/').map_or(url, |at| &url[..host + at]).to_ascii_lowercase())
            }
            PowerKind::Ipmi => {
                let (host, port) = ipmi_host(self.address.as_deref().or(self.url.as_deref())?)?;
                Some(format!("ipmi://{}:{port}", host.to_ascii_lowercase()))
            }
            PowerKind::Command => {
                let address = self.address.as_deref().unwrap_or_default();
                Some(format!("command:{} {address}", self.command.as_ref()?))
            }
            PowerKind::Wol => None,
        }
    }
}

impl PowerState {
    /// As Redfish names it.
    pub fn of_redfish(text: &str) -> Option<PowerState> {
        Some(match text {
            "On" => PowerState::On,
            "Off" => PowerState::Off,
            "PoweringOn" => PowerState::PoweringOn,
            "PoweringOff" => PowerState::PoweringOff,
            "Paused" => PowerState::Paused,
            _ => return None,
        })
    }
}

/// Where IPMI is spoken (IPMI 2.0 section 13.1.2).
const IPMI_PORT: u16 = 623;

/// Host and port of an IPMI controller, as manifests have it: `bmc1`, `10.0.99.11:623`, `[fd00::11]:623`, or the same
/// behind `ipmi://`.
pub fn ipmi_host(written: &str) -> Option<(&str, u16)> {
    let text = written.strip_prefix("ipmi://").unwrap_or(written).trim_end_matches('/');
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        // More than one colon is an IPv6 address without a port.
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    let port = port.map_or(Some(IPMI_PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_' | '%');
    let right = !host.is_empty() && !host.starts_with('-') && host.chars().all(is_host);
    right.then_some((host, port))
}

/// For plans: `redfish https://10.0.99.11 (secret bmc)`.
impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Power { kind, url, address, command, credentials, fingerprint } = self;
        write!(f, "{kind}")?;
        command.iter().try_for_each(|command| write!(f, " {command}"))?;
        url.iter().try_for_each(|url| write!(f, " {url}"))?;
        address.iter().try_for_each(|address| write!(f, " {address}"))?;
        credentials.iter().try_for_each(|name| write!(f, " (secret {name})"))?;
        fingerprint.iter().try_for_each(|digest| write!(f, " (certificate {digest})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_ipmi_have_a_port_or_the_usual_one() {
        assert_eq!(ipmi_host("10.0.99.11"), Some(("10.0.99.11", 623)));
        assert_eq!(ipmi_host("ipmi://bmc1:9623/"), Some(("bmc1", 9623)));
        assert_eq!(ipmi_host("[fd00::11]:9623"), Some(("fd00::11", 9623)));
        assert_eq!(ipmi_host("fd00::11"), Some(("fd00::11", 623)));
        for wrong in ["", "-oProxy", "bmc:x", "bmc:0", "[fd00::11", "[fd00::11]9", "a b", "https://bmc"] {
            assert_eq!(ipmi_host(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn readings_remember_since_when() {
        let read = |before: Option<&PowerReading>, state: Result<PowerState, &str>, at| {
            PowerReading::next(before, state.map_err(Arc::from), Time(at))
        };
        let on = read(None, Ok(PowerState::On), 1).unwrap();
        assert_eq!(read(Some(&on), Ok(PowerState::On), 2), None, "no news");
        let lost = read(Some(&on), Err("silent"), 3).unwrap();
        assert_eq!((lost.since, lost.before), (Time(3), Some((PowerState::On, Time(3)))));
        let refused = read(Some(&lost), Err("refused"), 4).unwrap();
        assert_eq!((refused.since, refused.before), (Time(3), lost.before), "unknown all the while");
        let off = read(Some(&refused), Ok(PowerState::Off), 5).unwrap();
        assert_eq!((off.since, off.before), (Time(5), None));
    }
}
