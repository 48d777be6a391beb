//! The kinds of answer files.

/// What reads the rendered file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Preseed,
    Kickstart,
    Autoinstall,
    CloudInit,
    Ignition,
    Autoyast,
    /// Any other text, fetched by whatever the boot runs.
    Plain,
}
