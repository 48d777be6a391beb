//! What proves that a request for an answer file comes from its machine.

use super::words::words;

words! {
    /// What proves that a request for an answer file comes from its machine.
    pub enum Proof {
        /// Its hardware address on our wire, or its IP address; the token of the URL besides.
        Machine = "machine",
        /// The token alone: for networks where addresses identify nobody.
        Token = "token",
    }
}
