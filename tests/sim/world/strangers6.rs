//! What clients of DHCPv6 do with what they hear, and with their time.

use std::net::Ipv6Addr;

use bytes::Bytes;
use voldemort::model::Time;
use voldemort::state::LeaseState;

use super::{Client, Item, MINUTE, SECOND, World};
use crate::daemon::Body;
use crate::inventory::LEASE;
use crate::stranger::Stranger;
use crate::stranger6::{Given, State, Stranger6};

/// The daemon's address on the network that has IPv6.
const SERVER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0, 0, 0, 0, 0, 1);

impl World {
    fn say6(&mut self, client: usize, bytes: Vec<u8>) {
        let Client::Stranger6(stranger) = &self.clients[client] else { return };
        let link = stranger.link(SERVER6);
        self.send(client, Body::Datagram6(link, bytes));
    }

    fn forget6(&mut self, client: usize) {
        self.claims6.retain(|_, (user, _)| *user != client);
    }

    pub(super) fn stranger6_hears(&mut self, client: usize, sent: u64, generation: u64, answer: &Bytes) {
        let declines = self.dice.percent(2);
        let Client::Stranger6(stranger) = &mut self.clients[client] else { return };
        let said = match stranger.state {
            State::Advertise => stranger.request(answer),
            State::Reply => match Stranger6::replied(answer) {
                Some(Some(_)) if declines && stranger.address.is_none() => {
                    let given = Stranger6::replied(answer).flatten();
                    stranger.address = given.map(|given| given.address);
                    Some(stranger.decline())
                }
                Some(Some(given)) => return self.bound6(client, sent, generation, &given),
                // The server knows nothing of it.
                Some(None) => {
                    stranger.address = None;
                    let said = stranger.solicit();
                    self.forget6(client);
                    Some(said)
                }
                None => None,
            },
            State::Off | State::Bound => None,
        };
        said.into_iter().for_each(|said| self.say6(client, said));
    }

    /// A lease is believed from when it was asked for, for as long as it says.
    fn bound6(&mut self, client: usize, sent: u64, generation: u64, given: &Given) {
        let Given { address, seconds } = *given;
        self.tally.acknowledged6 += 1;
        if generation >= self.lost_at {
            if let Some((other, until)) = self.claims6.get(&address) {
                let (has, gets) = (self.mac(*other), self.mac(client));
                assert!(*other == client || *until <= self.now, "{address} of {has} is given to {gets}");
            }
            self.forget6(client);
            self.claims6.insert(address, (client, sent + u64::from(seconds) * SECOND));
        }
        let Client::Stranger6(stranger) = &mut self.clients[client] else { return };
        stranger.address = Some(address);
        stranger.state = State::Bound;
        stranger.attempt += 1;
        let (attempt, wait) = (stranger.attempt, Stranger::rest(&mut self.dice, LEASE));
        self.later(wait, Item::Timer { client, attempt });
    }

    pub(super) fn stranger6_wakes(&mut self, client: usize) {
        let chance = self.dice.below(100);
        let now = self.now;
        let runs = self.claims6.values().any(|(user, until)| *user == client && *until > now);
        let Client::Stranger6(stranger) = &mut self.clients[client] else { return };
        let said = match stranger.state {
            State::Off => stranger.solicit(),
            State::Bound if !runs => stranger.solicit(),
            State::Bound if chance < 15 => {
                let said = stranger.release();
                self.forget6(client);
                said
            }
            // It is switched off, and wants its address back when it comes again.
            State::Bound if chance < 30 => {
                stranger.state = State::Off;
                stranger.attempt += 1;
                let attempt = stranger.attempt;
                self.forget6(client);
                let wait = self.dice.between(MINUTE, 30 * MINUTE);
                return self.later(wait, Item::Timer { client, attempt });
            }
            State::Bound if chance < 50 => stranger.rebind(),
            State::Bound => stranger.renew(),
            State::Advertise | State::Reply if stranger.tries > 4 => {
                let said = stranger.solicit();
                self.forget6(client);
                said
            }
            State::Advertise | State::Reply => stranger.again(),
        };
        self.say6(client, said);
    }

    /// No acknowledged lease got lost or shorter.
    pub(super) fn check_claims6(&self) {
        let state = self.daemon.state().expect("it was started");
        for (address, (client, until)) in self.claims6.iter().filter(|(_, (_, until))| *until > self.now) {
            let lease = state.leases6().at(*address).expect("an acknowledged lease is lost");
            let mac = self.mac(*client);
            assert!(lease.state == LeaseState::Bound && lease.mac == mac, "{mac} had {address}: {lease:?}");
            assert!(lease.expires >= Time(*until), "the lease of {address} got shorter");
        }
    }
}
