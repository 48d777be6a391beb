//! DHCP with dhclient, udhcpc, a hand-made relay, and garbage.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use nix::sys::signal::Signal;
use voldemort::daemon::dhcp::{BindError, Busy, Granted, Heartbeat, Lessor, Prober, Sockets, conflicts, run};
use voldemort::daemon::link::Interface;
use voldemort::daemon::other_servers::Watch;
use voldemort::daemon::probe::probe;
use voldemort::model::Span;
use voldemort::proto::dhcp::Mode;
use voldemort::state::{Event, LeaseRequest, Stage, State};

use super::lab::{Lab, ip, mac, subnet};
use super::message::{Answer, Message};
use super::net::{Net, enter, has, within};

const FIXED: &str = "52:54:00:00:00:01";
pub(super) const STRANGER: &str = "52:54:00:00:00:99";
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A keeper that keeps everything in memory.
struct Memory {
    tables: Arc<ArcSwap<State>>,
    writer: Mutex<()>,
    events: Sender<Event>,
}

impl Lessor for Memory {
    fn lease(&self, requests: Vec<LeaseRequest>, done: impl FnOnce(Result<Granted, Busy>) + Send + 'static) {
        let _only = self.writer.lock().unwrap();
        let mut state = State::clone(&self.tables.load());
        let addresses = requests.iter().map(|request| state.lease(request).address).collect();
        self.tables.store(Arc::new(state));
        done(Ok(addresses));
    }

    fn note(&self, events: Vec<Event>) {
        for event in events {
            let _ = self.events.send(event);
        }
    }
}

/// A daemon serving a `Net`.
pub(super) struct Daemon {
    tables: Arc<ArcSwap<State>>,
    events: Receiver<Event>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Looks for addresses in use for as long as that can be done, and then for ever does not.
async fn look(interface: &Interface, prober: &Prober, keeper: &Memory) {
    let _ = conflicts(interface, prober, &keeper.tables, keeper, || {}).await;
    std::future::pending().await
}

impl Daemon {
    pub(super) fn start(net: &Net, lease: u64) -> Daemon {
        Daemon::start_as(net, lease, "srv", None, || {})
    }

    /// `prepare` runs on the daemon's thread, in its namespace.
    pub(super) fn start_as(
        net: &Net,
        lease: u64,
        interface: &'static str,
        address: Option<&'static str>,
        prepare: fn(),
    ) -> Daemon {
        let mut lab = subnet("lab", "10.0.10.0/24", &["10.0.10.100-10.0.10.110"]);
        lab.lease = Span::seconds(lease);
        let far = subnet("far", "10.0.20.0/24", &["10.0.20.100-10.0.20.110"]);
        let lab = Lab::new(vec![lab, far]).machine("web", &[FIXED]);
        let state = lab.deployment("web", "lab", Some("10.0.10.21")).state("10.0.10.1");
        let tables = Arc::new(ArcSwap::from_pointee(state));
        let (sender, events) = channel();
        let keeper = Memory { tables: tables.clone(), writer: Mutex::new(()), events: sender };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (up, is_up) = channel();
        let (namespace, shared) = (net.server.clone(), tables.clone());
        let thread = std::thread::spawn(move || {
            enter(&namespace);
            prepare();
            runtime().block_on(async {
                let interface = Interface::find(interface, address.map(ip)).unwrap();
                let sockets = Sockets::open(vec![interface.clone().into()], Mode::Server).unwrap();
                let (prober, heartbeat) = (Prober::default(), Heartbeat::default());
                let (_mode, modes) = tokio::sync::watch::channel(Mode::Server);
                let keeper = Arc::new(keeper);
                up.send(()).unwrap();
                tokio::select! {
                    result = run(sockets, vec![modes], vec![prober.clone()], shared, keeper.clone(), heartbeat) => {
                        result.unwrap();
                    }
                    () = look(&interface, &prober, &keeper) => {}
                    _ = stopped => {}
                }
            });
        });
        is_up.recv_timeout(PATIENCE).unwrap();
        Daemon { tables, events, stop: Some(stop), thread: Some(thread) }
    }

