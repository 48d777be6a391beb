//! Messages of syslog: RFC 5424, RFC 3164 as it is really sent, and what is neither, which is a line of text all the
//! same. How messages follow each other in a stream (RFC 6587) is in [`frames`].

pub mod frames;

use crate::model::Severity;

/// The facilities of RFC 5424, section 6.2.1.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Longest name of a program (RFC 5424: 48; programs of RFC 3164 have 32).
const PROGRAM_MAX: usize = 48;
/// The priority of what has none (RFC 3164, section 4.3.3): user.notice.
const USER_NOTICE: u8 = 13;

/// A message. Its texts come from a stranger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'m> {
    pub facility: &'static str,
    pub severity: Severity,
    /// Who wrote it; empty where it does not say.
    pub program: &'m str,
    pub text: &'m str,
}

/// Understands a message; the second value is false where it is of no known form, and is taken as text of the
/// priority user.notice.
pub fn parse(message: &str) -> (Message<'_>, bool) {
    let message = message.trim_end_matches(['\n', '\r', '\0']);
    let (priority, rest, is_known) = match priority(message) {
        Some((priority, rest)) => (priority, rest, true),
        None => (USER_NOTICE, message, false),
    };
    let (program, text) = match rest.strip_prefix("1 ") {
        Some(rest) if is_known => structured(rest).unwrap_or(("", rest)),
        _ => plain(rest),
    };
    let severity = Severity::ALL[usize::from(priority & 7)];
    (Message { facility: FACILITIES[usize::from(priority >> 3)], severity, program, text }, is_known)
}

/// `<34>` and what follows.
fn priority(message: &str) -> Option<(u8, &str)> {
    let (number, rest) = message.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u8 = number.parse().ok().filter(|number| is_number && *number <= 191)?;
    Some((number, rest))
}

/// RFC 5424 behind its version: `TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`. The program and the text.
fn structured(rest: &str) -> Option<(&str, &str)> {
    let mut words = rest.splitn(6, ' ');
    let (_at, _host, program) = (words.next()?, words.next()?, words.next()?);
    let (_process, _id, rest) = (words.next()?, words.next()?, words.next()?);
    let text = behind_data(rest)?;
    let text = text.strip_prefix(' ').unwrap_or(text);
    let program = if is_program(program) { program } else { "" };
    Some((program, text.trim_start_matches('\u{feff}')))
}

/// What follows the structured data: `-`, or elements in brackets with quoted values.
fn behind_data(rest: &str) -> Option<&str> {
    if let Some(rest) = rest.strip_prefix('-') {
        return (rest.is_empty() || rest.starts_with(' ')).then_some(rest);
    }
    let (mut is_quoted, mut is_escaped, mut is_open) = (false, false, false);
    for (at, c) in rest.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' if is_open => is_quoted = !is_quoted,
            '[' if !is_open => is_open = true,
            ']' if is_open && !is_quoted => is_open = false,
            ' ' if !is_open => return Some(&rest[at..]),
            _ if !is_open => return None,
            _ => {}
        }
    }
    (!is_open && !rest.is_empty()).then_some("")
}

/// RFC 3164: `Mmm dd hh:mm:ss HOST TAG[PID]: text`. Installers leave out the host, and some programs the time.
fn plain(rest: &str) -> (&str, &str) {
    let rest = behind_time(rest);
    if let Some(found) = tag(rest) {
        return found;
    }
    let behind_host = rest.split_once(' ').and_then(|(_host, rest)| tag(rest));
    behind_host.unwrap_or(("", rest))
}

/// Behind `Mmm dd hh:mm:ss ` or a time of RFC 3339, if there is one.
fn behind_time(rest: &str) -> &str {
    let bytes = rest.as_bytes();
    let is_old = rest.get(..3).is_some_and(|month| MONTHS.contains(&month))
        && bytes.len() > 15
        && (bytes[3], bytes[6], bytes[9], bytes[12], bytes[15]) == (b' ', b' ', b':', b':', b' ');
    if is_old {
        return rest.get(16..).unwrap_or(rest);
    }
    match rest.split_once(' ') {
        Some((word, behind))
            if word.len() >= 19 && word.as_bytes()[4] == b'-' && word.as_bytes()[10] == b'T' =>
        {
            behind
        }
        _ => rest,
    }
}

