//! `contexts.toml`: the daemons that a user works with, each with its address and its token.
//!
//! The file is `$XDG_CONFIG_HOME/voldemort/contexts.toml`, else `~/.config/voldemort/contexts.toml`. It may hold
//! tokens, so it is used only if it belongs to the user and nobody else can read it. What a context holds
//! is sent to that context's own address and to no other.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::api::client::Trust;

/// One daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Context {
    /// As `--server` takes it.
    pub server: String,
    /// The file with its token; a relative path begins at the folder of `contexts.toml`.
    pub token_file: Option<PathBuf>,
    /// The token itself.
    pub token: Option<String>,
    /// The authority that its certificate is of: PEM text, or the path of such a file.
    pub ca: Option<String>,
}

/// The file, and what it says.
#[derive(Debug)]
pub struct Contexts {
    path: PathBuf,
    document: DocumentMut,
    said: Said,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    current: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, Context>,
}

/// Longer files are not read.
const LIMIT: u64 = 1 << 20;

/// Where the file is; `None` where the user has no home.
fn place() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("voldemort/contexts.toml"))
}

impl Contexts {
    /// Reads the user's file; one that does not exist has no contexts.
    ///
    /// # Errors
    /// The file is damaged, readable by others, or of another user; with its path and what to do.
    pub fn open() -> Result<Contexts, String> {
        let path =
            place().ok_or("there is no place for contexts: neither XDG_CONFIG_HOME nor HOME is set")?;
        Contexts::read(path)
    }

    /// The same, and nothing where there is no home.
    pub fn open_if_any() -> Result<Option<Contexts>, String> {
        place().map(Contexts::read).transpose()
    }

    fn read(path: PathBuf) -> Result<Contexts, String> {
        let text = match File::open(&path) {
            Ok(file) => private(&path, file)?,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                String::new()
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let damaged = |line: usize, why: &str| {
            let file = path.display();
            format!("{file}:{line}: {why}; correct the file, or name the daemon with --server")
        };
        let line = |at: Option<std::ops::Range<usize>>| {
            at.and_then(|at| text.get(..at.start)).map_or(1, |before| before.matches('\n').count() + 1)
        };
        // The messages alone: the lines that a full report would quote may hold a token.
        let document: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| damaged(line(error.span()), error.message()))?;
        let said: Said =
            toml::from_str(&text).map_err(|error| damaged(line(error.span()), error.message()))?;
        for (name, context) in &said.context {
            check_name(name).map_err(|why| damaged(1, &why))?;
            if context.token.is_some() && context.token_file.is_some() {
                return Err(damaged(1, &format!("[context.{name}] has both token and token-file")));
            }
        }
        Ok(Contexts { path, document, said })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of them, by name.
    pub fn all(&self) -> &BTreeMap<String, Context> {
        &self.said.context
    }

    /// The one that is used where a command names none.
    pub fn current(&self) -> Option<&str> {
        self.said.current.as_deref()
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of that name; with those that there are.
    pub fn get(&self, name: &str) -> Result<&Context, String> {
        self.said.context.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.said.context.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("there is no context `{name}` in {}; there is {known}", self.path.display())
        })
    }

    /// Adds or replaces one. What the file says besides stays as it is.
    ///
    /// # Errors
    /// The name is not usable.
    pub fn put(&mut self, name: &str, context: Context) -> Result<(), String> {
        check_name(name)?;
        if !self.document.contains_table("context") {
            let mut all = Table::new();
            all.set_implicit(true);
            self.document.insert("context", Item::Table(all));
        }
        if !self.document["context"].get(name).is_some_and(Item::is_table_like) {
            self.document["context"][name] = Item::Table(Table::new());
        }
        let table = &mut self.document["context"][name];
        let file = context.token_file.as_ref().map(|path| path.display().to_string());
        let rows = [
            ("server", Some(&context.server)),
            ("token-file", file.as_ref()),
            ("token", context.token.as_ref()),
            ("ca", context.ca.as_ref()),
        ];
        for (key, text) in rows {
            match text {
                Some(text) => table[key] = value(text),
                None => drop(table.as_table_like_mut().and_then(|table| table.remove(key))),
            }
        }
        self.said.context.insert(name.to_owned(), context);
        Ok(())
    }

