//! voldemort, the deployment engine who must not be named: manifests in git become machines that
//! install themselves.
//!
//! One pipeline of values, one reducer, one rim of I/O. Each command is a longer prefix of the same
//! pipeline:
//!
//! ```text
//! check = read -> parse -> resolve -> lint -> simulate every boot
//! plan  = check + diff against the state
//! apply = plan + hand the changes to the keeper
//! start = apply, for ever, while serving
//!
//!   git / directory                                  people and programs
//!        |                                                  |
//!     source                                               api     (Caller: who, with which role)
//!        |  Snapshot { revision, files }                    |
//!     manifest -> Documents + Problems                      |
//!        |            media -> Index    render -> bytes     |
//!     desired  -> Desired + Problems      (pure)            |
//!        |                                                  |
//!      plan    <- &State                  (pure)            |
//!        |                                                  |
//!        +-----------> Command { by: Caller, verb } <-------+---- observations (DHCP, TFTP, HTTP, power)
//!                              |
//!              daemon::keeper: one thread, one queue, no domain word in it
//!                state::apply(&mut State, Command, now, &mut Applied { records, events, effects })     (pure)
//!                store::Engine                    one durable commit of records and events for the whole batch
//!                publish the State; reply; carry the effects out
//!                              |
//!      +-------------+---------+---+-------------+
//!      |             |             |             |
//! proto::dhcp(6)  proto::tftp  proto::http   api reads     (pure: each reads a published State)
//!      |             |             |
//!   sockets and timers in daemon ---- commands -> keeper
//! ```
//!
//! There is exactly one reducer. The daemon, the simulation in `tests/sim`, the simulated boots and `replay`
//! run the same [`state::apply`] over the same [`state::State`]; what differs is where records go (a disk,
//! memory, nowhere) and who sends commands. Nothing else changes the state, so that a property proven in
//! the simulation is a property of the daemon.
//!
//! # Rooms
//!
//! | room | job | may import |
//! |---|---|---|
//! | [`model`] | the nouns | – |
//! | [`thread`] | starts threads that nobody waits for | – |
//! | [`manifest`] | TOML text to documents; every problem has a place | model |
//! | [`edit`] | what a verb means, put into the text of manifests | model, manifest, render |
//! | [`render`] | templates to bytes | model |
//! | [`import`] | configurations of other DHCP servers to the text of manifests | model |
//! | [`secret`] | age files: what they hold, encrypting, decrypting | model |
//! | [`media`] | ISO images, directories, files: what exists and where its bytes lie | model, thread |
//! | [`desired`] | documents to desired state, cross-checked | model, manifest, render, secret, media |
//! | [`state`] | the live state as a value; `apply` changes it: commands in, records, events and effects out | model, desired |
//! | [`plan`] | desired state against the live one | model, desired, state |
//! | [`proto`] | protocol decisions over a state | model, desired, state |
//! | [`walk`] | simulates a firmware against `proto` | model, desired, state, proto |
//! | [`inventory`] | the set of sources; snapshot to checked, simulated, remembered desired state | model, manifest, render, media, desired, state, plan, proto, walk |
//! | [`source`] | directory or git repository to snapshots | model, thread |
//! | [`store`] | what survives a crash | model, state, thread |
//! | [`power`] | the power of machines: read and switched through their management controllers | model |
//! | [`api`] | the control API | model, manifest, edit, secret, desired, state, plan, power |
//! | [`agent`] | the program on a machine that is described or wiped: process 1 of an initrd | model, thread, api |
//! | [`config`] | the daemon's settings | model |
//! | [`daemon`] | sockets, tasks, clock, the keeper | all above |
//! | [`cli`] | one file per command | all above |
//!
//! A room that may import `desired` may also name what its values are made of: `media` and `render`.
//! `tests/it/layers.rs` reads this table and holds every file to it, and the list of pure rooms below.
//!
//! # What is absent
//!
//! * The pure rooms (model, manifest, edit, import, render, desired, state, plan, proto, walk) hold no socket,
//!   file, clock, environment or randomness: time and bytes come in as arguments, decisions go out as
//!   values. The one lock in them guards a memo of rendered bytes, `state::memo`.
//! * Only `state::apply` changes the state, and in the daemon only `daemon::keeper` calls it. What must last
//!   is stored before the new state is published and before anybody has an answer.
//! * Nothing the daemon serves lies in files of its own: scripts and answers are rendered when
//!   asked for, media is read from where it is.
//! * A revision is loaded whole or not at all; a broken one takes nothing away.
//! * Absent, unreadable, damaged and earlier state are four different things, and none of them is new
//!   ([`store`]).
//! * Installed machines are never installed again but by a raised `redeploy`
//!   ([`state::install`]).

// What can't fail is said by `expect`, with the reason; input never reaches either.
#![cfg_attr(not(test), deny(clippy::unwrap_used))]

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod desired;
pub mod edit;
pub mod import;
pub mod inventory;
pub mod manifest;
pub mod media;
pub mod model;
pub mod plan;
pub mod power;
pub mod proto;
pub mod render;
pub mod secret;
pub mod source;
pub mod state;
pub mod store;
pub mod thread;
pub mod walk;

/// Everything here is many small values, made on one thread and let go on another: with the C
/// library's allocator a check takes a fifth longer, and a re-check two thirds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has the kernel give this process, which stays, memory by small pages: with those of 2 MB a daemon holds 10 to 20 MB
/// more, for each thread fills its own, and the kernel clears them again and again. To be called before there
/// are threads. Programs that it starts inherit it. What is let go is given back after a fifth of a second instead of
/// a whole one: a daemon with 18,000 deployments holds 8 MB less while they boot, for the same processor time.
pub fn stay_small() {
    // What can't be had is done without.
    let _ = nix::sys::prctl::set_thp_disable(true);
    // SAFETY: it may be called from any thread at any time, with any number of an option.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 200) }
}

/// `mi_option_purge_delay` of mimalloc.h, in milliseconds. The crate names only its neighbours, 14 and 16.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Gives the system back what was let go some time ago and not taken again since. By itself mimalloc does that when
/// more is wanted: a daemon that has just loaded a revision and rests would keep all of it.
pub fn give_back() {
    // SAFETY: it may be called from any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(false) }
}

#[cfg(test)]
mod tests {
    /// The delay alone of all options is a thousand by default.
    #[test]
    fn the_number_is_that_of_the_purge_delay() {
        // SAFETY: it may be called from any thread at any time.
        let delay = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(delay, 1_000, "mimalloc has other options now");
    }
}
