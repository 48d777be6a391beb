//! What a list is asked for: which rows, in what order, how many of them, and which of their fields.
//!
//! Every list takes the same parameters, and one of the name of each field of its rows that is a text, a number, true
//! or false, or a list of texts.

mod pick;

use std::borrow::Cow;
use std::cell::LazyCell;
use std::collections::BTreeMap;

use axum::http::header::{CONTENT_TYPE, HeaderValue, LINK};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use super::problem::problem;
use super::resource::Row;
use super::route::{Parameter, Route};
use crate::model::selection::glob;

/// Most rows of one page.
const LIMIT_MAX: usize = 10_000;
/// Most rows of one that is made without leaving the serving threads.
const PAGE: usize = 1_000;

/// A list's parameters, understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wanted {
    /// Fields and the patterns of which one has to fit.
    having: Vec<(String, Vec<String>)>,
    labels: Vec<Label>,
    /// The field to sort by, and whether the greatest comes first; without one, rows come by their key.
    sort: Option<(String, bool)>,
    /// Fields that are wanted of each row; all if empty.
    fields: Vec<String>,
    limit: Option<usize>,
    /// Where the page before this one ended: the field's text that was sorted by, and the key.
    after: Option<Place>,
}

/// One term of a label selector, as Kubernetes writes them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Label {
    Is(String, String),
    IsNot(String, String),
    Exists(String),
    ExistsNot(String),
}

impl Label {
    pub(super) fn parse(text: &str) -> Result<Label, String> {
        let own = |text: &str| text.trim().to_owned();
        let term = if let Some((name, value)) = text.split_once("!=") {
            Label::IsNot(own(name), own(value))
        } else if let Some((name, value)) = text.split_once('=') {
            Label::Is(own(name), own(value.strip_prefix('=').unwrap_or(value)))
        } else if let Some(name) = text.trim().strip_prefix('!') {
            Label::ExistsNot(own(name))
        } else {
            Label::Exists(own(text))
        };
        match term.name() {
            "" => Err(format!("`{text}` names no label: NAME=VALUE, NAME!=VALUE, NAME or !NAME")),
            _ => Ok(term),
        }
    }

    fn name(&self) -> &str {
        match self {
            Label::Is(name, _) | Label::IsNot(name, _) | Label::Exists(name) | Label::ExistsNot(name) => name,
        }
    }

    pub(super) fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let own = labels.get(self.name());
        match self {
            Label::Is(_, value) => own == Some(value),
            Label::IsNot(_, value) => own != Some(value),
            Label::Exists(_) => own.is_some(),
            Label::ExistsNot(_) => own.is_none(),
        }
    }
}

