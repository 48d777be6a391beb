//! The course of a boot, stage by stage.

use std::borrow::Cow;
use std::sync::Arc;

use super::client::{Client, Heard, Lease, Speaker, link};
use super::script::Script;
use super::{Detail, End, Fault, Route, Step, Stop, Walk};
use crate::desired::Deployment;
use crate::model::{Content, Mac, Time};
use crate::proto::path::percent_decode;
use crate::proto::tree::{self, Answer, Artifact, Asker, Method, Refusal, Transport};
use crate::table::{Server, Stage, Table};

/// Where Debian's signed network GRUB looks first.
pub const GRUB_CONFIGURATION: &str = "/grub/x86_64-efi/grub.cfg";

/// Bytes of the header's `file` field without its NUL (RFC 2131 section 2), which is also where
/// shim and GRUB stop reading a boot URI.
const BOOT_FILE_MAX: usize = 127;

/// Boots `deployment`'s machine by one route, twice, and asks for everything as firmware would.
pub fn walk(table: &Table, deployment: &Deployment, route: Route, now: Time) -> Walk {
    let mut nothing = Shared { rendered: Rendered::default(), heard: Heard::new(false) };
    Course::new(table, route, now).run(deployment, &mut nothing)
}

/// What [`walk`] finds by each of `routes`, with what they have in common asked for once.
pub fn walk_all(table: &Table, deployment: &Deployment, routes: &[Route], now: Time) -> Vec<Walk> {
    let mut shared = Shared::of(deployment);
    routes.iter().map(|route| Course::new(table, *route, now).run(deployment, &mut shared)).collect()
}

/// What walks of one deployment have in common.
struct Shared {
    rendered: Rendered,
    heard: Heard,
}

impl Shared {
    fn of(deployment: &Deployment) -> Shared {
        Shared { heard: Heard::new(deployment.address.is_some()), rendered: Rendered::default() }
    }
}

/// Scripts and answers of the first boot that an earlier walk got, by name and asker. They do not
/// depend on the firmware, so that another walk asks for leave to have them and no more.
#[derive(Default)]
struct Rendered(Vec<(String, Asker, Artifact)>);

impl Rendered {
    fn get(&self, asker: Asker, name: &str) -> Option<&Artifact> {
        let found = self.0.iter().find(|(known, by, _)| known == name && *by == asker);
        found.map(|(_, _, artifact)| artifact)
    }
}

/// From power-on, or after the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boot {
    First,
    Second,
}

struct Course {
    table: Table,
    route: Route,
    now: Time,
    steps: Vec<Step>,
    answers: Vec<(&'static str, bytes::Bytes)>,
}

impl Course {
    fn new(table: &Table, route: Route, now: Time) -> Course {
        let mut table = table.clone();
        if route == Route::SecureBoot {
            table.server = signed_only(&table.server);
        }
        Course { table, route, now, steps: Vec::new(), answers: Vec::new() }
    }

    fn run(mut self, deployment: &Deployment, shared: &mut Shared) -> Walk {
        let end = self.both_boots(deployment, shared).unwrap_or_else(End::Stopped);
        let Course { route, steps, answers, .. } = self;
        Walk { deployment: deployment.name.clone(), route, steps, end, answers }
    }

    fn both_boots(&mut self, deployment: &Deployment, shared: &mut Shared) -> Result<End, Stop> {
        let machine = self.table.assignments.get(&deployment.name);
        let machine = machine.and_then(|machine| self.table.desired.machines.get(machine));
        let Some(mac) = machine.and_then(|machine| machine.macs.first()).copied() else {
            return Ok(End::Unassigned);
        };
        if let Some(end) = self.first_boot(deployment, mac, shared)? {
            return Ok(end);
        }
        match self.reach_script(deployment, mac, Boot::Second, shared)? {
            (_, Script::LocalDisk) => Ok(End::Installed),
            (_, Script::Network { .. }) => Err(Fault::Afterwards.stop("the second boot would install again")),
        }
    }

    /// `Some` when there is no second boot to look at.
    fn first_boot(
        &mut self,
        deployment: &Deployment,
        mac: Mac,
        shared: &mut Shared,
    ) -> Result<Option<End>, Stop> {
        let (asker, script) = self.reach_script(deployment, mac, Boot::First, shared)?;
        let Script::Network { files, cmdline } = script else {
            return Err(Fault::Script.stop("the first boot is sent to the machine's own disk"));
        };
        if self.route == Route::SecureBoot {
            let long = files.iter().find(|path| path.len() > BOOT_FILE_MAX);
            if let Some(path) = long {
                let length = path.len();
                let why = format!(
                    "GRUB asks for no name of more than {BOOT_FILE_MAX} bytes, and {path} has {length}"
                );
                return Err(Fault::File.stop(why));
            }
        }
        let own = std::iter::once(&deployment.boot.kernel).chain(&deployment.boot.initrd);
        let absent = own.into_iter().find(|file| file.entry.is_none());
        if absent.is_none() {
            for file in &files {
                self.fetch(asker, file).map_err(|why| Fault::File.stop(why))?;
            }
        }
        // From here on the installer speaks, whatever loaded it.
        let asker = Asker { transport: Transport::Http, ..asker };
        self.fetch_answers(deployment, asker, &cmdline, &mut shared.rendered)?;
        if deployment.installs() {
            self.complete(asker, &cmdline)?;
        }
        Ok(match absent {
            Some(absent) => Some(End::NotAtHand(absent.path.to_string())),
            None if deployment.installs() => None,
            None => Some(End::NetworkBoots),
        })
    }

