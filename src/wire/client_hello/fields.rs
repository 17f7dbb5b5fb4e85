//! What stands in a complete ClientHello.

use super::HelloError;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a client says before anybody has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    pub server_name: ServerName,
    pub protocols: Protocols,
    pub versions: Versions,
    /// It carries Encrypted ClientHello, or pretends to: `server_name` is then the outer one (RFC 9849).
    pub encrypted: bool,
}

/// Which host the client wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerName {
    /// It does not say.
    #[default]
    Absent,
    /// A host name in lower case, without a dot at its end: letters, digits, `-`, `_` and single dots.
    Name(Box<str>),
    /// Something that is no host name: an address (RFC 6066 §3 forbids it), a NUL, an empty or endless text.
    Unusable,
}

impl ServerName {
    /// The name, if there is one that can be used.
    pub fn name(&self) -> Option<&str> {
        match self {
            ServerName::Name(name) => Some(name),
            ServerName::Absent | ServerName::Unusable => None,
        }
    }

    fn of(bytes: &[u8]) -> ServerName {
        let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
        let is_label = |label: &[u8]| {
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
        };
        if bytes.len() > NAME_BYTES_MAX || !bytes.split(|&byte| byte == b'.').all(is_label) {
            return ServerName::Unusable;
        }
        let Ok(name) = str::from_utf8(bytes) else { return ServerName::Unusable };
        // Colons and brackets are no part of a label, so that an IPv6 address has been refused already.
        debug_assert!(name.parse::<Ipv6Addr>().is_err());
        if name.parse::<Ipv4Addr>().is_ok() {
            return ServerName::Unusable;
        }
        ServerName::Name(name.to_ascii_lowercase().into())
    }
}

/// RFC 1035 §2.3.4, without the length bytes of the wire form.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// The protocols that the client speaks, most wanted first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protocols {
    /// Each with its length before it, as in the extension.
    list: Box<[u8]>,
}

impl Protocols {
    /// Without what exists only to be ignored (RFC 8701).
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = Reader(&self.list);
        std::iter::from_fn(move || rest.short().ok()).filter(|name| !is_grease(name))
    }

    pub fn contains(&self, protocol: &[u8]) -> bool {
        self.iter().any(|own| own == protocol)
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Versions of TLS that the client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions(u8);

impl Versions {
    /// Whether the client speaks TLS 1.`minor`, for `minor` from 0 to 3.
    pub fn contains(self, minor: u8) -> bool {
        minor < 8 && self.0 & 1 << minor != 0
    }

    /// The newest as `minor` of 1.`minor`.
    pub fn newest(self) -> Option<u8> {
        (0..8).rev().find(|&minor| self.contains(minor))
    }

    fn add(&mut self, version: u16) {
        if let [3, minor @ 1..=4] = version.to_be_bytes() {
            self.0 |= 1 << (minor - 1);
        }
    }

    /// Before 1.3 a client names the newest one, and means all from 1.0 on.
    fn up_to(version: u16) -> Versions {
        let mut versions = Versions::default();
        (0x0301..=version.min(0x0303)).for_each(|version| versions.add(version));
        versions
    }
}

const SERVER_NAME: u16 = 0;
const PROTOCOLS: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const HOST_NAME: u8 = 0;

impl ClientHello {
    /// Reads the body of a ClientHello message, all of which must be used up.
    pub(super) fn read(body: &[u8]) -> Result<ClientHello, HelloError> {
        let mut body = Reader(body);
        let legacy_version = body.u16()?;
        let _random = body.take(32)?;
        let session_id = body.short()?;
        let cipher_suites = body.long()?;
        let compressions = body.short()?;
        if session_id.len() > 32
            || cipher_suites.is_empty()
            || cipher_suites.len() % 2 != 0
            || compressions.is_empty()
        {
            return Err(HelloError::Malformed);
        }
        let mut hello = ClientHello {
            server_name: ServerName::Absent,
            protocols: Protocols::default(),
            versions: Versions::up_to(legacy_version),
            encrypted: false,
        };
        // Before TLS 1.3 a hello could end here.
        if !body.0.is_empty() {
            let extensions = body.long()?;
            if !body.0.is_empty() {
                return Err(HelloError::Malformed);
            }
            hello.read_extensions(extensions)?;
        }
        Ok(hello)
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Result<(), HelloError> {
        let mut extensions = Reader(extensions);
        let mut seen = Seen::default();
        while !extensions.0.is_empty() {
            let (kind, content) = (extensions.u16()?, extensions.long()?);
            // Two of them could be read in two ways (RFC 8446 §4.2). Those that are not looked at are not compared.
            match kind {
                SERVER_NAME => {
                    seen.once(1)?;
                    self.server_name = server_name(content)?;
                }
                PROTOCOLS => {
                    seen.once(2)?;
                    self.protocols = protocols(content)?;
                }
                SUPPORTED_VERSIONS => {
                    seen.once(4)?;
                    self.versions = versions(content)?;
                }
                ENCRYPTED_CLIENT_HELLO => {
                    seen.once(8)?;
                    self.encrypted = true;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Which extensions have been there.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    fn once(&mut self, bit: u8) -> Result<(), HelloError> {
        if self.0 & bit != 0 {
            return Err(HelloError::Malformed);
        }
        self.0 |= bit;
        Ok(())
    }
}

/// "The ServerNameList MUST NOT contain more than one name of the same name_type" (RFC 6066 §3).
fn server_name(content: &[u8]) -> Result<ServerName, HelloError> {
    let mut content = Reader(content);
    let mut names = Reader(content.long()?);
    if !content.0.is_empty() || names.0.is_empty() {
        return Err(HelloError::Malformed);
    }
    let mut found = ServerName::Absent;
    while !names.0.is_empty() {
        let (kind, name) = (names.u8()?, names.long()?);
        if kind == HOST_NAME {
            if found != ServerName::Absent {
                return Err(HelloError::Malformed);
            }
            found = ServerName::of(name);
        }
    }
    Ok(found)
}

/// "Empty strings MUST NOT be included" (RFC 7301 §3.1).
fn protocols(content: &[u8]) -> Result<Protocols, HelloError> {
    let mut content = Reader(content);
    let list = content.long()?;
    if !content.0.is_empty() || list.is_empty() {
        return Err(HelloError::Malformed);
    }
    let mut names = Reader(list);
    while !names.0.is_empty() {
        if names.short()?.is_empty() {
            return Err(HelloError::Malformed);
        }
    }
    Ok(Protocols { list: list.into() })
}

fn versions(content: &[u8]) -> Result<Versions, HelloError> {
    let mut content = Reader(content);
    let mut list = Reader(content.short()?);
    if !content.0.is_empty() || list.0.is_empty() {
        return Err(HelloError::Malformed);
    }
    let mut versions = Versions::default();
    while !list.0.is_empty() {
        versions.add(list.u16()?);
    }
    Ok(versions)
}

/// Values that exist only so that servers learn to ignore what they do not know (RFC 8701 §2).
fn is_grease(name: &[u8]) -> bool {
    matches!(*name, [a, b] if a == b && a & 0x0f == 0x0a)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(HelloError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, HelloError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        let two = self.take(2)?;
        Ok(u16::from_be_bytes([two[0], two[1]]))
    }

    /// Bytes with a length of one byte before them.
    fn short(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// Bytes with a length of two bytes before them.
    fn long(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.u16()?;
        self.take(length.into())
    }
}
