//! `[pool.NAME]`: machines that are given out on request.

use std::sync::Arc;

use super::Kind;
use super::table::{Labels, table};
use crate::manifest::Marked;
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::model::{Name, Span};

table! {
    pub struct Pool: "pools", "Machines that are given to requests: accepted, not acted on yet." {
        profile: Option<Marked<Name>> = must "profile": Text(Form::Name(Kind::Profile)),
            "What a machine of this pool runs.";
        select: Option<Marked<Labels>> = must "select": Selector, "Labels that a machine must have.";
        max: Option<Marked<i64>> = may "max": Integer(0), "Most machines given out at a time.";
        ttl: Option<Marked<Span>> = may "ttl": Text(Form::Duration), "After this a claim ends by itself, as in \"8h\".";
        on_return: Option<Marked<Arc<str>>> = may "on-return": Text(Form::Choice(&["wipe", "keep"])),
            "What happens to a machine given back.";
    }
}
