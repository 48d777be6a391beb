//! Every kind is held to its description, also one that is added tomorrow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::{Kind, Mention};
use crate::manifest::parse::parse_in;
use crate::manifest::shape::{Addition, Form, Shape};
use crate::manifest::{Documents, Environment, Fields, Problem, parse};

/// A value that has this shape, as TOML.
fn sample(shape: &Shape) -> String {
    match shape {
        Shape::Text(form) => format!("\"{}\"", text(form)),
        Shape::Integer(least) => least.to_string(),
        Shape::Boolean => "true".to_owned(),
        Shape::List(inner) | Shape::Several(inner) => format!("[{}]", sample(inner)),
        Shape::Table(fields) | Shape::TextOr(fields) => format!("{{ {} }}", settings(fields, ", ")),
        Shape::Map(inner) | Shape::Variables(inner) => format!("{{ own = {} }}", sample(inner)),
        Shape::Selector => "{ size = \"small\" }".to_owned(),
        Shape::Anything | Shape::Secret => "{ secret = \"hush\" }".to_owned(),
    }
}

fn text(form: &Form) -> &str {
    match form {
        Form::Any | Form::ClientId => "text",
        Form::HostName => "web.example.org",
        Form::Name(_) => "other",
        Form::Mac => "52:54:00:00:00:01",
        Form::Address => "10.0.10.1",
        Form::Address6 => "fd00:10::1",
        Form::AddressOrAuto => "auto",
        Form::Cidr => "10.0.10.0/24",
        Form::Cidr6 => "fd00:10::/64",
        Form::Range => "10.0.10.100-10.0.10.199",
        Form::Range6 => "fd00:10::1000-fd00:10::1fff",
        Form::Duration => "8h",
        Form::Size => "16 GiB",
        Form::Percent => "30%",
        Form::Rate => "4/h",
        Form::Window => "Mon-Fri 22:00-05:00 Europe/Berlin",
        Form::Sha256 => "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        Form::Uuid => "0c4de9a0-1f41-4c8d-9f3e-2d8c7a2b6e11",
        Form::Url => "https://10.0.99.1",
        Form::Endpoint => "10.0.99.1",
        Form::Path | Form::File => "folder/file",
        Form::Segment => "ipxe.efi",
        Form::Choice(choices) => choices[0],
    }
}

fn settings(fields: &Fields, between: &str) -> String {
    let settings = fields.keys.iter().map(|key| format!("{} = {}", key.name, sample(&key.shape)));
    settings.collect::<Vec<_>>().join(between)
}

/// A resource called `sample` with every setting of its kind.
fn full(kind: Kind) -> String {
    format!("[{}.sample]\n{}\n", kind.name(), settings(kind.fields(), "\n"))
}

fn files(texts: &[(&str, &str)]) -> BTreeMap<Arc<str>, Bytes> {
    texts.iter().map(|(path, text)| (Arc::from(*path), Bytes::from((*text).to_owned()))).collect()
}

fn read(text: &str) -> (Documents, Vec<Problem>) {
    parse(&files(&[("a.toml", text)]))
}

fn read_prod(files: &BTreeMap<Arc<str>, Bytes>) -> (Documents, Vec<Problem>) {
    parse_in(files, &Environment::choose(files.keys().map(|path| &**path), Some("prod")).unwrap())
}

#[test]
fn names_are_those_of_headers_and_of_the_api() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name()), Some(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        let names: BTreeSet<&str> = kind.fields().keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), kind.fields().keys.len(), "{kind:?} has two settings of one name");
    }
}

#[test]
fn every_setting_is_read_and_what_it_mentions_is_seen() {
    for kind in Kind::ALL {
        let (documents, problems) = read(&full(kind));
        assert_eq!(problems, [], "{}", full(kind));
        assert!(documents.of(kind).mark(&"sample".parse().unwrap()).is_some(), "{kind:?}");
        let (mut names, mut selectors, mut options) = (Vec::new(), 0, 0);
        documents.of(kind).mentions(&mut |_, mention| match mention {
            Mention::Name(kind, name) => names.push((kind, name.value.to_string())),
            Mention::Selector(_) => selectors += 1,
            Mention::Options(found) => options += found.len(),
            Mention::Value(_) | Mention::Variables(_) => {}
        });
        let keys = kind.fields().keys;
        let described = keys.iter().filter_map(|key| Some((key.shape.names()?, "other".to_owned())));
        assert_eq!(names, described.collect::<Vec<_>>(), "{kind:?}");
        assert_eq!(selectors, usize::from(kind.selects()), "{kind:?}");
        assert_eq!(options, keys.iter().filter(|key| key.name == "options").count(), "{kind:?}");
    }
}

#[test]
fn a_lacking_setting_is_reported_and_an_environment_may_leave_it_out() {
    for kind in Kind::ALL {
        let (_, problems) = read(&format!("[{}.sample]\n", kind.name()));
        let needs = kind.fields().keys.iter().any(|key| key.required) || !kind.fields().either.is_empty();
        assert_eq!(problems.is_empty(), !needs, "{kind:?}: {problems:?}");
        let over = format!("[{}.sample]\n", kind.name());
        let base = full(kind);
        let both = files(&[("a.toml", &base), ("environments/prod/a.toml", &over)]);
        let (documents, problems) = read_prod(&both);
        assert_eq!(problems, [], "{kind:?}");
        assert!(documents.of(kind).mark(&"sample".parse().unwrap()).is_some(), "{kind:?}");
    }
}

#[test]
fn an_environment_adds_what_its_kind_says() {
    for kind in Kind::ALL {
        let (documents, problems) = read_prod(&files(&[("environments/prod/a.toml", &full(kind))]));
        let is_new = !matches!(kind.fields().addition, Addition::Named(_));
        assert_eq!(documents.of(kind).headers().count(), usize::from(is_new), "{kind:?}");
        assert_eq!(problems.is_empty(), is_new, "{kind:?}: {problems:?}");
    }
}

/// A table with a header of its own may be all that a resource has: it is no dotted name.
#[test]
fn a_resource_of_one_part_is_read() {
    for kind in Kind::ALL {
        for key in kind.fields().keys.iter().filter(|key| key.shape.is_table()) {
            let text = format!("[{}.sample.{}]\n", kind.name(), key.name);
            let (documents, _) = read(&text);
            assert!(documents.unread.is_empty(), "{text}");
        }
    }
    let (documents, problems) = read("[machine.web-1.example]\nmac = \"52:54:00:00:00:01\"\n");
    assert_eq!((documents.unread.len(), problems.len()), (1, 1));
}
