//! What the words behind a flag mean.

use clap::Error;
use clap::error::ErrorKind;
use serde_json::{Value as Json, json};

use crate::edit::Setting;
use crate::manifest::Fields;

/// One item is written as such, more as a list.
pub(super) fn several(items: Vec<String>, setting: impl Fn(Json) -> Setting) -> Vec<Setting> {
    match items.as_slice() {
        [only] => vec![setting(json!(only))],
        items => vec![setting(json!(items))],
    }
}

/// Paths may have blanks: only the shell's words and commas divide them.
pub(super) fn paths<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    texts
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The items of a list: words with blanks, commas or both between them.
pub(super) fn items<'a>(id: &str, texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    match id {
        "cmdline" => texts.flat_map(words).collect(),
        // A public key has blanks, and may have a comma in its comment.
        "ssh-keys" => texts.map(str::to_owned).collect(),
        _ => {
            let parts = texts.flat_map(|text| text.split(','));
            parts.flat_map(str::split_whitespace).map(str::to_owned).collect()
        }
    }
}

/// The words of a kernel command line; blanks inside quotes and `{{ … }}` divide nothing.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut depth) = (false, 0_usize);
    let mut before = ' ';
    for c in text.chars() {
        match (before, c) {
            (_, '"') => quoted = !quoted,
            ('{', '{') => depth += 1,
            ('}', '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        match words.last_mut() {
            Some(word) if !c.is_whitespace() || quoted || depth > 0 => word.push(c),
            _ => words.push(String::new()),
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `KEY=VALUE`, each a separate setting, so that the others stay.
pub(super) fn pairs<'a>(
    id: &str,
    path: &[&str],
    texts: impl Iterator<Item = &'a str>,
    typed: bool,
) -> Result<Vec<Setting>, Error> {
    let mut settings = Vec::new();
    for text in texts {
        let Some((key, value)) = text.split_once('=') else {
            let message = format!("--{id} takes KEY=VALUE, not `{text}`\n");
            return Err(wrong(message));
        };
        let path = path.iter().copied().chain([key]).map(str::to_owned).collect();
        let value = if typed { plain(value) } else { json!(value) };
        settings.push(Setting { path, value });
    }
    Ok(settings)
}

/// A number, a boolean, or a list or table in TOML; else a text.
fn plain(text: &str) -> Json {
    let parsed = || {
        let table: toml::Table = format!("x = {text}").parse().ok()?;
        let value = table.get("x").filter(|value| !value.is_datetime() && !value.is_float())?;
        serde_json::to_value(value).ok()
    };
    parsed().unwrap_or_else(|| json!(text))
}

/// A text, or a table in TOML: what begins with a brace or a bracket is no text.
pub(super) fn text_or_table(id: &str, fields: &Fields, text: &str) -> Result<Json, Error> {
    let trimmed = text.trim();
    if !trimmed.starts_with(['{', '[']) {
        return Ok(json!(text));
    }
    let read = format!("x = {trimmed}").parse::<toml::Table>();
    let why = match read.as_ref().map(|table| (table.len(), table.get("x"))) {
        Ok((1, Some(toml::Value::Table(table)))) => match serde_json::to_value(table) {
            Ok(value) => return Ok(value),
            Err(error) => error.to_string(),
        },
        Ok((1, _)) => "this is a list".to_owned(),
        Ok(_) => "this is more than a table".to_owned(),
        Err(error) => error.message().to_owned(),
    };
    let key = fields.keys.first().map_or("key", |key| key.name);
    Err(wrong(format!(
        "--{id} takes a text, or a table in TOML as in '{{ {key} = \"…\" }}', not `{trimmed}`: {why}\n"
    )))
}

fn wrong(message: String) -> Error {
    Error::raw(ErrorKind::ValueValidation, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_keep_quotes_and_variables_together() {
        assert_eq!(
            words("a=b url={{ answers_url }} x=\"1 2\"  --- c"),
            ["a=b", "url={{ answers_url }}", "x=\"1 2\"", "---", "c"]
        );
    }

    #[test]
    fn a_text_or_a_table_is_either_or_refused() {
        let fields = Fields::new("disk", "", &[]);
        let read = |text: &str| text_or_table("disk", &fields, text);
        assert_eq!(read("/dev/sda").unwrap(), json!("/dev/sda"));
        let table = read(" { serial = \"S 1\", min-size = '2 GiB', rotational = false }").unwrap();
        assert_eq!(table, json!({ "serial": "S 1", "min-size": "2 GiB", "rotational": false }));
        assert_eq!(read("{}").unwrap(), json!({}));
        for text in
            ["{ serial = S1 }", "{ serial = \"S1\"", "{serial}", "[\"/dev/sda\"]", "{} x", "{}\ny = 1"]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("--disk takes a text, or a table") && error.contains(text), "{error}");
        }
    }
}
