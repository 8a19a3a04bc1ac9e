//! Tells when files may have changed: by the system's notice where it can be had, by looking now and then in any case.
//!
//! Directories are watched, not files, so that an editor's rename over the old file and Kubernetes' swap of a symbolic
//! link are seen. A file that somebody has written to and not closed yet is *being saved*; until it is closed nothing
//! is read, or half of it could pass for a smaller whole.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::policies::policy_files;
use crate::domain::digest::Sha256Digest;

/// How long nothing may happen before what happened is looked at: an editor's save is several steps.
const QUIET: Duration = Duration::from_millis(150);
/// How long it may go on happening before it is looked at all the same.
const LONGEST: Duration = Duration::from_secs(2);
/// How often is looked where the system gives notice: file systems of other machines give none.
const SELDOM: Duration = Duration::from_secs(30);
/// How often is looked where it does not.
const OFTEN: Duration = Duration::from_secs(2);
/// After how long a save that does not end is told.
const SAVING: Duration = Duration::from_secs(10);
/// Files being saved that are kept in mind; with more, all of them count as saved.
const MOST_SAVING: usize = 4_096;

/// What is watched: files by name, and directories with their `*.cedar` files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) paths: Vec<PathBuf>,
}

impl Watched {
    /// All files that are read, as they are now.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for path in &self.paths {
            match fs::metadata(path) {
                Ok(found) if found.is_dir() => files.extend(policy_files(path).unwrap_or_default()),
                _ => files.push(path.clone()),
            }
        }
        files
    }

    /// The directories in which something would have to happen for any of them to change, each by what it is now.
    fn directories(&self) -> BTreeMap<PathBuf, (u64, u64)> {
        let mut found = BTreeMap::new();
        let mut note = |dir: &Path| {
            if let Some(identity) = identity(dir) {
                found.insert(dir.to_owned(), identity);
            }
        };
        for path in &self.paths {
            note(path);
            let Ok(path) = std::path::absolute(path) else { continue };
            // What is not there yet begins with the nearest directory above it that is.
            let parents = path.ancestors().skip(1);
            parents.filter(|dir| dir.is_dir()).take(1).for_each(&mut note);
            // What it leads to, where it is a link or lies behind one; and each link's own directory.
            let real = fs::canonicalize(&path).ok();
            if let Some(parent) = real.as_deref().and_then(Path::parent) {
                note(parent);
            }
            let link = |dir: &&Path| fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_symlink());
            path.ancestors().filter(link).filter_map(Path::parent).for_each(&mut note);
        }
        found
    }

    /// Digest of names, sizes, times and identities of all files: another one when any was changed, or swapped.
    pub(super) fn fingerprint(&self) -> Sha256Digest {
        let mut text = String::new();
        for file in self.files() {
            text.push_str(&format!("{file:?} "));
            match fs::metadata(&file) {
                Ok(meta) => text.push_str(&format!(
                    "{} {} {} {} {} {} {}\n",
                    meta.dev(),
                    meta.ino(),
                    meta.len(),
                    meta.mtime(),
                    meta.mtime_nsec(),
                    // Whoever sets the time of a change does not set this one.
                    meta.ctime(),
                    meta.ctime_nsec()
                )),
                Err(error) => text.push_str(&format!("{:?}\n", error.kind())),
            }
        }
        Sha256Digest::of(text.as_bytes())
    }
}

/// What the system has told since it was last asked.
#[derive(Debug, Default)]
struct Heard {
    /// Files that were written to and not closed.
    saving: HashSet<PathBuf>,
}

/// Watches for changes.
#[derive(Debug)]
pub(super) struct Watch {
    watched: Watched,
    heard: Arc<Mutex<Heard>>,
    bell: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    directories: BTreeMap<PathBuf, (u64, u64)>,
    seen: Sha256Digest,
    /// Whether it was told that there is no notice.
    told: bool,
}

impl Watch {
    /// Of what is there now.
    pub(super) fn new(watched: Watched) -> Self {
        let seen = watched.fingerprint();
        let mut watch = Self {
            watched,
            heard: Arc::default(),
            bell: Arc::default(),
            watcher: None,
            directories: BTreeMap::new(),
            seen,
            told: false,
        };
        watch.listen();
        watch
    }

    /// Watches `watched` from now on.
    pub(super) fn follow(&mut self, watched: Watched) {
        self.watched = watched;
        self.listen();
    }

    /// Waits until something may have changed and nothing of it is being saved any more.
    pub(super) async fn changed(&mut self) {
        loop {
            let interval = if self.watcher.is_some() { SELDOM } else { OFTEN };
            let rang = tokio::time::timeout(interval, self.bell.notified()).await.is_ok();
            if rang || !self.heard.lock().saving.is_empty() {
                self.settle().await;
            }
            // Before the files are looked at: what happens from here on is heard.
            self.listen();
            let now = self.fingerprint().await;
            if now == self.seen {
                continue;
            }
            if !rang {
                // Nobody said whether it is still being saved: it is not, if it stays as it is for a while.
                tokio::time::sleep(OFTEN).await;
                if self.fingerprint().await != now {
                    continue;
                }
            }
            self.seen = now;
            return;
        }
    }

