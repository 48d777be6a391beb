//! What router advertisements say.

use super::words::words;

words! {
    /// What router advertisements say of addresses (RFC 4861 section 4.2).
    #[derive(Default)]
    pub enum Advertise {
        /// None are sent: the router of the wire does, or nobody.
        #[default]
        Off = "off",
        /// Addresses and the rest come by DHCPv6.
        Managed = "managed",
        /// The rest comes by DHCPv6; of addresses nothing is said.
        Other = "other",
        /// Machines make their own addresses; the rest comes by DHCPv6.
        Slaac = "slaac",
    }
}
