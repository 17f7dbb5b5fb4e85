//! Whose the Unix sockets of a listener are, and who may connect to them.

use crate::literal::{Literal, Misread, printed};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// What becomes of the file of each Unix socket that a listener binds, before anybody can connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SocketFile {
    /// Whoever may write may connect. Default: what the umask of the process leaves of 0777.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
    /// Name or number of a user. Default: the one that Ringway runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Name or number of a group. Default: that of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// Permissions of a file, written in octal digits: `0660`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u16);

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Literal for FileMode {
    const EXPECTED: &'static str = "permissions of a file in octal digits, such as \"0660\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u16::from_str_radix(text, 8) {
            Ok(mode) if octal && mode <= 0o777 => Ok(FileMode(mode)),
            Ok(_) if octal => Err(Misread::Because("a socket has no set-id and no sticky bit".into())),
            _ => Err(Misread::Form),
        }
    }
}

printed! {
    FileMode = "FileMode", { "pattern": "^0?[0-7]{3}$", "examples": ["0660"] };
}
