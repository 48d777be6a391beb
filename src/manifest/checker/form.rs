//! Texts that must have a form: addresses, names, durations, …

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Checker, only_similar, plain, similar};
use crate::manifest::quote::quoted;
use crate::manifest::value::Value;
use crate::manifest::{Code, Form, Kind, Mark, Problem};
use crate::model::{Cidr6, Identity, Mac, Name, Size};

impl Checker<'_> {
    pub(super) fn form(&mut self, form: &Form, key: &str, text: &str, mark: Mark) -> Option<Value> {
        let read = read(form, text);
        let refused = match read {
            Ok(value) => return Some(value),
            Err(refused) => refused,
        };
        let shown = plain(text);
        let mut problem = match form {
            Form::Name(kind) => {
                let message = format!("there can be no {} called `{shown}`", kind.name());
                Problem::new(Code::BadName, mark, message, refused)
            }
            Form::Mac => {
                let message = format!("`{shown}` is not the hardware address of a network card");
                Problem::new(Code::BadMac, mark, message, refused)
            }
            Form::Choice(choices) => choice(key, &shown, text, choices, mark),
            _ => Problem::new(Code::BadText, mark, format!("`{key}` can't be `{shown}`"), refused),
        };
        problem.help.extend(cure(form, text));
        self.problems.push(problem.fix(mark, meant(form, text).and_then(|text| quoted(&text))));
        None
    }
}

fn read(form: &Form, text: &str) -> Result<Value, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    match form {
        Form::Any => Ok(Value::Text(text.into())),
        Form::HostName => host_name(text),
        Form::Name(_) => {
            text.parse().map(Value::Name).map_err(|error: crate::model::name::NameError| words(&error))
        }
        Form::Mac => text.parse().map(Value::Mac).map_err(|error: crate::model::mac::MacError| words(&error)),
        Form::Uuid => Identity::uuid(text).map(|_| Value::Text(text.into())).map_err(|error| words(&error)),
        Form::ClientId => {
            Identity::client_id(text).map(|_| Value::Text(text.into())).map_err(|error| words(&error))
        }
        Form::AddressOrAuto if text == "auto" => Ok(Value::Auto),
        Form::Address => {
            text.parse().map(Value::Address).map_err(|_| "an IPv4 address is written as in 10.0.10.21".into())
        }
        Form::AddressOrAuto => text
            .parse()
            .map(Value::Address)
            .map_err(|_| "an IPv4 address is written as in 10.0.10.21; or \"auto\" for a dynamic one".into()),
        Form::Address6 => text
            .parse()
            .map(Value::Address6)
            .map_err(|_| "an IPv6 address is written as in fd00:10::21, without a length".into()),
        Form::Cidr6 => text
            .parse()
            .map(|cidr| Value::Cidr6(Box::new(cidr)))
            .map_err(|error: crate::model::net6::Net6Error| words(&error)),
        Form::Range6 => text
            .parse()
            .map(|range| Value::Range6(Box::new(range)))
            .map_err(|error: crate::model::net6::Net6Error| words(&error)),
        Form::Cidr => {
            text.parse().map(Value::Cidr).map_err(|error: crate::model::net::NetError| words(&error))
        }
        Form::Range => {
            text.parse().map(Value::Range).map_err(|error: crate::model::net::NetError| words(&error))
        }
        Form::Duration => match text.parse() {
            Ok(crate::model::Span(0)) => Err("this is no time at all".into()),
            Ok(span) => Ok(Value::Duration(span)),
            Err(error) => Err(words(&error)),
        },
        Form::Window => {
            text.parse().map(Value::Window).map_err(|error: crate::model::window::WindowError| words(&error))
        }
        Form::Size => {
            text.parse().map(Value::Size).map_err(|error: crate::model::size::SizeError| words(&error))
        }
        Form::Percent => {
            percent(text).map(Value::Percent).ok_or("a part is written as in \"30%\", up to \"100%\"".into())
        }
        Form::Rate => {
            text.parse().map(Value::Rate).map_err(|error: crate::model::rate::RateError| words(&error))
        }
        Form::Sha256 => sha256(text).ok_or("a SHA-256 digest has 64 hexadecimal digits".into()),
        Form::Url => url(text).ok_or("an address begins with https://, http:// or ipmi:// and a host".into()),
        Form::Endpoint => endpoint(text),
        Form::Path => path(text),
        Form::File => file(text),
        Form::Segment => segment(text),
        Form::Choice(choices) if choices.contains(&text) => Ok(Value::Text(text.into())),
        Form::Choice(_) => Err(String::new()),
    }
}

