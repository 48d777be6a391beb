//! Templates: compiled, with the variables they declare.

use std::sync::Arc;

use super::{Resolver, definition, digest};
use crate::desired::template::{Input, Template};
use crate::manifest::document::{self, Resource};
use crate::manifest::similar::similar;
use crate::manifest::{Code, Mark, Marked, Position, Problem};
use crate::model::{Name, VariableType};
use crate::render::Text;
use crate::render::builtin::{self, Sort};

impl Resolver<'_> {
    pub(super) fn templates(&mut self) {
        let documents = self.documents;
        for resource in documents.templates.values() {
            if let Some(template) = self.compile(resource) {
                self.keep(template);
            }
        }
        for name in std::mem::take(&mut self.earlier.beside.templates) {
            self.template(&name);
        }
    }

    fn keep(&mut self, template: Template) -> Arc<Template> {
        self.digests.templates.insert(template.name.clone(), digest::template(&template));
        let template = self.earlier.template(template);
        self.templates.insert(template.name.clone(), template.clone());
        template
    }

    /// A template of the inventory, else a built-in one.
    pub(super) fn template(&mut self, name: &Name) -> Option<Arc<Template>> {
        if let Some(template) = self.templates.get(name) {
            return Some(template.clone());
        }
        if self.documents.templates.contains_key(name) {
            return None;
        }
        let builtin = builtin::lookup(name.as_str())?;
        let input = |input: &builtin::Input| {
            let kind = match input.sort {
                Sort::String => VariableType::String,
                Sort::Boolean => VariableType::Boolean,
                Sort::Integer => VariableType::Integer,
                Sort::List => VariableType::List,
                Sort::Secret => VariableType::Secret,
            };
            (input.name.to_owned(), Input { kind, default: Some(input.default.clone()) })
        };
        let inputs = builtin.inputs.iter().map(input).collect();
        let template = Template {
            name: name.clone(),
            kind: builtin.kind,
            text: builtin.text().clone(),
            inputs,
            origin: None,
        };
        Some(self.keep(template))
    }

    fn compile(&mut self, resource: &Resource<document::Template>) -> Option<Template> {
        let document::Template { kind, file, vars } = &resource.body;
        let inputs = vars
            .iter()
            .map(|(name, variable)| (name.to_string(), self.input(name, &variable.value)))
            .collect();
        let text = self.text(file.as_ref()?)?;
        Some(Template {
            name: resource.name.clone(),
            kind: kind.as_ref()?.value,
            text,
            inputs,
            origin: Some(self.documents.sources.origin(resource.mark)),
        })
    }

    fn input(&mut self, name: &str, variable: &document::Variable) -> Input {
        let input = definition::input(variable);
        if let Some(default) = &variable.default {
            self.typed(name, input.kind, default, variable.kind.as_ref().map(|kind| kind.mark));
        }
        input
    }

    fn text(&mut self, file: &Marked<Arc<str>>) -> Option<Text> {
        let sources = &self.documents.sources;
        let Some(number) = sources.find_beside(file.mark.file, &file.value) else {
            let message = format!("there is no file `{}` in the inventory", file.value);
            let problem = Problem::new(Code::NoTemplateFile, file.mark, message, "the template's text");
            let source = sources.source(file.mark.file);
            let own = sources.iter().filter(|(number, _)| sources.source(*number) == source);
            let names = own.map(|(_, source)| source.path.inside());
            let problem = match similar(&file.value, names) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help("the path is relative to the inventory's root, whichever file names it"),
            };
            self.problems.push(problem);
            return None;
        };
        let source = sources.get(number);
        let Some(text) = source.text() else {
            let message = format!("the template `{}` is not UTF-8 text", file.value);
            self.problems.push(Problem::new(Code::BadTemplate, file.mark, message, "can't be used"));
            return None;
        };
        match Text::parse(text) {
            Ok(text) => Some(text),
            Err(error) => {
                let range = source.word_at(Position { line: error.line, column: error.column });
                let message = format!("the template `{}` has a mistake", file.value);
                let problem =
                    Problem::new(Code::BadTemplate, Mark::new(number, range), message, error.message);
                self.problems.push(problem.also(file.mark, "used here"));
                None
            }
        }
    }
}
