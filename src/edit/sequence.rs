//! Several edits as one change: each is made on what those before it leave, and either all are made or none.
//!
//! An inventory may have 10,000 resources in one file, and a request 1,000 edits of it. So edits that do not depend on
//! each other are settled with the same documents, and put into a file together: changes of resources that there are, and
//! new machines.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    Changes, Done, Edit, Known, NewText, Refusal, Resource, Stopped, Task, Verb, delete, layout, set,
    subject, write,
};
use crate::manifest::{self, Documents, Kind};

/// What edits make of an inventory's files (by path), one after the other.
pub fn apply(files: &BTreeMap<Arc<str>, Bytes>, edits: &[Edit], known: &Known) -> Result<Changes, Stopped> {
    let mut sequence = Sequence {
        files: files.clone(),
        documents: None,
        pending: Vec::new(),
        resources: edits.iter().map(|_| None).collect(),
    };
    for (index, edit) in edits.iter().enumerate() {
        sequence.add(index, edit, known)?;
    }
    sequence.write()?;
    let Sequence { files: texts, resources, .. } = sequence;
    let changed = texts.into_iter().filter(|(path, text)| files.get(path) != Some(text));
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let files = changed
        .map(|(path, after)| NewText { before: files.get(&path).map(text), after: text(&after), path })
        .collect();
    Ok(Changes { files, resources: resources.into_iter().flatten().collect() })
}

struct Sequence {
    /// As the edits that are written leave them.
    files: BTreeMap<Arc<str>, Bytes>,
    /// What `files` say; `None` where that has to be read anew.
    documents: Option<Documents>,
    /// Tasks that were settled with `documents`, each with its edit's place. Each is about another resource, and either
    /// none is a new one or all are new machines.
    pending: Vec<(usize, Task)>,
    /// By edit.
    resources: Vec<Option<Resource>>,
}

impl Sequence {
    fn add(&mut self, index: usize, edit: &Edit, known: &Known) -> Result<(), Stopped> {
        // A new machine that is named follows from its edit alone: its address is for the note about others' like it.
        let is_new_machine = edit.verb == Verb::Create && edit.kind == Kind::Machine && edit.name.is_some();
        // What is found by other means than its name may depend on any resource.
        let stands_alone =
            edit.name.is_some() && edit.deployment_type.is_none() && (edit.mac.is_none() || is_new_machine);
        let is_own = |task: &Task| task.kind == edit.kind && Some(task.name.as_str()) == edit.name.as_deref();
        if !stands_alone || self.pending.iter().any(|(_, task)| is_own(task)) {
            self.write()?;
        }
        let mut task = self.settle(index, edit, known)?;
        let waits = task.home.is_some() || stands_alone && is_new_machine;
        let is_like = |(_, other): &(usize, Task)| other.home.is_some() == task.home.is_some();
        if !(self.pending.is_empty() || waits && self.pending.iter().all(is_like)) {
            self.write()?;
            task = self.settle(index, edit, known)?;
        }
        if waits {
            self.pending.push((index, task));
            return Ok(());
        }
        self.create(index, task)
    }

    fn documents(&mut self) -> &Documents {
        let files = &self.files;
        self.documents.get_or_insert_with(|| manifest::parse(files).0)
    }

    fn settle(&mut self, index: usize, edit: &Edit, known: &Known) -> Result<Task, Stopped> {
        let settled = subject::settle(self.documents(), edit, known);
        if settled.is_err() {
            // The first that can't be made is to be named, and one that is pending may be that.
            self.write()?;
        }
        settled.map_err(|refusal| Stopped { index, refusal })
    }

    fn create(&mut self, index: usize, task: Task) -> Result<(), Stopped> {
        let created = write::create(self.documents(), task.kind, &[&task]);
        let (path, after) = created.map_err(|refusal| Stopped { index, refusal })?;
        self.note(index, task, path.clone(), true);
        self.files.insert(path, after.into());
        self.documents = None;
        Ok(())
    }

