//! The settings of each kind of resource as flags: made from the same table that the parser of
//! manifests reads, so that a new setting has its flag at once.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand, value_parser};
use serde_json::{Value as Json, json};

use super::value::{items, pairs, paths, several, text_or_table};
use crate::api::resource::Listed;
use crate::cli::live::{Names, names};
use crate::edit::{Edit, Setting, Verb};
use crate::manifest::{Form, Key, Kind, Shape};
use crate::model::Name;

/// One resource and its settings.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    kind: Kind,
    name: Option<String>,
    settings: Vec<Setting>,
    deployment_type: Option<String>,
}

/// `create KIND …`.
#[derive(Clone, Debug)]
pub(super) struct New(pub Resource);

/// `update KIND …`: the same, and `--unset`.
#[derive(Clone, Debug)]
pub(super) struct Changed(pub Resource);

/// `delete KIND …`: only which ones; all the names, patterns among them.
#[derive(Clone, Debug)]
pub(super) struct Gone(pub Resource, pub Vec<String>);

/// A deployment, where the verb says so.
#[derive(Clone, Debug)]
pub(super) struct Deployment(pub Resource);

impl Resource {
    pub(super) fn edit(&self, verb: Verb) -> Edit {
        let Resource { kind, name, settings, deployment_type } = self.clone();
        let own = settings.iter().find(|setting| setting.path == ["mac"]);
        let mac = own.and_then(|setting| match &setting.value {
            Json::Array(macs) => macs.first().and_then(Json::as_str),
            single => single.as_str(),
        });
        let mac = mac.map(str::to_owned);
        Edit { verb, kind, name, mac, settings, deployment_type, if_match: None }
    }
}

/// What a subcommand takes besides the settings.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    Settings,
    SettingsAndUnset,
    NameOnly,
}

impl Subcommand for New {
    fn augment_subcommands(command: Command) -> Command {
        kinds(command, Takes::Settings)
    }
    fn augment_subcommands_for_update(command: Command) -> Command {
        kinds(command, Takes::Settings)
    }
    fn has_subcommand(name: &str) -> bool {
        Kind::named(name).is_some()
    }
}

impl Subcommand for Changed {
    fn augment_subcommands(command: Command) -> Command {
        kinds(command, Takes::SettingsAndUnset)
    }
    fn augment_subcommands_for_update(command: Command) -> Command {
        kinds(command, Takes::SettingsAndUnset)
    }
    fn has_subcommand(name: &str) -> bool {
        Kind::named(name).is_some()
    }
}

impl Subcommand for Gone {
    fn augment_subcommands(command: Command) -> Command {
        kinds(command, Takes::NameOnly)
    }
    fn augment_subcommands_for_update(command: Command) -> Command {
        kinds(command, Takes::NameOnly)
    }
    fn has_subcommand(name: &str) -> bool {
        Kind::named(name).is_some()
    }
}

impl Args for Deployment {
    fn augment_args(command: Command) -> Command {
        flags(command, Kind::Deployment, Takes::Settings)
    }
    fn augment_args_for_update(command: Command) -> Command {
        flags(command, Kind::Deployment, Takes::Settings)
    }
}

macro_rules! from_matches {
    ($($wrapper:ident: $read:expr,)*) => {$(
        impl FromArgMatches for $wrapper {
            fn from_arg_matches(matches: &ArgMatches) -> Result<$wrapper, clap::Error> {
                $read(matches)
            }
            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = $wrapper::from_arg_matches(matches)?;
                Ok(())
            }
        }
    )*};
}

from_matches! {
    New: |matches| of_subcommand(matches).map(New),
    Changed: |matches| of_subcommand(matches).map(Changed),
    Gone: gone,
    Deployment: |matches| read(Kind::Deployment, matches).map(Deployment),
}

fn kinds(command: Command, takes: Takes) -> Command {
    let command = command.subcommand_required(true).arg_required_else_help(true);
    Kind::ALL.into_iter().fold(command, |command, kind| {
        let fields = kind.fields();
        let own = Command::new(kind.name()).alias(fields.plural).about(fields.about);
        command.subcommand(flags(own, kind, takes))
    })
}

fn of_subcommand(matches: &ArgMatches) -> Result<Resource, clap::Error> {
    let (kind, matches) = matches
        .subcommand()
        .and_then(|(name, matches)| Some((Kind::named(name)?, matches)))
        .ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingSubcommand))?;
    read(kind, matches)
}

