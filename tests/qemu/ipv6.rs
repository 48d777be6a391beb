//! UEFI PXE over IPv6 alone: DHCPv6, TFTP, iPXE, DHCPv6 again, its script, all at `[fd00:10::1]`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kit::kit;

const PATIENCE: Duration = Duration::from_secs(240);
const MAC: &str = "52:54:00:77:00:06";
/// IPv4 has no answer for this machine: it has no address there.
const INVENTORY: &str = r#"
[subnet.lab]
cidr = "10.0.10.0/24"
ipv6 = { cidr = "fd00:10::/64", dynamic = "fd00:10::1000-fd00:10::1fff", ra = "managed" }
[machine.one]
mac = "52:54:00:77:00:06"
"#;

/// A namespace with a tap device, gone with this value, and what runs in it.
struct Lab {
    name: String,
    folder: tempfile::TempDir,
    running: Vec<Child>,
}

impl Lab {
    fn new() -> Lab {
        let name = format!("vold-six-{}", std::process::id());
        let lab = Lab { name, folder: tempfile::tempdir().unwrap(), running: Vec::new() };
        ip(&["netns", "add", &lab.name]);
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["tuntap", "add", "tap0", "mode", "tap"],
            &["address", "add", "10.0.10.1/24", "dev", "tap0"],
            &["link", "set", "tap0", "up"],
            &["address", "add", "fd00:10::1/64", "dev", "tap0", "nodad"],
        ] {
            ip(&[&["-n", &lab.name], arguments].concat());
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&mut self, program: &str, words: &[&str]) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.running.push(command.spawn().unwrap());
    }

    fn daemon(&mut self) {
        let inventory = self.path("inventory");
        std::fs::create_dir(&inventory).unwrap();
        std::fs::write(inventory.join("lab.toml"), INVENTORY).unwrap();
        let settings = format!(
            "[network]\ninterface = \"tap0\"\naddress = \"10.0.10.1\"\n[dhcp]\nmode = \"server\"\n\
             [firmware]\npaths = [\"/usr/lib/ipxe\"]\n[state]\ndirectory = \"{}\"\n",
            self.path("state").display()
        );
        let config = self.path("voldemort.toml");
        std::fs::write(&config, settings).unwrap();
        let (config, inventory) = (config.display().to_string(), inventory.display().to_string());
        let words = ["start", "services", "--config", &config, "--inventory", &inventory];
        self.run(env!("CARGO_BIN_EXE_voldemort"), &words);
    }

    /// OVMF with PXE over IPv6 and nothing else.
    fn machine(&mut self) {
        let variables = self.path("variables.fd");
        std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
        let variables = format!("if=pflash,unit=1,format=raw,file={}", variables.display());
        let card = format!("virtio-net-pci,netdev=n0,mac={MAC},romfile=,bootindex=1");
        let fixed = "-accel tcg -machine q35 -m 512 -nodefaults -no-user-config -display none -no-reboot \
            -uuid 11223344-5566-7788-99aa-525400770006 \
            -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
            -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n \
            -object rng-random,id=r,filename=/dev/urandom -device virtio-rng-pci,rng=r \
            -netdev tap,id=n0,ifname=tap0,script=no,downscript=no";
        let words: Vec<&str> = fixed.split_whitespace().collect();
        self.run("qemu-system-x86_64", &[&words[..], &["-drive", &variables, "-device", &card]].concat());
    }

    /// The timeline of the machine.
    fn timeline(&self) -> String {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_voldemortctl"), "events"]);
        String::from_utf8_lossy(&command.stdin(Stdio::null()).output().unwrap().stdout).into_owned()
    }

    fn wait(&self, what: &str) -> String {
        let started = Instant::now();
        loop {
            let timeline = self.timeline();
            if timeline.contains(what) {
                return timeline;
            }
            assert!(started.elapsed() < PATIENCE, "{what} did not come: {timeline}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

#[test]
fn uefi_pxe_boots_by_ipv6_alone() {
    let Some(_kit) = kit(true) else { return };
    assert!(Path::new("/usr/share/OVMF/OVMF_VARS_4M.fd").exists());
    let mut lab = Lab::new();
    lab.daemon();
    lab.wait("IPv6: DHCPv6, TFTP and HTTP at [fd00:10::1]");
    lab.machine();
    let timeline = lab.wait("boots its own disk");
    let mut rest = timeline.as_str();
    for step in [
        "boot file tftp://[fd00:10::1]/snponly.efi",
        "snponly.efi (",
        "boot file http://[fd00:10::1]/ipxe/52-54-00-77-00-06.ipxe",
        "boots its own disk",
    ] {
        let (_, after) = rest.split_once(step).unwrap_or_else(|| panic!("{step}: {timeline}"));
        rest = after;
    }
}
