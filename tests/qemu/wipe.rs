//! Wipes by our agent: the power fails and the daemon dies in the middle of one, and machines have odd disks.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::agent::{MEMORY, lab};
use crate::kit::kit;
use crate::lab::Lab;

const MIB: usize = 1 << 20;
const MARK: &[u8] = b"somebody's own";

/// A disk of a virtual machine.
struct Disk {
    path: PathBuf,
    serial: &'static str,
    /// Further words for QEMU: of its file, and of the device.
    drive: String,
    device: String,
}

impl Disk {
    /// One with a mark at each of these bytes.
    fn new(lab: &Lab, name: &str, serial: &'static str, bytes: usize, marks: &[usize]) -> Disk {
        let path = lab.path(name);
        let mut content = vec![0; bytes];
        for at in marks {
            content[*at..*at + MARK.len()].copy_from_slice(MARK);
        }
        std::fs::write(&path, content).unwrap();
        Disk { path, serial, drive: String::new(), device: String::new() }
    }

    fn words(&self, kind: &str) -> String {
        let Disk { path, serial, drive, device } = self;
        let id = path.file_name().unwrap().to_string_lossy();
        let path = path.display();
        format!(
            " -drive file={path},format=raw,if=none,id={id}{drive} -device {kind},drive={id},serial={serial}{device}"
        )
    }

    fn has(&self, at: usize) -> bool {
        std::fs::read(&self.path).unwrap()[at..].starts_with(MARK)
    }

    fn is_blank(&self) -> bool {
        std::fs::read(&self.path).unwrap().iter().all(|byte| *byte == 0)
    }
}

fn start(lab: &mut Lab, mac: &str, disks: &[Disk], bus: &str, kind: &str) {
    let disks: String = disks.iter().map(|disk| disk.words(kind)).collect();
    lab.machine("qemu-system-x86_64", &format!("-machine pc{MEMORY}{bus}{disks}"), mac, "");
}

fn row(lab: &Lab, kind: &str, name: &str) -> Value {
    let text = lab.ctl(&["get", kind, name, "-o", "json"]);
    let rows: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    rows[0].clone()
}

/// The machine that runs is reported by our agent, goes off, and is accepted under this name. What the agent found of it.
fn register(lab: &mut Lab, mac: &str, name: &str) -> Value {
    let own = format!("m{}", mac.replace(':', ""));
    lab.until(&own, || lab.ctl(&["get", "discovered", "-o", "name"]));
    let found = row(lab, "discovered", &own);
    lab.wait_for_off();
    let said = lab.ctl(&["register", mac, "--name", name, "-o", "json"]);
    lab.until(name, || format!("{} of {said}", lab.ctl(&["get", "machines", "-o", "name"])));
    found
}

/// Orders a wipe; what is answered.
fn wipe(lab: &Lab, name: &str) -> String {
    lab.ctl(&["wipe", name, "--yes", "-o", "json"])
}

