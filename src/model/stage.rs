//! The steps of a boot, as the timeline names them.

use super::words::words;

words! {
    /// Steps of a boot, in the order of a good one; then what can go wrong.
    pub enum Stage {
        /// A DISCOVER was answered with an OFFER.
        Offer = "offer",
        /// A REQUEST was answered with an ACK.
        Ack = "ack",
        /// A boot program was fetched: iPXE, shim, GRUB, …
        Loader = "loader",
        /// The per-machine script or configuration that leads to the installer was served.
        Script = "script",
        Kernel = "kernel",
        Initrd = "initrd",
        /// An answer file was served.
        Answers = "answers",
        /// Another file was fetched (the image's tree, PXELINUX modules, …).
        File = "file",
        /// The installer reported progress.
        Progress = "progress",
        /// The installer reported completion: the permission to install has ended.
        Completed = "completed",
        /// The installer reported failure.
        Failed = "failed",
        /// The machine got a script that boots its own disk.
        LocalBoot = "local-boot",
        /// A request was refused; the text says why.
        Refused = "refused",
        /// The machine boots again and again and gets no further; the text says how far.
        Stuck = "stuck",
        /// A packet was left unanswered; the text says why.
        Silence = "silence",
        /// A person said that the machine is installed: the permission to install has ended.
        Adopted = "adopted",
        /// Something of the daemon's own: a revision applied, a foreign DHCP server, …
        Daemon = "daemon",
        /// The last entry of the audit log, once an hour and at the end: whoever keeps it can show later that the log
        /// was not changed.
        Audit = "audit",
    }
}

impl Stage {
    /// Whether the machine itself did it, and was seen by it.
    pub fn is_of_machine(self) -> bool {
        !matches!(self, Stage::Stuck | Stage::Adopted | Stage::Daemon | Stage::Audit)
    }
}
