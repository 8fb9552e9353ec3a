//! Artifacts on disk: kept while somebody holds them, and as long as there is room.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tempfile::TempPath;

use super::{http::Validator, sum::Sha256Sum, uri::JarUri};

/// The most places, and the most files, that are remembered.
const MAX_ENTRIES: usize = 4096;

/// The folder of this process. Folders that a crashed process left behind are removed; a folder is alive while its
/// process holds the lock on the file `owner` in it.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    _owner: File,
}

impl Folder {
    fn create(base: &Path) -> io::Result<Self> {
        fs::create_dir_all(base)?;
        // Starts take turns, so that nobody removes a folder whose owner has not locked it yet.
        let turn = File::create(base.join("start.lock"))?;
        turn.lock()?;
        for entry in fs::read_dir(base)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("run-") && is_abandoned(&entry.path()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let path = tempfile::Builder::new().prefix("run-").tempdir_in(base)?.keep();
        let owner = File::create(path.join("owner"))?;
        owner.lock()?;
        Ok(Self { path, _owner: owner })
    }
}

fn is_abandoned(folder: &Path) -> bool {
    File::open(folder.join("owner")).is_ok_and(|owner| owner.try_lock().is_ok()) || !folder.join("owner").exists()
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is removed by the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Bytes on disk that count against the cap; given back when dropped.
#[derive(Debug)]
struct Held {
    total: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// An artifact on disk. The file stays as long as this value lives.
#[derive(Debug)]
pub struct CachedFile {
    // Fields are dropped in this order: the file goes before its bytes are given back and before the folder.
    path: TempPath,
    sha256: Sha256Sum,
    held: Held,
    _folder: Arc<Folder>,
}

impl CachedFile {
    /// Where the file is. Read only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SHA-256 of the content.
    #[must_use]
    pub fn sha256(&self) -> Sha256Sum {
        self.sha256
    }

    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.held.bytes
    }
}

/// A file that is being received. Removed when dropped.
#[derive(Debug)]
pub(super) struct Part {
    path: TempPath,
    held: Held,
    folder: Arc<Folder>,
}

impl Part {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// There is no room, and nothing that could make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// Who asked for what: a hash of the namespace and the URI, so that signatures in queries are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place(Sha256Sum);

impl Place {
    pub(super) fn new(namespace: &str, uri: &JarUri) -> Self {
        // No namespace and no URI contains a line break.
        Self(Sha256Sum::of(format!("{namespace}\n{}", uri.identity()).as_bytes()))
    }
}

#[derive(Debug)]
struct Known {
    validator: Validator,
    sha256: Sha256Sum,
    used: u64,
}

#[derive(Debug)]
struct Content {
    file: Arc<CachedFile>,
    used: u64,
}

/// Least recently used first, by a counter that moves with each use.
#[derive(Debug, Default)]
struct Index {
    places: HashMap<Place, Known>,
    contents: HashMap<Sha256Sum, Content>,
    clock: u64,
}

/// The cache. Clones are the same cache.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: Arc<Folder>,
    cap: u64,
    total: Arc<AtomicU64>,
    index: Arc<Mutex<Index>>,
}

impl Cache {
    pub(super) fn create(base: &Path, cap: u64) -> io::Result<Self> {
        let folder = Arc::new(Folder::create(base)?);
        Ok(Self {
            folder,
            cap,
            total: Arc::default(),
            index: Arc::default(),
        })
    }

    /// Bytes on disk, and files that are complete.
    pub(super) fn usage(&self) -> (u64, usize) {
        (self.total.load(Ordering::Relaxed), self.index.lock().contents.len())
    }

    /// What is known about a place: the content it had, and how to ask whether it changed.
    pub(super) fn known(&self, place: &Place) -> Option<(Validator, Arc<CachedFile>)> {
        let index = &mut *self.index.lock();
        index.clock += 1;
        let known = index.places.get_mut(place)?;
        let content = index.contents.get_mut(&known.sha256)?;
        known.used = index.clock;
        content.used = index.clock;
        Some((known.validator.clone(), Arc::clone(&content.file)))
    }

    /// A new file to receive into. Blocking, but only for a moment.
    pub(super) fn part(&self) -> io::Result<(Part, File)> {
        let (file, path) = tempfile::Builder::new()
            .prefix("artifact-")
            .suffix(".jar")
            .tempfile_in(&self.folder.path)?
            .into_parts();
        let held = Held {
            total: Arc::clone(&self.total),
            bytes: 0,
        };
        Ok((
            Part {
                path,
                held,
                folder: Arc::clone(&self.folder),
            },
            file,
        ))
    }

    /// Makes room for more bytes of a part.
    pub(super) fn reserve(&self, part: &mut Part, bytes: u64) -> Result<(), NoRoom> {
        self.total.fetch_add(bytes, Ordering::Relaxed);
        part.held.bytes += bytes;
        while self.total.load(Ordering::Relaxed) > self.cap {
            // A statement of its own: the lock is gone when the value is dropped and its file removed.
            let evicted = self.index.lock().least_used();
            if evicted.is_none() {
                return Err(NoRoom);
            }
        }
        Ok(())
    }

    /// Keeps a received file, or the one with the same content that is there already. With a validator the place is
    /// remembered, so that the next request for it can be conditional.
    pub(super) fn keep(&self, part: Part, sha256: Sha256Sum, place: Option<(Place, Validator)>) -> Arc<CachedFile> {
        let Part { path, held, folder } = part;
        let index = &mut *self.index.lock();
        index.clock += 1;
        let used = index.clock;
        if index.contents.len() >= MAX_ENTRIES {
            index.least_used();
        }
        let received = CachedFile {
            path,
            sha256,
            held,
            _folder: folder,
        };
        let content = index.contents.entry(sha256).or_insert_with(|| Content {
            file: Arc::new(received),
            used,
        });
        content.used = used;
        let file = Arc::clone(&content.file);
        if let Some((place, validator)) = place {
            index.remember(
                place,
                Known {
                    validator,
                    sha256,
                    used,
                },
            );
        }
        file
    }

    /// Forgets a place whose content the server no longer vouches for.
    pub(super) fn forget(&self, place: &Place) {
        self.index.lock().places.remove(place);
    }
}

impl Index {
    /// Takes the least recently used content that nobody holds.
    fn least_used(&mut self) -> Option<Content> {
        let unused = self
            .contents
            .iter()
            .filter(|(_, content)| Arc::strong_count(&content.file) == 1);
        let sha256 = *unused.min_by_key(|(_, content)| content.used)?.0;
        self.contents.remove(&sha256)
    }

    fn remember(&mut self, place: Place, known: Known) {
        if self.places.len() >= MAX_ENTRIES && !self.places.contains_key(&place) {
            self.places.retain(|_, known| self.contents.contains_key(&known.sha256));
            let oldest = self
                .places
                .iter()
                .min_by_key(|(_, known)| known.used)
                .map(|(place, _)| *place);
            if self.places.len() >= MAX_ENTRIES
                && let Some(oldest) = oldest
            {
                self.places.remove(&oldest);
            }
        }
        self.places.insert(place, known);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn cache(cap: u64) -> (tempfile::TempDir, Cache) {
        let base = tempfile::tempdir().unwrap();
        let cache = Cache::create(base.path(), cap).unwrap();
        (base, cache)
    }

    fn place(name: &str) -> Place {
        Place(Sha256Sum::of(name.as_bytes()))
    }

    fn part_of(cache: &Cache, bytes: &[u8]) -> Part {
        let (part, mut file) = cache.part().unwrap();
        file.write_all(bytes).unwrap();
        part
    }

    fn store(cache: &Cache, name: &str, bytes: &[u8]) -> Result<Arc<CachedFile>, NoRoom> {
        let mut part = part_of(cache, bytes);
        cache.reserve(&mut part, bytes.len() as u64)?;
        let validator = Validator::for_test("\"1\"");
        Ok(cache.keep(part, Sha256Sum::of(bytes), Some((place(name), validator))))
    }

    #[test]
    fn equal_content_is_stored_once() {
        let (_base, cache) = cache(100);
        let first = store(&cache, "a", b"same").unwrap();
        let second = store(&cache, "b", b"same").unwrap();
        assert_eq!(first.path(), second.path());
        assert_eq!(fs::read(first.path()).unwrap(), b"same");
        assert_eq!(cache.usage(), (4, 1));
        assert!(cache.known(&place("a")).is_some() && cache.known(&place("c")).is_none());
        let uri = JarUri::parse("https://h.example/x.jar?sig=1").unwrap();
        assert_ne!(Place::new("team-a", &uri), Place::new("team-b", &uri));
    }

    #[test]
    fn the_least_used_goes_first_and_never_one_that_is_held() {
        let (_base, cache) = cache(10);
        let held = store(&cache, "held", b"1234").unwrap();
        let path = |file: &CachedFile| file.path().to_owned();
        let old = path(&store(&cache, "old", b"abc").unwrap());
        let new = path(&store(&cache, "new", b"xyz").unwrap());
        cache.known(&place("old"));
        let newest = store(&cache, "newest", b"uvw").unwrap();
        assert!(held.path().exists() && old.exists() && !new.exists());
        assert!(cache.known(&place("new")).is_none());
        assert_eq!(store(&cache, "large", b"1234567").unwrap_err(), NoRoom);
        assert_eq!(cache.usage().0, 7, "a part that found no room gives its bytes back");
        let gone = path(&held);
        drop((held, newest));
        assert!(gone.exists());
        store(&cache, "large", b"123456789").unwrap();
        assert!(!gone.exists());
        assert_eq!(cache.usage(), (9, 1));
    }

    #[test]
    fn files_outlive_the_cache_and_then_go() {
        let (base, cache) = cache(10);
        let file = store(&cache, "a", b"1234").unwrap();
        drop(cache);
        assert!(file.path().exists());
        drop(file);
        let left: Vec<_> = fs::read_dir(base.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["start.lock"]);
    }

    #[test]
    fn leftovers_of_a_crash_go_and_living_neighbours_stay() {
        let (base, living) = cache(10);
        let file = store(&living, "a", b"1234").unwrap();
        let dead = base.path().join("run-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("owner"), "").unwrap();
        fs::write(dead.join("artifact-1.jar"), "x").unwrap();
        fs::create_dir(base.path().join("run-half")).unwrap();
        fs::create_dir(base.path().join("other")).unwrap();
        let _second = Cache::create(base.path(), 10).unwrap();
        assert!(file.path().exists() && !dead.exists());
        assert!(!base.path().join("run-half").exists() && base.path().join("other").exists());
    }

    #[test]
    fn places_are_bounded() {
        let (_base, cache) = cache(10);
        for at in 0..MAX_ENTRIES + 10 {
            store(&cache, &at.to_string(), b"x").unwrap();
        }
        assert_eq!(cache.index.lock().places.len(), MAX_ENTRIES);
        assert!(cache.known(&place("0")).is_none());
    }
}
