//! The course of a boot, stage by stage.

use super::client::{Client, Lease, Speaker, link};
use super::{End, Step, Walk};
use crate::desired::Deployment;
use crate::model::{Content, Firmware, Mac, Time};
use crate::proto::path::percent_decode;
use crate::proto::tree::{self, Answer, Artifact, Asker, Method, Refusal, Transport};
use crate::table::{Stage, Table};

/// Boots `deployment`'s machine with `firmware`, twice.
pub fn walk(table: &Table, deployment: &Deployment, firmware: Firmware, now: Time) -> Walk {
    let (name, mut course) = (deployment.name.clone(), Course::new(table, now));
    let end = course.run(deployment, firmware);
    Walk { deployment: name, firmware, steps: course.steps, end, answers: course.answers }
}

struct Course {
    table: Table,
    now: Time,
    steps: Vec<Step>,
    answers: Vec<(String, String)>,
}

/// What a script tells the machine to do.
#[derive(Debug, PartialEq)]
enum Script {
    Network { urls: Vec<String>, cmdline: String },
    LocalDisk,
}

impl Course {
    fn new(table: &Table, now: Time) -> Course {
        Course { table: table.clone(), now, steps: Vec::new(), answers: Vec::new() }
    }

    fn run(&mut self, deployment: &Deployment, firmware: Firmware) -> End {
        let machine = self.table.assignments.get(&deployment.name);
        let machine = machine.and_then(|machine| self.table.desired.machines.get(machine));
        let Some(mac) = machine.and_then(|machine| machine.macs.first()).copied() else {
            return End::Unassigned;
        };
        match self.first_boot(deployment, mac, firmware) {
            Ok(None) => {}
            Ok(Some(end)) => return end,
            Err(stopped) => return End::Stopped(stopped),
        }
        match self.reach_script(deployment, mac, firmware) {
            Ok((_, Script::LocalDisk)) => End::Installed,
            Ok((_, Script::Network { .. })) => End::Stopped("the second boot would install again".into()),
            Err(stopped) => End::Stopped(stopped),
        }
    }

    /// `Some` when there is no second boot to look at.
    fn first_boot(
        &mut self,
        deployment: &Deployment,
        mac: Mac,
        firmware: Firmware,
    ) -> Result<Option<End>, String> {
        let (lease, script) = self.reach_script(deployment, mac, firmware)?;
        let Script::Network { urls, cmdline } = script else {
            return Err("the first boot is sent to the machine's own disk".into());
        };
        let asker = Asker { address: lease.address, transport: Transport::Http };
        let files = std::iter::once(&deployment.boot.kernel).chain(&deployment.boot.initrd);
        if let Some(absent) = files.into_iter().find(|file| file.entry.is_none()) {
            return Ok(Some(End::NotAtHand(absent.path.to_string())));
        }
        for url in &urls {
            self.fetch(asker, url)?;
        }
        self.fetch_answers(deployment, asker, &cmdline)?;
        if !deployment.installs() {
            return Ok(Some(End::NetworkBoots));
        }
        let facts = tree::facts(&self.table, deployment, mac, Some(lease.address));
        let completed = facts.get("completed_url").map(ToString::to_string).unwrap_or_default();
        let told =
            cmdline.contains(&completed) || self.answers.iter().any(|(_, text)| text.contains(&completed));
        if !told {
            return Err(
                "nothing ever calls completed_url, so the installation would never count as done".into()
            );
        }
        self.fetch(asker, &completed)?;
        Ok(None)
    }

