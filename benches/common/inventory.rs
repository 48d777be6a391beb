//! Inventories for benches.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// `count` deployments in `files` files, half of them pinned to machines of their own tables.
pub(crate) fn generate(root: &Path, files: usize, count: usize) -> std::io::Result<()> {
    for folder in ["d", "files", "secrets"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("files/vmlinuz"), vec![1; 4096])?;
    fs::write(root.join("files/initrd.gz"), vec![2; 4096])?;
    fs::write(
        root.join("secrets/root-password.age"),
        include_str!("../../tests/golden/inventory/tree/secrets/root-password.age"),
    )?;
    fs::write(root.join("base.toml"), BASE)?;
    for file in 0..files {
        fs::write(root.join(name(file)), deployments(file, count / files))?;
    }
    Ok(())
}

/// The path of a file in the inventory.
pub(crate) fn name(file: usize) -> String {
    format!("d/{file:05}.toml")
}

/// What a file of so many deployments says.
pub(crate) fn deployments(file: usize, count: usize) -> String {
    let mut text = String::new();
    for number in (file * count..).take(count) {
        let address = Ipv4Addr::from(0x0a01_0100 + number as u32);
        let mac = format!("52:54:00:{:02x}:{:02x}:{:02x}", number >> 16, (number >> 8) & 255, number & 255);
        let place = if number % 2 == 0 {
            let rack = number / 40;
            let _ =
                write!(text, "[machine.m-{number}]\nmac = [\"{mac}\"]\nlabels = {{ rack = \"{rack}\" }}\n\n");
            format!("machine = \"m-{number}\"")
        } else {
            format!("mac = \"{mac}\"")
        };
        let profile = ["web", "db", "build"][number % 3];
        let _ = write!(
            text,
            "[deployment.d-{number}]\nprofile = \"{profile}\"\n{place}\naddress = \"{address}\"\n\n"
        );
    }
    text
}

const BASE: &str = r#"
[subnet.lab]
cidr    = "10.0.0.0/8"
gateway = "10.1.0.1"
dns     = ["10.1.0.1", "10.1.0.2"]
domain  = "lab.example"

[boot.debian]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["auto=true", "priority=critical", "url={{ answers_url }}", "hostname={{ hostname }}", "---", "console=ttyS0"]

[profile.base]
subnet   = "lab"
boot     = "debian"
template = "preseed"
vars     = { root-hash = { secret = "root-password" } }
disk     = "/dev/sda"
timezone = "Europe/Berlin"

[profile.web]
extends  = ["base"]
packages = ["openssh-server", "nginx"]

[profile.db]
extends  = ["base"]
packages = ["openssh-server", "postgresql"]

[profile.build]
extends  = ["base"]
packages = ["openssh-server", "build-essential", "git"]
"#;

/// The one in the middle.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
