//! The kinds of answer files, by the program that reads them.

use super::words::words;

words! {
    /// What is known of the templates of the program for a kind.
    pub enum InstallerProof {
        /// A test installs a machine with one.
        Installed = "installed",
        /// A program of the installer's own reads the results in the tests.
        Validated = "validated",
        /// The form of the results was looked at, and nothing else.
        Rendered = "rendered",
    }
}

words! {
    /// The program that reads a rendered template. `render::installer` has a description of each.
    pub enum InstallerKind {
        /// Debian's installer.
        Preseed = "preseed",
        /// Anaconda: RHEL and its kin, Fedora.
        Kickstart = "kickstart",
        /// Ubuntu's installer, Subiquity.
        Autoinstall = "autoinstall",
        /// cloud-init, from its NoCloud source.
        CloudInit = "cloud-init",
        /// Fedora CoreOS and Flatcar.
        Ignition = "ignition",
        /// SUSE's installer.
        Autoyast = "autoyast",
        /// SUSE's installer after YaST.
        Agama = "agama",
        /// Alpine Linux.
        Alpine = "alpine",
        /// Proxmox VE.
        Proxmox = "proxmox",
        /// Talos.
        Talos = "talos",
        /// Any other text, fetched by whatever the boot runs.
        Plain = "plain",
    }
}
