//! The pages of the reference, made from what the code has: commands, manifest kinds, codes, variables.

use std::fmt::Write;

use clap::{Command, CommandFactory};
use serde_json::Value;
use voldemort::cli::schema::files;
use voldemort::cli::{Arguments, Exit, ctl::Ctl};
use voldemort::manifest::Code;
use voldemort::render::known::WELL_KNOWN;

const MADE: &str =
    "<!-- Made from the code by `UPDATE_GOLDEN=1 cargo test --test it docs`: edit the code. -->\n\n";

/// Names and texts.
pub(super) fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("voldemort.md", commands(Arguments::command())),
        ("voldemortctl.md", commands(Ctl::command())),
        ("manifests.md", manifests()),
        ("problems.md", problems()),
        ("variables.md", variables()),
        ("exit-codes.md", exit_codes()),
    ]
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn commands(mut command: Command) -> String {
    command = command.disable_help_subcommand(true);
    command.build();
    let mut text = format!("# Commands of {}\n\n{MADE}", command.get_name());
    one(&command, &[], &mut text);
    text.trim_end().to_owned() + "\n"
}

/// `inherited`: the flags that a command above has and that are not said again.
fn one(command: &Command, inherited: &[&str], text: &mut String) {
    let name = command.get_display_name().unwrap_or(command.get_name()).replace("voldemort-", "voldemort ");
    let name = name.replace("voldemortctl-", "voldemortctl ");
    if command.get_display_name().is_some_and(|name| name.contains('-')) {
        let path = command.get_bin_name().unwrap_or(&name);
        let _ = writeln!(text, "## {path}\n");
    }
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "{}.\n", about.trim_end_matches('.'));
    let is_shown = |argument: &&clap::Arg| {
        !inherited.contains(&argument.get_id().as_str())
            && !argument.is_hide_set()
            && !["help", "version"].contains(&argument.get_id().as_str())
    };
    let arguments: Vec<&clap::Arg> = command.get_arguments().filter(is_shown).collect();
    if !arguments.is_empty() {
        text.push_str("| argument | |\n|---|---|\n");
    }
    for argument in &arguments {
        let _ = writeln!(text, "| {} | {} |", shape(argument), cell(&meaning(argument)));
    }
    if !arguments.is_empty() {
        text.push('\n');
    }
    let global = command.get_arguments().filter(|argument| argument.is_global_set());
    let inherited: Vec<&str> = global.map(|argument| argument.get_id().as_str()).collect();
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        one(below, &inherited, text);
    }
}

/// `` `-o`, `--output FORMAT` `` or `` `DIR` ``.
fn shape(argument: &clap::Arg) -> String {
    let takes = argument.get_action().takes_values();
    let names = argument.get_value_names().unwrap_or_default().join(" ");
    let value = if takes && !names.is_empty() { format!(" {names}") } else { String::new() };
    let long = argument.get_long().map(|long| format!("--{long}{value}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let shapes: Vec<String> =
        short.into_iter().chain(long).map(|shape| format!("`{}`", cell(&shape))).collect();
    if shapes.is_empty() { format!("`{}`", cell(value.trim())) } else { shapes.join(", ") }
}

fn meaning(argument: &clap::Arg) -> String {
    let mut text = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|one| !one.is_hide_set())
        .map(|one| format!("`{}`", one.get_name()))
        .collect();
    text = text.trim_end_matches('.').to_owned() + ".";
    if !choices.is_empty() && argument.get_action().takes_values() {
        let _ = write!(text, " One of {}.", choices.join(", "));
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|one| one.to_string_lossy().into_owned()).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        let _ = write!(text, " Default: `{}`.", defaults.join(" "));
    }
    text
}

