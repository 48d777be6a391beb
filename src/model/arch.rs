//! The kind of a client machine, as its firmware sends it in DHCP option 93.

use std::fmt;

use super::words::words;

words! {
    /// Processor family, by the names that manifests and kernels use.
    pub enum Cpu {
        I386 = "i386",
        X86_64 = "x86_64",
        Arm = "arm",
        Aarch64 = "aarch64",
        Riscv64 = "riscv64",
        Loongarch64 = "loongarch64",
    }
}

/// How the firmware boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Firmware {
    /// BIOS PXE: real-mode programs by TFTP.
    Bios,
    /// UEFI PXE: EFI programs by TFTP.
    Uefi,
    /// UEFI HTTP boot: EFI programs by URL.
    UefiHttp,
}

words! {
    /// The way by which firmware boots from the network.
    pub enum BootWay {
        Pxe4 = "PXE over IPv4",
        Pxe6 = "PXE over IPv6",
        Http4 = "HTTP over IPv4",
        Http6 = "HTTP over IPv6",
    }
}

/// An architecture type of the IANA registry (RFC 4578, RFC 5970), decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientArch {
    pub cpu: Cpu,
    pub firmware: Firmware,
}

impl ClientArch {
    /// `None` for types that can't be served. 9 is EBC in the registry, but firmware that follows RFC 4578
    /// before its erratum sends it for x86-64.
    pub fn from_code(code: u16) -> Option<ClientArch> {
        use Cpu::*;
        use Firmware::*;
        let (cpu, firmware) = match code {
            // 20 is a BIOS that boots by HTTP: the same programs.
            0 | 3 | 4 | 5 | 20 => (X86_64, Bios),
            6 => (I386, Uefi),
            7 | 9 => (X86_64, Uefi),
            10 => (Arm, Uefi),
            11 => (Aarch64, Uefi),
            15 => (I386, UefiHttp),
            16 | 17 => (X86_64, UefiHttp),
            18 => (Arm, UefiHttp),
            19 => (Aarch64, UefiHttp),
            // U-Boot, which starts EFI programs; 23 and 24 by HTTP.
            21 => (Arm, Uefi),
            22 => (Aarch64, Uefi),
            23 => (Arm, UefiHttp),
            24 => (Aarch64, UefiHttp),
            27 => (Riscv64, Uefi),
            28 => (Riscv64, UefiHttp),
            39 => (Loongarch64, Uefi),
            40 => (Loongarch64, UefiHttp),
            _ => return None,
        };
        Some(ClientArch { cpu, firmware })
    }
}

impl Firmware {
    pub const ALL: [Firmware; 3] = [Firmware::Bios, Firmware::Uefi, Firmware::UefiHttp];
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
            Firmware::UefiHttp => "uefi-http",
        })
    }
}

impl fmt::Display for ClientArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cpu, self.firmware)
    }
}
