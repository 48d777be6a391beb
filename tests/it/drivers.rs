//! What must hold for every power driver, whatever its controller does.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use voldemort::model::{Capabilities, Name, Power, PowerKind, PowerStep};
use voldemort::power::{
    Answer, Driver, Endpoint, Failure, Fault, Limits, Login, Question, Read, Sending, Tools, Trust, driver,
};

/// What a broken controller sends to a client before it closes the connection; `None` never answers and
/// never closes.
const BROKEN: [Option<&[u8]>; 6] = [
    None,
    Some(b""),
    Some(b"\x00\xff\x15\x03\x01"),
    Some(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
    Some(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{}"),
    Some(b"HTTP/1.1 401 \x1b[2J\r\n\r\n"),
];
const PASSWORD: &str = "calvin-and-hobbes";

/// A broken controller, its address, and the number of connections.
fn broken(says: Option<&'static [u8]>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback is free");
    let address = listener.local_addr().expect("a listener has an address").to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    // Ends with the program.
    std::thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            counted.fetch_add(1, Ordering::SeqCst);
            match says {
                Some(words) => drop(stream.write_all(words)),
                None => open.push(stream),
            }
        }
    });
    (address, count)
}

/// Asks a driver of every broken controller: what it does wrong.
async fn battery(driver: &dyn Driver, kind: PowerKind) -> Result<(), String> {
    let limits =
        Limits { connect: Duration::from_millis(300), whole: Duration::from_millis(300), body: 1 << 10 };
    let tools = Tools::new(Trust::of_host(), limits, Default::default());
    let machine: Name = "m1".parse().unwrap();
    let login = Login::parse(&format!("root:{PASSWORD}"));
    let words = driver.unread();
    if words.is_empty() || words.ends_with('.') || words.contains('\n') {
        return Err(format!("{words:?} is no sentence without a full stop"));
    }
    for (says, scheme) in BROKEN.into_iter().flat_map(|says| [(says, "http"), (says, "https")]) {
        let (address, connected) = broken(says);
        let power = Power {
            kind,
            url: Some(format!("{scheme}://{address}").into()),
            address: None,
            command: None,
            credentials: None,
            fingerprint: None,
        };
        // A password is given where the way is protected.
        let login = login.as_ref().filter(|_| scheme == "https");
        let question = Question {
            machine: &machine,
            macs: &[],
            networks: &[],
            uefi: None,
            power: &power,
            login,
            system: None,
            tools: &tools,
        };
        let begin = Instant::now();
        let answer = tokio::time::timeout(Duration::from_secs(20), driver.read(question)).await;
        let Ok(answer) = answer else { return Err(format!("{says:?} over {scheme}: no end")) };
        if begin.elapsed() > Duration::from_secs(10) {
            return Err(format!("{says:?} over {scheme}: the limits do not count"));
        }
        let Err(fault) = answer else { return Err(format!("{says:?} over {scheme}: a reading")) };
        let words = fault.to_string();
        if words.contains(PASSWORD) || words.chars().any(char::is_control) || words.len() > 1000 {
            return Err(format!("{says:?} over {scheme}: says {words:?}"));
        }
        // The others speak no TCP.
        if kind == PowerKind::Redfish && driver.capabilities().read != (connected.load(Ordering::SeqCst) > 0)
        {
            return Err(format!("{says:?} over {scheme}: its capabilities are not what it does"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_driver_survives_broken_controllers() {
    for kind in PowerKind::ALL {
        let found = battery(driver(kind), kind).await;
        assert_eq!(found, Ok(()), "{kind}");
    }
}

/// Drivers that are broken themselves.
enum Broken {
    Readable,
    Talkative,
    Babbling,
}

impl Driver for Broken {
    fn capabilities(&self) -> Capabilities {
        Capabilities { read: matches!(self, Broken::Readable), ..PowerKind::Wol.capabilities() }
    }

    fn unread(&self) -> &'static str {
        if matches!(self, Broken::Babbling) { "one thing.\nAnother." } else { "nobody asked" }
    }

    fn read<'a>(&'a self, question: Question<'a>) -> Answer<'a, Read> {
        let url = question.power.url.clone().unwrap_or_default();
        let why = match self {
            Broken::Talkative => format!("no {PASSWORD}\r\n"),
            _ => "no".into(),
        };
        Box::pin(async move { Err(Fault::Connect { endpoint: Endpoint::parse(&url)?.0, why }) })
    }

    fn send<'a>(&'a self, question: Question<'a>, step: PowerStep) -> Sending<'a> {
        Box::pin(async move { Err(Failure::from(Fault::Unable(question.power.kind, step))) })
    }
}

#[tokio::test]
async fn broken_drivers_are_found() {
    for (broken, words) in
        [(Broken::Readable, "capabilities"), (Broken::Talkative, PASSWORD), (Broken::Babbling, "full stop")]
    {
        let found = battery(&broken, PowerKind::Redfish).await.unwrap_err();
        assert!(found.contains(words), "{found}");
    }
}

/// A file that is not declared would be in no list, and never used.
#[test]
fn each_kind_has_a_file() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/power");
    for name in PowerKind::NAMES {
        assert!(folder.join(format!("{name}.rs")).is_file(), "{name}");
    }
}
