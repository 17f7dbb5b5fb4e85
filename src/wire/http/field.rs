//! Header fields.

use super::Span;

/// One header field of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// As the peer spelled it.
    pub name: Span,
    /// Without surrounding white space.
    pub value: Span,
    pub known: Known,
    pub flags: FieldFlags,
}

/// What the parser found out about one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldFlags {
    /// Ends at this hop: a connection field, or one that `Connection` names (RFC 9110 §7.6.1). Never forwarded.
    pub hop_by_hop: bool,
    /// The name has a `_` that a CGI-like application reads as `-`. Not forwarded unless the listener allows it.
    pub look_alike: bool,
}

macro_rules! known {
    ($($name:ident = $text:literal,)*) => {
        /// Field names that the product treats by meaning. `Other` is every other name.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum Known { #[default] Other, $(#[doc = $text] $name,)* }

        impl Known {
            /// The canonical lower-case spelling; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self { Known::Other => "", $(Known::$name => $text,)* }
            }

            /// The known name that `name` spells, ignoring case.
            pub fn lookup(name: &[u8]) -> Known {
                match name.len() {
                    2..=25 => {}
                    _ => return Known::Other,
                }
                $(if name.len() == $text.len() && name.eq_ignore_ascii_case($text.as_bytes()) { return Known::$name; })*
                Known::Other
            }
        }
    };
}

known! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    Expect = "expect",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ContentType = "content-type",
    Accept = "accept",
    UserAgent = "user-agent",
    Referer = "referer",
    Cookie = "cookie",
    Authorization = "authorization",
    Date = "date",
    Server = "server",
    Via = "via",
    Forwarded = "forwarded",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XRealIp = "x-real-ip",
    XRequestId = "x-request-id",
    ProxyStatus = "proxy-status",
    IdempotencyKey = "idempotency-key",
    Location = "location",
    SecWebSocketKey = "sec-websocket-key",
    Http2Settings = "http2-settings",
}
