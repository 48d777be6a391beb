//! Management controllers, good and bad, and the reader of power states; and a large number of them, as the
//! daemon polls them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use voldemort::api::resource::{PowerShown, drift, machine};
use voldemort::daemon::effect::{PowerReads, run};
use voldemort::daemon::keeper::Keeper;
use voldemort::desired::{Media, Options};
use voldemort::inventory::{Depth, load};
use voldemort::manifest::Environment;
use voldemort::media::Shelf;
use voldemort::model::{Name, Power, PowerKind, PowerState, Span, hex};
use voldemort::plan::Consent;
use voldemort::plan::Proposal;
use voldemort::power::{Fault, Limits, Login, Question, Read, Tools, Trust, driver};
use voldemort::state::effect::TaskOutcome;
use voldemort::state::outbox::TaskKind;
use voldemort::state::schedule::Pace;
use voldemort::state::{DriftKind, Outcome, Permit, PermitStep, Report, Secrets, Server, State};
use voldemort::store::Store;

/// What a controller does with a request.
#[derive(Clone)]
enum Reply {
    /// Status and further headers, body.
    Says(String, Vec<u8>),
    Hangs,
    /// A byte from time to time.
    Drips,
    /// More and more.
    Floods,
    FloodsHead,
    Closes,
}

fn json(text: &str) -> Reply {
    Reply::Says("200 OK\r\nContent-Type: application/json".into(), text.into())
}

fn status(line: &str) -> Reply {
    Reply::Says(line.into(), Vec::new())
}

type Manner = dyn Fn(SocketAddr, &str, &str) -> Reply + Send + Sync;

/// Listens and writes down what it was asked.
struct Fake {
    address: SocketAddr,
    /// Path and `Authorization`.
    seen: Arc<Mutex<Vec<(SocketAddr, String, String)>>>,
    most: Arc<AtomicUsize>,
}

impl Fake {
    async fn start(
        tls: Option<TlsAcceptor>,
        manner: impl Fn(SocketAddr, &str, &str) -> Reply + Send + Sync + 'static,
    ) -> Fake {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let manner: Arc<Manner> = Arc::new(manner);
        let fake = Fake { address, seen: seen.clone(), most: most.clone() };
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let own = tcp.local_addr().unwrap();
                let (tls, manner, seen) = (tls.clone(), manner.clone(), seen.clone());
                let (most, now) = (most.clone(), now.clone());
                tokio::spawn(async move {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    let here = Here(now);
                    let _ = match tls {
                        None => serve(tcp, own, &*manner, &seen, here).await,
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(stream) => serve(stream, own, &*manner, &seen, here).await,
                            Err(_) => Ok(()),
                        },
                    };
                });
            }
        });
        fake
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn seen(&self) -> Vec<(SocketAddr, String, String)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|(_, path, _)| path).collect()
    }
}

/// A client that is being answered.
struct Here(Arc<AtomicUsize>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    own: SocketAddr,
    manner: &Manner,
    seen: &Mutex<Vec<(SocketAddr, String, String)>>,
    here: Here,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut path, mut authorization) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.split(' ').next().unwrap().to_owned();
        }
        if let Some(rest) = line.to_ascii_lowercase().strip_prefix("authorization: ") {
            authorization = line[line.len() - rest.len()..].trim().to_owned();
        }
    }
    seen.lock().unwrap().push((own, path.clone(), authorization.clone()));
    match manner(own, &path, &authorization) {
        Reply::Says(head, body) => {
            let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
            // The client may be gone before this continues.
            drop(here);
            stream.write_all(&[head.as_bytes(), &body].concat()).await?;
            stream.flush().await?;
        }
        Reply::Hangs => {
            // Until the client gives up, which is noticed here later.
            drop(here);
            stream.read_line(&mut String::new()).await?;
        }
        Reply::Drips => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await?;
            loop {
                stream.write_all(b" ").await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Reply::Floods => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(&[b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat()).await?;
            }
        }
        Reply::FloodsHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(&[b"X-Y: ", &[b'x'; 8192][..], b"\r\n"].concat()).await?;
            }
        }
        Reply::Closes => {}
    }
    stream.shutdown().await
}

const USER: &str = "Basic cm9vdDpjYWx2aW4="; // root:calvin

