//! Boots: files found in their images, path prefixes apart, command lines compiled.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Media, Resolver, digest, listed};
use crate::desired::boot::{AGENT_INITRD, Boot, File, OWN_PREFIXES};
use crate::manifest::document::{self, Resource};
use crate::manifest::similar::similar;
use crate::manifest::{Code, Level, Mark, Marked, Problem};
use crate::media::{Entry, Index, MediaError, Parts, is_url};
use crate::model::{Cpu, FilePath, Name};
use crate::render::Text;

impl Resolver<'_> {
    pub(super) fn boots(&mut self) {
        let mut prefixes: HashMap<Arc<str>, (Name, Mark)> = HashMap::new();
        let documents = self.documents;
        let mut boots: Vec<_> = documents.boots.values().collect();
        boots.sort_by_key(|resource| resource.mark);
        for resource in boots {
            let (prefix, mark) = prefix(resource);
            match prefixes.get(&prefix) {
                Some((other, first)) => self.problems.push(taken(resource, &prefix, mark, other, *first)),
                None => {
                    self.reserved_prefix(resource, &prefix, mark);
                    prefixes.insert(prefix.clone(), (resource.name.clone(), mark));
                }
            }
            if let Some(boot) = self.load(resource, prefix) {
                let sha256 = resource.body.iso.as_ref().and_then(|iso| iso.sha256.as_ref());
                let file = resource.body.iso.as_ref().and_then(document::Iso::source);
                let digest =
                    digest::boot(&boot, file.map(|file| &*file.value), sha256.map(|sha256| &*sha256.value));
                self.digests.boots.insert(boot.name.clone(), digest);
                let boot = self.earlier.boot(boot, digest);
                self.desired.boots.insert(boot.name.clone(), boot);
            }
        }
    }

    fn reserved_prefix(&mut self, resource: &Resource<document::Boot>, prefix: &str, mark: Mark) {
        if !OWN_PREFIXES.iter().any(|own| own.eq_ignore_ascii_case(prefix)) {
            return;
        }
        let message = format!("boot `{}` can't be served below `/{prefix}/`", resource.name);
        let problem = Problem::new(Code::Prefix, mark, message, "the daemon serves its own files there");
        self.problems.push(problem.help(match &resource.body.iso {
            Some(_) => format!("set another `prefix` in its `iso`; taken are: {}", OWN_PREFIXES.join(", ")),
            None => format!("give the boot another name; taken are: {}", OWN_PREFIXES.join(", ")),
        }));
    }

    fn load(&mut self, resource: &Resource<document::Boot>, prefix: Arc<str>) -> Option<Boot> {
        let document::Boot { iso, kernel, initrd, modules, cmdline, arch, loader, memory: _ } =
            &resource.body;
        let tree = iso.as_ref().map(|iso| self.image(iso));
        let mut file = |path: &Marked<Arc<str>>| {
            let entry = match (&tree, iso) {
                (Some(tree), Some(iso)) => self.in_image(path, tree.as_deref(), iso),
                _ => self.loose(path),
            };
            File { path: path.value.clone(), entry }
        };
        let kernel = file(kernel.as_ref()?);
        let initrd = initrd.iter().map(&mut file).collect();
        let modules: Vec<File> = modules.iter().map(file).collect();
        let cpu = arch.as_ref().map_or(Cpu::X86_64, |arch| arch.value);
        Some(Boot {
            name: resource.name.clone(),
            prefix,
            agent: self.agent(resource, cpu, &kernel, &modules),
            kernel,
            initrd,
            modules,
            cmdline: cmdline.iter().filter_map(|word| self.word(word)).collect(),
            cpu,
            loader: super::machine::loader(loader),
            tree: tree.flatten(),
            origin: self.documents.sources.origin(resource.mark),
        })
    }

    /// The initrd of the agent, for a boot with the modules of its kernel.
    fn agent(
        &mut self,
        resource: &Resource<document::Boot>,
        cpu: Cpu,
        kernel: &File,
        modules: &[File],
    ) -> Option<File> {
        let first = resource.body.modules.first()?;
        let found = |file: &File| Some((file.path.clone(), file.entry.clone()?));
        let modules: Option<Vec<_>> = modules.iter().map(found).collect();
        let parts = found(kernel).zip(modules);
        let missing = File { path: AGENT_INITRD.into(), entry: None };
        // What is not there was said already.
        let Some((kernel, modules)) = parts else { return Some(missing) };
        let parts = Parts { boot: resource.name.as_str().into(), cpu, kernel, modules };
        match self.library.agent(&parts, self.options.media == Media::Required) {
            Ok(entry) => Some(File { entry, ..missing }),
            Err(error) => {
                let named = resource.body.modules.iter().chain(&resource.body.kernel);
                let path = error.path().to_str().unwrap_or_default();
                let at = named.into_iter().find(|name| &*name.value == path).unwrap_or(first);
                self.unusable(path, at.mark, &error);
                Some(missing)
            }
        }
    }

    fn image(&mut self, iso: &document::Iso) -> Option<Arc<Index>> {
        let file = self.source(iso)?;
        let sha256 = iso.sha256.as_ref();
        let sha256_text = sha256.map(|sha256| &*sha256.value);
        match self.own_or_shared(file, |path| self.library.image(path, sha256_text)) {
            Ok(index) => Some(index),
            Err(error) => {
                let mark = match (&error, sha256) {
                    (MediaError::Checksum { .. }, Some(sha256)) => sha256.mark,
                    _ => file.mark,
                };
                self.unusable(&file.value, mark, &error);
                let is_note = self.options.media == Media::IfPresent;
                if let Some(note) = self.problems.last_mut().filter(|_| is_note && is_missing(&error)) {
                    note.help.push(
                        "`voldemort iso inspect IMAGE --lock INVENTORY` writes a list of the image's names to commit: \
                         `check` reads it where the image is missing"
                            .to_owned(),
                    );
                }
                None
            }
        }
    }

    /// The image's file or address, of which there must be one. That there is any has been checked.
    fn source<'i>(&mut self, iso: &'i document::Iso) -> Option<&'i Marked<Arc<str>>> {
        let problem = match (&iso.file, &iso.url, &iso.sha256) {
            (_, None, _) => return iso.source(),
            (None, Some(url), Some(_)) if is_url(&url.value) => return iso.source(),
            (None, Some(url), Some(_)) => {
                let message = format!("no image can be fetched from `{}`", url.value);
                Problem::new(Code::BadText, url.mark, message, "an address begins with https:// or http://")
            }
            (Some(file), Some(url), _) => {
                let message = "this image has both `file` and `url`";
                Problem::new(Code::Exclusive, url.mark, message, "it is not known which one counts")
                    .also(file.mark, "the file is named here")
                    .help("leave one of them out")
            }
            (None, Some(url), None) => {
                let message = "an image that is fetched needs its `sha256`";
                Problem::new(Code::MissingKey, url.mark, message, "nothing vouches for what comes from there")
                    .help("set `sha256` to the digest that its makers publish")
            }
        };
        self.problems.push(problem);
        None
    }

    fn loose(&mut self, path: &Marked<Arc<str>>) -> Option<Entry> {
        match self.own_or_shared(path, |path| self.library.file(path)) {
            Ok(entry) => Some(self.full(path, entry)),
            Err(error) => {
                match near(&path.value, &error) {
                    // Its folder is there, so the file would be too.
                    Some(near) => {
                        let message = format!("`{}` was not found", path.value);
                        let label = format!("did you mean `{near}`?");
                        self.media_problem(Problem::new(Code::NoMedia, path.mark, message, label));
                    }
                    None => self.unusable(&path.value, path.mark, &error),
                }
                None
            }
        }
    }

    /// A file of the source that names it, or one that lies beside all sources.
    fn own_or_shared<T>(
        &self,
        path: &Marked<Arc<str>>,
        open: impl Fn(&str) -> Result<T, MediaError>,
    ) -> Result<T, MediaError> {
        if let Some(source) = self.documents.sources.source(path.mark.file) {
            match open(FilePath::new(Some(source), &path.value).shown()) {
                Err(MediaError::Missing { .. }) => {}
                found => return found,
            }
        }
        open(&path.value)
    }

    fn missing(&self, name: &str, mark: Mark, error: &MediaError) -> Problem {
        let message = format!("`{name}` was not found");
        match self.options.media {
            Media::IfPresent if is_url(name) => {
                let problem = Problem::new(Code::NoMedia, mark, message, "checked without it");
                problem.level(Level::Note).help(
                    "the daemon fetches it; `voldemort media add` brings it here, and `--media DIR` names its folder",
                )
            }
            Media::IfPresent => {
                let problem = Problem::new(Code::NoMedia, mark, message, "checked without it");
                let problem = problem.level(Level::Note);
                match near(name, error) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help("`--with-media` makes this an error"),
                }
            }
            _ => Problem::new(Code::NoMedia, mark, message, error.to_string()).help(
                "put the file into the inventory or into a folder of `[media] paths` of the daemon's file, \
                 or correct its name",
            ),
        }
    }

    fn unusable(&mut self, name: &str, mark: Mark, error: &MediaError) {
        let problem = match error {
            MediaError::Missing { .. } => self.missing(name, mark, error),
            MediaError::Outside { target, .. } => {
                let message = format!("`{name}` is a link that leads out of the inventory");
                let problem = Problem::new(Code::NoMedia, mark, message, format!("to {}", target.display()))
                    .help("name the folder that it leads to in `[media] paths` of the daemon's file");
                match self.options.media {
                    Media::IfPresent => problem.level(Level::Note).note("checked without it"),
                    _ => problem,
                }
            }
            MediaError::Busy { .. } => {
                let message = format!("`{name}` is still being read");
                Problem::new(Code::NoMedia, mark, message, "its content is not known yet")
                    .help("wait: the daemon continues by itself when it was read")
            }
            MediaError::Checksum { expected: _, found, .. } => {
                let message = format!("`{name}` is not the image this boot asks for");
                Problem::new(Code::BadMedia, mark, message, "another image has this digest")
                    .note(format!("the digest of the image that was found is {found}"))
                    .help("download the image again; or, if the new one is meant, correct `sha256`")
            }
            MediaError::OtherKernel { kernel, modules, .. } => {
                let message = format!("`{name}` is for another kernel than that of its boot");
                Problem::new(Code::BadMedia, mark, message, format!("its modules are for {modules}"))
                    .note(kernel.clone())
                    .help("name the package that belongs to the kernel: a module is loaded by no other")
            }
            MediaError::BadPackage { why, .. } => {
                Problem::new(Code::BadMedia, mark, format!("`{name}` can't be used"), why.clone())
            }
            MediaError::BadList { path, why } => {
                let path = path.display();
                let message = format!("`{path}` can't stand for the image `{name}`");
                Problem::new(Code::BadMedia, mark, message, why.clone())
                    .help("make the list anew: `voldemort iso inspect IMAGE --lock INVENTORY` writes it")
            }
            MediaError::NoAgent { path, why } => {
                let message = "the agent of this boot can't be made".to_owned();
                Problem::new(Code::BadMedia, mark, message, "for these modules")
                    .note(format!("{}: {why}", path.display()))
            }
            MediaError::NotAnImage { why, .. } | MediaError::Io { why, .. } => {
                Problem::new(Code::BadMedia, mark, format!("`{name}` can't be read"), why.clone())
            }
            MediaError::Truncated { why, .. } => {
                Problem::new(Code::BadMedia, mark, format!("`{name}` is not complete"), why.clone())
                    .help("download the image again")
            }
        };
        self.media_problem(problem);
    }

    /// A problem of media: what is served already is served without them.
    fn media_problem(&mut self, problem: Problem) {
        self.problems.push(match self.options.media {
            Media::Lenient => problem.level(Level::Note),
            Media::Required | Media::IfPresent => problem,
        });
    }

    fn in_image(
        &mut self,
        path: &Marked<Arc<str>>,
        tree: Option<&Index>,
        iso: &document::Iso,
    ) -> Option<Entry> {
        let tree = tree?;
        if let Some(entry) = tree.files.get(&*path.value) {
            return Some(self.full(path, entry.clone()));
        }
        let file = iso.source()?;
        let message = format!("`{}` is not in {}", path.value, file.value);
        if let Some(why) = tree.refusal(&path.value) {
            let problem =
                Problem::new(Code::BadMedia, path.mark, format!("`{}` can't be served", path.value), why)
                    .also(file.mark, "it is in this image");
            self.media_problem(problem);
            return None;
        }
        let read = format!("volume `{}`, {} files read", tree.label, tree.files.len());
        let problem = Problem::new(Code::NotInImage, path.mark, message, "no such file in the image")
            .also(file.mark, read);
        self.media_problem(problem.help(elsewhere(&path.value, tree)));
        None
    }

    /// A kernel or initrd without a byte is a download or a build that failed.
    fn full(&mut self, path: &Marked<Arc<str>>, entry: Entry) -> Entry {
        if entry.is_empty() {
            let message = format!("`{}` is empty", path.value);
            self.media_problem(Problem::new(Code::BadMedia, path.mark, message, "it has 0 bytes"));
        }
        entry
    }

    fn word(&mut self, word: &Marked<Arc<str>>) -> Option<Text> {
        match Text::parse(word.value.clone()) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = "this word of the command line has a mistake";
                self.problems.push(Problem::new(Code::BadTemplate, word.mark, message, error.message));
                None
            }
        }
    }
}

