//! Maintenance windows: when machines may be reinstalled.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::Time;

/// `DAYS HH:MM-HH:MM ZONE`, as in `Mon-Fri 22:00-05:00 Europe/Berlin`: days are a day, a range, or
/// several of them with commas, or `daily`; the zone is a name of the IANA database, UTC if absent.
/// A window that ends before it begins ends on the next day.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// As written.
    text: String,
    /// Monday first: the days it begins on.
    days: [bool; 7],
    /// Minutes after midnight.
    from: u16,
    to: u16,
    zone: TimeZone,
}

/// The text is no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WindowError(String);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// How far ahead the next opening is looked for.
const AHEAD_DAYS: i64 = 8;

impl Window {
    /// Whether machines may be reinstalled at `now`.
    pub fn is_open(&self, now: Time) -> bool {
        let Some(here) = self.local(now) else { return false };
        // It may have begun yesterday.
        [0, 1]
            .into_iter()
            .any(|back| self.span(&here, -back).is_some_and(|(from, to)| from <= here && here < to))
    }

    /// When it opens next after `now`.
    pub fn next(&self, now: Time) -> Option<Time> {
        let here = self.local(now)?;
        let from = (0..AHEAD_DAYS).filter_map(|days| self.span(&here, days)).map(|(from, _)| from);
        let next = from.filter(|from| *from > here).min()?;
        u64::try_from(next.timestamp().as_millisecond()).ok().map(Time)
    }

    fn local(&self, now: Time) -> Option<Zoned> {
        let stamp = Timestamp::from_millisecond(i64::try_from(now.0).ok()?).ok()?;
        Some(stamp.to_zoned(self.zone.clone()))
    }

    /// Beginning and end of the window that begins `days` after the day of `here`, if one does.
    fn span(&self, here: &Zoned, days: i64) -> Option<(Zoned, Zoned)> {
        let date = here.date().checked_add(days.days()).ok()?;
        let at = usize::try_from(date.weekday().to_monday_zero_offset()).ok()?;
        if !self.days[at] {
            return None;
        }
        let last = if self.to <= self.from { date.tomorrow().ok()? } else { date };
        let at = |date: jiff::civil::Date, minutes: u16| {
            let (hour, minute) = (i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?);
            date.at(hour, minute, 0, 0).to_zoned(self.zone.clone()).ok()
        };
        let end = match self.to {
            1440 => at(last.tomorrow().ok()?, 0)?,
            to => at(last, to)?,
        };
        Some((at(date, self.from)?, end))
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Window, WindowError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, hours, zone) = match words[..] {
            [days, hours] => (days, hours, "UTC"),
            [days, hours, zone] => (days, hours, zone),
            _ => {
                let message = "a window is written as in \"Mon-Fri 22:00-05:00 Europe/Berlin\"";
                return Err(WindowError(message.into()));
            }
        };
        let (from, to) = hours.split_once('-').ok_or_else(|| WindowError(HOURS.into()))?;
        let (from, to) = (minutes(from)?, minutes(to)?);
        if from == to || from == 1440 {
            return Err(WindowError("this window is empty; write 00:00-24:00 for the whole day".into()));
        }
        let zone = TimeZone::get(zone)
            .map_err(|_| WindowError(format!("`{zone}` is no time zone, as in Europe/Berlin or UTC")))?;
        Ok(Window { text: words.join(" "), days: weekdays(days)?, from, to, zone })
    }
}

/// Whether the time zone database has that name, in these very letters, as installers look it up.
pub fn is_time_zone(name: &str) -> bool {
    TimeZone::get(name).is_ok_and(|zone| zone.iana_name() == Some(name))
}

/// The names that the time zone database has.
pub fn time_zones() -> Vec<String> {
    jiff::tz::db().available().map(|known| known.to_string()).collect()
}

const HOURS: &str = "hours are written as in 22:00-05:00";

fn minutes(text: &str) -> Result<u16, WindowError> {
    let wrong = || WindowError(HOURS.into());
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text.len() {
        2 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse::<u16>().map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    match (number(hour)?, number(minute)?) {
        (hour @ 0..24, minute @ 0..60) => Ok(hour * 60 + minute),
        (24, 0) => Ok(1440),
        _ => Err(wrong()),
    }
}

fn weekdays(text: &str) -> Result<[bool; 7], WindowError> {
    let mut days = [false; 7];
    let day = |name: &str| {
        let name = name.to_ascii_lowercase();
        let found = DAYS.iter().position(|day| *day == name);
        found.ok_or_else(|| {
            WindowError(format!("`{name}` is no day: Mon, Tue, Wed, Thu, Fri, Sat, Sun, daily"))
        })
    };
    for part in text.split(',') {
        match part.split_once('-') {
            _ if part.eq_ignore_ascii_case("daily") => days = [true; 7],
            Some((first, last)) => {
                let (mut at, last) = (day(first)?, day(last)?);
                days[at] = true;
                while at != last {
                    at = (at + 1) % 7;
                    days[at] = true;
                }
            }
            None => days[day(part)?] = true,
        }
    }
    Ok(days)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        let stamp: Timestamp = text.parse().unwrap();
        Time(u64::try_from(stamp.as_millisecond()).unwrap())
    }

    #[test]
    fn time_zones_are_named_letter_by_letter() {
        let wrong: Vec<String> = time_zones().into_iter().filter(|name| !is_time_zone(name)).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        for name in ["UTC", "Etc/UTC", "GMT", "Europe/Berlin", "US/Eastern"] {
            assert!(is_time_zone(name), "{name}");
        }
        for name in ["", "europe/berlin", "Europe/Berln", "utc", "CEST"] {
            assert!(!is_time_zone(name), "{name}");
        }
    }

    #[test]
    fn nights_end_on_the_next_day() {
        let window: Window = "Mon-Fri 22:00-05:00 Europe/Berlin".parse().unwrap();
        // 2026-11-20 is a Friday; Berlin is an hour ahead of UTC in winter.
        for (when, open) in [
            ("2026-11-20T20:59:00Z", false),
            ("2026-11-20T21:00:00Z", true),
            ("2026-11-21T03:59:59Z", true),
            ("2026-11-21T04:00:00Z", false),
            ("2026-11-21T22:00:00Z", false),
        ] {
            assert_eq!(window.is_open(at(when)), open, "{when}");
        }
        assert_eq!(window.next(at("2026-11-21T12:00:00Z")), Some(at("2026-11-23T21:00:00Z")));
        assert_eq!(window.next(at("2026-07-06T12:00:00Z")), Some(at("2026-07-06T20:00:00Z")), "summer time");
    }

    #[test]
    fn days_and_zones_have_forms() {
        let daily: Window = "daily 00:00-24:00".parse().unwrap();
        assert!(daily.is_open(at("2026-11-22T23:59:59Z")) && daily.is_open(at("2026-11-23T00:00:00Z")));
        let weekend: Window = "Sat-Mon,Wed 01:00-02:30 UTC".parse().unwrap();
        assert_eq!(weekend.days, [true, false, true, false, false, true, true]);
        for wrong in [
            "",
            "Mon",
            "Mon 22-05",
            "Mon 22:00-22:00",
            "Moon 1:00-02:00",
            "Mon 25:00-26:00",
            "Mon 01:00-02:00 Mars/Base",
            "Mon 01:00-02:00 UTC x",
        ] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }
}
