//! Machines that are no PC: arm64 by UEFI (shim and GRUB of the Debian installer) and by U-Boot.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::kit::kit;
use crate::lab::{Lab, in_order};

const MAC: &str = "52:54:00:77:00:08";
const IMAGES: &str = "/usr/lib/debian-installer/images/12/arm64/text/debian-installer/arm64";
const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";
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

/// Whether something is missing, which it says.
fn lacks(firmware: &str, package: &str) -> bool {
    let linux = format!("{IMAGES}/linux");
    let needs = [
        (firmware, package),
        (&linux, "debian-installer-12-netboot-arm64"),
        ("/usr/bin/qemu-system-aarch64", "qemu-system-arm"),
    ];
    let missing = needs.into_iter().find(|(file, _)| !Path::new(file).exists());
    if let Some((_, package)) = missing {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "missing: package {package}");
        eprintln!("SKIPPED, missing: package {package}");
    }
    missing.is_some()
}

/// The boot targets that U-Boot has on this board know nothing of `pxelinux.cfg`.
#[test]
fn u_boot_is_led_to_its_kernel() {
    let Some(_kit) = kit(true) else { return };
    if lacks(U_BOOT, "u-boot-qemu") {
        return;
    }
    let mut lab = Lab::new("uboot");
    let settings = format!("[dhcp]\nmode = \"server\"\n[media]\npaths = [\"{IMAGES}\"]");
    lab.daemon(&settings, INVENTORY);
    let words = format!("-machine virt -cpu cortex-a57 -m 1024 -bios {U_BOOT}");
    // Its driver for virtio reads the first byte of the hardware address six times.
    lab.machine_with("e1000", "qemu-system-aarch64", &words, MAC, ",romfile=");
    lab.wait_on_serial("for=arm");
    let timeline = lab.timeline();
    in_order(
        &timeline,
        &["boot.scr.uimg, which leads", "arm boots debian", "debian/initrd.gz", "debian/linux"],
    );
}

/// A lab with the daemon, shim and GRUB, and the machine, which is started with these further words;
/// `None` where something is missing.
fn boots(tag: &str, more: &str) -> Option<Lab> {
    if lacks("/usr/share/AAVMF/AAVMF_CODE.fd", "qemu-efi-aarch64") {
        return None;
    }
    let mut lab = Lab::new(tag);
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
        "-machine virt -cpu cortex-a57 -m 1024 {more} \
         -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.fd \
         -drive if=pflash,unit=1,format=raw,file={}",
        variables.display()
    );
    lab.machine("qemu-system-aarch64", &words, MAC, ",romfile=");
    Some(lab)
}

#[test]
fn arm64_boots_by_shim_and_grub() {
    let Some(_kit) = kit(true) else { return };
    let Some(lab) = boots("arm", "") else { return };
    lab.wait_on_serial("for=arm");
    let timeline = lab.timeline();
    in_order(
        &timeline,
        &["shimaa64.efi", "grubaa64.efi", "arm boots debian", "debian/linux", "debian/initrd.gz"],
    );
}

/// HTTP boot (type 19): the firmware asks for its program by HTTP, and shim for GRUB in the same way.
/// There the distribution's GRUB ends: it was built without its `http` module.
#[test]
fn arm64_boots_shim_and_grub_by_http() {
    let Some(_kit) = kit(true) else { return };
    let no_pxe = "-fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n \
        -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n";
    let Some(lab) = boots("arm-http", no_pxe) else { return };
    let timeline = lab.wait("grubaa64.efi (");
    in_order(
        &timeline,
        &["boot file http://10.0.10.1/loader/shimaa64.efi", "shimaa64.efi (", "grubaa64.efi ("],
    );
    lab.wait_on_serial("GRUB");
}
