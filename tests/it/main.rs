//! Hermetic tests of the whole, over loopback at most: no root, no sleeping for luck. One program,
//! so that it links once.

mod again;
mod bounds;
mod check;
mod ci;
mod commands;
mod editors;
mod environment;
mod explain;
mod fix;
mod formats;
mod golden;
mod hostile;
mod http;
mod inventory;
mod ipv6_only;
mod json;
mod kit;
mod layers;
mod lossy;
mod plan;
mod power;
mod program;
mod readme;
mod reconcile;
mod render;
mod replay;
mod reports;
mod resolve;
mod schema;
mod secret;
mod siege;
mod sources;
mod tftp;
mod walk;
mod waves;