fn verified(lab: &Lab) -> Value {
    lab.until("\"verified\": \"2", || lab.ctl(&["get", "certificates", "-o", "json"]));
    let text = lab.ctl(&["get", "certificates", "-o", "json"]);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_wipe_goes_on_after_the_daemon_dies_and_after_the_power_fails() {
    const FRONT: usize = 4096;
    const BACK: usize = 60 * MIB;
    let Some(_kit) = kit(true) else { return };
    let Some(mut lab) = lab("cut") else { return };
    let mac = "52:54:00:00:00:79";
    let mut disks = [Disk::new(&lab, "v1", "V1", 64 * MIB, &[FRONT, BACK])];
    start(&mut lab, mac, &disks, "", "virtio-blk-pci");
    register(&mut lab, mac, "box");
    let ordered = wipe(&lab, "box");
    assert!(ordered.contains("\"fencing\""), "{ordered}");

    // Zeros are written to the disk, which takes minutes.
    disks[0].drive = ",throttling.bps-write=400000".into();
    disks[0].device = ",write-zeroes=off,discard=off".into();
    start(&mut lab, mac, &disks, "", "virtio-blk-pci");
    let is_begun = || if disks[0].has(FRONT) { "" } else { "begun" }.to_owned();
    lab.until("begun", is_begun);
    lab.kill(2);
    lab.start_daemon();
    let order = row(&lab, "orders", "box");
    assert_eq!((&order["work"], &order["condition"]), (&"wiping".into(), &"well".into()), "{order:#}");
    // The agent goes on, and says so to the daemon that came after the one which ordered it.
    lab.wait("zeroout");
    assert!(disks[0].has(BACK), "it was too fast to be cut off");
    lab.kill(1);
    assert!(disks[0].has(BACK) && !disks[0].has(FRONT), "it was cut off in the middle");
    let order = row(&lab, "orders", "box");
    assert_eq!((&order["work"], &order["condition"]), (&"wiping".into(), &"well".into()), "{order:#}");
    assert!(!disks[0].is_blank());
    assert_eq!(lab.ctl(&["get", "certificates", "-o", "json"]).trim(), "[]");

    // The power is back; firmware that asks before the agent's initrd is made again is refused it, and gives up.
    lab.wait("media or secrets have changed");
    (disks[0].drive, disks[0].device) = (String::new(), String::new());
    start(&mut lab, mac, &disks, "", "virtio-blk-pci");
    let certificates = verified(&lab);
    assert_eq!(certificates.as_array().unwrap().len(), 1, "{certificates:#}");
    assert_eq!(certificates[0]["machine"], "box", "{certificates:#}");
    assert!(disks[0].is_blank(), "what was on the disk is gone");
    assert_eq!(row(&lab, "machines", "box")["state"], "free");
    assert_eq!(lab.ctl(&["get", "orders", "-o", "json"]).trim(), "[]");
}

/// A management controller of OpenIPMI (ipmi_sim(1), ipmi_lan(5)) with this address; the words that connect a machine.
fn controller(lab: &mut Lab, address: &str) -> String {
    let (script, config) = (lab.path("lan"), lab.path("lan.conf"));
    let text = format!(
        "#!/bin/sh\nshift 2\nfor what in \"$@\"; do\n    case $what in\n    ip_addr) echo ip_addr:{address} ;;\n    \
         ip_addr_src) echo ip_addr_src:static ;;\n    *mac_addr) echo $what:52:54:00:00:99:11 ;;\n    \
         *) echo $what:255.255.255.0 ;;\n    esac\ndone\n"
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let auth = ["callback", "user", "operator", "admin"];
    let auth = auth.map(|who| format!("    allowed_auths_{who} none md2 md5 straight\n")).concat();
    let lan = format!(
        "name \"m1\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 9001\n    priv_limit admin\n{auth}    \
         guid a123456789abcdefa123456789abcdef\n    lan_config_program \"{} eth0\"\n  endlan\n  \
         serial 15 127.0.0.1 9002 codec VM\n",
        script.display()
    );
    std::fs::write(&config, lan).unwrap();
    let emulated = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n";
    std::fs::write(lab.path("sim.emu"), emulated).unwrap();
    let folder = lab.path("controller");
    std::fs::create_dir(&folder).unwrap();
    let path = |name: &str| lab.path(name).display().to_string();
    let (config, emulation, state) = (path("lan.conf"), path("sim.emu"), path("controller"));
    lab.run("ipmi_sim", &["-c", &config, "-f", &emulation, "-s", &state, "-n"]);
    " -chardev socket,id=ipmi,host=127.0.0.1,port=9002,reconnect=1 -device ipmi-bmc-extern,chardev=ipmi,id=bmc \
     -device isa-ipmi-kcs,bmc=bmc"
        .to_owned()
}

fn path_of(disk: &Value) -> &Path {
    Path::new(disk["path"].as_str().unwrap())
}

#[test]
#[ignore = "takes six minutes: cargo test --test qemu wipe::odd -- --ignored"]
fn odd_disks_are_told_as_they_are_and_wiped_or_refused_by_name() {
    let Some(_kit) = kit(true) else { return };
    let Some(mut lab) = lab("odd") else { return };

    // None; and a management controller, which says where it is.
    let mac = "52:54:00:00:01:01";
    let bmc = controller(&mut lab, "10.0.99.11");
    start(&mut lab, mac, &[], &bmc, "");
    let found = register(&mut lab, mac, "diskless");
    assert_eq!(found["facts"]["bmc"], "10.0.99.11", "{found:#}");
    assert_eq!(found["facts"]["disks"], serde_json::json!([]), "{found:#}");
    let refused = wipe(&lab, "diskless");
    assert!(refused.contains("the disks of machine diskless are not known, or it has none"), "{refused}");

    // Two with one serial number, which no order can tell apart.
    let mac = "52:54:00:00:01:02";
    let disk = |lab: &Lab, name: &str, serial| Disk::new(lab, name, serial, 8 * MIB, &[4096, 5 * MIB]);
    let disks = [disk(&lab, "t1", "TWIN"), disk(&lab, "t2", "TWIN"), disk(&lab, "t3", "OTHER")];
    start(&mut lab, mac, &disks, "", "virtio-blk-pci");
    let found = register(&mut lab, mac, "twins");
    let serials: Vec<&Value> =
        found["facts"]["disks"].as_array().unwrap().iter().map(|disk| &disk["serial"]).collect();
    assert_eq!(serials, ["TWIN", "TWIN", "OTHER"], "{found:#}");
    let refused = wipe(&lab, "twins");
    assert!(refused.contains("two disks of machine twins are known by serial:TWIN"), "{refused}");
    assert!(disks.iter().all(|disk| disk.has(4096) && disk.has(5 * MIB)));

    // One that can't be written: nothing is written to the other either.
    let mac = "52:54:00:00:01:03";
    let mut disks = [disk(&lab, "r1", "LOCKED"), disk(&lab, "r2", "OPEN")];
    disks[0].drive = ",readonly=on".into();
    start(&mut lab, mac, &disks, "", "virtio-blk-pci");
    let found = register(&mut lab, mac, "locked");
    let is_locked = |disk: &Value| (disk["serial"].as_str().unwrap().to_owned(), disk["read-only"] == true);
    let read: Vec<(String, bool)> =
        found["facts"]["disks"].as_array().unwrap().iter().map(is_locked).collect();
    assert_eq!(read, [("LOCKED".into(), true), ("OPEN".into(), false)], "{found:#}");
    wipe(&lab, "locked");
    start(&mut lab, mac, &disks, "", "virtio-blk-pci");
    lab.until("\"failed\"", || row(&lab, "orders", "locked").to_string());
    let order = row(&lab, "orders", "locked");
    let trouble = order["trouble"].as_str().unwrap();
    assert!(
        trouble.contains("nothing was written") && trouble.contains("(serial LOCKED) is read-only"),
        "{trouble}"
    );
    assert!(disks.iter().all(|disk| disk.has(4096) && disk.has(5 * MIB)));
    lab.kill(0);

    // Thirty, some of which have blocks of 4096 bytes.
    let mac = "52:54:00:00:01:04";
    const SERIALS: [&str; 30] = [
        "K01", "K02", "K03", "K04", "K05", "K06", "K07", "K08", "K09", "K10", "K11", "K12", "K13", "K14",
        "K15", "K16", "K17", "K18", "K19", "K20", "K21", "K22", "K23", "K24", "K25", "K26", "K27", "K28",
        "K29", "K30",
    ];
    let mut disks = SERIALS.map(|serial| disk(&lab, serial, serial));
    for disk in &mut disks[20..] {
        disk.device = ",logical_block_size=4096,physical_block_size=4096".into();
    }
    let bus = " -device virtio-scsi-pci";
    start(&mut lab, mac, &disks, bus, "scsi-hd");
    let found = register(&mut lab, mac, "shelf");
    let seen = found["facts"]["disks"].as_array().unwrap();
    assert_eq!(seen.len(), 30, "{found:#}");
    let mut paths: Vec<&Path> = seen.iter().map(path_of).collect();
    paths.dedup();
    assert_eq!(paths.len(), 30, "{paths:?}");
    for disk in seen {
        let number: u32 = disk["serial"].as_str().unwrap()[1..].parse().unwrap();
        let block = if number > 20 { 4096 } else { 512 };
        assert_eq!((&disk["logical-block"], &disk["bytes"]), (&block.into(), &(8 * MIB).into()), "{disk:#}");
    }
    wipe(&lab, "shelf");
    start(&mut lab, mac, &disks, bus, "scsi-hd");
    let certificates = verified(&lab);
    // The order of the machine before, which failed, left one as well.
    let of_shelf = |certificate: &&Value| certificate["machine"] == "shelf";
    let certificate = certificates.as_array().unwrap().iter().find(of_shelf).unwrap();
    assert_eq!(certificate["disks"].as_array().unwrap().len(), 30, "{certificates:#}");
    assert!(disks.iter().all(Disk::is_blank), "what was on the disks is gone");
}
