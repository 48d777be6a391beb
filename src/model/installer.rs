//! The kinds of answer files, by the program that reads them.

use super::words::words;

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
        /// Any other text, fetched by whatever the boot runs.
        Plain = "plain",
    }
}
