//! Where connections to endpoints come from, when the kernel is not to choose.
//!
//! A source address has as many ports for an endpoint as `net.ipv4.ip_local_port_range` holds, so that several addresses
//! multiply the connections that one endpoint may have.

use base::addr::Addr;
use std::net::IpAddr;

/// The source addresses of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Addresses of this machine, in turn; never empty.
    Own(Box<[IpAddr]>),
    /// The address of the client that the connection is made for.
    Client,
}

/// Where one connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From {
    pub source: IpAddr,
    /// It need not be an address of this machine.
    pub transparent: bool,
}

impl Egress {
    /// Whether a connection may serve one client only.
    pub fn is_private(&self) -> bool {
        *self == Egress::Client
    }

    /// All places that a connection to `to` may come from, to be tried in this order: those of its family, beginning at
    /// random. Empty when there is none. `client` is unspecified on a Unix socket.
    pub fn candidates(&self, to: &Addr, client: IpAddr, random: u64) -> impl Iterator<Item = From> + use<'_> {
        let is_ipv4 = to.ip().is_some_and(|ip| ip.is_ipv4());
        let (own, client) = match self {
            Egress::Own(own) => (&**own, None),
            Egress::Client => (&[][..], (!client.is_unspecified()).then_some(client)),
        };
        let start = usize::try_from(random % own.len().max(1) as u64).unwrap_or(0);
        let turned = own[start..].iter().chain(&own[..start]);
        let own = turned.map(|&source| From { source, transparent: false });
        let client = client.map(|source| From { source, transparent: true });
        own.chain(client).filter(move |from| from.source.is_ipv4() == is_ipv4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn to(text: &str) -> Addr {
        Addr::Ip(text.parse().expect("an address"))
    }

    #[test]
    fn addresses_of_the_family_are_tried_in_turn_from_any_one_on() {
        let own = Egress::Own(["10.0.0.1", "fd00::1", "10.0.0.2"].map(ip).into());
        let sources = |to: &Addr, random| -> Vec<IpAddr> {
            own.candidates(to, ip("192.0.2.1"), random).map(|from| from.source).collect()
        };
        assert_eq!(sources(&to("10.9.9.9:80"), 0), ["10.0.0.1", "10.0.0.2"].map(ip));
        assert_eq!(sources(&to("10.9.9.9:80"), 5), ["10.0.0.2", "10.0.0.1"].map(ip));
        assert_eq!(sources(&to("[fd00::9]:80"), 2), [ip("fd00::1")]);
        assert!(!own.is_private());
    }

    #[test]
    fn a_client_of_another_family_or_without_an_address_has_no_source() {
        let from = |to: &Addr, client: &str| Egress::Client.candidates(to, ip(client), 7).next();
        let transparent = Some(From { source: ip("192.0.2.1"), transparent: true });
        assert_eq!(from(&to("10.9.9.9:80"), "192.0.2.1"), transparent);
        assert_eq!(from(&to("[fd00::9]:80"), "192.0.2.1"), None);
        assert_eq!(from(&to("10.9.9.9:80"), "0.0.0.0"), None);
        assert!(Egress::Client.is_private());
    }
}
