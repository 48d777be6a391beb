//! An arm64 machine: UEFI PXE, shim and GRUB of the Debian installer, its kernel.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::kit::kit;
use crate::lab::{Lab, in_order};

const MAC: &str = "52:54:00:77:00:08";
const IMAGES: &str = "/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64";
const INVENTORY: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
[boot.debian]
kernel  = "linux"
initrd  = ["initrd.gz"]
cmdline = ["console=ttyAMA0", "for={{ name }}"]
arch    = "aarch64"
[deployment.arm]
mac     = "52:54:00:77:00:08"
address = "10.0.10.30"
boot    = "debian"
"#;

#[test]
fn arm64_boots_by_shim_and_grub() {
    let Some(_kit) = kit(true) else { return };
    for (file, package) in [
        (format!("{IMAGES}/linux"), "debian-installer-12-netboot-arm64"),
        ("/usr/share/AAVMF/AAVMF_CODE.fd".into(), "qemu-efi-aarch64"),
        ("/usr/bin/qemu-system-aarch64".into(), "qemu-system-arm"),
    ] {
        if !Path::new(&file).exists() {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "missing: package {package}");
            return eprintln!("SKIPPED, missing: package {package}");
        }
    }
    let mut lab = Lab::new("arm");
    let firmware = lab.path("firmware");
    std::fs::create_dir(&firmware).unwrap();
    symlink(format!("{IMAGES}/bootnetaa64.efi"), firmware.join("shimaa64.efi")).unwrap();
    symlink(format!("{IMAGES}/grubaa64.efi"), firmware.join("grubaa64.efi")).unwrap();
    let settings = format!(
        "[dhcp]\nmode = \"server\"\n[firmware]\npaths = [\"{}\"]\n[media]\npaths = [\"{IMAGES}\"]",
        firmware.display()
    );
    lab.daemon(&settings, INVENTORY);
    let variables = lab.path("variables.fd");
    std::fs::copy("/usr/share/AAVMF/AAVMF_VARS.fd", &variables).unwrap();
    let words = format!(
        "-machine virt -cpu cortex-a57 -m 1024 \
         -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.fd \
         -drive if=pflash,unit=1,format=raw,file={}",
        variables.display()
    );
    lab.machine("qemu-system-aarch64", &words, MAC, ",romfile=");
    lab.wait_on_serial("for=arm");
    let timeline = lab.timeline();
    in_order(
        &timeline,
        &["shimaa64.efi", "grubaa64.efi", "arm boots debian", "debian/linux", "debian/initrd.gz"],
    );
}
