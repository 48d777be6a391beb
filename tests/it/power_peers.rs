//! The drivers against controllers of others: `ipmi_sim` of OpenIPMI, which starts and stops a process in the place of a
//! machine, and the Redfish emulator of sushy-tools.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use voldemort::model::{Power, PowerKind, PowerState, PowerStep};
use voldemort::power::Fault;

use super::power_switch::{Metal, limits, power, script, tools};

/// Whether a program, or a module of Python, is there; in CI it has to be.
fn has(program: &str, arguments: &[&str], package: &str) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok();
    let works = arguments.first() != Some(&"-c") || command.status().is_ok_and(|status| status.success());
    if found && works {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {package} is missing");
    eprintln!("skipped: {package} is not installed");
    false
}

/// A peer, ended with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(what: &str, right: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !right().await {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What `ipmi_sim` calls: the machine is a process, and its next boot a word in a file.
fn chassis(folder: &Path) -> std::path::PathBuf {
    let text = r#"cd "$(dirname "$0")"
is_on() { [ -f pid ] && kill -0 "$(cat pid)" 2>/dev/null; }
op=$2
shift 2
if [ "$op" = get ]; then
    for what in "$@"; do
        case $what in
        power) is_on && echo power:1 || echo power:0 ;;
        boot) echo "boot:$(cat boot 2>/dev/null || echo default)" ;;
        *) echo "$what:0" ;;
        esac
    done
else
    while [ $# -ge 2 ]; do
        case $1:$2 in
        power:1) is_on || { sleep 600 >/dev/null 2>&1 & echo $! > pid; } ;;
        power:0) is_on && kill "$(cat pid)"; rm -f pid ;;
        boot:*) echo "$2" > boot ;;
        esac
        shift 2
    done
fi
exit 0"#;
    script(folder, "chassis", text)
}

/// `ipmi_sim` on a free port.
fn ipmi_sim(folder: &Path) -> (Peer, u16) {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let auth = ["callback", "user", "operator", "admin"];
    let auth = auth.map(|who| format!("    allowed_auths_{who} none md2 md5 straight\n")).concat();
    let lan = format!(
        "name \"m1\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n{auth}    \
         guid a123456789abcdefa123456789abcdef\n  endlan\n  chassis_control \"{} 0x20\"\n  \
         user 2 true \"operator\" \"calvin\" admin 10 none md2 md5 straight\n",
        chassis(folder).display()
    );
    std::fs::write(folder.join("lan.conf"), lan).unwrap();
    let emulated = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n";
    std::fs::write(folder.join("sim.emu"), emulated).unwrap();
    std::fs::create_dir(folder.join("state")).unwrap();
    let mut command = Command::new("ipmi_sim");
    command.args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n"]).current_dir(folder);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    (Peer(child), port)
}

#[tokio::test]
async fn ipmi_starts_and_stops_a_process_of_openipmi() {
    if !has("ipmi_sim", &["-h"], "openipmi") || !has("ipmitool", &["-V"], "ipmitool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_peer, port) = ipmi_sim(folder.path());
    let power = Power { address: Some(format!("127.0.0.1:{port}").into()), ..power(PowerKind::Ipmi) };
    let metal = Metal::new(power.clone(), "operator:calvin", tools(limits()));
    // It has no SHA-256: the second cipher suite is found.
    until("it answers", async || metal.read().await == Ok(PowerState::Off)).await;
    assert_eq!(metal.send(PowerStep::BootOnce).await, Ok(()));
    assert_eq!(std::fs::read_to_string(folder.path().join("boot")).unwrap(), "pxe\n");
    assert_eq!(metal.send(PowerStep::On).await, Ok(()));
    assert_eq!(metal.read().await, Ok(PowerState::On));
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    assert!(Path::new(&format!("/proc/{}", pid.trim())).exists());
    assert_eq!(metal.send(PowerStep::Off).await, Ok(()));
    assert_eq!(metal.read().await, Ok(PowerState::Off));
    let wrong = Metal::new(power, "operator:hobbes", tools(limits())).read().await.unwrap_err();
    assert!(wrong.is_login(), "{wrong}");
}

#[tokio::test]
async fn redfish_switches_a_machine_of_sushy_tools() {
    if !has("python3", &["-c", "import sushy_tools.emulator.main"], "sushy-tools (PyPI)") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_FAKE_SYSTEMS = [{\n    \
                  'uuid': 'da69abcc-dae0-4913-9a7b-d344043097c0', 'name': 'm1', 'power_state': 'Off',\n    \
                  'nics': [{'mac': '52:54:00:aa:00:01', 'ip': '10.0.0.5'}]}]\n";
    let path = folder.path().join("sushy.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new("python3");
    command
        .args(["-m", "sushy_tools.emulator.main", "--fake", "-p", &port.to_string(), "--config"])
        .arg(&path);
    command.env("TMPDIR", folder.path());
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _peer = Peer(child);
    until("it listens", async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let power = Power { url: Some(format!("http://127.0.0.1:{port}").into()), ..power(PowerKind::Redfish) };
    let metal = Metal::new(power, "", tools(limits()));
    assert_eq!(metal.read().await, Ok(PowerState::Off));
    assert_eq!(metal.send(PowerStep::BootOnce).await, Ok(()));
    assert!(metal.lasts().await, "it shows Continuous whatever was asked for");
    assert_eq!(metal.send(PowerStep::On).await, Ok(()));
    until("it is on, some seconds later", async || metal.read().await == Ok(PowerState::On)).await;
    assert_eq!(metal.send(PowerStep::ClearBoot).await, Ok(()));
    assert!(!metal.lasts().await);
    assert_eq!(metal.send(PowerStep::Off).await, Ok(()));
    until("it is off", async || metal.read().await == Ok(PowerState::Off)).await;
    let away =
        Power { url: Some(format!("http://127.0.0.1:{port}/redfish/v1/Systems/none").into()), ..metal.power };
    let fault = Metal::new(away, "", tools(limits())).read().await.unwrap_err();
    assert!(matches!(fault, Fault::Missing(_)), "{fault}");
}

/// What the page on power shows is accepted, by `check` and by the daemon.
#[test]
fn the_page_on_power_shows_what_works() {
    use voldemort::cli::check::check;
    use voldemort::config::Config;
    use voldemort::desired::{Media, Options};
    use voldemort::media::Shelf;

    const PAGE: &str = include_str!("../../docs/power.md");
    // Behind `toml` may stand what kind of block it is.
    let block = |rest: &'static str| rest.split_once('\n').unwrap().1.split("```").next().unwrap();
    let blocks: Vec<&str> = PAGE.split("```toml").skip(1).map(block).collect();
    let [manifests, settings] = blocks.as_slice() else { panic!("{blocks:?}") };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    let sealed = include_str!("../golden/plan/many/before/secrets/root-password.age");
    std::fs::write(folder.path().join("secrets/bmc-rack1.age"), sealed).unwrap();
    std::fs::write(folder.path().join("power.toml"), manifests).unwrap();
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let loaded = check(folder.path(), &Shelf::new(Vec::new(), None), &options).unwrap();
    assert_eq!(loaded.errors(), 0, "{}", loaded.report());
    let kinds: Vec<_> =
        loaded.desired.machines.values().filter_map(|one| Some(one.power.as_ref()?.kind)).collect();
    assert_eq!(kinds, PowerKind::ALL, "an example of each kind");
    let settings = format!("network = {{ interface = 'e', address = '10.0.0.1' }}\n{settings}");
    let config = Config::parse(&settings, "f").unwrap();
    assert!(config.power.keys().any(|name| name.as_str() == "pdu"));
}
