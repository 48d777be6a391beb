//! The text mode of RFC 764, which only old network switches still ask for.

/// LF becomes CR LF, CR becomes CR NUL.
pub fn encode(text: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len() + text.len() / 16);
    for byte in text {
        match byte {
            b'\n' => encoded.extend(b"\r\n"),
            b'\r' => encoded.extend(b"\r\0"),
            byte => encoded.push(*byte),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #[test]
    fn line_ends_are_translated() {
        assert_eq!(super::encode(b"a\nb\r\nc"), b"a\r\nb\r\0\r\nc");
    }
}
