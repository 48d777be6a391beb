//! How urgent a message of syslog is.

use super::words::words;

words! {
    /// The severities of RFC 5424, section 6.2.1, the most urgent first; the words are those of syslog.conf(5).
    pub enum Severity {
        Emergency = "emerg",
        Alert = "alert",
        Critical = "crit",
        Error = "err",
        Warning = "warning",
        Notice = "notice",
        Info = "info",
        Debug = "debug",
    }
}
