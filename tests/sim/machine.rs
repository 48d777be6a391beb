//! A machine with a deployment, from power-on to its own disk: firmware, iPXE or GRUB, installer.
//! It keeps trying: what is not answered is asked again, and after a while it starts all over.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use bytes::Bytes;
use voldemort::model::{Cpu, Mac, Name, Time};
use voldemort::proto::dhcp::Link;
use voldemort::proto::tree::{Asker, Transport};
use voldemort::render::Kind as Answers;
use voldemort::state::Stage;
use voldemort::walk::client::{Client, Kind, Reply, Sender};
use voldemort::walk::script::Script;
use voldemort::walk::{GRUB_CONFIGURATION, Route, completion, url_at};

use super::daemon::Told;

const OFFER: [u8; 1] = [2];
const ACK: [u8; 1] = [5];

/// What the machine waits for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    Off,
    Offer(Sender),
    Ack(Sender, Ipv4Addr),
    /// The first of `plan`.
    File,
    /// The installer writes to the disk.
    Installing,
    /// Runs from its own disk.
    Up,
    /// Nothing to run on the disk, and the network sends it there: a person has to look.
    Stuck,
}

/// A file to fetch, and what for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Errand {
    pub path: String,
    pub transport: Transport,
    pub purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Loader,
    Script,
    File,
    Answers,
    Report,
}

/// What the machine does next.
#[derive(Debug, PartialEq)]
pub(crate) enum Act {
    Nothing,
    Say(Vec<u8>),
    Fetch(Errand),
    /// The installer has its answers: from here on the disk is no more what it was.
    Wipe,
    /// The installer's report went through, or was given up: the machine reboots.
    Reboot,
}

pub(crate) struct Machine {
    pub name: Name,
    pub mac: Mac,
    pub route: Route,
    pub kind: Answers,
    pub state: State,
    /// Grows with everything it asks; answers to older questions are not heard.
    pub attempt: u64,
    /// Times the present question was asked.
    pub tries: u32,
    pub address: Option<Ipv4Addr>,
    plan: VecDeque<Errand>,
    texts: Vec<Bytes>,
    cmdline: String,
    /// The installation that is whole on its disk, by number.
    pub installed: Option<u64>,
    /// How often the disk was wiped under each number.
    pub wipes: BTreeMap<u64, u32>,
}

impl Machine {
    pub(crate) fn new(name: Name, mac: Mac, route: Route, kind: Answers) -> Machine {
        Machine {
            name,
            mac,
            route,
            kind,
            state: State::Off,
            attempt: 0,
            tries: 0,
            address: None,
            plan: VecDeque::new(),
            texts: Vec::new(),
            cmdline: String::new(),
            installed: None,
            wipes: BTreeMap::new(),
        }
    }

    /// Power goes off: all but the disk is forgotten.
    pub(crate) fn reset(&mut self) {
        self.state = State::Off;
        self.attempt += 1;
        self.tries = 0;
        self.address = None;
        self.plan.clear();
        self.texts.clear();
        self.cmdline.clear();
    }

    pub(crate) fn power_on(&mut self, link: &Link) -> Act {
        self.discover(link, self.route.first_sender())
    }

    /// The same question once more.
    pub(crate) fn again(&mut self, link: &Link) -> Act {
        self.tries += 1;
        match self.state {
            State::Offer(sender) => Act::Say(self.message(link, sender, Kind::Discover, None)),
            State::Ack(sender, address) => Act::Say(self.message(link, sender, Kind::Request, Some(address))),
            State::File => self.plan.front().cloned().map_or(Act::Nothing, Act::Fetch),
            _ => Act::Nothing,
        }
    }

    pub(crate) fn hear(&mut self, link: &Link, server: &str, told: &Told) -> Act {
        match (self.state.clone(), told) {
            (State::Offer(sender), Told::Datagram(bytes)) => {
                let reply = Reply::of(bytes.clone());
                if reply.option(53) != Some(&OFFER) {
                    return Act::Nothing;
                }
                let address = reply.address();
                self.turn(State::Ack(sender, address));
                Act::Say(self.message(link, sender, Kind::Request, Some(address)))
            }
            (State::Ack(sender, _), Told::Datagram(bytes)) => {
                self.configured(sender, &Reply::of(bytes.clone()), link)
            }
            (State::File, Told::File(stage, bytes)) => self.fetched(link, server, *stage, bytes.clone()),
            (State::File, Told::Accepted) => Act::Reboot,
            (State::File, Told::Refused) => Act::Nothing,
            _ => Act::Nothing,
        }
    }