fn gone(matches: &ArgMatches) -> Result<Gone, clap::Error> {
    let resource = of_subcommand(matches)?;
    let own = matches.subcommand().map(|(_, own)| own);
    let names = own.and_then(|own| own.get_many::<String>("NAME")).unwrap_or_default().cloned().collect();
    Ok(Gone(resource, names))
}

fn flags(command: Command, kind: Kind, takes: Takes) -> Command {
    let mut named = Arg::new("NAME").help("Its name");
    if let Some(list) = listed(kind) {
        named = named.add(names(Names::Of(list)));
    }
    if takes == Takes::NameOnly {
        let help = match kind {
            Kind::Deployment | Kind::Machine | Kind::Boot => "Their names, or patterns (web-*)",
            _ => "Their names",
        };
        named = named.action(ArgAction::Append).num_args(0..).help(help);
    }
    let mut command = command
        .arg(named)
        .arg(Arg::new("name").long("name").short('n').value_name("NAME").hide(true).conflicts_with("NAME"));
    for row in rows(kind) {
        if takes != Takes::NameOnly || row.id() == "mac" {
            command = command.arg(row.argument());
        }
    }
    if takes != Takes::NameOnly && kind == Kind::Deployment {
        let help = "The template and the boot of this name, as far as there are any";
        let flag = Arg::new("deployment-type").long("deployment-type").alias("deploymentType");
        command = command.arg(flag.value_name("NAME").help(help));
    }
    if takes == Takes::SettingsAndUnset {
        let help = "Remove this setting, as in --unset vars.user (repeatable)";
        let flag = Arg::new("unset").long("unset").value_name("KEY").action(ArgAction::Append);
        command = command.arg(flag.help(help));
    }
    command
}

/// The list that has the resources of a kind.
fn listed(kind: Kind) -> Option<Listed> {
    Listed::named(kind.fields().plural)
}

/// A setting that can be a flag. Tables inside lists (users) can not.
struct Row {
    path: Vec<&'static str>,
    key: &'static Key,
}

fn rows(kind: Kind) -> Vec<Row> {
    let mut rows = Vec::new();
    for key in kind.fields().keys {
        match &key.shape {
            Shape::Table(inner) => {
                rows.extend(
                    inner.keys.iter().map(|inner| Row { path: vec![key.name, inner.name], key: inner }),
                );
            }
            Shape::List(Shape::Table(_))
            | Shape::Map(Shape::Table(_))
            | Shape::Variables(Shape::Table(_)) => {}
            _ => rows.push(Row { path: vec![key.name], key }),
        }
    }
    rows
}

/// Spellings of the founding article.
const ALIASES: [(&str, &str); 3] = [("mac", "MAC"), ("iso-file", "isoPath"), ("iso-prefix", "isoPrefix")];

impl Row {
    fn id(&self) -> String {
        self.path.join("-")
    }

    fn argument(&self) -> Arg {
        let id = self.id();
        let mut flag = Arg::new(id.clone()).long(id.clone()).help(self.key.about);
        if let Some((_, alias)) = ALIASES.iter().find(|(own, _)| *own == id) {
            flag = flag.alias(*alias);
        }
        match &self.key.shape {
            Shape::Boolean => flag
                .value_name("true|false")
                .num_args(0..=1)
                .default_missing_value("true")
                .value_parser(value_parser!(bool)),
            Shape::Integer(least) => {
                flag.value_name("NUMBER").value_parser(value_parser!(i64).range(*least..))
            }
            Shape::Text(Form::Choice(choices)) => {
                flag.value_parser(PossibleValuesParser::new(choices.iter()))
            }
            Shape::Text(form) => {
                let list = if let Form::Name(kind) = form { listed(*kind) } else { None };
                let flag = flag.value_name(meta(form));
                match list {
                    Some(list) => flag.add(names(Names::Of(list))),
                    None => flag,
                }
            }
            Shape::Map(_) | Shape::Variables(_) | Shape::Selector => {
                flag.value_name("KEY=VALUE").num_args(1..).action(ArgAction::Append)
            }
            Shape::TextOr(_) => flag.value_name("TEXT|TABLE"),
            Shape::Secret => flag.value_name("SECRET"),
            Shape::List(Shape::Text(form)) | Shape::Several(Shape::Text(form)) => {
                flag.value_name(meta(form)).num_args(1..).action(ArgAction::Append)
            }
            Shape::List(_) | Shape::Several(_) | Shape::Table(_) | Shape::Anything => {
                flag.value_name("VALUE").num_args(1..).action(ArgAction::Append)
            }
        }
    }

