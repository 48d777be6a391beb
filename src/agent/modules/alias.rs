//! Patterns of devices, as modules carry them in `.modinfo` and the kernel compares them with `modalias` files:
//! `pci:v00008086d*sv*sd*bc*sc*i*`.

/// Whether the whole of `text` fits `pattern`: `*` is any number of signs, `?` is one, `[a-f0]` one of these
/// (fnmatch(3), which is what modprobe uses). Takes at most pattern times text steps.
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // Where to go on if what follows the last `*` does not fit here.
    let mut retry = None;
    loop {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                retry = Some((at, from));
                continue;
            }
            None if from == text.len() => return true,
            Some(_) if from < text.len() => {
                if let Some(next) = one(pattern, at, text[from]) {
                    (at, from) = (next, from + 1);
                    continue;
                }
            }
            _ => {}
        }
        match retry {
            Some((after, tried)) if tried < text.len() => {
                (at, from) = (after, tried + 1);
                retry = Some((after, tried + 1));
            }
            _ => return false,
        }
    }
}

/// Where the pattern goes on if its next place takes this sign.
fn one(pattern: &[u8], at: usize, sign: u8) -> Option<usize> {
    match pattern[at] {
        b'?' => Some(at + 1),
        b'[' => {
            let Some(length) = pattern[at + 1..].iter().position(|sign| *sign == b']') else {
                return (sign == b'[').then_some(at + 1);
            };
            let set = &pattern[at + 1..at + 1 + length];
            let (negated, set) = match set.split_first() {
                Some((b'!' | b'^', rest)) => (true, rest),
                _ => (false, set),
            };
            (within(set, sign) != negated).then_some(at + length + 2)
        }
        plain => (plain == sign).then_some(at + 1),
    }
}

/// Whether a set such as `0-9a` has the sign.
fn within(set: &[u8], sign: u8) -> bool {
    match set {
        [low, b'-', high, rest @ ..] => (low..=high).contains(&&sign) || within(rest, sign),
        [one, rest @ ..] => *one == sign || within(rest, sign),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_those_of_modprobe() {
        let pairs = [
            (
                "pci:v00008086d0000100Esv*sd*bc*sc*i*",
                "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00",
                true,
            ),
            (
                "pci:v00008086d0000100Fsv*sd*bc*sc*i*",
                "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00",
                false,
            ),
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4", true),
            ("pci:v*d*sv*sd*bc01sc06i01*", "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", true),
            ("usb:v0525p107[8-9a]d*", "usb:v0525p1079d0100", true),
            ("usb:v0525p107[8-9a]d*", "usb:v0525p107ad0100", true),
            ("usb:v0525p107[8-9a]d*", "usb:v0525p107bd0100", false),
            ("a[!0-4]", "a5", true),
            ("a[!0-4]", "a3", false),
            ("crypto-crc32c", "crypto-crc32c", true),
            ("crypto-crc32c", "crypto-crc32", false),
            ("crypto-crc32", "crypto-crc32c", false),
            ("of:N*T*Cfoo,bar", "of:NethTCfoo,bar", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[", "[", true),
            ("a*b*c", "a-b-b-c-c", true),
            ("a*b*c", "a-b-b-c-d", false),
        ];
        for (pattern, text, fit) in pairs {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_end() {
        assert!(!fits(&"*a".repeat(40), &"a".repeat(39)));
        assert!(!fits(&format!("{}b", "*a".repeat(200)), &"a".repeat(4_000)));
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[a\\[\\]*?!^-]{0,30}", text in "[a\\[\\]!^-]{0,40}") {
            fits(&pattern, &text);
        }
    }
}
