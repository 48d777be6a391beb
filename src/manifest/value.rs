//! Values as written, checked against the language and with their places kept.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::kind::table::{Labels, Mention};
use super::{Kind, Mark, Marked};
use crate::model::{Cidr, Cidr6, Mac, Name, Range, Range6, Rate, Size, Span, Window, Words};

/// A value whose form was found right.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(Arc<str>),
    Integer(i64),
    Boolean(bool),
    List(Vec<Marked<Value>>),
    Table(Table),
    /// `{ secret = "NAME" }`
    Secret(Name),
    Name(Name),
    Mac(Mac),
    Address(Ipv4Addr),
    Address6(Ipv6Addr),
    /// `address = "auto"`
    Auto,
    Cidr(Cidr),
    // Rare and long: apart, so that every other value stays short.
    Cidr6(Box<Cidr6>),
    Range(Range),
    Range6(Box<Range6>),
    Duration(Span),
    Size(Size),
    Percent(u8),
    Rate(Rate),
    Window(Window),
}

/// The settings of a table by their key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(pub BTreeMap<Arc<str>, Field>);

/// One setting: where its key stands, and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub key: Mark,
    pub value: Marked<Value>,
}

/// A type that a checked value can be taken out as.
pub trait Extract: Sized {
    fn extract(value: Value) -> Option<Self>;

    /// What such a value mentions beyond its resource. `named`: the kind of resource that it names, if any.
    fn mention(written: &Marked<Self>, named: Option<Kind>) -> Option<Mention<'_>> {
        let _ = (written, named);
        None
    }
}

macro_rules! extract {
    ($($variant:ident as $type:ty),* $(,)?) => {
        $(impl Extract for $type {
            fn extract(value: Value) -> Option<$type> {
                match value {
                    Value::$variant(inner) => Some(inner),
                    _ => None,
                }
            }
        })*
    };
}

extract!(
    Text as Arc<str>,
    Integer as i64,
    Boolean as bool,
    Mac as Mac,
    Address as Ipv4Addr,
    Address6 as Ipv6Addr,
    Cidr as Cidr,
    Range as Range,
    Duration as Span,
    Size as Size,
    Percent as u8,
    Rate as Rate,
    Window as Window,
    Table as Table,
);

macro_rules! extract_boxed {
    ($($variant:ident as $type:ty),* $(,)?) => {
        $(impl Extract for $type {
            fn extract(value: Value) -> Option<$type> {
                match value {
                    Value::$variant(inner) => Some(*inner),
                    _ => None,
                }
            }
        })*
    };
}

extract_boxed!(Cidr6 as Cidr6, Range6 as Range6);

impl Extract for Name {
    fn extract(value: Value) -> Option<Name> {
        match value {
            Value::Name(name) => Some(name),
            _ => None,
        }
    }

    fn mention(written: &Marked<Name>, named: Option<Kind>) -> Option<Mention<'_>> {
        Some(Mention::Name(named?, written))
    }
}

impl Extract for u64 {
    fn extract(value: Value) -> Option<u64> {
        u64::try_from(i64::extract(value)?).ok()
    }
}

/// A choice among words.
impl<T: Words> Extract for T {
    fn extract(value: Value) -> Option<T> {
        match value {
            Value::Text(word) => T::named(&word),
            _ => None,
        }
    }
}

/// A count; what is more than it can hold is as much as it can hold.
impl Extract for u32 {
    fn extract(value: Value) -> Option<u32> {
        Some(u32::try_from(i64::extract(value)?).unwrap_or(u32::MAX))
    }
}

impl Extract for Labels {
    fn extract(value: Value) -> Option<Labels> {
        let entry = |(key, field): (Arc<str>, Field)| Some((key, Arc::extract(field.value.value)?));
        Some(Table::extract(value)?.0.into_iter().filter_map(entry).collect())
    }

    fn mention(written: &Marked<Labels>, _: Option<Kind>) -> Option<Mention<'_>> {
        Some(Mention::Selector(written))
    }
}

impl Extract for Value {
    fn extract(value: Value) -> Option<Value> {
        Some(value)
    }

    fn mention(written: &Marked<Value>, _: Option<Kind>) -> Option<Mention<'_>> {
        Some(Mention::Value(written))
    }
}

impl Table {
    /// Takes a setting out; `None` where it is absent or was found wrong.
    pub fn take<T: Extract>(&mut self, key: &str) -> Option<Marked<T>> {
        let Marked { value, mark } = self.0.remove(key)?.value;
        Some(Marked::new(T::extract(value)?, mark))
    }

    /// Takes the elements of a list out; none where the setting is absent.
    pub fn take_list<T: Extract>(&mut self, key: &str) -> Vec<Marked<T>> {
        let Some(Field { value: Marked { value: Value::List(list), .. }, .. }) = self.0.remove(key) else {
            return Vec::new();
        };
        let element = |Marked { value, mark }| Some(Marked::new(T::extract(value)?, mark));
        list.into_iter().filter_map(element).collect()
    }

    /// Takes a table of texts out.
    pub fn take_labels(&mut self, key: &str) -> Labels {
        self.take(key).map_or_else(Labels::new, |labels| labels.value)
    }
}
