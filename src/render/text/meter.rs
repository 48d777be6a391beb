//! Bounds a render and tracks its position: tags added to the engine's language.

use std::io::Write;
use std::sync::Arc;

use liquid_core::error::ResultLiquidReplaceExt;
use liquid_core::model::{KString, Value, ValueView};
use liquid_core::parser::{FilterChain, ParseTag, TagReflection};
use liquid_core::{BlockReflection, ParseBlock, TagBlock};
use liquid_core::{Error, Expression, Language, Renderable, Result, Runtime, TagTokenIter, Template};

/// Most bytes of one rendered text.
pub(super) const LARGEST_OUTPUT: usize = 16 << 20;
/// Most bytes of one value.
pub(crate) const LARGEST_VALUE: usize = 1 << 20;
/// Work of one render, in roughly nanoseconds.
const FUEL: u64 = 1_500_000_000;
const STEP: u64 = 300;
/// Most rounds of a loop over a range; the engine makes the list beforehand.
const LONGEST_RANGE: i128 = 10_000;

/// The state of one render, kept in the engine's registers.
#[derive(Default)]
pub(crate) struct Meter {
    texts: Arc<[String]>,
    /// Number of the tag that runs.
    pub(super) tag: usize,
    left: u64,
    /// Bytes of all values, for each step may copy some.
    weight: usize,
}

impl Meter {
    pub(super) fn new(texts: Arc<[String]>, weight: usize) -> Meter {
        Meter { texts, tag: 0, left: FUEL, weight }
    }

    fn spend(&mut self, work: u64) -> Result<()> {
        self.left = self.left.checked_sub(work).ok_or_else(too_long)?;
        Ok(())
    }

    fn step(&mut self, tag: usize) -> Result<()> {
        self.tag = tag;
        self.spend(STEP + as_work(self.weight))
    }
}

fn as_work(bytes: usize) -> u64 {
    bytes as u64 / 4
}

fn too_long() -> Error {
    Error::with_msg("the template runs too long")
}

fn too_large() -> Error {
    Error::with_msg("a value grows over 1 MiB")
}

/// Accounts for a value that was made or is going to be read.
pub(crate) fn charge(runtime: &dyn Runtime, value: &dyn ValueView) -> Result<usize> {
    let weight = weight(value);
    if weight > LARGEST_VALUE {
        return Err(too_large());
    }
    runtime.registers().get_mut::<Meter>().spend(STEP + as_work(weight) * 4)?;
    Ok(weight)
}

/// What each value takes besides its text.
const EACH: usize = 32;

/// Bytes that a member of an object takes in memory, roughly.
pub(super) fn weight_of_pair(name: &str, value: &dyn ValueView) -> usize {
    EACH + name.len() + weight(value)
}

/// Bytes a value takes in memory, roughly.
pub(super) fn weight(value: &dyn ValueView) -> usize {
    if let Some(scalar) = value.as_scalar() {
        return EACH + scalar.to_kstr().len();
    }
    if let Some(array) = value.as_array() {
        return EACH + array.values().map(weight).sum::<usize>();
    }
    if let Some(object) = value.as_object() {
        return EACH + object.iter().map(|(key, value)| weight_of_pair(&key, value)).sum::<usize>();
    }
    EACH
}

/// Adds these tags to the engine's language.
pub(super) fn register(language: &mut Language) {
    language.tags.register("_at".to_owned(), Box::new(AtTag));
    language.tags.register("_text".to_owned(), Box::new(TextTag));
    language.tags.register("assign".to_owned(), Box::new(AssignTag));
    language.blocks.register("capture".to_owned(), Box::new(CaptureBlock));
}

macro_rules! named {
    ($kind:ty, $name:literal) => {
        impl TagReflection for $kind {
            fn tag(&self) -> &str {
                $name
            }

            fn description(&self) -> &str {
                ""
            }
        }
    };
}

fn number(arguments: &mut TagTokenIter<'_>) -> Result<usize> {
    let token = arguments.expect_next("number expected")?;
    token.as_str().parse().map_err(|_| Error::with_msg("number expected"))
}

/// `{% _at TAG [LOW HIGH] %}`
#[derive(Clone)]
struct AtTag;
named!(AtTag, "_at");

#[derive(Debug)]
struct At {
    tag: usize,
    range: Option<(Expression, Expression)>,
}

impl ParseTag for AtTag {
    fn parse(&self, mut arguments: TagTokenIter<'_>, _: &Language) -> Result<Box<dyn Renderable>> {
        let tag = number(&mut arguments)?;
        let mut range = None;
        if let Some(low) = arguments.next() {
            let low = low.expect_value().into_result()?;
            let high = arguments.expect_next("range expected")?.expect_value().into_result()?;
            range = Some((low, high));
        }
        Ok(Box::new(At { tag, range }))
    }

    fn reflection(&self) -> &dyn TagReflection {
        self
    }
}

