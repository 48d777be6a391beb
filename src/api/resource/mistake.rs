//! What is wrong with manifests, for programs: every error names its rule and its place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EditPlace;
use crate::manifest::{Mark, Problem, Sources};

/// One error of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestProblem {
    /// As `voldemort check` prints it, and `voldemort explain` explains it: `V0011`; `unusable` where the manifests
    /// themselves are not what is wrong.
    pub code: String,
    /// The file, from the inventory's root; with several sources behind the name of its own. Null where no line is
    /// to blame, as the three below.
    pub path: Option<String>,
    /// From 1.
    pub line: Option<u32>,
    /// From 1, in characters.
    pub column: Option<u32>,
    /// A sentence without a full stop.
    pub message: String,
    /// Which of several edits it is about, where one of them is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<EditPlace>,
}

impl ManifestProblem {
    /// An error at its first place.
    pub fn of(problem: &Problem, sources: &Sources) -> ManifestProblem {
        let Mark { file, start, .. } = problem.mark();
        let source = sources.get(file);
        let place = source.position(start as usize);
        ManifestProblem {
            code: problem.code.to_string(),
            path: Some(source.path.to_string()),
            line: Some(place.line),
            column: Some(place.column),
            message: problem.message.clone(),
            edit: None,
        }
    }

    /// What stands against manifests without being a mistake in them.
    pub fn elsewhere(why: &str) -> ManifestProblem {
        let (path, line, column, edit) = (None, None, None, None);
        ManifestProblem { code: "unusable".into(), path, line, column, message: why.to_owned(), edit }
    }
}
