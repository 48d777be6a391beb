//! Bytes as lower-case hexadecimal digits.

/// Two digits for each byte. Tokens and digests are written at every boot, so no formatting
/// machinery is used.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(hex(&[0, 9, 0x1f, 0xab, 0xff]), "00091fabff");
        assert_eq!(hex(&[]), "");
    }
}
