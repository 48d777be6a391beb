//! Built-in templates by name.

use crate::render::Kind;

pub(super) struct Builtin {
    pub name: &'static str,
    pub kind: Kind,
    pub text: &'static str,
}

static ALL: [Builtin; 2] = [
    Builtin { name: "preseed", kind: Kind::Preseed, text: "d-i netcfg/get_hostname string {{ hostname }}\n" },
    Builtin { name: "kickstart", kind: Kind::Kickstart, text: "network --hostname={{ hostname }}\n" },
];

pub(super) fn lookup(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|builtin| builtin.name)
}