    /// Takes one away; it is not the current one any more. False if there was none.
    pub fn remove(&mut self, name: &str) -> bool {
        if self.current() == Some(name) {
            self.set_current(None);
        }
        if let Some(all) = self.document.get_mut("context").and_then(Item::as_table_like_mut) {
            all.remove(name);
        }
        self.said.context.remove(name).is_some()
    }

    /// Which one is used where a command names none.
    pub fn set_current(&mut self, name: Option<&str>) {
        match name {
            Some(name) => self.document["current"] = value(name),
            None => drop(self.document.remove("current")),
        }
        self.said.current = name.map(str::to_owned);
    }

    /// Writes the file, for this user alone; readers see the old or the new one.
    ///
    /// # Errors
    /// It can't be written; with its path.
    pub fn save(&self) -> Result<(), String> {
        // A link stays one.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let folder = path.parent().unwrap_or(Path::new("/"));
        let part = folder.join(format!(".contexts.toml.{}", std::process::id()));
        let write = || {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            let _ = std::fs::remove_file(&part);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            file.write_all(self.document.to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, &path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&part);
            format!("can't write {}: {error}", path.display())
        })
    }

    /// Which servers one of these contexts trusts.
    ///
    /// # Errors
    /// The file that it names can't be read, or holds no certificate.
    pub fn trust(&self, name: &str, context: &Context) -> Result<Trust, String> {
        let Some(ca) = &context.ca else { return Ok(Trust::Usual) };
        let cure = format!("`voldemortctl login {}` pins the daemon's authority anew", context.server);
        if ca.contains("-----BEGIN") {
            return Trust::pinned(ca).map_err(|why| format!("context {name}: its ca: {why}: {cure}"));
        }
        let file = self.path.parent().unwrap_or(Path::new("/")).join(ca);
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string());
        text.and_then(|text| Trust::pinned(&text))
            .map_err(|why| format!("context {name}: its ca {}: {why}: {cure}", file.display()))
    }

    /// The token of one of these contexts, if it has one.
    ///
    /// # Errors
    /// The file that it names can't be read.
    pub fn token(&self, name: &str, context: &Context) -> Result<Option<String>, String> {
        let Some(file) = &context.token_file else { return Ok(context.token.clone()) };
        let file = self.path.parent().unwrap_or(Path::new("/")).join(file);
        let cure = format!("write it, or change the context with `voldemortctl context set {name}`");
        let text = std::fs::read_to_string(&file).map_err(|error| {
            format!("context {name}: its token-file {} can't be read ({error}): {cure}", file.display())
        })?;
        match text.trim() {
            "" => Err(format!("context {name}: its token-file {} is empty: {cure}", file.display())),
            token => Ok(Some(token.to_owned())),
        }
    }
}

/// The text of a file that only this user can read and change.
fn private(path: &Path, file: File) -> Result<String, String> {
    let shown = path.display();
    let say = |error: std::io::Error| format!("{shown}: {error}");
    let found = file.metadata().map_err(say)?;
    let user = nix::unistd::getuid().as_raw();
    if !found.is_file() {
        return Err(format!("{shown} is no regular file"));
    }
    if found.uid() != user {
        let owner = found.uid();
        return Err(format!(
            "{shown} belongs to user {owner}, and you are user {user}: it is not used. \
             `chown {user} {shown}`, or name the daemon with --server"
        ));
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown} has mode {:04o}: others can read the tokens in it, so it is not used. `chmod 600 {shown}`, \
             and revoke tokens that others may have seen",
            found.mode() & 0o7777
        ));
    }
    let mut text = String::new();
    file.take(LIMIT + 1).read_to_string(&mut text).map_err(say)?;
    match text.len() as u64 > LIMIT {
        true => Err(format!("{shown} is longer than 1 MiB: it is no list of contexts")),
        false => Ok(text),
    }
}

