//! `without`: inherited settings that a profile or a deployment leaves out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::profile::Effective;
use crate::manifest::checker::plain;
use crate::manifest::document::Settings;
use crate::manifest::kind::WITHOUT;
use crate::manifest::similar::similar;
use crate::manifest::without::not_inherited;
use crate::manifest::{Code, Field, Mark, Marked, Problem, Value};
use crate::model::dhcp_option;

/// What became of a setting that is to be left out.
enum LeftOut {
    Done,
    /// Nothing sets it.
    Absent,
    /// No setting is called so, or none that is inherited.
    Unknown,
}

/// The settings that can be left out beside the variables: all that are inherited.
const INHERITED: [&str; 8] =
    ["subnet", "boot", "template", "user-data", "unproven", "routes", "vars", "options"];

impl Effective {
    /// Leaves inherited settings out, those that the resource at `own` names.
    pub(super) fn leave_out(&mut self, settings: &Settings, own: Mark) -> Vec<Problem> {
        let problem = |one: &Marked<Arc<str>>| match self.forget(&one.value) {
            LeftOut::Done => None,
            // An environment leaves out what the inventory says of the resource itself, too.
            LeftOut::Absent if one.mark.file != own.file || !self.whole => None,
            LeftOut::Absent => Some(not_inherited(&one.value, one.mark)),
            LeftOut::Unknown => Some(unknown(one)),
        };
        settings.without.iter().filter_map(problem).collect()
    }

    fn forget(&mut self, key: &str) -> LeftOut {
        let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
        let was_there = match (first, rest) {
            ("subnet", None) => self.subnet.take().is_some(),
            ("boot", None) => self.boot.take().is_some(),
            ("template", None) => self.template.take().is_some(),
            ("user-data", None) => self.user_data.take().is_some(),
            ("unproven", None) => self.unproven.take().is_some(),
            ("routes", None) => self.routes.take().is_some(),
            ("vars", None) => !std::mem::take(&mut self.vars).is_empty(),
            ("vars", Some(path)) => remove(&mut self.vars, path),
            ("options", None) => !std::mem::take(&mut self.options).is_empty(),
            ("options", Some(name)) => match dhcp_option::find(name) {
                Ok((code, _)) => self.options.remove(&code).is_some(),
                Err(_) => return LeftOut::Unknown,
            },
            (known, None) if Settings::known().any(|name| name == known) => remove(&mut self.vars, known),
            _ => return LeftOut::Unknown,
        };
        if was_there { LeftOut::Done } else { LeftOut::Absent }
    }
}

/// Takes a variable away, or a part of one.
fn remove(variables: &mut BTreeMap<Arc<str>, Field>, path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let name = first.replace('-', "_");
    let Some(rest) = rest else { return variables.remove(&*name).is_some() };
    match variables.get_mut(&*name) {
        Some(Field { value: Marked { value: Value::Table(inner), .. }, .. }) => remove(&mut inner.0, rest),
        _ => false,
    }
}

fn unknown(one: &Marked<Arc<str>>) -> Problem {
    let names = || INHERITED.into_iter().chain(Settings::known());
    let message = format!("`{}` is no setting that is inherited", plain(&one.value));
    let label = match similar(&one.value, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "it can't be left out".to_owned(),
    };
    let names: Vec<&str> = names().collect();
    Problem::new(Code::UnknownKey, one.mark, message, label).help(format!(
        "`{WITHOUT}` takes {}, and one variable or option as `vars.NAME` or `options.NAME`",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::desired::{self, Media, Options};
    use crate::manifest::parse;
    use crate::media::Shelf;

    const BASE: &str = "[subnet.lab]\ncidr = \"10.0.10.0/24\"\n[boot.a]\nkernel = \"k\"\n\
        [profile.base]\nsubnet = \"lab\"\nboot = \"a\"\ntemplate = \"preseed\"\ntimezone = \"Etc/UTC\"\n\
        vars = { extra = \"a\" }\noptions = { ntp-servers = [\"10.0.10.2\"] }\n";

    fn resolved(text: &str) -> (desired::Desired, Vec<(Code, String)>) {
        let text = format!(
            "{BASE}[deployment.web]\nprofile = \"base\"\nmac = \"52:54:00:aa:00:01\"\naddress = \"10.0.10.9\"\n{text}"
        );
        let files = [("a.toml".into(), Bytes::from(text))].into();
        let (documents, problems) = parse(&files);
        assert_eq!(problems, []);
        let options = Options { media: Media::IfPresent, fallback: Vec::new() };
        let (desired, problems) = desired::resolve(&documents, &Shelf::default(), &options);
        let named = |code: &Problem| matches!(code.code, Code::NotInherited | Code::UnknownKey);
        let problems = problems.iter().filter(|one| named(one));
        (desired, problems.map(|one| (one.code, documents.sources.text_at(one.mark()).to_owned())).collect())
    }

    #[test]
    fn what_is_left_out_is_not_inherited_and_may_be_set_anew() {
        let (desired, problems) =
            resolved("without = [\"template\", \"timezone\", \"vars.extra\", \"options.42\"]\n");
        let web = &desired.deployments.values().next().unwrap();
        assert_eq!(problems, []);
        assert!(web.template.is_none() && web.options.values.is_empty());
        assert!(!web.values.contains_key("timezone") && !web.values.contains_key("extra"));
        assert!(resolved("").0.deployments.values().next().unwrap().template.is_some());
        let (desired, problems) = resolved("without = \"vars\"\ntimezone = \"Europe/Berlin\"\n");
        let web = &desired.deployments.values().next().unwrap();
        assert_eq!((web.values["timezone"].to_string(), problems), ("Europe/Berlin".to_owned(), vec![]));
    }

    /// Deployments of one profile share their values where neither says anything of its own.
    #[test]
    fn others_of_the_profile_keep_what_one_leaves_out() {
        let other = |place: u8| {
            format!(
                "[deployment.other-{place}]\nprofile = \"base\"\nmac = \"52:54:00:aa:00:1{place}\"\n\
                 address = \"10.0.10.1{place}\"\n"
            )
        };
        let has = |desired: &desired::Desired, name: &str| {
            desired.deployments.get(name).unwrap().values["extra"].to_string() == "a"
        };
        let without = "without = [\"vars.extra\"]\n";
        let (desired, problems) = resolved(&format!("{without}{}{}{without}", other(1), other(2)));
        assert_eq!(problems, []);
        let found = ["web", "other-1", "other-2"].map(|name| has(&desired, name));
        assert_eq!(found, [false, true, false]);
    }

    #[test]
    fn a_wrong_name_is_told() {
        let (_, problems) = resolved(
            "without = [\"vars.timezones\", \"address\", \"templat\", \"options.nope\", \"user-data\"]\n",
        );
        let wrong = |code, text: &str| (code, format!("\"{text}\""));
        let expected = [
            wrong(Code::NotInherited, "vars.timezones"),
            wrong(Code::UnknownKey, "address"),
            wrong(Code::UnknownKey, "templat"),
            wrong(Code::UnknownKey, "options.nope"),
            wrong(Code::NotInherited, "user-data"),
        ];
        assert_eq!(problems, expected);
    }
}
