//! Another DHCP server on the segment of the real daemon, and the modes in which it says nothing,
//! with the clients that people run.

use std::net::UdpSocket;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use voldemort::daemon::link::Interface;
use voldemort::daemon::other_servers::Watch;
use voldemort::model::Mode;

use super::daemon::{Daemon, VOLDEMORTCTL, detect, eventually};
use super::lab::mac;
use super::message::{Answer, Message};
use super::net::{Net, has, within};

const STRANGER: &str = "52:54:00:00:00:99";
pub(crate) const DNSMASQ: &str = "dnsmasq --no-daemon --port=0 --conf-file=/dev/null --dhcp-leasefile=/dev/null \
    --interface=cli --bind-interfaces --no-ping --dhcp-range=10.0.10.150,10.0.10.160,1h";

fn inventory(folder: &Path) -> String {
    let root = folder.join("inventory");
    std::fs::create_dir(&root).unwrap();
    let lab = "[subnet.lab]\ncidr = \"10.0.10.0/24\"\ndynamic = \"10.0.10.100-10.0.10.120\"\n";
    std::fs::write(root.join("lab.toml"), lab).unwrap();
    root.display().to_string()
}

/// The daemon's file with another mode.
fn in_mode(net: &Net, folder: &Path, mode: &str) -> std::path::PathBuf {
    let path = detect(net, folder);
    let text = std::fs::read_to_string(&path).unwrap();
    let changed = text.replace("mode = \"server\"", &format!("mode = \"{mode}\""));
    assert_eq!(changed == text, mode == "server", "{text}");
    std::fs::write(&path, changed).unwrap();
    path
}

fn ctl(net: &Net, words: &[&str]) -> String {
    net.server_output(&[&[VOLDEMORTCTL], words].concat())
}

/// What the broadcast of this message is answered with by `server`, if at all.
fn ask(net: &Net, message: Message, server: &str) -> Option<Answer> {
    let server = server.to_owned();
    within(&net.client, move || {
        // A child of another test may hold the last one's descriptor, until it becomes its program.
        let start = Instant::now();
        let client = loop {
            assert!(start.elapsed() < super::daemon::PATIENCE, "port 68 is in use");
            match UdpSocket::bind("0.0.0.0:68") {
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => std::thread::yield_now(),
                bound => break bound.unwrap(),
            }
        };
        client.set_broadcast(true).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        client.send_to(&message.broadcast().bytes(), "10.0.10.255:67").unwrap();
        let mut buffer = [0; 2000];
        while let Ok((length, from)) = client.recv_from(&mut buffer) {
            if from.ip().to_string() == server {
                return Some(Answer::read(&buffer[..length]));
            }
        }
        None
    })
}