    fn read(&self, matches: &ArgMatches) -> Result<Vec<Setting>, clap::Error> {
        let id = self.id();
        // `delete` has few of the flags.
        if !matches!(matches.try_contains_id(&id), Ok(true)) {
            return Ok(Vec::new());
        }
        let setting =
            |value: Json| Setting { path: self.path.iter().map(|key| (*key).to_owned()).collect(), value };
        let texts = || matches.get_many::<String>(&id).unwrap_or_default().map(String::as_str);
        Ok(match &self.key.shape {
            Shape::Boolean => {
                matches.get_one::<bool>(&id).map(|flag| setting(json!(flag))).into_iter().collect()
            }
            Shape::Integer(_) => {
                matches.get_one::<i64>(&id).map(|number| setting(json!(number))).into_iter().collect()
            }
            Shape::Text(_) => texts().map(|text| setting(json!(text))).collect(),
            Shape::TextOr(fields) => {
                let values = texts().map(|text| Ok(setting(text_or_table(&id, fields, text)?)));
                values.collect::<Result<_, clap::Error>>()?
            }
            Shape::Secret => texts().map(|text| setting(json!({ "secret": text }))).collect(),
            Shape::Map(inner) | Shape::Variables(inner) => {
                pairs(&id, &self.path, texts(), matches!(inner, Shape::Anything))?
            }
            Shape::Selector => pairs(&id, &self.path, texts(), false)?,
            Shape::List(_) | Shape::Table(_) | Shape::Anything => vec![setting(json!(items(&id, texts())))],
            Shape::Several(Shape::Text(Form::Path | Form::File)) => several(paths(texts()), setting),
            Shape::Several(_) => several(items(&id, texts()), setting),
        })
    }
}

/// The mistake of a path with a blank and no quotes: what comes after the path is no name of a resource.
/// `--isoPath /nfs/Operating Systems/debian.iso` would be read as two arguments.
pub(super) fn blank_in_path(arguments: &[OsString]) -> Option<clap::Error> {
    let words: Vec<&str> = arguments.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let at = words.iter().position(|word| PATHS.contains(word))?;
    let values = words[at + 1..].iter().take_while(|word| !word.starts_with('-'));
    let values: Vec<&str> = values.copied().collect();
    let more = values.get(1..).filter(|more| more.iter().any(|word| word.parse::<Name>().is_err()))?;
    let (flag, path) = (words[at], [&values[..1], more].concat().join(" "));
    let message = format!("a path with blanks is one word only in quotes: {flag} '{path}'\n");
    Some(clap::Error::raw(clap::error::ErrorKind::ValueValidation, message))
}

/// Flags that take one path.
const PATHS: [&str; 3] = ["--isoPath", "--iso-file", "--kernel"];

fn meta(form: &Form) -> &'static str {
    match form {
        Form::Name(_) => "NAME",
        Form::Mac => "MAC",
        Form::Address | Form::AddressOrAuto => "ADDRESS",
        Form::Path | Form::File => "FILE",
        _ => "VALUE",
    }
}

