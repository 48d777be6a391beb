//! How often something may happen.

use std::fmt;
use std::str::FromStr;

/// So many times within an hour; written `4/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u32);

/// The text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateError;

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        let number = text.strip_suffix("/h").ok_or(RateError)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse().ok().filter(|_| is_number).map(Rate).ok_or(RateError)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/h", self.0)
    }
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number for each hour is written as in \"4/h\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_they_are_written() {
        for text in ["0/h", "4/h", "4294967295/h"] {
            assert_eq!(text.parse::<Rate>().map(|rate| rate.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "4", "/h", "-4/h", "+4/h", "4 /h", "4/d", "4294967296/h"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }
}
