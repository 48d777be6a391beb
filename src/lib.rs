//! voldemort: the deployment engine who must not be named.

pub mod cli;
pub mod desired;
pub mod manifest;
pub mod media;
pub mod model;
pub mod proto;
pub mod render;
pub mod source;
pub mod table;
