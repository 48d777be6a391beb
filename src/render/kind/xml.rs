//! AutoYaST profiles: elements closed in order, attributes quoted, one `<profile>`.

use super::super::RenderError;
use super::wrong;

pub(super) fn check(text: &str) -> Vec<RenderError> {
    let mut reader = Reader { text, at: 0, open: Vec::new(), root: None, root_at: 0 };
    match reader.run() {
        Ok(()) => Vec::new(),
        Err(message) => {
            let before = &text[..reader.at.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            vec![wrong(line, column, message)]
        }
    }
}

/// AutoYaST shows its plan and waits unless `general/mode/confirm` is false (SUSE's AutoYaST guide,
/// "General options").
pub(super) fn asks(text: &str) -> Option<RenderError> {
    let mut bare = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("<!--") {
        bare += before;
        rest = comment.split_once("-->").map_or("", |(_, behind)| behind);
    }
    bare += rest;
    let says_false = |element: &str| {
        let content = element.split_once('>').map(|(_, content)| content);
        content.and_then(|content| content.split('<').next()).is_some_and(|value| value.trim() == "false")
    };
    if bare.split("<confirm").skip(1).any(says_false) {
        return None;
    }
    let line = text.lines().position(|line| line.contains("<profile")).map_or(1, |at| at + 1);
    Some(wrong(line, 1, "the installer shows its plan and waits: `<confirm>` in `<mode>` must be false"))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    open: Vec<&'a str>,
    root: Option<&'a str>,
    root_at: usize,
}

type Step = Result<(), String>;

impl<'a> Reader<'a> {
    fn run(&mut self) -> Step {
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            match rest.as_bytes() {
                [b'<', b'?', ..] => self.skip("?>", "a processing instruction")?,
                _ if rest.starts_with("<!--") => self.skip("-->", "a comment")?,
                _ if rest.starts_with("<![CDATA[") => self.skip("]]>", "a CDATA section")?,
                [b'<', b'!', ..] => self.skip(">", "a declaration")?,
                [b'<', b'/', ..] => self.close()?,
                [b'<', ..] => self.element()?,
                _ => self.characters()?,
            }
        }
        match (self.open.last(), self.root) {
            (Some(name), _) => {
                self.at = self.text.trim_end().len();
                Err(format!("`<{name}>` is not closed"))
            }
            (None, Some("profile")) => Ok(()),
            (None, _) => {
                self.at = self.root_at;
                Err("the root element must be `<profile>`".to_owned())
            }
        }
    }

    fn skip(&mut self, end: &str, what: &str) -> Step {
        let found = self.text[self.at..].find(end).ok_or_else(|| format!("{what} is not closed"))?;
        self.at += found + end.len();
        Ok(())
    }

    fn characters(&mut self) -> Step {
        let rest = &self.text[self.at..];
        let length = rest.find('<').unwrap_or(rest.len());
        let text = &rest[..length];
        if self.open.is_empty() && !text.trim().is_empty() {
            self.at += text.len() - text.trim_start().len();
            return Err("text outside of the root element".to_owned());
        }
        self.entities(text)?;
        self.at += length;
        Ok(())
    }

    /// `&` begins an entity, or it is a mistake.
    fn entities(&mut self, text: &str) -> Step {
        for (at, _) in text.match_indices('&') {
            let name = text[at + 1..].split(';').next().filter(|name| name.len() < text.len() - at - 1);
            let known = name.is_some_and(|name| {
                matches!(name, "amp" | "lt" | "gt" | "quot" | "apos")
                    || name.strip_prefix('#').is_some_and(|code| !code.is_empty())
            });
            if !known {
                self.at += at;
                return Err("a plain `&` is written `&amp;`".to_owned());
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Step {
        let rest = &self.text[self.at + 2..];
        let end = rest.find('>').ok_or("this tag is not closed")?;
        let name = rest[..end].trim_end();
        match self.open.last() {
            Some(open) if *open == name => {
                self.open.pop();
            }
            Some(open) => return Err(format!("`</{name}>` found where `</{open}>` is expected")),
            None => return Err(format!("nothing is open that `</{name}>` closes")),
        }
        self.at += 2 + end + 1;
        Ok(())
    }

    fn element(&mut self) -> Step {
        let rest = &self.text[self.at + 1..];
        let inner = |c: char| c.is_alphanumeric() || "_:.-".contains(c);
        let length = rest.find(|c: char| !inner(c)).unwrap_or(rest.len());
        let name = &rest[..length];
        if name.is_empty() || !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return Err("a plain `<` is written `&lt;`".to_owned());
        }
        if self.open.is_empty() {
            if self.root.replace(name).is_some() {
                return Err("there is more than one root element".to_owned());
            }
            self.root_at = self.at;
        }
        let (length, empty) = attributes(&rest[length..]).map(|(more, empty)| (length + more, empty))?;
        if !empty {
            self.open.push(name);
        }
        self.at += 1 + length;
        Ok(())
    }
}

/// The rest of a start tag: its length, and whether it ends with `/>`.
fn attributes(text: &str) -> Result<(usize, bool), String> {
    let mut at = 0;
    let mut names = Vec::new();
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        let rest = &text[at..];
        if rest.starts_with('>') {
            return Ok((at + 1, false));
        }
        if rest.starts_with("/>") {
            return Ok((at + 2, true));
        }
        let equals = rest.find(['=', '>', '<']).filter(|&found| rest[found..].starts_with('='));
        let equals = equals.ok_or("this tag has an attribute without a value, or is not closed")?;
        let name = rest[..equals].trim_end();
        if names.contains(&name) {
            return Err(format!("the attribute `{name}` is there twice"));
        }
        names.push(name);
        let value = rest[equals + 1..].trim_start();
        let quote = value
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\''))
            .ok_or("an attribute's value needs quotes")?;
        let end = value[1..].find(quote).ok_or("an attribute's value has no closing quote")?;
        at += rest.len() - value.len() + end + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_unless_told_not_to() {
        let profile = |inner: &str| format!("<?xml version=\"1.0\"?>\n<profile>{inner}</profile>\n");
        assert_eq!(asks(&profile("<mode><confirm config:type=\"boolean\">false</confirm></mode>")), None);
        assert_eq!(asks(&profile("")).unwrap().line, 2);
        assert!(asks(&profile("<confirm t=\"boolean\">true</confirm>")).is_some());
        assert!(asks(&profile("<!-- <confirm>false</confirm> -->")).is_some());
    }

    #[test]
    fn accepts_a_profile() {
        let text = "<?xml version=\"1.0\"?>\n<!DOCTYPE profile>\n<profile xmlns=\"a\">\n<!-- < & -->\n<a b:c='>' />&amp;&#10;<![CDATA[<&]]></profile>\n";
        assert_eq!(check(text), []);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, place, message) in [
            ("<profile>\n <a>\n</profile>", (3, 1), "`</a>` is expected"),
            ("<profile>\n a & b</profile>", (2, 4), "`&amp;`"),
            ("<profile>a < b</profile>", (1, 12), "`&lt;`"),
            ("<profile a=b></profile>", (1, 1), "quotes"),
            ("<profile><a></a>", (1, 17), "`<profile>` is not closed"),
            ("<a/>", (1, 1), "must be `<profile>`"),
            ("<profile/>x", (1, 11), "outside"),
            ("<profile/><profile/>", (1, 11), "more than one"),
            ("<profile", (1, 1), "not closed"),
            ("", (1, 1), "must be `<profile>`"),
        ] {
            let error = &check(text)[0];
            assert_eq!((error.line, error.column), place, "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
    }
}