fn manifests() -> String {
    let (_, schema) = files()
        .into_iter()
        .find(|(name, _)| name.contains("inventory"))
        .expect("there is a schema of inventories");
    let mut text = format!(
        "# Kinds of manifests\n\n{MADE}An inventory is all `.toml` files below a directory. Each table `[KIND.NAME]` is one resource. What an \
         editor shows while you write is the same text: `voldemort schema --install`.\n\n"
    );
    let properties = schema["properties"].as_object().expect("a schema has properties");
    for (kind, property) in properties {
        let Some(definition) = definition(&schema, property) else { continue };
        let about =
            definition["description"].as_str().or(property["description"].as_str()).unwrap_or_default();
        let _ = write!(text, "## {kind}\n\n{about}\n\n| key | form | |\n|---|---|---|\n");
        rows(&schema, definition, "", &mut text, 0);
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

/// The definition that a property, or each of its values, has.
fn definition<'s>(schema: &'s Value, property: &'s Value) -> Option<&'s Value> {
    let named = |value: &Value| value["$ref"].as_str()?.strip_prefix("#/definitions/").map(str::to_owned);
    let name = named(property)
        .or_else(|| named(&property["additionalProperties"]))
        .or_else(|| named(&property["items"]));
    match name {
        Some(name) => schema["definitions"].get(&name),
        None => property.get("properties").map(|_| property),
    }
}

fn rows(schema: &Value, definition: &Value, before: &str, text: &mut String, depth: usize) {
    let required: Vec<&str> =
        definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, property) in definition["properties"].as_object().into_iter().flatten() {
        let about = property["description"].as_str().unwrap_or_default();
        let needed = if required.contains(&key.as_str()) { " Required." } else { "" };
        let _ = writeln!(
            text,
            "| `{before}{key}` | {} | {}{needed} |",
            cell(&form(schema, property)),
            cell(about)
        );
        if depth < 1 && property.get("properties").is_some() {
            rows(schema, property, &format!("{before}{key}."), text, depth + 1);
        }
    }
}

/// The forms that a value may have, in words.
fn form(schema: &Value, property: &Value) -> String {
    if let Some(words) = property["enum"].as_array() {
        return words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(forms) = property[several].as_array() {
            let mut forms: Vec<String> = forms.iter().map(|one| form(schema, one)).collect();
            forms.dedup();
            return forms.join(" or ");
        }
    }
    if property.get("$ref").is_some() {
        return definition(schema, property).map(|one| form(schema, one)).unwrap_or_default();
    }
    match &property["type"] {
        Value::String(word) if word == "array" => format!("list of {}", form(schema, &property["items"])),
        Value::String(word) => word.clone(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

fn problems() -> String {
    let mut text = format!(
        "# Codes of problems\n\n{MADE}What `voldemort check` and the daemon say of manifests. `voldemort explain CODE` shows an example that has the \
         mistake and one that has not. A level with a star can be changed in `[check]` of the inventory's `voldemort.toml`.\n\n\
         | code | level | |\n|---|---|---|\n"
    );
    for code in Code::ALL {
        let star = if code.adjustable() { " *" } else { "" };
        let level = format!("{:?}", code.level()).to_lowercase();
        let _ = writeln!(text, "| {code} | {level}{star} | {} |", cell(code.title()));
    }
    text
}

fn variables() -> String {
    let mut text = format!(
        "# Variables of templates\n\n{MADE}Every template and command line may use these without declaring them. A text that is not known is empty, \
         and so is a list.\n\n| variable | |\n|---|---|\n"
    );
    for (name, about) in WELL_KNOWN {
        let _ = writeln!(text, "| `{name}` | {} |", cell(about));
    }
    text
}

fn exit_codes() -> String {
    let codes = [
        (Exit::Done, "done"),
        (Exit::Failed, "invalid manifests, or an operation that failed"),
        (Exit::Changes, "there are changes (only with `--detailed-exitcode`)"),
        (Exit::Refused, "refused by a safety rule"),
        (Exit::Stale, "the plan was made for another state"),
        (Exit::Unreachable, "no daemon or repository answers, or a wait timed out"),
        (Exit::NotAllowed, "not allowed"),
        (Exit::Usage, "wrong usage"),
        (Exit::Interrupted, "interrupted"),
    ];
    let mut text = format!(
        "# Exit codes\n\n{MADE}The same for every command of both programs; they are stable.\n\n| code | |\n|---|---|\n"
    );
    for (exit, about) in codes {
        let _ = writeln!(text, "| {} | {about} |", exit.code());
    }
    text + "\nA reader of a pipe that goes away (`… | head -1`) ends a command quietly and changes nothing of that; a full disk is 1.\n"
}
