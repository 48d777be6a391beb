//! A document's type definition, as far as it stands in the document: the entities it defines.

use std::collections::BTreeMap;

use super::cursor::{self, Cursor, Reference};
use super::{Entity, Step, wrong};

/// Reads `<!DOCTYPE …>`: the entities, and whether there may be more that are not loaded.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Step<(BTreeMap<String, Entity>, bool)> {
    let start = cursor.at;
    let unfinished = || (start, "the document's type is not closed with `>`".to_owned());
    cursor.at += "<!DOCTYPE".len();
    if !cursor.spaces() || cursor.name().is_none() {
        return wrong(start, "`<!DOCTYPE` has no name behind it");
    }
    cursor.spaces();
    let mut partly = external(cursor, false).map_err(|message| (start, message))?;
    cursor.spaces();
    let mut entities = BTreeMap::new();
    if cursor.skip("[") {
        partly |= subset(cursor, &mut entities)?.ok_or_else(unfinished)?;
        cursor.spaces();
    }
    match cursor.skip(">") {
        true => Ok((entities, partly)),
        false => Err(unfinished()),
    }
}

/// `SYSTEM "…"` or `PUBLIC "…" "…"`, if one stands here. A notation needs no second text.
fn external(cursor: &mut Cursor<'_>, notation: bool) -> Result<bool, String> {
    let public = cursor.skip("PUBLIC");
    if !public && !cursor.skip("SYSTEM") {
        return Ok(false);
    }
    let mut quoted = || cursor.spaces().then(|| literal(cursor)).flatten();
    let found = quoted().is_some() && (!public || quoted().is_some() || notation);
    if found { Ok(true) } else { Err("`PUBLIC` takes two texts in quotes and `SYSTEM` one".to_owned()) }
}

fn literal<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let quote = cursor.rest().chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (inside, _) = cursor.rest()[1..].split_once(quote)?;
    cursor.at += inside.len() + 2;
    Some(inside)
}

/// What stands between brackets, to the closing one: whether more may be defined elsewhere; `None` if
/// it does not end.
fn subset(cursor: &mut Cursor<'_>, entities: &mut BTreeMap<String, Entity>) -> Step<Option<bool>> {
    let mut partly = false;
    loop {
        cursor.spaces();
        let start = cursor.at;
        if cursor.is_at_end() {
            return Ok(None);
        } else if cursor.skip("]") {
            return Ok(Some(partly));
        } else if cursor.rest().starts_with("<!--") {
            cursor.comment()?;
        } else if cursor.rest().starts_with("<?") {
            cursor.instruction()?;
        } else if cursor.skip("%") {
            partly = true;
            if cursor.name().is_none() || !cursor.skip(";") {
                return wrong(start, "a reference to a parameter is written `%name;`");
            }
        } else if cursor.skip("<!ENTITY") {
            let read = entity(cursor, entities);
            let read = read.and_then(|()| if cursor.skip(">") { Ok(()) } else { Err(BAD_ENTITY.to_owned()) });
            read.or_else(|message| wrong(start, message))?;
        } else if ["<!ELEMENT", "<!ATTLIST", "<!NOTATION"].iter().any(|begin| cursor.skip(begin)) {
            if !declaration(cursor) {
                return wrong(start, "this declaration is not closed");
            }
        } else {
            return wrong(start, "only declarations can stand in the document's type");
        }
    }
}

const BAD_ENTITY: &str = "an entity is defined as `<!ENTITY name \"text\">`";

fn entity(cursor: &mut Cursor<'_>, entities: &mut BTreeMap<String, Entity>) -> Result<(), String> {
    let bad = || BAD_ENTITY.to_owned();
    let spaced = cursor.spaces();
    let parameter = cursor.skip("%");
    if !spaced || parameter && !cursor.spaces() {
        return Err(bad());
    }
    let name = cursor.name().ok_or_else(bad)?;
    if !cursor.spaces() {
        return Err(bad());
    }
    let value = match external(cursor, false)? {
        true => {
            cursor.spaces();
            if cursor.skip("NDATA") && (!cursor.spaces() || cursor.name().is_none()) {
                return Err(bad());
            }
            Entity::External
        }
        false => Entity::Text(value(literal(cursor).ok_or_else(bad)?)?),
    };
    cursor.spaces();
    // The first definition counts.
    if !parameter {
        entities.entry(name.to_owned()).or_insert(value);
    }
    Ok(())
}

/// What is stored of an entity's text: its references to characters are filled in at once.
fn value(literal: &str) -> Result<String, String> {
    let mut value = String::new();
    let mut rest = literal;
    while let Some((before, behind)) = rest.split_once('&') {
        value += before;
        match cursor::reference(behind) {
            Some(Reference::Character(Some(c))) => {
                value.push(c);
                rest = behind.split_once(';').map_or("", |(_, rest)| rest);
            }
            Some(Reference::Name(_)) => {
                value.push('&');
                rest = behind;
            }
            _ => return Err("a plain `&` in an entity is written `&#38;`".to_owned()),
        }
    }
    if literal.contains('%') {
        return Err("a plain `%` in an entity is written `&#37;`".to_owned());
    }
    Ok(value + rest)
}

/// Any other declaration, to its end. What it says of elements is not looked at.
fn declaration(cursor: &mut Cursor<'_>) -> bool {
    while let Some(c) = cursor.rest().chars().next() {
        match c {
            '"' | '\'' if literal(cursor).is_none() => return false,
            '"' | '\'' => {}
            '>' => {
                cursor.at += 1;
                return true;
            }
            '<' => return false,
            _ => cursor.at += c.len_utf8(),
        }
    }
    false
}
