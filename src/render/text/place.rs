//! Bytes to lines and columns.

/// Line and column, both from 1, the column in characters.
pub(super) fn place(text: &str, offset: usize) -> (u32, u32) {
    let before = &text[..offset.min(text.len())];
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before[start..].chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// The same for many offsets that mostly grow, in one walk.
pub(super) struct Places<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    column: u32,
}

impl<'a> Places<'a> {
    pub(super) fn new(text: &'a str) -> Places<'a> {
        Places { text, at: 0, line: 1, column: 1 }
    }

    pub(super) fn forward(&mut self, offset: usize) -> (u32, u32) {
        if offset < self.at {
            return place(self.text, offset);
        }
        for c in self.text[self.at..offset].chars() {
            (self.line, self.column) =
                if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.at = offset;
        (self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::{Places, place};

    #[test]
    fn counts_characters_not_bytes() {
        assert_eq!(place("", 0), (1, 1));
        assert_eq!(place("äb\ncd", 2), (1, 2));
        assert_eq!(place("äb\ncd", 4), (2, 1));
        assert_eq!(place("äb\ncd", 5), (2, 2));
        let mut places = Places::new("äb\ncd");
        for offset in [2, 4, 5, 2] {
            assert_eq!(places.forward(offset), place("äb\ncd", offset));
        }
    }
}
