//! voldemort: the deployment engine who must not be named.

pub mod daemon;
pub mod desired;
pub mod media;
pub mod model;
pub mod proto;
pub mod render;
pub mod source;
pub mod table;
