//! A daemon and one machine on a wire of their own, inside a network namespace: for boots that
//! `voldemort try` has no setting for.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes longer, on a slow and loaded host either.
const PATIENCE: Duration = Duration::from_secs(300);

/// A namespace with a bridge and a machine's tap device in it, gone with this value, and what runs
/// there. The daemon is 10.0.10.1 and fd00:10::1.
pub(crate) struct Lab {
    name: String,
    folder: tempfile::TempDir,
    running: Vec<Child>,
    /// How many programs were started.
    logs: usize,
}

impl Lab {
    pub(crate) fn new(tag: &str) -> Lab {
        let name = format!("vold-{tag}-{}", std::process::id());
        let lab = Lab { name, folder: tempfile::tempdir().unwrap(), running: Vec::new(), logs: 0 };
        ip(&["netns", "add", &lab.name]);
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["link", "add", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"],
            &["tuntap", "add", "tap0", "mode", "tap"],
            &["link", "set", "tap0", "master", "br0", "up"],
            &["address", "add", "10.0.10.1/24", "dev", "br0"],
            &["link", "set", "br0", "up"],
            &["address", "add", "fd00:10::1/64", "dev", "br0", "nodad"],
        ] {
            ip(&[&["-n", &lab.name], arguments].concat());
        }
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program in the namespace until the lab is gone.
    pub(crate) fn run(&mut self, program: &str, words: &[&str]) {
        self.run_in(&self.name.clone(), program, words);
    }

    fn run_in(&mut self, namespace: &str, program: &str, words: &[&str]) {
        let log = std::fs::File::create(self.path(&format!("log-{}", self.logs))).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]).args(words);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.logs += 1;
        self.running.push(command.spawn().unwrap());
    }

    /// Another DHCP server on the wire, 10.0.10.2: dnsmasq with these settings.
    pub(crate) fn other_server(&mut self, words: &[&str]) {
        let other = format!("{}-b", self.name);
        ip(&["netns", "add", &other]);
        ip(&[
            "-n", &self.name, "link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", &other,
        ]);
        ip(&["-n", &self.name, "link", "set", "veth0", "master", "br0", "up"]);
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["address", "add", "10.0.10.2/24", "dev", "eth0"],
            &["link", "set", "eth0", "up"],
        ] {
            ip(&[&["-n", &other], arguments].concat());
        }
        let fixed = "--no-daemon --port=0 --conf-file=/dev/null --interface=eth0 --bind-interfaces --no-ping \
            --dhcp-range=10.0.10.100,10.0.10.150,1h --dhcp-leasefile=/dev/null";
        let fixed: Vec<&str> = fixed.split_whitespace().collect();
        self.run_in(&other, "dnsmasq", &[&fixed[..], words].concat());
    }

    /// Starts the daemon. `settings` are tables of its file beside `[network]` and `[state]`.
    pub(crate) fn daemon(&mut self, settings: &str, inventory: &str) {
        let folder = self.path("inventory");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("lab.toml"), inventory).unwrap();
        let state = self.path("state");
        let text = format!(
            "[network]\ninterface = \"br0\"\naddress = \"10.0.10.1\"\n{settings}\n\
             [state]\ndirectory = \"{}\"\n",
            state.display()
        );
        let config = self.path("voldemort.toml");
        std::fs::write(&config, text).unwrap();
        self.start_daemon();
    }

    /// Starts the daemon again as it was started before.
    pub(crate) fn start_daemon(&mut self) {
        let (config, folder) = (self.path("voldemort.toml"), self.path("inventory"));
        let (config, folder) = (config.display().to_string(), folder.display().to_string());
        let words = ["start", "services", "--new-site", "--config", &config, "--inventory", &folder];
        let log = self.path(&format!("log-{}", self.logs));
        self.run(env!("CARGO_BIN_EXE_voldemort"), &words);
        self.until("ready", || std::fs::read_to_string(&log).unwrap_or_default());
    }

    /// Waits until the machine that was started last has gone off.
    pub(crate) fn wait_for_off(&mut self) {
        let started = Instant::now();
        let machine = self.running.last_mut().unwrap();
        while machine.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "the machine does not go off");
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Kills what was started last but `back` others, at once.
    pub(crate) fn kill(&mut self, back: usize) {
        let at = self.running.len() - 1 - back;
        let mut child = self.running.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// OVMF with Secure Boot and Microsoft's keys, which boots by PXE over IPv4. Its variables are new.
    pub(crate) fn secure_boot(&mut self, mac: &str) {
        let variables = self.path("variables.fd");
        std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.ms.fd", &variables).unwrap();
        let words = format!(
            "-machine q35,smm=on -global ICH9-LPC.disable_s3=1 -m 512 \
             -global driver=cfi.pflash01,property=secure,value=on \
             -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n \
             -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.ms.fd \
             -drive if=pflash,unit=1,format=raw,file={}",
            variables.display()
        );
        self.machine("qemu-system-x86_64", &words, mac, ",romfile=");
    }

    /// A BIOS machine; QEMU's card boots by the iPXE in its ROM.
    pub(crate) fn bios(&mut self, mac: &str) {
        self.machine("qemu-system-x86_64", "-machine pc -m 512", mac, "");
    }

    /// OVMF that boots by its own means, with these further words for QEMU.
    pub(crate) fn uefi(&mut self, mac: &str, more: &str) {
        self.uefi_with("virtio-net-pci", mac, more, ",romfile=");
    }

    /// OVMF with this card, which boots by what is in its ROM if it is left that.
    pub(crate) fn uefi_with(&mut self, model: &str, mac: &str, more: &str, card: &str) {
        let variables = self.path("variables.fd");
        std::fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", &variables).unwrap();
        let words = format!(
            "-machine q35 -m 512 {more} \
             -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
             -drive if=pflash,unit=1,format=raw,file={}",
            variables.display()
        );
        self.machine_with(model, "qemu-system-x86_64", &words, mac, card);
    }

    /// A machine with a card of virtio and these words about it.
    pub(crate) fn machine(&mut self, program: &str, words: &str, mac: &str, card: &str) {
        self.machine_with("virtio-net-pci", program, words, mac, card);
    }

    /// A machine with this card, and its serial line in the file `serial`.
    pub(crate) fn machine_with(&mut self, model: &str, program: &str, words: &str, mac: &str, card: &str) {
        let own = format!(
            "-accel tcg -nodefaults -no-user-config -display none -no-reboot \
             -uuid 11223344-5566-7788-99aa-{} -serial file:{} \
             -object rng-random,id=r,filename=/dev/urandom -device virtio-rng-pci,rng=r \
             -netdev tap,id=n0,ifname=tap0,script=no,downscript=no \
             -device {model},netdev=n0,mac={mac},bootindex=1{card}",
            mac.replace(':', ""),
            self.path("serial").display()
        );
        let words: Vec<&str> = words.split_whitespace().chain(own.split_whitespace()).collect();
        self.run(program, &words);
    }

    /// What the machine wrote on its serial line.
    pub(crate) fn serial(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("serial")).unwrap_or_default()).into_owned()
    }

    /// The timeline of the machine.
    pub(crate) fn timeline(&self) -> String {
        self.ctl(&["events"])
    }

    /// What the network client prints.
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, env!("CARGO_BIN_EXE_voldemortctl")]).args(words);
        String::from_utf8_lossy(&command.stdin(Stdio::null()).output().unwrap().stdout).into_owned()
    }

    /// Waits for words in the timeline.
    pub(crate) fn wait(&self, what: &str) -> String {
        self.until(what, || self.timeline())
    }

    /// Waits until words are in the timeline so often.
    pub(crate) fn wait_times(&self, what: &str, times: usize) -> String {
        let enough = || {
            let text = self.timeline();
            if text.matches(what).count() >= times { format!("{text}\nENOUGH") } else { text }
        };
        self.until("ENOUGH", enough)
    }

    pub(crate) fn wait_on_serial(&self, what: &str) -> String {
        self.until(what, || self.serial())
    }

    /// Waits until something that is looked at has these words.
    pub(crate) fn until(&self, what: &str, look: impl Fn() -> String) -> String {
        let started = Instant::now();
        loop {
            let text = look();
            if text.contains(what) {
                return text;
            }
            if started.elapsed() > PATIENCE {
                panic!("{what} did not come: {text}\n{}\n{}", self.timeline(), self.serial());
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in [self.name.clone(), format!("{}-b", self.name)] {
            let _ = Command::new("ip").args(["netns", "delete", &name]).stderr(Stdio::null()).status();
        }
    }
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

/// Expects these words in the timeline, in this order.
pub(crate) fn in_order(timeline: &str, steps: &[&str]) {
    let mut rest = timeline;
    for step in steps {
        let (_, after) = rest.split_once(step).unwrap_or_else(|| panic!("{step}: {timeline}"));
        rest = after;
    }
}
