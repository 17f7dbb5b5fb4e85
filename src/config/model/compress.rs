//! How the bodies of responses are made smaller on their way to clients.

use super::Origin;
use crate::literal::{Bytes, words};
use schemars::JsonSchema;
use serde::Serialize;

words! {
    /// A content coding, or none at all.
    pub enum CompressCoding {
        /// RFC 8878.
        Zstd = "zstd",
        /// Brotli, RFC 7932.
        Brotli = "br",
        /// RFC 1952.
        Gzip = "gzip",
        /// Nothing is compressed.
        Off = "off",
    }
    default Off;
}

words! {
    /// How much CPU the bytes are worth.
    pub enum CompressLevel {
        /// The least that there is.
        Fast = "fast",
        /// What most servers do.
        Balanced = "balanced",
        /// Two to four times the CPU, for some per cent fewer bytes.
        Small = "small",
    }
    default Balanced;
}

/// Which responses are compressed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Compress {
    /// Codings, the one that is preferred where a client likes several as much first; or `off` alone, which takes a route
    /// of a site out.
    pub codings: Vec<CompressCoding>,
    /// Content types: exact, `text/*`, or `*+json` for all whose name ends so. Default: text, scripts, JSON, XML, SVG,
    /// WebAssembly.
    pub types: Vec<String>,
    /// Shorter bodies stay as they are, where their length is known beforehand. Default 1 KiB.
    pub min_size: Bytes,
    /// Default balanced.
    pub level: CompressLevel,
    #[serde(skip)]
    pub origin: Origin,
}

impl Compress {
    pub fn is_on(&self) -> bool {
        !self.codings.contains(&CompressCoding::Off)
    }
}