impl Wanted {
    /// Reads the parameters of a list of `T`; the error says which one is wrong.
    pub(super) fn read<T: Row + JsonSchema>(uri: &Uri) -> Result<Wanted, String> {
        // They are made anew each time, and most requests name none.
        let fields = LazyCell::new(fields::<T>);
        let known = |name: &str| match fields.iter().any(|field| field.name == name) {
            true => Ok(name.to_owned()),
            false => {
                let names: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
                Err(format!("there is no field `{name}`: there are {}", names.join(", ")))
            }
        };
        let parts = |text: &str| text.split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>();
        let mut wanted = Wanted::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*name {
                "label" => {
                    for term in value.split(',') {
                        wanted.labels.push(Label::parse(term)?);
                    }
                }
                "sort" => {
                    let (field, descending) =
                        value.strip_prefix('-').map_or((&*value, false), |rest| (rest, true));
                    wanted.sort = Some((known(field)?, descending));
                }
                "fields" => {
                    wanted.fields =
                        parts(&value).iter().map(|field| known(field)).collect::<Result<_, _>>()?
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    let wrong = || format!("limit: `{value}` is no number from 1 to {LIMIT_MAX}");
                    wanted.limit = Some(limit.ok_or_else(wrong)?);
                }
                "continue" => {
                    let wrong = |_| "continue: this is no end of a page of this API".to_owned();
                    wanted.after = Some(serde_json::from_str(&value).map_err(wrong)?);
                }
                // The guard lets no other pass.
                _ => wanted.having.push((known(&name)?, parts(&value))),
            }
        }
        Ok(wanted)
    }

    /// The key after which rows are wanted, where they are wanted by their keys.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_ref().filter(|_| self.sort.is_none()).map(|(_, key)| key.as_str())
    }

    /// Whether the answer takes no longer than a page: no row is looked at that is not shown.
    pub(super) fn is_page(uri: &Uri) -> bool {
        let mut limit = None;
        let simple =
            form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).all(|(name, value)| {
                if name == "limit" {
                    limit = value.parse::<usize>().ok();
                }
                matches!(&*name, "limit" | "continue" | "fields")
            });
        simple && limit.is_some_and(|limit| limit <= PAGE)
    }

    /// The rows of one page; the second is where the next begins, if there is one.
    ///
    /// `rows` come by their keys, from [`Wanted::after`] on, and no more of them are made than are looked at. Of
    /// those that are looked at, only the fields that decide are read.
    fn page<T: Row>(&self, rows: impl Iterator<Item = T>) -> (Vec<T>, Option<Place>) {
        let limit = self.limit.unwrap_or(usize::MAX);
        let fitting = rows.filter(|row| self.takes(row));
        let Some((field, descending)) = &self.sort else {
            let mut found: Vec<T> = fitting.take(limit.saturating_add(1)).collect();
            let more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().filter(|_| more).map(|row| (String::new(), row.key()));
            return (found, next);
        };
        let (found, more) = self.sorted(fitting, field, *descending, limit);
        let next = found.last().filter(|_| more).map(|(place, _)| place.clone());
        (found.into_iter().map(|(_, row)| *row).collect(), next)
    }

    /// The first rows of another order than by key, and whether there are more: no more than twice as many are kept at any time.
    fn sorted<T: Row>(
        &self,
        rows: impl Iterator<Item = T>,
        field: &str,
        descending: bool,
        limit: usize,
    ) -> (Vec<(Place, Box<T>)>, bool) {
        let order_of = |(one, _): &(Place, Box<T>), (other, _): &(Place, Box<T>)| match descending {
            true => other.cmp(one),
            false => one.cmp(other),
        };
        let (mut first, mut more): (Vec<(Place, Box<T>)>, bool) = (Vec::new(), false);
        for row in rows {
            let place = (order(&pick::one(&row, field)), row.key());
            let is_later = match &self.after {
                None => true,
                Some(after) if descending => place < *after,
                Some(after) => place > *after,
            };
            if is_later {
                first.push((place, Box::new(row)));
            }
            if first.len() / 2 > limit {
                first.select_nth_unstable_by(limit, order_of);
                first.truncate(limit);
                more = true;
            }
        }
        first.sort_by(order_of);
        more |= first.len() > limit;
        first.truncate(limit);
        (first, more)
    }

    fn takes(&self, row: &impl Row) -> bool {
        let none = BTreeMap::new();
        let labels = row.labels().unwrap_or(&none);
        let has = |field: &str, patterns: &[String]| match pick::one(row, field) {
            Value::Array(items) => items.iter().any(|item| fits(item, patterns)),
            item => fits(&item, patterns),
        };
        self.labels.iter().all(|label| label.fits(labels))
            && self.having.iter().all(|(field, patterns)| has(field, patterns))
    }

    /// A row as it is sent.
    fn shown(&self, row: &impl Row) -> Value {
        match self.fields.is_empty() {
            true => serde_json::to_value(row).unwrap_or_default(),
            false => Value::Object(pick::some(row, &self.fields)),
        }
    }

    /// The rows as they are sent, in JSON.
    fn body(&self, rows: &[impl Row]) -> serde_json::Result<Vec<u8>> {
        match self.fields.is_empty() {
            true => serde_json::to_vec(rows),
            false => serde_json::to_vec(&rows.iter().map(|row| self.shown(row)).collect::<Vec<_>>()),
        }
    }
}

/// Where a row stands: the text of the field that was sorted by, and the key.
type Place = (String, String);

fn fits(value: &Value, patterns: &[String]) -> bool {
    let text = text(value);
    patterns.iter().any(|pattern| glob(pattern, &text))
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::String(text) => text.into(),
        value => value.to_string().into(),
    }
}

/// A text that sorts as the value does: numbers of one length.
fn order(value: &Value) -> String {
    match value {
        Value::Number(number) => format!("{:020}", number.as_u64().unwrap_or_default()),
        value => text(value).into_owned(),
    }
}

