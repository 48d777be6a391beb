//! AutoYaST profiles: XML as libxml2 reads it, one `<profile>`, and a plan that nobody has to confirm.

use super::xml;
use super::{Finding, asks, doubtful, refused};

pub(super) fn read(text: &str) -> Vec<Finding> {
    let document = xml::read(text);
    let place = |at: usize| {
        let before = &text[..at.min(text.len())];
        let line = before.matches('\n').count() + 1;
        (line, before.chars().rev().take_while(|&c| c != '\n').count() + 1)
    };
    let wrong = document.errors.into_iter().map(|(at, message)| {
        let (line, column) = place(at);
        refused(line, column, message)
    });
    let mut found: Vec<Finding> = wrong.collect();
    if !found.is_empty() {
        return found;
    }
    let (line, column) = place(document.root_at);
    if document.root != "profile" {
        found.push(doubtful(
            line,
            column,
            format!("the root element is `<{}>` and should be `<profile>`", document.root),
        ));
    }
    // SUSE's AutoYaST guide, "General options".
    if !document.unconfirmed {
        found.push(asks(
            line,
            "the installer shows its plan and waits: `<confirm>` in `<mode>` must be false",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn waits_unless_told_not_to() {
        let asked = |inner: &str| {
            let text = format!("<?xml version=\"1.0\"?>\n<profile>{inner}</profile>\n");
            let found = read(&text).into_iter().find(|found| found.verdict == Verdict::Asks);
            found.map(|found| found.error.line)
        };
        assert_eq!(asked("<mode><confirm config:type=\"boolean\">false</confirm></mode>"), None);
        assert_eq!(asked("<mode><confirm><![CDATA[false]]></confirm></mode>"), None);
        assert_eq!(asked(""), Some(2));
        assert_eq!(asked("<confirm t=\"boolean\">true</confirm>"), Some(2));
        assert_eq!(asked("<!-- <confirm>false</confirm> -->"), Some(2));
        assert_eq!(asked("<confirmation>false</confirmation>"), Some(2));
    }

    #[test]
    fn a_profile_has_another_name_than_profil() {
        let found = read("\n<profil><confirm>false</confirm></profil>");
        assert_eq!((found[0].verdict, found[0].error.line), (Verdict::Doubtful, 2));
        let found = read("<profile>\n<users>\n</drive>\n &x;\n</users></profile>");
        let lines: Vec<u32> = found.iter().map(|found| found.error.line).collect();
        assert_eq!(lines, [3, 4], "{found:?}");
    }
}
