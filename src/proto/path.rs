//! Names as firmware writes them, brought to one form.
//!
//! Firmware, shim and GRUB build paths by gluing strings together: `//grubx64.efi`, `\EFI\BOOT\x`,
//! a whole `tftp://` URL where a file name belongs. The server repairs them instead of redirecting.

/// Why a name cannot be looked up at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the name holds a NUL byte")]
    Nul,
    #[error("the name climbs out of the tree (..)")]
    Parent,
    #[error("the name is empty")]
    Empty,
    #[error("a % in the name is not followed by two hexadecimal digits")]
    Escape,
}

/// One form for every spelling: `\` is `/`, no leading slash, no empty or `.` segment. A slash at
/// the end stays, because for HTTP it says "folder". The root is the empty text.
pub fn clean_path(text: &str) -> Result<String, PathError> {
    if text.contains('\0') {
        return Err(PathError::Nul);
    }
    let mut clean = String::with_capacity(text.len());
    for segment in text.split(['/', '\\']).filter(|segment| !segment.is_empty() && *segment != ".") {
        if segment == ".." {
            return Err(PathError::Parent);
        }
        if !clean.is_empty() {
            clean.push('/');
        }
        clean.push_str(segment);
    }
    if !clean.is_empty() && text.ends_with(['/', '\\']) {
        clean.push('/');
    }
    Ok(clean)
}

/// The name in a TFTP request. Some clients send a whole `tftp://server/name`; old PXE ROMs read
/// past the end of DHCP option 67 and append its terminator (0xFF), others pad with blanks.
pub fn tftp_name(raw: &[u8]) -> Result<String, PathError> {
    let end = raw.iter().rposition(|byte| !matches!(byte, 0xff | b' ')).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&raw[..end]);
    let clean = clean_path(without_scheme(&text))?;
    if clean.is_empty() { Err(PathError::Empty) } else { Ok(clean) }
}

/// The path in `tftp://host/path;mode=octet` (RFC 3617), also where the slashes were collapsed.
fn without_scheme(text: &str) -> &str {
    const SLASHES: [char; 2] = ['/', '\\'];
    let Some((scheme, rest)) = text.trim_start_matches(SLASHES).split_once(':') else { return text };
    let known = ["tftp", "http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if !known || !rest.starts_with(SLASHES) {
        return text;
    }
    let rest = rest.trim_start_matches(SLASHES);
    let path = rest.find(SLASHES).map_or("", |slash| &rest[slash..]);
    match path.rsplit_once(';') {
        Some((path, mode)) if mode.get(..5).is_some_and(|key| key.eq_ignore_ascii_case("mode=")) => path,
        _ => path,
    }
}

/// Undoes percent-encoding once. `+` is itself: only forms mean a blank by it.
pub fn percent_decode(text: &str) -> Result<String, PathError> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else { return Err(PathError::Escape) };
        bytes.push(hex(*high)? << 4 | hex(*low)?);
        rest = tail;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Result<u8, PathError> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).ok_or(PathError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_meet() {
        for text in ["/boot//x.efi", "\\boot\\x.efi", "boot/x.efi", "//boot/./x.efi"] {
            assert_eq!(clean_path(text).unwrap(), "boot/x.efi", "{text}");
        }
        assert_eq!(clean_path("/").unwrap(), "");
        assert_eq!(clean_path("/debian//").unwrap(), "debian/");
        assert_eq!(clean_path("a/..b/...").unwrap(), "a/..b/...");
    }

    #[test]
    fn nobody_climbs_out() {
        for text in ["..", "/a/../b", "..\\x", "a/.."] {
            assert_eq!(clean_path(text), Err(PathError::Parent), "{text}");
        }
        assert_eq!(clean_path("a\0b"), Err(PathError::Nul));
    }

    #[test]
    fn tftp_names_are_repaired() {
        for raw in [
            &b"ipxe.efi"[..],
            b"/ipxe.efi\xff",
            b"\\ipxe.efi  ",
            b"tftp://10.0.0.1/ipxe.efi",
            b"//TFTP://10.0.0.1:69//ipxe.efi",
            b"tftp:/10.0.0.1/ipxe.efi",
            b"tftp:\\\\10.0.0.1\\ipxe.efi",
            b"http://10.0.0.1:80/ipxe.efi",
            b"tftp://10.0.0.1/ipxe.efi;mode=octet",
        ] {
            assert_eq!(tftp_name(raw).unwrap(), "ipxe.efi", "{raw:?}");
        }
        assert_eq!(tftp_name(b"100%25.bin").unwrap(), "100%25.bin");
        assert_eq!(tftp_name(b"aa:bb/x;mode=y").unwrap(), "aa:bb/x;mode=y");
        for raw in [&b""[..], b"/", b"\xff\xff", b"tftp://10.0.0.1"] {
            assert_eq!(tftp_name(raw), Err(PathError::Empty), "{raw:?}");
        }
    }

    #[test]
    fn escapes_are_undone_once() {
        assert_eq!(percent_decode("a%2Fb%252f+c").unwrap(), "a/b%2f+c");
        assert_eq!(percent_decode("%c3%a9").unwrap(), "é");
        for text in ["%", "%4", "%zz", "%+1"] {
            assert_eq!(percent_decode(text), Err(PathError::Escape), "{text}");
        }
    }
}
