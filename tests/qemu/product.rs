//! The boot programs that the product's packages have (`packaging/firmware`), among them an iPXE that is years younger
//! than Debian 12's: it reads `autoexec.ipxe` before it has an address, and does nothing by itself then.

use std::path::Path;

use crate::kit::kit;
use crate::lab::{Lab, in_order};

const MAC: &str = "52:54:00:77:00:09";
const INVENTORY: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
dynamic = "10.0.10.100-10.0.10.199"
[machine.one]
mac = "52:54:00:77:00:09"
"#;
const IPV6: &str = r#"
[subnet.lab]
ipv6 = { cidr = "fd00:10::/64", dynamic = "fd00:10::1000-fd00:10::1fff", ra = "managed" }
[machine.one]
mac = "52:54:00:77:00:09"
"#;
const NO_PXE4: &str = "-fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n";
const NO_PXE6: &str = "-fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n";

/// The daemon's settings; `None` where the programs are missing, which it says.
fn settings(mode: &str) -> Option<String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent()?;
    let programs = target.join("firmware/usr/lib/voldemort/firmware");
    if !programs.join("snponly.efi").exists() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "missing: {}", programs.display());
        eprintln!("SKIPPED, missing: {}, which tests/run makes", programs.display());
        return None;
    }
    Some(format!("[dhcp]\nmode = \"{mode}\"\n[firmware]\npaths = [{:?}]", programs.display().to_string()))
}

/// A boot from power-on to "boot your own disk", which passes what is named in this order.
fn boots(tag: &str, mode: &str, inventory: &str, words: &str, passes: &[&str]) {
    let Some(_kit) = kit(true) else { return };
    let Some(settings) = settings(mode) else { return };
    let mut lab = Lab::new(tag);
    if mode == "proxy" {
        lab.other_server(&[]);
    }
    lab.daemon(&settings, inventory);
    if inventory == IPV6 {
        lab.wait("IPv6: DHCPv6, TFTP and HTTP at [fd00:10::1]");
    }
    lab.uefi(MAC, words);
    let timeline = lab.wait("boots its own disk");
    in_order(&timeline, passes);
}

#[test]
fn uefi_pxe_boots() {
    let passes = ["snponly.efi (", "autoexec.ipxe", "boot file http://10.0.10.1/ipxe/", "boots its own disk"];
    boots("own4", "server", INVENTORY, NO_PXE6, &passes);
}

#[test]
fn uefi_http_boots() {
    let words = format!("{NO_PXE4} {NO_PXE6}");
    let passes =
        ["loader/snponly.efi", "autoexec.ipxe", "boot file http://10.0.10.1/ipxe/", "boots its own disk"];
    boots("own4-http", "server", INVENTORY, &words, &passes);
}

#[test]
fn uefi_pxe_boots_by_ipv6_alone() {
    let passes = ["snponly.efi (", "boot file http://[fd00:10::1]/ipxe/", "boots its own disk"];
    boots("own6", "server", IPV6, NO_PXE4, &passes);
}

#[test]
fn uefi_pxe_boots_by_proxy() {
    let passes = ["as proxy, boot file snponly.efi", "autoexec.ipxe", "boots its own disk"];
    boots("ownp", "proxy", INVENTORY, NO_PXE6, &passes);
}
