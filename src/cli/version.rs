//! `ringway version`.

use crate::args::Version;
use crate::exit::{Exit, print};
use serde_json::json;

/// The version of Ringway, as in its Cargo manifest.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) fn version(args: &Version) -> Exit {
    if args.json {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        return print(&format!(
            "{}\n",
            json!({ "name": "ringway", "version": VERSION, "os": os, "arch": arch })
        ));
    }
    print(&format!("ringway {VERSION}\n"))
}
