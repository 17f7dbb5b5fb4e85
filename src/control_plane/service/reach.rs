//! Where a service may be, after its name was resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Public addresses only.
    Public,
    /// Also private networks and this machine.
    Private,
}

impl Reach {
    /// Why there must be no connection to `ip`; `None` when there may be one.
    pub(crate) fn refuses(self, ip: IpAddr) -> Option<&'static str> {
        // An IPv4 address in the clothes of an IPv6 one is what it is inside.
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.refuses_v4(ip),
            IpAddr::V6(ip) => self.refuses_v6(ip),
        }
    }

    fn refuses_v4(self, ip: Ipv4Addr) -> Option<&'static str> {
        let [a, b, ..] = ip.octets();
        // 0.0.0.0/8 reaches this machine on some systems; 240.0.0.0/4 is nobody's.
        if ip.is_link_local() || ip.is_multicast() || a == 0 || a >= 240 {
            return Some(NEVER);
        }
        // RFC 6598: shared by customers of one provider.
        let is_shared = a == 100 && (64..128).contains(&b);
        let is_private = ip.is_private() || ip.is_loopback() || is_shared;
        (is_private && self == Reach::Public).then_some(PRIVATE)
    }

    fn refuses_v6(self, ip: Ipv6Addr) -> Option<&'static str> {
        if ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified() {
            return Some(NEVER);
        }
        let is_private = ip.is_unique_local() || ip.is_loopback();
        (is_private && self == Reach::Public).then_some(PRIVATE)
    }
}

const NEVER: &str = "no service can be at this address";
const PRIVATE: &str = "a private address, which needs allow-private";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r77_services_are_where_services_can_be() {
        let refused = |reach: Reach, text: &str| reach.refuses(text.parse().unwrap()).is_some();
        for public in
            ["1.1.1.1", "198.51.100.7", "2001:db8::1", "::ffff:1.1.1.1", "100.128.0.1", "172.32.0.1"]
        {
            assert!(!refused(Reach::Public, public) && !refused(Reach::Private, public), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(refused(Reach::Public, private) && !refused(Reach::Private, private), "{private}");
        }
        for never in [
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:169.254.169.254",
        ] {
            assert!(refused(Reach::Public, never) && refused(Reach::Private, never), "{never}");
        }
    }
}
