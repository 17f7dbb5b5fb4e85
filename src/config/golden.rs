//! Broken files and the exact messages that they get: `golden/NAME.kdl` or `.json` beside `golden/NAME.txt`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p config golden` writes the messages anew; read the difference before you commit it.

use crate::{Environment, Format, parse};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The files of `golden/`, and variables that are the same on every machine.
struct Golden;

impl Environment for Golden {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "PASSWORD" => Some("hunter2 is the secret".into()),
            "ENDPOINT" => Some("127.0.0.1:9001".into()),
            "SPLIT" => Some("one\r\nX-Injected: two".into()),
            _ => None,
        }
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        crate::System.read(&folder().join(path), bytes_max)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        crate::System.list(&folder().join(directory))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The messages of a file, as `ringway check` prints them.
fn messages(path: &Path) -> String {
    let source = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let problems = match parse(&source, &name, Format::of(path), &Golden) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems.0,
    };
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

#[test]
fn broken_files_get_exactly_the_messages_beside_them() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder()).expect("golden exists").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "kdl" || e == "json")) {
        count += 1;
        let actual = messages(path);
        assert!(!actual.is_empty(), "{} has no problem", path.display());
        assert!(!actual.contains("hunter2"), "{} shows a secret", path.display());
        let beside = path.with_extension("txt");
        if update {
            fs::write(&beside, &actual).unwrap_or_else(|error| panic!("{}: {error}", beside.display()));
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if actual != expected {
            wrong.push(format!("{}\n--- expected\n{expected}--- actual\n{actual}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 40, "only {count} files");
}
