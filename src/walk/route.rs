//! The ways a machine gets from power-on to its script.

use std::fmt;

use super::client::Sender;
use crate::desired::{Advertise, Deployment};
use crate::model::{Cpu, Firmware};

/// What a machine has in its firmware, and which boot programs it takes. What follows depends on the
/// program it is sent: see [`super::program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// A BIOS's PXE ROM, with iPXE by TFTP.
    BiosPxe,
    /// A BIOS with iPXE in the network card's ROM.
    BiosIpxe,
    /// UEFI PXE, with iPXE by TFTP.
    UefiPxe,
    /// UEFI HTTP boot, with iPXE by HTTP.
    UefiHttp,
    /// UEFI with an iPXE driver in ROM, which needs no other.
    UefiIpxe,
    /// Secure Boot, where only the signed chain runs: shim, its GRUB, and the kernel by TFTP.
    SecureBoot,
    /// The same four routes of UEFI with DHCPv6, and everything that follows over IPv6.
    UefiPxe6,
    UefiHttp6,
    UefiIpxe6,
    SecureBoot6,
}

impl Route {
    /// All routes over IPv4, the commonest first.
    pub const IPV4: [Route; 6] = [
        Route::BiosPxe,
        Route::BiosIpxe,
        Route::UefiPxe,
        Route::UefiHttp,
        Route::UefiIpxe,
        Route::SecureBoot,
    ];

    pub const IPV6: [Route; 4] = [Route::UefiPxe6, Route::UefiHttp6, Route::UefiIpxe6, Route::SecureBoot6];

    /// All routes that the machine of a deployment may take, the commonest first. Over IPv4 only where its
    /// subnet has it; over IPv6 only where the subnet has an IPv6 network and an address there for the
    /// machine.
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

    /// Firmware takes its address from DHCPv6 alone; iPXE also makes its own where router advertisements
    /// allow it.
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

    /// The program that requests the first address.
    pub fn first_sender(self) -> Sender {
        match self {
            Route::BiosIpxe | Route::UefiIpxe | Route::UefiIpxe6 => Sender::Ipxe,
            _ => Sender::Firmware,
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
