//! Addresses: what is bound, what is connected to, and ranges of clients.

use super::{Literal, Misread, printed};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// `sun_path` of Linux without the terminating zero byte.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// An address to bind or to connect to: `10.0.0.1:80`, `[::1]:80` or `unix:/run/web.sock`; for listeners also `fd:web`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Ip(SocketAddr),
    /// An absolute path, or `@` and a name for a socket without a file.
    Unix(PathBuf),
    /// The name of a socket that the process is started with.
    Passed(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(addr) => addr.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Passed(name) => write!(f, "fd:{name}"),
        }
    }
}

/// Why a text is no address; says what would be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAddress(String);

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAddress {}

impl NoAddress {
    pub(crate) fn new<T: Literal>(text: &str, misread: Misread) -> Self {
        match misread {
            Misread::Because(why) => NoAddress(format!("{text:?} is no address: {why}")),
            Misread::Later => NoAddress(format!("{text:?} is a name; use an IP address")),
            Misread::Form | Misread::Word(_) => NoAddress(format!("expected {}, not {text:?}", T::EXPECTED)),
        }
    }
}

/// For addresses on the command line.
impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        Address::read(text).map_err(|misread| NoAddress::new::<Address>(text, misread))
    }
}

impl Literal for Address {
    const EXPECTED: &'static str =
        "an address such as \"10.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/web.sock\"";

    fn read(text: &str) -> Result<Self, Misread> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if let Some(name) = text.strip_prefix("fd:") {
            return passed(name);
        }
        if let Ok(addr) = text.parse() {
            return Ok(Address::Ip(addr));
        }
        if text.parse::<IpAddr>().is_ok() || text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(Misread::Because("it has no port".into()));
        }
        let Some((host, port)) = text.rsplit_once(':') else { return Err(Misread::Form) };
        let name = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let numeric = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match port.parse::<u16>() {
            Ok(_) if name && !numeric => Err(Misread::Later),
            Err(_) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(Misread::Because("a port is at most 65535".into()))
            }
            _ => Err(Misread::Form),
        }
    }
}

/// As `FileDescriptorName=` of systemd has it.
fn passed(name: &str) -> Result<Address, Misread> {
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if !plain || name.is_empty() || name.len() > PASSED_NAME_BYTES_MAX {
        return Err(Misread::Because(
            "a passed socket has a name of at most 255 visible characters without \":\"".into(),
        ));
    }
    Ok(Address::Passed(name.to_owned()))
}

const PASSED_NAME_BYTES_MAX: usize = 255;

fn unix(path: &str) -> Result<Address, Misread> {
    if path == "@" {
        return Err(Misread::Because("a unix socket without a file needs a name behind the \"@\"".into()));
    }
    if !path.starts_with(['/', '@']) {
        return Err(Misread::Because("the path of a unix socket must be absolute".into()));
    }
    if path.len() > UNIX_PATH_BYTES_MAX {
        return Err(Misread::Because(format!(
            "the path of a unix socket has at most {UNIX_PATH_BYTES_MAX} bytes"
        )));
    }
    if path.contains('\0') {
        return Err(Misread::Form);
    }
    Ok(Address::Unix(path.into()))
}

/// A range of addresses, written `10.0.0.0/8`; without `/` it is a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// With the bits behind the prefix cleared.
    pub address: IpAddr,
    /// Up to 32 or 128.
    pub prefix: u8,
}

impl Cidr {
    /// Whether the two have an address in common.
    pub fn intersects(&self, other: &Cidr) -> bool {
        let prefix = self.prefix.min(other.prefix);
        match (self.address, other.address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                masked(self.address, prefix) == masked(other.address, prefix)
            }
            _ => false,
        }
    }

    /// Whether every address of the other is one of this.
    pub fn covers(&self, other: &Cidr) -> bool {
        self.prefix <= other.prefix && self.intersects(other)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Literal for Cidr {
    const EXPECTED: &'static str = "an address range such as \"10.0.0.0/8\" or \"fd00::/8\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| Misread::Form)?;
        let prefix = match prefix {
            None => bits(address),
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().map_err(|_| Misread::Form)?
            }
            Some(_) => return Err(Misread::Form),
        };
        if prefix > bits(address) {
            return Err(Misread::Because(format!("the prefix is at most {}", bits(address))));
        }
        let network = masked(address, prefix);
        if network != address {
            return Err(Misread::Because(format!(
                "it has bits behind the prefix; write \"{network}/{prefix}\""
            )));
        }
        Ok(Cidr { address, prefix })
    }
}

printed! {
    Address = "Address", { "examples": ["10.0.0.1:8080"] };
    Cidr = "AddressRange", { "examples": ["10.0.0.0/8"] };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_unix_path_and_a_name_belongs_to_a_later_version() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/run/web.sock", "unix:@web"] {
            assert_eq!(Address::read(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Address::read("api.internal:80"), Err(Misread::Later));
        for text in [
            "",
            "80",
            ":80",
            "127.0.0.1",
            "::1",
            "[::1]",
            "1.2.3.4:65536",
            "256.1.1.1:80",
            "unix:web.sock",
            "unix:@",
            "a b:80",
        ] {
            assert!(matches!(Address::read(text), Err(Misread::Form | Misread::Because(_))), "{text}");
        }
    }

    #[test]
    fn ranges_intersect_exactly_when_one_lies_in_the_other() {
        let read = |text| Cidr::read(text).expect("a range");
        assert!(read("10.0.0.0/8").covers(&read("10.1.0.0/16")));
        assert!(!read("10.1.0.0/16").covers(&read("10.0.0.0/8")));
        assert!(read("10.1.0.0/16").intersects(&read("10.0.0.0/8")));
        assert!(!read("10.0.0.0/8").intersects(&read("11.0.0.0/8")));
        assert!(read("0.0.0.0/0").covers(&read("1.2.3.4")));
        assert!(!read("0.0.0.0/0").intersects(&read("::/0")));
        for text in ["10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "x/8", "10.0.0.0/+8"] {
            assert!(Cidr::read(text).is_err(), "{text}");
        }
    }
}
