//! Optical disc images: ISO 9660 with or without Rock Ridge and Joliet, and UDF.

mod device;
mod disc;
mod iso;
mod tree;
mod udf;
mod walk;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use disc::Trouble;
pub use iso::{BootImage, Platform};

use self::device::Device;
use self::tree::{Kind, Tree};
use super::{Entry, Index, MediaError, identity, lfs, packing, regular};
use crate::model::Extent;
use crate::model::content::FileId;

/// Longest time that reading one image's directories may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most entries (files, directories, links) that one image may hold.
const MOST_ENTRIES: usize = 2_000_000;

/// Reads the directories of the image at `path`. Of the trees on a disc the best is taken: Rock Ridge, then
/// Joliet, then plain ISO 9660; UDF where it holds more bytes than those (as on Windows discs, whose ISO
/// tree holds little), or the same files under longer names than the plain ones.
pub fn open(path: &Path) -> Result<Index, MediaError> {
    let opened = Opened::new(path)?;
    let (label, tree) = opened.guarded(|opened| opened.richest())?;
    opened.index(label, tree)
}

/// The boot images that an El Torito catalogue lists, in its order; none for discs without one.
pub fn boot_images(path: &Path) -> Result<Vec<BootImage>, MediaError> {
    let opened = Opened::new(path)?;
    opened.guarded(|opened| iso::boot_images(opened.device()?))
}

/// An image file that is open for reading.
struct Opened<'a> {
    path: &'a Path,
    file: File,
    id: FileId,
    deadline: Instant,
}

impl<'a> Opened<'a> {
    fn new(path: &'a Path) -> Result<Opened<'a>, MediaError> {
        let (file, metadata) = regular::open(path)?;
        let id = identity::at(path, &metadata);
        Ok(Opened { path, file, id, deadline: Instant::now() + PATIENCE })
    }

    /// Runs a parser. The parsers are not known to panic; should one, that is an error about
    /// this image and not the end of the daemon (nothing outlives the call but its result).
    fn guarded<T>(&self, parse: impl FnOnce(&Self) -> Result<T, Trouble>) -> Result<T, MediaError> {
        let path = self.path.to_path_buf();
        match catch_unwind(AssertUnwindSafe(|| parse(self))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Trouble::Damaged(why))) => Err(MediaError::NotAnImage { path, why }),
            Ok(Err(Trouble::Unrecognised)) => Err(MediaError::NotAnImage {
                why: match lfs::is_pointer(self.path, self.id.size) {
                    true => lfs::WHY.into(),
                    false => match packing::name(&self.file) {
                        Some(found) => format!("it is {found}"),
                        None => "it has neither an ISO 9660 nor a UDF volume".into(),
                    },
                },
                path,
            }),
            Ok(Err(Trouble::Outside(place))) => Err(self.truncated(&place)),
            Ok(Err(Trouble::Io(why))) => Err(MediaError::Io { path, why }),
            Err(_) => Err(MediaError::NotAnImage { path, why: "it is damaged (the parser gave up)".into() }),
        }
    }

    fn truncated(&self, place: &str) -> MediaError {
        let why = format!("{place} lies beyond the end of the file ({} bytes)", self.id.size);
        MediaError::Truncated { path: self.path.to_path_buf(), why }
    }

    fn device(&self) -> Result<Device, Trouble> {
        let file = self.file.try_clone().map_err(|error| Trouble::Io(error.to_string()))?;
        Ok(Device::new(file, self.id.size, self.deadline))
    }

    fn richest(&self) -> Result<(String, Tree), Trouble> {
        let iso = iso::read(self.device()?, MOST_ENTRIES);
        let named = |iso: iso::Volume| (iso.label, iso.tree);
        if !udf::present(&self.file) {
            return iso.map(named);
        }
        match (iso, udf::read(self.device()?, MOST_ENTRIES)) {
            (Ok(iso), Ok(udf)) if udf.1.bytes() > iso.tree.bytes() => Ok(udf),
            // The same files by their real names.
            (Ok(iso), Ok(udf)) if iso.is_plain && udf.1.bytes() == iso.tree.bytes() => Ok(udf),
            (Ok(iso), Ok(_) | Err(Trouble::Unrecognised)) => Ok(named(iso)),
            (Err(Trouble::Unrecognised), udf) => udf,
            // The tree that can't be read may be the better one.
            (Ok(_), Err(error)) | (Err(error), _) => Err(error),
        }
    }

    /// Checks every stretch against the file's size, so that nothing is served from beyond it.
    fn index(&self, label: String, tree: Tree) -> Result<Index, MediaError> {
        let path: Arc<Path> = self.path.into();
        let mut index = Index { label: self.label(label), links: tree.folders(), ..Index::default() };
        for (name, kind) in tree.files() {
            let extents = match kind {
                Kind::File(extents) => extents,
                Kind::Refused(why) => {
                    index.refused.insert(name, why.clone());
                    continue;
                }
                Kind::Folder | Kind::Link(_) => continue,
            };
            if !extents.iter().all(|extent| self.holds(extent)) {
                return Err(self.truncated(&format!("`{name}`")));
            }
            let entry = Entry { path: path.clone(), id: self.id, extents: extents.clone() };
            index.files.insert(name, entry);
        }
        Ok(index)
    }

    fn holds(&self, extent: &Extent) -> bool {
        extent.offset.checked_add(extent.length).is_some_and(|end| end <= self.id.size)
    }

    fn label(&self, label: String) -> String {
        let label: String = label.trim().chars().filter(|c| !c.is_control()).collect();
        if !label.is_empty() {
            return label;
        }
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}
