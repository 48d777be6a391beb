//! Template variables: what is set, what is wanted, and what nothing uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::profile::Effective;
use super::{Resolver, deployments, listed, unique};
use crate::desired::{Boot, Template};
use crate::manifest::document::{self, Resource};
use crate::manifest::similar::similar;
use crate::manifest::{Code, Field, Mark, Marked, Position, Problem, Value};
use crate::model::{Name, VariableType};
use crate::render::{self, known::is_well_known};

/// A variable that a template or boot uses and a deployment lacks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    Template { template: Name, variable: String },
    Boot { boot: Name, variable: String },
}

impl Resolver<'_> {
    /// The values of a deployment's variables, defaults included. What is wanted and missing
    /// is remembered for one report about all deployments.
    pub(super) fn values(
        &mut self,
        resource: &Resource<document::Deployment>,
        effective: &Effective,
        boot: &Boot,
        templates: [Option<&Arc<Template>>; 2],
    ) -> BTreeMap<String, render::Value> {
        let mut values = BTreeMap::new();
        for template in templates.into_iter().flatten() {
            self.inputs(resource, effective, template, &mut values);
        }
        for (name, field) in &effective.vars {
            // What a disk is like is a table.
            let is_hints = &**name == "disk" && matches!(field.value.value, Value::Table(_));
            if let Some(kind) = known_kind(name).filter(|_| !is_hints) {
                self.typed(name, kind, &field.value, None);
            }
            values.insert(name.to_string(), value(&field.value.value));
        }
        if let Some(template) = templates[0] {
            self.able(effective, boot, template, &values);
        }
        for used in boot.cmdline.iter().flat_map(|word| word.variables()) {
            if !is_well_known(&used.name) && !values.contains_key(&used.name) && effective.whole {
                let want = Want::Boot { boot: boot.name.clone(), variable: used.name.clone() };
                self.lack(want, &resource.name);
            }
            if let Some(field) = effective.vars.get(&*used.name) {
                self.disclosed(boot, &used.name, &field.value);
            }
        }
        values
    }

    fn inputs(
        &mut self,
        resource: &Resource<document::Deployment>,
        effective: &Effective,
        template: &Template,
        values: &mut BTreeMap<String, render::Value>,
    ) {
        for (name, input) in &template.inputs {
            match (effective.vars.get(&**name), &input.default) {
                (Some(field), _) => {
                    let declared = self.documents.templates.get(&template.name);
                    let mark =
                        declared.and_then(|own| Some(own.body.vars.get(&**name)?.value.kind.as_ref()?.mark));
                    self.typed(name, input.kind, &field.value, mark);
                }
                // Of two templates that declare a variable, the first has the word.
                (None, Some(default)) => {
                    values.entry(name.clone()).or_insert_with(|| default.clone());
                }
                (None, None) if is_well_known(name) || !effective.whole => {}
                (None, None) => {
                    let want = Want::Template { template: template.name.clone(), variable: name.clone() };
                    self.lack(want, &resource.name);
                }
            }
        }
    }

    /// Holds values against the declarations of a template whose text has a mistake.
    pub(super) fn declared(&mut self, template: &Name, effective: &Effective) {
        let Some(own) = self.documents.templates.get(template) else { return };
        for (name, variable) in &own.body.vars {
            let kind = variable.value.kind.as_ref().map(|kind| (kind.value, kind.mark));
            if let (Some((kind, mark)), Some(field)) = (kind, effective.vars.get(&**name)) {
                self.typed(name, kind, &field.value, Some(mark));
            }
        }
    }

    fn lack(&mut self, want: Want, deployment: &Name) {
        self.silent += 1;
        let names = self.lacking.entry(want).or_default();
        if names.last() != Some(deployment) {
            names.push(deployment.clone());
        }
    }

    /// Reports a value of another type than its variable, once for each place it is written.
    pub(super) fn typed(
        &mut self,
        name: &str,
        kind: VariableType,
        written: &Marked<Value>,
        declared: Option<Mark>,
    ) {
        let right = matches!(
            (kind, &written.value),
            (VariableType::String, Value::Text(_) | Value::Secret(_))
                | (VariableType::Integer, Value::Integer(_))
                | (VariableType::Boolean, Value::Boolean(_))
                | (VariableType::List, Value::List(_))
                | (VariableType::Table, Value::Table(_))
                | (VariableType::Secret, Value::Secret(_))
        );
        if right {
            return;
        }
        if let (VariableType::Secret, Value::Text(text)) = (kind, &written.value) {
            // An empty text or a locked password gives nothing away.
            if !matches!(&**text, "" | "!" | "!!" | "*") {
                let message = format!("the secret `{name}` stands in clear text");
                self.in_clear(written.mark, &message, "a plain text", declared);
            }
            return;
        }
        self.silent += 1;
        if !self.mistyped.insert(written.mark) {
            return;
        }
        let message =
            format!("the variable `{name}` must be {}, not {}", wanted(kind), found(&written.value));
        let mut problem = Problem::new(
            Code::WrongVariable,
            written.mark,
            message,
            format!("this is {}", found(&written.value)),
        );
        if let Some(declared) = declared {
            problem = problem.also(declared, "declared here");
        }
        if kind == VariableType::Secret {
            problem = problem
                .help("write `{ secret = \"NAME\" }`, and the text itself encrypted as secrets/NAME.age");
        }
        self.problems.push(problem);
    }

    /// Everything about variables that concerns more than one resource.
    pub(super) fn variables(&mut self) {
        self.given();
        self.lacks();
        self.undeclared();
        self.unused();
    }

    /// Variables whose values are this daemon's business.
    fn given(&mut self) {
        let own = |name: &str| is_well_known(name) && known_kind(name).is_none();
        let documents = self.documents;
        let profiles = documents.profiles.values().map(|profile| &profile.body.settings);
        let deployments = documents.deployments.values().map(|deployment| &deployment.body.settings);
        for (name, field) in profiles.chain(deployments).flat_map(|settings| &settings.vars.0) {
            if own(name) {
                let message = format!("the variable `{name}` can't be set");
                let problem =
                    Problem::new(Code::Exclusive, field.key, message, "every deployment has its own value");
                self.problems.push(problem.help("choose another name for your variable"));
            }
        }
    }

    fn lacks(&mut self) {
        for (want, names) in std::mem::take(&mut self.lacking) {
            let problem = match &want {
                Want::Template { template, variable } => self.lacks_template(template, variable, &names),
                Want::Boot { boot, variable } => self.lacks_boot(boot, variable, &names),
            };
            self.problems.extend(problem);
        }
    }

    fn lacks_template(&self, template: &Name, variable: &str, names: &[Name]) -> Option<Problem> {
        let message = format!("template `{template}` uses `{variable}`, which nothing sets");
        let label = format!("no value for {}", deployments(names));
        let problem = match (self.use_in_file(template, variable), self.documents.templates.get(template)) {
            (Some(mark), Some(own)) => {
                let declared = own.body.vars.get(variable)?.mark;
                Problem::new(Code::Unset, mark, message, label)
                    .also(declared, "declared here without a default")
            }
            // Declared and not used in the text: nothing is missed.
            (None, Some(_)) => return None,
            (_, None) => {
                let deployment = self.documents.deployments.get(names.first()?)?;
                Problem::new(Code::Unset, deployment.mark, message, label)
            }
        };
        Some(problem.help(self.set_in(variable, names)))
    }

    fn lacks_boot(&self, boot: &Name, variable: &str, names: &[Name]) -> Option<Problem> {
        let own = self.documents.boots.get(boot)?;
        let word = own.body.cmdline.iter().find(|word| word.value.contains(variable))?;
        let message = format!("the command line of boot `{boot}` uses `{variable}`, which nothing sets");
        let label = format!("no value for {}", deployments(names));
        let problem = Problem::new(Code::Unset, word.mark, message, label);
        let known = render::known::written();
        Some(match similar(variable, known) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(self.set_in(variable, names)),
        })
    }

    /// Where a value would reach all these deployments.
    fn set_in(&self, variable: &str, names: &[Name]) -> String {
        let key = variable.replace('_', "-");
        let profile = |name: &Name| {
            let profile = &self.documents.deployments.get(name)?.body.profile;
            profile.as_ref().map(|profile| profile.value.to_string())
        };
        let profiles = unique(names.iter().filter_map(profile));
        match profiles.first() {
            Some(profile) if profiles.len() == 1 => {
                format!("set `{key}` in `vars` of profile `{profile}` or of the deployment")
            }
            _ => format!("set `{key}` in `vars` of the deployment or of a profile it has"),
        }
    }

    /// Variables a template uses without declaring them.
    fn undeclared(&mut self) {
        let mut templates: Vec<Arc<Template>> = self.templates.values().cloned().collect();
        templates.sort_by(|a, b| a.name.cmp(&b.name));
        for template in templates.into_iter().filter(|template| template.origin.is_some()) {
            let mut reported = BTreeSet::new();
            for used in template.text.variables() {
                let fine = is_well_known(&used.name) || template.inputs.contains_key(&used.name);
                if !fine && reported.insert(used.name.clone()) {
                    self.problems.extend(self.undeclared_one(&template, &used.name));
                }
            }
        }
    }

    fn undeclared_one(&self, template: &Template, variable: &str) -> Option<Problem> {
        let own = self.documents.templates.get(&template.name)?;
        let mark = self.use_in_file(&template.name, variable)?;
        let empty = Vec::new();
        let users = self.users.get(&template.name).unwrap_or(&empty);
        let sets = |name: &&Name| {
            let values = self.desired.deployments.get(*name).map(|deployment| &deployment.values);
            values.is_some_and(|values| values.contains_key(variable))
        };
        let without: Vec<Name> = users.iter().filter(|name| !sets(name)).cloned().collect();
        let set = without.is_empty() && !users.is_empty();
        let (message, label) = if set {
            (
                format!("template `{}` uses `{variable}` without declaring it", template.name),
                "set, but not declared".to_owned(),
            )
        } else if users.is_empty() {
            (
                format!("template `{}` uses `{variable}`, which nothing sets", template.name),
                "no value".to_owned(),
            )
        } else {
            let label = format!("no value for {}", deployments(&without));
            (format!("template `{}` uses `{variable}`, which nothing sets", template.name), label)
        };
        let either = if set { "" } else { " either" };
        let problem = Problem::new(Code::Unset, mark, message, label)
            .also(own.mark, format!("not declared in this template's `vars`{either}"));
        let declared = template.inputs.keys().map(String::as_str);
        let known = render::known::written();
        let near = similar(variable, declared.chain(known));
        let key = variable.replace('_', "-");
        let kind =
            if variable.ends_with("hash") || variable.contains("password") { "secret" } else { "string" };
        let mut help = format!("declare it with `{key} = {{ type = \"{kind}\" }}`");
        if !set {
            help += " and set it in a profile or deployment";
        }
        if let Some(near) = near {
            help += &format!("; a similar variable exists: `{near}`");
        }
        Some(problem.help(help))
    }

    /// Where a template's file first uses a variable.
    fn use_in_file(&self, template: &Name, variable: &str) -> Option<Mark> {
        let file = self.documents.templates.get(template)?.body.file.as_ref()?;
        let number = self.documents.sources.find_beside(file.mark.file, &file.value)?;
        let text = &self.templates.get(template)?.text;
        let used = text.variables().iter().find(|used| used.name == variable)?;
        let range =
            self.documents.sources.get(number).word_at(Position { line: used.line, column: used.column });
        Some(Mark::new(number, range))
    }

    /// Declarations that their template does not use, and values that nothing uses.
    fn unused(&mut self) {
        let documents = self.documents;
        for (name, own) in &documents.templates {
            let Some(template) = self.templates.get(name) else { continue };
            for (variable, declared) in
                own.body.vars.iter().filter(|(variable, _)| !template.text.uses(variable))
            {
                let message = format!("template `{name}` declares `{variable}` and does not use it");
                self.problems.push(Problem::new(
                    Code::Unused,
                    declared.mark,
                    message,
                    "used nowhere in its text",
                ));
            }
        }
        // What could not be read might use anything.
        if self.incomplete()
            || documents.templates.len() != self.templates.values().filter(|own| own.origin.is_some()).count()
        {
            return;
        }
        let used = self.used_names();
        let profiles = documents.profiles.values().map(|own| &own.body.settings);
        let deployments = documents.deployments.values().map(|own| &own.body.settings);
        for (name, field) in profiles.chain(deployments).flat_map(|settings| &settings.vars.0) {
            let reported = self.mistyped.contains(&field.key);
            if !used.contains(&**name) && !is_well_known(name) && !reported {
                self.problems.push(never_used(name, field, &used));
            }
        }
    }

    fn used_names(&self) -> BTreeSet<String> {
        let templates = self.templates.values();
        let declared = templates.clone().flat_map(|template| template.inputs.keys().cloned());
        let texts = templates.flat_map(|template| template.text.variables());
        let words =
            self.desired.boots.values().flat_map(|boot| &boot.cmdline).flat_map(|word| word.variables());
        texts.chain(words).map(|used| used.name.clone()).chain(declared).collect()
    }
}

