//! Parts of a message that HTTP has one grammar for (RFC 9110 section 5.6): all of it bytes, and white space
//! is SP and HTAB alone. What a library calls white space besides (NBSP, VT, …) is seen by other readers as
//! part of a value, and so by two readers in two ways.

/// Without optional white space at the ends.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The same for bytes.
pub(super) fn trim_bytes(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Whether a byte may stand in a token.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a byte may stand in a field's value or a quoted text; quotes and backslashes are not looked at.
pub(super) fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Whether `value` is what a Host field may hold (RFC 9112 section 3.2): a name or an address, and a port.
pub(super) fn is_host(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    is_port(port) && (is_literal(host) || is_name(host))
}

fn is_port(port: &str) -> bool {
    port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// `[fe80::1]`, with the interface of a link-local address as some clients leave it (RFC 6874).
fn is_literal(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = inner.map(|inner| inner.split_once('%').unwrap_or((inner, "")));
    address.is_some_and(|(address, zone)| {
        address.parse::<std::net::Ipv6Addr>().is_ok() && (zone.is_empty() || is_name(zone))
    })
}

/// A registered name (RFC 3986 section 3.2.2), of which an IPv4 address is one; it may be empty.
fn is_name(host: &str) -> bool {
    let mut rest = host.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => tail,
            (b'%', _) => return false,
            (byte, tail) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => tail,
            _ => return false,
        };
    }
    true
}

/// The number before a chunk (RFC 9112 section 7.1): hexadecimal digits, then extensions, which are read
/// only so far as to be sure that they are some.
pub(super) fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, mut rest) = line.split_at(end);
    let size = digits.iter().try_fold(0_u64, |size, digit| {
        let value = char::from(*digit).to_digit(16)?;
        size.checked_mul(16)?.checked_add(value.into())
    });
    while !rest.is_empty() {
        rest = extension(rest)?;
    }
    size.filter(|_| end > 0)
}

/// What follows the first of some chunk extensions: `;name`, `;name=value`, `;name="value"`.
fn extension(bytes: &[u8]) -> Option<&[u8]> {
    let name = token(skip(bytes).strip_prefix(b";").map(skip)?)?;
    let Some(value) = skip(name).strip_prefix(b"=").map(skip) else { return Some(name) };
    let Some(mut rest) = value.strip_prefix(b"\"") else { return token(value) };
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] if is_text(*byte) => rest,
            _ => return None,
        };
    }
}

fn skip(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(bytes.len());
    &bytes[end..]
}

/// What follows a token.
fn token(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len());
    (end > 0).then(|| &bytes[end..])
}

/// Whether a line after the last chunk is a field (RFC 9112 section 7.1.2).
pub(super) fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    !name.is_empty() && name.iter().all(|byte| is_token(*byte)) && value.iter().all(|byte| is_text(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "10.0.0.1",
            "10.0.0.1:80",
            "boot.example",
            "boot_1.example:8080",
            "[fd00::1]",
            "[fd00::1]:80",
            "",
            ":80",
            "host:",
            "[fe80::1%25eth0]",
            "xn--bcher-kva.example",
            "a%20b",
            "LOCALHOST",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b", "a/b", "http://a", "a:b", "a:80:80", "a:-1", "a:65536", "a@b", "[fd00::1", "fd00::1",
            "[x]", "a\u{a0}", "a%2", "a%zz", "<x>", "a\\b", "a?b", "a#b", "\"a\"", "a,b c",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
        assert!(!is_host(b"\xff"));
    }

    #[test]
    fn chunk_lines() {
        for (line, size) in [
            (&b"0"[..], 0),
            (b"5", 5),
            (b"aF", 0xaf),
            (b"000000000000000000005", 5),
            (b"5;a", 5),
            (b"5 ;a", 5),
            (b"5;a=b", 5),
            (b"5 ; a = b;c=\"d;\\\"e \xff\"", 5),
            (b"ffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(chunk_size(line), Some(size), "{}", line.escape_ascii());
        }
        for line in [
            &b""[..],
            b" 5",
            b"5 ",
            b"5\t",
            b"\t5",
            b"0x5",
            b"+5",
            b"-5",
            b"5;",
            b"5;;a",
            b"5;a=",
            b"5;a b",
            b"5;a=\"b",
            b"5 5",
            b"g",
            b"\xc2\xa05",
            b"5\xc2\xa0",
            b"5\x0b",
            b"5\x0c",
            b"5\0",
            b"5;a\rb",
            b"5;a=\"\0\"",
            b"5;a\x0b",
            b"10000000000000000",
            b"5_0",
            b"5,5",
            b"5\r",
        ] {
            assert_eq!(chunk_size(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn only_blanks_and_tabs_are_white_space() {
        assert_eq!(trim(" \ta\u{a0} "), "a\u{a0}");
        assert_eq!(trim_bytes(b"\t \x0ba\x0c  "), b"\x0ba\x0c");
        assert_eq!(trim_bytes(b" \t"), b"");
        assert!(is_field(b"a: b") && is_field(b"a:") && !is_field(b"a") && !is_field(b" a: b"));
        assert!(!is_field(b"a : b") && !is_field(b": b") && !is_field(b"a: \0") && !is_field(b"a: b\rc"));
    }
}
