//! A management controller of the tests' own that speaks Redfish: one system, and the ways of vendors and of broken
//! ones.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

/// What it does with a request that changes something, once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Turn {
    /// It answers as if it did, and does nothing.
    Lies,
    /// It does it and closes the connection without an answer.
    ActsAndCloses,
    /// It closes the connection and does nothing.
    Closes,
    /// It never answers.
    Hangs,
    /// It answers with this status and does nothing.
    Says(u16),
    /// It answers with this status and does it.
    SaysAndActs(u16),
    /// It does it when its power was read so often.
    Later(u32),
    /// An answer that is no JSON, or far too large, to something that it did.
    Babbles,
    Floods,
}

#[derive(Clone, Debug)]
pub(crate) struct Bmc {
    pub on: bool,
    pub vendor: &'static str,
    /// User and password.
    pub login: Option<(&'static str, &'static str)>,
    pub has_sessions: bool,
    /// It has no more sessions to give.
    pub is_full: bool,
    pub takes_basic: bool,
    pub sessions: Vec<String>,
    pub opened: u32,
    /// Which forms of Reset it lists; none if empty.
    pub resets: Vec<&'static str>,
    /// By `@Redfish.ActionInfo` instead of in the system.
    pub by_info: bool,
    pub needs_if_match: bool,
    /// The override is in `SD` and what is sent to the system is ignored.
    pub override_in_sd: bool,
    pub knows_mode: bool,
    /// `Once` becomes `Continuous`.
    pub only_continuous: bool,
    /// Refuses to be disabled without the target None.
    pub wants_none: bool,
    pub refuses_none: bool,
    pub targets: Vec<&'static str>,
    pub enabled: String,
    pub target: String,
    pub mode: String,
    /// What comes of the next requests that change something.
    pub turns: VecDeque<Turn>,
    pub later: Option<(u32, bool)>,
    /// Every request: `GET /path`, with its body behind it.
    pub log: Vec<String>,
    /// Of all requests.
    pub busy: u32,
    pub most_busy: u32,
    pub etag: u32,
    /// Turns on when it is told to go off.
    pub deaf: bool,
}

impl Default for Bmc {
    fn default() -> Bmc {
        Bmc {
            on: false,
            vendor: "Contoso",
            login: Some(("root", "calvin")),
            has_sessions: false,
            is_full: false,
            takes_basic: true,
            sessions: Vec::new(),
            opened: 0,
            resets: vec!["On", "ForceOff", "GracefulShutdown"],
            by_info: false,
            needs_if_match: false,
            override_in_sd: false,
            knows_mode: true,
            only_continuous: false,
            wants_none: false,
            refuses_none: false,
            targets: vec!["None", "Pxe", "Hdd"],
            enabled: "Disabled".into(),
            target: "None".into(),
            mode: "UEFI".into(),
            turns: VecDeque::new(),
            later: None,
            log: Vec::new(),
            busy: 0,
            most_busy: 0,
            etag: 1,
            deaf: false,
        }
    }
}

/// One that listens on loopback until the program ends.
#[derive(Clone)]
pub(crate) struct Fake {
    pub address: SocketAddr,
    bmc: Arc<Mutex<Bmc>>,
}

impl Fake {
    pub(crate) fn start(bmc: Bmc) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bmc = Arc::new(Mutex::new(bmc));
        let fake = Fake { address, bmc };
        let own = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let fake = own.clone();
                std::thread::spawn(move || {
                    let busy = {
                        let mut bmc = fake.get();
                        bmc.busy += 1;
                        bmc.busy
                    };
                    let most = fake.get().most_busy.max(busy);
                    fake.get().most_busy = most;
                    let _ = fake.serve(&stream);
                });
            }
        });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, Bmc> {
        self.bmc.lock().unwrap()
    }

    /// The requests that change something, and forgets all.
    pub(crate) fn changes(&self) -> Vec<String> {
        let log = std::mem::take(&mut self.get().log);
        log.into_iter().filter(|line| !line.starts_with("GET ")).collect()
    }

    /// How often the machine was told to go on or off.
    pub(crate) fn resets(&self) -> Vec<String> {
        let of = |line: &String| {
            line.split("\"ResetType\":\"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned())
        };
        self.get().log.iter().filter_map(of).collect()
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut line, mut head) = (String::new(), Vec::new());
        reader.read_line(&mut line)?;
        loop {
            let mut text = String::new();
            if reader.read_line(&mut text)? == 0 || text == "\r\n" {
                break;
            }
            head.push(text.trim().to_owned());
        }
        let header = |name: &str| {
            head.iter().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_owned())
            })
        };
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8(body).unwrap();
        let mut words = line.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap_or("").to_owned());
        let (turn, reply) = {
            let mut bmc = self.get();
            bmc.log.push(format!("{method} {path} {body}").trim_end().to_owned());
            bmc.answer(&method, &path, &body, &header)
        };
        self.get().busy -= 1;
        let mut stream = stream;
        match turn {
            Some(Turn::Hangs) => {
                let _ = reader.read(&mut [0; 1]);
                return Ok(());
            }
            Some(Turn::ActsAndCloses | Turn::Closes) => return Ok(()),
            Some(Turn::Babbles) => {
                return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html>\0\xff!");
            }
            Some(Turn::Floods) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")?;
                return (0..99).try_for_each(|_| stream.write_all(&[b'x'; 65536]));
            }
            _ => {}
        }
        let (status, headers, body) = reply;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())
    }
}

