//! Watching the configuration file, and all that it is made of: when something changes, the file is read again.
//!
//! By looking, twice a second, not by being told: what tells of changes (inotify) is silent about network file systems and
//! overlays, and about what a link points to, which is how configuration reaches containers. Looking costs one `stat` for
//! each file.
//!
//! ```text
//!   unchanged ──▶ looks different ──the same again at the next look──▶ reload
//!                      └── different once more: somebody is still writing, wait
//! ```

use crate::deploy::{Door, Replacement, Wanted};
use crate::node::Node;
use config::{Config, Environment, System};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks. A change is taken up at the second look that sees it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks for as long as the runtime lasts.
pub(crate) async fn run(file: PathBuf, node: Arc<Node>, door: Door) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Some(mut watched) = look(Watched::new(file), Watched::list).await else { return };
    // What changed between the start and the first look.
    watched.due = watched.loaded.take().is_some_and(|loaded| loaded != *node.in_force().config);
    loop {
        looks.tick().await;
        let Some(looked) = look(watched, Watched::look).await else { return };
        watched = looked;
        if watched.is_due() {
            // Before the file is read: what changes from here on is another change.
            let Some(listed) = look(watched, Watched::list).await else { return };
            watched = listed;
            let replacement = Replacement::now(Wanted::File, "a change of the file");
            // What is wrong with it is logged, and counted, by the deployer.
            let _ = door.replace(replacement).await;
        }
    }
}

/// A file system may not answer for long; the control plane goes on meanwhile.
async fn look(mut watched: Watched, how: fn(&mut Watched)) -> Option<Watched> {
    let looking = tokio::task::spawn_blocking(move || {
        how(&mut watched);
        watched
    });
    looking.await.ok()
}

/// The files of a configuration and how they looked.
struct Watched {
    file: PathBuf,
    /// Files that were read and directories that were listed the last time.
    paths: BTreeSet<PathBuf>,
    /// As the configuration was read; `None` before the first look.
    known: Option<Vec<Look>>,
    /// At the last look, if that was another one.
    seen: Option<Vec<Look>>,
    due: bool,
    /// What the files said when they were listed last, if it was good.
    loaded: Option<Config>,
}

/// What is seen of a file without reading it; through links, what they lead to. `None` when there is none.
type Look = Option<(u64, u64, u64, i64, i64, i64, i64)>;

impl Watched {
    fn new(file: PathBuf) -> Watched {
        let paths = BTreeSet::from([file.clone()]);
        Watched { file, paths, known: None, seen: None, due: false, loaded: None }
    }

    /// Finds out anew which files there are. What is broken now may lack some; those known before are kept.
    fn list(&mut self) {
        let recorder = Recorder::default();
        let loaded = config::load_from(&self.file, &recorder);
        let read = recorder.0.into_inner();
        if loaded.is_ok() {
            self.paths = read;
        } else {
            self.paths.extend(read);
        }
        self.paths.insert(self.file.clone());
        if self.paths.len() > PATHS_MAX {
            self.paths = self.paths.iter().take(PATHS_MAX).cloned().collect();
        }
        self.loaded = loaded.ok().map(|loaded| loaded.config);
        self.known = Some(self.now());
        (self.seen, self.due) = (None, false);
    }

    fn look(&mut self) {
        let now = self.now();
        if self.known.as_ref() == Some(&now) {
            self.seen = None;
        } else if self.seen.as_ref() == Some(&now) {
            self.due = true;
        } else {
            self.seen = Some(now);
        }
    }

    /// Whether a change has come to rest.
    fn is_due(&self) -> bool {
        self.due
    }

    fn now(&self) -> Vec<Look> {
        self.paths.iter().map(|path| appearance(path)).collect()
    }
}

fn appearance(path: &Path) -> Look {
    let found = std::fs::metadata(path).ok()?;
    let (changed, modified) = ((found.ctime(), found.ctime_nsec()), (found.mtime(), found.mtime_nsec()));
    Some((found.dev(), found.ino(), found.size(), changed.0, changed.1, modified.0, modified.1))
}

