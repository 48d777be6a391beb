//! Which resource is meant, and what follows from what was said.

use serde_json::{Value as Json, json};

use super::{Done, Edit, Known, Refusal, Setting, Task, Verb};
use crate::manifest::similar::similar;
use crate::manifest::{Documents, Kind, Mark};
use crate::model::{Mac, Name};
use crate::render::{builtin, installer};

/// Keys on the way to a setting, at most.
const DEEPEST: usize = 16;

/// Decides what is to be done.
pub(super) fn settle(documents: &Documents, edit: &Edit, known: &Known) -> Result<Task, Refusal> {
    // What comes over the network is followed key by key: not endlessly.
    if let Some(wrong) = edit.settings.iter().find(|one| one.path.is_empty() || one.path.len() > DEEPEST) {
        let text = wrong.path.iter().take(DEEPEST).cloned().collect::<Vec<_>>().join(".");
        return Err(Refusal::Bad { text, why: "there is no such setting".into() });
    }
    let desk = Desk { documents, edit };
    let found = desk.find()?;
    match (edit.verb, found) {
        (Verb::Create, Some((name, mark))) => {
            Err(Refusal::Exists { kind: edit.kind.name(), name: name.to_string(), place: desk.place(mark) })
        }
        (Verb::Create | Verb::Deploy, None) => desk.create(),
        (Verb::Update | Verb::Deploy, Some((name, mark))) => desk.update(name, mark),
        (Verb::Delete, Some((name, mark))) => Ok(desk.task(Done::Delete, name, Some(mark), Vec::new())),
        (Verb::Redeploy, Some((name, mark))) => Ok(desk.redeploy(name, mark, known)),
        (Verb::Update | Verb::Delete | Verb::Redeploy, None) => Err(desk.unknown()?),
    }
}

/// Whether the resource that the edit names exists.
pub(super) fn is_there(documents: &Documents, edit: &Edit) -> Result<bool, Refusal> {
    Ok(Desk { documents, edit }.find()?.is_some())
}

struct Desk<'a> {
    documents: &'a Documents,
    edit: &'a Edit,
}

impl<'a> Desk<'a> {
    fn name(&self) -> Result<Option<Name>, Refusal> {
        let parse = |text: &String| {
            text.parse::<Name>().map_err(|error| Refusal::Bad { text: text.clone(), why: error.to_string() })
        };
        self.edit.name.as_ref().map(parse).transpose()
    }

    fn mac(&self) -> Result<Option<Mac>, Refusal> {
        let parse = |text: &String| {
            text.parse::<Mac>().map_err(|error| Refusal::Bad { text: text.clone(), why: error.to_string() })
        };
        self.edit.mac.as_ref().map(parse).transpose()
    }

    /// The resource that the edit names, if it exists.
    fn find(&self) -> Result<Option<(Name, Mark)>, Refusal> {
        let kind = self.edit.kind;
        if let Some(wanted) = self.name()? {
            let Some(mark) = self.documents.of(kind).mark(&wanted) else { return Ok(None) };
            self.agrees(&wanted)?;
            return Ok(Some((wanted, mark)));
        }
        match self.mac()? {
            Some(mac) => Ok(self.of_mac(kind, mac)),
            None => Err(Refusal::Nameless { kind: kind.name(), by_mac: kind.is_tied_to_hardware() }),
        }
    }

    /// A hardware address beside a name, where it is no new setting, says the same.
    fn agrees(&self, name: &Name) -> Result<(), Refusal> {
        let kind = self.edit.kind;
        if self.edit.verb == Verb::Create || has(&self.edit.settings, "mac") {
            return Ok(());
        }
        let Some(mac) = self.mac()? else { return Ok(()) };
        let kind_name = kind.name();
        match self.of_mac(kind, mac) {
            Some((owner, _)) if owner == *name => Ok(()),
            Some((owner, _)) => Err(Refusal::Choice(format!(
                "{kind_name} {name} is named, and {mac} belongs to {kind_name} {owner}: give one of the two"
            ))),
            None => Err(Refusal::Choice(format!(
                "{kind_name} {name} is named, and {mac} is not its hardware address: give one of the two"
            ))),
        }
    }

