//! What the daemon is on its network.

use std::fmt;

/// `[dhcp] mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Gives addresses and boot files; steps back when another server answers.
    #[default]
    Server,
    /// Gives boot files; another server gives addresses.
    Proxy,
    /// Says nothing and reports what a server would have said.
    Listen,
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Server => "server",
            Mode::Proxy => "proxy",
            Mode::Listen => "listen",
            Mode::Off => "off",
        })
    }
}
