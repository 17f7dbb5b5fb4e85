//! What operators write, and what is wrong with it: text → tree → typed model → checked configuration.
//!
//! ```text
//! KDL  ─┐                     ┌─ decode ─▶ Config ─ validate ─▶ Loaded
//!       ├─ read ─▶ document ──┤                         │
//! JSON ─┘   │ (grammar)       └─ provenance             └─▶ Problems: all of them, in the order of the text
//!           └─▶ include, (env), (file)
//! ```
//!
//! The command line and the control plane call [`load()`], [`parse`] and [`from_args`]. Nothing here opens a socket,
//! resolves a name or writes a file; what is accepted here can be compiled.
#![forbid(unsafe_code)]

mod decode;
mod diff;
mod document;
mod effective;
mod environment;
mod format;
mod grammar;
mod keys_file;
mod literal;
mod load;
pub mod model;
mod problem;
mod prove;
mod provenance;
mod read;
mod schema;
mod serialize;
mod source;
mod validate;

pub use diff::{Change, Changes, Effect, Kind};
pub use effective::{Effective, EffectiveValue};
pub use environment::{Environment, Sealed, System};
pub use format::format;
pub use keys_file::{
    KEYS_FILE_BYTES_MAX, KeysFileError, StoredKey, parse_keys, parse_time, print_keys, print_time,
};
pub use literal::{
    Address, Bound, ByteRate, Bytes, Cidr, LoadFactor, NoAddress, Percent, Rate, Ratio, Target, Url,
};
pub use load::{Loaded, from_args, from_args_with_tcp, load, load_from, parse};
pub use model::Config;
pub use problem::{Code, Place, Problem, Problems, Severity};
pub use prove::{Open, prove};
pub use read::Format;
pub use schema::schema;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
