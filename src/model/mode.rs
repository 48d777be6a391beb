//! What the daemon is on its network.

use super::words::words;

words! {
    /// `[dhcp] mode`, and `mode` of a subnet. The later ones say less: of two that hold, the later does.
    pub enum Mode {
        /// Gives addresses and boot files; steps back when another server answers.
        Server = "server",
        /// Gives boot files; another server gives addresses.
        Proxy = "proxy",
        /// Says nothing and reports what a server would have said.
        Listen = "listen",
        Off = "off",
    }
}

impl Default for Mode {
    fn default() -> Mode {
        Mode::Server
    }
}