/// DESIGN section 5: a person who plugs in a router must not be able to stop deployments by it, and it must
/// not go unnoticed.
#[test]
fn a_server_that_appears_is_noticed_shown_and_seen_to_go() {
    let Some(net) = Net::new().filter(|_| has("dnsmasq")) else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (in_mode(&net, folder.path(), "server"), inventory(folder.path()));
    let daemon = Daemon::start(&net, &config, &root);
    let status = || ctl(&net, &["get", "status"]);
    let events = || ctl(&net, &["events"]);
    // One that comes while it still looks around makes it step back; this one comes later.
    let alone = eventually("the first look", status, |text| text.contains("other DHCP   none"));
    assert!(alone.contains("DHCP mode server"), "{alone}");
    assert_eq!(ask(&net, Message::discover(mac(STRANGER)), "10.0.10.1").unwrap().kind(), 2);

    let other = net.run(&DNSMASQ.split_whitespace().collect::<Vec<_>>());
    // A machine takes the other's offer: that is noticed long before the next probe is due. Sent again
    // until dnsmasq is up; the daemon looks some seconds after its first probe at the earliest.
    let heard = || {
        let taken = Message::request(mac("52:54:00:00:00:98")).wants("10.0.10.150").server("10.0.10.2");
        let answer = ask(&net, taken, "10.0.10.1");
        assert!(answer.is_none(), "an answer to another's: {answer:?}");
        events()
    };
    eventually("the other server", heard, |text| {
        text.contains("another DHCP server (10.0.10.2) has appeared on srv: this daemon keeps answering")
    });
    let beside = eventually("the state", status, |text| text.contains("other DHCP   10.0.10.2 on srv"));
    assert!(beside.contains("DHCP mode server"), "{beside}");
    let json = ctl(&net, &["get", "status", "-o", "json"]);
    assert!(json.contains("\"other_servers\": [\n    \"10.0.10.2 on srv\"\n  ]"), "{json}");
    assert_eq!(ask(&net, Message::discover(mac(STRANGER)), "10.0.10.1").unwrap().kind(), 2, "it goes on");

    drop(other);
    let start = Instant::now();
    while !events().contains("DHCP server 10.0.10.2 no longer answers on srv: this daemon is alone again") {
        assert!(start.elapsed() < Duration::from_secs(90), "{}", events());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(status().contains("other DHCP   none"), "{}", status());
    assert_eq!(daemon.stop(), Some(0));
}

/// It starts beside one that answers: it steps back, says so, and does not take over in the moment that one goes.
#[test]
fn a_server_that_was_there_first_makes_it_listen() {
    let Some(net) = Net::new().filter(|_| has("dnsmasq") && has("busybox")) else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (in_mode(&net, folder.path(), "server"), inventory(folder.path()));
    let other = net.run(&DNSMASQ.split_whitespace().collect::<Vec<_>>());
    let up = || net.client_output(&["ss", "-H", "-lnu"]);
    eventually("dnsmasq", up, |text| text.contains(":67"));
    let daemon = Daemon::start(&net, &config, &root);
    let said = "another DHCP server (10.0.10.2) answers on srv: from now on only listening";
    assert!(daemon.said.iter().any(|line| line.starts_with(said)), "{:?}", daemon.said);
    let status = ctl(&net, &["get", "status"]);
    assert!(status.contains("DHCP mode listen") && status.contains("10.0.10.2 on srv"), "{status}");
    let why = "DHCP on srv only listens, because another server (10.0.10.2) answers there";
    assert!(status.contains(why), "{status}");
    drop(other);
    assert!(ask(&net, Message::discover(mac(STRANGER)), "10.0.10.1").is_none(), "it may only be restarted");
    assert_eq!(daemon.stop(), Some(0));
}

/// An established server that was there first is gone for good: it is served without a person's word, and not
/// before.
#[test]
fn who_stepped_back_serves_by_itself_when_the_other_is_gone() {
    let Some(net) = Net::new().filter(|_| has("dnsmasq")) else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let other = net.run(&DNSMASQ.split_whitespace().collect::<Vec<_>>());
    let up = || net.client_output(&["ss", "-H", "-lnu"]);
    eventually("dnsmasq", up, |text| text.contains(":67"));
    let (look, period) = (Duration::from_millis(400), Duration::from_millis(50));
    let mut other = Some(other);
    within(&net.server, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let network = Interface::find("srv", None).unwrap().into();
            let watch = Arc::new(Watch {
                network,
                configured: Mode::Server,
                mode: watch::Sender::new(Mode::Server),
                others: watch::Sender::default(),
                hint: watch::channel(0).1,
                note: Arc::new(drop),
            });
            watch.before_serving().await;
            assert!(watch.has_stepped_back());
            let keeping = watch.clone();
            let task = tokio::spawn(async move { keeping.keep(look, period).await });
            let mut others = watch.others.subscribe();
            for _ in 0..3 {
                others.changed().await.unwrap();
                let condition = watch.condition().unwrap();
                assert!(condition.contains("another server (10.0.10.2) answers there"), "{condition}");
            }
            drop(other.take());
            let gone = Instant::now();
            let mut mode = watch.mode.subscribe();
            others.wait_for(|others| others.as_ref().is_some_and(|others| others.is_empty())).await.unwrap();
            let condition = watch.condition().unwrap();
            assert!(condition.contains("no longer does: DHCP is served here"), "{condition}");
            let back = mode.wait_for(|mode| *mode == Mode::Server);
            tokio::time::timeout(Duration::from_secs(20), back).await.unwrap().unwrap();
            assert!(gone.elapsed() > look * 5, "it may only be restarted: {:?}", gone.elapsed());
            assert_eq!(watch.condition(), None);
            task.abort();
        });
    });
}

