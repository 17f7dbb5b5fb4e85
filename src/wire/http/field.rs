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
    /// Ends at this hop and is never forwarded: a connection field, one that `Connection` names (RFC 9110 §7.6.1),
    /// `Expect`, which we answer ourselves, or `Trailer`, which is written anew where trailers pass.
    pub hop_by_hop: bool,
    /// The name has a `_` that a CGI-like application reads as `-`. Not forwarded; never set when the listener lets
    /// such names pass. Requests only.
    pub look_alike: bool,
}

macro_rules! known {
    ($($name:ident = $text:literal,)*) => {
        /// Field names that the product treats by meaning. `Other` is every other name.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum Known { #[default] Other, $(#[doc = $text] $name,)* }

        impl Known {
            /// Every known name, `Other` not among them.
            pub const ALL: &'static [Known] = &[$(Known::$name,)*];

            /// The canonical lower-case spelling; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self { Known::Other => "", $(Known::$name => $text,)* }
            }
        }
    };
}

impl Known {
    /// The longest known name.
    pub const BYTES_MAX: usize = 25;

    /// The known name that `name`, a token, spells, ignoring case.
    ///
    /// Length and three bytes select one candidate, which is compared in full.
    pub fn lookup(name: &[u8]) -> Known {
        if !(2..=Known::BYTES_MAX).contains(&name.len()) {
            return Known::Other;
        }
        let known = CANDIDATES[slot(name, FACTOR)];
        if equals_folded(name, known.as_str().as_bytes()) { known } else { Known::Other }
    }

    /// Framing, the connection and the client's identity depend on it: no other name may be mistaken for it (R12).
    pub const fn is_protected(self) -> bool {
        !matches!(
            self,
            Known::Other
                | Known::ContentType
                | Known::Accept
                | Known::UserAgent
                | Known::Referer
                | Known::Date
                | Known::Server
                | Known::Location
                | Known::SecWebSocketKey
        )
    }
}

/// Whether `name`, a token, is `lower` in any case. Known names have only letters, digits and `-`, and no other byte
/// of a token folds to one of those with `| 0x20`; so words can be compared instead of bytes (User-Agent: 12 → 4 ns).
fn equals_folded(name: &[u8], lower: &[u8]) -> bool {
    fn differ<const N: usize>(a: Option<&[u8; N]>, b: Option<&[u8; N]>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => a.iter().zip(b).fold(0, |all, (a, b)| all | ((a | 0x20) ^ b)) != 0,
            _ => true,
        }
    }
    if name.len() != lower.len() {
        return false;
    }
    match name.len() {
        // Both ends of what is left overlap rather than fall back to single bytes.
        0..4 => name.eq_ignore_ascii_case(lower),
        4..8 => {
            !differ(name.first_chunk::<4>(), lower.first_chunk())
                && !differ(name.last_chunk::<4>(), lower.last_chunk())
        }
        8..=16 => {
            !differ(name.first_chunk::<8>(), lower.first_chunk())
                && !differ(name.last_chunk::<8>(), lower.last_chunk())
        }
        _ => {
            !differ(name.first_chunk::<16>(), lower.first_chunk())
                && !differ(name.last_chunk::<16>(), lower.last_chunk())
        }
    }
}

/// The only slot in which a known name with these bytes can stand. Letters fold with `| 0x20`; what else folds is told
/// apart by the full comparison.
const fn slot(name: &[u8], factor: u32) -> usize {
    let length = name.len();
    let bytes =
        [name[0] | 0x20, name[length * 3 / 4] | 0x20, name[length - 1] | 0x20, length.to_le_bytes()[0]];
    (u32::from_le_bytes(bytes).wrapping_mul(factor) >> (32 - SLOT_BITS)) as usize
}

/// A table without collisions, for a given factor.
const fn arrange(factor: u32) -> Option<[Known; 1 << SLOT_BITS]> {
    let mut table = [Known::Other; 1 << SLOT_BITS];
    let mut at = 0;
    while at < Known::ALL.len() {
        let known = Known::ALL[at];
        let text = known.as_str().as_bytes();
        assert!(
            2 <= text.len() && text.len() <= Known::BYTES_MAX,
            "outside the lengths that lookup considers"
        );
        let slot = slot(text, factor);
        if !matches!(table[slot], Known::Other) {
            return None;
        }
        table[slot] = known;
        at += 1;
    }
    Some(table)
}

/// Found when the crate is compiled. Two names that agree in length and in all three bytes have no factor; such a
/// pair stops the compiler here, and `slot` has to look at another byte.
const FACTOR: u32 = {
    let mut factor = 0x9e37_79b1_u32;
    while arrange(factor).is_none() {
        factor = factor.wrapping_mul(5).wrapping_add(2);
    }
    factor
};

static CANDIDATES: [Known; 1 << SLOT_BITS] = match arrange(FACTOR) {
    Some(table) => table,
    None => panic!("the factor was chosen for this table"),
};

const SLOT_BITS: u32 = 9;

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
    ClientCert = "client-cert",
    ClientCertChain = "client-cert-chain",
    ProxyStatus = "proxy-status",
    IdempotencyKey = "idempotency-key",
    Location = "location",
    SecWebSocketKey = "sec-websocket-key",
    Http2Settings = "http2-settings",
}
