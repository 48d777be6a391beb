//! The variables of one render: its own, and those that many renders share, which the engine is given converted once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use liquid_core::model::{
    DisplayCow, KStringCow, Object, ObjectView, State, Value as EngineValue, ValueView,
};

use super::{Value, Values, engine, meter};

/// The values that a template may use.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    own: &'a Values,
    shared: Option<&'a Arc<Values>>,
}

impl<'a> Scope<'a> {
    pub fn of(own: &'a Values) -> Scope<'a> {
        Scope { own, shared: None }
    }

    /// With values that other renders share; `own` has the last word.
    pub fn over(own: &'a Values, shared: &'a Arc<Values>) -> Scope<'a> {
        Scope { own, shared: Some(shared) }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.own.get(name).or_else(|| self.shared?.get(name))
    }

    /// Their names.
    pub(super) fn names(self) -> impl Iterator<Item = &'a str> + Clone {
        let shared = self.shared.into_iter().flat_map(|shared| shared.keys());
        self.own.keys().chain(shared).map(String::as_str)
    }

    pub(super) fn own(&self) -> &'a Values {
        self.own
    }

    pub(super) fn shared(&self) -> Option<&'a Arc<Values>> {
        self.shared
    }
}

/// What one template reads of values that renders share.
#[derive(Debug)]
pub(super) struct Converted {
    /// One for each variable that the template reads, in their order.
    pub values: Vec<Option<EngineValue>>,
    /// What they take in memory.
    pub weight: usize,
    /// The places of those that have none: they are secrets, or not among the shared values.
    pub others: Vec<usize>,
}

impl Converted {
    /// A secret's text is not the same for ever: it is no part of this.
    fn of(shared: &Values, wanted: &[String]) -> Converted {
        let nothing = |_: &str| None;
        let convert = |name: &String| engine::convert(shared.get(name)?, &nothing, &mut Vec::new()).ok();
        let values: Vec<Option<EngineValue>> = wanted.iter().map(convert).collect();
        let others = (0..values.len()).filter(|at| values[*at].is_none()).collect();
        Converted { weight: weight(wanted, &values), values, others }
    }
}

/// What values take in memory, with their names.
pub(super) fn weight(names: &[String], values: &[Option<EngineValue>]) -> usize {
    let pairs = names.iter().zip(values).filter_map(|(name, value)| Some((name, value.as_ref()?)));
    pairs.map(|(name, value)| meter::weight_of_pair(name, value.as_view())).sum()
}

/// The values that a template was rendered with last.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<VecDeque<(Weak<Values>, Arc<Converted>)>>);

/// More than an inventory has profiles of one template, mostly.
const REMEMBERED: usize = 64;

impl Memory {
    pub(super) fn converted(&self, values: &Arc<Values>, wanted: &[String]) -> Arc<Converted> {
        // Values of one deployment alone come once, but for serving it.
        if Arc::strong_count(values) == 1 {
            return Arc::new(Converted::of(values, wanted));
        }
        // What is still held weakly keeps its place in memory: no others have the same.
        let is_of = |known: &Weak<Values>| std::ptr::eq(known.as_ptr(), Arc::as_ptr(values));
        let known = self.lock().iter().find(|(known, _)| is_of(known)).map(|(_, found)| found.clone());
        known.unwrap_or_else(|| {
            let made = Arc::new(Converted::of(values, wanted));
            let mut all = self.lock();
            if all.len() >= REMEMBERED {
                all.pop_back();
            }
            all.push_front((Arc::downgrade(values), made.clone()));
            made
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Weak<Values>, Arc<Converted>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both as the engine sees them: one object. Its members lie in the order of their names.
#[derive(Debug)]
pub(super) struct Globals<'a> {
    pub names: &'a [String],
    pub own: Vec<Option<EngineValue>>,
    pub shared: Option<&'a [Option<EngineValue>]>,
}

impl Globals<'_> {
    fn at(&self, place: usize) -> Option<&EngineValue> {
        self.own[place].as_ref().or_else(|| self.shared?[place].as_ref())
    }

    fn all(&self) -> impl Iterator<Item = (&str, &EngineValue)> {
        (0..self.names.len()).filter_map(|place| Some((self.names[place].as_str(), self.at(place)?)))
    }

    fn whole(&self) -> Object {
        self.all().map(|(name, value)| (name.to_owned().into(), value.clone())).collect()
    }
}

impl ValueView for Globals<'_> {
    fn as_debug(&self) -> &dyn std::fmt::Debug {
        self
    }

    fn render(&self) -> DisplayCow<'_> {
        DisplayCow::Owned(Box::new(self.whole().render().to_string()))
    }

