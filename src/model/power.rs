//! How the power state of a machine is read, and its values.

use std::fmt;
use std::sync::Arc;

use super::words::words;
use super::{Name, Time};

/// `power` of a machine's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    pub kind: PowerKind,
    /// Of its management controller.
    pub url: Option<Arc<str>>,
    /// The secret that holds `user:password`.
    pub credentials: Option<Name>,
    /// SHA-256 of the controller's certificate, in lower-case hexadecimal digits: accepted although no
    /// authority of this host signed it.
    pub fingerprint: Option<Arc<str>>,
}

words! {
    /// The protocol of the controller. The room `power` has a driver for each.
    pub enum PowerKind {
        Redfish = "redfish",
        Ipmi = "ipmi",
        /// Wake-on-LAN: wakes a machine, and can't read its power state.
        Wol = "wol",
    }
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
    /// Whether a `url` leads to a controller. A machine without one can only be woken by a packet.
    pub const fn has_controller(self) -> bool {
        match self {
            PowerKind::Redfish | PowerKind::Ipmi => true,
            PowerKind::Wol => false,
        }
    }

    /// Whether the daemon asks such machines for their power. The others are accepted, and nothing acts on them.
    pub const fn is_acted_on(self) -> bool {
        match self {
            PowerKind::Redfish => true,
            PowerKind::Ipmi | PowerKind::Wol => false,
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

/// For plans: `redfish https://10.0.99.11 (secret bmc)`.
impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Power { kind, url, credentials, fingerprint } = self;
        write!(f, "{kind}")?;
        url.iter().try_for_each(|url| write!(f, " {url}"))?;
        credentials.iter().try_for_each(|name| write!(f, " (secret {name})"))?;
        fingerprint.iter().try_for_each(|digest| write!(f, " (certificate {digest})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
