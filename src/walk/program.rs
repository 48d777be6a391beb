//! Boot programs, as far as a simulated boot has to know them: which names they request, in which order,
//! and in which language the script is. A program is recognised by its file name, because the `loader` of a
//! boot or a machine may name one that no other rule leads to.

use std::net::IpAddr;

use super::script::Script;
use crate::model::{Cpu, Mac};
use crate::state::Stage;

/// What a boot program does once it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Runs DHCP again, then fetches its script.
    Ipxe,
    /// Fetches GRUB from its own folder.
    Shim,
    Grub,
    Pxelinux,
}

/// Language of a script.
pub type Read = fn(&str, Stage) -> Script;

impl Program {
    /// The program behind a file name or URL. iPXE is built under many names, so any name that is none of
    /// the others counts as iPXE.
    pub fn of(file: &str) -> Program {
        let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
        if name.starts_with("shim") {
            Program::Shim
        } else if name.starts_with("grub") {
            Program::Grub
        } else if name.contains("pxelinux") {
            Program::Pxelinux
        } else {
            Program::Ipxe
        }
    }

    pub fn language(self) -> Read {
        match self {
            Program::Ipxe => Script::ipxe,
            Program::Shim | Program::Grub => Script::grub,
            Program::Pxelinux => Script::pxelinux,
        }
    }
}

/// A name beside a file name or URL.
pub fn beside(file: &str, name: &str) -> String {
    format!("{}{name}", &file[..file.rfind(['/', '\\']).map_or(0, |at| at + 1)])
}

/// The files that shim 16 and 15.8 look for in their own folder and can do without.
pub const REVOCATIONS: [&str; 4] =
    ["revocations_sku.efi", "revocations_sbat.efi", "shim_certificate_0.efi", "revocations.efi"];

/// GRUB's path as shim requests it: shim's directory without the separator at its end, and a name that
/// begins with two of them.
pub fn grub_beside(shim: &str, cpu: Cpu) -> String {
    let grub = if cpu == Cpu::Aarch64 { "grubaa64.efi" } else { "grubx64.efi" };
    format!("{}//{grub}", &shim[..shim.rfind(['/', '\\']).unwrap_or(0)])
}

/// Where Debian's and Ubuntu's signed network GRUB look for their configuration. They check that the first
/// exists before they read it.
pub fn grub_configurations(cpu: Cpu) -> [&'static str; 2] {
    let first = match cpu {
        Cpu::Aarch64 => "/grub/arm64-efi/grub.cfg",
        Cpu::I386 => "/grub/i386-efi/grub.cfg",
        _ => super::GRUB_CONFIGURATION,
    };
    [first, "/grub/grub.cfg"]
}

/// The configurations that PXELINUX requests, in its order, from the program's folder. The machine's UUID
/// is made of `mac`.
pub fn pxelinux_configurations(program: &str, mac: Mac, address: IpAddr) -> Vec<String> {
    let [a, b, c, d, e, f] = mac.octets();
    let id = format!("00000000-0000-0000-0000-{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}");
    let mut names = vec![id, format!("01-{}", mac.dashed())];
    if let IpAddr::V4(address) = address {
        let digits = format!("{:08X}", u32::from(address));
        names.extend((1..=digits.len()).rev().map(|length| digits[..length].to_owned()));
    }
    names.push("default".to_owned());
    names.into_iter().map(|name| beside(program, &format!("pxelinux.cfg/{name}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_recognised_by_their_names() {
        for (file, program) in [
            ("undionly.kpxe", Program::Ipxe),
            ("http://10.0.0.1/loader/realtek.efi", Program::Ipxe),
            ("shimx64.efi", Program::Shim),
            ("tftp://[fd00::1]/boot/shimaa64.efi", Program::Shim),
            ("grubx64.efi", Program::Grub),
            ("boot\\lpxelinux.0", Program::Pxelinux),
        ] {
            assert_eq!(Program::of(file), program, "{file}");
        }
    }

    #[test]
    fn shim_glues_its_directory_to_grub() {
        assert_eq!(grub_beside("shimx64.efi", Cpu::X86_64), "//grubx64.efi");
        assert_eq!(grub_beside("http://10.0.0.1/shimx64.efi", Cpu::X86_64), "http://10.0.0.1//grubx64.efi");
        assert_eq!(grub_beside("boot/shimaa64.efi", Cpu::Aarch64), "boot//grubaa64.efi");
    }

    /// The order that PXELINUX 6.04 was seen to use.
    #[test]
    fn pxelinux_asks_from_the_narrowest_to_the_widest() {
        let mac = "52:54:00:77:00:01".parse().unwrap();
        let names = pxelinux_configurations("pxelinux.0", mac, "10.77.0.130".parse().unwrap());
        assert_eq!(
            names[1..],
            [
                "pxelinux.cfg/01-52-54-00-77-00-01",
                "pxelinux.cfg/0A4D0082",
                "pxelinux.cfg/0A4D008",
                "pxelinux.cfg/0A4D00",
                "pxelinux.cfg/0A4D0",
                "pxelinux.cfg/0A4D",
                "pxelinux.cfg/0A4",
                "pxelinux.cfg/0A",
                "pxelinux.cfg/0",
                "pxelinux.cfg/default",
            ]
        );
    }
}
