//! The ways a machine comes from power-on to its script.

use std::fmt;

use super::client::Speaker;
use crate::model::{Cpu, Firmware};

/// What a machine has in its firmware, and which boot programs it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// A PXE ROM of a BIOS; our iPXE by TFTP.
    BiosPxe,
    /// A BIOS whose network card brings iPXE along.
    BiosIpxe,
    /// UEFI's own PXE; our iPXE by TFTP.
    UefiPxe,
    /// UEFI HTTP boot; our iPXE by HTTP.
    UefiHttp,
    /// UEFI with an iPXE driver that can do without ours.
    UefiIpxe,
    /// Secure Boot, where only the signed chain runs: shim, its GRUB, and the kernel by TFTP.
    SecureBoot,
}

impl Route {
    pub const ALL: [Route; 6] = [
        Route::BiosPxe,
        Route::BiosIpxe,
        Route::UefiPxe,
        Route::UefiHttp,
        Route::UefiIpxe,
        Route::SecureBoot,
    ];

    /// All that a machine of this processor may have, the commonest first.
    pub fn of(cpu: Cpu) -> &'static [Route] {
        use Route::*;
        match cpu {
            Cpu::X86_64 => &Route::ALL,
            Cpu::I386 => &[BiosPxe, BiosIpxe, UefiPxe, UefiHttp, UefiIpxe],
            Cpu::Aarch64 => &[UefiPxe, UefiHttp, UefiIpxe, SecureBoot],
            Cpu::Arm | Cpu::Riscv64 | Cpu::Loongarch64 => &[UefiPxe, UefiHttp, UefiIpxe],
        }
    }

    pub fn firmware(self) -> Firmware {
        match self {
            Route::BiosPxe | Route::BiosIpxe => Firmware::Bios,
            Route::UefiPxe | Route::UefiIpxe | Route::SecureBoot => Firmware::Uefi,
            Route::UefiHttp => Firmware::UefiHttp,
        }
    }

    /// Who sends the first DISCOVER.
    pub fn first_speaker(self) -> Speaker {
        match self {
            Route::BiosIpxe | Route::UefiIpxe => Speaker::Ipxe,
            Route::BiosPxe | Route::UefiPxe | Route::UefiHttp | Route::SecureBoot => Speaker::Firmware,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Route::BiosPxe => "BIOS PXE",
            Route::BiosIpxe => "BIOS with iPXE in ROM",
            Route::UefiPxe => "UEFI PXE",
            Route::UefiHttp => "UEFI HTTP boot",
            Route::UefiIpxe => "UEFI with iPXE in ROM",
            Route::SecureBoot => "UEFI Secure Boot",
        })
    }
}