type Said = (u16, String, Option<Value>);

fn plain(status: u16) -> Said {
    (status, String::new(), None)
}

fn refused(status: u16, words: &str) -> Said {
    let error = json!({ "error": { "@Message.ExtendedInfo": [{ "Message": words }] } });
    (status, String::new(), Some(error))
}

const SYSTEM: &str = "/redfish/v1/Systems/1";

impl Bmc {
    fn answer(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        header: &impl Fn(&str) -> Option<String>,
    ) -> (Option<Turn>, Said) {
        let body: Value = serde_json::from_str(body).unwrap_or(Value::Null);
        if (method, path) == ("GET", "/redfish/v1/") {
            return (None, (200, String::new(), Some(self.root())));
        }
        if (method, path) == ("POST", "/redfish/v1/SessionService/Sessions") && self.has_sessions {
            return (None, self.open(&body));
        }
        if !self.knows(header) {
            return (None, plain(401));
        }
        if method == "GET" {
            return (None, self.read(path));
        }
        if method == "DELETE" {
            let token = header("x-auth-token").unwrap_or_default();
            self.sessions.retain(|known| *known != token);
            return (None, plain(204));
        }
        let turn = self.turns.pop_front();
        match turn {
            Some(Turn::Closes | Turn::Hangs) => return (turn, plain(200)),
            Some(Turn::Lies) => return (turn, plain(204)),
            Some(Turn::Says(status)) => return (turn, refused(status, "not now")),
            _ => {}
        }
        let condition = header("if-match");
        if self.needs_if_match
            && method == "PATCH"
            && condition.as_deref() != Some(&*format!("\"{}\"", self.etag))
        {
            return (turn, plain(if condition.is_some() { 412 } else { 428 }));
        }
        let mut said = self.change(method, path, &body, turn.as_ref());
        if let Some(Turn::SaysAndActs(status)) = turn {
            said = refused(status, "an internal error");
        }
        (turn, said)
    }

    fn root(&self) -> Value {
        let mut root = json!({ "Vendor": self.vendor, "Systems": { "@odata.id": "/redfish/v1/Systems" } });
        if self.has_sessions {
            root["Links"] = json!({ "Sessions": { "@odata.id": "/redfish/v1/SessionService/Sessions" } });
        }
        root
    }

    fn open(&mut self, body: &Value) -> Said {
        if self.is_full {
            return refused(503, "there are too many sessions");
        }
        let (user, password) = self.login.unwrap_or_default();
        if body["UserName"] != user || body["Password"] != password {
            return plain(401);
        }
        self.opened += 1;
        let token = format!("token{}", self.opened);
        self.sessions.push(token.clone());
        let place = format!("/redfish/v1/SessionService/Sessions/{}", self.opened);
        (201, format!("X-Auth-Token: {token}\r\nLocation: {place}\r\n"), Some(json!({})))
    }

    fn knows(&self, header: &impl Fn(&str) -> Option<String>) -> bool {
        if self.login.is_none() {
            return true;
        }
        if let Some(token) = header("x-auth-token") {
            return self.sessions.contains(&token);
        }
        // root:calvin
        self.takes_basic && header("authorization").as_deref() == Some("Basic cm9vdDpjYWx2aW4=")
    }

