//! `[profile.NAME]`: settings that deployments share.

use super::table::table;
use super::{Kind, Settings};
use crate::manifest::Marked;
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::model::Name;

table! {
    pub struct Profile: "profiles", "Settings that deployments share." {
        extends: Vec<Marked<Name>> = may "extends": Several(&Text(Form::Name(Kind::Profile))),
            "Profiles to start from; later ones win.";
        ..settings: Settings;
    }
    addition: Addition::Named("name it in a deployment's `profile` or another's `extends`");
}
