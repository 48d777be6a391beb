//! The kinds of answer files, by what reads them.

use std::fmt;

/// The one list: each kind, as code and as manifests name it.
macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident = $name:literal,)*) => {
        /// What reads a rendered template. `render::installer` has a description of each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum InstallerKind {
            $($(#[$about])* $kind,)*
        }

        impl InstallerKind {
            pub const ALL: &[InstallerKind] = &[$(InstallerKind::$kind,)*];
            /// As manifests write them, in the order of `ALL`.
            pub const NAMES: &[&str] = &[$($name,)*];

            /// As manifests write it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(InstallerKind::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
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

impl fmt::Display for InstallerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
