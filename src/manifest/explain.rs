//! Pages about the codes. A page is a little Markdown: a paragraph, an inventory that has the
//! mistake, and one that has not; both are tests.

use super::{Code, Level};

/// All codes, one a line.
pub fn list() -> String {
    Code::ALL.iter().map(|code| format!("{code}  {}\n", code.title())).collect()
}

/// The page of a code, with its number as title and its level at the end.
pub fn page(code: Code) -> String {
    let level = match (code.level(), code.adjustable()) {
        (Level::Error, false) => "An error. It can't be turned off.".to_owned(),
        (level, true) => {
            format!("A {level}, unless `[check]` of voldemort.toml says otherwise: {code} = \"off\".")
        }
        (level, false) => format!("A {level}."),
    };
    format!("{code}: {}\n\n{}\n\n{level}\n", code.title(), code.page().trim())
}

/// The files of one of the two examples of a page, by path: those below the line `Wrong:` or
/// below `Right:`. A line `# file: PATH` begins a file.
pub fn example(page: &str, heading: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    let lines = page.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.skip_while(|line| !line.starts_with("```")).skip(1).take_while(|line| *line != "```");
    for line in lines {
        match (line.strip_prefix("# file: "), files.last_mut()) {
            (Some(path), _) => files.push((path.to_owned(), String::new())),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => files.push(("inventory.toml".to_owned(), format!("{line}\n"))),
        }
    }
    files
}
