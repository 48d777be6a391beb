//! What the daemon is on its network.

use std::fmt;

/// `[dhcp] mode`, and `mode` of a subnet. The later ones say less: of two that hold, the later does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl Mode {
    pub const ALL: [Mode; 4] = [Mode::Server, Mode::Proxy, Mode::Listen, Mode::Off];
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
