//! Values of the wrong kind.

use toml::Spanned;
use toml::de::DeValue;

use super::{Checker, plain};
use crate::manifest::quote::quoted;
use crate::manifest::{Code, Form, Problem, Shape};

impl Checker<'_> {
    /// Reports that a value is of the wrong kind. Always `None`.
    pub(super) fn wrong_type<T>(&mut self, shape: &Shape, key: &str, value: &Spanned<DeValue>) -> Option<T> {
        let mark = self.mark(value);
        let message = format!("`{key}` must be {}, not {}", wanted(shape), found(value.get_ref()));
        let label = format!("this is {}", called(value.get_ref()));
        let mut problem = Problem::new(Code::WrongType, mark, message, label);
        problem.help.extend(cure(shape, key, value.get_ref(), self.sources.text_at(mark)));
        let written = self.sources.text_at(mark);
        self.problems.push(problem.fix(mark, meant(shape, value.get_ref(), written)));
        None
    }
}

/// The values that a setting takes, for messages.
pub fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Text(Form::Mac) => "a hardware address in quotes",
        Shape::Text(Form::Address | Form::Address6 | Form::AddressOrAuto) => "an address in quotes",
        Shape::Text(Form::Duration) => "a duration in quotes, as in \"8h\"",
        Shape::Text(Form::Size) => "an amount of memory in quotes, as in \"16 GiB\"",
        Shape::Text(Form::Percent) => "a part in quotes, as in \"30%\"",
        Shape::Text(Form::Rate) => "a number for each hour in quotes, as in \"4/h\"",
        Shape::Text(Form::Window) => "a window in quotes, as in \"Mon-Fri 22:00-05:00 Europe/Berlin\"",
        Shape::Text(_) => "text in quotes",
        Shape::Integer(_) => "a whole number",
        Shape::Boolean => "true or false",
        Shape::List(_) => "a list",
        Shape::Several(inner) => wanted(inner),
        Shape::Table(_) | Shape::Map(_) | Shape::Variables(_) => "a table",
        Shape::TextOr(_) => "text in quotes or a table",
        Shape::Selector => "a table of labels",
        Shape::Anything => "text, a whole number, true or false, a list or a table",
        Shape::Secret => "a secret, as in { secret = \"bmc\" }",
    }
}

fn found(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a decimal point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn called(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Boolean(true) => "the word true",
        DeValue::Boolean(false) => "the word false",
        other => found(other),
    }
}

fn cure(shape: &Shape, key: &str, value: &DeValue, written: &str) -> Option<String> {
    match (shape, value) {
        (Shape::Boolean, DeValue::String(text)) => {
            let flag = flag(text)?;
            Some(format!("write `{key} = {flag}`, without quotes"))
        }
        (Shape::Boolean, DeValue::Integer(number)) => match number.as_str() {
            "1" => Some(format!("write `{key} = true`")),
            "0" => Some(format!("write `{key} = false`")),
            _ => None,
        },
        (Shape::Integer(_), DeValue::String(text)) => {
            let number: i64 = text.trim().parse().ok()?;
            Some(format!("write `{key} = {number}`, without quotes"))
        }
        (Shape::Several(inner), _) => cure(inner, key, value, written),
        (Shape::Text(_), DeValue::Array(array)) if array.len() == 1 => {
            Some("only one can be given: write it without the brackets".to_owned())
        }
        (Shape::Text(form), DeValue::Integer(number)) => match form {
            Form::Duration => Some(format!("seconds are written as \"{}s\"", plain(number.as_str()))),
            Form::Rate => Some(format!("write \"{}/h\"", plain(number.as_str()))),
            Form::Percent => Some(format!("write \"{}%\"", plain(number.as_str()))),
            Form::Mac
            | Form::Address
            | Form::Address6
            | Form::AddressOrAuto
            | Form::Cidr
            | Form::Cidr6
            | Form::Range
            | Form::Range6
            | Form::Size => None,
            _ => Some(format!("write \"{}\", in quotes", plain(written))),
        },
        (Shape::Text(_) | Shape::Anything, DeValue::Float(_) | DeValue::Datetime(_)) => {
            Some(format!("write \"{}\", in quotes", plain(written)))
        }
        (Shape::List(_), DeValue::String(text)) => {
            let words: Vec<_> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
            Some(format!("write `{key} = [{}]`", plain(&words.join(", "))))
        }
        (Shape::Secret, _) => Some("the secret's text itself belongs into an encrypted file".into()),
        _ => None,
    }
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Some(true),
        "no" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The value as it can only have been meant, where that is so.
fn meant(shape: &Shape, value: &DeValue, written: &str) -> Option<String> {
    match (shape, value) {
        (Shape::Boolean, DeValue::String(text)) => flag(text).map(|flag| flag.to_string()),
        (Shape::Boolean, DeValue::Integer(number)) => match number.as_str() {
            "1" => Some("true".to_owned()),
            "0" => Some("false".to_owned()),
            _ => None,
        },
        (Shape::Integer(_), DeValue::String(text)) => {
            let number: i64 = text.trim().parse().ok()?;
            Some(number.to_string())
        }
        (Shape::Several(inner), _) => meant(inner, value, written),
        (Shape::Text(form), DeValue::Integer(number)) => match form {
            Form::Rate => {
                number.as_str().parse::<u32>().ok().and_then(|number| quoted(&format!("{number}/h")))
            }
            Form::Percent => number.as_str().parse::<u8>().ok().and_then(|part| quoted(&format!("{part}%"))),
            // A number says nothing about its unit, nor about the rest of an address.
            Form::Duration
            | Form::Mac
            | Form::Address
            | Form::AddressOrAuto
            | Form::Address6
            | Form::Cidr
            | Form::Cidr6
            | Form::Range
            | Form::Range6
            | Form::Size => None,
            _ => quoted(written),
        },
        (Shape::Text(_) | Shape::Anything, DeValue::Float(_) | DeValue::Datetime(_)) => quoted(written),
        (Shape::List(Shape::Text(_)), DeValue::String(text)) => {
            let words: Option<Vec<_>> = text.split_whitespace().map(quoted).collect();
            Some(format!("[{}]", words?.join(", ")))
        }
        _ => None,
    }
}
