//! Typed literals: how a duration, a size or an address is written, read and printed back.
//!
//! Each reads exactly what its `expected` text says, and prints a form that reads back as the same value. Nothing here
//! knows where a literal stands; `decode` adds the place.

mod address;
mod factor;
mod printed;
mod quantity;
mod target;
mod url;
mod word;

pub use address::{Address, Cidr, NoAddress};
pub use factor::LoadFactor;
pub(crate) use printed::printed;
pub use quantity::{Bound, ByteRate, Bytes, Percent, Rate, Ratio};
pub(crate) use quantity::{DurationText, duration, optional_duration, print_duration};
pub use target::Target;
pub use url::Url;
pub(crate) use word::words;

/// A value that is written as one string.
pub(crate) trait Literal: Sized {
    /// Completes "expected …" in an error message.
    const EXPECTED: &'static str;

    /// Reads it; says what is wrong beyond the form when there is something to say.
    fn read(text: &str) -> Result<Self, Misread>;
}

/// Why a literal could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misread {
    /// It has not the form that `EXPECTED` describes.
    Form,
    /// It has the form, but this is wrong with it.
    Because(String),
    /// A word of a later version.
    Later,
    /// A closed set of words of which it is none; these are the candidates for "did you mean".
    Word(&'static [&'static str]),
}
