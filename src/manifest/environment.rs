//! Environments: `environments/NAME.toml` and everything below `environments/NAME/` change what
//! the rest of an inventory says, for those who ask for that name. Without one they are no part
//! of the inventory.

use std::collections::BTreeSet;

use super::similar::similar;
use super::{Code, Problem};
use crate::model::Name;

/// Where overlays lie, below the inventory's root.
pub const FOLDER: &str = "environments/";

/// The environment an inventory is read for: one of its own, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(Option<Name>);

/// An environment that an inventory does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the inventory has no environment called `{wanted}`; {hint}")]
pub struct NoEnvironment {
    pub wanted: String,
    hint: String,
}

impl Environment {
    /// The inventory without any overlay.
    pub fn base() -> Environment {
        Environment(None)
    }

    /// The environment of this name among the files at `paths`; none without a name.
    pub fn choose<'a>(
        paths: impl Iterator<Item = &'a str>,
        wanted: Option<&str>,
    ) -> Result<Environment, NoEnvironment> {
        let Some(wanted) = wanted else { return Ok(Environment::base()) };
        let all = Environment::all(paths);
        if let Some(found) = all.iter().find(|one| one.name().is_some_and(|name| name.as_str() == wanted)) {
            return Ok(found.clone());
        }
        let names: Vec<&str> = all.iter().filter_map(|one| one.name()).map(Name::as_str).collect();
        let hint = match similar(wanted, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("one begins with a file {FOLDER}NAME.toml"),
            None => format!("it has: {}", names.join(", ")),
        };
        let wanted = wanted.chars().flat_map(char::escape_debug).take(80).collect();
        Err(NoEnvironment { wanted, hint })
    }

    /// Every environment among the files of an inventory, by name.
    pub fn all<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<Environment> {
        let names: BTreeSet<Name> = paths.filter_map(|path| part(path)?.parse().ok()).collect();
        names.into_iter().map(|name| Environment(Some(name))).collect()
    }

    pub fn name(&self) -> Option<&Name> {
        self.0.as_ref()
    }

    /// Whether a manifest at this path is one of this environment's overlays.
    pub fn owns(&self, path: &str) -> bool {
        self.0.as_ref().is_some_and(|name| part(path) == Some(name.as_str()))
    }
}

/// `prod` of `environments/prod.toml` and of `environments/prod/web/a.toml`; `None` for what is
/// no overlay.
pub fn part(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(FOLDER).filter(|_| super::is_manifest(path))?;
    Some(rest.split_once('/').map_or_else(|| rest.trim_end_matches(".toml"), |(folder, _)| folder))
}

/// An overlay that can't be chosen, because its name is invalid.
pub(super) fn unnameable(part: &str, file: u32) -> Option<Problem> {
    let error = part.parse::<Name>().err()?;
    let message = format!("an environment can't be called `{}`", super::checker::plain(part));
    let mark = super::Mark::new(file, 0..0);
    let problem = Problem::new(Code::BadName, mark, message, error.to_string());
    Some(problem.help("rename the file, or its folder below `environments`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_environments() {
        assert_eq!(part("environments/prod.toml"), Some("prod"));
        assert_eq!(part("environments/prod/a/b.toml"), Some("prod"));
        for other in ["environments.toml", "environments/prod/motd.liquid", "a/environments/prod.toml"] {
            assert_eq!(part(other), None, "{other}");
        }
    }

    #[test]
    fn unknown_names_get_a_hint() {
        let some = ["environments/prod.toml", "environments/staging/x.toml", "a.toml"];
        let choose = |paths: &[&'static str], wanted| Environment::choose(paths.iter().copied(), wanted);
        assert_eq!(choose(&some, None), Ok(Environment::base()));
        assert_eq!(choose(&some, Some("prod")).unwrap().name().unwrap().as_str(), "prod");
        let why = |paths: &[&'static str], wanted| choose(paths, Some(wanted)).unwrap_err().to_string();
        assert!(why(&some, "stagin").ends_with("did you mean `staging`?"));
        assert!(why(&some, "x").ends_with("it has: prod, staging"));
        assert!(why(&["a.toml"], "prod").ends_with("begins with a file environments/NAME.toml"));
    }
}
