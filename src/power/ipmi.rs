//! IPMI 2.0 over LAN, by the program `ipmitool`: its password travels in the environment, never among the arguments,
//! which every user of the host can read.

use std::time::{Duration, Instant};

use super::child::{self, Ended, NoEnd};
use super::driver::{Answer, Driver, Failure, Question, Sending};
use super::{Fault, Read};
use crate::model::power::ipmi_host;
use crate::model::{Capabilities, PowerKind, PowerState, PowerStep};

pub(super) struct Ipmi;

/// How long `ipmitool` waits for an answer at first.
const PATIENCE: Duration = Duration::from_secs(2);
/// Cipher suites (IPMI 2.0 section 22.15.2) in the order in which they are tried: with SHA-256, and with SHA-1. Those
/// without integrity or encryption are not used.
const CIPHERS: [u8; 2] = [17, 3];
/// Set System Boot Options, parameter 3 with bit 3 (IPMI 2.0, table 28-14): a boot that was set lasts until it is made.
/// Otherwise the controller forgets it 60 seconds after its last command about the chassis.
const KEEP_BOOT: [&str; 5] = ["raw", "0x00", "0x08", "0x03", "0x08"];

impl Driver for Ipmi {
    fn capabilities(&self) -> Capabilities {
        PowerKind::Ipmi.capabilities()
    }

    fn unread(&self) -> &'static str {
        "its controller was not read yet"
    }

    fn read<'a>(&'a self, question: Question<'a>) -> Answer<'a, Read> {
        Box::pin(async move {
            let said =
                call(&question, &["chassis", "power", "status"]).await.map_err(|failure| failure.fault)?;
            let state = match said.trim().strip_prefix("Chassis Power is ") {
                Some("on") => PowerState::On,
                Some("off") => PowerState::Off,
                _ => return Err(Fault::OddWords { program: "ipmitool".into(), words: shortened(&said) }),
            };
            Ok(Read { state, system: None })
        })
    }

    fn send<'a>(&'a self, question: Question<'a>, step: PowerStep) -> Sending<'a> {
        Box::pin(async move {
            // What is not known to boot by BIOS boots by UEFI: a controller that sets a boot for the other one sets none.
            let pxe: &[&str] = match question.uefi {
                Some(false) => &["chassis", "bootdev", "pxe"],
                _ => &["chassis", "bootdev", "pxe", "options=efiboot"],
            };
            let words: &[&str] = match step {
                PowerStep::On => &["chassis", "power", "on"],
                PowerStep::Off => &["chassis", "power", "off"],
                PowerStep::BootOnce => pxe,
                PowerStep::ClearBoot => &["chassis", "bootdev", "none"],
            };
            if step == PowerStep::BootOnce {
                match call(&question, &KEEP_BOOT).await {
                    // Some controllers don't have the parameter: then the boot lasts as long as it lasts.
                    Ok(_) | Err(Failure { fault: Fault::Refused { .. }, .. }) => {}
                    // Whatever came of it, no boot was set.
                    Err(failure) => return Err(Failure::from(failure.fault)),
                }
            }
            call(&question, words).await.map(drop)
        })
    }
}

/// Host and port of a controller.
fn address<'a>(question: &Question<'a>) -> Result<(&'a str, u16), Fault> {
    let power = question.power;
    let written = power.address.as_deref().or(power.url.as_deref()).ok_or(Fault::NoUrl)?;
    ipmi_host(written).ok_or_else(|| Fault::BadAddress(written.into()))
}

/// What ipmitool says to a command. A cipher suite that the controller does not have is found out once.
async fn call(question: &Question<'_>, words: &[&str]) -> Result<String, Failure> {
    let (host, port) = address(question)?;
    let place = format!("{host}:{port}");
    let end = Instant::now() + question.tools.limits.whole;
    let known = question.tools.cipher(&place);
    let ciphers: Vec<u8> =
        known.into_iter().chain(CIPHERS.into_iter().filter(|one| Some(*one) != known)).collect();
    let mut last = Fault::NoCipher(place.as_str().into()).into();
    for cipher in ciphers {
        let left = end.saturating_duration_since(Instant::now());
        match attempt(question, host, port, cipher, words, left).await {
            Ok(said) => {
                question.tools.learn_cipher(&place, cipher);
                return Ok(said);
            }
            Err(failure @ Failure { fault: Fault::NoCipher(_), .. }) => last = failure,
            Err(failure) => return Err(failure),
        }
    }
    Err(last)
}

async fn attempt(
    question: &Question<'_>,
    host: &str,
    port: u16,
    cipher: u8,
    words: &[&str],
    limit: Duration,
) -> Result<String, Failure> {
    let tools = question.tools;
    let place = format!("{host}:{port}");
    let mut command = child::bare(&tools.ipmitool);
    command.args(["-I", "lanplus", "-H", host, "-p", &port.to_string(), "-C", &cipher.to_string()]);
    // Three tries of some seconds each: a controller that is away is known to be so soon.
    command.args(["-N", &PATIENCE.as_secs().to_string(), "-R", "3"]);
    if let Some(login) = question.login {
        command.args(["-U", &login.user, "-E"]).env("IPMI_PASSWORD", &*login.password);
    }
    command.args(words);
    let program = || tools.ipmitool.display().to_string();
    let began = Instant::now();
    let ended = child::run(command, limit).await.map_err(|end| match end {
        NoEnd::NotStarted(error) if error.kind() == std::io::ErrorKind::NotFound => Fault::NoIpmitool.into(),
        NoEnd::NotStarted(error) => Fault::Program { program: program(), why: error.to_string() }.into(),
        NoEnd::Slow => {
            let fault = Fault::SlowProgram { program: program(), seconds: tools.limits.whole.as_secs() };
            Failure { fault, may_have_acted: true }
        }
        NoEnd::TooMuch | NoEnd::Broken(_) => {
            let fault = Fault::Program { program: program(), why: "its output can't be read".into() };
            Failure { fault, may_have_acted: true }
        }
    })?;
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    Err(refusal(&ended, &place, question.login.is_none(), began.elapsed()))
}

/// Why ipmitool failed, by its own words.
fn refusal(ended: &Ended, place: &str, is_nobody: bool, took: Duration) -> Failure {
    let words = ended.words();
    let has = |texts: &[&str]| texts.iter().any(|text| words.to_ascii_lowercase().contains(text));
    if has(&["no matching cipher suite", "invalid authentication algorithm", "invalid integrity algorithm"]) {
        return Fault::NoCipher(place.into()).into();
    }
    if has(&["hmac is invalid", "unauthorized name", "invalid role", "insufficient privilege", "password"]) {
        return if is_nobody { Fault::NoLogin.into() } else { Fault::WrongLogin.into() };
    }
    if has(&["unable to establish"]) {
        // It says no more: a controller that is there has refused at once, and one that is not was waited for.
        let is_answer = took < PATIENCE;
        return if is_answer {
            Fault::NoSession(place.into()).into()
        } else {
            Fault::Silent(place.into()).into()
        };
    }
    // A refused command is not carried out.
    let is_refused = has(&["command failed", "not supported", "unable to get", "address lookup"]);
    let why = if words.is_empty() { ended.status.to_string() } else { words };
    let fault = Fault::Refused { endpoint: place.into(), why };
    Failure { fault, may_have_acted: !is_refused }
}

fn shortened(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(80).collect()
}