    /// Puts new machines into a file together; where that can't be done, one after the other, which finds the one that
    /// can't be made.
    fn create_all(&mut self, tasks: Vec<(usize, Task)>) -> Result<(), Stopped> {
        let all: Vec<&Task> = tasks.iter().map(|(_, task)| task).collect();
        let created = write::create(self.documents(), Kind::Machine, &all);
        let Ok((path, after)) = created else {
            return tasks.into_iter().try_for_each(|(index, task)| self.create(index, task));
        };
        for (index, task) in tasks {
            self.note(index, task, path.clone(), true);
        }
        self.files.insert(path, after.into());
        self.documents = None;
        Ok(())
    }

    /// Puts the pending tasks into the files.
    fn write(&mut self) -> Result<(), Stopped> {
        let pending = std::mem::take(&mut self.pending);
        if pending.first().is_some_and(|(_, task)| task.home.is_none()) {
            return self.create_all(pending);
        }
        let mut by_file: BTreeMap<u32, Vec<(usize, Task)>> = BTreeMap::new();
        for (index, task) in pending {
            by_file.entry(task.home.unwrap_or_default()).or_default().push((index, task));
        }
        for (file, tasks) in by_file {
            let (path, after, changed) = rewritten(self.documents(), file, &tasks)?;
            for ((index, task), is_changed) in tasks.into_iter().zip(changed) {
                self.note(index, task, path.clone(), is_changed);
            }
            self.files.insert(path, after.into());
        }
        self.documents = None;
        Ok(())
    }

    fn note(&mut self, index: usize, task: Task, path: Arc<str>, is_changed: bool) {
        let Task { done, kind, name, notes, .. } = task;
        if let Some(place) = self.resources.get_mut(index) {
            *place = Some(Resource { done, kind, name, path, is_changed, notes });
        }
    }
}

/// A file's path, its text after some tasks, and which of them change it.
fn rewritten(
    documents: &Documents,
    file: u32,
    tasks: &[(usize, Task)],
) -> Result<(Arc<str>, String, Vec<bool>), Stopped> {
    let source = documents.sources.get(file);
    let first = tasks.first().map_or(0, |(index, _)| *index);
    let broken = || Refusal::Broken { file: source.path.to_string() };
    let text = source.text().filter(|_| !documents.unparsed.contains(&file));
    let before = text.ok_or_else(|| Stopped { index: first, refusal: broken() })?;
    if let Some((after, changed)) = together(before, tasks)? {
        return Ok((source.path.shown().clone(), after, changed));
    }
    // One of them can't be followed in this text: the first that can't be, alone.
    let is_tangled =
        |one: &&(usize, Task)| !matches!(together(before, std::slice::from_ref(*one)), Ok(Some(_)));
    let index = tasks.iter().find(is_tangled).map_or(first, |(index, _)| *index);
    Err(Stopped { index, refusal: Refusal::Tangled { file: source.path.to_string() } })
}

/// A text after some tasks, and which of them change it; `None` if it says something else then than was meant.
fn together(before: &str, tasks: &[(usize, Task)]) -> Result<Option<(String, Vec<bool>)>, Stopped> {
    let Some(mut after) = set::settings(before, tasks)? else { return Ok(None) };
    for (_, task) in tasks.iter().filter(|(_, task)| task.done == Done::Delete) {
        let Some(rest) = delete::resource(&after, task.kind, task.name.as_str()) else { return Ok(None) };
        after = rest;
    }
    let own: Vec<_> = tasks.iter().map(|(_, task)| (task.kind, task.name.as_str())).collect();
    let Some(changed) = layout::differing(before, &after, &own) else { return Ok(None) };
    // What says the same is left as it was written.
    let after = if changed.contains(&true) { after } else { before.to_owned() };
    Ok(Some((after, changed)))
}
