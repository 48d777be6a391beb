//! What profiles and deployments have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::table::{Labels, Mention, Setting, Written, table};
use super::{Extra, Kind};
use crate::manifest::shape::Form;
use crate::manifest::shape::Shape::*;
use crate::manifest::{Field, Fields, Key, Marked, Shape, Table as TableValue, Value};
use crate::model::Name;

table! {
    /// What profiles and deployments have in common.
    #[derive(Default)]
    pub struct Settings: "settings", "Settings that profiles and deployments have in common." {
        subnet: Option<Marked<Name>> = may "subnet": Text(Form::Name(Kind::Subnet)), "Network of the machine.";
        boot: Option<Marked<Name>> = may "boot": Text(Form::Name(Kind::Boot)), "What the machine boots.";
        template: Option<Marked<Name>> = may "template": Text(Form::Name(Kind::Template)),
            "Answer file for the installer; without one the machine runs from the network.";
        user_data: Option<Marked<Name>> = may "user-data": Text(Form::Name(Kind::Template)),
            "Template of kind cloud-init for the user data at `nocloud_url`, which cloud-init reads at each start.";
        unproven: Option<Marked<bool>> = may "unproven": Boolean,
            "Whether a built-in template may be used of which no test knows that its installer takes it.";
        /// By template spelling; the generally known variables that have a setting of their own too.
        vars: Variables = may "vars": Shape::Variables(&Anything),
            "Values for variables of templates and command lines.";
        labels: Labels = may "labels": Map(&Text(Form::Any)), "Words of your own, to select by.";
        without: Vec<Marked<Arc<str>>> = may "without": Several(&Text(Form::Any)),
            "Inherited settings that do not count here, as in [\"template\", \"vars.root-hash\", \"options.ntp-servers\"].";
        + KNOWN;
        ..extra: Extra;
    }
}

/// Generally known variables, which have a setting of their own. The field `vars` takes them.
const KNOWN: &[Key] = &[
    Key::variable("packages", List(&Text(Form::Any)), "Packages to install."),
    Key::variable("users", List(&Table(&USER)), "Accounts to create."),
    Key::variable("ssh-keys", Several(&Text(Form::Any)), "Public keys that may log in as the first user."),
    Key::variable(
        "disk",
        TextOr(&DISK),
        "Disk to install to, as in \"/dev/sda\", or what it is like, as in { serial = \"…\" }.",
    ),
    Key::variable("timezone", Text(Form::Any), "As in \"Europe/Berlin\"."),
    Key::variable(
        "hostname",
        Text(Form::HostName),
        "The machine's host name; the deployment's name if absent.",
    ),
    Key::variable("domain", Text(Form::HostName), "The machine's domain; the subnet's if absent."),
];

/// Stays a value of the variable `disk`.
const DISK: Fields = Fields::new(
    "disk",
    "What the one disk to install to is like.",
    &[
        Key::may("serial", Text(Form::Any), "Its serial number, all of it."),
        Key::may("wwn", Text(Form::Any), "Its World Wide Name, or a part of it."),
        Key::may("model", Text(Form::Any), "Its model, or a part of it."),
        Key::may("min-size", Text(Form::Size), "It has at least this, as in \"200 GiB\"."),
        Key::may("max-size", Text(Form::Size), "It has at most this."),
        Key::may("rotational", Boolean, "Whether it has platters that turn."),
        Key::may(
            "transport",
            Text(Form::Choice(&["nvme", "sata", "sas", "usb", "virtio"])),
            "How it is connected.",
        ),
    ],
);

/// Stays a value of the variable `users`: it has no structure.
const USER: Fields = Fields::new(
    "users",
    "An account on the installed machine.",
    &[
        Key::must("name", Text(Form::Any), "Login name."),
        Key::may("password-hash", Anything, "Crypt hash of the password: a text, or { secret = \"…\" }."),
        Key::may("ssh-keys", Several(&Text(Form::Any)), "Public keys that may log in."),
        Key::may("sudo", Boolean, "Whether the account may become root."),
        Key::may("groups", Several(&Text(Form::Any)), "Further groups of the account."),
        Key::may("shell", Text(Form::Any), "Its login shell, as in \"/bin/bash\"."),
    ],
);

/// The setting that leaves inherited ones out. In files of environments every resource has it: what the
/// inventory says of the resource is left out.
pub const WITHOUT: &str = "without";

impl Settings {
    /// The generally known variables that have a setting of their own, as manifests spell them.
    pub fn known() -> impl Iterator<Item = &'static str> {
        Settings::FIELDS.variables()
    }
}

/// Values of variables, by template spelling.
#[derive(Clone, Debug, Default)]
pub struct Variables(pub BTreeMap<Arc<str>, Field>);

impl Setting for Variables {
    fn take(table: &mut TableValue, key: &str) -> Variables {
        let mut variables = match table.take(key) {
            Some(Marked { value: TableValue(variables), .. }) => respelt(variables),
            None => BTreeMap::new(),
        };
        for known in Settings::known() {
            if let Some(field) = table.0.remove(known) {
                variables.insert(underscored(known), Field { value: deep(field.value), ..field });
            }
        }
        Variables(variables)
    }

    fn mentions<'a>(&'a self, _: Option<Kind>, visit: &mut dyn FnMut(Mention<'a>)) {
        visit(Mention::Variables(&self.0));
    }
}

/// A manifest's spelling of a name as templates spell it.
pub(super) fn underscored(name: &str) -> Arc<str> {
    name.replace('-', "_").into()
}

fn respelt(table: BTreeMap<Arc<str>, Field>) -> BTreeMap<Arc<str>, Field> {
    table
        .into_iter()
        .map(|(key, field)| (underscored(&key), Field { value: deep(field.value), ..field }))
        .collect()
}

/// Tables inside a value are respelt too: templates reach into them with dots.
fn deep(value: Marked<Value>) -> Marked<Value> {
    let Marked { value, mark } = value;
    let value = match value {
        Value::Table(TableValue(table)) => Value::Table(TableValue(respelt(table))),
        Value::List(list) => Value::List(list.into_iter().map(deep).collect()),
        other => other,
    };
    Marked::new(value, mark)
}
