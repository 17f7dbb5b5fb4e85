//! Why a header was refused.

use std::fmt;

macro_rules! header_errors {
    ($($(#[$doc:meta])* $name:ident $({ $field:ident: $type:ty })? = $text:literal;)*) => {
        /// Why a header was refused. All of them end the connection: where its payload begins is unknown.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum HeaderError { $($(#[$doc])* $name $({ $field: $type })?,)* }

        impl fmt::Display for HeaderError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(HeaderError::$name $({ $field })? => {
                        f.write_str($text)?;
                        $(write!(f, " ({} {})", stringify!($field), $field)?;)?
                        Ok(())
                    })*
                }
            }
        }
    };
}

header_errors! {
    /// The bytes are not the beginning of a header of either version.
    NotAHeader = "no PROXY header";
    /// A line of version 1 without CRLF within 107 bytes, or a header of version 2 above the limit.
    TooLong { limit_bytes: usize } = "PROXY header too long";
    /// A line of version 1 that is not spelt as section 2.1 says.
    BadLine = "malformed PROXY line";
    /// An address that is not one of the family that the line names.
    BadAddress = "malformed address in the PROXY line";
    /// A port that is not a plain decimal number up to 65535.
    BadPort = "malformed port in the PROXY line";
    /// The signature of version 2 with another version behind it.
    BadVersion = "unknown version of the PROXY header";
    /// A command other than LOCAL and PROXY.
    BadCommand = "unknown command in the PROXY header";
    /// An address family or transport that version 2 does not define.
    BadFamily = "unknown address family in the PROXY header";
    /// The length leaves no room for the addresses of the family.
    BadLength = "PROXY header shorter than its addresses";
    /// A TLV reaches behind the end of the header, or a part of one is left over.
    TlvPastEnd = "TLV behind the end of the PROXY header";
    /// A TLV has a length that its type cannot have.
    TlvLength = "TLV of the wrong length in the PROXY header";
    /// A TLV that says one thing stands there twice.
    TlvDuplicate = "repeated TLV in the PROXY header";
    /// A NUL inside a text.
    TlvNul = "NUL in a TLV of the PROXY header";
    /// The CRC32C does not match.
    BadChecksum = "wrong checksum of the PROXY header";
}

impl HeaderError {
    /// Whether nobody tried to send a header, as far as one can tell.
    pub fn is_missing(self) -> bool {
        self == HeaderError::NotAHeader
    }
}

impl std::error::Error for HeaderError {}

const _: () = assert!(size_of::<HeaderError>() <= 16, "travels in every parse result");
