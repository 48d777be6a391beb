//! The nouns: plain values whose constructors refuse nonsense. Imports nothing of ours.

pub mod arch;
pub mod base64;
pub mod caller;
pub mod content;
pub mod dhcp_option;
pub mod hex;
pub mod identity;
pub mod inventory;
pub mod mac;
pub mod mode;
pub mod name;
pub mod net;
pub mod net6;
pub mod origin;
pub mod power;
pub mod similar;
pub mod size;
pub mod time;
pub mod window;

pub use arch::{ClientArch, Cpu, Firmware};
pub use base64::base64;
pub use caller::{By, Caller, Role};
pub use content::{Content, Extent};
pub use hex::hex;
pub use identity::Identity;
pub use inventory::{Access, Git, Inventory, Reference, Signed, Verify};
pub use mac::Mac;
pub use mode::Mode;
pub use name::Name;
pub use net::{Cidr, Range};
pub use net6::{Cidr6, Range6};
pub use origin::Origin;
pub use power::{Power, PowerKind, PowerReading, PowerState};
pub use size::Size;
pub use time::{Span, Time};
pub use window::Window;