/// `TAG: text` or `TAG[PID]: text`.
fn tag(rest: &str) -> Option<(&str, &str)> {
    let (tag, text) = rest.split_once(": ").or_else(|| Some((rest.strip_suffix(':')?, "")))?;
    let program = match tag.split_once('[') {
        Some((program, process)) => process.ends_with(']').then_some(program)?,
        None => tag,
    };
    is_program(program).then_some((program, text))
}

fn is_program(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'[' | b']' | b':' | b'<' | b'>');
    !word.is_empty() && word != "-" && word.len() <= PROGRAM_MAX && word.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(message: &str) -> (String, &str, &str) {
        let (message, _) = parse(message);
        (format!("{}.{}", message.facility, message.severity), message.program, message.text)
    }

    #[test]
    fn both_forms_are_understood_and_what_installers_make_of_them() {
        for (message, priority, program, text) in [
            // The examples of both RFCs.
            (
                "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed on /dev/pts/8",
                "auth.crit",
                "su",
                "'su root' failed on /dev/pts/8",
            ),
            (
                "<165>1 2003-10-11T22:14:15.003Z m evntslog - ID47 [ex@32473 iut=\"3\" s=\"a \\\"] b\"][p@1 c=\"h\"] An event",
                "local4.notice",
                "evntslog",
                "An event",
            ),
            (
                "<165>1 2003-10-11T22:14:15.003Z m evntslog - ID47 [ex@32473 iut=\"3\"]",
                "local4.notice",
                "evntslog",
                "",
            ),
            ("<165>1 - - - - - -", "local4.notice", "", ""),
            ("<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "auth.crit", "su", "'su root' failed"),
            ("<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", "user.notice", "", "10.0.0.99 Use the BFG!"),
            // Debian's installer (busybox), a kernel, logger(1), systemd.
            (
                "<46>Nov 30 04:16:40 syslogd started: BusyBox v1.36.1",
                "syslog.info",
                "started",
                "BusyBox v1.36.1",
            ),
            ("<30>Nov 30 04:16:40 anna[1234]: DEBUG: retrieving", "daemon.info", "anna", "DEBUG: retrieving"),
            (
                "<6>kernel: [    0.000000] Linux version 6.1",
                "kern.info",
                "kernel",
                "[    0.000000] Linux version 6.1",
            ),
            ("<13>Nov 30 04:16:40 host root: hello\n", "user.notice", "root", "hello"),
            ("<27>2026-11-30T04:16:40.1+00:00 host systemd[1]: Failed.", "daemon.err", "systemd", "Failed."),
            ("<0>", "kern.emerg", "", ""),
        ] {
            assert_eq!(read(message), (priority.to_owned(), program, text), "{message}");
            assert!(parse(message).1, "{message}");
        }
    }

    #[test]
    fn anything_else_is_a_line_of_text() {
        for message in ["", "hello", "<192>x", "<1234>x", "<>x", "<-1>x", "<1", "GET / HTTP/1.1", "<ü>x"] {
            let (found, is_known) = parse(message);
            assert!(!is_known && found.text == message && found.severity == Severity::Notice, "{message}");
        }
        // The form is announced and not kept.
        assert_eq!(read("<34>1 nonsense").2, "nonsense");
        assert_eq!(read("<34>1 a b c d e [x").2, "a b c d e [x");
    }

    proptest! {
        #[test]
        fn no_message_is_too_odd(message in "(<[0-9]{0,4}>)?(1 )?(Oct 11 22:14:15 )?\\PC{0,40}( \\[|\\]|\"|\\\\|: ){0,9}\\PC{0,9}") {
            let (found, _) = parse(&message);
            prop_assert!(message.contains(found.text) && message.contains(found.program));
        }
    }
}