    /// The next event of this stage; others before it are let go.
    pub(super) fn wait(&self, stage: Stage) -> Event {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).unwrap_or_else(|_| panic!("no {stage} came"));
            if event.stage == stage {
                return event;
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What a client runs to take its address: both clients say it in their own variables.
const SCRIPT: &str = r#"#!/bin/sh
case "${reason:-$1}" in
bound|renew|BOUND|RENEW|REBIND|REBOOT)
    ip address replace "${ip:-$new_ip_address}/24" dev "$interface";;
deconfig|PREINIT)
    ip link set "$interface" up;;
RELEASE|EXPIRE)
    ip address flush dev "$interface";;
esac
exit 0
"#;

pub(super) struct Client {
    folder: tempfile::TempDir,
}

impl Client {
    pub(super) fn new() -> Client {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, SCRIPT).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        Client { folder }
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().into()
    }
}

#[test]
fn udhcpc_gets_a_dynamic_address_renews_and_gives_it_back() {
    let Some(net) = Net::new().filter(|_| has("udhcpc")) else { return };
    net.client_mac(STRANGER);
    let daemon = Daemon::start(&net, 3600);
    let client = Client::new();
    let running = net.run(&["udhcpc", "-f", "-i", "cli", "-R", "-s", &client.path("script")]);
    assert!(daemon.wait(Stage::Offer).text.starts_with("offered 10.0.10.100 (unknown machine"));
    assert_eq!(daemon.wait(Stage::Ack).address, Some(ip("10.0.10.100").into()));
    // It takes the signal once it runs its script; until then the address is not there.
    let end = Instant::now() + PATIENCE;
    while !net.client_addresses().contains("10.0.10.100/24") {
        assert!(Instant::now() < end, "the address was not taken");
        std::thread::yield_now();
    }
    running.signal(Signal::SIGUSR1);
    assert_eq!(daemon.wait(Stage::Ack).address, Some(ip("10.0.10.100").into()));
    running.signal(Signal::SIGUSR2);
    assert_eq!(daemon.wait(Stage::Silence).text, "it gave back 10.0.10.100");
    let state = daemon.tables.load();
    assert!(state.leases().binding(mac(STRANGER)).is_some());
    assert!(state.leases().iter().all(|lease| lease.state == voldemort::state::LeaseState::Released));
}

#[test]
fn dhclient_gets_its_fixed_address_renews_and_gives_it_back() {
    let Some(net) = Net::new().filter(|_| has("dhclient")) else { return };
    net.client_mac(FIXED);
    let daemon = Daemon::start(&net, 8);
    let client = Client::new();
    let (script, leases, pid) = (client.path("script"), client.path("leases"), client.path("pid"));
    let common = ["-sf", &script, "-lf", &leases, "-pf", &pid, "cli"];
    let running = net.run(&[&["dhclient", "-d", "-1", "-v"], &common[..]].concat());
    let offer = daemon.wait(Stage::Offer);
    assert_eq!(offer.text, "offered 10.0.10.21 (deployment web, lab.toml:20:1)");
    assert_eq!(daemon.wait(Stage::Ack).address, Some(ip("10.0.10.21").into()));
    assert_eq!(daemon.wait(Stage::Ack).address, Some(ip("10.0.10.21").into()), "the renewal at half of 8 s");
    assert!(net.client_addresses().contains("10.0.10.21/24"));
    assert!(net.run(&[&["dhclient", "-r"], &common[..]].concat()).wait());
    assert_eq!(daemon.wait(Stage::Silence).text, "it gave back 10.0.10.21, which stays its fixed address");
    assert_eq!(daemon.tables.load().leases().iter().count(), 0);
    drop(running);
}

