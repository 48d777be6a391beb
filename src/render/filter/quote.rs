//! Filters that make a value safe where it stands.

use std::fmt::Write;

use liquid_core::model::{Value, ValueView};
use liquid_core::{Error, Result};

/// One word of a POSIX shell. A control character is an error: no line-based file format could carry it.
pub(super) fn shq(input: &dyn ValueView, _: &[Value]) -> Result<Value> {
    let text = scalar(input, "shq")?;
    refuse_control(&text)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    let quoted = match !text.is_empty() && text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    };
    Ok(Value::scalar(quoted))
}

/// The value itself, if it can stand at the end of a line: no control character, no backslash
/// at the end (which would join the next line in a preseed file), blanks behind it or not.
pub(super) fn line(input: &dyn ValueView, _: &[Value]) -> Result<Value> {
    let text = scalar(input, "line")?;
    refuse_control(&text)?;
    if text.trim_end().ends_with('\\') {
        return Err(Error::with_msg("a backslash at the end would join the next line"));
    }
    Ok(Value::scalar(text))
}

/// The name of a package on a line of its own, as kickstart's `%packages` has it: `line` that begins
/// neither a section nor a comment. Groups (`@`) and exclusions (`-`) are names there, too.
pub(super) fn package(input: &dyn ValueView, arguments: &[Value]) -> Result<Value> {
    let text = line(input, arguments)?.to_kstr().into_string();
    let name = text.trim();
    match name.chars().next() {
        None => Err(Error::with_msg("the name of a package is empty")),
        Some(sign @ ('%' | '#')) => Err(Error::with_msg(format!(
            "`{name}` is no package: a line that begins with `{sign}` means something else"
        ))),
        Some(_) if name == "-" => {
            Err(Error::with_msg("`-` is no package: it excludes the one whose name follows it"))
        }
        Some(_) => Ok(Value::scalar(name.to_owned())),
    }
}

/// JSON, tables by sorted key.
pub(super) fn json(input: &dyn ValueView, _: &[Value]) -> Result<Value> {
    let mut out = String::new();
    write_json(input, &mut out);
    Ok(Value::scalar(out))
}

/// A YAML 1.2 value on one line. JSON is YAML, and `write_json` escapes what YAML does not
/// allow in a text.
pub(super) fn yaml(input: &dyn ValueView, arguments: &[Value]) -> Result<Value> {
    json(input, arguments)
}

/// Text of an XML element or attribute.
pub(super) fn xml(input: &dyn ValueView, _: &[Value]) -> Result<Value> {
    let text = scalar(input, "xml")?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => return Err(Error::with_msg("XML can't carry this character")),
            _ if c.is_control() => return Err(Error::with_msg("XML can't carry a control character")),
            _ => out.push(c),
        }
    }
    Ok(Value::scalar(out))
}

/// Base64 (RFC 4648) with padding.
pub(super) fn b64(input: &dyn ValueView, _: &[Value]) -> Result<Value> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = scalar(input, "b64")?;
    let mut out = String::with_capacity(text.len().div_ceil(3) * 4);
    for chunk in text.as_bytes().chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * place)) as usize & 63];
            out.push(if place > chunk.len() { '=' } else { char::from(digit) });
        }
    }
    Ok(Value::scalar(out))
}

/// Puts spaces before each line but the first and the empty ones.
pub(super) fn indent(input: &dyn ValueView, arguments: &[Value]) -> Result<Value> {
    let depth = arguments.first().and_then(|depth| depth.as_scalar()?.to_integer());
    let depth = depth.and_then(|depth| usize::try_from(depth).ok()).filter(|&depth| depth <= 100);
    let depth = depth.ok_or_else(|| Error::with_msg("`indent` takes a number from 0 to 100"))?;
    let text = scalar(input, "indent")?;
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push('\n');
            if !line.is_empty() {
                out.extend(std::iter::repeat_n(' ', depth));
            }
        }
        out.push_str(line);
        if out.len() > super::LARGEST_VALUE {
            return Err(super::too_large());
        }
    }
    Ok(Value::scalar(out))
}

