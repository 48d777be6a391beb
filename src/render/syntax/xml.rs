//! Whether a text is XML 1.0 as libxml2 reads it without loading anything else: well-formed, entities
//! of the document's own type definition included. Namespaces and validity are not looked at.

mod cursor;
mod dtd;

use std::collections::BTreeMap;

use crate::render::near;
use cursor::Cursor;

/// What a document says, as far as it has to be known here.
#[derive(Default)]
pub(in crate::render) struct Document<'a> {
    /// The name of the outermost element, and where it begins.
    pub root: &'a str,
    pub root_at: usize,
    /// Whether an element `confirm` is false.
    pub unconfirmed: bool,
    /// Every mistake that is none's consequence, with the byte it stands at.
    pub errors: Vec<(usize, String)>,
}

/// The value of an entity of the document.
pub(in crate::render) enum Entity {
    /// A text with its character references.
    Text(String),
    /// Another file, which is not loaded.
    External,
}

/// How deep entities may stand in each other, and what all of them may come to.
const DEEPEST: usize = 30;
const LONGEST: usize = 1 << 20;

pub(in crate::render) fn read(text: &str) -> Document<'_> {
    let mut reader = Reader { cursor: Cursor::new(text), ..Reader::default() };
    reader.document();
    reader.document
}

/// A mistake: where, and in which words.
type Step<T> = Result<T, (usize, String)>;

fn wrong<T>(at: usize, message: impl Into<String>) -> Step<T> {
    Err((at, message.into()))
}

#[derive(Default)]
struct Reader<'a> {
    cursor: Cursor<'a>,
    document: Document<'a>,
    /// Open elements: name, where it begins, and whether it is `confirm`.
    open: Vec<(&'a str, usize)>,
    entities: BTreeMap<String, Entity>,
    /// Whether the document's type has been read.
    typed: bool,
    /// Whether some of the type definition is not loaded, so that entities may be unknown here.
    partly: bool,
    /// What has been written since the last tag.
    text: String,
    expanded: usize,
}

impl<'a> Reader<'a> {
    fn document(&mut self) {
        self.cursor.skip("\u{feff}");
        if self.cursor.rest().starts_with("<?xml")
            && self.cursor.rest()[5..].starts_with(cursor::is_space)
            && let Err(error) = self.declaration()
        {
            return self.document.errors.push(error);
        }
        while !self.cursor.is_at_end() {
            let start = self.cursor.at;
            if let Err(error) = self.piece() {
                // After a wrong tag the next one is looked at, unless it was the document's type.
                let typed = self.cursor.text[start..].starts_with("<!DOCTYPE");
                self.document.errors.push(error);
                if typed || self.document.errors.len() >= 20 {
                    return;
                }
                if self.cursor.at == start {
                    self.cursor.at += 1;
                    self.cursor.until_char('<');
                }
            }
        }
        self.end();
    }

    fn end(&mut self) {
        let end = self.cursor.text.trim_end().len();
        match self.open.last() {
            Some((name, _)) if self.document.errors.is_empty() => {
                self.document.errors.push((end, format!("`<{name}>` is not closed")));
            }
            None if self.document.root.is_empty() && self.document.errors.is_empty() => {
                self.document.errors.push((0, "there is no root element: it must be `<profile>`".to_owned()));
            }
            _ => {}
        }
    }

    fn piece(&mut self) -> Step<()> {
        let rest = self.cursor.rest();
        if rest.starts_with("<!--") {
            self.cursor.comment()
        } else if rest.starts_with("<?") {
            self.cursor.instruction()
        } else if rest.starts_with("<![CDATA[") && !self.open.is_empty() {
            self.data()
        } else if rest.starts_with("<!DOCTYPE") && self.document.root.is_empty() && !self.typed {
            self.doctype()
        } else if rest.starts_with("</") {
            self.close()
        } else if rest.starts_with('<') {
            self.element()
        } else {
            self.characters()
        }
    }