    /// The deployment or machine with this network card.
    fn of_mac(&self, kind: Kind, mac: Mac) -> Option<(Name, Mark)> {
        let machine = self.machine_of(mac);
        let documents = self.documents;
        match kind {
            Kind::Machine => machine,
            Kind::Deployment => documents.deployments.values().find_map(|deployment| {
                let body = &deployment.body;
                let pinned = body.machine.as_ref().map(|pinned| &pinned.value);
                let own = body.macs.iter().any(|own| own.value == mac)
                    || (pinned.is_some() && pinned == machine.as_ref().map(|(name, _)| name));
                own.then(|| (deployment.name.clone(), deployment.mark))
            }),
            _ => None,
        }
    }

    fn machine_of(&self, mac: Mac) -> Option<(Name, Mark)> {
        let mut machines = self.documents.machines.values();
        let found = machines.find(|machine| machine.body.macs.iter().any(|own| own.value == mac))?;
        Some((found.name.clone(), found.mark))
    }

    fn place(&self, mark: Mark) -> String {
        let origin = self.documents.sources.origin(mark);
        format!("{}:{}", origin.file, origin.line)
    }

    fn unknown(&self) -> Result<Refusal, Refusal> {
        let kind = self.edit.kind;
        let Some(wanted) = self.name()? else {
            let mac = self
                .mac()?
                .ok_or(Refusal::Nameless { kind: kind.name(), by_mac: kind.is_tied_to_hardware() })?;
            let hint = self.look_alike(mac).map(|hint| format!("; {hint}")).unwrap_or_default();
            return Ok(Refusal::UnknownMac { kind: kind.name(), mac, hint });
        };
        let all: Vec<(&Name, Mark)> = self.documents.of(kind).headers().collect();
        let near = similar(wanted.as_str(), all.iter().map(|(name, _)| name.as_str()));
        let mark = near.and_then(|near| all.iter().find(|(name, _)| name.as_str() == near));
        let hint = match mark {
            Some((near, mark)) => format!("; did you mean `{near}` ({})?", self.place(*mark)),
            None if all.is_empty() => format!("; the inventory has no {} at all", kind.name()),
            None if all.len() > 12 => String::new(),
            None => {
                let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
                format!("; there are: {}", names.join(", "))
            }
        };
        Ok(Refusal::Unknown { kind: kind.name(), name: wanted.to_string(), hint })
    }

    /// Known network cards that `mac` may have been meant to be.
    fn look_alike(&self, mac: Mac) -> Option<String> {
        let documents = self.documents;
        let machines = documents
            .machines
            .values()
            .flat_map(|machine| machine.body.macs.iter().map(move |own| ("machine", &machine.name, own)));
        let deployments = documents
            .deployments
            .values()
            .flat_map(|one| one.body.macs.iter().map(move |own| ("deployment", &one.name, own)));
        let (kind, name, own) = machines.chain(deployments).find(|(_, _, own)| mac.is_slip_of(own.value))?;
        let place = self.place(own.mark);
        Some(format!("one typing mistake away is {}, of {kind} {name} ({place})", own.value))
    }

    fn task(&self, done: Done, name: Name, mark: Option<Mark>, settings: Vec<Setting>) -> Task {
        let home = mark.map(|mark| mark.file);
        Task { done, kind: self.edit.kind, name, home, settings, notes: Vec::new() }
    }

    fn redeploy(&self, name: Name, mark: Mark, known: &Known) -> Task {
        let written = self.documents.deployments.get(&name).and_then(|one| one.body.redeploy.as_ref());
        let written = written.map_or(0, |number| number.value);
        let used = known.installs.get(&name).copied().unwrap_or(0);
        let number = written.max(used).saturating_add(1);
        self.task(Done::Redeploy, name, Some(mark), vec![setting("redeploy", json!(number))])
    }