fn is_missing(error: &MediaError) -> bool {
    matches!(error, MediaError::Missing { .. })
}

/// What lies beside a missing file and is called almost like it.
fn near<'a>(name: &str, error: &'a MediaError) -> Option<&'a str> {
    let MediaError::Missing { beside, .. } = error else { return None };
    similar(name, beside.iter().map(String::as_str))
}

/// The path prefix of a boot and where it is written.
fn prefix(resource: &Resource<document::Boot>) -> (Arc<str>, Mark) {
    match resource.body.iso.as_ref().and_then(|iso| iso.prefix.as_ref()) {
        Some(prefix) => (prefix.value.clone(), prefix.mark),
        None => (resource.name.as_str().into(), resource.mark),
    }
}

fn taken(
    resource: &Resource<document::Boot>,
    prefix: &str,
    mark: Mark,
    other: &Name,
    first: Mark,
) -> Problem {
    let message = format!("boots `{other}` and `{}` are both served below `/{prefix}/`", resource.name);
    Problem::new(Code::Prefix, mark, message, format!("`{}` again", resource.name))
        .also(first, format!("`{other}` is served there"))
        .help("give one of them another `prefix` in its `iso`")
}

/// Where the wanted file may be instead.
fn elsewhere(path: &str, tree: &Index) -> String {
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let wanted = base(path);
    let same: Vec<&str> = tree.files.keys().map(|path| &**path).filter(|path| base(path) == wanted).collect();
    if !same.is_empty() {
        return format!("files of that name in this image: {}", listed(same));
    }
    if let Some(near) = similar(path, tree.files.keys().map(|path| &**path)) {
        return format!("did you mean {near}?");
    }
    let kin: &[&str] = if wanted.starts_with("init") {
        &["initrd", "initramfs"]
    } else {
        &["vmlinuz", "linux", "bzimage", "kernel"]
    };
    let alike = |path: &&str| kin.iter().any(|kin| base(path).starts_with(kin));
    let alike: Vec<&str> = tree.files.keys().map(|path| &**path).filter(alike).collect();
    match alike.is_empty() {
        true => "`voldemort iso ls FILE` lists what the image holds".to_owned(),
        false => format!("similar files in this image: {}", listed(alike)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use bytes::Bytes;

    use super::*;
    use crate::desired::{self, Options};
    use crate::manifest::parse;
    use crate::media::Library;
    use crate::model::content::FileId;

    /// Every file is there, and what is made of them is this.
    struct Made(Result<Option<Entry>, MediaError>);

    fn entry(path: &str) -> Entry {
        let extent = crate::model::Extent { offset: 0, length: 5 };
        Entry { path: Path::new(path).into(), id: FileId::default(), extents: [extent].into() }
    }

    impl Library for Made {
        fn image(&self, file: &str, _: Option<&str>) -> Result<Arc<Index>, MediaError> {
            let files = ["linux", "pool/modules.udeb"].map(|path| (path.into(), entry(file)));
            Ok(Arc::new(Index { files: files.into(), ..Index::default() }))
        }

        fn file(&self, path: &str) -> Result<Entry, MediaError> {
            Ok(entry(path))
        }

        fn agent(&self, parts: &Parts, _: bool) -> Result<Option<Entry>, MediaError> {
            let names: Vec<&str> = parts.modules.iter().map(|(name, _)| &**name).collect();
            assert_eq!((&*parts.kernel.0, parts.cpu), ("linux", Cpu::Aarch64));
            assert!(names == ["a.deb", "b.deb"] || names == ["pool/modules.udeb"], "{names:?}");
            self.0.clone()
        }
    }

    const LOOSE: &str =
        "[boot.a]\nkernel = \"linux\"\narch = \"aarch64\"\nmodules = [\"a.deb\", \"b.deb\"]\n";

    /// The agent's file, and each problem with the text that it is about.
    fn resolved(
        text: &str,
        made: Result<Option<Entry>, MediaError>,
    ) -> (Option<File>, Vec<(String, String)>) {
        let files: BTreeMap<Arc<str>, Bytes> =
            [("a.toml".into(), Bytes::copy_from_slice(text.as_bytes()))].into();
        let (documents, problems) = parse(&files);
        assert!(problems.is_empty(), "{problems:?}");
        let options = Options { media: Media::Required, fallback: Vec::new() };
        let (desired, problems) = desired::resolve(&documents, &Made(made), &options);
        let agent = desired.boots.values().next().and_then(|boot| boot.agent.clone());
        let about = |problem: &Problem| documents.sources.text_at(problem.mark()).to_owned();
        (agent, problems.iter().map(|problem| (problem.message.clone(), about(problem))).collect())
    }

    #[test]
    fn the_agents_initrd_is_a_file_of_its_boot() {
        for text in [
            LOOSE,
            "[boot.a]\niso = { file = \"a.iso\" }\nkernel = \"linux\"\narch = \"aarch64\"\nmodules = \"pool/modules.udeb\"\n",
        ] {
            let (agent, problems) = resolved(text, Ok(Some(entry("/proc/self/fd/9"))));
            assert_eq!(
                agent,
                Some(File { path: AGENT_INITRD.into(), entry: Some(entry("/proc/self/fd/9")) })
            );
            assert_eq!(problems, []);
        }
        let (agent, _) = resolved("[boot.a]\nkernel = \"linux\"\n", Ok(None));
        assert_eq!(agent, None);
    }

    #[test]
    fn what_keeps_it_from_being_made_is_told_at_the_package() {
        let path = PathBuf::from("b.deb");
        let other =
            MediaError::OtherKernel { path, kernel: "linux is 6.1.0-50".into(), modules: "6.1.0-57".into() };
        let (agent, problems) = resolved(LOOSE, Err(other));
        assert_eq!(agent, Some(File { path: AGENT_INITRD.into(), entry: None }));
        let message = "`b.deb` is for another kernel than that of its boot".to_owned();
        assert_eq!(problems, [(message, "\"b.deb\"".to_owned())]);
        let bad = |path: &str| MediaError::BadPackage { path: path.into(), why: "it is damaged".into() };
        for (path, about) in [("b.deb", "\"b.deb\""), ("linux", "\"linux\""), ("elsewhere", "\"a.deb\"")] {
            let (_, problems) = resolved(LOOSE, Err(bad(path)));
            assert_eq!(problems, [(format!("`{path}` can't be used"), about.to_owned())]);
        }
        let agent = MediaError::NoAgent { path: "/proc/self/exe".into(), why: "it is not static".into() };
        let (_, problems) = resolved(LOOSE, Err(agent));
        assert_eq!(problems, [("the agent of this boot can't be made".to_owned(), "\"a.deb\"".to_owned())]);
    }
}
