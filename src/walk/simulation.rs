//! Simulates a boot, stage by stage.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::ask::text_of;
use super::client::{self, Client, DhcpExchange, Lease, Sender, link};
use super::client6::{self, Client6};
use super::program::{self, Program};
use super::script::Script;
use super::shared::{Boot, DhcpState, Question, Rest, Shared, Start, url};
use super::{End, Fault, Route, SimulatedBoot, Step, Stop};
use crate::desired::Deployment;
use crate::model::{Content, Firmware, Mac, Mode, Time};
use crate::proto::tree::{Artifact, Asker, Transport};
use crate::state::{Server, State};

/// Where Debian's signed network GRUB looks for its configuration first.
pub const GRUB_CONFIGURATION: &str = "/grub/x86_64-efi/grub.cfg";

/// Bytes of the header's `file` field without its NUL (RFC 2131 section 2), which is also where
/// shim and GRUB stop reading a boot URI.
const BOOT_FILE_MAX: usize = 127;

/// Boots `deployment`'s machine by one route, twice, and requests everything that firmware would.
pub fn simulate(state: &State, deployment: &Deployment, route: Route, now: Time) -> SimulatedBoot {
    Simulation::new(state, deployment, route, now).run(&mut Shared::new(false))
}

/// The results of [`simulate`] for each of `routes`; what they have in common is requested once.
pub fn simulate_all(
    state: &State,
    deployment: &Deployment,
    routes: &[Route],
    now: Time,
) -> Vec<SimulatedBoot> {
    let mut shared = Shared::new(true);
    let simulate = |route: &Route| Simulation::new(state, deployment, *route, now).run(&mut shared);
    routes.iter().map(simulate).collect()
}

pub(super) struct Simulation<'a> {
    pub(super) state: State,
    pub(super) deployment: &'a Deployment,
    route: Route,
    pub(super) now: Time,
    /// The daemon's address as the machine reaches it, if it is not the usual one.
    own: Option<IpAddr>,
    /// The root URL of the daemon's HTTP server, as the machine reaches it.
    pub(super) url: String,
    pub(super) steps: Vec<Arc<Step>>,
    answers: Vec<(&'static str, bytes::Bytes)>,
}

