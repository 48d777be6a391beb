//! The sanitize commands of ATA (ACS-4 and later: 7.39 SANITIZE DEVICE feature set, 7.13 IDENTIFY DEVICE).

use super::device::Refusal;

/// A command with the registers that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub command: u8,
    pub feature: u16,
    pub count: u16,
    /// 48 bits.
    pub lba: u64,
    /// Whether it reads 512 bytes of data.
    pub reads: bool,
}

/// What a disk leaves in its registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    pub count: u16,
    pub lba: u64,
}

/// Length of the data of [`identify`].
pub(super) const IDENTIFY: usize = 512;

pub(super) fn identify() -> Command {
    Command { command: 0xec, feature: 0, count: 1, lba: 0, reads: true }
}

const SANITIZE: u8 = 0xb4;

/// The ways to sanitize, with the word that each has to be started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Block,
    Crypto,
    Overwrite,
}

impl Action {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Action::Block => "ata-sanitize-block",
            Action::Crypto => "ata-sanitize-crypto",
            Action::Overwrite => "ata-sanitize-overwrite",
        }
    }

    /// Starts it. After a failure the disk can be used again (`FAILURE MODE`, bit 4 of COUNT).
    pub(super) fn command(self) -> Command {
        const UNLOCKED: u16 = 1 << 4;
        const ONE_PASS: u16 = 1;
        let (feature, count, lba) = match self {
            Action::Block => (0x0012, UNLOCKED, 0x426b_4572),
            Action::Crypto => (0x0011, UNLOCKED, 0x4372_7970),
            // Zeros: the pattern is in the lower 32 bits.
            Action::Overwrite => (0x0014, UNLOCKED | ONE_PASS, 0x4f57_0000_0000),
        };
        Command { command: SANITIZE, feature, count, lba, reads: false }
    }
}

/// SANITIZE STATUS EXT. With `clear` it also ends the state after a failure.
pub(super) fn status(clear: bool) -> Command {
    Command { command: SANITIZE, feature: 0, count: u16::from(clear), lba: 0, reads: false }
}

/// The command as SCSI's ATA PASS-THROUGH (16) carries it (SAT-4, 12.2.3). What reads no data asks for the registers.
pub(super) fn pass_through(command: &Command) -> [u8; 16] {
    const PIO_IN: u8 = 4;
    const NO_DATA: u8 = 3;
    const EXTENDED: u8 = 1;
    const SECTORS_FROM_DISK: u8 = 0x0e;
    const REGISTERS: u8 = 0x20;
    let Command { command, feature, count, lba, reads } = command;
    let [_, _, l5, l4, l3, l2, l1, l0] = lba.to_be_bytes();
    let ([f1, f0], [c1, c0]) = (feature.to_be_bytes(), count.to_be_bytes());
    let (protocol, flags) = if *reads { (PIO_IN, SECTORS_FROM_DISK) } else { (NO_DATA, REGISTERS) };
    [0x85, protocol << 1 | EXTENDED, flags, f1, f0, c1, c0, l3, l0, l4, l1, l5, l2, 0x40, *command, 0]
}

/// The registers in the sense data after a command (SAT-4, 12.2.6): descriptor format, ATA Status Return.
pub(super) fn registers(sense: &[u8]) -> Result<Registers, Refusal> {
    let lost = || Refusal::Lost("the disk's controller does not pass on its registers".into());
    let [0x72 | 0x73, ..] = sense else { return Err(lost()) };
    let at = sense.get(8..22).filter(|found| found[..2] == [0x09, 0x0c]).ok_or_else(lost)?;
    let (error, status) = (at[3], at[13]);
    const ERROR: u8 = 1;
    const FAULT: u8 = 1 << 5;
    if status & (ERROR | FAULT) != 0 {
        return Err(Refusal::Ata { status, error });
    }
    let lba = u64::from_be_bytes([0, 0, at[10], at[8], at[6], at[11], at[9], at[7]]);
    Ok(Registers { count: u16::from_be_bytes([at[4], at[5]]), lba })
}

/// The actions that a disk has, best first; `None` if it has no sanitize commands.
pub(super) fn actions(data: &[u8; IDENTIFY]) -> Option<Vec<Action>> {
    let word = u16::from_le_bytes([data[59 * 2], data[59 * 2 + 1]]);
    if word & 1 << 12 == 0 {
        return None;
    }
    let actions = [(15, Action::Block), (13, Action::Crypto), (14, Action::Overwrite)];
    Some(actions.into_iter().filter(|(bit, _)| word & 1 << bit != 0).map(|(_, action)| action).collect())
}

/// How the last sanitize stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sanitize {
    /// None was done since it was made, or the last one failed: the disk says no more.
    NotDone,
    Done,
    /// In 65536ths.
    Running(u16),
    /// The firmware of the machine has locked these commands until the next power cycle.
    Frozen,
}

impl Sanitize {
    /// Of the registers after [`status`].
    pub(super) fn of(registers: &Registers) -> Sanitize {
        let Registers { count, lba } = registers;
        match (count & 1 << 15 != 0, count & 1 << 14 != 0, count & 1 << 13 != 0) {
            (_, true, _) => Sanitize::Running((lba & 0xffff) as u16),
            (true, _, _) => Sanitize::Done,
            (_, _, true) => Sanitize::Frozen,
            _ => Sanitize::NotDone,
        }
    }
}