/// The fields of a row that can be asked for, by name.
fn fields<T: JsonSchema>() -> Vec<Field> {
    let schema = schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object);
    let field = |(name, schema): (&String, &Value)| Field { name: name.clone(), simple: is_simple(schema) };
    properties.into_iter().flatten().map(field).collect()
}

struct Field {
    name: String,
    /// Whether a pattern can be compared with it.
    simple: bool,
}

fn is_simple(schema: &Value) -> bool {
    let simple = ["string", "integer", "number", "boolean", "null"];
    let is_one_of = |kind: &Value, names: &[&str]| kind.as_str().is_some_and(|kind| names.contains(&kind));
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().all(|kind| is_one_of(kind, &simple)),
        kind if is_one_of(kind, &["array"]) => is_one_of(&schema["items"]["type"], &["string"]),
        kind => is_one_of(kind, &simple),
    }
}

impl Route {
    /// Answers a list of these rows, with the parameters that all lists take.
    pub fn lists<T: Row + JsonSchema>(self) -> Route {
        let mut route = self.gives::<Vec<T>>();
        let text = |name: Cow<'static, str>, about| Parameter {
            name,
            about,
            schema: |make| make.subschema_for::<String>(),
        };
        let fields = fields::<T>();
        route.parameters.extend([
            Parameter {
                name: "limit".into(),
                about: "Most rows of the answer, 10000 at most; a `Link` header then says where the next are",
                schema: |generator| generator.subschema_for::<u16>(),
            },
            text("continue".into(), "Where the page before ended, as its `Link` header has it"),
        ]);
        if !fields.is_empty() {
            route
                .parameters
                .push(text("sort".into(), "The field to sort by; with `-` before it, the greatest first"));
            route
                .parameters
                .push(text("fields".into(), "Only these fields of each row, separated by commas"));
        }
        if T::HAS_LABELS {
            let about =
                "Only rows with these labels: NAME=VALUE, NAME!=VALUE, NAME or !NAME, separated by commas";
            route.parameters.push(text("label".into(), about));
        }
        let simple = fields.into_iter().filter(|field| field.simple);
        let about =
            "Only rows that have one of these values, separated by commas; * and ? stand for other letters";
        route.parameters.extend(simple.map(|field| text(field.name.into(), about)));
        route
    }
}

/// The rows of a list that has no index, by their keys, after the one of the key `after`.
pub(super) fn behind<T: Row>(mut rows: Vec<T>, after: Option<&str>) -> impl Iterator<Item = T> + use<T> {
    if let Some(after) = after {
        rows.retain(|row| row.key().as_str() > after);
    }
    rows.sort_by_cached_key(Row::key);
    rows.into_iter()
}

/// The rows of a list that comes in an order of its own, after the one of the key `after`; none if it is gone.
pub(super) fn from<T: Row>(rows: Vec<T>, after: Option<&str>) -> impl Iterator<Item = T> + use<T> {
    let before = match after {
        None => 0,
        Some(after) => rows.iter().position(|row| row.key() == after).map_or(rows.len(), |place| place + 1),
    };
    rows.into_iter().skip(before)
}

/// A page of rows, which come by their keys from [`Wanted::after`] on. Its `Link` header (RFC 8288) names the next.
pub(super) fn answer<T: Row>(wanted: &Wanted, uri: &Uri, rows: impl Iterator<Item = T>) -> Response {
    let (rows, next) = wanted.page(rows);
    let Ok(body) = wanted.body(&rows) else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "a row can't be written as JSON");
    };
    let mut answer = ([(CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(link) = next.and_then(|next| link(uri, &next)) {
        answer.headers_mut().insert(LINK, link);
    }
    answer
}

/// A mistake in the parameters.
pub(super) fn mistake(why: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, why)
}

fn link(uri: &Uri, next: &Place) -> Option<HeaderValue> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let given = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    query.extend_pairs(given.filter(|(name, _)| name != "continue"));
    query.append_pair("continue", &serde_json::to_string(next).ok()?);
    HeaderValue::try_from(format!("<{}?{}>; rel=\"next\"", uri.path(), query.finish())).ok()
}

#[cfg(test)]
mod tests;
