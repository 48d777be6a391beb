//! Our agent on many machines at a time: they are discovered, wait for orders, and send what their consoles show.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use voldemort::api::agent::{CommandLine, Hello};
use voldemort::model::Firmware;
use voldemort::model::facts::{DiskFacts, Facts, FirmwareMode, Nic};
use voldemort::walk::client::Sender;

use super::boots::{Http, Relay};
use super::lab::{self, DAEMON, Server};

const AGENTS: u32 = 1_000;
/// What they may take of the daemon's memory, in MB.
const TARGET: f64 = 150.0;
/// How often each asks for an order, how long it waits for one, in seconds, and what it shows in between.
const ROUNDS: u32 = 3;
const WAIT: u32 = 10;
const LINES: usize = 200;

pub(crate) const MANIFEST: &str = r#"
[subnet.lab]
cidr    = "10.1.0.0/16"
gateway = "10.1.0.1"
dynamic = "10.1.100.0-10.1.119.255"
unknown = "discover"
[boot.agent]
kernel  = "files/vmlinuz"
initrd  = ["files/initrd.gz"]
cmdline = ["console=ttyS0"]
"#;
pub(crate) const SETTINGS: &str = "format = 1\n[agent]\nboot = { x86_64 = \"agent\" }\n";

pub(crate) fn run(daemon: &Server) {
    println!("{AGENTS} agents at once (target < {TARGET} MB more)");
    let idle = daemon.measure(|| {
        std::thread::sleep(Duration::from_secs(3));
        1.0
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let figure = daemon.measure(|| runtime.block_on(all()) as f64);
    let more = figure.memory - idle.memory;
    let verdict = if more < TARGET { "reached" } else { "NOT REACHED" };
    println!(
        "  {:.1} MB idle, {:.1} MB at most, {more:.1} MB more, {:.0} us each, {verdict}",
        idle.memory, figure.memory, figure.cost
    );
}

/// How many came through.
async fn all() -> usize {
    let relay = Relay::open().await;
    let mut agents = JoinSet::new();
    for machine in 0..AGENTS {
        let relay = Arc::clone(&relay);
        agents.spawn(async move { agent(&relay, machine).await });
    }
    let outcomes = agents.join_all().await;
    let failures: Vec<&String> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    if let Some(one) = failures.first() {
        println!("  {} agents FAILED, the first: {one}", failures.len());
    }
    outcomes.len() - failures.len()
}

async fn agent(relay: &Relay, machine: u32) -> Result<(), String> {
    let lease = relay.configure(machine, Firmware::Uefi, Sender::Ipxe).await?;
    let IpAddr::V4(address) = lease.address else { return Err("it has an IPv6 address".into()) };
    let mut http = Http::connect_from(address).await?;
    let script = http.get("GET", &lease.file, "").await?;
    let script = String::from_utf8_lossy(&script).into_owned();
    let line: CommandLine = script.parse().map_err(|error| format!("{error}: {script}"))?;
    let hello = Hello {
        version: "1".into(),
        boot_id: format!("b{machine}"),
        card: lab::mac(machine).to_string(),
        facts: facts(machine),
    };
    let said = json!(hello).to_string();
    let welcome = http.get("POST", &path("hello"), &with(&line.token, Some(&said))).await?;
    let welcome: Value = serde_json::from_slice(&welcome).map_err(|error| error.to_string())?;
    let session = welcome["session"].as_str().ok_or("there is no session")?.to_owned();
    for round in 0..ROUNDS {
        let shown =
            |at| format!("[{round}.{at:06}] driver {at} of machine {machine} found its device at an address");
        let lines: Vec<String> = (0..LINES).map(shown).collect();
        let log = json!({ "lines": lines, "dropped": 0 }).to_string();
        http.get("POST", &path("log"), &with(&session, Some(&log))).await?;
        http.get("GET", &path(&format!("order?wait={WAIT}")), &with(&session, None)).await?;
    }
    Ok(())
}

fn path(what: &str) -> String {
    format!("http://{DAEMON}/agent/v1/{what}")
}

/// The headers of a request, with what is behind them.
fn with(bearer: &str, body: Option<&str>) -> String {
    let length = body.map_or(String::new(), |body| format!("Content-Length: {}\r\n", body.len()));
    let body = body.map_or(String::new(), |body| format!("\r\n{body}"));
    format!("Authorization: Bearer {bearer}\r\n{length}{body}")
}

/// A server with twelve disks and four cards; the disks are blank, so that it waits in our agent.
fn facts(machine: u32) -> Facts {
    let disk = |at: u32| DiskFacts {
        path: format!("/dev/nvme{at}n1"),
        model: Some("A disk of the usual kind".into()),
        serial: Some(format!("S{machine:06}-{at}")),
        wwn: Some(format!("eui.0025388b{machine:08x}{at:02x}")),
        bytes: 3_840_755_982_336,
        blank: true,
        ..DiskFacts::default()
    };
    let nic = |at: u32| Nic {
        name: format!("eth{at}"),
        mac: lab::mac(machine + at * 0x1_0000).to_string(),
        driver: Some("mlx5_core".into()),
        carrier: true,
        ..Nic::default()
    };
    Facts {
        arch: "x86_64".into(),
        firmware: FirmwareMode::Uefi,
        vendor: Some("ACME".into()),
        product: Some("Box 1".into()),
        serial: Some(format!("A{machine:06}")),
        memory: 256 << 30,
        disks: (0..12).map(disk).collect(),
        nics: (0..4).map(nic).collect(),
        ..Facts::default()
    }
}
