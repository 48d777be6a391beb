//! Reads the inside of one `{{ … }}` or `{% … %}`, noting each variable and where it stands.

/// What is wrong, and at which byte of the template.
#[derive(Debug, PartialEq)]
pub(super) struct Mistake {
    pub offset: usize,
    pub message: String,
}

/// One use of a variable: `users[0].name` is `users` with the members `0` and `name`. Members
/// that are variables themselves are not listed here, but noted as uses of their own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Access {
    pub name: String,
    pub offset: usize,
    pub members: Vec<(String, usize)>,
}

/// A position in the template, moving forward. `end` is `}}` or `%}`.
pub(super) struct Cursor<'a> {
    text: &'a str,
    pub at: usize,
    end: &'static str,
    depth: usize,
    pub accesses: Vec<Access>,
}

type Step<T = ()> = Result<T, Mistake>;

/// Nesting of `a[b[c]]`; the engine's parser recurses on it.
const DEEPEST: usize = 8;
/// Members of one variable, and comparisons of one condition; the engine recurses on both.
const LONGEST: usize = 32;
const CONSTANTS: [&str; 6] = ["nil", "null", "empty", "blank", "true", "false"];

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, at: usize, end: &'static str) -> Cursor<'a> {
        Cursor { text, at, end, depth: 0, accesses: Vec::new() }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    pub(super) fn eat(&mut self, expected: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// An error at the current position.
    pub(super) fn wrong<T>(&self, message: impl Into<String>) -> Step<T> {
        Err(Mistake { offset: self.at, message: message.into() })
    }

    pub(super) fn unexpected<T>(&self, wanted: &str) -> Step<T> {
        match self.rest().chars().next() {
            None => self.wrong(format!("the template ends where {wanted} is expected")),
            Some(found) => self.wrong(format!("unexpected `{}`, {wanted} expected", found.escape_debug())),
        }
    }

    /// A name, without moving.
    pub(super) fn peek(&mut self) -> Option<&'a str> {
        self.space();
        let rest = self.rest();
        let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !rest.starts_with(starts) {
            return None;
        }
        let inner = |(at, c): (usize, char)| {
            c.is_ascii_alphanumeric() || c == '_' || (c == '-' && !rest[at + 1..].starts_with(self.end))
        };
        let length = rest.char_indices().find(|&pair| !inner(pair)).map_or(rest.len(), |(at, _)| at);
        Some(&rest[..length])
    }

    pub(super) fn name(&mut self, wanted: &str) -> Step<&'a str> {
        let Some(name) = self.peek() else { return self.unexpected(wanted) };
        self.at += name.len();
        Ok(name)
    }

    /// Eats the word if it comes next as a whole.
    pub(super) fn word(&mut self, expected: &str) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Whether the tag ends here.
    pub(super) fn at_end(&mut self) -> bool {
        self.space();
        let rest = self.rest();
        rest.starts_with(self.end) || rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(self.end))
    }

    /// Eats the end of the tag; whether it also eats the white space that follows.
    pub(super) fn close(&mut self) -> Step<bool> {
        self.space();
        let trim = self.rest().starts_with('-');
        if !self.at_end() {
            return self.unexpected(&format!("`{}`", self.end));
        }
        self.at += usize::from(trim) + self.end.len();
        Ok(trim)
    }

    /// A constant or a variable with its members.
    pub(super) fn value(&mut self) -> Step {
        self.space();
        match self.rest().bytes().next() {
            Some(quote @ (b'"' | b'\'')) => self.string(char::from(quote)),
            Some(b'0'..=b'9') => self.number(),
            Some(b'+' | b'-') if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(),
            _ => self.variable(),
        }
    }

    fn string(&mut self, quote: char) -> Step {
        match self.rest()[1..].find(quote) {
            Some(length) => self.at += length + 2,
            None => return self.wrong("this text has no closing quote"),
        }
        Ok(())
    }

    /// The engine panics on an integer that does not fit, so it is reported here.
    fn number(&mut self) -> Step {
        let rest = self.rest();
        let digits =
            |from: usize| rest[from..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |at| from + at);
        let whole = digits(1);
        let fraction =
            rest[whole..].starts_with('.').then(|| digits(whole + 1)).filter(|&end| end > whole + 1);
        if fraction.is_none() && rest[..whole].parse::<i64>().is_err() {
            return self.wrong("this number does not fit into 64 bits");
        }
        self.at += fraction.unwrap_or(whole);
        Ok(())
    }

    fn variable(&mut self) -> Step {
        let Some(name) = self.peek() else { return self.unexpected("a value") };
        if let Some(constant) = CONSTANTS.iter().find(|constant| name.starts_with(**constant)) {
            if name != *constant {
                return self.wrong(format!(
                    "`{name}` can't be used as a name: liquid reads `{constant}` at its beginning"
                ));
            }
            self.at += name.len();
            return Ok(());
        }
        let mut access = Access { name: name.to_owned(), offset: self.at, members: Vec::new() };
        self.at += name.len();
        let place = self.accesses.len();
        self.accesses.push(access.clone());
        let mut members = 0;
        while self.member(&mut access)? {
            members += 1;
            if members > LONGEST {
                return self.wrong("this variable has too many members");
            }
        }
        self.accesses[place] = access;
        Ok(())
    }

    /// `.name` or `[value]`, directly behind what it belongs to.
    fn member(&mut self, access: &mut Access) -> Step<bool> {
        let offset = self.at;
        if self.rest().starts_with('[') {
            if self.depth == DEEPEST {
                return self.wrong("brackets are nested too deep");
            }
            self.at += 1;
            self.space();
            let start = self.at;
            let known = self.accesses.len();
            self.depth += 1;
            self.value()?;
            self.depth -= 1;
            if self.accesses.len() == known {
                let constant = self.text[start..self.at].trim_matches(['"', '\'']);
                access.members.push((constant.to_owned(), start));
            }
            if !self.eat("]") {
                return self.unexpected("`]`");
            }
            return Ok(true);
        }
        let Some(rest) = self.rest().strip_prefix('.') else { return Ok(false) };
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Ok(false);
        }
        self.at += 1;
        let name = self.name("a member's name")?;
        access.members.push((name.to_owned(), offset + 1));
        Ok(true)
    }

    /// A value and the filters behind it. `known` judges a filter's name.
    pub(super) fn chain(&mut self, known: &dyn Fn(&str) -> Option<String>) -> Step {
        self.value()?;
        while self.eat("|") {
            self.space();
            let offset = self.at;
            let name = self.name("a filter's name")?;
            if let Some(message) = known(name) {
                return Err(Mistake { offset, message });
            }
            if !self.eat(":") {
                continue;
            }
            self.argument()?;
            while self.eat(",") {
                self.argument()?;
            }
        }
        Ok(())
    }

    /// `value` or `keyword: value`.
    fn argument(&mut self) -> Step {
        let start = self.at;
        if self.peek().is_some() {
            self.name("a value")?;
            if self.eat(":") {
                return self.value();
            }
            self.at = start;
        }
        self.value()
    }

    /// Comparisons joined by `and` and `or`.
    pub(super) fn condition(&mut self) -> Step {
        for _ in 0..LONGEST {
            self.value()?;
            if self.at_end() {
                return Ok(());
            }
            if !self.joint() && !self.comparison() {
                return self.unexpected("a comparison");
            }
        }
        self.wrong("this condition is too long")
    }

    fn joint(&mut self) -> bool {
        self.word("and") || self.word("or")
    }

    fn comparison(&mut self) -> bool {
        const SIGNS: [&str; 7] = ["==", "!=", "<>", "<=", ">=", "<", ">"];
        self.word("contains") || SIGNS.iter().any(|sign| self.eat(sign))
    }
}
