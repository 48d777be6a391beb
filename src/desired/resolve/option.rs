//! DHCP options: from what was written to the bytes on the wire.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Resolver;
use crate::desired::dhcp_options::{DhcpOptions, Route};
use crate::manifest::document::{Extra, WrittenRoute};
use crate::manifest::{Code, Field, Kind, Mark, Marked, Mention, Problem, Value};
use crate::model::dhcp_option::{self, Form, Unknown};

/// Longest value of one option. A whole answer has to fit into a frame.
const LONGEST: usize = 1024;

impl Resolver<'_> {
    /// Reports what is wrong with the options of every resource, where it is written.
    pub(super) fn dhcp_options(&mut self) {
        let documents = self.documents;
        for kind in Kind::ALL {
            documents.of(kind).mentions(&mut |_, mention| {
                if let Mention::Options(options) = mention {
                    self.options(options);
                }
            });
        }
    }

    fn options(&mut self, options: &BTreeMap<Arc<str>, Field>) {
        let mut seen: BTreeMap<u8, Mark> = BTreeMap::new();
        for (key, field) in options {
            let (code, form) = match dhcp_option::find(key) {
                Ok(found) => found,
                Err(unknown) => {
                    self.problems.push(refused(key, field, unknown));
                    continue;
                }
            };
            if let Some(earlier) = seen.insert(code, field.key) {
                let message = format!("DHCP option {} is set twice", dhcp_option::name(code));
                let problem = Problem::new(Code::BadOption, field.key, message, "once here …");
                self.problems.push(problem.also(earlier, "… and once here"));
            }
            if let Err(why) = encode(form, &field.value.value) {
                let message = format!("DHCP option {} can't be this", dhcp_option::name(code));
                self.problems.push(Problem::new(Code::BadOption, field.value.mark, message, why));
            }
        }
    }
}

/// The options of one resource. What is wrong with them was reported, and is left out.
pub(super) fn encoded(extra: &Extra) -> DhcpOptions {
    wired(&by_code(&extra.options.0), extra.routes.as_deref())
}

/// Options by code: `42` and `ntp-servers` are one.
pub(super) fn by_code(options: &BTreeMap<Arc<str>, Field>) -> BTreeMap<u8, Field> {
    let one = |(key, field): (&Arc<str>, &Field)| Some((dhcp_option::find(key).ok()?.0, field.clone()));
    options.iter().filter_map(one).collect()
}

pub(super) fn wired(options: &BTreeMap<u8, Field>, routes: Option<&[WrittenRoute]>) -> DhcpOptions {
    let value = |(code, field): (&u8, &Field)| {
        let (_, form) = dhcp_option::find(&code.to_string()).ok()?;
        Some((*code, encode(form, &field.value.value).ok()?.into()))
    };
    let route =
        |route: &WrittenRoute| Some(Route { to: route.to.as_ref()?.value, via: route.via.as_ref()?.value });
    DhcpOptions {
        values: options.iter().filter_map(value).collect(),
        routes: routes.map(|routes| routes.iter().filter_map(route).collect()),
    }
}

fn refused(key: &str, field: &Field, unknown: Unknown) -> Problem {
    let problem = |message: String, label: &str| Problem::new(Code::BadOption, field.key, message, label);
    match unknown {
        Unknown::Own { code, instead } => {
            problem(format!("DHCP option {code} is the server's own"), "can't be set here").help(instead)
        }
        Unknown::Number => problem(format!("there is no DHCP option {key}"), "codes go from 1 to 254"),
        Unknown::Name(Some(near)) => {
            problem(format!("there is no DHCP option called `{key}`"), &format!("did you mean `{near}`?"))
        }
        Unknown::Name(None) => problem(format!("there is no DHCP option called `{key}`"), "unknown option")
            .help("any option can be set by its number, as in 224 = \"hex:01ff\""),
    }
}

/// The bytes of a value, or what it should have been.
fn encode(form: Form, value: &Value) -> Result<Vec<u8>, String> {
    let bytes = match value {
        Value::Secret(_) => return Err("DHCP is readable for everybody: no place for a secret".into()),
        Value::Text(text) if text.starts_with("hex:") => hex(&text[4..])?,
        Value::Text(text) if text.starts_with("text:") => text.as_bytes()[5..].to_vec(),
        value => typed(form, value)?,
    };
    match bytes.len() {
        1..=LONGEST => Ok(bytes),
        0 => Err("an option has at least one byte".into()),
        long => Err(format!("{long} bytes do not fit into an answer")),
    }
}