/// Refuses names that a shell or a table would not take as one word.
fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let starts = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    match starts && name.len() <= 128 && name.bytes().all(fits) {
        true => Ok(()),
        false => Err(format!(
            "`{}` is no name of a context: it has letters, digits, `.`, `-`, `_` and `:`, and begins with a letter or digit",
            name.escape_debug()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn written(text: &str, mode: u32) -> (tempfile::TempDir, Result<Contexts, String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let read = Contexts::read(path);
        (folder, read)
    }

    const TWO: &str = "# mine\ncurrent = 'lab'\n\n[context.lab] # the rack\nserver = 'lab:12345'\ntoken = 'vdm_secret'\n\n[context.prod]\nserver = 'prod:12345'\ntoken-file = 'prod.token'\n";

    #[test]
    fn what_it_says_is_read_and_the_rest_of_the_file_stays() {
        let (folder, read) = written(TWO, 0o600);
        let mut contexts = read.unwrap();
        assert_eq!(
            (contexts.current(), contexts.get("lab").unwrap().server.as_str()),
            (Some("lab"), "lab:12345")
        );
        assert!(contexts.get("nope").unwrap_err().ends_with("there is lab, prod"));
        let prod = contexts.get("prod").unwrap().clone();
        let missing = contexts.token("prod", &prod).unwrap_err();
        assert!(missing.contains("context prod: its token-file") && missing.contains("context set prod"));
        std::fs::write(folder.path().join("prod.token"), "vdm_1\n").unwrap();
        assert_eq!(contexts.token("prod", &prod).unwrap().as_deref(), Some("vdm_1"));
        contexts.put("new.example:1", Context { server: "new:1".into(), ..Context::default() }).unwrap();
        assert!(contexts.remove("lab") && !contexts.remove("lab"));
        contexts.save().unwrap();
        let text = std::fs::read_to_string(contexts.path()).unwrap();
        assert!(
            text.contains("[context.prod]\nserver = 'prod:12345'") && !text.contains("current"),
            "{text}"
        );
        let again = Contexts::read(contexts.path().to_owned()).unwrap();
        assert_eq!((again.all().len(), again.current()), (2, None));
        assert_eq!(std::fs::metadata(contexts.path()).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_read_or_that_is_damaged_is_refused_without_its_tokens() {
        for mode in [0o640, 0o604, 0o660, 0o622] {
            let why = written(TWO, mode).1.unwrap_err();
            assert!(why.contains("chmod 600") && why.contains(&format!("{mode:04o}")), "{why}");
        }
        for (text, wanted) in [
            ("[context.a]\nserver = 'x:1'\ntoken = vdm_secret\n", "contexts.toml:3: "),
            ("[context.a]\nserver = 'x:1'\nkoten = 'vdm_secret'\n", "unknown field `koten`"),
            ("[context.a]\ntoken = 'vdm_secret'\n", "missing field `server`"),
            ("[context.'a b']\nserver = 'x:1'\ntoken = 'vdm_secret'\n", "is no name of a context"),
            (
                "[context.a]\nserver = 'x:1'\ntoken = 'vdm_secret'\ntoken-file = 'b'\n",
                "both token and token-file",
            ),
        ] {
            let why = written(text, 0o600).1.unwrap_err();
            assert!(why.contains(wanted) && !why.contains("vdm_secret") && why.contains("--server"), "{why}");
        }
    }

    #[test]
    fn no_file_is_no_contexts_and_is_made_for_the_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/contexts.toml");
        let mut contexts = Contexts::read(path.clone()).unwrap();
        contexts.put("a", Context { server: "12345".into(), ..Context::default() }).unwrap();
        contexts.set_current(Some("a"));
        contexts.save().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(Contexts::read(path).unwrap().current(), Some("a"));
    }
}
