//! `voldemort replay` on captures of real firmware, as golden transcripts.

use std::path::Path;
use std::process::{Command, Stdio};

const INVENTORY: &str = r#"
[subnet.lab]
cidr    = "10.77.0.0/24"
dynamic = "10.77.0.150-10.77.0.199"
[boot.b]
kernel  = "files/vmlinuz"
cmdline = ["answers={{ answers_url }}"]
[deployment.web-1]
mac     = "52:54:00:77:00:01"
address = "10.77.0.130"
boot    = "b"
"#;

/// The same network with IPv6.
const IPV6: &str = "[subnet.lab.ipv6]\ncidr = \"fd77::/64\"\ndynamic = \"fd77::1000-fd77::1fff\"\n";

fn replay(arguments: &[&str], more: &str) -> (String, String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lab.toml"), INVENTORY.to_owned() + more).unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    std::fs::write(folder.path().join("files/vmlinuz"), b"kernel").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voldemort"));
    command.arg("replay").args(&arguments[..1]).arg(folder.path()).args(&arguments[1..]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn check(name: &str, arguments: &[&str]) {
    check_with(name, arguments, "");
}

fn check_with(name: &str, arguments: &[&str], more: &str) {
    let capture = format!("tests/captures/{name}.pcap");
    let (found, errors, code) = replay(&[&[capture.as_str()], arguments].concat(), more);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let golden = Path::new("tests/golden/replay").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(found == expected, "{} differs (UPDATE_GOLDEN=1 rewrites):\n{found}", golden.display());
}

#[test]
fn captures_are_answered_as_recorded() {
    check("bios-ipxe", &[]);
    check("uefi-http4", &[]);
    check("proxy-uefi-pxe4", &["--mode", "proxy", "--server", "10.77.0.1"]);
    for name in [
        "arm64-http4-ipxe",
        "arm64-pxe4",
        "arm64-pxe4-grub",
        "arm64-pxe4-shim",
        "bios-ipxe-e1000",
        "bios-plain-ipxe",
        "bios-plain-pxelinux",
        "bios-pxe-pxelinux",
        "dead-bios-pxe",
        "dead-uefi-pxe4",
        "di-full-bios",
        "direct-http4",
        "direct-http4-efi-name",
        "direct-http4-mime",
        "ia32-facts",
        "missing-bios-ipxe",
        "missing-uefi-http4",
        "none-bios-ipxe",
        "none-bios-pxe",
        "none-uefi-any",
        "noping-bios-ipxe",
        "noping-uefi-pxe4",
        "nopxedhcp-bios-ipxe",
        "sb-shim-http4",
        "sb-shim-pxe4",
        "sb-unsigned",
        "uefi-grub-pxe4",
        "uefi-ipxe-rom",
        "uefi-pxe4-newipxe",
        "wol",
    ] {
        check(name, &[]);
    }
    for name in ["proxy-bios", "proxy-bios-ipxe", "proxy-uefi"] {
        check(name, &["--mode", "proxy", "--server", "10.77.0.1"]);
    }
}

#[test]
fn captures_of_ipv6_are_answered_as_recorded() {
    for name in ["uefi-pxe6", "uefi-http6"] {
        check_with(name, &[], IPV6);
    }
}

#[test]
fn what_is_no_capture_is_said() {
    let (_, errors, code) = replay(&["Cargo.toml"], "");
    assert_eq!(
        (errors.trim(), code),
        ("voldemort: Cargo.toml: this is no capture: it is neither pcap nor pcapng", Some(1))
    );
}

/// Data that a capture lacks is reported, and a truncated request is not answered.
#[test]
fn a_capture_that_was_cut_says_so() {
    let whole = std::fs::read("tests/captures/uefi-http4.pcap").unwrap();
    let word = |at: usize| u32::from_le_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
    // As with tcpdump -s 200, and copied while it ran.
    let mut cut = whole[..24].to_vec();
    let mut at = 24;
    while at < whole.len() {
        let length = word(at + 8);
        let kept = length.min(200);
        cut.extend(&whole[at..at + 8]);
        cut.extend((kept as u32).to_le_bytes());
        cut.extend(&whole[at + 12..at + 16 + kept]);
        at += 16 + length;
    }
    cut.truncate(cut.len() - 3);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.pcap");
    std::fs::write(&file, cut).unwrap();
    let (found, errors, code) = replay(&[file.to_str().unwrap()], "");
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(found.contains("note: ") && found.contains("were cut to at most 200 bytes"), "{found}");
    assert!(found.contains("note: the file ends inside a packet"), "{found}");
    assert!(found.contains("not answered: the capture holds 158 of its"), "{found}");
    assert!(!found.contains("option"), "no half-read message is answered: {found}");
}