#[test]
fn a_server_that_appears_later_is_told_of_and_stops_nothing() {
    let Some(net) = Net::new() else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let (sender, events) = channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mode = tokio::sync::watch::Sender::new(Mode::Server);
    let (namespace, mine) = (net.client.clone(), mode.clone());
    let looker = std::thread::spawn(move || {
        enter(&namespace);
        runtime().block_on(async {
            let note = Arc::new(move |event: Event| drop(sender.send(event)));
            let interface = Interface::find("cli", None).unwrap();
            let (others, hint) = (Default::default(), tokio::sync::watch::channel(0).1);
            let network = interface.into();
            let watch = Watch { network, configured: Mode::Server, mode: mine, others, hint, note };
            watch.before_serving().await;
            let look = Duration::from_millis(500);
            tokio::select! {
                () = watch.keep(look, Duration::from_millis(50)) => {}
                _ = stopped => {}
            }
        });
    });
    // The first probes find no server: only then does the other server begin.
    assert!(events.recv_timeout(Duration::from_millis(1500)).is_err());
    let other = Daemon::start(&net, 3600);
    let report = events.recv_timeout(PATIENCE).unwrap();
    assert!(
        report.text.starts_with("another DHCP server (10.0.10.1) has appeared on cli: "),
        "{}",
        report.text
    );
    assert_eq!(*mode.borrow(), Mode::Server);
    drop(other);
    let report = events.recv_timeout(PATIENCE).unwrap();
    assert!(report.text.starts_with("DHCP server 10.0.10.1 no longer answers on cli"), "{}", report.text);
    drop(stop);
    looker.join().unwrap();
}

#[test]
fn an_address_that_somebody_uses_already_is_put_aside() {
    let Some(net) = Net::new() else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    net.client_ip(&["address", "add", "10.0.10.100/24", "dev", "cli"]);
    let daemon = Daemon::start(&net, 3600);
    within(&net.client, move || {
        let client = UdpSocket::bind("0.0.0.0:68").unwrap();
        client.set_broadcast(true).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let ask = |message: Message| {
            client.send_to(&message.broadcast().bytes(), "10.0.10.255:67").unwrap();
            let mut buffer = [0; 2000];
            let (length, _) = client.recv_from(&mut buffer).unwrap();
            Answer::read(&buffer[..length])
        };
        assert_eq!(ask(Message::discover(mac(STRANGER))).yiaddr(), ip("10.0.10.100"), "at once");
        let report = daemon.wait(Stage::Daemon);
        assert!(
            report.text.starts_with("10.0.10.100, offered to 52:54:00:00:00:99, is used by "),
            "{}",
            report.text
        );
        let start = Instant::now();
        while daemon.tables.load().leases().stored(ip("10.0.10.100")).is_none() {
            assert!(start.elapsed() < PATIENCE);
        }
        let request = Message::request(mac(STRANGER)).wants("10.0.10.100").server("10.0.10.1");
        assert_eq!(ask(request).kind(), 6);
        assert_eq!(ask(Message::discover(mac(STRANGER))).yiaddr(), ip("10.0.10.101"));
    });
}

#[test]
fn a_relay_is_answered_and_garbage_does_no_harm() {
    let Some(net) = Net::new() else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    net.client_ip(&["address", "add", "10.0.20.1/24", "dev", "lo"]);
    net.server_ip(&["route", "add", "10.0.20.0/24", "via", "10.0.10.2"]);
    let daemon = Daemon::start(&net, 3600);
    within(&net.client, || {
        let relay = UdpSocket::bind("10.0.20.1:67").unwrap();
        relay.set_read_timeout(Some(PATIENCE)).unwrap();
        let good = Message::discover(mac(STRANGER)).relay("10.0.20.1").option(82, &[1, 3, 9, 9, 9]);
        for length in 0..400usize {
            let noise: Vec<u8> = (0..length).map(|at| (at * 31 + length * 17) as u8).collect();
            relay.send_to(&noise, "10.0.10.1:67").unwrap();
            let good = good.bytes();
            relay.send_to(&good[..length.min(242)], "10.0.10.1:67").unwrap();
        }
        relay.send_to(&good.bytes(), "10.0.10.1:67").unwrap();
        let mut buffer = [0; 2000];
        let (length, from) = relay.recv_from(&mut buffer).unwrap();
        assert_eq!(from, "10.0.10.1:67".parse().unwrap());
        let offer = Answer::read(&buffer[..length]);
        assert_eq!((offer.kind(), offer.yiaddr()), (2, ip("10.0.20.100")));
        assert_eq!(offer.option(82), Some(&[1, 3, 9, 9, 9][..]));
    });
    assert_eq!(daemon.wait(Stage::Offer).address, Some(ip("10.0.20.100").into()));
}

