//! What may be kept of a response, for how long it may be used again, and where it is kept until then.
//!
//! The rules of RFC 9111 are functions of heads and times and do no I/O: `control` reads `Cache-Control`, `storing` says what
//! may be kept, `freshness` how old it is, `asking` what a request allows, `vary` for which requests it stands, `range` which
//! part is wanted. `store` keeps [`Object`]s for all workers within a bound of bytes, and lets one request at a time fetch
//! what is missing (`fill`).

#![forbid(unsafe_code)]

mod asking;
mod control;
mod fill;
mod freshness;
mod key;
mod object;
mod queues;
mod range;
mod shard;
mod store;
mod storing;
mod vary;

pub use asking::{Asking, Matches};
pub use control::Control;
pub use fill::{Leader, Turn, Waited, Waiting};
pub use freshness::{Freshness, Usable};
pub use key::Key;
pub use object::{Head, Object};
pub use range::{Range, select};
pub use store::{Counts, Found, Store};
pub use storing::{Refused, storable};

/// Name and value of a field, as received.
pub type FieldRef<'a> = (&'a [u8], &'a [u8]);

/// Values of all fields called `name`, ignoring case, in order.
pub(crate) fn values<'a>(
    fields: &'a [FieldRef<'a>],
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> + Clone {
    fields.iter().filter(move |(of, _)| of.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| *value)
}

/// The only value of that name; `None` when there is none, or more than one that say different things.
pub(crate) fn single<'a>(fields: &'a [FieldRef<'a>], name: &'a str) -> Option<&'a [u8]> {
    let mut all = values(fields, name);
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// Seconds since 1970 of a date in one of the three forms of RFC 9110 §5.6.7.
pub fn date(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}