    fn update(&self, name: Name, mark: Mark) -> Result<Task, Refusal> {
        let mut settings = self.edit.settings.clone();
        if let Some(word) = &self.edit.deployment_type {
            settings
                .extend(self.typed(word)?.into_iter().filter(|one| !has(&self.edit.settings, &one.path[0])));
        }
        // Where the address selects the resource, it is no new setting.
        let own = |setting: &Setting| self.edit.name.is_none() && setting.path == ["mac"];
        settings.retain(|setting| !own(setting));
        if settings.is_empty() {
            return Err(Refusal::Choice(format!("no change to {} {name} is given", self.edit.kind.name())));
        }
        Ok(self.task(Done::Update, name, Some(mark), settings))
    }

    fn create(&self) -> Result<Task, Refusal> {
        let mut settings = self.edit.settings.clone();
        let mut notes = Vec::new();
        let mac = self.mac()?;
        let machine = mac.and_then(|mac| self.machine_of(mac));
        let name = match (self.name()?, mac, &machine) {
            (Some(name), ..) => name,
            (None, _, Some((machine, _))) => machine.clone(),
            (None, Some(mac), None) => self.named_after(mac)?,
            (None, None, _) => {
                return Err(Refusal::Nameless {
                    kind: self.edit.kind.name(),
                    by_mac: self.edit.kind.is_tied_to_hardware(),
                });
            }
        };
        if let (Some(mac), None) = (mac, &machine) {
            notes.extend(self.look_alike(mac).map(|hint| format!("look twice at {mac}: {hint}")));
        }
        match self.edit.kind {
            Kind::Deployment => {
                if let (Some((machine, mark)), Some(mac)) = (&machine, mac) {
                    settings.retain(|setting| setting.path != ["mac"]);
                    settings.push(setting("machine", json!(machine.as_str())));
                    notes.push(format!(
                        "{mac} is a network card of machine {machine} ({})",
                        self.place(*mark)
                    ));
                }
                self.bootable(&mut settings, &mut notes)?;
            }
            Kind::Boot => {
                self.in_its_image(&mut settings, &mut notes);
                command_line(name.as_str(), &mut settings, &mut notes);
            }
            _ => {}
        }
        Ok(Task { notes, ..self.task(Done::Create, name, None, settings) })
    }

    /// A name for a machine of which only the network card is known.
    fn named_after(&self, mac: Mac) -> Result<Name, Refusal> {
        let text = mac.dashed();
        text.parse()
            .map_err(|error: crate::model::name::NameError| Refusal::Bad { text, why: error.to_string() })
    }

    /// Sees to it that a new deployment has something to boot.
    fn bootable(&self, settings: &mut Vec<Setting>, notes: &mut Vec<String>) -> Result<(), Refusal> {
        if let Some(word) = &self.edit.deployment_type {
            let typed = self.typed(word)?;
            settings.extend(typed.into_iter().filter(|one| !has(&self.edit.settings, &one.path[0])));
        }
        if has(settings, "boot") || has(settings, "profile") {
            return Ok(());
        }
        if self.documents.profiles.contains_key("default") {
            settings.push(setting("profile", json!("default")));
            notes.push("it gets the profile `default`".into());
            return Ok(());
        }
        let boots: Vec<&str> = self.documents.boots.keys().map(Name::as_str).collect();
        let boot = match boots.as_slice() {
            [] => {
                return Err(Refusal::Choice(
                    "the inventory has no boot yet: begin with `voldemortctl create boot NAME --kernel …`"
                        .into(),
                ));
            }
            [only] => *only,
            several => match several.iter().find(|name| **name == "default") {
                Some(default) => default,
                None => {
                    return Err(Refusal::Choice(format!(
                        "which boot? Give --boot or --profile; there are the boots {}",
                        several.join(", ")
                    )));
                }
            },
        };
        settings.push(setting("boot", json!(boot)));
        notes.push(format!("it boots {boot}"));
        if !has(settings, "template") && self.is_template(boot) {
            settings.push(setting("template", json!(boot)));
        }
        Ok(())
    }