    /// `<?xml version="1.0" encoding="…" standalone="…"?>`.
    fn declaration(&mut self) -> Step<()> {
        let start = self.cursor.at;
        let Some(length) = self.cursor.rest().find("?>") else {
            return wrong(start, "the XML declaration is not closed");
        };
        let inside = &self.cursor.rest()[5..length];
        self.cursor.at += length + 2;
        let mut names = Vec::new();
        let mut rest = inside;
        while !rest.trim_start_matches(cursor::is_space).is_empty() {
            let bare = rest.trim_start_matches(cursor::is_space);
            let parsed = bare.split_once('=').and_then(|(name, value)| {
                let value = value.trim_start_matches(cursor::is_space);
                let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
                let (value, behind) = value[1..].split_once(quote)?;
                Some((name.trim_end_matches(cursor::is_space), value, behind))
            });
            let Some((name, value, behind)) = parsed.filter(|_| bare.len() < rest.len()) else {
                return wrong(start, "the XML declaration is `<?xml version=\"1.0\" encoding=\"UTF-8\"?>`");
            };
            names.push((name, value));
            rest = behind;
        }
        declared(&names).or_else(|message| wrong(start, message))
    }

    fn doctype(&mut self) -> Step<()> {
        let (entities, partly) = dtd::read(&mut self.cursor)?;
        (self.entities, self.partly, self.typed) = (entities, partly, true);
        Ok(())
    }

    fn data(&mut self) -> Step<()> {
        let start = self.cursor.at;
        self.cursor.at += "<![CDATA[".len();
        let Some(inside) = self.cursor.until("]]>") else {
            return self.cursor.unclosed(start, "a CDATA section");
        };
        self.text += inside;
        cursor::characters(inside, start + "<![CDATA[".len())
    }

    fn characters(&mut self) -> Step<()> {
        let start = self.cursor.at;
        let text = self.cursor.until_char('<');
        if self.open.is_empty() {
            let Some(at) = text.find(|c| !cursor::is_space(c)) else { return Ok(()) };
            return match self.document.root.is_empty() && self.document.errors.is_empty() {
                _ if !self.document.errors.is_empty() => Ok(()),
                true => wrong(start + at, "text before the root element"),
                false => wrong(start + at, "text outside of the root element"),
            };
        }
        if let Some(at) = text.find("]]>") {
            return wrong(start + at, "`]]>` in a text is written `]]&gt;`");
        }
        cursor::characters(text, start)?;
        self.text += text;
        let mut first = Ok(());
        for (at, reference) in cursor::references(text) {
            let found = self.reference(reference, start + at, false, 0);
            match (&first, found) {
                (Ok(()), Err(error)) => first = Err(error),
                (Err(_), Err(error)) => self.document.errors.push(error),
                _ => {}
            }
        }
        first
    }

    /// A reference: `name;`, `#number;`, or something else behind an `&`.
    fn reference(&mut self, rest: &str, at: usize, attribute: bool, depth: usize) -> Step<()> {
        let name = match cursor::reference(rest) {
            Some(cursor::Reference::Character(Some(_))) => return Ok(()),
            Some(cursor::Reference::Character(None)) => {
                return wrong(at, "this number is no character that XML may have");
            }
            Some(cursor::Reference::Name(name)) => name,
            None => return wrong(at, "a plain `&` is written `&amp;`"),
        };
        if matches!(name, "amp" | "lt" | "gt" | "quot" | "apos") {
            return Ok(());
        }
        let value = match self.entities.get(name) {
            None if self.partly => return Ok(()),
            None => {
                return wrong(
                    at,
                    format!("the entity `&{name};` is not defined; a plain `&` is written `&amp;`"),
                );
            }
            Some(Entity::External) if attribute => {
                return wrong(
                    at,
                    format!("the entity `&{name};` of another file can't stand in an attribute"),
                );
            }
            Some(Entity::External) => return Ok(()),
            Some(Entity::Text(value)) => value.clone(),
        };
        self.expanded += value.len();
        if depth >= DEEPEST || self.expanded > LONGEST {
            return wrong(at, format!("the entity `&{name};` holds itself, or far too much"));
        }
        self.replaced(&value, at, attribute, depth + 1)
            .or_else(|message| wrong(at, format!("in the entity `&{name};`: {}", message.1)))
    }

    /// Puts an entity's value in its place.
    fn replaced(&mut self, value: &str, at: usize, attribute: bool, depth: usize) -> Step<()> {
        if attribute {
            if value.contains('<') {
                return wrong(at, "a plain `<` in an attribute is written `&lt;`");
            }
            for (_, reference) in cursor::references(value) {
                self.reference(reference, at, true, depth)?;
            }
            return Ok(());
        }
        if !value.contains(['<', '&']) {
            self.text += value;
            return Ok(());
        }
        // As if it were the content of an element of its own.
        let mut inner =
            Reader { cursor: Cursor::new(value), typed: true, partly: self.partly, ..Reader::default() };
        std::mem::swap(&mut inner.entities, &mut self.entities);
        inner.open.push(("", 0));
        inner.expanded = self.expanded;
        let mut result = Ok(());
        while !inner.cursor.is_at_end() && result.is_ok() {
            result = inner.nested(depth);
        }
        let balanced = inner.open.len() == 1;
        self.expanded = inner.expanded;
        std::mem::swap(&mut inner.entities, &mut self.entities);
        result?;
        match balanced {
            true => Ok(()),
            false => wrong(at, "an element is not closed in it"),
        }
    }