    /// The completion call, if anything the machine was given tells it to make one.
    fn complete(&mut self, asker: Asker, cmdline: &str) -> Result<(), Stop> {
        let answers = self.answers.iter().map(|(_, text)| text_of(text));
        let texts = std::iter::once(cmdline.into()).chain(answers);
        let url = completion(&self.table.server.url(), texts);
        let nothing = "nothing ever calls completed_url, so the installation would never count as done";
        let url = url.ok_or_else(|| Fault::NoCompletion.stop(nothing))?;
        self.fetch(asker, &url).map_err(|why| Fault::Afterwards.stop(why))?;
        Ok(())
    }

    /// From power-on to the script that iPXE or GRUB runs.
    fn reach_script(
        &mut self,
        deployment: &Deployment,
        mac: Mac,
        boot: Boot,
        shared: &mut Shared,
    ) -> Result<(Asker, Script), Stop> {
        shared.heard.signed = self.route == Route::SecureBoot;
        let Shared { rendered, heard } = shared;
        // The second boot's script depends on what the first one did.
        let rendered = (boot == Boot::First).then_some(rendered);
        let link = link(&self.table, deployment.subnet.cidr);
        let client = Client {
            mac,
            cpu: deployment.boot.cpu,
            firmware: self.route.firmware(),
            link: &link,
            now: self.now,
        };
        let speaker = self.route.first_speaker();
        let mut lease = self.configure(&client, speaker, heard)?;
        let by = |lease: &Lease| match lease.file.contains("://") {
            true => Asker::new(lease.address, None, Transport::Http),
            false => Asker::new(lease.address, None, Transport::Tftp),
        };
        if speaker == Speaker::Firmware {
            self.fetch(by(&lease), &lease.file).map_err(|why| Fault::Loader.stop(why))?;
            if self.route == Route::SecureBoot {
                return self.signed_chain(by(&lease), &lease.file, rendered);
            }
            let again = self.configure(&client, Speaker::Ipxe, heard)?;
            if again.address != lease.address {
                let (first, second) = (lease.address, again.address);
                return Err(Fault::Address
                    .stop(format!("the address changes from {first} to {second} within one boot")));
            }
            lease = again;
        }
        let (text, stage) = self.text(by(&lease), &lease.file, rendered)?;
        Ok((by(&lease), Script::ipxe(&text, stage)))
    }

    /// shim fetches GRUB from where it was itself; GRUB has the address that shim got.
    fn signed_chain(
        &mut self,
        asker: Asker,
        shim: &str,
        rendered: Option<&mut Rendered>,
    ) -> Result<(Asker, Script), Stop> {
        let grub = shim.replace("shim", "grub");
        self.fetch(asker, &grub).map_err(|why| Fault::Loader.stop(why))?;
        let (text, stage) = self.text(asker, GRUB_CONFIGURATION, rendered)?;
        Ok((asker, Script::grub(&text, stage)))
    }

    fn configure(&mut self, client: &Client, speaker: Speaker, heard: &mut Heard) -> Result<Lease, Stop> {
        let told = client.configure(&mut self.table, speaker, heard);
        let (lease, steps) = told.map_err(|why| Fault::Address.stop(why))?;
        self.steps.extend(steps);
        match lease.file.len() {
            0 => Err(Fault::Loader.stop("DHCP names no boot file for it")),
            1..=BOOT_FILE_MAX => Ok(lease),
            length => Err(Fault::Loader.stop(format!(
                "the boot file name has {length} bytes, and firmware keeps {BOOT_FILE_MAX}: {}",
                lease.file
            ))),
        }
    }

    /// A script, and what the daemon takes it for.
    fn text(
        &mut self,
        asker: Asker,
        name: &str,
        rendered: Option<&mut Rendered>,
    ) -> Result<(String, Stage), Stop> {
        let artifact = match rendered {
            Some(rendered) => self.fetch_once(asker, name, rendered),
            None => self.fetch(asker, name),
        };
        let artifact = artifact.map_err(|why| Fault::Script.stop(why))?;
        let Content::Bytes(bytes) = &artifact.content else {
            return Err(Fault::Script.stop("the script is no text"));
        };
        Ok((text_of(bytes).into_owned(), artifact.stage))
    }