/// A controller of one system, as they are to be.
fn well(state: &str) -> impl Fn(SocketAddr, &str, &str) -> Reply + Send + Sync + 'static {
    let state = format!(r#"{{"Id":"1","PowerState":"{state}","Boot":{{}}}}"#);
    move |_, path, user| match (path, user) {
        ("/redfish/v1/", _) => json(r#"{"Systems":{"@odata.id":"/redfish/v1/Systems"}}"#),
        (_, user) if user != USER => status("401 Unauthorized"),
        ("/redfish/v1/Systems", _) => json(r#"{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}"#),
        ("/redfish/v1/Systems/1", _) => json(&state),
        _ => status("404 Not Found"),
    }
}

/// The same that answers `path` otherwise.
fn but(path: &'static str, reply: Reply) -> impl Fn(SocketAddr, &str, &str) -> Reply + Send + Sync + 'static {
    let well = well("On");
    move |own, asked, user| if asked == path { reply.clone() } else { well(own, asked, user) }
}

fn redfish(url: &str) -> Power {
    Power {
        kind: PowerKind::Redfish,
        url: Some(url.into()),
        address: None,
        command: None,
        credentials: None,
        fingerprint: None,
    }
}

fn quick() -> Limits {
    Limits { connect: Duration::from_secs(5), whole: Duration::from_millis(400), body: 1 << 16 }
}

fn patient() -> Limits {
    Limits { whole: Duration::from_secs(20), ..quick() }
}

fn tools(limits: Limits) -> Tools {
    Tools::new(Trust::of_host(), limits, BTreeMap::new())
}

async fn read(
    power: &Power,
    login: Option<&Login>,
    system: Option<Arc<str>>,
    tools: &Tools,
) -> Result<Read, Fault> {
    let machine = name("m1");
    let question =
        Question { machine: &machine, macs: &[], networks: &[], uefi: None, power, login, system, tools };
    driver(power.kind).read(question).await
}

async fn ask(power: &Power, login: &str, limits: Limits) -> Result<PowerState, Fault> {
    let login = Login::parse(login);
    read(power, login.as_ref(), None, &tools(limits)).await.map(|read| read.state)
}

#[tokio::test]
async fn a_power_state_takes_three_requests_and_then_one() {
    for (word, state) in [
        ("On", PowerState::On),
        ("Off", PowerState::Off),
        ("PoweringOn", PowerState::PoweringOn),
        ("PoweringOff", PowerState::PoweringOff),
        ("Paused", PowerState::Paused),
    ] {
        let fake = Fake::start(None, well(word)).await;
        let (power, tools) = (redfish(&fake.url()), tools(patient()));
        let login = Login::parse("root:calvin\n");
        let first = read(&power, login.as_ref(), None, &tools).await.unwrap();
        assert_eq!(first, Read { state, system: Some("/redfish/v1/Systems/1".into()) });
        let users: Vec<bool> = fake.seen().iter().map(|(_, _, user)| user == USER).collect();
        assert_eq!(users, [false, true, true], "the root is read without saying who asks");
        let again = read(&power, login.as_ref(), first.system, &tools).await.unwrap();
        assert_eq!((again.state, fake.paths()), (state, vec!["/redfish/v1/Systems/1".to_owned()]));
        // After an update of its firmware the system has another name.
        let moved = read(&power, login.as_ref(), Some("/redfish/v1/Systems/old".into()), &tools).await;
        assert_eq!((moved.unwrap().state, fake.paths().len()), (state, 3));
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    const SYSTEM: &str = "/redfish/v1/Systems/1";
    const SYSTEMS: &str = "/redfish/v1/Systems";
    const ROOT: &str = "/redfish/v1/";
    let html = || Reply::Says("200 OK\r\nContent-Type: text/html".into(), b"<html>".to_vec());
    let deep = [b"[".repeat(5000), b"]".repeat(5000)].concat();
    let cases: Vec<(&str, Reply, &str)> = vec![
        (ROOT, html(), "the answer for /redfish/v1/ is not JSON but text/html"),
        (ROOT, Reply::Says("200 OK".into(), deep), "is not JSON but of no known kind"),
        (ROOT, json("{}"), "is not valid Redfish: it has no Systems"),
        (ROOT, json("[]"), "it has no Systems"),
        (ROOT, json(r#"{"Systems":{"@odata.id":"https://evil/"}}"#), "it has no Systems"),
        (ROOT, status("404 Not Found"), "has no /redfish/v1/ (404): does it support Redfish?"),
        (ROOT, status("301 Moved\r\nLocation: /redfish/v1/"), "redirects /redfish/v1/ to /redfish/v1/"),
        (ROOT, status("308 Moved\r\nLocation: http://evil/"), "redirects are not followed"),
        (ROOT, status("204 No Content"), "answered 204 for /redfish/v1/"),
        (ROOT, Reply::Closes, "the answer for /redfish/v1/ broke off"),
        (ROOT, Reply::Says("BLAH".into(), vec![]), "the answer for /redfish/v1/ broke off"),
        (ROOT, Reply::FloodsHead, "the answer for /redfish/v1/ broke off"),
        (SYSTEMS, json(r#"{"Members":[]}"#), "has no system"),
        (SYSTEMS, json(r#"{"Members":7}"#), "it has no Members"),
        (SYSTEMS, json(r#"{"Members":[{}]}"#), "its member has no address"),
        (
            SYSTEMS,
            json(
                r#"{"Members":[{"@odata.id":"/redfish/v1/Systems/A"},{"@odata.id":"/redfish/v1/Systems/B"}]}"#,
            ),
            "has 2 systems: name one in the url, as in http",
        ),
        (SYSTEM, json("{}"), "it has no PowerState"),
        (SYSTEM, json(r#"{"PowerState":null}"#), "its PowerState is null"),
        (SYSTEM, json(r#"{"PowerState":"Sideways\n"}"#), r#"it has no power state "Sideways\n""#),
        (SYSTEM, json(r#"{"PowerState":["On"]}"#), "it has no PowerState"),
        (SYSTEM, status("503 Busy"), "answered 503 for /redfish/v1/Systems/1"),
        (SYSTEM, status("403 Forbidden"), "may not read /redfish/v1/Systems/1 (403)"),
        (SYSTEM, Reply::Floods, "is larger than 65536 bytes"),
    ];
    for (path, reply, wanted) in cases {
        let fake = Fake::start(None, but(path, reply)).await;
        let message = ask(&redfish(&fake.url()), "root:calvin", patient()).await.unwrap_err().to_string();
        assert!(message.contains(wanted), "{path}: {message}");
        assert!(!message.contains(char::is_control) && !message.contains("calvin"), "{message}");
        assert!(fake.paths().len() <= 3);
    }
    for reply in [Reply::Hangs, Reply::Drips] {
        let fake = Fake::start(None, but(SYSTEM, reply)).await;
        let began = Instant::now();
        let message = ask(&redfish(&fake.url()), "root:calvin", quick()).await.unwrap_err().to_string();
        assert!(message.contains("did not finish its answer within"), "{message}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn who_asks_matters() {
    let fake = Fake::start(None, well("On")).await;
    let power = redfish(&fake.url());
    assert_eq!(ask(&power, "", patient()).await, Err(Fault::NoLogin));
    fake.seen();
    let wrong = ask(&power, "root:hobbes", patient()).await.unwrap_err();
    assert!(wrong == Fault::WrongLogin && wrong.is_login() && !Fault::NoLogin.is_login());
    assert_eq!(fake.paths().len(), 2, "a wrong password is tried once");
    // A password that anybody on the way could read never leaves.
    let open = redfish("http://192.0.2.1");
    assert_eq!(ask(&open, "root:calvin", patient()).await, Err(Fault::Unprotected));
    let named = ask(&redfish("https://root:calvin@192.0.2.1"), "", patient()).await.unwrap_err().to_string();
    assert!(named.contains("holds a user") && !named.contains("calvin"), "{named}");
    for kind in [PowerKind::Wol, PowerKind::Ipmi] {
        assert!(ask(&Power { kind, ..power.clone() }, "", quick()).await.is_err());
    }
    let nowhere = Power { url: None, ..power };
    assert_eq!(ask(&nowhere, "", patient()).await, Err(Fault::NoUrl));
}

#[tokio::test]
async fn a_url_may_name_the_system() {
    let fake = Fake::start(None, well("On")).await;
    let named = redfish(&format!("{}/redfish/v1/Systems/1", fake.url()));
    assert_eq!(ask(&named, "root:calvin", patient()).await, Ok(PowerState::On));
    assert_eq!(fake.paths(), ["/redfish/v1/", "/redfish/v1/Systems/1"]);
    let gone = redfish(&format!("{}/redfish/v1/Systems/2", fake.url()));
    assert!(matches!(ask(&gone, "root:calvin", patient()).await, Err(Fault::Missing(_))));
    assert_eq!(fake.paths().len(), 2, "no other system is taken instead");
    let odd = redfish(&format!("{}/login.html", fake.url()));
    assert!(matches!(ask(&odd, "root:calvin", patient()).await, Err(Fault::BadUrl(..))));
}

#[tokio::test]
async fn nobody_there_and_no_tls() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let message = ask(&redfish(&format!("https://{closed}")), "", patient()).await.unwrap_err().to_string();
    assert!(message.contains(&closed.to_string()) && message.contains("refused"), "{message}");
    let fake = Fake::start(None, well("On")).await;
    let message = ask(&redfish(&format!("https://{}", fake.address)), "", patient()).await.unwrap_err();
    assert!(message.to_string().contains("TLS"), "{message}");
    // It listens, and its queue is never served: a handshake that does not come.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let limits = Limits { connect: Duration::from_millis(200), ..patient() };
    assert!(matches!(ask(&redfish(&url), "", limits).await, Err(Fault::Absent { .. })));
}

/// A certificate that its owner signed, as controllers have them; and its fingerprint.
fn self_signed() -> (TlsAcceptor, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["idrac".to_owned()]).unwrap().self_signed(&key).unwrap();
    let fingerprint = hex(&Sha256::digest(certificate.der()));
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), fingerprint)
}

#[tokio::test]
async fn a_certificate_is_believed_by_its_fingerprint_and_not_on_sight() {
    let (acceptor, fingerprint) = self_signed();
    let fake = Fake::start(Some(acceptor), well("On")).await;
    let plain = redfish(&format!("https://{}", fake.address));
    let message = ask(&plain, "root:calvin", patient()).await.unwrap_err().to_string();
    assert!(message.contains("it is self-signed, or signed by an unknown authority"), "{message}");
    assert!(message.contains(&format!("write fingerprint = \"{fingerprint}\" into `power`")), "{message}");
    let other = Power { fingerprint: Some("00".repeat(32).into()), ..plain.clone() };
    let message = ask(&other, "root:calvin", patient()).await.unwrap_err().to_string();
    assert!(
        message.contains("is not the one in `fingerprint`") && message.contains(&fingerprint),
        "{message}"
    );
    assert_eq!(fake.paths().len(), 0, "whoever is not believed is not asked, and gets no password");
    let pinned = Power { fingerprint: Some(fingerprint.into()), ..plain };
    assert_eq!(ask(&pinned, "root:calvin", patient()).await, Ok(PowerState::On));
}

/// Machines `u0` … with a controller each, the first ones with a deployment, as a table.
fn inventory(
    machines: usize,
    deployments: usize,
    power: impl Fn(usize) -> String,
) -> Arc<voldemort::desired::Desired> {
    let mut text = "[subnet.lab]\ncidr = \"10.0.0.0/16\"\n[boot.b]\nkernel = \"vmlinuz\"\n\
                    cmdline = [\"url={{ answers_url }}\"]\n[boot.diskless]\nkernel = \"vmlinuz\"\n"
        .to_owned();
    for n in 0..machines {
        let (high, low) = (n / 200, n % 200);
        text += &format!("[machine.u{n}]\nmac = \"52:54:00:00:{high:02x}:{low:02x}\"\n{}\n", power(n));
        if n < deployments {
            text += &format!(
                "[deployment.d{n}]\nmachine = \"u{n}\"\nsubnet = \"lab\"\nboot = \"b\"\ntemplate = \"preseed\"\n\
                 address = \"10.0.{high}.{}\"\n",
                low + 10
            );
        }
    }
    let files: BTreeMap<Arc<str>, Bytes> = [
        ("a.toml".into(), Bytes::from(text)),
        (
            "voldemort.toml".into(),
            Bytes::from_static(b"format = 1\n[safety]\nallow-empty = true\nmax-remove = \"100%\"\n"),
        ),
        ("secrets/bmc.age".into(), Bytes::from_static(SEALED.as_bytes())),
    ]
    .into();
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let shelf = Shelf::new(Vec::new(), None);
    let loaded = load("r".into(), &files, &Environment::default(), &shelf, &options, Depth::OneFirmware);
    assert_eq!(loaded.errors(), 0, "{}", loaded.report());
    loaded.desired
}

/// Any well-formed age file: the daemon's key is none of this test's business.
const SEALED: &str = include_str!("../golden/plan/many/before/secrets/root-password.age");

struct Hall {
    keeper: Keeper,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    _state: TempDir,
}

impl Hall {
    fn start(pace: Pace) -> Hall {
        let state = tempfile::tempdir().unwrap();
        let (store, mut saved) = Store::open(state.path(), || [7; 48]).unwrap();
        saved.new_site = true;
        saved.pace = pace;
        let (keeper, _) = Keeper::spawn(store, saved, Server::stand_in([10, 0, 0, 1].into()));
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(watch_power(keeper.clone(), stopping));
        Hall { keeper, stop, task, _state: state }
    }

    async fn adopt(&self, desired: Arc<voldemort::desired::Desired>, password: &str) {
        let secrets = Arc::new(Secrets::Known([("bmc".to_owned(), password.to_owned())].into()));
        let consent = Consent::default();
        let proposal = Proposal { desired, kept: None, secrets, consent, expected: None, plan: None };
        self.keeper.adopt(proposal).await.unwrap();
    }

    async fn until(&self, what: &str, right: impl Fn(&State) -> bool) -> Arc<State> {
        let began = Instant::now();
        loop {
            let table = self.keeper.state();
            if right(&table) {
                return table;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: {:?}", table.power());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

/// The executor, and a clock that the state hears of.
async fn watch_power(keeper: Keeper, mut stopping: watch::Receiver<bool>) {
    let limits = Limits { whole: Duration::from_millis(800), ..quick() };
    let reads = PowerReads { keeper: keeper.clone(), tools: Arc::new(tools(limits)) };
    let clock = async {
        let mut clock = tokio::time::interval(Duration::from_millis(20));
        loop {
            clock.tick().await;
            keeper.tick();
        }
    };
    tokio::select! {
        ended = run(reads, keeper.clone()) => panic!("{ended:?}"),
        () = clock => {}
        stopped = stopping.wait_for(|stop| *stop) => drop(stopped.unwrap()),
    }
}

fn hurried() -> Pace {
    let (interval, longest, spread, busy) = (Span(200), Span(500), Span(1), Span(20));
    Pace { interval, longest, spread, busy, at_once: 16, ..Pace::default() }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn power_at(port: u16) -> impl Fn(usize) -> String {
    move |n| {
        let (high, low) = (n / 200 + 1, n % 200 + 1);
        format!(
            "power = {{ kind = \"redfish\", url = \"http://127.0.{high}.{low}:{port}\", credentials = {{ secret = \"bmc\" }} }}"
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_controllers_are_asked_a_few_at_once() {
    const MACHINES: usize = 500;
    let (on, off) = (well("On"), well("Off"));
    // Every tenth is off, every twenty-fifth hangs.
    let fake = Fake::start(None, move |own, path, user| {
        let SocketAddr::V4(at) = own else { unreachable!() };
        let [.., high, low] = at.ip().octets();
        match (usize::from(high) - 1) * 200 + usize::from(low) - 1 {
            n if n % 25 == 1 => Reply::Hangs,
            n if n % 10 == 0 => off(own, path, user),
            _ => on(own, path, user),
        }
    })
    .await;
    let hall = Hall::start(hurried());
    hall.adopt(inventory(MACHINES, 5, power_at(fake.address.port())), "root:calvin").await;
    let all = |table: &State| table.power().len() == MACHINES;
    let table = hall.until("every machine was asked", all).await;
    let count = |right: fn(&Result<PowerState, Arc<str>>) -> bool| {
        table.power().values().filter(|reading| right(&reading.state)).count()
    };
    assert_eq!(count(|state| *state == Ok(PowerState::Off)), 50);
    assert_eq!(count(Result::is_err), 20);
    assert_eq!(count(|state| *state == Ok(PowerState::On)), 430);
    assert!(fake.most.load(SeqCst) <= 16, "{} at once", fake.most.load(SeqCst));
    // The rows of people, and what is counted.
    let rows = machine::all(&table, None).collect::<Vec<_>>();
    let row = |name: &str| {
        rows.iter().find(|row| row.name.as_deref() == Some(name)).unwrap().power.clone().unwrap()
    };
    assert_eq!((row("u0").state.as_str(), row("u2").state.as_str()), ("off", "on"));
    let lost = row("u1");
    assert!(lost.state == PowerShown::Unknown && lost.since.is_some(), "{lost:?}");
    assert!(lost.reason.unwrap().contains("did not finish its answer"));
    let count = |outcome| hall.keeper.counters().tasks(TaskKind::ReadPower, outcome);
    let (told, failed) = (count(TaskOutcome::Done), count(TaskOutcome::Failed));
    assert!(told >= 480 && failed >= 20, "{told} {failed}");
    hall.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_not_tried_again_before_it_is_another() {
    let fake = Fake::start(None, well("On")).await;
    let hall = Hall::start(hurried());
    let desired = inventory(3, 0, power_at(fake.address.port()));
    hall.adopt(desired.clone(), "root:hobbes").await;
    hall.until("all are refused", |table| {
        table.power().values().filter(|one| one.state.is_err()).count() == 3
    })
    .await;
    let tried =
        |seen: &[(SocketAddr, String, String)]| seen.iter().filter(|(.., user)| !user.is_empty()).count();
    assert_eq!(tried(&fake.seen()), 3);
    // Several intervals later the controllers have heard nothing more; one that is mended is asked.
    tokio::time::sleep(Duration::from_millis(hurried().interval.0 * 3)).await;
    assert_eq!(tried(&fake.seen()), 0);
    hall.adopt(desired, "root:calvin").await;
    let on =
        |table: &State| table.power().values().filter(|one| one.state == Ok(PowerState::On)).count() == 3;
    hall.until("all are read", on).await;
    // Who is in no manifest any more is not asked, and not known.
    hall.adopt(inventory(2, 0, power_at(fake.address.port())), "root:calvin").await;
    tokio::time::sleep(Duration::from_millis(hurried().interval.0)).await;
    fake.seen();
    hall.until("they are asked again", |_| fake.seen.lock().unwrap().len() > 6).await;
    assert!(fake.seen().iter().all(|(own, ..)| own.ip().to_string() != "127.0.1.3"));
    assert_eq!(hall.keeper.state().power().len(), 2);
    hall.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_run_and_is_off_drifts_and_so_does_what_is_given_up_and_on() {
    let state = Arc::new(Mutex::new("Off"));
    let shown = state.clone();
    let fake = Fake::start(None, move |own, path, user| well(*shown.lock().unwrap())(own, path, user)).await;
    let power = || power_at(fake.address.port());
    let hall = Hall::start(hurried());
    hall.adopt(inventory(3, 1, power()), "root:calvin").await;
    let all = |wanted: PowerState| {
        move |table: &State| table.power().values().filter(|one| one.state == Ok(wanted)).count() == 3
    };
    let kinds = || hall.keeper.state().drift().iter().map(|one| one.kind).collect::<Vec<_>>();
    let table = hall.until("all are off", all(PowerState::Off)).await;
    assert_eq!(table.drift(), [], "one that waits for its installation, and two that have nothing to run");
    let (deployment, redeploy) = (name("d0"), 0);
    let redeploy = table.desired().deployments.get(&deployment).map_or(redeploy, |one| one.redeploy);
    for step in [PermitStep::Start, PermitStep::Spend] {
        hall.keeper
            .permit(Permit { deployment: deployment.clone(), redeploy, epoch: None, step })
            .await
            .unwrap();
    }
    assert_eq!(kinds(), [], "what is being installed is a matter of its phase");
    let report =
        Report { deployment, redeploy, epoch: None, outcome: Outcome::Completed, note: String::new() };
    hall.keeper.report(report).await.unwrap();
    assert_eq!(kinds(), [DriftKind::Off]);
    let row = drift::all(&hall.keeper.state()).remove(0);
    assert_eq!((row.kind.as_str(), row.actual.as_str(), row.desired.as_str()), ("power", "off", "on"));
    assert!(row.since.is_some() && row.text.contains("switched off"), "{row:?}");
    *state.lock().unwrap() = "On";
    hall.until("all are on", all(PowerState::On)).await;
    assert_eq!(kinds(), [], "those that never had a system are as good on as off");
    // The deployment goes, the machine stays and is read.
    hall.adopt(inventory(3, 0, power()), "root:calvin").await;
    let drift = hall.keeper.state().drift();
    assert_eq!(drift.iter().map(|one| one.kind).collect::<Vec<_>>(), [DriftKind::Abandoned]);
    assert_eq!((drift[0].deployment.as_str(), drift[0].machine.clone()), ("d0", Some(name("u0"))));
    *state.lock().unwrap() = "Off";
    hall.until("all are off", all(PowerState::Off)).await;
    assert_eq!(kinds(), []);
    assert!(fake.seen().iter().all(|(_, path, _)| path.starts_with("/redfish/v1/")), "nothing but readings");
    hall.stop().await;
}