fn choice(key: &str, shown: &str, text: &str, choices: &[&'static str], mark: Mark) -> Problem {
    let message = format!("`{key}` can't be `{shown}`");
    let near = similar(text, choices.iter().copied()).or_else(|| other_name(text, choices));
    let label = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "not one of the choices".to_owned(),
    };
    Problem::new(Code::BadText, mark, message, label).help(format!("the choices are: {}", choices.join(", ")))
}

/// Processors have more than one name.
fn other_name(text: &str, choices: &[&'static str]) -> Option<&'static str> {
    let name = match text {
        "amd64" | "x64" | "x86-64" => "x86_64",
        "arm64" => "aarch64",
        "x86" | "i686" => "i386",
        _ => return None,
    };
    choices.iter().copied().find(|choice| *choice == name)
}

/// Longest host name, in bytes, and longest part of one (RFC 1035 section 2.3.4).
const HOST_NAME_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;

fn host_name(text: &str) -> Result<Value, String> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX_BYTES
            && label.chars().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match text.len() <= HOST_NAME_MAX_BYTES && text.split('.').all(label) {
        true => Ok(Value::Text(text.into())),
        false => Err("letters, digits and hyphens, in parts between dots".into()),
    }
}

fn percent(text: &str) -> Option<u8> {
    text.strip_suffix('%')?.parse().ok().filter(|percent| *percent <= 100)
}

fn sha256(text: &str) -> Option<Value> {
    let right = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then(|| Value::Text(text.to_ascii_lowercase().into()))
}

fn url(text: &str) -> Option<Value> {
    let rest = ["https://", "http://", "ipmi://"].iter().find_map(|scheme| text.strip_prefix(scheme))?;
    let right = !rest.is_empty() && !rest.starts_with('/') && text.chars().all(|c| c.is_ascii_graphic());
    right.then(|| Value::Text(text.into()))
}

/// Longest host with a port, in bytes.
const ENDPOINT_MAX_BYTES: usize = HOST_NAME_MAX_BYTES + 8;

fn endpoint(text: &str) -> Result<Value, String> {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/' | '%' | '[' | ']');
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[' || c == ':');
    match begins && text.len() <= ENDPOINT_MAX_BYTES && text.chars().all(allowed) && !text.contains("://") {
        true => Ok(Value::Text(text.into())),
        false => Err("a host, with a port if that is not the usual one, as in 10.0.99.11 or bmc1:623".into()),
    }
}

/// Longest path of a file, in bytes; some boot loaders take far less.
const PATH_MAX_BYTES: usize = 1024;

/// Paths lose slashes at their beginning: inside an image and below an inventory there is no
/// other root.
fn path(text: &str) -> Result<Value, String> {
    let path = text.trim_start_matches('/');
    if path.is_empty() || path.ends_with('/') {
        Err("this names no file".into())
    } else if path.len() > PATH_MAX_BYTES {
        Err(format!("a path has at most {PATH_MAX_BYTES} bytes"))
    } else if path.chars().any(char::is_control) {
        Err("a path has no control characters".into())
    } else if path.split('/').any(|part| matches!(part, ".." | "." | "")) {
        Err("a path has no empty parts, `.` or `..`".into())
    } else {
        Ok(Value::Text(path.into()))
    }
}

fn file(text: &str) -> Result<Value, String> {
    let parts = text.strip_prefix('/').unwrap_or(text);
    path(parts.strip_suffix('/').unwrap_or(parts)).map(|_| Value::Text(text.into()))
}

fn segment(text: &str) -> Result<Value, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || matches!(text, "." | "..") || !text.chars().all(allowed) {
        Err("one part of a path: letters, digits, dots, hyphens and underscores".into())
    } else {
        Ok(Value::Text(text.into()))
    }
}

/// What was probably meant.
fn cure(form: &Form, text: &str) -> Option<String> {
    match form {
        Form::Name(_) => name(text).map(|name| format!("did you mean `{name}`?")),
        Form::HostName => {
            let parts: Vec<String> =
                text.split('.').filter_map(|part| Some(name(part)?.to_string())).collect();
            let right = parts.join(".");
            (!right.is_empty() && host_name(&right).is_ok()).then(|| format!("did you mean \"{right}\"?"))
        }
        Form::AddressOrAuto if text.parse::<Ipv6Addr>().is_ok() => {
            Some(format!("an IPv6 address has a setting of its own: address6 = \"{text}\""))
        }
        Form::Cidr if text.parse::<Cidr6>().is_ok() => {
            Some(format!("IPv6 has a table of its own: ipv6 = {{ cidr = \"{text}\" }}"))
        }
        Form::Address | Form::Address6 | Form::AddressOrAuto => {
            let (address, _) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            Some(format!("the length belongs to the subnet; here just \"{address}\""))
        }
        Form::Mac => {
            let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
            let mac: Mac = digits.parse().ok()?;
            Some(format!("did you mean \"{mac}\"?"))
        }
        Form::Duration => {
            let seconds: u64 = text.parse().ok()?;
            Some(format!("seconds are written as \"{seconds}s\""))
        }
        Form::Size => size(text).map(|size| format!("did you mean \"{size}\"?")),
        Form::Percent => {
            let number: u8 = text.parse().ok().filter(|percent| *percent <= 100)?;
            Some(format!("did you mean \"{number}%\"?"))
        }
        Form::Rate => {
            let number: u32 = text.split('/').next()?.trim().parse().ok()?;
            Some(format!("only hours count: did you mean \"{number}/h\"?"))
        }
        _ => None,
    }
}

/// `16G`, `16 GB`, `16gib`: memory is made in powers of two.
fn size(text: &str) -> Option<Size> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = text[digits..].trim().trim_end_matches(['b', 'B']).trim_end_matches('i').to_ascii_uppercase();
    format!("{} {unit}iB", &text[..digits]).parse().ok()
}

