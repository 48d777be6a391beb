//! The part that the daemon takes in DHCP on a network.

use super::words::words;

words! {
    /// `[dhcp] mode`, and `mode` of a subnet. Later ones answer less: where two modes apply, the later one
    /// counts.
    #[derive(Default)]
    pub enum Mode {
        /// Gives addresses and boot files; steps back when another server answers.
        #[default]
        Server = "server",
        /// Gives boot files; another server gives addresses.
        Proxy = "proxy",
        /// Answers nothing and reports what a server would have answered.
        Listen = "listen",
        Off = "off",
    }
}