impl<'a> Simulation<'a> {
    fn new(state: &State, deployment: &'a Deployment, route: Route, now: Time) -> Simulation<'a> {
        let mut state = state.clone();
        if route.is_signed() {
            let server = signed_only(state.server());
            state = state.with_server(server);
        }
        let ipv6 = deployment.subnet.ipv6.as_ref().filter(|_| route.is_ipv6());
        let own = ipv6.map(|ipv6| IpAddr::V6(client6::stand_in_address(ipv6)));
        let url = url(&state, own);
        Simulation { state, deployment, route, now, own, url, steps: Vec::new(), answers: Vec::new() }
    }

    fn run(mut self, shared: &mut Shared) -> SimulatedBoot {
        let end = self.both_boots(shared).unwrap_or_else(End::Stopped);
        let Simulation { route, steps, answers, deployment, .. } = self;
        SimulatedBoot { deployment: deployment.name.clone(), route, steps, end, answers }
    }

    fn both_boots(&mut self, shared: &mut Shared) -> Result<End, Stop> {
        let machine = self.state.assignments().get(&self.deployment.name);
        let machine = machine.and_then(|machine| self.state.desired().machines.get(machine));
        let Some(mac) = machine.and_then(|machine| machine.macs.first()).copied() else {
            return Ok(End::Unassigned);
        };
        if let Some(end) = self.boot(Boot::First, mac, shared)? {
            return Ok(end);
        }
        let end = self.boot(Boot::Second, mac, shared)?;
        Ok(end.unwrap_or(End::Installed))
    }

    /// From power-on to the end of a boot; `None` after an installation.
    fn boot(&mut self, boot: Boot, mac: Mac, shared: &mut Shared) -> Result<Option<End>, Stop> {
        let sender = self.route.first_sender();
        let lease = self.configure(mac, sender, shared)?;
        if sender == Sender::Ipxe {
            return self.go_on(boot, mac, Program::Ipxe, lease, shared);
        }
        self.fetch(self.asker(&lease), &lease.file).map_err(|why| Fault::Loader.stop(why))?;
        let program = Program::of(&lease.file);
        if program != Program::Ipxe {
            return self.go_on(boot, mac, program, lease, shared);
        }
        let again = self.configure(mac, Sender::Ipxe, shared)?;
        if again.address != lease.address {
            let (first, second) = (lease.address, again.address);
            let why = format!("the address changes from {first} to {second} within one boot");
            return Err(Fault::Address.stop(why));
        }
        self.go_on(boot, mac, program, again, shared)
    }

    /// The rest of a boot once the program that fetches the script runs. It depends on the lease and on
    /// what the state knows of this machine, not on how the machine got there.
    fn go_on(
        &mut self,
        boot: Boot,
        mac: Mac,
        program: Program,
        lease: Lease,
        shared: &mut Shared,
    ) -> Result<Option<End>, Stop> {
        let state = DhcpState::of(&self.state, mac, &self.deployment.name, self.route.is_signed());
        let start = Start { boot, state, program, lease };
        if let Some(Rest { steps, answers, state, end, .. }) = shared.rest(&start) {
            self.steps.extend(steps.iter().cloned());
            self.answers.extend(answers.iter().cloned());
            self.state = state.clone();
            return end.clone();
        }
        let (steps, answers) = (self.steps.len(), self.answers.len());
        let end = match boot {
            Boot::First => self.first_boot(mac, program, &start.lease, shared),
            Boot::Second => self.second_boot(mac, program, &start.lease),
        };
        let (steps, answers) = (&self.steps[steps..], &self.answers[answers..]);
        shared.keep(start, |start| Rest::of(start, steps, answers, &self.state, &end));
        end
    }

    fn first_boot(
        &mut self,
        mac: Mac,
        program: Program,
        lease: &Lease,
        shared: &mut Shared,
    ) -> Result<Option<End>, Stop> {
        let (asker, script) = self.script(mac, program, lease, Some(shared))?;
        let Script::Network { files, cmdline } = script else {
            return Err(Fault::Script
                .stop("the first boot is sent to the machine's own disk instead of the installer"));
        };
        if matches!(program, Program::Shim | Program::Grub) {
            let long = files.iter().find(|path| path.len() > BOOT_FILE_MAX);
            if let Some(path) = long {
                let length = path.len();
                let why = format!(
                    "GRUB requests no name of more than {BOOT_FILE_MAX} bytes, and {path} has {length}"
                );
                return Err(Fault::File.stop(why));
            }
        }
        let deployment = self.deployment;
        let own = std::iter::once(&deployment.boot.kernel).chain(&deployment.boot.initrd);
        let absent = own.into_iter().find(|file| file.entry.is_none());
        if absent.is_none() {
            for file in &files {
                self.fetch(asker, file).map_err(|why| Fault::File.stop(why))?;
            }
        }
        // From here on the installer sends the requests, whatever loaded it.
        let asker = Asker { transport: Transport::Http, ..asker };
        self.fetch_answers(asker, mac, &cmdline, shared)?;
        if deployment.installs() {
            self.complete(asker, &cmdline)?;
        }
        Ok(match absent {
            Some(absent) => Some(End::FileNotFound(absent.path.to_string())),
            None if deployment.installs() => None,
            None => Some(End::NetworkBoots),
        })
    }

    /// The second boot's script depends on what the first boot did, so no earlier result is used.
    fn second_boot(&mut self, mac: Mac, program: Program, lease: &Lease) -> Result<Option<End>, Stop> {
        match self.script(mac, program, lease, None)? {
            (_, Script::LocalDisk) => Ok(Some(End::Installed)),
            (_, Script::Network { .. }) => Err(Fault::Afterwards.stop("the second boot would install again")),
        }
    }

    /// Makes the completion call, if the command line or an answer has one.
    fn complete(&mut self, asker: Asker, cmdline: &str) -> Result<(), Stop> {
        let answers = self.answers.iter().map(|(_, text)| text_of(text));
        let url = completion(&self.url, std::iter::once(cmdline.into()).chain(answers));
        if url.is_none() && !self.deployment.reports() {
            return Ok(());
        }
        let nothing = "nothing ever calls completed_url, so the installation would never count as done";
        let url = url.ok_or_else(|| Fault::NoCompletion.stop(nothing))?;
        self.fetch(asker, &url).map_err(|why| Fault::Afterwards.stop(why))?;
        Ok(())
    }

    /// The machine as an asker, once it has this lease.
    fn asker(&self, lease: &Lease) -> Asker {
        let by_http = lease.file.starts_with("http");
        let transport = if by_http { Transport::Http } else { Transport::Tftp };
        Asker::new(lease.address, self.own, transport)
    }

    /// The script that a boot program fetches, parsed. `shared` may have it from another simulated boot.
    fn script(
        &mut self,
        mac: Mac,
        program: Program,
        lease: &Lease,
        shared: Option<&mut Shared>,
    ) -> Result<(Asker, Script), Stop> {
        let asker = self.asker(lease).on_card(mac);
        let names = match program {
            Program::Ipxe => vec![lease.file.clone()],
            Program::Shim | Program::Grub => {
                if program == Program::Shim {
                    self.shim(asker, &lease.file)?;
                }
                program::grub_configurations(self.deployment.boot.cpu).map(str::to_owned).into()
            }
            Program::Pxelinux => {
                let rest = program::beside(&lease.file, "ldlinux.c32");
                self.fetch(asker, &rest).map_err(|why| Fault::Loader.stop(why))?;
                program::pxelinux_configurations(&lease.file, mac, lease.address)
            }
        };
        let artifact = self.fetch_first(asker, &names, shared).map_err(|why| Fault::Script.stop(why))?;
        let Artifact { content, stage, .. } = artifact;
        let Content::Bytes(bytes) = &content else {
            return Err(Fault::Script.stop("the script is not a text"));
        };
        Ok((asker, program.language()(&text_of(bytes), stage)))
    }

    /// shim looks for its revocation files, and fetches GRUB from its own folder.
    fn shim(&mut self, asker: Asker, shim: &str) -> Result<(), Stop> {
        for name in program::REVOCATIONS {
            self.probe(asker, &program::beside(shim, name)).map_err(|why| Fault::Loader.stop(why))?;
        }
        let grub = program::grub_beside(shim, self.deployment.boot.cpu);
        self.fetch(asker, &grub).map_err(|why| Fault::Loader.stop(why))?;
        Ok(())
    }

    /// An address and a boot file, from an exchange that another simulated boot may have had.
    fn configure(&mut self, mac: Mac, sender: Sender, shared: &mut Shared) -> Result<Lease, Stop> {
        let route = self.route;
        let state = DhcpState::for_dhcp(&self.state, mac, route.is_signed());
        // iPXE says the same however UEFI's firmware came to it.
        let firmware = match (route.firmware(), sender) {
            (Firmware::UefiHttp, Sender::Ipxe) => Firmware::Uefi,
            (firmware, _) => firmware,
        };
        let question = Question { state, ipv6: route.is_ipv6(), firmware, sender };
        let lease = match shared.answered(&question) {
            Some(known) => {
                client::note(&mut self.state, &known.exchange.events);
                let (leases, leases6) = known.leases.clone();
                self.state.put_leases(leases, leases6);
                self.steps.extend(known.exchange.steps.iter().cloned());
                known.exchange.lease.clone()
            }
            None => {
                let exchange = self.ask_dhcp(mac, sender).map_err(|why| Fault::Address.stop(why))?;
                shared.keep_answered(question, &exchange, &self.state);
                self.steps.extend(exchange.steps);
                exchange.lease
            }
        };
        match lease.file.len() {
            0 => Err(Fault::Loader.stop("DHCP names no boot file for it")),
            // DHCPv6 carries the URL in an option of its own (OPT_BOOTFILE_URL), which has no such limit.
            length if length <= BOOT_FILE_MAX || route.is_ipv6() => Ok(lease),
            length => Err(Fault::Loader.stop(format!(
                "the boot file name has {length} bytes, and firmware reads {BOOT_FILE_MAX}: {}",
                lease.file
            ))),
        }
    }

    fn ask_dhcp(&mut self, mac: Mac, sender: Sender) -> Result<DhcpExchange, String> {
        let (cpu, firmware, now) = (self.deployment.boot.cpu, self.route.firmware(), self.now);
        match (self.own, &self.deployment.subnet.ipv6) {
            (Some(IpAddr::V6(own)), Some(ipv6)) => {
                let link = client6::link(own, mac);
                Client6 { mac, cpu, firmware, link: &link, ipv6, now }.configure(&mut self.state, sender)
            }
            _ => {
                let cidr = self.deployment.subnet.cidr.ok_or("its subnet has IPv6 alone")?;
                let link = link(&self.state, cidr);
                Client { mac, cpu, firmware, link: &link, now }.configure(&mut self.state, sender)
            }
        }
    }

    /// The URL of the answers, for an installer that learns it from DHCP. It asks by IPv4, also where its firmware booted by
    /// IPv6; both reach the same tree.
    fn told_by_dhcp(&mut self, mac: Mac) -> Result<String, String> {
        let subnet = &self.deployment.subnet;
        let cidr = subnet.cidr.filter(|_| subnet.mode == Mode::Server).ok_or_else(|| {
            let name = &subnet.name;
            format!("its installer learns from DHCP where its answers are, and voldemort gives no IPv4 addresses on {name}")
        })?;
        let (cpu, firmware, now) = (self.deployment.boot.cpu, self.route.firmware(), self.now);
        let link = link(&self.state, cidr);
        let told = Client { mac, cpu, firmware, link: &link, now }.answers_url(&mut self.state)?;
        let path = told
            .splitn(4, '/')
            .nth(3)
            .ok_or_else(|| format!("DHCP gives its installer no URL, but {told}"))?;
        Ok(format!("{}/{path}", self.url))
    }

    /// Fetches the files that the kernel command line, or DHCP, names below this machine's answers.
    fn fetch_answers(
        &mut self,
        asker: Asker,
        mac: Mac,
        cmdline: &str,
        shared: &mut Shared,
    ) -> Result<(), Stop> {
        let deployment = self.deployment;
        let Some(template) = deployment.template.as_ref().filter(|_| deployment.has_answers()) else {
            return Ok(());
        };
        let root = format!("{}/answers/", self.url);
        let url = match cmdline.find(&root) {
            Some(start) => url_at(cmdline, start, &self.url).to_owned(),
            None if template.kind.installer().by_dhcp => {
                self.told_by_dhcp(mac).map_err(|why| Fault::NoAnswers.stop(why))?
            }
            None => return Err(Fault::NoAnswers.stop("the kernel command line names no answer file")),
        };
        let folder = &url[..url.rfind('/').map_or(url.len(), |slash| slash + 1)];
        for file in template.kind.files() {
            let artifact = self.fetch_once(asker, &format!("{folder}{}", file.name), shared);
            let artifact = artifact.map_err(|why| Fault::Answers.stop(why))?;
            if let Content::Bytes(bytes) = artifact.content {
                self.answers.push((file.name, bytes));
            }
        }
        Ok(())
    }
}

/// The URL that reports completion to the daemon at `server`, if one of the machine's texts has it.
pub fn completion<'a>(server: &str, texts: impl IntoIterator<Item = Cow<'a, str>>) -> Option<String> {
    let root = format!("{server}/hooks/");
    texts.into_iter().find_map(|text| {
        let urls = text.match_indices(&root).map(|(start, _)| url_at(&text, start, server));
        urls.into_iter().find(|url| url.ends_with("/completed")).map(str::to_owned)
    })
}

/// The URL below `server` that starts at this byte of a text, up to the first character that no such URL
/// has.
pub fn url_at<'a>(text: &'a str, start: usize, server: &str) -> &'a str {
    let foreign = |c: char| !c.is_ascii_alphanumeric() && !"/:._-".contains(c);
    let path = start + server.len();
    let end = text[path..].find(foreign).map_or(text.len(), |at| path + at);
    &text[start..end]
}

/// The server with only the signed boot programs.
fn signed_only(server: &Server) -> Arc<Server> {
    let signed = |name: &str| name.starts_with("shim") || name.starts_with("grub");
    let loaders = server.loaders.iter().filter(|(name, _)| signed(name));
    let loaders = loaders.map(|(name, entry)| (name.clone(), entry.clone())).collect();
    Arc::new(Server { loaders, ..server.clone() })
}