    fn source(&self) -> DisplayCow<'_> {
        DisplayCow::Owned(Box::new(self.whole().source().to_string()))
    }

    fn type_name(&self) -> &'static str {
        "object"
    }

    fn query_state(&self, state: State) -> bool {
        self.whole().query_state(state)
    }

    fn to_kstr(&self) -> KStringCow<'_> {
        KStringCow::from_string(self.whole().to_kstr().to_string())
    }

    fn to_value(&self) -> EngineValue {
        EngineValue::Object(self.whole())
    }

    fn as_object(&self) -> Option<&dyn ObjectView> {
        Some(self)
    }
}

impl ObjectView for Globals<'_> {
    fn as_value(&self) -> &dyn ValueView {
        self
    }

    fn size(&self) -> i64 {
        self.all().count() as i64
    }

    fn keys<'k>(&'k self) -> Box<dyn Iterator<Item = KStringCow<'k>> + 'k> {
        Box::new(self.all().map(|(name, _)| name.into()))
    }

    fn values<'k>(&'k self) -> Box<dyn Iterator<Item = &'k dyn ValueView> + 'k> {
        Box::new(self.all().map(|(_, value)| value.as_view()))
    }

    fn iter<'k>(&'k self) -> Box<dyn Iterator<Item = (KStringCow<'k>, &'k dyn ValueView)> + 'k> {
        Box::new(self.all().map(|(name, value)| (name.into(), value.as_view())))
    }

    fn contains_key(&self, index: &str) -> bool {
        self.get(index).is_some()
    }

    fn get<'s>(&'s self, index: &str) -> Option<&'s dyn ValueView> {
        let place = self.names.binary_search_by(|name| name.as_str().cmp(index)).ok()?;
        self.at(place).map(EngineValue::as_view)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Text;
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), Value::String((*value).to_owned()));
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_own_value_has_the_last_word_and_secrets_are_read_anew() {
        let text = Text::parse("{% if a != 'x' %}{{ a }} {{ b }} {{ key }}{% endif %}").unwrap();
        let mut shared = values(&[("a", "shared"), ("b", "both")]);
        shared.insert("key".to_owned(), Value::Secret("k".to_owned()));
        let (shared, twice) = (Arc::new(shared.clone()), Arc::new(shared));
        let _held = shared.clone();
        let render = |own: &Values, shared: &Arc<Values>, secret: &str| {
            text.render_in(Scope::over(own, shared), &|_| Some(secret.to_owned())).unwrap()
        };
        assert_eq!(render(&Values::new(), &shared, "1"), "shared both 1");
        assert_eq!(render(&values(&[("a", "own")]), &shared, "2"), "own both 2");
        assert_eq!(render(&values(&[("key", "plain")]), &twice, "3"), "shared both plain");
        assert_eq!(render(&values(&[("a", "x")]), &shared, "4"), "");
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_as_without_shared_values() {
        let text = Text::parse("{{ a }}\n{{ hots }}").unwrap();
        let shared = Arc::new(values(&[("a", "1"), ("host", "2")]));
        let none = |_: &str| None;
        let error = text.render_in(Scope::over(&Values::new(), &shared), &none).unwrap_err();
        assert_eq!(error, text.render(&shared, &none).unwrap_err());
        assert!(error.line == 2 && error.message.contains("did you mean `host`"), "{error}");
        let secret = Arc::new(Values::from([("a".to_owned(), Value::Secret("k".to_owned()))]));
        let own = values(&[("hots", "1")]);
        let error = text.render_in(Scope::over(&own, &secret), &none).unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (1, "there is no secret `k` here"));
        let text = Text::parse("{% if a.x %}{% endif %}{{ a.y }}{{ b }}").unwrap();
        let shared = Arc::new(values(&[("a", "1"), ("b", "2")]));
        let both = text.render_in(Scope::over(&Values::new(), &shared), &none).unwrap_err();
        assert_eq!(both, text.render(&shared, &none).unwrap_err());
    }

    #[test]
    fn only_the_last_values_are_remembered() {
        let text = Text::parse("{% if a %}{{ a }}{% endif %}").unwrap();
        for round in 0..3 * REMEMBERED {
            let round = round.to_string();
            let shared = Arc::new(values(&[("a", round.as_str())]));
            let _held = shared.clone();
            for _ in 0..2 {
                let scope = Scope { own: &Values::new(), shared: Some(&shared) };
                assert_eq!(text.render_in(scope, &|_| None).unwrap(), round);
            }
        }
    }
}
