//! Admin commands of NVMe that wipe, and what their answers mean (NVM Express Base Specification 2.0c: 5.17 Identify,
//! 5.16.1.25 Sanitize Status, 5.24 Sanitize, and 5.14 Format NVM).

use std::time::Duration;

/// An admin command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub opcode: u8,
    pub namespace: u32,
    pub cdw10: u32,
    pub timeout: Duration,
    /// What it has to do with the data: read from the disk, or nothing.
    pub reads: bool,
}

const SHORT: Duration = Duration::from_secs(60);
/// A format that erases can take hours, and answers at its end only.
const FORMAT: Duration = Duration::from_secs(24 * 3600);

/// Length of the data of [`identify_controller`], [`identify_namespace`] and [`namespaces`].
pub(super) const IDENTIFY: usize = 4096;
/// Length of the log page that is read.
pub(super) const LOG: usize = 512;

pub(super) fn identify_controller() -> Command {
    Command { opcode: 0x06, namespace: 0, cdw10: 1, timeout: SHORT, reads: true }
}

pub(super) fn identify_namespace(namespace: u32) -> Command {
    Command { opcode: 0x06, namespace, cdw10: 0, timeout: SHORT, reads: true }
}

/// The namespaces with numbers from 1 on: those that are attached to this controller, or all that are `allocated`.
pub(super) fn namespaces(allocated: bool) -> Command {
    Command {
        opcode: 0x06,
        namespace: 0,
        cdw10: if allocated { 0x10 } else { 0x02 },
        timeout: SHORT,
        reads: true,
    }
}

pub(super) fn sanitize_log() -> Command {
    let dwords = (LOG / 4 - 1) as u32;
    Command { opcode: 0x02, namespace: u32::MAX, cdw10: dwords << 16 | 0x81, timeout: SHORT, reads: true }
}

/// The sanitize actions. All are started in unrestricted mode: after a failure the disk can be used again, so that
/// another method can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    ExitFailure,
    Block,
    Overwrite,
    Crypto,
}

impl Action {
    const fn code(self) -> u32 {
        match self {
            Action::ExitFailure => 1,
            Action::Block => 2,
            Action::Overwrite => 3,
            Action::Crypto => 4,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Action::ExitFailure => "nvme-sanitize-exit",
            Action::Block => "nvme-sanitize-block",
            Action::Overwrite => "nvme-sanitize-overwrite",
            Action::Crypto => "nvme-sanitize-crypto",
        }
    }

    /// The action of a sanitize that was started earlier.
    pub(super) fn of(cdw10: u32) -> Option<Action> {
        [Action::Block, Action::Overwrite, Action::Crypto]
            .into_iter()
            .find(|action| action.code() == cdw10 & 7)
    }
}

pub(super) fn sanitize(action: Action) -> Command {
    const UNRESTRICTED: u32 = 1 << 3;
    const ONE_PASS: u32 = 1 << 4;
    let passes = if action == Action::Overwrite { ONE_PASS } else { 0 };
    Command {
        opcode: 0x84,
        namespace: 0,
        cdw10: action.code() | UNRESTRICTED | passes,
        timeout: SHORT,
        reads: false,
    }
}

/// What a secure format erases with. Zero, which erases nothing, is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Erase {
    UserData,
    Crypto,
}

impl Erase {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Erase::UserData => "nvme-format-user-data",
            Erase::Crypto => "nvme-format-crypto",
        }
    }
}

/// Formats a namespace and keeps its present format.
pub(super) fn format(namespace: u32, present: Format, erase: Erase) -> Command {
    let setting: u32 = match erase {
        Erase::UserData => 1,
        Erase::Crypto => 2,
    };
    let Format { index, metadata_at_end, protection } = present;
    let index = u32::from(index & 0xf) | u32::from(index >> 4 & 3) << 12;
    let cdw10 = index | u32::from(metadata_at_end) << 4 | u32::from(protection) << 5 | setting << 9;
    Command { opcode: 0x80, namespace, cdw10, timeout: FORMAT, reads: false }
}

/// What a controller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Abilities {
    pub block: bool,
    pub crypto: bool,
    pub overwrite: bool,
    pub format: bool,
    pub crypto_format: bool,
    /// A format of one namespace formats or erases all of them.
    pub formats_all: bool,
    /// Namespaces can be made and attached, so that there may be some that are not attached.
    pub manages: bool,
    /// There can be one namespace alone.
    pub is_one: bool,
}

impl Abilities {
    /// Of the data of [`identify_controller`].
    pub(super) fn of(data: &[u8; IDENTIFY]) -> Abilities {
        let (optional, format, sanitize) = (data[256], data[524], data[328]);
        Abilities {
            crypto: sanitize & 1 != 0,
            block: sanitize & 2 != 0,
            overwrite: sanitize & 4 != 0,
            format: optional & 2 != 0,
            crypto_format: format & 4 != 0,
            formats_all: format & 3 != 0,
            manages: optional & 8 != 0,
            is_one: data[516..520] == [1, 0, 0, 0],
        }
    }
}

/// How a namespace is formatted: what a new format has to repeat to change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    index: u8,
    metadata_at_end: bool,
    protection: u8,
}

impl Format {
    /// Of the data of [`identify_namespace`]: FLBAS and DPS.
    pub(super) fn of(data: &[u8; IDENTIFY]) -> Format {
        let (flbas, dps) = (data[26], data[29]);
        Format {
            index: flbas & 0xf | (flbas >> 5 & 3) << 4,
            metadata_at_end: flbas & 0x10 != 0,
            protection: dps & 7,
        }
    }
}

/// The numbers of a list of namespaces, which ends with a zero.
pub(super) fn numbers(data: &[u8; IDENTIFY]) -> Vec<u32> {
    let numbers =
        data.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    numbers.take_while(|number| *number != 0).collect()
}

/// How the last sanitize stands, or stood when the power failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sanitize {
    Never,
    Done,
    /// In 65536ths.
    Running(u16),
    Failed,
}

/// The present state, and the action that was asked for.
pub(super) fn sanitize_state(log: &[u8; LOG]) -> (Sanitize, Option<Action>) {
    let progress = u16::from_le_bytes([log[0], log[1]]);
    let status = u16::from_le_bytes([log[2], log[3]]);
    let state = match status & 7 {
        0 => Sanitize::Never,
        1 | 4 => Sanitize::Done,
        2 => Sanitize::Running(progress),
        _ => Sanitize::Failed,
    };
    (state, Action::of(u32::from_le_bytes([log[4], log[5], log[6], log[7]])))
}
