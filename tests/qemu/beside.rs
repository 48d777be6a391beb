//! Boots beside another DHCP server, dnsmasq at 10.0.10.2: it gives the addresses.

use crate::kit::kit;
use crate::lab::{Lab, in_order};

/// A machine without a deployment: its boot ends with "boot your own disk", which is quick.
const INVENTORY: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
[machine.one]
mac = "52:54:00:77:00:07"
"#;
const MAC: &str = "52:54:00:77:00:07";

fn proxy(tag: &str) -> Lab {
    let mut lab = Lab::new(tag);
    lab.other_server(&[]);
    let firmware = "[firmware]\npaths = [\"/usr/lib/ipxe\", \"/usr/lib/PXELINUX\", \"/usr/lib/syslinux\"]";
    lab.daemon(&format!("[dhcp]\nmode = \"proxy\"\n{firmware}"), INVENTORY);
    lab
}

#[test]
fn a_bios_machine_boots_by_proxy() {
    let Some(_kit) = kit(true) else { return };
    let mut lab = proxy("pb");
    lab.bios(MAC);
    let timeline = lab.wait("boots its own disk");
    in_order(&timeline, &["as proxy", "boot file http://10.0.10.1/ipxe/52-54-00-77-00-07.ipxe"]);
}

#[test]
fn a_uefi_machine_boots_by_proxy_and_port_4011() {
    let Some(_kit) = kit(true) else { return };
    let mut lab = proxy("pu");
    lab.uefi(MAC, "-fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n");
    let timeline = lab.wait("boots its own disk");
    in_order(
        &timeline,
        &[
            "as proxy, boot file snponly.efi by TFTP",
            "as proxy, boot file snponly.efi by TFTP",
            "snponly.efi (",
            "boot file http://10.0.10.1/ipxe/52-54-00-77-00-07.ipxe",
        ],
    );
}

/// The other server names PXELINUX, which finds its configuration here by hardware address.
#[test]
fn pxelinux_finds_its_configuration() {
    let Some(_kit) = kit(true) else { return };
    let mut lab = Lab::new("pl");
    lab.other_server(&["--dhcp-boot=pxelinux.0,,10.0.10.1"]);
    let firmware =
        "[firmware]\npaths = [\"/usr/lib/PXELINUX\", \"/usr/lib/syslinux\"]\n[dhcp]\nmode = \"listen\"";
    lab.daemon(firmware, INVENTORY);
    lab.bios(MAC);
    let timeline = lab.wait("boots its own disk");
    in_order(&timeline, &["pxelinux.0", "ldlinux.c32", "boots its own disk"]);
}
