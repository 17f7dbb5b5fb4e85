//! The last set of an issuer, on disk: a node that starts while the issuer is down serves with it (K5).
//!
//! Public keys are no secret, but whoever could write the file could sign tokens: it is made for its owner alone, and
//! counts only for the address that it came from.

use config::Environment;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A set, and where and when it was fetched.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) url: String,
    /// Seconds since 1970.
    pub(super) fetched: u64,
    pub(super) set: String,
}

impl Kept {
    /// What is kept in `folder` of the issuer at `url`.
    pub(super) fn read(folder: &Path, url: &str) -> Option<Kept> {
        let text = config::System.read(&place(folder, url), super::task::SET_BYTES_MAX as u64 * 2).ok()?;
        let kept: Kept = serde_json::from_str(&text).ok()?;
        (kept.url == url).then_some(kept)
    }

    /// Keeps it in the place of what was kept before, at once.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let text = serde_json::to_vec(self)?;
        let place = place(folder, &self.url);
        let new = place.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&new, &place)?;
            File::open(folder)?.sync_all()
        };
        let written = write();
        if written.is_err() {
            // The error that matters is the first one.
            let _ = std::fs::remove_file(&new);
        }
        written
    }
}

/// Addresses have more characters than names of files.
fn place(folder: &Path, url: &str) -> PathBuf {
    let digest = auth::fingerprint([url.as_bytes()]);
    let name: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("jwks-{name}.json"))
}
