//! voldemort, the deployment engine who must not be named: manifests in git become machines that
//! install themselves.
//!
//! One pipeline of values, one keeper of state, one rim of I/O. Each command is a longer prefix
//! of the same pipeline:
//!
//! ```text
//! check = read -> parse -> resolve -> lint -> walk every boot
//! plan  = check + diff against the state
//! apply = plan + hand the changes to the keeper
//! start = apply, for ever, while serving
//!
//!    directory / git                              operator
//!          |                                         |
//!       source -> Snapshot                          api
//!          |                                         |
//!       manifest -> Documents + Problems             |
//!          |      media -> Index   render -> bytes   |
//!       desired -> Desired + Problems                |
//!          |                                         |
//!        plan  <- State                              |
//!          +-----------------> keeper <--------------+
//!                 one thread, one queue, the only writer;
//!                 stores first, then publishes a State
//!                   |              |             |
//!            proto::dhcp(6)  proto (TFTP)   proto (HTTP)    pure: read a State
//!                   |              |             |
//!                sockets and timers in daemon  ---- events -> keeper
//! ```
//!
//! # Rooms
//!
//! | room | job | may import |
//! |---|---|---|
//! | [`model`] | the nouns | – |
//! | [`manifest`] | TOML text to documents; every problem has a place | model |
//! | [`edit`] | what a verb means, put into the text of manifests | model, manifest, render |
//! | [`render`] | templates to bytes | model |
//! | [`secret`] | age files: what they tell, encrypting, decrypting | model |
//! | [`media`] | ISO images, directories, files: what exists and where its bytes lie | model |
//! | [`desired`] | documents to desired state, cross-checked | model, manifest, render, secret, media |
//! | [`state`] | the live state as a value; `apply` changes it | model, desired |
//! | [`plan`] | desired state against the live one | model, desired, state |
//! | [`proto`] | protocol decisions over a state | model, desired, state |
//! | [`walk`] | plays a firmware against `proto` | model, desired, state, proto |
//! | [`inventory`] | snapshot to checked, simulated, remembered desired state | model, manifest, render, media, desired, state, plan, proto, walk |
//! | [`source`] | directory or git repository to snapshots | model |
//! | [`store`] | what survives a crash | model, state |
//! | [`power`] | what management controllers tell of power | model |
//! | [`api`] | the control API | model, edit, secret, state, plan |
//! | [`config`] | the daemon's settings | model |
//! | [`daemon`] | sockets, tasks, clock, the keeper | all above |
//! | [`cli`] | one file per command | all above |
//!
//! # What is absent
//!
//! * The pure rooms (model, manifest, edit, render, desired, state, plan, proto, walk) hold no socket,
//!   file, clock, environment or randomness.
//! * Only `state::apply` changes the state, and only `daemon::keeper` runs it in the daemon. What must last is stored before it is published.
//! * Nothing the daemon serves lies in files of its own: scripts and answers are rendered when
//!   asked for, media is read from where it is.
//! * A revision is loaded whole or not at all; a broken one takes nothing away.
//! * Installed machines are never installed again but by a raised `redeploy`
//!   ([`state::install`]).
//!
//! `tests/it/layers.rs` keeps the table above true.

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod desired;
pub mod edit;
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
pub mod walk;

/// Everything here is many small values, made on one thread and let go on another: with the C
/// library's allocator a check takes a fifth longer, and a re-check two thirds.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is let go is the system's again at once, for a process that stays: by itself mimalloc keeps it
/// for what may come, which is 30 MB more for a daemon of 10,000 deployments. To be called before
/// there are threads.
pub fn stay_small() {
    /// `mi_option_purge_delay` of mimalloc.h, in milliseconds.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: options are read and written without a lock, and nobody else is there yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) }
}