fn never_used(name: &str, field: &Field, used: &BTreeSet<String>) -> Problem {
    let message = format!("nothing uses the variable `{name}`");
    let own: Vec<&str> = used.iter().map(String::as_str).filter(|name| !is_well_known(name)).collect();
    let near =
        similar(name, own.iter().copied().chain(document::Settings::known().map(|known| -> &str { known })));
    let label = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "no template declares it, no command line uses it".to_owned(),
    };
    let problem = Problem::new(Code::Unused, field.key, message, label);
    match own.is_empty() {
        true => problem,
        false => problem.help(format!("variables of this inventory: {}", listed(own))),
    }
}

/// The type of a generally known variable that manifests may set.
fn known_kind(name: &str) -> Option<VariableType> {
    match name {
        "packages" | "users" | "ssh_keys" => Some(VariableType::List),
        "disk" | "timezone" | "hostname" | "domain" | "user_data" => Some(VariableType::String),
        _ => None,
    }
}

fn wanted(kind: VariableType) -> &'static str {
    match kind {
        VariableType::String => "text",
        VariableType::Integer => "a whole number",
        VariableType::Boolean => "true or false",
        VariableType::List => "a list",
        VariableType::Table => "a table",
        VariableType::Secret => "a secret",
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::List(_) => "a list",
        Value::Table(_) => "a table",
        Value::Secret(_) => "a secret",
        _ => "text",
    }
}