/// Both clients go without, and the timeline says what they would have got.
#[test]
fn listening_answers_no_client_and_tells_what_it_would_have() {
    let Some(net) = Net::new().filter(|_| has("udhcpc") && has("dhclient")) else { return };
    net.client_mac(STRANGER);
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (in_mode(&net, folder.path(), "listen"), inventory(folder.path()));
    let daemon = Daemon::start(&net, &config, &root);
    assert!(!net.run(&["udhcpc", "-i", "cli", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true"]).wait());
    let would = "listening only; would have offered a dynamic address of subnet lab";
    let report = |who: &str| {
        let events = || ctl(&net, &["events", "--mac", who]);
        eventually("what it would have done", events, |text| text.contains(would))
    };
    report(STRANGER);
    let other = "52:54:00:00:00:97";
    net.client_mac(other);
    let (lf, pf) = (folder.path().join("leases"), folder.path().join("pid"));
    let words = format!("timeout 6 dhclient -1 -sf /bin/true -lf {} -pf {} cli", lf.display(), pf.display());
    assert!(!net.run(&["sh", "-c", &words]).wait());
    report(other);
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    // Nor is who is already there confirmed, refused or taken back.
    for message in [
        Message::request(mac(STRANGER)).wants("10.0.10.100").server("10.0.10.1"),
        Message::request(mac(STRANGER)).wants("192.168.7.7"),
        Message::new(mac(STRANGER), 8).ciaddr("10.0.10.77"),
    ] {
        assert!(ask(&net, message, "10.0.10.1").is_none());
    }
    let leases = ctl(&net, &["get", "leases", "-o", "json"]);
    assert_eq!(
        leases.matches("\"state\": ").count(),
        leases.matches("\"fixed\"").count(),
        "nothing is promised: {leases}"
    );
    assert_eq!(daemon.stop(), Some(0));
}

/// Switched off it has not even the port, so that another server can have it.
#[test]
fn off_leaves_the_port_to_others() {
    let Some(net) = Net::new().filter(|_| has("ss")) else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (in_mode(&net, folder.path(), "off"), inventory(folder.path()));
    let daemon = Daemon::start(&net, &config, &root);
    let ports = net.server_output(&["ss", "-H", "-lnu"]);
    assert!(![":67 ", ":4011 ", ":547 "].iter().any(|port| ports.contains(port)), "{ports}");
    assert!(ports.contains(":69 "), "files are served: {ports}");
    assert!(ask(&net, Message::discover(mac(STRANGER)), "10.0.10.1").is_none());
    assert_eq!(daemon.stop(), Some(0));
}

/// A subnet's own `mode` on the wire, and an edit of it without a restart.
#[test]
fn a_subnet_has_a_mode_of_its_own() {
    let Some(net) = Net::new() else { return };
    net.client_ip(&["address", "add", "10.0.10.2/24", "dev", "cli"]);
    let folder = tempfile::tempdir().unwrap();
    let (config, root) = (in_mode(&net, folder.path(), "server"), inventory(folder.path()));
    let manifest = Path::new(&root).join("lab.toml");
    let plain = std::fs::read_to_string(&manifest).unwrap();
    let machine =
        format!("[boot.b]\nkernel = \"lab.toml\"\n[deployment.d]\nmac = \"{STRANGER}\"\nboot = \"b\"\n");
    let edit =
        |mode: &str| std::fs::write(&manifest, format!("{plain}mode = \"{mode}\"\n{machine}")).unwrap();
    let discover = || ask(&net, Message::discover(mac(STRANGER)).pxe_bios(), "10.0.10.1");
    let events = || ctl(&net, &["events", "--mac", STRANGER]);
    edit("listen");
    let daemon = Daemon::start(&net, &config, &root);
    assert!(discover().is_none());
    let would = "listening only; would have offered a dynamic address of subnet lab";
    eventually("what it would have done", events, |text| text.contains(would));

    let waiting_for = |mode: &str, right: &dyn Fn(&Option<Answer>) -> bool| {
        edit(mode);
        let start = Instant::now();
        loop {
            let answer = discover();
            if right(&answer) {
                return answer;
            }
            assert!(start.elapsed() < super::daemon::PATIENCE, "{mode}: {answer:?}");
        }
    };
    let offer = waiting_for("server", &|answer| answer.is_some()).unwrap();
    assert_eq!((offer.kind(), offer.yiaddr()), (2, super::lab::ip("10.0.10.100")));
    // Addresses are another server's affair now; where to boot from is not.
    let unaddressed =
        |answer: &Option<Answer>| answer.as_ref().is_some_and(|offer| offer.yiaddr().is_unspecified());
    let offer = waiting_for("proxy", &unaddressed).unwrap();
    assert_eq!(offer.option(60), Some(&b"PXEClient"[..]));
    waiting_for("off", &|answer| answer.is_none());
    assert_eq!(daemon.stop(), Some(0));
}
