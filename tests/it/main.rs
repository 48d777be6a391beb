//! Hermetic tests of the whole, over loopback at most: no root, no sleeping for luck. One program,
//! so that it links once.

mod check;
mod ci;
mod commands;
mod editors;
mod explain;
mod fix;
mod formats;
mod golden;
mod hostile;
mod http;
mod kit;
mod layers;
mod readme;
mod render;
mod resolve;
mod schema;
mod tftp;
mod walk;
