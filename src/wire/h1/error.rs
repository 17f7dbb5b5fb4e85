//! Why a head was refused.

use std::fmt;

macro_rules! head_errors {
    ($($(#[$doc:meta])* $name:ident $({ $field:ident: $type:ty })? = $status:literal, $reason:literal, $text:literal;)*) => {
        /// Why a request or response head was refused. One variant per reason; all of them end the connection.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum HeadError { $($(#[$doc])* $name $({ $field: $type })?,)* }

        impl HeadError {
            /// The status that answers a request refused for this reason. A response refused for it is a 502.
            pub const fn status(self) -> u16 {
                match self { $(HeadError::$name $({ $field: _ })? => $status,)* }
            }

            /// The reason as the access log and the metrics spell it.
            pub const fn reason(self) -> &'static str {
                match self { $(HeadError::$name $({ $field: _ })? => $reason,)* }
            }

            /// Every reason, for tables of metrics and documentation.
            pub const REASONS: &'static [&'static str] = &[$($reason),*];
        }

        impl fmt::Display for HeadError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(HeadError::$name $({ $field })? => {
                        f.write_str($text)?;
                        $(write!(f, " ({} {})", stringify!($field), $field)?;)?
                        Ok(())
                    })*
                }
            }
        }
    };
}

head_errors! {
    /// The request line is not `method SP target SP version`, or an empty line stands before it.
    BadRequestLine = 400, "bad_request_line", "malformed request line";
    /// The status line is not `version SP 3DIGIT [SP reason]`, or the status is outside 100..=599.
    BadStatusLine = 400, "bad_status_line", "malformed status line";
    /// The method is not a token, or longer than 32 bytes.
    BadMethod = 400, "bad_method", "malformed method";
    /// `CONNECT` is never served.
    ConnectNotAllowed = 405, "connect_not_allowed", "CONNECT is not served here";
    /// The version is not spelled `HTTP/d.d`.
    BadVersion = 400, "bad_version", "malformed HTTP version";
    /// A major version other than 1 on an HTTP/1 connection.
    UnsupportedVersion = 505, "unsupported_version", "HTTP version not supported";
    /// The target has a forbidden byte, a bad or dangerous escape, a path above the root or the wrong form.
    BadUri = 400, "bad_uri", "malformed request target";
    /// The target is longer than the limit.
    UriTooLong { limit_bytes: u32 } = 414, "uri_too_long", "request target too long";
    /// Request line and fields together are longer than the limit.
    HeadTooLarge { limit_bytes: u32 } = 431, "head_too_large", "head too large";
    /// One line is longer than the limit.
    LineTooLong { limit_bytes: u32 } = 431, "line_too_long", "field line too long";
    /// More fields than the limit.
    TooManyFields { limit_fields: u16 } = 431, "too_many_fields", "too many fields";
    /// A line ends with LF alone.
    BareLf = 400, "bare_lf", "line ends without CR";
    /// A CR that is not followed by LF.
    BareCr = 400, "bare_cr", "CR inside a line";
    /// A field continues on a second line (RFC 9112 §5.2).
    ObsFold = 400, "obs_fold", "folded field line";
    /// A field name is empty, not a token, followed by white space, or there is no colon.
    BadFieldName = 400, "bad_field_name", "malformed field name";
    /// A control character in a field value.
    BadFieldValue = 400, "bad_field_value", "forbidden byte in a field value";
    /// A name that an application could read as a framing or identity field, such as `Content_Length`.
    LookAlike = 400, "look_alike", "field name imitates a protected one";
    /// `Connection` names a field that must not be removed, or has too many or malformed options.
    BadConnectionOption = 400, "bad_connection_option", "forbidden or malformed connection option";
    /// `Content-Length` and `Transfer-Encoding` in one message (RFC 9112 §6.3).
    ClAndTe = 400, "cl_and_te", "both Content-Length and Transfer-Encoding";
    /// `Content-Length` is not a decimal number below 2^63.
    BadCl = 400, "bad_cl", "malformed Content-Length";
    /// `Content-Length` twice, be it with the same value.
    DuplicateCl = 400, "duplicate_cl", "repeated Content-Length";
    /// `Transfer-Encoding` is malformed or repeated, or `chunked` is not its last coding.
    BadTe = 400, "bad_te", "malformed Transfer-Encoding";
    /// A transfer coding other than `chunked`.
    UnknownTe = 501, "unknown_te", "transfer coding not implemented";
    /// `Transfer-Encoding` in an HTTP/1.0 message.
    TeOnHttp10 = 400, "te_on_http10", "Transfer-Encoding in HTTP/1.0";
    /// A body on an HTTP/1.0 GET, HEAD or DELETE.
    BodyOnHttp10 = 413, "body_on_http10", "body on an HTTP/1.0 request that should have none";
    /// Framing fields in an informational response.
    FramingIn1xx = 400, "framing_in_1xx", "framing field in an informational response";
    /// The authority is not `host[:port]` with a registered name, an IPv4 or a bracketed IPv6 address.
    BadHost = 400, "bad_host", "malformed host";
    /// HTTP/1.1 without `Host`.
    MissingHost = 400, "missing_host", "no Host";
    /// `Host` more than once.
    DuplicateHost = 400, "duplicate_host", "repeated Host";
    /// The authority of an absolute target and `Host` name different places.
    HostMismatch = 400, "host_mismatch", "Host differs from the request target";
    /// `Expect` other than `100-continue`.
    BadExpect = 417, "bad_expect", "unknown expectation";
}

impl std::error::Error for HeadError {}

const _: () = assert!(size_of::<HeadError>() <= 8, "travels in every parse result");