#[test]
fn a_port_in_use_is_named() {
    let Some(net) = Net::new() else { return };
    within(&net.server, || {
        let _other = UdpSocket::bind("0.0.0.0:67").unwrap();
        let interface = Interface::find("srv", None).unwrap();
        let open = || Sockets::open(vec![interface.clone().into()], Mode::Server);
        let error = runtime().block_on(async { open() }).unwrap_err();
        assert!(matches!(error, BindError::InUse(67)));
        assert!(error.to_string().starts_with("UDP port 67 is in use by another program: find it with"));
    });
}

#[test]
fn a_probe_finds_other_servers_and_not_ourselves() {
    let Some(net) = Net::new() else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let daemon = Daemon::start(&net, 3600);
    let look = |interface: &str| {
        let interface = Interface::find(interface, None).unwrap();
        runtime().block_on(probe(&interface, Duration::from_secs(2))).unwrap()
    };
    let found = within(&net.client, || look("cli"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].server, found[0].offered), (ip("10.0.10.1"), ip("10.0.10.100")));
    assert_eq!(found[0].netmask, Some(ip("255.255.255.0")));
    assert_eq!(within(&net.server, || look("srv")), []);
    drop(daemon);
}

#[test]
fn a_relay_is_answered_by_whatever_interface_it_reaches_us() {
    let Some(net) = Net::new() else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    net.client_ip(&["route", "add", "10.0.30.1/32", "via", "10.0.10.1"]);
    net.server_ip(&["address", "add", "10.0.30.1/32", "dev", "lo"]);
    let daemon = Daemon::start_as(&net, 3600, "lo", Some("10.0.30.1"), || {});
    within(&net.client, || {
        let relay = UdpSocket::bind("10.0.10.2:67").unwrap();
        relay.set_broadcast(true).unwrap();
        relay.set_read_timeout(Some(PATIENCE)).unwrap();
        let ours = Message::discover(mac(STRANGER)).relay("10.0.10.2");
        relay.send_to(&Message::discover(mac(FIXED)).bytes(), "10.0.10.255:67").unwrap();
        relay.send_to(&ours.bytes(), "10.0.30.1:67").unwrap();
        let mut buffer = [0; 2000];
        let (length, from) = relay.recv_from(&mut buffer).unwrap();
        assert_eq!(from, "10.0.30.1:67".parse().unwrap(), "from the address that was asked");
        assert_eq!(Answer::read(&buffer[..length]).yiaddr(), ip("10.0.10.100"));
    });
    let only = daemon.wait(Stage::Offer);
    assert_eq!(only.mac, Some(mac(STRANGER)), "broadcasts of networks that are not ours get no answer");
}

#[test]
fn without_raw_sockets_answers_are_broadcast() {
    let Some(net) = Net::new() else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let daemon = Daemon::start_as(&net, 3600, "srv", None, drop_net_raw);
    within(&net.client, || {
        let client = UdpSocket::bind("0.0.0.0:68").unwrap();
        client.set_broadcast(true).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(&Message::discover(mac(FIXED)).bytes(), "10.0.10.255:67").unwrap();
        let mut buffer = [0; 2000];
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(from, "10.0.10.1:67".parse().unwrap());
        assert_eq!(Answer::read(&buffer[..length]).yiaddr(), ip("10.0.10.21"));
    });
    assert_eq!(daemon.wait(Stage::Offer).mac, Some(mac(FIXED)));
}

/// Takes CAP_NET_RAW from this thread.
fn drop_net_raw() {
    const VERSION_3: u32 = 0x2008_0522;
    const NET_RAW: u32 = 13;
    let header = [VERSION_3, 0];
    // Effective, permitted, inheritable; low words, then high words.
    let mut sets = [0u32; 6];
    // SAFETY: both arrays have the sizes that version 3 of the interface reads and writes.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()), 0);
        sets[0] &= !(1 << NET_RAW);
        sets[1] &= !(1 << NET_RAW);
        assert_eq!(libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()), 0);
    }
}
