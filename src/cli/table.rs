//! Columns for people.

use std::fmt::Write;

use crate::model::printable::line;

/// Left-aligned columns under their titles, two blanks apart; control characters are escaped,
/// since names and texts may have come off the wire.
pub(in crate::cli) fn format(titles: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&titles).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut out = String::new();
    for row in std::iter::once(&titles).chain(&rows) {
        let mut shown = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(shown, "{cell:<width$}  ");
        }
        out.push_str(shown.trim_end());
        out.push('\n');
    }
    out
}

/// Escapes what could drive a terminal, or mislead who reads it.
pub(in crate::cli) fn printable(text: &str) -> String {
    line(text).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up_and_escape() {
        let rows = [vec!["web-1".to_owned(), "ok".to_owned()], vec!["a".to_owned(), "\u{1b}[31m".to_owned()]];
        let text = super::format(&["NAME", "STATE"], &rows);
        assert_eq!(text, "NAME   STATE\nweb-1  ok\na      \\u{1b}[31m\n");
    }
}
