//! Template texts: compiled, filled in, within bounds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use voldemort::render::{Text, Value, Values};

use super::{Target, seed};

pub(crate) const TARGET: Target = Target {
    name: "template",
    pace: 100,
    seeds,
    run,
    words: &[
        "{{ ",
        " }}",
        "{% ",
        " %}",
        "{%- ",
        " -%}",
        "{% if ",
        "{% endif %}",
        "{% for a in ",
        "{% endfor %}",
        "{% assign a = ",
        "{% capture a %}",
        "{% endcapture %}",
        "{% raw %}",
        "{% endraw %}",
        "{% case a %}",
        "{% when 1 %}",
        "{% comment %}",
        "{% endcomment %}",
        " | shq",
        " | yaml",
        " | json",
        " | join: ','",
        " | append: a",
        "(1..9999)",
        "forloop.index",
        "users[0].name",
        "['",
        "\u{feff}",
    ],
};

/// Far more than a render's fuel is meant to last.
const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST_RESULT: usize = 16 << 20;

fn seeds() -> Vec<Vec<u8>> {
    let root = super::root();
    let golden = seed::files(&root.join("tests/golden")).into_iter();
    let golden = golden.filter(|(path, _)| path.extension().is_some_and(|end| end == "liquid"));
    let built_in = seed::files(&root.join("templates")).into_iter();
    golden.chain(built_in).map(|(_, bytes)| bytes).collect()
}

/// A value for a name: the same one each time, of any kind.
fn value(name: &str) -> Value {
    let user = || {
        let pairs = [
            ("name", Value::String("ops".into())),
            ("sudo", Value::Boolean(true)),
            ("uid", Value::Integer(7)),
        ];
        Value::Table(pairs.map(|(key, value)| (key.to_owned(), value)).into())
    };
    match name {
        "users" => Value::List(vec![user(), user()]),
        "packages" | "ssh_keys" | "dns" => {
            Value::List(vec![Value::String("a b".into()), Value::String("é'\"\n".into())])
        }
        _ => match name.bytes().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)) % 6 {
            0 => Value::Integer(i64::MIN),
            1 => Value::Boolean(false),
            2 => Value::List(vec![Value::Integer(1), Value::String(String::new())]),
            3 => Value::Table(BTreeMap::from([("a".into(), Value::Secret("s".into()))])),
            4 => Value::Secret("s".into()),
            _ => Value::String("x'y\"$(z)\u{1b}".into()),
        },
    }
}

fn run(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes).into_owned();
    let lines = source.lines().count().max(1) as u32 + 1;
    let start = Instant::now();
    let text = match Text::parse(source.clone()) {
        Ok(text) => text,
        Err(error) => {
            assert!(error.line >= 1 && error.line <= lines && error.column >= 1, "{error} of {lines} lines");
            return;
        }
    };
    let values: Values =
        text.variables().iter().map(|found| (found.name.clone(), value(&found.name))).collect();
    match text.render(&values, &|name| (name == "s").then(|| "hunter2hunter2".to_owned())) {
        Ok(rendered) => assert!(rendered.len() <= LONGEST_RESULT, "{} bytes", rendered.len()),
        Err(error) => {
            assert!(error.line >= 1 && error.line <= lines && error.column >= 1, "{error} of {lines} lines");
            assert!(!error.message.contains("hunter2hunter2"), "a secret is shown: {error}");
        }
    }
    assert!(start.elapsed() < PATIENCE, "it took {:?}", start.elapsed());
    let plain = !source.contains("{{") && !source.contains("{%");
    assert!(
        !plain || text.render(&Values::new(), &|_| None).as_ref() == Ok(&source),
        "a plain text is itself"
    );
}
