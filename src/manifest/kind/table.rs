//! One description of a table: of it come the structure, the keys with their help, the reading, and
//! what the table mentions.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::manifest::value::Extract;
use crate::manifest::{Field, Fields, Kind, Marked, Table, Value};
use crate::model::Name;

/// A table as it was written. What is absent stays absent: inheritance and defaults come later.
pub trait Written: Sized {
    const FIELDS: &'static Fields;

    /// Takes the settings out of a checked table.
    fn read(table: &mut Table) -> Self;

    /// Shows everything in it that reaches beyond it.
    fn mentions<'a>(&'a self, visit: &mut dyn FnMut(Mention<'a>));
}

/// Labels of a machine, or those that it must have.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Something in a resource that reaches beyond it.
#[derive(Clone, Copy, Debug)]
pub enum Mention<'a> {
    /// The name of another resource.
    Name(Kind, &'a Marked<Name>),
    /// A value that may be, or hold, a secret.
    Value(&'a Marked<Value>),
    /// The same of variables of templates.
    Variables(&'a BTreeMap<Arc<str>, Field>),
    /// Labels that a machine must have.
    Selector(&'a Marked<Labels>),
    /// DHCP options, by name or number, as written.
    Options(&'a BTreeMap<Arc<str>, Field>),
}

/// A type that a setting is read as.
pub trait Setting: Sized {
    /// Takes the setting out of a table.
    fn take(table: &mut Table, key: &str) -> Self;

    /// Shows what it mentions. `named`: the kind of resource that it names, if any.
    fn mentions<'a>(&'a self, named: Option<Kind>, visit: &mut dyn FnMut(Mention<'a>)) {
        let _ = (named, visit);
    }
}

impl<T: Extract> Setting for Option<Marked<T>> {
    fn take(table: &mut Table, key: &str) -> Option<Marked<T>> {
        table.take(key)
    }

    fn mentions<'a>(&'a self, named: Option<Kind>, visit: &mut dyn FnMut(Mention<'a>)) {
        self.iter().filter_map(|value| T::mention(value, named)).for_each(visit);
    }
}

impl<T: Extract> Setting for Vec<Marked<T>> {
    fn take(table: &mut Table, key: &str) -> Vec<Marked<T>> {
        table.take_list(key)
    }

    fn mentions<'a>(&'a self, named: Option<Kind>, visit: &mut dyn FnMut(Mention<'a>)) {
        self.iter().filter_map(|value| T::mention(value, named)).for_each(visit);
    }
}

/// A table inside of a table.
impl<T: Written> Setting for Option<T> {
    fn take(table: &mut Table, key: &str) -> Option<T> {
        let Marked { value: mut inner, .. } = table.take::<Table>(key)?;
        Some(T::read(&mut inner))
    }

    fn mentions<'a>(&'a self, _: Option<Kind>, visit: &mut dyn FnMut(Mention<'a>)) {
        self.iter().for_each(|inner| inner.mentions(visit));
    }
}

/// A list of tables; an empty one is another thing than none.
impl<T: Written> Setting for Option<Vec<T>> {
    fn take(table: &mut Table, key: &str) -> Option<Vec<T>> {
        let is_there = table.0.contains_key(key);
        let tables = table.take_list(key).into_iter();
        let tables = tables.map(|Marked { value: mut inner, .. }: Marked<Table>| T::read(&mut inner));
        is_there.then(|| tables.collect())
    }

    fn mentions<'a>(&'a self, _: Option<Kind>, visit: &mut dyn FnMut(Mention<'a>)) {
        self.iter().flatten().for_each(|inner| inner.mentions(visit));
    }
}

/// Labels of the resource itself.
impl Setting for Labels {
    fn take(table: &mut Table, key: &str) -> Labels {
        table.take_labels(key)
    }
}

/// Declares a table of the language.
///
/// ```text
/// table! {
///     /// About the structure.
///     pub struct NAME: "what tables of it are called", "What such a table is, for the reference." {
///         /// About the field, where its name and the help don't say it.
///         FIELD: TYPE = must|may|variable "key": SHAPE, "What the setting is for, for the reference.";
///         …
///         + KEYS;             settings that one of the fields takes as well as its own
///         ..FIELD: NAME;      the settings of another table, which stand in this one
///     }
///     either: ["one key", "another"];     one of which must be there
///     addition: ADDITION;                 see `Addition`
/// }
/// ```
macro_rules! table {
    (
        $(#[$about:meta])*
        pub struct $name:ident: $plural:literal, $help:literal {
            $($(#[$doc:meta])* $field:ident: $type:ty = $need:ident $key:literal: $shape:expr, $text:expr;)*
            $(+ $also:expr;)*
            $(..$part:ident: $part_type:ty;)*
        }
        $(either: [$($either:literal),*];)?
        $(addition: $addition:expr;)?
    ) => {
        #[doc = $help]
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
            $(pub $part: $part_type,)*
        }

        impl $crate::manifest::kind::Written for $name {
            const FIELDS: &'static $crate::manifest::Fields = {
                use $crate::manifest::Key;
                use $crate::manifest::shape::Addition;
                const OWN: &[Key] = &[$(Key::$need($key, $shape, $text),)*];
                const LISTS: &[&[Key]] = &[
                    OWN,
                    $($also,)*
                    $(<$part_type as $crate::manifest::kind::Written>::FIELDS.keys,)*
                ];
                const KEYS: [Key; Key::count(LISTS)] = Key::joined(LISTS);
                &$crate::manifest::Fields {
                    plural: $plural,
                    about: $help,
                    keys: &KEYS,
                    either: &[$($($either),*)?],
                    addition: [$($addition,)? Addition::Complete][0],
                }
            };

            fn read(table: &mut $crate::manifest::Table) -> $name {
                use $crate::manifest::kind::table::Setting;
                $name {
                    $($field: Setting::take(table, $key),)*
                    $($part: $crate::manifest::kind::Written::read(table),)*
                }
            }

            fn mentions<'a>(&'a self, visit: &mut dyn FnMut($crate::manifest::kind::Mention<'a>)) {
                use $crate::manifest::kind::table::Setting;
                $(Setting::mentions(&self.$field, const { $shape.names() }, visit);)*
                $($crate::manifest::kind::Written::mentions(&self.$part, visit);)*
            }
        }
    };
}

pub(in crate::manifest) use table;