fn read(kind: Kind, matches: &ArgMatches) -> Result<Resource, clap::Error> {
    let text = |id: &str| matches.try_get_one::<String>(id).ok().flatten().cloned();
    let mut settings = Vec::new();
    for row in rows(kind) {
        settings.extend(row.read(matches)?);
    }
    if let Ok(Some(keys)) = matches.try_get_many::<String>("unset") {
        settings.extend(
            keys.map(|key| Setting { path: key.split('.').map(str::to_owned).collect(), value: Json::Null }),
        );
    }
    Ok(Resource {
        kind,
        name: text("NAME").or(text("name")),
        settings,
        deployment_type: text("deployment-type"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Edit {
        parse_words(&line.split(' ').collect::<Vec<_>>())
    }

    fn parse_words(words: &[&str]) -> Edit {
        let command = New::augment_subcommands(Command::new("create"));
        let matches = command.try_get_matches_from(words).unwrap();
        New::from_arg_matches(&matches).unwrap().0.edit(Verb::Create)
    }

    fn value(edit: &Edit, path: &str) -> Json {
        let path: Vec<&str> = path.split('.').collect();
        edit.settings.iter().find(|one| one.path == path).map_or(Json::Null, |one| one.value.clone())
    }

    #[test]
    fn values_of_several_words_end_at_the_next_flag() {
        let edit = parse(
            "create boot --name diskless --cmdline root=nfs:server-ip:/exported/root rw --kernel k --initrd a b",
        );
        assert_eq!(edit.name.as_deref(), Some("diskless"));
        assert_eq!(value(&edit, "cmdline"), json!(["root=nfs:server-ip:/exported/root", "rw"]));
        assert_eq!((value(&edit, "kernel"), value(&edit, "initrd")), (json!("k"), json!(["a", "b"])));
        let edit =
            parse("create deployment --MAC 00:11:22:33:44:55 --packages openssh, mariadb,docker , git");
        assert_eq!(value(&edit, "packages"), json!(["openssh", "mariadb", "docker", "git"]));
        assert_eq!(edit.mac.as_deref(), Some("00:11:22:33:44:55"));
    }

    #[test]
    fn a_path_keeps_its_blanks_and_names_do_not() {
        let words =
            ["create", "boot", "a", "--kernel", "my files/k", "--initrd", "my files/initrd.gz", "b.gz, c.gz"];
        let edit = parse_words(&words);
        assert_eq!(value(&edit, "kernel"), json!("my files/k"));
        assert_eq!(value(&edit, "initrd"), json!(["my files/initrd.gz", "b.gz", "c.gz"]));
        let edit = parse_words(&["create", "boot", "a", "--initrd", "my files/initrd.gz"]);
        assert_eq!(value(&edit, "initrd"), json!("my files/initrd.gz"));
        let edit = parse_words(&["create", "profile", "a", "--packages", "git vim", "--extends", "base web"]);
        assert_eq!(
            (value(&edit, "packages"), value(&edit, "extends")),
            (json!(["git", "vim"]), json!(["base", "web"]))
        );
    }

    #[test]
    fn pairs_are_settings_of_their_own() {
        let edit =
            parse("create profile base --vars user=ops size=3 on=true list=[1,2] --labels rack=1 row=2");
        assert_eq!((value(&edit, "vars.user"), value(&edit, "vars.size")), (json!("ops"), json!(3)));
        assert_eq!((value(&edit, "vars.on"), value(&edit, "vars.list")), (json!(true), json!([1, 2])));
        assert_eq!(value(&edit, "labels.rack"), json!("1"));
        let command = New::augment_subcommands(Command::new("create"));
        let error = command.try_get_matches_from(["create", "profile", "a", "--vars", "user"]);
        let error = error.and_then(|matches| New::from_arg_matches(&matches).map(drop)).unwrap_err();
        assert!(error.to_string().contains("takes KEY=VALUE, not `user`"), "{error}");
    }

    #[test]
    fn a_setting_that_may_be_a_table_takes_one_as_a_flag() {
        let table = r#"{ serial = "S64FNE0R6", min-size = "200 GiB" }"#;
        let wanted = json!({ "serial": "S64FNE0R6", "min-size": "200 GiB" });
        for kind in ["deployment", "profile"] {
            assert_eq!(value(&parse_words(&["create", kind, "a", "--disk", table]), "disk"), wanted);
            assert_eq!(
                value(&parse_words(&["create", kind, "a", "--disk", "/dev/sda"]), "disk"),
                json!("/dev/sda")
            );
        }
        let command = New::augment_subcommands(Command::new("create"));
        let error = command.try_get_matches_from(["create", "profile", "a", "--disk", "{ serial = X }"]);
        let error = error.and_then(|matches| New::from_arg_matches(&matches).map(drop)).unwrap_err();
        assert!(error.to_string().contains("--disk takes a text, or a table"), "{error}");
    }

    #[test]
    fn every_kind_has_its_flags() {
        New::augment_subcommands(Command::new("create")).debug_assert();
        Changed::augment_subcommands(Command::new("update")).debug_assert();
        Gone::augment_subcommands(Command::new("delete")).debug_assert();
        let edit = parse("create machine u01 --mac 52:54:00:00:00:01 --protect --power-kind wol");
        assert_eq!((value(&edit, "protect"), value(&edit, "power.kind")), (json!(true), json!("wol")));
        let edit = parse("create subnet lab --cidr 10.0.10.0/24 --dns 10.0.10.1 9.9.9.9");
        assert_eq!(value(&edit, "dns"), json!(["10.0.10.1", "9.9.9.9"]));
    }
}
