//! TOML text to `Documents`. Every mistake of every file is reported in one run, with its place,
//! a number (`Code`) and the smallest cure. Nothing here looks further than one resource: what
//! resources mean together is the business of `desired`.

pub mod checker;
pub mod code;
pub mod document;
pub mod environment;
pub mod explain;
pub mod fix;
pub mod host;
pub mod inventory;
pub mod kind;
pub mod mark;
mod overlay;
pub mod problem;
mod quote;
pub mod report;
pub mod scan;
pub mod schema;
pub mod shape;
pub mod sources;
mod syntax;
pub mod value;
pub mod without;
pub mod written;

mod parse;
mod part;

pub use crate::model::similar;
pub use code::Code;
pub use document::Resource;
pub use environment::{Environment, NoEnvironment};
pub use kind::{Documents, Kind, Mention};
pub use mark::{Mark, Marked};
pub use parse::{base_manifests, is_manifest, is_overlaid, parse};
pub use part::{Fleet, Part, join, part};
pub use problem::{Edit, Label, Level, Problem};
pub use shape::{Fields, Form, Key, Shape};
pub use sources::{Position, Source, Sources, Tree};
pub use value::{Field, Table, Value};
pub use written::WrittenFile;
