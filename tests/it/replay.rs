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

fn replay(arguments: &[&str]) -> (String, String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lab.toml"), INVENTORY).unwrap();
    std::fs::create_dir(folder.path().join("files")).unwrap();
    std::fs::write(folder.path().join("files/vmlinuz"), b"kernel").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voldemort"));
    command.arg("replay").args(&arguments[..1]).arg(folder.path()).args(&arguments[1..]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn check(name: &str, arguments: &[&str]) {
    let capture = format!("tests/captures/{name}.pcap");
    let (found, errors, code) = replay(&[&[capture.as_str()], arguments].concat());
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
}

#[test]
fn what_is_no_capture_is_said() {
    let (_, errors, code) = replay(&["Cargo.toml"]);
    assert_eq!(
        (errors.trim(), code),
        ("voldemort: Cargo.toml: this is no capture: pcap and pcapng begin otherwise", Some(1))
    );
}
