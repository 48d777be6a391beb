//! voldemort: the deployment engine who must not be named.

pub mod desired;
pub mod media;
pub mod model;
pub mod plan;
pub mod proto;
pub mod render;
pub mod source;
pub mod store;
pub mod table;
