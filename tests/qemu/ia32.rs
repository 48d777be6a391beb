//! A PC whose firmware is UEFI of 32 bits: GRUB starts the kernel of 64 bits.

use std::path::Path;

use crate::kit::kit;
use crate::lab::{Lab, in_order};

const IMAGES: &str = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64";
const FIRMWARE: &str = "/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd";
const GRUB: &str = "/usr/lib/grub/i386-efi/monolithic/grubnetia32.efi";
const INVENTORY: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
[boot.debian]
kernel  = "linux"
initrd  = ["initrd.gz"]
cmdline = ["console=ttyS0", "for={{ name }}"]
[deployment.tablet]
mac     = "52:54:00:77:00:32"
address = "10.0.10.30"
boot    = "debian"
"#;

#[test]
fn uefi_of_32_bits_boots_by_grub() {
    let Some(_kit) = kit(true) else { return };
    for (file, package) in [(FIRMWARE, "ovmf-ia32"), (GRUB, "grub-efi-ia32-bin")] {
        if !Path::new(file).exists() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "missing: package {package}");
            return eprintln!("SKIPPED, missing: package {package}");
        }
    }
    let mut lab = Lab::new("ia32");
    let settings = format!(
        "[dhcp]\nmode = \"server\"\n[firmware]\npaths = [\"/usr/lib/grub\"]\n[media]\npaths = [\"{IMAGES}\"]"
    );
    lab.daemon(&settings, INVENTORY);
    let variables = lab.path("variables.fd");
    std::fs::copy("/usr/share/OVMF/OVMF32_VARS_4M.fd", &variables).unwrap();
    let words = format!(
        "-machine q35,smm=on -m 1024 -global driver=cfi.pflash01,property=secure,value=on \
         -drive if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE} \
         -drive if=pflash,unit=1,format=raw,file={}",
        variables.display()
    );
    lab.machine("qemu-system-x86_64", &words, "52:54:00:77:00:32", ",romfile=");
    lab.wait_on_serial("for=tablet");
    let timeline = lab.timeline();
    in_order(
        &timeline,
        &["boot file grubia32.efi", "tablet boots debian", "debian/linux", "debian/initrd.gz"],
    );
}
