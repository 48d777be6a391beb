//! Filters: voldemort's own, and those of liquid's standard library that can be bounded.

mod quote;

use std::fmt;

use liquid_core::model::{Value, ValueView};
use liquid_core::parser::{Filter, FilterArguments, FilterReflection, ParameterReflection, ParseFilter};
use liquid_core::{Error, Expression, Language, Result, Runtime};
use liquid_lib::stdlib;

use super::text::meter::{self, LARGEST_VALUE};

type Run = fn(&dyn ValueView, &[Value]) -> Result<Value>;

/// Name, least and most number of arguments, function.
const OWN: [(&str, usize, usize, Run); 11] = [
    ("b64", 0, 0, quote::b64),
    ("indent", 1, 1, quote::indent),
    ("join", 0, 1, join),
    ("json", 0, 0, quote::json),
    ("line", 0, 0, quote::line),
    ("package", 0, 0, quote::package),
    ("remove", 1, 1, replace),
    ("replace", 1, 2, replace),
    ("shq", 0, 0, quote::shq),
    ("xml", 0, 0, quote::xml),
    ("yaml", 0, 0, quote::yaml),
];

type Make = fn() -> Box<dyn ParseFilter>;

/// The rest of the standard library makes no sense in a configuration file (dates, HTML), or
/// takes time that grows with the square of its input (`uniq`).
const STANDARD: [(&str, Make); 33] = [
    ("abs", || stdlib::Abs.into()),
    ("append", || stdlib::Append.into()),
    ("at_least", || stdlib::AtLeast.into()),
    ("at_most", || stdlib::AtMost.into()),
    ("capitalize", || stdlib::Capitalize.into()),
    ("compact", || stdlib::Compact.into()),
    ("concat", || stdlib::Concat.into()),
    ("default", || stdlib::Default.into()),
    ("divided_by", || stdlib::DividedBy.into()),
    ("downcase", || stdlib::Downcase.into()),
    ("first", || stdlib::First.into()),
    ("last", || stdlib::Last.into()),
    ("lstrip", || stdlib::Lstrip.into()),
    ("map", || stdlib::Map.into()),
    ("minus", || stdlib::Minus.into()),
    ("modulo", || stdlib::Modulo.into()),
    ("plus", || stdlib::Plus.into()),
    ("prepend", || stdlib::Prepend.into()),
    ("remove_first", || stdlib::RemoveFirst.into()),
    ("replace_first", || stdlib::ReplaceFirst.into()),
    ("reverse", || stdlib::Reverse.into()),
    ("rstrip", || stdlib::Rstrip.into()),
    ("size", || stdlib::Size.into()),
    ("slice", || stdlib::Slice.into()),
    ("sort", || stdlib::Sort.into()),
    ("split", || stdlib::Split.into()),
    ("strip", || stdlib::Strip.into()),
    ("strip_newlines", || stdlib::StripNewlines.into()),
    ("times", || stdlib::Times.into()),
    ("truncate", || stdlib::Truncate.into()),
    ("upcase", || stdlib::Upcase.into()),
    ("url_encode", || stdlib::UrlEncode.into()),
    ("where", || stdlib::Where.into()),
];

/// The names of all filters.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    OWN.iter().map(|(name, ..)| *name).chain(STANDARD.iter().map(|(name, _)| *name))
}

/// Adds all filters to the engine's language.
pub(super) fn register(language: &mut Language) {
    for (name, least, most, run) in OWN {
        let own = OwnFilter { name, least, most, run };
        language.filters.register(name.to_owned(), Box::new(own));
    }
    for (name, make) in STANDARD {
        language.filters.register(name.to_owned(), Box::new(Bounded(make())));
    }
}

/// A filter that is defined here.
#[derive(Clone)]
struct OwnFilter {
    name: &'static str,
    least: usize,
    most: usize,
    run: Run,
}

impl ParseFilter for OwnFilter {
    fn parse(&self, mut given: FilterArguments<'_>) -> Result<Box<dyn Filter>> {
        if given.keyword.next().is_some() {
            return Err(Error::with_msg(format!("`{}` takes no named arguments", self.name)));
        }
        let arguments: Vec<Expression> = given.positional.collect();
        if arguments.len() < self.least || arguments.len() > self.most {
            let wanted = match (self.least, self.most) {
                (0, 0) => "no argument".to_owned(),
                (least, most) if least == most => format!("{least} argument"),
                (least, most) => format!("{least} or {most} arguments"),
            };
            return Err(Error::with_msg(format!("`{}` takes {wanted}", self.name)));
        }
        Ok(Box::new(Call { own: self.clone(), arguments }))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self
    }
}

impl FilterReflection for OwnFilter {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &str {
        ""
    }

    fn positional_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }

    fn keyword_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }
}

struct Call {
    own: OwnFilter,
    arguments: Vec<Expression>,
}

impl Filter for Call {
    fn evaluate(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Value> {
        meter::charge(runtime, input)?;
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            arguments.push(argument.evaluate(runtime)?.into_owned());
        }
        let output = (self.own.run)(input, &arguments)?;
        meter::charge(runtime, &output)?;
        Ok(output)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.own.name)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.own.name)
    }
}

/// A filter of the standard library that pays for what it reads and writes.
#[derive(Clone)]
struct Bounded(Box<dyn ParseFilter>);

impl ParseFilter for Bounded {
    fn parse(&self, arguments: FilterArguments<'_>) -> Result<Box<dyn Filter>> {
        Ok(Box::new(BoundedCall(self.0.parse(arguments)?)))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self.0.reflection()
    }
}

#[derive(Debug)]
struct BoundedCall(Box<dyn Filter>);

impl Filter for BoundedCall {
    fn evaluate(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Value> {
        meter::charge(runtime, input)?;
        let output = self.0.evaluate(input, runtime)?;
        meter::charge(runtime, &output)?;
        Ok(output)
    }
}

impl fmt::Display for BoundedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn too_large() -> Error {
    Error::with_msg("a value grows over 1 MiB")
}

/// `join: ", "`: the standard one makes its result before anybody can refuse it.
fn join(input: &dyn ValueView, arguments: &[Value]) -> Result<Value> {
    let array = input.as_array().ok_or_else(|| Error::with_msg("`join` takes a list"))?;
    let glue = arguments.first().map_or(" ".into(), |glue| glue.to_kstr());
    let mut text = String::new();
    for (at, item) in array.values().enumerate() {
        if at > 0 {
            text.push_str(&glue);
        }
        text.push_str(&item.to_kstr());
        if text.len() > LARGEST_VALUE {
            return Err(too_large());
        }
    }
    Ok(Value::scalar(text))
}

/// `replace: "a", "b"` and `remove: "a"`.
fn replace(input: &dyn ValueView, arguments: &[Value]) -> Result<Value> {
    let text = input.to_kstr();
    let search = arguments.first().map(|search| search.to_kstr()).unwrap_or_default();
    let by = arguments.get(1).map(|by| by.to_kstr()).unwrap_or_default();
    if search.is_empty() {
        return Err(Error::with_msg("an empty text can't be replaced"));
    }
    let found = text.matches(search.as_str()).count();
    if text.len().saturating_add(found.saturating_mul(by.len())) > LARGEST_VALUE {
        return Err(too_large());
    }
    Ok(Value::scalar(text.replace(search.as_str(), &by)))
}