/// More than a configuration may consist of, with its values from files.
const PATHS_MAX: usize = 4096;

/// The system, and what was asked of it.
#[derive(Default)]
struct Recorder(RefCell<BTreeSet<PathBuf>>);

impl Environment for Recorder {
    fn variable(&self, name: &str) -> Option<String> {
        System.variable(name)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        self.0.borrow_mut().insert(path.to_owned());
        System.read(path, bytes_max)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.0.borrow_mut().insert(directory.to_owned());
        System.list(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("ringway-watch-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MAIN: &str = "listener \"web\" { bind \"127.0.0.1:0\"; }\ninclude \"sites/*.kdl\"\n";

    fn site(host: &str) -> String {
        format!("site \"{host}\" {{ route \"/\" {{ respond 200; }}; }}\n")
    }

    /// Whether two looks in a row are enough to see a change, and then none any more.
    fn sees(watched: &mut Watched) -> bool {
        watched.look();
        assert!(!watched.is_due(), "not at the first look");
        watched.look();
        let due = watched.is_due();
        watched.list();
        watched.look();
        watched.look();
        assert!(!watched.is_due(), "once is enough");
        due
    }

    #[test]
    fn a_change_of_any_file_of_the_configuration_is_seen() {
        let folder = Folder::new("files");
        let main = folder.write("main.kdl", MAIN);
        folder.write("sites/a.kdl", &site("a"));
        let mut watched = Watched::new(main.clone());
        watched.list();
        assert!(!sees(&mut watched));
        folder.write("sites/a.kdl", &site("other.example"));
        assert!(sees(&mut watched), "an included file");
        folder.write("sites/b.kdl", &site("b"));
        assert!(sees(&mut watched), "a new one that fits the pattern");
        fs::remove_file(folder.0.join("sites/b.kdl")).unwrap();
        assert!(sees(&mut watched), "one that is gone");
        folder.write("main.kdl", &format!("{MAIN}// more\n"));
        assert!(sees(&mut watched), "the file itself");
        folder.write("unrelated.kdl", "x");
        assert!(!sees(&mut watched));
        fs::remove_file(&main).unwrap();
        assert!(sees(&mut watched), "it is lost");
        folder.write("main.kdl", MAIN);
        assert!(sees(&mut watched), "and is there again");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_seen() {
        let folder = Folder::new("links");
        folder
            .write("one/main.kdl", &format!("listener \"web\" {{ bind \"127.0.0.1:0\"; }}\n{}", site("one")));
        folder
            .write("two/main.kdl", &format!("listener \"web\" {{ bind \"127.0.0.1:0\"; }}\n{}", site("two")));
        // As Kubernetes does it: the file is a link through a directory that is a link, and that is replaced.
        let data = folder.0.join("data");
        std::os::unix::fs::symlink("one", &data).unwrap();
        let main = folder.0.join("main.kdl");
        std::os::unix::fs::symlink("data/main.kdl", &main).unwrap();
        let mut watched = Watched::new(main);
        watched.list();
        let next = folder.0.join("next");
        std::os::unix::fs::symlink("two", &next).unwrap();
        fs::rename(next, data).unwrap();
        assert!(sees(&mut watched));
    }

    #[test]
    fn whoever_is_still_writing_is_waited_for() {
        let folder = Folder::new("slow");
        let main =
            folder.write("main.kdl", &format!("listener \"web\" {{ bind \"127.0.0.1:0\"; }}\n{}", site("a")));
        let mut watched = Watched::new(main);
        watched.list();
        for part in 0..5 {
            folder.write("main.kdl", &"// writing\n".repeat(part + 1));
            watched.look();
            assert!(!watched.is_due());
        }
        watched.look();
        assert!(watched.is_due());
    }
}
