//! `voldemort render`: prints what a deployment's machine would be served.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::check::{Job, Scope, from_here};
use super::exit::{print, print_json, say};
use super::{Exit, exit};
use crate::desired::{Deployment, Desired, Media, Options};
use crate::inventory::Loaded;
use crate::manifest::report::Roots;
use crate::media::Shelf;
use crate::proto::tree::{self, Form};
use crate::render::installer::METADATA_FILES;
use crate::state::{Secrets, State};
use crate::walk;

#[derive(Args, Debug)]
pub struct Arguments {
    /// The deployment
    name: String,
    /// The inventory's directory
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// With this environment laid over the inventory
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Which of its answer files, where its installer has several; nocloud/user-data is what cloud-init reads later
    #[arg(long, conflicts_with = "script")]
    file: Option<String>,
    /// The boot script instead of the answer file
    #[arg(long, value_enum)]
    script: Option<Script>,
    #[arg(short, long, value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Script {
    Ipxe,
    Grub,
    Pxelinux,
}

pub fn run(arguments: &Arguments) -> Exit {
    let json = arguments.output == "json";
    let loaded = match read(&arguments.directory, arguments.env.as_deref(), json) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let rendered = find(&loaded.desired, &arguments.name).and_then(|deployment| {
        let state = state(loaded.desired.clone(), deployment);
        let main = deployment.template.as_ref().map(|template| template.kind.main_file());
        match (arguments.script, arguments.file.as_deref().or(main)) {
            (None, Some(file)) => answer_file(&state, deployment, file).map(|text| ("file", file, text)),
            (script, _) => {
                let script = script.unwrap_or(Script::Ipxe);
                let text = boot_script(&state, deployment, script.form())?;
                Ok(("script", script.name(), text))
            }
        }
    });
    match rendered {
        Ok((what, name, text)) if json => {
            print_json(&json!({ "deployment": arguments.name, what: name, "text": text }))
        }
        Ok((_, _, text)) => print(&text),
        Err(why) => exit::failed(&why, json),
    }
}

impl Script {
    fn form(self) -> Form {
        match self {
            Script::Ipxe => Form::Ipxe,
            Script::Grub => Form::Grub,
            Script::Pxelinux => Form::Pxelinux,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Script::Ipxe => "ipxe",
            Script::Grub => "grub",
            Script::Pxelinux => "pxelinux",
        }
    }
}

/// Reads an inventory, for one environment or for none, that must have no errors; they are printed,
/// also as JSON if that was asked for.
pub fn read(directory: &Path, environment: Option<&str>, json: bool) -> Result<Loaded, Exit> {
    let shelf = Shelf::new(Vec::new(), None).with_directory(directory.to_path_buf());
    let options = Options { media: Media::IfPresent, fallback: Vec::new() };
    let scope = Scope::Only(environment.map(str::to_owned));
    let job = Job { root: directory, scope, library: &shelf, options };
    let loaded = job.check().map_err(|error| exit::failed(&error, json))?;
    if loaded.errors() > 0 {
        let report = loaded.report_from(&Roots::of(from_here(directory)));
        if json {
            let _ = exit::print_failure(&format!("the inventory has errors\n{report}"));
        }
        say(report);
        return Err(Exit::Failed);
    }
    Ok(loaded)
}

/// A deployment by its name; the error names those that exist.
pub fn find<'a>(desired: &'a Desired, name: &str) -> Result<&'a Arc<Deployment>, String> {
    let found = desired.deployments.values().find(|deployment| deployment.name.as_str() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = desired.deployments.keys().map(|name| name.as_str()).collect();
        format!("there is no deployment {name}; there are: {}", names.join(", "))
    })
}

/// The state of a daemon on its first day, which knows secrets by name only.
fn state(desired: Arc<Desired>, deployment: &Deployment) -> State {
    let masks = desired.secrets.keys().map(|name| (name.to_string(), format!("(secret {name})")));
    let secrets = Secrets::Known(masks.collect());
    walk::initial_state(desired, &deployment.subnet).with_secrets(secrets)
}

fn answer_file(state: &State, deployment: &Deployment, file: &str) -> Result<String, String> {
    let name = &deployment.name;
    let answers = deployment.template.iter().flat_map(|template| template.kind.files());
    let texts = answers.chain(METADATA_FILES).filter(|file| tree::is_text(file));
    let files: Vec<&str> = texts.map(|file| file.name).collect();
    if !files.contains(&file) {
        return Err(format!("{name} has no answer file {file}; it has: {}", files.join(", ")));
    }
    match tree::answer_file(state, deployment, file) {
        Some(text) => text.map_err(|error| format!("{file} can't be rendered: {error}")),
        None => Err(no_machine(deployment)),
    }
}

fn boot_script(state: &State, deployment: &Deployment, form: Form) -> Result<String, String> {
    let machine =
        state.assignments().get(&deployment.name).and_then(|name| state.desired().machines.get(name));
    let mac =
        machine.and_then(|machine| machine.macs.first().copied()).ok_or_else(|| no_machine(deployment))?;
    let asker = walk::served::asker(state, deployment, mac);
    tree::boot_script(state, &asker, form, mac, deployment)
        .map_err(|error| format!("the kernel command line can't be rendered: {error}"))
}

fn no_machine(deployment: &Deployment) -> String {
    format!("{} has no machine: no free machine of the inventory has its labels", deployment.name)
}