    /// From power-on to the script that iPXE runs.
    fn reach_script(
        &mut self,
        deployment: &Deployment,
        mac: Mac,
        firmware: Firmware,
    ) -> Result<(Lease, Script), String> {
        let link = link(&self.table, deployment.subnet.cidr);
        let client = Client { mac, cpu: deployment.boot.cpu, firmware, link: &link, now: self.now };
        let first = client.configure(&mut self.table, Speaker::Firmware)?;
        self.step(
            Stage::Ack,
            format!("{firmware} firmware gets {}, boot file {}", first.address, first.file),
        );
        let transport = if first.file.contains("://") { Transport::Http } else { Transport::Tftp };
        self.fetch(Asker { address: first.address, transport }, &first.file)?;
        let lease = client.configure(&mut self.table, Speaker::Ipxe)?;
        self.step(Stage::Ack, format!("iPXE gets {}, script {}", lease.address, lease.file));
        if lease.address != first.address {
            return Err(format!(
                "the address changes from {} to {} within one boot",
                first.address, lease.address
            ));
        }
        let asker = Asker { address: lease.address, transport: Transport::Http };
        let artifact = self.fetch(asker, &lease.file)?;
        let Content::Bytes(bytes) = &artifact.content else { return Err("the script is no text".into()) };
        Ok((lease, read(&String::from_utf8_lossy(bytes), artifact.stage)))
    }

    /// Fetches what the kernel command line points at below this machine's answers.
    fn fetch_answers(&mut self, deployment: &Deployment, asker: Asker, cmdline: &str) -> Result<(), String> {
        let Some(template) = deployment.template.as_ref().filter(|_| deployment.has_answers()) else {
            return Ok(());
        };
        let root = format!("{}/answers/", self.table.server.url());
        let Some(start) = cmdline.find(&root) else {
            return Err("the kernel command line names no answer file".into());
        };
        let url = cmdline[start..].split([' ', ';', '"']).next().unwrap_or_default();
        let folder = &url[..url.rfind('/').map_or(url.len(), |slash| slash + 1)];
        for file in template.kind.files() {
            let file = file.name;
            let artifact = self.fetch(asker, &format!("{folder}{file}"))?;
            if let Content::Bytes(bytes) = &artifact.content {
                self.answers.push((file.to_owned(), String::from_utf8_lossy(bytes).into_owned()));
            }
        }
        Ok(())
    }

    fn fetch(&mut self, asker: Asker, name: &str) -> Result<Artifact, String> {
        let path = match name.strip_prefix(&self.table.server.url()) {
            Some(path) => percent_decode(path).map_err(|error| format!("{name}: {error}"))?,
            None => name.to_owned(),
        };
        for _ in 0..3 {
            match tree::open(&self.table, &asker, Method::Get, &path, "") {
                Answer::Serve(artifact) => {
                    self.step(artifact.stage, artifact.text.clone());
                    return Ok(artifact);
                }
                Answer::Permit(permit) => {
                    self.table = self.table.permit(&permit, self.now).map_err(|stale| stale.to_string())?;
                }
                Answer::Report(report) => {
                    self.table = self.table.report(&report, self.now).map_err(|stale| stale.to_string())?;
                    self.step(Stage::Completed, "the installer reports completion".into());
                    return Ok(nothing());
                }
                Answer::Refuse(Refusal { text, .. }) => return Err(format!("{name}: {text}")),
            }
        }
        Err(format!("{name}: the answer never settles"))
    }

    fn step(&mut self, stage: Stage, text: String) {
        self.steps.push(Step { stage, text });
    }
}

fn nothing() -> Artifact {
    Artifact {
        content: Content::Bytes(Default::default()),
        media_type: "text/plain",
        etag: String::new(),
        stage: Stage::Completed,
        mac: None,
        deployment: None,
        text: String::new(),
    }
}

/// Understands an iPXE script of ours.
fn read(script: &str, stage: Stage) -> Script {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let commands = script.lines().filter(|line| line.starts_with("kernel ") || line.starts_with("initrd "));
    let mut urls = Vec::new();
    let mut cmdline = String::new();
    for line in commands {
        let words = words(line.split(" || ").next().unwrap_or(line));
        let Some(at) = words.iter().position(|word| word.contains("://")) else { continue };
        urls.push(words[at].clone());
        if line.starts_with("kernel ") {
            cmdline = words[at + 1..].join(" ");
        }
    }
    if stage == Stage::LocalBoot || urls.is_empty() {
        Script::LocalDisk
    } else {
        Script::Network { urls, cmdline }
    }
}
