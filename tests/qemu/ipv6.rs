//! UEFI PXE and HTTP boot over IPv6 alone: DHCPv6, TFTP or HTTP, iPXE, DHCPv6 again, its script, all
//! at `[fd00:10::1]`.

use crate::kit::kit;
use crate::lab::{Lab, in_order};

/// A subnet without IPv4, which has no answer for this machine.
const INVENTORY: &str = r#"
[subnet.lab]
ipv6 = { cidr = "fd00:10::/64", dynamic = "fd00:10::1000-fd00:10::1fff", ra = "managed" }
[machine.one]
mac = "52:54:00:77:00:06"
"#;

#[test]
fn uefi_pxe_boots_by_ipv6_alone() {
    let Some(_kit) = kit(true) else { return };
    let mut lab = Lab::new("six");
    lab.daemon("[dhcp]\nmode = \"server\"\n[firmware]\npaths = [\"/usr/lib/ipxe\"]", INVENTORY);
    lab.wait("IPv6: DHCPv6, TFTP and HTTP at [fd00:10::1]");
    lab.uefi("52:54:00:77:00:06", "-fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n");
    let timeline = lab.wait("boots its own disk");
    in_order(
        &timeline,
        &[
            "boot file tftp://[fd00:10::1]/snponly.efi",
            "snponly.efi (",
            "boot file http://[fd00:10::1]/ipxe/52-54-00-77-00-06.ipxe",
            "boots its own disk",
        ],
    );
}

/// Without PXE the firmware goes on to HTTP boot, by IPv4 first.
#[test]
fn uefi_http_boots_by_ipv6_alone() {
    let Some(_kit) = kit(true) else { return };
    let mut lab = Lab::new("six-http");
    lab.daemon("[dhcp]\nmode = \"server\"\n[firmware]\npaths = [\"/usr/lib/ipxe\"]", INVENTORY);
    lab.wait("IPv6: DHCPv6, TFTP and HTTP at [fd00:10::1]");
    lab.uefi(
        "52:54:00:77:00:06",
        "-fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n \
         -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n",
    );
    let timeline = lab.wait("boots its own disk");
    in_order(
        &timeline,
        &[
            "boot file http://[fd00:10::1]/loader/snponly.efi",
            "snponly.efi (",
            "boot file http://[fd00:10::1]/ipxe/52-54-00-77-00-06.ipxe",
            "boots its own disk",
        ],
    );
}
