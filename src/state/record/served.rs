//! Deployments as they were last served. Key: the deployment's name. Value: machine (optional), `redeploy`,
//! boot (optional), template (optional), then where it was written: file as people see it, line, column, and since
//! December 2026 the file's source (optional).

use std::sync::Arc;

use super::bytes::{Reader, field, name, number, optional};
use super::{Kind, Record};
use crate::model::{FilePath, Name, Origin};

pub(super) struct Served;

impl Kind for Served {
    const NAME: &'static str = "served";
    type Key = Name;
    type Value = crate::state::Served;

    fn write_key(key: &Name, out: &mut Vec<u8>) {
        out.extend_from_slice(key.as_str().as_bytes());
    }

    fn read_key(bytes: &[u8]) -> Option<Name> {
        name(bytes)
    }

    fn write(value: &crate::state::Served, out: &mut Vec<u8>) {
        let crate::state::Served { machine, redeploy, boot, template, origin } = value;
        let maybe = |name: &Option<Name>, out: &mut Vec<u8>| {
            optional(name.as_ref().map(|name| name.as_str().as_bytes()), out);
        };
        maybe(machine, out);
        number(*redeploy, out);
        maybe(boot, out);
        maybe(template, out);
        field(origin.file.shown().as_bytes(), out);
        number(origin.line.into(), out);
        number(origin.column.into(), out);
        optional(origin.file.source().map(str::as_bytes), out);
    }

    fn read(deployment: Name, bytes: &[u8]) -> Option<Record> {
        let mut reader = Reader(bytes);
        let machine = reader.optional_name()?;
        let redeploy = reader.number()?;
        let (boot, template) = (reader.optional_name()?, reader.optional_name()?);
        let shown = reader.text()?;
        let (line, column) = (reader.number()?.try_into().ok()?, reader.number()?.try_into().ok()?);
        let file = match reader.0.is_empty() {
            true => FilePath::of_former(shown),
            false => file(shown, reader.optional_name()?.as_ref())?,
        };
        let origin = Origin { file, line, column };
        let served = crate::state::Served { machine, redeploy, boot, template, origin };
        Some(Record::Served(deployment, Some(Arc::new(served))))
    }

    fn deletion(deployment: Name) -> Option<Record> {
        Some(Record::Served(deployment, None))
    }
}

/// A file of a source, from what people see.
fn file(shown: &str, source: Option<&Name>) -> Option<FilePath> {
    let Some(source) = source else { return Some(shown.into()) };
    let path = shown.strip_prefix(source.as_str())?.strip_prefix(':')?;
    Some(FilePath::new(Some(source), &path.into()))
}
