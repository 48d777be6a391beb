//! The ways a machine comes from power-on to its script.

use std::fmt;

use super::client::Speaker;
use crate::desired::{Advertise, Deployment};
use crate::model::{Cpu, Firmware};

/// What a machine has in its firmware, and which boot programs it takes. What the programs do
/// then depends on which one it is given: see [`super::program`].
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
    /// The same four of UEFI by DHCPv6 and everything that follows over IPv6.
    UefiPxe6,
    UefiHttp6,
    UefiIpxe6,
    SecureBoot6,
}

impl Route {
    /// All by IPv4, the commonest first.
    pub const IPV4: [Route; 6] = [
        Route::BiosPxe,
        Route::BiosIpxe,
        Route::UefiPxe,
        Route::UefiHttp,
        Route::UefiIpxe,
        Route::SecureBoot,
    ];

    pub const IPV6: [Route; 4] = [Route::UefiPxe6, Route::UefiHttp6, Route::UefiIpxe6, Route::SecureBoot6];

    /// All that the machine of a deployment may have, the commonest first. By IPv4 only where its
    /// subnet has it; by IPv6 only where it has a network of that kind and an address there for it.
    pub fn of(deployment: &Deployment) -> Vec<Route> {
        let cpu = deployment.boot.cpu;
        let firmware = |route: &Route| match route {
            Route::BiosPxe | Route::BiosIpxe => matches!(cpu, Cpu::X86_64 | Cpu::I386),
            Route::SecureBoot | Route::SecureBoot6 => matches!(cpu, Cpu::X86_64 | Cpu::Aarch64),
            _ => true,
        };
        let has_address = |route: &Route| match route.is_ipv6() {
            true => route.has_address6(deployment),
            false => deployment.subnet.cidr.is_some(),
        };
        let all = Route::IPV4.into_iter().chain(Route::IPV6);
        all.filter(|route| firmware(route) && has_address(route)).collect()
    }

    /// Firmware takes its address from DHCPv6 alone; iPXE also makes its own where it is told to.
    fn has_address6(self, deployment: &Deployment) -> bool {
        let Some(ipv6) = &deployment.subnet.ipv6 else { return false };
        let makes_own = self == Route::UefiIpxe6 && ipv6.ra == Advertise::Slaac;
        deployment.address6.is_some() || !ipv6.dynamic.is_empty() || makes_own && ipv6.cidr.length() == 64
    }

    pub fn firmware(self) -> Firmware {
        match self {
            Route::BiosPxe | Route::BiosIpxe => Firmware::Bios,
            Route::UefiHttp | Route::UefiHttp6 => Firmware::UefiHttp,
            Route::UefiPxe | Route::UefiIpxe | Route::SecureBoot => Firmware::Uefi,
            Route::UefiPxe6 | Route::UefiIpxe6 | Route::SecureBoot6 => Firmware::Uefi,
        }
    }

    /// Who asks for the first address.
    pub fn first_speaker(self) -> Speaker {
        match self {
            Route::BiosIpxe | Route::UefiIpxe | Route::UefiIpxe6 => Speaker::Ipxe,
            _ => Speaker::Firmware,
        }
    }

    pub fn is_ipv6(self) -> bool {
        Route::IPV6.contains(&self)
    }

    /// Whether the firmware starts signed programs only.
    pub fn is_signed(self) -> bool {
        matches!(self, Route::SecureBoot | Route::SecureBoot6)
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
            Route::UefiPxe6 => "UEFI PXE over IPv6",
            Route::UefiHttp6 => "UEFI HTTP boot over IPv6",
            Route::UefiIpxe6 => "UEFI with iPXE in ROM over IPv6",
            Route::SecureBoot6 => "UEFI Secure Boot over IPv6",
        })
    }
}