fn typed(form: Form, value: &Value) -> Result<Vec<u8>, String> {
    let number = |least: i64, most: i64, value: &Value| match value {
        Value::Integer(number) if (least..=most).contains(number) => Ok(*number),
        _ => Err(format!("write a whole number from {least} to {most}")),
    };
    match form {
        Form::Boolean => match value {
            Value::Boolean(flag) => Ok(vec![u8::from(*flag)]),
            _ => Err("write true or false".into()),
        },
        Form::U8 => Ok(vec![number(0, 255, value)? as u8]),
        Form::U16 => Ok((number(0, 0xffff, value)? as u16).to_be_bytes().to_vec()),
        Form::U32 => Ok((number(0, 0xffff_ffff, value)? as u32).to_be_bytes().to_vec()),
        Form::I32 => Ok((number(i32::MIN.into(), i32::MAX.into(), value)? as i32).to_be_bytes().to_vec()),
        Form::U16s => each(value, |item| Ok((number(0, 0xffff, item)? as u16).to_be_bytes().to_vec())),
        Form::Text => match value {
            Value::Text(text) => Ok(text.as_bytes().to_vec()),
            _ => Err("write a text".into()),
        },
        Form::Domains => each(value, domain),
        Form::Address | Form::Addresses => {
            let bytes = each(value, addresses)?;
            match form == Form::Address && bytes.len() > 4 {
                true => Err("this option holds one address".into()),
                false => Ok(bytes),
            }
        }
        Form::AddressPairs => {
            Some(each(value, addresses)?).filter(|bytes| bytes.len() % 8 == 0).ok_or_else(|| {
                "addresses come in pairs here: destination, router, destination, router, …".to_owned()
            })
        }
        Form::Bytes => each(value, addresses).map_err(|_| {
            "write its bytes as \"hex:0104c0000201\", a text as \"text:…\", or IPv4 addresses".to_owned()
        }),
    }
}

/// One value or a list of them, one after the other.
fn each(value: &Value, one: impl Fn(&Value) -> Result<Vec<u8>, String>) -> Result<Vec<u8>, String> {
    match value {
        Value::List(items) => {
            let parts: Result<Vec<_>, _> = items.iter().map(|Marked { value, .. }| one(value)).collect();
            Ok(parts?.concat())
        }
        value => one(value),
    }
}

/// `10.0.0.1`, or several divided by commas as other servers' settings have them.
fn addresses(value: &Value) -> Result<Vec<u8>, String> {
    let wrong = || "an IPv4 address is written as in \"10.0.10.1\"".to_owned();
    let Value::Text(text) = value else { return Err(wrong()) };
    let parse = |part: &str| part.trim().parse::<Ipv4Addr>().map(|address| address.octets());
    let parts: Result<Vec<[u8; 4]>, _> = text.split(',').map(parse).collect();
    Ok(parts.map_err(|_| wrong())?.concat())
}

/// Labels with their lengths, and the root (RFC 1035 section 3.1).
fn domain(value: &Value) -> Result<Vec<u8>, String> {
    let Value::Text(text) = value else { return Err("write domains as texts".into()) };
    let mut bytes = Vec::new();
    for label in text.strip_suffix('.').unwrap_or(text).split('.') {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=63).contains(&label.len()) || !label.bytes().all(good) {
            return Err(format!("`{text}` is no domain: each part has 1 to 63 letters, digits or hyphens"));
        }
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    match bytes.len() <= 255 {
        true => Ok(bytes),
        false => Err("a domain has at most 253 characters".into()),
    }
}

/// Digits in pairs; colons, hyphens and spaces between them are let go.
fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !matches!(c, ':' | '-' | ' ')).collect();
    let digit = |c: &char| c.to_digit(16).map(|digit| digit as u8);
    let pair = |pair: &[char]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    bytes.ok_or_else(|| "after hex: come pairs of hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn list(items: &[Value]) -> Value {
        let item = |value: &Value| Marked::new(value.clone(), Mark::new(0, 0..0));
        Value::List(items.iter().map(item).collect())
    }

    #[test]
    fn values_are_typed_by_the_name() {
        assert_eq!(encode(Form::Addresses, &text("10.0.0.1")), Ok(vec![10, 0, 0, 1]));
        assert_eq!(
            encode(Form::Addresses, &list(&[text("10.0.0.1"), text("10.0.0.2")])),
            Ok(vec![10, 0, 0, 1, 10, 0, 0, 2])
        );
        assert_eq!(encode(Form::U16, &Value::Integer(1400)), Ok(vec![5, 120]));
        assert_eq!(encode(Form::I32, &Value::Integer(-1)), Ok(vec![255; 4]));
        assert_eq!(encode(Form::Boolean, &Value::Boolean(true)), Ok(vec![1]));
        assert_eq!(encode(Form::Domains, &text("a.bc.")), Ok(vec![1, b'a', 2, b'b', b'c', 0]));
        assert_eq!(encode(Form::Bytes, &text("hex:01:04:ff")), Ok(vec![1, 4, 255]));
        assert_eq!(encode(Form::Bytes, &text("text:Raspberry")), Ok(b"Raspberry".to_vec()));
        assert_eq!(encode(Form::U8, &text("hex:00")), Ok(vec![0]), "bytes are always possible");
    }

    #[test]
    fn wrong_values_say_what_is_right() {
        let wrong = [
            (Form::Addresses, text("10.0.0")),
            (Form::Address, text("10.0.0.1,10.0.0.2")),
            (Form::AddressPairs, text("10.0.0.1")),
            (Form::U8, Value::Integer(256)),
            (Form::U16, text("1400")),
            (Form::Boolean, Value::Integer(1)),
            (Form::Domains, text("a..b")),
            (Form::Text, Value::Integer(1)),
            (Form::Text, text("")),
            (Form::Bytes, text("no prefix")),
            (Form::Bytes, text("hex:0")),
            (Form::Bytes, text(&format!("hex:{}", "00".repeat(1025)))),
            (Form::Text, Value::Secret("x".parse().unwrap())),
        ];
        for (form, value) in wrong {
            assert!(encode(form, &value).is_err(), "{form:?} {value:?}");
        }
    }
}