    /// Kernel and initrd are named inside their image. Written as they are served, below a prefix, the
    /// prefix selects the image.
    fn in_its_image(&self, settings: &mut Vec<Setting>, notes: &mut Vec<String>) {
        let served = |setting: &Setting| matches!(setting.path[0].as_str(), "kernel" | "initrd" | "modules");
        let prefix = match settings.iter().find(|setting| setting.path == ["iso", "prefix"]) {
            Some(own) => own.value.as_str().unwrap_or_default().to_owned(),
            None if has(settings, "iso") => return,
            None => {
                let kernel = settings.iter().find(|setting| setting.path == ["kernel"]);
                let kernel = kernel.and_then(|kernel| kernel.value.as_str()).unwrap_or_default();
                let first = kernel.split_once('/').map_or("", |(first, _)| first).to_owned();
                let Some((boot, file)) = self.image_below(&first) else { return };
                settings.push(Setting { path: vec!["iso".into(), "file".into()], value: json!(file) });
                notes.push(format!(
                    "its files are taken from the image of boot {boot}, which is served below /{first}/"
                ));
                first
            }
        };
        let inside = |text: &str| match text.strip_prefix(&format!("{prefix}/")) {
            Some(rest) => json!(rest),
            None => json!(text),
        };
        for setting in settings.iter_mut().filter(|setting| served(setting)) {
            setting.value = match &setting.value {
                Json::String(text) => inside(text),
                Json::Array(items) => {
                    items.iter().map(|item| item.as_str().map_or_else(|| item.clone(), inside)).collect()
                }
                other => other.clone(),
            };
        }
    }

    fn image_below(&self, prefix: &str) -> Option<(&Name, &str)> {
        self.documents.boots.values().find_map(|boot| {
            let iso = boot.body.iso.as_ref()?;
            let own = iso.prefix.as_ref().map_or(boot.name.as_str(), |prefix| &prefix.value);
            (own == prefix).then_some(())?;
            Some((&boot.name, &*iso.source()?.value))
        })
    }

    /// The template and the boot that a deployment's type selects.
    fn typed(&self, word: &str) -> Result<Vec<Setting>, Refusal> {
        let boots = self.documents.boots.keys().map(Name::as_str);
        let is_boot = boots.clone().any(|name| name == word);
        let mut settings = Vec::new();
        if self.is_template(word) {
            settings.push(setting("template", json!(word)));
        }
        if is_boot {
            settings.push(setting("boot", json!(word)));
        }
        if settings.is_empty() {
            let templates = self
                .documents
                .templates
                .keys()
                .map(Name::as_str)
                .chain(builtin::all().iter().map(|one| one.name));
            let all: Vec<&str> = templates.chain(boots).collect();
            let hint = similar(word, all.iter().copied()).map_or_else(
                || format!("; there are: {}", all.join(", ")),
                |near| format!("; did you mean `{near}`?"),
            );
            return Err(Refusal::Choice(format!("there is no template and no boot called `{word}`{hint}")));
        }
        Ok(settings)
    }

    fn is_template(&self, name: &str) -> bool {
        builtin::lookup(name).is_some() || self.documents.templates.contains_key(name)
    }
}

/// A boot that is named after a kind of answer file gets the words that lead to it.
fn command_line(name: &str, settings: &mut Vec<Setting>, notes: &mut Vec<String>) {
    let Some(installer) = installer::all().find(|one| one.kind.name() == name) else { return };
    let words = installer.cmdline;
    if !words.is_empty() && !has(settings, "cmdline") {
        settings.push(setting("cmdline", json!(words)));
        notes.push(format!("its command line is the usual one for {name}; --cmdline sets another"));
    }
}

fn has(settings: &[Setting], key: &str) -> bool {
    settings.iter().any(|setting| setting.path.first().is_some_and(|first| first == key))
}

fn setting(key: &str, value: Json) -> Setting {
    Setting { path: vec![key.to_owned()], value }
}