impl Renderable for At {
    fn render_to(&self, _: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        runtime.registers().get_mut::<Meter>().step(self.tag)?;
        let Some((low, high)) = &self.range else { return Ok(()) };
        let bound = |expression: &Expression| -> Result<i128> {
            let value = expression.evaluate(runtime)?;
            let whole = value.as_scalar().and_then(|scalar| scalar.to_integer());
            whole.map(i128::from).ok_or_else(|| Error::with_msg("the bounds of a range are whole numbers"))
        };
        let rounds = (bound(high)? - bound(low)?).max(0);
        if rounds >= LONGEST_RANGE {
            return Err(Error::with_msg(format!("a range has at most {LONGEST_RANGE} numbers")));
        }
        runtime.registers().get_mut::<Meter>().spend(rounds as u64 * STEP)
    }
}

/// `{% _text NUMBER %}`
#[derive(Clone)]
struct TextTag;
named!(TextTag, "_text");

#[derive(Debug)]
struct Verbatim(usize);

impl ParseTag for TextTag {
    fn parse(&self, mut arguments: TagTokenIter<'_>, _: &Language) -> Result<Box<dyn Renderable>> {
        Ok(Box::new(Verbatim(number(&mut arguments)?)))
    }

    fn reflection(&self) -> &dyn TagReflection {
        self
    }
}

impl Renderable for Verbatim {
    fn render_to(&self, writer: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        let mut meter = runtime.registers().get_mut::<Meter>();
        let texts = Arc::clone(&meter.texts);
        let text = texts.get(self.0).map(String::as_str).unwrap_or_default();
        meter.spend(STEP / 4 + as_work(text.len()))?;
        writer.write_all(text.as_bytes()).replace("the text grows over 16 MiB")
    }
}

/// `assign`, with a limit to what is kept.
#[derive(Clone)]
struct AssignTag;
named!(AssignTag, "assign");

#[derive(Debug)]
struct Assign {
    name: KString,
    chain: FilterChain,
}

impl ParseTag for AssignTag {
    fn parse(&self, mut arguments: TagTokenIter<'_>, options: &Language) -> Result<Box<dyn Renderable>> {
        let name = arguments.expect_next("name expected")?.expect_identifier().into_result()?.to_owned();
        arguments.expect_next("`=` expected")?.expect_str("=").into_result()?;
        let chain = arguments.expect_next("value expected")?.expect_filter_chain(options).into_result()?;
        arguments.expect_nothing()?;
        Ok(Box::new(Assign { name: name.into(), chain }))
    }

    fn reflection(&self) -> &dyn TagReflection {
        self
    }
}

impl Renderable for Assign {
    fn render_to(&self, _: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        let value = self.chain.evaluate(runtime)?.into_owned();
        keep(runtime, &self.name, value)
    }
}

fn keep(runtime: &dyn Runtime, name: &KString, value: Value) -> Result<()> {
    let weight = charge(runtime, &value)?;
    let before = runtime.set_global(name.clone(), value).map_or(0, |value| self::weight(&value));
    let mut meter = runtime.registers().get_mut::<Meter>();
    meter.weight = (meter.weight + weight).saturating_sub(before);
    // All values together.
    if meter.weight > 8 * LARGEST_VALUE { Err(too_large()) } else { Ok(()) }
}

/// `capture`, with a limit to what is kept.
#[derive(Clone)]
struct CaptureBlock;

impl BlockReflection for CaptureBlock {
    fn start_tag(&self) -> &str {
        "capture"
    }

    fn end_tag(&self) -> &str {
        "endcapture"
    }

    fn description(&self) -> &str {
        ""
    }
}

#[derive(Debug)]
struct Capture {
    name: KString,
    body: Template,
}

impl ParseBlock for CaptureBlock {
    fn parse(
        &self,
        mut arguments: TagTokenIter<'_>,
        mut block: TagBlock<'_, '_>,
        options: &Language,
    ) -> Result<Box<dyn Renderable>> {
        let name = arguments.expect_next("name expected")?.expect_identifier().into_result()?.to_owned();
        arguments.expect_nothing()?;
        let body = Template::new(block.parse_all(options)?);
        block.assert_empty();
        Ok(Box::new(Capture { name: name.into(), body }))
    }

    fn reflection(&self) -> &dyn BlockReflection {
        self
    }
}

impl Renderable for Capture {
    fn render_to(&self, _: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        let mut bytes = Limited::new(LARGEST_VALUE);
        let outcome = self.body.render_to(&mut bytes, runtime);
        if bytes.full {
            return Err(too_large());
        }
        outcome?;
        let text = String::from_utf8(bytes.bytes).map_err(|_| Error::with_msg("not UTF-8"))?;
        keep(runtime, &self.name, Value::scalar(text))
    }
}

/// A writer that takes so much and no more.
pub(super) struct Limited {
    pub(super) bytes: Vec<u8>,
    limit: usize,
    pub(super) full: bool,
}

impl Limited {
    pub(super) fn new(limit: usize) -> Limited {
        Limited { bytes: Vec::with_capacity(4096), limit, full: false }
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.full = true;
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
