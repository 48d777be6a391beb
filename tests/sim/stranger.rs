//! A client that no manifest names: takes a dynamic address, renews it, gives it back, finds it in
//! use, or vanishes and wants it again.

use std::net::Ipv4Addr;

use voldemort::model::Mac;
use voldemort::walk::client::Reply;

use super::dice::Dice;
use super::message::Message;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Off,
    Offer,
    Ack,
    Bound,
}

pub(crate) struct Stranger {
    pub mac: Mac,
    /// The relay that passes its messages on.
    relay: Option<Ipv4Addr>,
    server: Ipv4Addr,
    pub state: State,
    pub attempt: u64,
    pub tries: u32,
    pub address: Option<Ipv4Addr>,
    /// What it was last offered, in which life of the daemon, and when.
    pub offered: Option<(Ipv4Addr, u64, u64)>,
    asked: Option<Message>,
}

impl Stranger {
    pub(crate) fn new(mac: Mac, relay: Option<Ipv4Addr>, server: Ipv4Addr) -> Stranger {
        let (state, attempt, tries) = (State::Off, 0, 0);
        Stranger { mac, relay, server, state, attempt, tries, address: None, offered: None, asked: None }
    }

    fn say(&mut self, state: State, message: Message) -> Vec<u8> {
        self.state = state;
        self.attempt += 1;
        self.tries = 0;
        let message = match self.relay {
            Some(relay) => message.relay(&relay.to_string()).option(82, &[1, 2, b'p', b'1']),
            None => message,
        };
        self.asked = Some(message.clone());
        message.bytes()
    }

    /// Begins anew, wanting what it had before, if anything.
    pub(crate) fn discover(&mut self) -> Vec<u8> {
        let message = Message::discover(self.mac);
        let message =
            self.address.iter().fold(message, |message, address| message.wants(&address.to_string()));
        self.offered = None;
        self.say(State::Offer, message)
    }

    /// After a start: INIT-REBOOT (RFC 2131 section 4.3.2).
    pub(crate) fn wake(&mut self) -> Vec<u8> {
        match self.address {
            Some(address) => self.say(State::Ack, Message::request(self.mac).wants(&address.to_string())),
            None => self.discover(),
        }
    }

    pub(crate) fn select(&mut self, offer: &Reply) -> Vec<u8> {
        let message = Message::request(self.mac).wants(&offer.address().to_string());
        let server = self.server.to_string();
        self.say(State::Ack, message.server(&server))
    }

    /// RENEWING: unicast, with the address in the header.
    pub(crate) fn renew(&mut self) -> Option<Vec<u8>> {
        let address = self.address?;
        Some(self.say(State::Ack, Message::request(self.mac).ciaddr(&address.to_string())))
    }

    pub(crate) fn decline(&mut self, address: Ipv4Addr) -> Vec<u8> {
        let server = self.server.to_string();
        self.address = None;
        self.say(State::Off, Message::new(self.mac, 4).wants(&address.to_string()).server(&server))
    }

    pub(crate) fn release(&mut self) -> Option<Vec<u8>> {
        let address = self.address.take()?;
        let server = self.server.to_string();
        Some(self.say(State::Off, Message::new(self.mac, 7).ciaddr(&address.to_string()).server(&server)))
    }

    /// The same message once more.
    pub(crate) fn again(&mut self) -> Option<Vec<u8>> {
        self.tries += 1;
        self.asked.as_ref().map(Message::bytes)
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Offer | State::Ack)
    }

    /// How long it stays with what it has, in milliseconds.
    pub(crate) fn rest(dice: &mut Dice, lease: u64) -> u64 {
        dice.between(lease * 400, lease * 1300)
    }
}