/// A checked value as templates see it.
pub(super) fn value(written: &Value) -> render::Value {
    match written {
        Value::Text(text) => render::Value::String(text.to_string()),
        Value::Integer(number) => render::Value::Integer(*number),
        Value::Boolean(flag) => render::Value::Boolean(*flag),
        Value::List(list) => render::Value::List(list.iter().map(|item| value(&item.value)).collect()),
        Value::Table(table) => {
            let entry = |(key, field): (&Arc<str>, &Field)| (key.to_string(), value(&field.value.value));
            render::Value::Table(table.0.iter().map(entry).collect())
        }
        Value::Secret(name) => render::Value::Secret(name.to_string()),
        // Of `disk`; bytes.
        Value::Size(size) => render::Value::Integer(i64::try_from(size.0).unwrap_or(i64::MAX)),
        // Variables are read as `Shape::Anything`, which yields none of these forms.
        Value::Name(_)
        | Value::Mac(_)
        | Value::Address(_)
        | Value::Address6(_)
        | Value::Auto
        | Value::Cidr(_)
        | Value::Cidr6(_)
        | Value::Range(_)
        | Value::Range6(_)
        | Value::Duration(_)
        | Value::Percent(_)
        | Value::Rate(_)
        | Value::Window(_) => render::Value::String(String::new()),
    }
}