fn scalar(input: &dyn ValueView, filter: &str) -> Result<String> {
    match input.as_scalar() {
        Some(scalar) => Ok(scalar.to_kstr().into_string()),
        None => Err(Error::with_msg(format!("`{filter}` takes a text, not {}", article(input)))),
    }
}

fn article(input: &dyn ValueView) -> &'static str {
    match (input.is_array(), input.is_object()) {
        (true, _) => "a list",
        (_, true) => "a table",
        _ => "nothing",
    }
}

fn refuse_control(text: &str) -> Result<()> {
    let control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    match text.chars().find(|&c| control(c)) {
        Some('\n') => Err(Error::with_msg("the value has a line break")),
        Some(c) => {
            Err(Error::with_msg(format!("the value has the control character U+{:04X}", u32::from(c))))
        }
        None => Ok(()),
    }
}

fn write_json(value: &dyn ValueView, out: &mut String) {
    if let Some(array) = value.as_array() {
        separated(out, ['[', ']'], array.values(), write_json);
    } else if let Some(object) = value.as_object() {
        let mut members: Vec<_> = object.iter().collect();
        members.sort_by(|(left, _), (right, _)| left.cmp(right));
        separated(out, ['{', '}'], members.into_iter(), |(key, item), out| {
            write_text(&key, out);
            out.push_str(": ");
            write_json(item, out);
        });
    } else if let Some(scalar) = value.as_scalar() {
        match scalar.type_name() {
            "string" => write_text(&scalar.to_kstr(), out),
            _ => out.push_str(&scalar.to_kstr()),
        }
    } else {
        out.push_str("null");
    }
}

fn separated<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    write: impl Fn(T, &mut String),
) {
    out.push(open);
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write(item, out);
    }
    out.push(close);
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            // Writing to a String can't fail.
            _ if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(filter: fn(&dyn ValueView, &[Value]) -> Result<Value>, input: &str) -> Result<String> {
        filter(&Value::scalar(input.to_owned()), &[]).map(|value| value.to_kstr().into_string())
    }

    #[test]
    fn shell_words_survive() {
        assert_eq!(run(shq, "ops@host-1").unwrap(), "ops@host-1");
        assert_eq!(run(shq, "").unwrap(), "''");
        assert_eq!(run(shq, "it's; $(reboot)").unwrap(), r"'it'\''s; $(reboot)'");
        assert_eq!(run(shq, "~").unwrap(), "'~'");
        assert!(run(shq, "a\nb").is_err());
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(run(line, "a $b 'c'").unwrap(), "a $b 'c'");
        for bad in ["a\nb", "a\r", "a\0", "a\u{85}b", "a\u{2028}b", "a\\", "a\\ ", "\x1b[2J"] {
            assert!(run(line, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn packages_stay_packages() {
        for name in ["vim", "@core", "@^minimal environment", "-bash", " kernel-devel "] {
            assert_eq!(run(package, name).unwrap(), name.trim());
        }
        for bad in
            ["%end", " %post --nochroot", "%include /etc/x", "# x", "", "  ", "-", "a\nb", "a\u{2028}%end"]
        {
            assert!(run(package, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn json_escapes_and_sorts() {
        assert_eq!(run(json, "a\"\\\n\u{1}\u{7f}").unwrap(), r#""a\"\\\n\u0001\u007f""#);
        let value = liquid_core::object!({ "b": [1, true, "x"], "a": {} });
        let text = json(&Value::Object(value), &[]).unwrap();
        assert_eq!(text.to_kstr(), r#"{"a": {}, "b": [1, true, "x"]}"#);
    }

    #[test]
    fn base64_follows_the_rfc() {
        for (text, code) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(run(b64, text).unwrap(), code);
        }
    }

    #[test]
    fn xml_keeps_its_structure() {
        assert_eq!(run(xml, "<a b='c'>&\"").unwrap(), "&lt;a b=&apos;c&apos;&gt;&amp;&quot;");
        assert!(run(xml, "\0").is_err());
    }

    #[test]
    fn indents_all_but_the_first() {
        let text = indent(&Value::scalar("a\nb\n\nc"), &[Value::scalar(2i64)]).unwrap();
        assert_eq!(text.to_kstr(), "a\n  b\n\n  c");
        assert!(indent(&Value::scalar("a"), &[Value::scalar(-1i64)]).is_err());
    }
}
