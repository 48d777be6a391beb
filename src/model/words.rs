//! Closed lists of words: enums of which each value has one text, in messages, on the wire and in files.

/// A value of a closed list.
pub trait Words: Copy + PartialEq + 'static {
    /// Every value, in the order of the list.
    fn all() -> &'static [Self];

    /// The value's own text.
    fn text(self) -> &'static str;

    /// The value of a text; `None` if no value has it.
    fn named(text: &str) -> Option<Self> {
        Self::all().iter().copied().find(|value| value.text() == text)
    }
}

/// Makes an enum from the one list of its values and their texts. `ALL` has every value, `NAMES` their texts
/// in the same order.
macro_rules! words {
    (
        $(#[$about:meta])*
        pub enum $list:ident {
            $($(#[$own:meta])* $value:ident = $text:literal,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $list {
            $($(#[$own])* $value,)*
        }

        impl $list {
            pub const ALL: [$list; [$($text),*].len()] = [$($list::$value),*];
            /// The texts, in the order of `ALL`.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// Its text.
            pub const fn name(self) -> &'static str {
                match self {
                    $($list::$value => $text,)*
                }
            }

            /// The value of a text; `None` if no value has it.
            pub fn named(text: &str) -> Option<$list> {
                <$list as $crate::model::Words>::named(text)
            }
        }

        impl $crate::model::Words for $list {
            fn all() -> &'static [$list] {
                &$list::ALL
            }

            fn text(self) -> &'static str {
                self.name()
            }
        }

        impl std::fmt::Display for $list {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use super::Words;
    use crate::model::{Phase, ServiceState, SourceCondition};

    fn is_a_list<T: Words + std::fmt::Debug>() {
        let mut texts: Vec<&str> = T::all().iter().map(|value| value.text()).collect();
        for value in T::all() {
            assert_eq!(T::named(value.text()), Some(*value));
        }
        assert_eq!(T::named("no such word"), None);
        let count = texts.len();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), count, "two values of one text: {texts:?}");
    }

    #[test]
    fn each_value_is_found_by_its_own_text() {
        is_a_list::<SourceCondition>();
        is_a_list::<Phase>();
        is_a_list::<ServiceState>();
    }
}