    /// What the files look like now; compare it with what they look like after they were read.
    pub(super) async fn fingerprint(&self) -> Sha256Digest {
        let watched = self.watched.clone();
        tokio::task::spawn_blocking(move || watched.fingerprint()).await.unwrap_or(self.seen)
    }

    /// They were read as of `fingerprint`.
    pub(super) fn was_read(&mut self, fingerprint: Sha256Digest) {
        self.seen = fingerprint;
    }

    /// Waits until nothing happens any more and nothing is being saved.
    async fn settle(&self) {
        let began = tokio::time::Instant::now();
        let mut told = false;
        loop {
            let quiet = tokio::time::timeout(QUIET, self.bell.notified()).await.is_err();
            let (saving, elapsed) = (self.heard.lock().saving.iter().next().cloned(), began.elapsed());
            match saving {
                Some(file) if elapsed >= SAVING && !told => {
                    told = true;
                    tracing::warn!(
                        file = %file.display(),
                        "is being written and was not closed yet; nothing is read before it is, but on SIGHUP"
                    );
                }
                Some(_) => {}
                None if quiet || elapsed >= LONGEST => break,
                None => {}
            }
        }
    }

    /// Begins to listen where the directories are others than before.
    fn listen(&mut self) {
        let directories = self.watched.directories();
        if self.watcher.is_some() && directories == self.directories {
            return;
        }
        self.heard.lock().saving.clear();
        match self.watcher(&directories) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.directories = directories;
            }
            Err(error) => {
                self.watcher = None;
                if !self.told {
                    self.told = true;
                    let every = OFTEN.as_secs();
                    tracing::warn!(%error, "the system gives no notice of changed files; looking every {every} s instead");
                }
            }
        }
    }

    fn watcher(&self, directories: &BTreeMap<PathBuf, (u64, u64)>) -> notify::Result<RecommendedWatcher> {
        let (heard, bell) = (Arc::clone(&self.heard), Arc::clone(&self.bell));
        let own = Own::of(&self.watched);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if hear(&heard, &own, event) {
                bell.notify_one();
            }
        })?;
        for directory in directories.keys() {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }
}

/// Which files are read: those of these names, and the `*.cedar` files of these directories. A directory may be known by
/// several paths, so it goes by what it is. Files beside them may be anyone's, and hold nothing up.
#[derive(Debug, Default)]
struct Own {
    names: HashSet<OsString>,
    directories: HashSet<(u64, u64)>,
}

impl Own {
    fn of(watched: &Watched) -> Self {
        let names = watched.paths.iter().filter_map(|path| path.file_name());
        let directories = watched.paths.iter().filter_map(|path| identity(path));
        Self { names: names.map(ToOwned::to_owned).collect(), directories: directories.collect() }
    }

    fn has(&self, path: &Path) -> bool {
        let within = || path.parent().and_then(identity).is_some_and(|dir| self.directories.contains(&dir));
        path.file_name().is_some_and(|name| self.names.contains(name))
            || path.extension().is_some_and(|e| e == "cedar") && within()
    }
}

/// What a directory is, whatever its path.
fn identity(dir: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(dir).ok().filter(fs::Metadata::is_dir)?;
    Some((meta.dev(), meta.ino()))
}

/// Takes one notice; whether it may matter.
fn hear(heard: &Mutex<Heard>, own: &Own, event: notify::Result<Event>) -> bool {
    let mut heard = heard.lock();
    let Some(event) = event.ok().filter(|event| !event.need_rescan()) else {
        // Notices were lost, that a file was closed perhaps among them: look.
        heard.saving.clear();
        return true;
    };
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
            heard.saving.retain(|path| !event.paths.contains(path));
        }
        // Somebody reads, we ourselves among others.
        EventKind::Access(_) => return false,
        EventKind::Modify(ModifyKind::Data(_)) => {
            for path in event.paths.iter().filter(|path| own.has(path)) {
                if heard.saving.len() < MOST_SAVING {
                    heard.saving.insert(path.clone());
                }
            }
        }
        // Gone, or under another name: whoever writes to it does not write to ours any more.
        EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            heard.saving.retain(|path| !event.paths.contains(path));
        }
        _ => {}
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use notify::event::Flag;

    use super::*;

    #[tokio::test]
    async fn a_file_that_anyone_holds_open_beside_the_policies_holds_no_reload_up() {
        let dir = tempfile::tempdir().unwrap();
        let policies = dir.path().join("policies");
        fs::create_dir(&policies).unwrap();
        fs::write(policies.join("a.cedar"), "// one").unwrap();
        let mut watch = Watch::new(Watched { paths: vec![policies.clone()] });
        let mut held = fs::File::create(dir.path().join("held.cedar")).unwrap();
        held.write_all(b"never closed").unwrap();
        fs::write(policies.join("b.cedar"), "// another").unwrap();
        let changed = tokio::time::timeout(Duration::from_secs(60), watch.changed()).await;
        assert!(changed.is_ok(), "another's open file is waited for");
        drop(held);
    }

    #[test]
    fn notices_that_were_lost_leave_no_file_being_saved_for_ever() {
        let heard = Mutex::new(Heard::default());
        heard.lock().saving.insert("a.cedar".into());
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(hear(&heard, &Own::default(), Ok(lost)));
        assert!(heard.lock().saving.is_empty());
    }
}