    /// The installer is done: what it installed, and then its report.
    pub(crate) fn written(&mut self, server: &str) -> Act {
        let texts = self.texts.iter().map(|text| String::from_utf8_lossy(text));
        let texts = std::iter::once(Cow::from(&self.cmdline)).chain(texts);
        let path = completion(server, texts).expect("an installation that reports");
        self.plan = VecDeque::from([Errand {
            path: path[server.len()..].to_owned(),
            transport: Transport::Http,
            purpose: Purpose::Report,
        }]);
        self.next()
    }

    pub(crate) fn asker(&self, transport: Transport) -> Asker {
        Asker::new(self.address.unwrap_or(Ipv4Addr::UNSPECIFIED), None, transport).on_card(self.mac)
    }

    /// Whether it is still on its way to an installer: that one asks until it is told.
    pub(crate) fn is_before_installer(&self) -> bool {
        self.cmdline.is_empty()
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.attempt += 1;
        self.tries = 0;
    }

    fn discover(&mut self, link: &Link, sender: Sender) -> Act {
        self.turn(State::Offer(sender));
        Act::Say(self.message(link, sender, Kind::Discover, None))
    }

    fn message(&self, link: &Link, sender: Sender, kind: Kind, requested: Option<Ipv4Addr>) -> Vec<u8> {
        let (mac, firmware) = (self.mac, self.route.firmware());
        let client = Client { mac, cpu: Cpu::X86_64, firmware, link, now: Time(0) };
        client.message(sender, kind, requested)
    }

    fn configured(&mut self, sender: Sender, reply: &Reply, link: &Link) -> Act {
        if reply.option(53) != Some(&ACK) {
            // Refused: from the beginning.
            return self.discover(link, sender);
        }
        let file = reply.boot_file();
        assert!(!file.is_empty(), "{} is told no boot file", self.name);
        if let Some(before) = self.address {
            assert_eq!(before, reply.address(), "the address of {} changes within one boot", self.name);
        }
        self.address = Some(reply.address());
        let transport = if file.contains("://") { Transport::Http } else { Transport::Tftp };
        let path =
            file.split_once("://").map_or(file.as_str(), |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        let errand = |path: &str, purpose| Errand { path: path.to_owned(), transport, purpose };
        self.plan = match (sender, self.route) {
            (Sender::Ipxe, _) => [errand(path, Purpose::Script)].into(),
            (_, Route::SecureBoot) => [
                errand(path, Purpose::Loader),
                errand(&path.replace("shim", "grub"), Purpose::Loader),
                errand(GRUB_CONFIGURATION, Purpose::Script),
            ]
            .into(),
            _ => [errand(path, Purpose::Loader)].into(),
        };
        self.next()
    }

    fn next(&mut self) -> Act {
        self.turn(State::File);
        self.plan.front().cloned().map_or(Act::Nothing, Act::Fetch)
    }

    fn fetched(&mut self, link: &Link, server: &str, stage: Stage, bytes: Bytes) -> Act {
        let Some(errand) = self.plan.pop_front() else { return Act::Nothing };
        match errand.purpose {
            Purpose::Loader if self.plan.is_empty() => return self.discover(link, Sender::Ipxe),
            Purpose::Script => {
                if !self.read_script(server, stage, &bytes) {
                    let whole = self.installed.is_some();
                    self.turn(if whole { State::Up } else { State::Stuck });
                    return Act::Nothing;
                }
            }
            Purpose::Answers => {
                self.texts.push(bytes);
                if self.plan.is_empty() {
                    self.turn(State::Installing);
                    return Act::Wipe;
                }
            }
            Purpose::Loader | Purpose::File | Purpose::Report => {}
        }
        self.next()
    }

    /// Plans what the script says; false where it sends the machine to its own disk.
    fn read_script(&mut self, server: &str, stage: Stage, text: &[u8]) -> bool {
        let text = String::from_utf8_lossy(text);
        let (script, transport) = match self.route {
            Route::SecureBoot => (Script::grub(&text, stage), Transport::Tftp),
            _ => (Script::ipxe(&text, stage), Transport::Http),
        };
        let Script::Network { files, cmdline } = script else { return false };
        let path = |file: &str| file.strip_prefix(server).unwrap_or(file).to_owned();
        for file in &files {
            self.plan.push_back(Errand { path: path(file), transport, purpose: Purpose::File });
        }
        let start = cmdline.find(&format!("{server}/answers/")).expect("the command line names the answers");
        let url = url_at(&cmdline, start, server);
        let folder = path(&url[..=url.rfind('/').expect("a URL")]);
        for file in self.kind.files() {
            let path = format!("{folder}{}", file.name);
            self.plan.push_back(Errand { path, transport: Transport::Http, purpose: Purpose::Answers });
        }
        self.cmdline = cmdline;
        true
    }
}
