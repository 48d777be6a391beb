//! Bytes as text of 64 signs (RFC 4648 section 4), for `Authorization: Basic` and the signatures of webhooks.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Padded, without line ends.
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (group >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { DIGITS[index as usize] as char } else { '=' });
        }
    }
    text
}

/// The bytes of such a text, padded or not; `None` if it is not what [`base64`] makes.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let plain = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(plain.len() / 4 * 3 + 2);
    for chunk in plain.as_bytes().chunks(4) {
        let digit = |sign: &u8| DIGITS.iter().position(|digit| digit == sign).map(|at| at as u32);
        let group = chunk.iter().try_fold(0u32, |sum, sign| Some(sum << 6 | digit(sign)?))?;
        let group = group << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&group.to_be_bytes()[1..chunk.len()]);
    }
    let whole = base64(&bytes);
    (whole == text || whole.trim_end_matches('=') == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(from_base64(coded).as_deref(), Some(plain.as_bytes()));
            assert_eq!(from_base64(coded.trim_end_matches('=')).as_deref(), Some(plain.as_bytes()));
        }
        for wrong in ["Z", "Zh==", "Zg=", "Zg===", "Z g==", "Zm9v=", "=", "Zm-v", "Zm9vYmFyé"] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }
}