    fn boot(&self) -> Value {
        let mut boot = json!({
            "BootSourceOverrideEnabled": self.enabled,
            "BootSourceOverrideTarget": self.target,
            "BootSourceOverrideTarget@Redfish.AllowableValues": self.targets,
        });
        if self.knows_mode {
            boot["BootSourceOverrideMode"] = self.mode.clone().into();
        }
        boot
    }

    fn read(&mut self, path: &str) -> Said {
        let etag = format!("ETag: \"{}\"\r\n", self.etag);
        match path {
            "/redfish/v1/Systems" => {
                (200, String::new(), Some(json!({ "Members": [{ "@odata.id": SYSTEM }] })))
            }
            SYSTEM => {
                if let Some((count, on)) = self.later.take() {
                    match count {
                        0 => self.on = on,
                        count => self.later = Some((count - 1, on)),
                    }
                }
                let mut reset = json!({ "target": format!("{SYSTEM}/Actions/ComputerSystem.Reset") });
                match (self.by_info, self.resets.is_empty()) {
                    (true, _) => reset["@Redfish.ActionInfo"] = format!("{SYSTEM}/ResetActionInfo").into(),
                    (false, false) => reset["ResetType@Redfish.AllowableValues"] = json!(self.resets),
                    (false, true) => {}
                }
                let mut system = json!({
                    "PowerState": if self.on { "On" } else { "Off" },
                    "Boot": if self.override_in_sd { json!({ "BootSourceOverrideMode": self.mode }) } else { self.boot() },
                    "Actions": { "#ComputerSystem.Reset": reset },
                });
                if self.override_in_sd {
                    system["@Redfish.Settings"] =
                        json!({ "SettingsObject": { "@odata.id": format!("{SYSTEM}/SD") } });
                }
                (200, etag, Some(system))
            }
            "/redfish/v1/Systems/1/SD" if self.override_in_sd => {
                (200, etag, Some(json!({ "Boot": self.boot() })))
            }
            "/redfish/v1/Systems/1/ResetActionInfo" => {
                let parameters = json!([{ "Name": "ResetType", "AllowableValues": self.resets }]);
                (200, String::new(), Some(json!({ "Parameters": parameters })))
            }
            _ => plain(404),
        }
    }

    fn change(&mut self, method: &str, path: &str, body: &Value, turn: Option<&Turn>) -> Said {
        self.etag += 1;
        let is_override = path == if self.override_in_sd { "/redfish/v1/Systems/1/SD" } else { SYSTEM };
        match (method, path) {
            ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset") => {
                let word = body["ResetType"].as_str().unwrap_or_default();
                if !self.resets.is_empty() && !self.resets.contains(&word) {
                    return refused(400, "this ResetType is not supported");
                }
                let on = matches!(word, "On" | "ForceOn" | "PushPowerButton");
                if on == self.on {
                    return refused(409, "the system is in that state already");
                }
                match turn {
                    Some(Turn::Later(readings)) => self.later = Some((*readings, on)),
                    _ => self.on = on || self.deaf,
                }
                plain(if turn.is_some() { 202 } else { 204 })
            }
            ("PATCH", _) if is_override => self.boot_from(&body["Boot"]),
            // Accepted, and nothing comes of it.
            ("PATCH", SYSTEM) => plain(204),
            _ => plain(405),
        }
    }

    fn boot_from(&mut self, boot: &Value) -> Said {
        let text = |key: &str| boot[key].as_str();
        if !self.knows_mode && text("BootSourceOverrideMode").is_some() {
            return refused(400, "the property BootSourceOverrideMode is unknown");
        }
        if self.refuses_none && text("BootSourceOverrideTarget") == Some("None") {
            return refused(400, "the value None is not supported");
        }
        let is_disabled = text("BootSourceOverrideEnabled") == Some("Disabled");
        if self.wants_none && is_disabled && text("BootSourceOverrideTarget").is_none() {
            return refused(400, "BootSourceOverrideTarget is missing");
        }
        self.mode = text("BootSourceOverrideMode").unwrap_or(&self.mode).to_owned();
        self.target = text("BootSourceOverrideTarget").unwrap_or(&self.target).to_owned();
        let enabled = text("BootSourceOverrideEnabled").unwrap_or(&self.enabled);
        self.enabled =
            if self.only_continuous && enabled == "Once" { "Continuous" } else { enabled }.to_owned();
        plain(200)
    }
}
