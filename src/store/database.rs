//! The databases of redb that hold events, and held records: opened so that other programs can read them meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageBackend, TableDefinition,
};

use super::directory;

/// As a daemon opens a file: other programs may read it meanwhile, where the file system can do that.
fn shared() -> Builder {
    let mut builder = Database::builder();
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
    builder
}

pub(super) fn open_shared(path: &Path) -> Result<Database, DatabaseError> {
    match shared().open(path) {
        Err(DatabaseError::Storage(redb::StorageError::Unsupported)) => Database::open(path),
        opened => opened,
    }
}

pub(super) fn create_shared(path: &Path) -> Result<Database, DatabaseError> {
    match shared().create(path) {
        Err(DatabaseError::Storage(redb::StorageError::Unsupported)) => Database::create(path),
        created => created,
    }
}

/// A file as it was at one moment; a daemon may go on writing to it.
pub(super) struct Snapshot {
    read: ReadTransaction,
    /// A copy in memory ends with this.
    _copy: Option<Database>,
}

impl Snapshot {
    /// Nothing is changed: a file that needs a repair after a crash is repaired in memory alone.
    pub(super) fn take(path: &Path) -> Result<Snapshot, redb::Error> {
        let taken = catch_unwind(AssertUnwindSafe(|| -> Result<Snapshot, redb::Error> {
            match shared().open_read_only(path) {
                Err(DatabaseError::RepairAborted) => {
                    let copy = in_memory(path)?;
                    Ok(Snapshot { read: copy.begin_read()?, _copy: Some(copy) })
                }
                opened => Ok(Snapshot { read: opened?.begin_read()?, _copy: None }),
            }
        }));
        taken.unwrap_or_else(|_| Err(contradiction()))
    }

    /// What a reading finds; damage below the rows may make the library panic.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let read = catch_unwind(AssertUnwindSafe(|| work(&self.read)));
        read.unwrap_or_else(|_| Err(contradiction()))
    }

    /// How many rows a table has.
    pub(super) fn count<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        table: TableDefinition<K, V>,
    ) -> Result<u64, redb::Error> {
        let mut count = 0;
        for row in self.read.open_table(table)?.iter()? {
            row?;
            count += 1;
        }
        Ok(count)
    }

    /// Writes a table to a new file, fitting or not.
    pub(super) fn copy<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        table: TableDefinition<K, V>,
        to: &Path,
    ) -> Result<(), redb::Error> {
        directory::create(to)?;
        let database = create_shared(to)?;
        let write = database.begin_write()?;
        {
            let mut copy = write.open_table(table)?;
            for row in self.read.open_table(table)?.iter()? {
                let (key, value) = row?;
                copy.insert(key.value(), value.value())?;
            }
        }
        write.commit()?;
        Ok(())
    }
}

fn in_memory(path: &Path) -> Result<Database, redb::Error> {
    let bytes = std::fs::read(path)?;
    let copy = InMemoryBackend::new();
    let failed = |_| redb::Error::Corrupted("it does not fit into memory".into());
    copy.set_len(bytes.len() as u64).map_err(failed)?;
    copy.write(0, &bytes).map_err(failed)?;
    Ok(Database::builder().create_with_backend(copy)?)
}

fn contradiction() -> redb::Error {
    redb::Error::Corrupted("its pages contradict each other".into())
}
