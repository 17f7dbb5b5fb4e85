//! The last configuration that was in force, on disk, for a start with a file that is broken.
//!
//! What is kept is the JSON form, in which secrets are references: they are resolved anew when it is read. One file, put in
//! the place of its predecessor at once, readable for its owner only.

use config::{Config, Format, Loaded, Problem, Problems, System};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// In the directory that it is kept in.
const NAME: &str = "last-good.json";

/// Keeps `config` in `directory`, which is made if there is none.
pub(crate) fn keep(directory: &Path, config: &Config) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let new = directory.join(format!("{NAME}.{}.new", std::process::id()));
    let written = write(&new, config.to_json().as_bytes())
        .and_then(|()| std::fs::rename(&new, directory.join(NAME)))
        // The name lasts when the directory does.
        .and_then(|()| File::open(directory)?.sync_all());
    if written.is_err() {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(&new);
    }
    written
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// What was kept in `directory` of the configuration in `file`: relative paths in it begin where that file is.
pub fn last_good(directory: &Path, file: &Path) -> Result<Loaded, Problems> {
    let kept = directory.join(NAME);
    let text = read(&kept).map_err(|error| {
        let what = format!("{}: {error}", kept.display());
        Problems(vec![Problem::error(config::Code::File, None, what)])
    })?;
    let name: PathBuf = file.with_file_name(NAME);
    config::parse(&text, &name.display().to_string(), Format::Json, &System)
}

fn read(path: &Path) -> io::Result<String> {
    use config::Environment;
    System.read(path, BYTES_MAX)
}

/// As much as all files of a configuration together.
const BYTES_MAX: u64 = 32 << 20;
