//! The life of a machine: found, accepted, given to a deployment or a claim, taken back, wiped, free again.
//!
//! Four axes describe a machine, each moved by a table of its own: which state, which cause, which next state. What a
//! table does not list can't happen, and the command that wanted it is refused. The tables hold no data and decide
//! nothing else; [`super::apply`] keeps the data and carries out what follows. `docs/life-cycle.md` is printed
//! from them.

pub mod boot;
pub mod condition;
pub mod disk;
pub mod known;
pub mod tenancy;
pub mod word;
pub mod work;

pub use boot::Boot;
pub use condition::Condition;
pub use disk::DiskState;
pub use known::Known;
pub use word::Word;
pub use work::Work;

#[cfg(test)]
mod tests;