/// What can only have been meant.
fn meant(form: &Form, text: &str) -> Option<String> {
    match form {
        Form::Name(_) => respelt(text),
        Form::Address | Form::AddressOrAuto => {
            let address: Ipv4Addr = text.split_once('/')?.0.parse().ok()?;
            Some(address.to_string())
        }
        Form::Mac => {
            let separator = |c: char| c.is_whitespace() || matches!(c, ':' | '-' | '.' | '_');
            let mac: Mac = text.replace(separator, "").parse().ok()?;
            Some(mac.to_string())
        }
        Form::Percent => {
            let number: u8 = text.parse().ok().filter(|percent| *percent <= 100)?;
            Some(format!("{number}%"))
        }
        Form::Choice(choices) => {
            let near = only_similar(text, choices.iter().copied()).or_else(|| other_name(text, choices));
            near.map(str::to_owned)
        }
        _ => None,
    }
}

/// The name a text becomes when every character a name can't have turns into a hyphen.
pub fn name(text: &str) -> Option<Name> {
    let letter = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    };
    let name: String = text.chars().take(64).map(letter).collect();
    name.trim_matches('-').parse().ok()
}

/// The same, if only letter case and separators differ.
fn respelt(text: &str) -> Option<String> {
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    text.chars().all(usual).then(|| name(text)).flatten().map(|name| name.to_string())
}

/// The name of a resource, or the problem with it.
pub fn resource_name(kind: Kind, text: &str, mark: Mark) -> Result<Name, Box<Problem>> {
    text.parse().map_err(|error: crate::model::name::NameError| {
        let message = format!("a {} can't be called `{}`", kind.name(), plain(text));
        let problem = Problem::new(Code::BadName, mark, message, error.to_string());
        Box::new(match name(text) {
            Some(name) => {
                let help = format!("write [{}.{name}]", kind.name());
                problem.help(help).fix(mark, respelt(text))
            }
            None => problem,
        })
    })
}
