//! Whether to print in colour.

use std::io::IsTerminal;

use clap::ValueEnum;

/// What `--color` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On terminals, unless NO_COLOR or CLICOLOR_FORCE says otherwise
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether text for `stream` is coloured: the flag decides, then `NO_COLOR`
    /// (<https://no-color.org>), then `CLICOLOR_FORCE`, then what the stream is.
    pub fn on(self, stream: &impl IsTerminal) -> bool {
        self.decide(|name| std::env::var(name).ok(), || stream.is_terminal())
    }

    fn decide(self, variable: impl Fn(&str) -> Option<String>, terminal: impl Fn() -> bool) -> bool {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR").is_some() => false,
            Color::Auto => set("CLICOLOR_FORCE").is_some_and(|value| value != "0") || terminal(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_goes_first_then_no_color_then_force() {
        let none = |_: &str| None;
        let both = |_: &str| Some("1".to_owned());
        let force = |name: &str| (name == "CLICOLOR_FORCE").then(|| "1".to_owned());
        let empty = |_: &str| Some(String::new());
        assert!(Color::Always.decide(both, || false));
        assert!(!Color::Never.decide(force, || true));
        assert!(!Color::Auto.decide(both, || true));
        assert!(Color::Auto.decide(force, || false));
        assert!(Color::Auto.decide(empty, || true));
        assert!(!Color::Auto.decide(none, || false));
    }
}
