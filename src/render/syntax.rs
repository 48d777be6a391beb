//! The syntaxes that answer files of several kinds are written in, as their readers read them.

pub(super) mod cloud;
mod mime;
pub(super) mod xml;
pub(super) mod yaml;
