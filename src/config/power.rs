//! `[power.command.NAME]`: the programs that switch machines. They are named here and nowhere else: a commit must not be
//! able to choose what runs on this host.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::tree::{Complaints, Found, Table};
use crate::model::{Name, PowerProgram, Span};

/// How long a call takes at most, where the file does not say.
const TIMEOUT: Span = Span::seconds(30);
/// The longest time that the file may say: an order waits for the call.
const LONGEST: Span = Span::seconds(600);

/// Without the table there are none.
pub(super) fn power(root: &mut Table, complaints: &mut Complaints<'_>) -> BTreeMap<Name, PowerProgram> {
    let mut programs = BTreeMap::new();
    let Some(mut table) = root.table("power", "power", complaints) else { return programs };
    if let Some(mut commands) = table.table("command", "power.command", complaints) {
        for (Found { at, value }, own) in commands.inner(complaints) {
            let program = program(own, complaints);
            match value.parse::<Name>() {
                Ok(name) => programs.extend(program.map(|program| (name, program))),
                Err(error) => complaints.add(at, format!("`power.command.{value}`: {error}")),
            }
        }
        commands.finish(complaints);
    }
    table.finish(complaints);
    programs
}

/// `None` after a complaint.
fn program(mut table: Table, complaints: &mut Complaints<'_>) -> Option<PowerProgram> {
    if !table.has("program") {
        complaints.add(table.at, format!("`{}` is missing: the path of a program", table.path("program")));
    }
    let program = table.text("program", complaints).and_then(|Found { at, value }| {
        if value.is_empty() {
            complaints.add(at, format!("`{}` is empty: name a program", table.path("program")));
            return None;
        }
        Some(PathBuf::from(value))
    });
    let arguments = table.texts("arguments", complaints).unwrap_or_default();
    let timeout: Option<Found<Span>> = table.parsed("timeout", complaints);
    if let Some(Found { at, value }) =
        timeout.as_ref().filter(|found| found.value.0 == 0 || found.value.0 > LONGEST.0)
    {
        let message = format!("`{}`: {value} is not between 1s and {LONGEST}", table.path("timeout"));
        complaints.add(*at, message);
    }
    table.finish(complaints);
    Some(PowerProgram {
        program: program?,
        arguments: arguments.into_iter().map(|found| found.value).collect(),
        timeout: timeout.map_or(TIMEOUT, |found| found.value),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn programs_have_a_name_and_a_path() {
        let read = |text: &str| {
            let text = format!("network = {{ interface = 'e', address = '10.0.0.1' }}\n{text}");
            Config::parse(&text, "f").map(|config| config.power).map_err(|error| error.to_string())
        };
        assert_eq!(read(""), Ok(Default::default()));
        let found =
            read("[power.command.pdu]\nprogram = '/usr/bin/pdu'\narguments = ['-q']\ntimeout = '10s'")
                .unwrap();
        let (name, program) = found.into_iter().next().unwrap();
        assert_eq!(
            (name.as_str(), program.arguments, program.timeout.as_seconds()),
            ("pdu", vec!["-q".to_owned()], 10)
        );
        for (wrong, said) in [
            ("[power.command.pdu]", "`power.command.pdu.program` is missing"),
            ("[power.command.pdu]\nprogram = ''", "is empty"),
            ("[power.command.PDU]\nprogram = '/bin/pdu'", "`power.command.PDU`"),
            ("[power.command.pdu]\nprogram = '/bin/pdu'\ntimeout = '2h'", "between"),
            ("[power.command.pdu]\nprogram = '/bin/pdu'\nshell = true", "shell"),
            ("[power]\ncommand = 7", "power.command"),
            ("[power.program.pdu]", "program"),
        ] {
            let found = read(wrong).unwrap_err();
            assert!(found.contains(said), "{wrong}: {found}");
        }
    }
}
