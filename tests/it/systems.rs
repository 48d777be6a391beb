//! The pages in docs/systems: their tables are made of the code (`UPDATE_GOLDEN=1` writes them anew), and every manifest
//! on them passes `check` as it stands.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use voldemort::render::builtin::{self, Builtin, Input, Sort};
use voldemort::render::{Value, common, installer};

use crate::program::voldemort;

/// What stands for each secret of a page.
const SECRET: &str = include_str!("../golden/inventory/tree/secrets/root-password.age");

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/systems")
}

fn read(page: &str) -> String {
    std::fs::read_to_string(folder().join(page))
        .unwrap_or_else(|error| panic!("docs/systems/{page}: {error}"))
}

/// Puts `content` between `<!-- NAME -->` and the next `<!-- end -->` of a page; the page must be like that already.
fn section(page: &str, name: &str, content: &str) {
    let before = read(page);
    let (head, rest) = before.split_once(&format!("<!-- {name} -->\n")).expect(page);
    let (_, tail) = rest.split_once("<!-- end -->").expect(page);
    let after = format!("{head}<!-- {name} -->\n{content}<!-- end -->{tail}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(folder().join(page), &after).expect("write");
    }
    assert!(
        read(page) == after,
        "the section {name} of docs/systems/{page} is out of date; UPDATE_GOLDEN=1 writes it anew:\n{content}"
    );
}

fn key(name: &str) -> String {
    name.replace('_', "-")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn row(input: &Input) -> String {
    let sort = match input.sort {
        Sort::String => "text",
        Sort::Boolean => "true or false",
        Sort::Integer => "number",
        Sort::List => "list",
        Sort::Secret => "secret",
    };
    let default = match &input.default {
        Value::String(text) if text.is_empty() => String::new(),
        Value::String(text) => format!("`\"{text}\"`"),
        Value::List(items) if items.is_empty() => String::new(),
        Value::List(items) => {
            format!("`[{}]`", items.iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", "))
        }
        other => format!("`{other}`"),
    };
    format!("| `{}` | {sort} | {} | {} |\n", key(input.name), cell(&default), cell(input.meaning))
}

fn template(builtin: &Builtin) -> &'static installer::Template {
    builtin.kind.installer().template.as_ref().expect("built in")
}

#[test]
fn tables_of_variables_are_those_of_the_code() {
    for builtin in builtin::all() {
        let template = template(builtin);
        let mut text = format!("\nproof = {}: {}.\n\n", template.proof, template.proven_by);
        text += "| variable in `vars` | type | default | meaning |\n|---|---|---|---|\n";
        builtin.inputs.iter().for_each(|input| text += &row(input));
        if !template.limits.cannot.is_empty() {
            text += "\nNot carried out, and refused by `check` (V0410):\n\n| variable | why |\n|---|---|\n";
        }
        for unable in template.limits.cannot {
            writeln!(text, "| `{}` | {} |", key(unable.variable), cell(unable.why)).expect("a String");
        }
        section(&format!("{}.md", builtin.name), "variables", &format!("{text}\n"));
    }
}

#[test]
fn the_overview_is_that_of_the_code() {
    let all = builtin::all();
    let names: Vec<&str> = all.iter().map(|builtin| builtin.name).collect();
    let head = format!("\n| variable | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let line = |name: &str, cells: &dyn Fn(&Builtin) -> String| {
        let cells: Vec<String> = all.iter().map(cells).collect();
        format!("| `{}` | {} |\n", key(name), cells.join(" | "))
    };
    let mut common = head;
    for (name, _) in common::known() {
        common +=
            &line(name, &|builtin| if template(builtin).limits.can(name) { "yes" } else { "–" }.to_owned());
    }
    let hints = |builtin: &Builtin| match template(builtin).limits.hints {
        [] => "–".to_owned(),
        hints if hints.len() == common::HINTS.len() => "yes".to_owned(),
        hints => hints.join(", "),
    };
    let cells: Vec<String> = all.iter().map(hints).collect();
    writeln!(common, "| `disk` as a table | {} |", cells.join(" | ")).expect("a String");
    for input in common::inputs() {
        let can = |builtin: &Builtin| {
            let limits = template(builtin).limits;
            match (input.name, limits.can(input.name)) {
                (_, false) => "–".to_owned(),
                ("layout", true) => limits.layouts.join(", "),
                _ => "yes".to_owned(),
            }
        };
        common += &line(input.name, &can);
    }
    section("README.md", "common", &format!("{common}\n"));
    let mut proofs = "\n| template | proof | by |\n|---|---|---|\n".to_owned();
    for builtin in all {
        let template = template(builtin);
        writeln!(proofs, "| {} | {} | {} |", builtin.name, template.proof, template.proven_by)
            .expect("a String");
    }
    section("README.md", "proofs", &format!("{proofs}\n"));
}

#[test]
fn every_manifest_on_the_pages_passes_check() {
    let mut pages: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("docs/systems")
        .map(|entry| entry.expect("entry").path())
        .collect();
    pages.sort();
    let mut blocks = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("UTF-8");
        for block in text.split("```toml\n").skip(1) {
            let manifest = block.split("```").next().expect("a block");
            let root = tempfile::tempdir().expect("folder");
            std::fs::write(root.path().join("site.toml"), manifest).expect("write");
            std::fs::create_dir(root.path().join("secrets")).expect("create");
            for name in manifest.split("{ secret = \"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let path = root.path().join("secrets").join(format!("{name}.age"));
                std::fs::write(path, SECRET).expect("write");
            }
            let ran = voldemort(root.path(), &["check"]);
            let said = format!("{}{}", ran.out, ran.err);
            let fine = ran.code == 0 && said.contains("0 errors") && said.contains("(0 warnings");
            assert!(fine, "{}: {said}\n{manifest}", page.display());
            blocks += 1;
        }
    }
    assert!(blocks >= builtin::all().len(), "each page has one");
}
