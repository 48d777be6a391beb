//! Tests over real sockets.

mod http;
mod kit;
mod tftp;
