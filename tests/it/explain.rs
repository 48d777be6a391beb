//! Every page of `voldemort explain` has an example with the mistake and one without.

use std::path::Path;

use voldemort::desired::Media;
use voldemort::manifest::{Code, Level, explain, schema};

use crate::check::checked;

fn codes(code: Code, heading: &str) -> Vec<(Code, Level)> {
    let files = explain::example(code.page(), heading);
    assert!(!files.is_empty(), "{code} has no example {heading}");
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text.trim_end() {
            "(bytes that are not UTF-8)" => std::fs::write(&path, b"# caf\xe9\n").unwrap(),
            "(1 MiB and more, 17 times over)" => std::fs::write(&path, vec![b'#'; 17 << 20]).unwrap(),
            "(the schema of this voldemort)" => {
                std::fs::write(&path, schema::text(&schema::inventory())).unwrap()
            }
            _ => std::fs::write(&path, text).unwrap(),
        }
    }
    // What an example of missing media must not find is not there in any case.
    let media = if code == Code::NoMedia { Media::Required } else { Media::IfPresent };
    let problems = checked(Path::new(root.path()), media).problems;
    problems.into_iter().map(|problem| (problem.code, problem.level)).collect()
}

#[test]
fn examples_do_what_they_say() {
    for &code in Code::ALL {
        let wrong = codes(code, "Wrong:");
        assert!(
            wrong.iter().any(|(found, _)| *found == code),
            "{code} does not show in its example: {wrong:?}"
        );
        let others: Vec<_> =
            wrong.iter().filter(|(found, level)| *found != code && *level != Level::Note).collect();
        assert!(others.is_empty(), "the example of {code} also has {others:?}");
        let right = codes(code, "Right:");
        let left: Vec<_> = right.iter().filter(|(_, level)| *level != Level::Note).collect();
        assert!(left.is_empty(), "the good example of {code} has {left:?}");
    }
}

#[test]
fn codes_read_as_they_print() {
    for &code in Code::ALL {
        assert_eq!(code.to_string().parse(), Ok(code));
        assert!(explain::page(code).starts_with(&format!("{code}: {}", code.title())));
        assert!(explain::list().contains(&code.to_string()));
    }
    assert_eq!("V9999".parse::<Code>(), Err(()));
    assert_eq!("v11".parse::<Code>(), Ok(Code::UnknownKey));
}
