//! What this process may do, which a daemon that it starts may do too.

use super::finding::Finding;

/// Number, name and use of the capabilities that the daemon needs (linux/capability.h).
const NEEDED: [(u32, &str, &str); 3] = [
    (10, "CAP_NET_BIND_SERVICE", "ports 67, 69 and 80"),
    (12, "CAP_NET_ADMIN", "large receive buffers"),
    (13, "CAP_NET_RAW", "answers to machines that have no address yet"),
];

pub(super) fn look() -> Vec<Finding> {
    let finding = Finding::about("privileges", "capabilities");
    let status = match std::fs::read_to_string("/proc/self/status") {
        Ok(status) => status,
        Err(error) => {
            return vec![finding.unknown(format!("/proc/self/status: {error}"), "mount /proc")];
        }
    };
    vec![judge(&status, finding)]
}

/// By the text of `/proc/self/status` (proc_pid_status(5)).
fn judge(status: &str, finding: Finding) -> Finding {
    let mask = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let (Some(effective), Some(bounding)) = (mask("CapEff:"), mask("CapBnd:")) else {
        return finding.unknown("/proc/self/status has no capabilities", "look with `capsh --print`");
    };
    let lacking = |mask: u64| NEEDED.iter().filter(move |(number, ..)| mask & 1 << number == 0);
    let text = |mask: u64| {
        lacking(mask).map(|(_, name, what)| format!("{name} ({what})")).collect::<Vec<_>>().join(", ")
    };
    if lacking(bounding).next().is_some() {
        let names = lacking(bounding).map(|(_, name, _)| name.trim_start_matches("CAP_"));
        let names = names.collect::<Vec<_>>().join(",");
        let advice = format!(
            "this is a container or a restricted service: its runtime has to allow them, as in --cap-add {names}"
        );
        return finding.error(format!("nobody here can have {}", text(bounding)), advice);
    }
    if lacking(effective).next().is_some() {
        let advice = "the unit of the packages gives them to the daemon; otherwise start it as root. Look again as root: \
                      what only root sees is not judged now";
        return finding.warning(format!("this user lacks {}", text(effective)), advice);
    }
    finding.ok("CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW are there")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn a_container_and_a_user_are_told_apart() {
        let of = |effective: &str, bounding: &str| {
            judge(
                &format!("Name:\tx\nCapEff:\t{effective}\nCapBnd:\t{bounding}\n"),
                Finding::about("privileges", "x"),
            )
        };
        assert_eq!(of("000001ffffffffff", "000001ffffffffff").level, Level::Ok);
        let user = of("0000000000000000", "000001ffffffffff");
        assert_eq!(user.level, Level::Warning);
        // What docker gives: NET_ADMIN is not in it.
        let container = of("00000000a80425fb", "00000000a80425fb");
        assert_eq!(container.level, Level::Error);
        assert!(container.advice.unwrap().ends_with("--cap-add NET_ADMIN"));
        assert_eq!(judge("", Finding::about("privileges", "x")).level, Level::Unknown);
    }
}
