//! Boot programs are learned: a machine with Secure Boot boots without anybody having said so.

use std::path::Path;

use crate::kit::kit;
use crate::lab::{Lab, in_order};

const MAC: &str = "52:54:00:77:00:0a";
/// Its kernel is never started: the script is what counts.
const INVENTORY: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
[boot.b]
kernel = "ipxe.lkrn"
[deployment.one]
mac     = "52:54:00:77:00:0a"
address = "10.0.10.31"
boot    = "b"
"#;
const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";

#[test]
fn secure_boot_is_found_out_and_remembered() {
    let Some(_kit) = kit(true) else { return };
    if !Path::new(SHIM).exists() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "missing: package shim-signed");
        eprintln!("SKIPPED, missing: package shim-signed");
        return;
    }
    let mut lab = Lab::new("learn");
    let settings = "[dhcp]\nmode = \"server\"\n[media]\npaths = [\"/usr/lib/ipxe\"]\n\
        [firmware]\npaths = [\"/usr/lib/ipxe\", \"/usr/lib/shim\", \"/usr/lib/grub\"]";
    lab.daemon(settings, INVENTORY);
    // Twice its firmware refuses what it fetched, and the machine is switched off and on.
    for boot in 1..=2 {
        lab.secure_boot(MAC);
        lab.wait_times("snponly.efi (", boot);
        lab.kill(0);
    }
    lab.secure_boot(MAC);
    let timeline = lab.wait("shimx64.efi leads to its script");
    in_order(&timeline, &["boot file snponly.efi", "boot file shimx64.efi", "grubx64.efi (", "one boots b"]);
    // The answer that names another program may be written before the line that says why.
    assert!(timeline.contains("snponly.efi was fetched twice by PXE over IPv4"), "{timeline}");
    // The daemon is killed, and the machine starts again: shim is the first that it is offered.
    lab.kill(0);
    lab.kill(0);
    let offers = timeline.matches("boot file shimx64.efi").count();
    let refused = timeline.matches("boot file snponly.efi").count();
    lab.start_daemon();
    lab.secure_boot(MAC);
    let timeline = lab.wait_times("boot file shimx64.efi", offers + 1);
    assert_eq!(timeline.matches("boot file snponly.efi").count(), refused, "{timeline}");
}
