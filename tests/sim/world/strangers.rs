//! What strangers do with what they hear, and with their time.

use bytes::Bytes;
use voldemort::walk::client::Reply;

use super::{Client, Item, MINUTE, World};
use crate::daemon::Told;
use crate::inventory::LEASE;
use crate::stranger::{self, Stranger};

impl World {
    /// Who asks twice is offered the same, unless the daemon has forgotten it in a crash.
    pub(super) fn check_offer(&mut self, client: usize, generation: u64, bytes: &Bytes) {
        let reply = Reply::of(bytes.clone());
        let Client::Stranger(stranger) = &mut self.clients[client] else { return };
        if reply.option(53) != Some(&[2]) || stranger.state != stranger::State::Offer {
            return;
        }
        if let Some((address, when, at)) = stranger.offered
            && when == generation
            && self.now < at + MINUTE
        {
            assert_eq!(address, reply.address(), "{} is offered something else", stranger.mac);
        }
        stranger.offered = Some((reply.address(), generation, self.now));
    }

    pub(super) fn stranger_hears(&mut self, client: usize, told: &Told) {
        let Told::Datagram(bytes) = told else { return };
        let reply = Reply::of(bytes.clone());
        let declines = self.dice.percent(2);
        let Client::Stranger(stranger) = &mut self.clients[client] else { return };
        let said = match (stranger.state, reply.option(53)) {
            (stranger::State::Offer, Some([2])) => stranger.select(&reply),
            (stranger::State::Ack, Some([5])) if declines => {
                self.claims.retain(|_, (user, _)| *user != client);
                stranger.decline(reply.address())
            }
            (stranger::State::Ack, Some([5])) => {
                stranger.address = Some(reply.address());
                stranger.state = stranger::State::Bound;
                stranger.attempt += 1;
                let (attempt, wait) = (stranger.attempt, Stranger::rest(&mut self.dice, LEASE));
                return self.later(wait, Item::Timer { client, attempt });
            }
            (stranger::State::Ack, Some([6])) => {
                stranger.address = None;
                self.claims.retain(|_, (user, _)| *user != client);
                stranger.discover()
            }
            _ => return,
        };
        self.say(client, said, true);
    }

    pub(super) fn stranger_wakes(&mut self, client: usize) {
        let chance = self.dice.below(100);
        let now = self.now;
        let runs = self.claims.values().any(|(user, until)| *user == client && *until > now);
        let Client::Stranger(stranger) = &mut self.clients[client] else { return };
        let said = match stranger.state {
            stranger::State::Off => Some(stranger.wake()),
            stranger::State::Bound if !runs => Some(stranger.discover()),
            stranger::State::Bound if chance < 15 => {
                self.claims.retain(|_, (user, _)| *user != client);
                stranger.release()
            }
            // It is switched off, and wants its address back when it comes again.
            stranger::State::Bound if chance < 30 => {
                self.claims.retain(|_, (user, _)| *user != client);
                stranger.state = stranger::State::Off;
                stranger.attempt += 1;
                let (attempt, wait) = (stranger.attempt, self.dice.between(MINUTE, 30 * MINUTE));
                return self.later(wait, Item::Timer { client, attempt });
            }
            stranger::State::Bound => {
                let said = stranger.renew();
                return said.into_iter().for_each(|said| self.say(client, said, false));
            }
            _ if stranger.is_waiting() && stranger.tries > 4 => Some(stranger.discover()),
            _ => stranger.again(),
        };
        said.into_iter().for_each(|said| self.say(client, said, true));
    }
}
