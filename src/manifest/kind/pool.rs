//! `[pool.NAME]`: machines that are given to whoever claims one.

use super::Kind;
use super::table::{Labels, table};
use crate::manifest::Marked;
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::model::{Name, OnReturn, Span, WipeLevel};

table! {
    pub struct Pool: "pools", "Machines that are given to whoever claims one (`voldemortctl claim`)." {
        profile: Option<Marked<Name>> = must "profile": Text(Form::Name(Kind::Profile)),
            "What a machine of this pool runs.";
        select: Option<Marked<Labels>> = must "select": Selector,
            "Labels that a machine must have, and what its hardware must be, as in \"memory\" = \">= 16 GiB\".";
        max: Option<Marked<u32>> = may "max": Integer(0),
            "Most machines given out at a time; further claims wait. No limit if absent.";
        per_caller: Option<Marked<u32>> = may "per-caller": Integer(1),
            "Most claims that one caller may have at a time, those that wait among them; no limit if absent.";
        ttl: Option<Marked<Span>> = may "ttl": Text(Form::Duration),
            "After this a claim ends by itself, as in \"8h\"; until it is released if absent.";
        clean: Option<Marked<bool>> = may "clean": Boolean,
            "Whether only machines are given out whose disks our agent has found blank, or has wiped; true if absent.";
        on_return: Option<Marked<OnReturn>> = may "on-return": Text(Form::Choice(OnReturn::NAMES)),
            "What happens to a machine given back: \"wipe\" (as without the key) erases its disks, \"wipe-and-off\" \
             switches it off then, \"keep\" leaves them as they are.";
        level: Option<Marked<WipeLevel>> = may "level": Text(Form::Choice(WipeLevel::NAMES)),
            "How its disks are erased: \"quick\" (signatures, then discarded: no sanitising), \"clear\" (overwritten and \
             read back; as without the key) or \"purge\" (by the disk's own sanitize command).";
    }
}