    fn nested(&mut self, depth: usize) -> Step<()> {
        if self.cursor.rest().starts_with('<') {
            return self.piece();
        }
        let text = self.cursor.until_char('<');
        cursor::references(text).try_for_each(|(at, reference)| self.reference(reference, at, false, depth))
    }

    fn close(&mut self) -> Step<()> {
        let start = self.cursor.at;
        self.cursor.at += 2;
        let name = self.cursor.name().ok_or((start, "`</` has no name behind it".to_owned()))?;
        self.cursor.spaces();
        if !self.cursor.skip(">") {
            return wrong(start, format!("`</{name}` is not closed with `>`"));
        }
        let text = std::mem::take(&mut self.text);
        match self.open.last().copied() {
            Some((open, _)) if open == name => {
                let local = name.rsplit(':').next().unwrap_or(name);
                self.document.unconfirmed |= local == "confirm" && text.trim() == "false";
                self.open.pop();
                Ok(())
            }
            Some(("", _)) | None => wrong(start, format!("nothing is open that `</{name}>` closes")),
            Some((open, _)) => {
                // What it closes further out is closed, and so is what it was probably meant to close:
                // the ends behind it are no mistakes.
                match self.open.iter().rposition(|(open, _)| *open == name) {
                    Some(at) => self.open.truncate(at),
                    None if near::nearest(name, [open].into_iter()).is_some() => drop(self.open.pop()),
                    None => {}
                }
                wrong(start, format!("`</{name}>` found where `</{open}>` is expected"))
            }
        }
    }

    fn element(&mut self) -> Step<()> {
        let start = self.cursor.at;
        self.text.clear();
        self.cursor.at += 1;
        let Some(name) = self.cursor.name() else { return wrong(start, "a plain `<` is written `&lt;`") };
        if self.open.is_empty() {
            if !self.document.root.is_empty() {
                return wrong(start, "there is more than one root element");
            }
            (self.document.root, self.document.root_at) = (name, start);
        }
        let mut names = Vec::new();
        loop {
            let spaced = self.cursor.spaces();
            if self.cursor.skip("/>") {
                return Ok(());
            }
            if self.cursor.skip(">") {
                self.open.push((name, start));
                return Ok(());
            }
            let attribute = self.attribute(start, spaced, &names);
            match attribute {
                Ok(name) => names.push(name),
                Err(error) => {
                    // It counts as open, or its end would be a mistake as well.
                    let rest = self.cursor.rest();
                    let end = rest.find(['<', '>']).filter(|end| rest[*end..].starts_with('>'));
                    if end.is_none_or(|end| !rest[..end].ends_with('/')) {
                        self.open.push((name, start));
                    }
                    self.cursor.at += end.map_or(0, |end| end + 1);
                    return Err(error);
                }
            }
        }
    }

    fn attribute(&mut self, start: usize, spaced: bool, names: &[&str]) -> Step<&'a str> {
        let Some(name) = self.cursor.name() else {
            return wrong(start, "this tag has an attribute without a value, or is not closed");
        };
        if !spaced {
            return wrong(start, format!("a blank is missing before the attribute `{name}`"));
        }
        self.cursor.spaces();
        if !self.cursor.skip("=") {
            return wrong(start, "this tag has an attribute without a value, or is not closed");
        }
        self.cursor.spaces();
        let Some(quote) = self.cursor.rest().chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            return wrong(start, "an attribute's value needs quotes");
        };
        self.cursor.at += 1;
        let at = self.cursor.at;
        let value = match self.cursor.rest().find(quote) {
            Some(end) => &self.cursor.rest()[..end],
            None => return wrong(start, "an attribute's value has no closing quote"),
        };
        self.cursor.at += value.len() + 1;
        if let Some(found) = value.find('<') {
            return wrong(at + found, "a plain `<` in an attribute is written `&lt;`");
        }
        cursor::characters(value, at)?;
        for (offset, reference) in cursor::references(value) {
            self.reference(reference, at + offset, true, 0)?;
        }
        match names.contains(&name) {
            true => wrong(start, format!("the attribute `{name}` is there twice")),
            false => Ok(name),
        }
    }
}

