//! What machines do with the answers they get: they act, wait, wipe their disks and restart.

use super::*;

impl World {
    pub(super) fn hear(&mut self, client: usize, attempt: u64, sent: u64, generation: u64, told: &Told) {
        if attempt != self.attempt(client) {
            return;
        }
        if let Told::Datagram(bytes) = told {
            self.check_offer(client, generation, bytes);
            self.claim(client, sent, generation, bytes);
        }
        let link = self.link();
        match &mut self.clients[client] {
            Client::Machine(machine) => {
                let act = machine.hear(&link, SERVER, told);
                self.act(client, act);
            }
            Client::Stranger(_) => self.stranger_hears(client, told),
            Client::Stranger6(_) => {
                if let Told::Datagram6(bytes) = told {
                    self.stranger6_hears(client, sent, generation, bytes);
                }
            }
        }
    }

    /// An ACK is believed from when it was asked for, for as long as it says.
    pub(super) fn claim(&mut self, client: usize, sent: u64, generation: u64, bytes: &Bytes) {
        let reply = Reply::of(bytes.clone());
        let acknowledged = reply.option(53) == Some(&[5]);
        let waits = match &self.clients[client] {
            Client::Machine(machine) => matches!(machine.state, machine::State::Ack(..)),
            Client::Stranger(stranger) => stranger.state == stranger::State::Ack,
            Client::Stranger6(_) => false,
        };
        let seconds = reply.option(51).and_then(|value| Some(u32::from_be_bytes(value.try_into().ok()?)));
        let (true, true, Some(seconds)) = (acknowledged, waits, seconds) else { return };
        self.tally.acknowledged += 1;
        if generation < self.lost_at {
            return;
        }
        let address = reply.address();
        if let Some((other, until)) = self.claims.get(&address) {
            let (has, gets) = (self.mac(*other), self.mac(client));
            assert!(*other == client || *until <= self.now, "{address} of {has} is given to {gets}");
        }
        self.claims.retain(|_, (user, _)| *user != client);
        self.claims.insert(address, (client, sent + u64::from(seconds) * SECOND));
    }

    pub(super) fn act(&mut self, client: usize, act: Act) {
        match act {
            Act::Nothing => {}
            Act::Say(bytes) => self.say(client, bytes, true),
            Act::Fetch(Errand { path, transport, .. }) => {
                let Client::Machine(machine) = &self.clients[client] else { return };
                let asker = machine.asker(transport);
                self.send(client, Body::Fetch(asker, path));
            }
            Act::Wipe => self.wipe(client),
            Act::Reboot => self.reboot(client, 30 * SECOND),
        }
    }

    /// The installer starts: this must be the only time under this number, and known to the disk.
    pub(super) fn wipe(&mut self, client: usize) {
        let Client::Machine(machine) = &mut self.clients[client] else { return };
        let wanted = self.daemon.desired.deployments[&machine.name].redeploy;
        let number = match self.daemon.install(&machine.name) {
            // What was stored when it was told to install is lost since.
            None if self.lost_at > 0 => wanted,
            stored => {
                let install = stored.expect("the permission was not stored first");
                let is_lost = self.lost_at > 0 && install.redeploy < wanted;
                assert!(
                    is_lost || install.stage != InstallStage::Started,
                    "{} got its answers unrecorded",
                    machine.name
                );
                if is_lost { wanted } else { install.redeploy }
            }
        };
        let wipes = machine.wipes.entry(number).or_default();
        *wipes += 1;
        assert_eq!(*wipes, 1, "{} is installed again under number {number}", machine.name);
        machine.installed = None;
        let attempt = machine.attempt;
        if self.dice.percent(self.trouble.power) {
            self.tally.interrupted += 1;
            return self.reboot(client, MINUTE);
        }
        let wait = self.dice.between(MINUTE, 10 * MINUTE);
        self.later(wait, Item::Timer { client, attempt });
    }

    pub(super) fn reboot(&mut self, client: usize, wait: u64) {
        self.claims.retain(|_, (user, _)| *user != client);
        let Client::Machine(machine) = &mut self.clients[client] else { return };
        machine.reset();
        let attempt = machine.attempt;
        let wait = wait + self.dice.below(MINUTE);
        self.later(wait, Item::Timer { client, attempt });
    }

    pub(super) fn timer(&mut self, client: usize, attempt: u64) {
        if attempt != self.attempt(client) {
            return;
        }
        match &self.clients[client] {
            Client::Machine(_) => self.machine_wakes(client),
            Client::Stranger(_) => self.stranger_wakes(client),
            Client::Stranger6(_) => self.stranger6_wakes(client),
        }
    }

    pub(super) fn machine_wakes(&mut self, client: usize) {
        let link = self.link();
        let silent = self.dice.percent(self.trouble.silent);
        let has_lost = self.lost_at > 0;
        let Client::Machine(machine) = &mut self.clients[client] else { return };
        let act = match machine.state {
            machine::State::Off => machine.power_on(&link),
            machine::State::Up | machine::State::Stuck => {
                // Somebody restarts it.
                return self.reboot(client, 0);
            }
            machine::State::Installing => {
                let number = machine.wipes.keys().max().copied();
                machine.installed = number;
                self.tally.installed += 1;
                match silent {
                    true => return self.reboot(client, 30 * SECOND),
                    false => machine.written(SERVER),
                }
            }
            // Firmware gives up and starts over; an installer asks until it is told.
            _ if machine.tries > 6 && machine.is_before_installer() => return self.reboot(client, SECOND),
            // Its URLs are of an installation that is not known any more.
            _ if machine.tries > 30 && has_lost => return self.reboot(client, SECOND),
            _ => machine.again(&link),
        };
        self.act(client, act);
    }
}