    /// Fetches what the kernel command line points at below this machine's answers.
    fn fetch_answers(
        &mut self,
        deployment: &Deployment,
        asker: Asker,
        cmdline: &str,
        rendered: &mut Rendered,
    ) -> Result<(), Stop> {
        let Some(template) = deployment.template.as_ref().filter(|_| deployment.has_answers()) else {
            return Ok(());
        };
        let root = format!("{}/answers/", self.table.server.url());
        let Some(start) = cmdline.find(&root) else {
            return Err(Fault::NoAnswers.stop("the kernel command line names no answer file"));
        };
        let url = url_at(cmdline, start);
        let folder = &url[..url.rfind('/').map_or(url.len(), |slash| slash + 1)];
        for file in template.kind.files() {
            let artifact = self.fetch_once(asker, &format!("{folder}{}", file.name), rendered);
            let artifact = artifact.map_err(|why| Fault::Answers.stop(why))?;
            if let Content::Bytes(bytes) = artifact.content {
                self.answers.push((file.name, bytes));
            }
        }
        Ok(())
    }

    fn fetch(&mut self, asker: Asker, name: &str) -> Result<Artifact, String> {
        self.ask(asker, name, None)
    }

    fn fetch_once(&mut self, asker: Asker, name: &str, rendered: &mut Rendered) -> Result<Artifact, String> {
        let artifact = self.ask(asker, name, rendered.get(asker, name))?;
        if rendered.get(asker, name).is_none() {
            rendered.0.push((name.to_owned(), asker, artifact.clone()));
        }
        Ok(artifact)
    }

    /// `known` is what the answer is going to be once it is permitted.
    fn ask(&mut self, asker: Asker, name: &str, known: Option<&Artifact>) -> Result<Artifact, String> {
        let path = match name.strip_prefix(&self.table.server.url()) {
            Some(path) => percent_decode(path).map_err(|error| format!("{name}: {error}"))?,
            None => name.to_owned(),
        };
        for _ in 0..3 {
            match tree::open(&self.table, &asker, Method::Get, &path, "") {
                Answer::Serve(artifact) => return Ok(self.served(name, artifact)),
                Answer::Permit(permit) => {
                    self.table = self.table.permit(&permit, self.now).map_err(|stale| stale.to_string())?;
                    if let Some(known) = known {
                        return Ok(self.served(name, known.clone()));
                    }
                }
                Answer::Report(report) => {
                    self.table = self.table.report(&report, self.now).map_err(|stale| stale.to_string())?;
                    return Ok(self.served(name, reported()));
                }
                Answer::Refuse(Refusal { text, .. }) => return Err(format!("{name}: {text}")),
            }
        }
        Err(format!("{name}: the answer never settles"))
    }

    fn served(&mut self, name: &str, artifact: Artifact) -> Artifact {
        let name = name.to_owned();
        let detail = match &artifact.content {
            Content::Bytes(text) => Detail::Text { name, text: text.clone() },
            Content::File { extents, .. } => {
                Detail::File { name, length: extents.iter().map(|extent| extent.length).sum() }
            }
        };
        self.steps.push(Step { stage: artifact.stage, text: artifact.text.clone(), detail });
        artifact
    }
}

/// The URL that reports completion to the daemon at `server`, if any of the texts a machine was given
/// names it.
pub fn completion<'a>(server: &str, texts: impl IntoIterator<Item = Cow<'a, str>>) -> Option<String> {
    let root = format!("{server}/hooks/");
    texts.into_iter().find_map(|text| {
        let urls = text.match_indices(&root).map(|(start, _)| url_at(&text, start));
        urls.into_iter().find(|url| url.ends_with("/completed")).map(str::to_owned)
    })
}

/// The URL of ours that starts at a byte of a text, up to what is in none of them.
pub fn url_at(text: &str, start: usize) -> &str {
    let foreign = |c: char| !c.is_ascii_alphanumeric() && !"/:._-".contains(c);
    text[start..].split(foreign).next().unwrap_or_default()
}

/// A host that has nothing but the signed programs.
fn signed_only(server: &Server) -> Arc<Server> {
    let signed = |name: &str| name.starts_with("shim") || name.starts_with("grub");
    let loaders = server.loaders.iter().filter(|(name, _)| signed(name));
    let loaders = loaders.map(|(name, entry)| (name.clone(), entry.clone())).collect();
    Arc::new(Server { loaders, ..server.clone() })
}

/// The bytes as text, whatever they are. (Checking good UTF-8 is many times quicker than mending
/// it, and all of it is good.)
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// What a report is answered with.
fn reported() -> Artifact {
    Artifact {
        content: Content::Bytes(Default::default()),
        media_type: "text/plain",
        etag: String::new(),
        stage: Stage::Completed,
        mac: None,
        deployment: None,
        text: "the installer reports completion".into(),
    }
}