/// The parts of an XML declaration, in their order.
fn declared(parts: &[(&str, &str)]) -> Result<(), String> {
    let mut parts = parts.iter();
    match parts.next() {
        Some(("version", version)) if version.starts_with("1.") => {}
        Some(("version", version)) => return Err(format!("XML has no version `{version}`; 1.0 is meant")),
        _ => return Err("the XML declaration begins with `version=\"1.0\"`".to_owned()),
    }
    let mut next = parts.next();
    if let Some(("encoding", encoding)) = next {
        let wide = ["utf-16", "utf16", "ucs-2", "ucs-4", "utf-32"];
        let begins = |wide: &&str| encoding.to_ascii_lowercase().starts_with(*wide);
        if encoding.is_empty() || wide.iter().any(begins) {
            return Err(format!("the file is written in UTF-8, not in `{encoding}`"));
        }
        next = parts.next();
    }
    match next {
        None => Ok(()),
        Some(("standalone", "yes" | "no")) if parts.next().is_none() => Ok(()),
        Some((name, _)) => Err(format!("the XML declaration has no `{name}` here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_libxml2_does() {
        for text in [
            "<?xml version=\"1.0\"?>\n<!DOCTYPE profile>\n<profile xmlns=\"a\">\n<!-- < & -->\n<a b:c='>' />&amp;&#10;<![CDATA[<&]]></profile>\n",
            "<profile><!--><reg_code>X</reg_code><--></profile>",
            "<!DOCTYPE profile [\n<!ENTITY host \"node1\">\n]>\n<profile><a b='&host;'>&host;</a></profile>",
            "<!DOCTYPE p [<!-- ]> --><!ENTITY a '<b>&c;</b>'><!ENTITY c \"x > y\"><!ELEMENT p (#PCDATA|b)*>\n<!ATTLIST p a CDATA ']>'>]><p>&a;</p>",
            "<!DOCTYPE p SYSTEM \"/usr/share/p.dtd\"><p>&unknown;</p>",
            "<!DOCTYPE p PUBLIC '-//x//y' \"p.dtd\" [ %more; ]><p/><!-- end --><?pi x?>\n",
            "\u{feff}<p>\u{e4}&#x20AC;</p>",
            "<p a = 'x'\n  b=\"y\"\t></p >",
        ] {
            assert_eq!(read(text).errors, [], "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, at, message) in [
            ("<profile>\n <a>\n</profile>", 15, "`</a>` is expected"),
            ("<profile>\n a & b</profile>", 13, "`&amp;`"),
            ("<profile>a < b</profile>", 11, "`&lt;`"),
            ("<profile a=b></profile>", 0, "quotes"),
            ("<profile a='b'c='d'></profile>", 0, "blank"),
            ("<profile a='<'></profile>", 12, "`&lt;`"),
            ("<profile><a></a>", 16, "`<profile>` is not closed"),
            ("<profile/>x", 10, "outside"),
            ("<profile/><profile/>", 10, "more than one"),
            ("<profile", 0, "not closed"),
            ("", 0, "no root"),
            ("<p><!-- a -- b --></p>", 3, "`--`"),
            ("<p>]]></p>", 3, "`]]&gt;`"),
            ("<p>&#0;</p>", 3, "no character"),
            ("<p>\u{1}</p>", 3, "U+0001"),
            ("<p>&nobody;</p>", 3, "not defined"),
            ("\n<?xml version=\"1.0\"?><p/>", 1, "first"),
            ("<!DOCTYPE p [<!ENTITY a '&a;'>]><p>&a;</p>", 35, "holds itself"),
            ("<!DOCTYPE p [<!ENTITY a '<b>'>]><p>&a;</p>", 35, "not closed in it"),
            ("<!DOCTYPE p [<!ENTITY a 'b'>", 0, "not closed"),
            ("<?xml encoding=\"UTF-8\"?><p/>", 0, "version"),
            ("<?xml version=\"1.0\" encoding=\"UTF-16\"?><p/>", 0, "UTF-8"),
        ] {
            let errors = read(text).errors;
            let (place, said) = errors.first().cloned().unwrap_or_default();
            assert!(place == at && said.contains(message), "{text}: {errors:?}");
        }
    }
}
