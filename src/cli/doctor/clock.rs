//! The clock: certificates, signed commits, leases and time windows depend on it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::finding::Finding;

/// No host that runs this program has a clock before 2026.
const EARLIEST: u64 = 1_767_225_600;

pub(super) fn look() -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    judge(now, is_synchronized())
}

fn judge(now: u64, is_synchronized: Option<bool>) -> Finding {
    let shown =
        jiff::Timestamp::from_second(now as i64).map_or_else(|_| now.to_string(), |time| time.to_string());
    let finding = Finding::about("clock", shown);
    let advice = "set it, and have a time service keep it: apt install systemd-timesyncd (or chrony)";
    match is_synchronized {
        _ if now < EARLIEST => finding.error("it is before 2026: certificates are not valid yet", advice),
        Some(true) => finding.ok("kept by a time service"),
        Some(false) => finding.warning("no time service keeps it", advice),
        None => finding.unknown("the kernel does not say whether a time service keeps it", advice),
    }
}

/// What the kernel says (adjtimex(2)): the bit is set until a time service has set the clock.
fn is_synchronized() -> Option<bool> {
    // SAFETY: all-zero bytes are a valid `timex`: it has nothing but numbers.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timex` of our own; with `modes` zero the kernel only writes to it.
    let state = unsafe { libc::adjtimex(&mut timex) };
    (state >= 0).then_some(timex.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn a_clock_is_kept_loose_or_wrong() {
        assert_eq!(judge(EARLIEST, Some(true)).level, Level::Ok);
        assert_eq!(judge(EARLIEST, Some(false)).level, Level::Warning);
        assert_eq!(judge(EARLIEST, None).level, Level::Unknown);
        let early = judge(0, Some(true));
        assert!(early.level == Level::Error && early.subject == "1970-01-01T00:00:00Z", "{early:?}");
        look();
    }
}
