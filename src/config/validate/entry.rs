//! Is there a way in, and does each address and each host lead to one thing?

use super::Check;
use crate::literal::Address;
use crate::model::{Origin, SiteName};
use crate::problem::Code;
use std::collections::HashMap;
use std::net::SocketAddr;

impl Check<'_> {
    pub(super) fn entry(&mut self, is_whole: bool) {
        if is_whole {
            self.something_to_do();
        }
        self.binds();
        self.hosts();
        self.admin();
    }

    fn something_to_do(&mut self) {
        let root = Origin::command_line();
        let passes_through = !self.config.tcp.is_empty() || !self.config.udp.is_empty();
        if self.config.listeners.is_empty() && !passes_through {
            let hint = Some("add listener \"web\" { bind \"0.0.0.0:8080\" }".to_owned());
            self.error(Code::Missing, &root, "", "there is no listener".to_owned(), hint);
        }
        let serves_http = !self.config.listeners.is_empty() || !passes_through;
        if self.config.sites.is_empty() && serves_http {
            let hint = Some("add site \"*\" { route \"/\" upstream=\"name\" }".to_owned());
            self.error(Code::Missing, &root, "", "there is no site".to_owned(), hint);
        }
    }

    /// Reports addresses that are bound twice, and endpoints that are our own listeners.
    fn binds(&mut self) {
        let config = self.config;
        let of_listeners = config.listeners.iter().flat_map(|listener| {
            let named = format!("the listener \"{}\"", listener.name);
            listener
                .binds
                .iter()
                .enumerate()
                .map(move |(index, bind)| (named.clone(), &listener.origin, index, bind))
        });
        let of_tcp = config.tcp.iter().flat_map(|tcp| {
            let named = format!("the tcp listener \"{}\"", tcp.name);
            tcp.binds.iter().enumerate().map(move |(index, bind)| (named.clone(), &tcp.origin, index, bind))
        });
        let of_admin = config.admin.binds.iter().enumerate();
        let of_admin =
            of_admin.map(|(index, bind)| ("the admin API".to_owned(), &config.admin.origin, index, bind));
        let all: Vec<(String, &Origin, usize, &Address)> =
            of_listeners.chain(of_tcp).chain(of_admin).collect();
        // Ports of UDP are others than those of TCP: a name server has both of one number.
        let of_udp = config.udp.iter().flat_map(|udp| {
            let named = format!("the udp listener \"{}\"", udp.name);
            udp.binds.iter().enumerate().map(move |(index, bind)| (named.clone(), &udp.origin, index, bind))
        });
        let of_udp: Vec<(String, &Origin, usize, &Address)> = of_udp.collect();
        let seen = self.clashes(&all, "connections");
        let seen_udp = self.clashes(&of_udp, "datagrams");
        for upstream in &config.upstreams {
            // What only datagrams get to cannot be a listener of connections, and the other way round.
            let is_for_datagrams = config.udp.iter().any(|udp| udp.upstream == upstream.name);
            for endpoint in &upstream.endpoints {
                let address = endpoint.address.address();
                let own =
                    address.and_then(|address| if is_for_datagrams { &seen_udp } else { &seen }.get(address));
                if let Some(owner) = own {
                    let what = format!("the endpoint is {owner} itself");
                    let hint = Some("requests would go round in circles".to_owned());
                    self.error(Code::Contradiction, &endpoint.origin, "/address", what, hint);
                }
            }
        }
    }

    /// Reports addresses that are bound twice, and returns who has which.
    fn clashes<'b>(
        &mut self,
        all: &'b [(String, &Origin, usize, &'b Address)],
        what_arrives: &str,
    ) -> HashMap<&'b Address, &'b str> {
        let mut seen: HashMap<&Address, &str> = HashMap::new();
        for (owner, origin, index, bind) in all {
            // Port 0 asks for any free port: each such bind gets its own.
            if matches!(bind, Address::Ip(addr) if addr.port() == 0) {
                continue;
            }
            let at = format!("/bind/{index}");
            if let Some(first) = seen.insert(bind, owner) {
                let what = "the address is bound twice".to_owned();
                self.error(Code::Duplicate, origin, &at, what, Some(format!("{first} has it already")));
                continue;
            }
            let wider = all.iter().find(|(other, _, _, wide)| other != owner && is_wider(wide, bind));
            if let Some((other, ..)) = wider {
                let what = format!("the address takes {what_arrives} away from another listener");
                self.warning(
                    Code::Contradiction,
                    origin,
                    &at,
                    what,
                    Some(format!("{other} has all addresses of the port")),
                );
            }
        }
        seen
    }

    /// Reports host names that two sites of one listener answer to.
    fn hosts(&mut self) {
        let config = self.config;
        let mut seen: HashMap<&SiteName, Vec<usize>> = HashMap::new();
        for (at, site) in config.sites.iter().enumerate() {
            for (index, name) in site.names.iter().enumerate() {
                let earlier = seen.entry(name).or_default();
                let shares = |other: &usize| {
                    config
                        .listeners
                        .iter()
                        .any(|l| site.serves(&l.name) && config.sites[*other].serves(&l.name))
                };
                let clash = earlier.iter().copied().find(|other| *other == at || shares(other));
                earlier.push(at);
                let Some(other) = clash else { continue };
                let member = format!("/names/{index}");
                let what =
                    format!("a second site named {}", self.shown(&site.origin, &member, &name.to_string()));
                let first = &config.sites[other].origin;
                let hint = format!(
                    "the one at {first} has the name already; put the routes there, or split by listeners"
                );
                self.error(Code::Duplicate, &site.origin, &member, what, Some(hint));
            }
        }
    }

    fn admin(&mut self) {
        let admin = &self.config.admin;
        for (index, bind) in admin.binds.iter().enumerate() {
            if matches!(bind, Address::Passed(_)) {
                let what = "only a listener can have a passed socket".to_owned();
                let hint = Some("bind \"unix:/run/ringway/admin.sock\"".to_owned());
                self.error(Code::Value, &admin.origin, &format!("/bind/{index}"), what, hint);
            }
            if matches!(bind, Address::Unix(path) if path.to_string_lossy().starts_with('@')) {
                let what = "a socket without a file is open to every user of the machine".to_owned();
                let hint = Some("bind \"unix:/run/ringway/admin.sock\"".to_owned());
                self.error(Code::Value, &admin.origin, &format!("/bind/{index}"), what, hint);
            }
            if let Address::Ip(addr) = bind
                && !addr.ip().is_loopback()
            {
                let what = "the admin API can be reached from outside here, and has no password".to_owned();
                let hint = Some("bind \"127.0.0.1:9901\" or \"unix:/run/ringway/admin.sock\"".to_owned());
                self.warning(Code::Contradiction, &admin.origin, &format!("/bind/{index}"), what, hint);
            }
        }
    }
}

/// Whether `wide` listens on all addresses of the port of `narrow`.
fn is_wider(wide: &Address, narrow: &Address) -> bool {
    let (Address::Ip(wide), Address::Ip(narrow)) = (wide, narrow) else { return false };
    let all = |addr: &SocketAddr| addr.ip().is_unspecified();
    all(wide) && !all(narrow) && wide.port() == narrow.port() && wide.is_ipv4() == narrow.is_ipv4()
}
