//! Upstreams: endpoints with their shared cells, and the balancer over them.

use super::health;
use super::listener::address;
use super::proxy_protocol::send;
use super::{Compiler, FOREVER, origin};
use base::addr::Addr;
use base::ids::{EndpointId, UpstreamId};
use base::limits::HttpLimits;
use config::model::{Balance, HashKey, Source, Tier};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use tls::Connector;
use traffic::balance::{Algorithm, Balancer, HashKey as CompiledKey, Rules};
use traffic::egress::Egress;
use traffic::health::{EndpointCell, Health};
use traffic::snapshot::{Endpoint, EndpointTls, Upstream, UpstreamTimeouts};
use traffic::upstream_stats::UpstreamStats;
use wire::secure;

impl Compiler<'_> {
    pub(super) fn upstreams(&mut self) -> Vec<Upstream> {
        let mut upstreams = Vec::with_capacity(self.config.upstreams.len());
        for (place, written) in self.config.upstreams.iter().enumerate() {
            self.check_can_be_performed(written);
            let endpoints = self.endpoints(written);
            let has_names = written.endpoints.iter().any(|endpoint| endpoint.address.is_name());
            let unresolved = has_names && endpoints.is_empty();
            let balancer = Balancer::build(&self.rules(written), &endpoints);
            let balancer = balancer.with_thresholds(health::thresholds(written));
            let balancer = match self.carried.balancer(&written.name) {
                Some(previous) => balancer.succeeding(previous),
                None => balancer,
            };
            let sticky = self.sticky(written, &endpoints);
            let stats = self.carried.upstream_stats(&written.name);
            upstreams.push(Upstream {
                id: UpstreamId(u32::try_from(place).unwrap_or(u32::MAX)),
                name: written.name.as_str().into(),
                origin: origin(&written.origin),
                endpoints,
                unresolved,
                balancer,
                sticky,
                stats: stats.unwrap_or_else(|| Arc::new(UpstreamStats::new(self.workers))),
                send_proxy: written.send_proxy.as_ref().map(send),
                timeouts: timeouts(&written.timeouts),
                egress: egress(&written.source).map(Box::new),
                ejection: health::ejection(written),
                success_rate: health::success_rate(&written.outlier),
                budget: self.budget(written),
                admission: self.admission(written),
                http: HttpLimits::DEFAULT,
                http2: written.protocol.is_http2(),
            });
        }
        upstreams
    }

    fn rules(&self, written: &config::model::Upstream) -> Rules {
        Rules {
            algorithm: algorithm(written.balance),
            key: Some(hash_key(&written.hash_key)),
            bounded_load_percent: written.bounded_load.map(|factor| factor.0.into()),
            zone: self.config.zone.as_deref().map(Box::from),
            spill_over_permille: written.spill_over.permille(),
        }
    }

    fn endpoints(&self, written: &config::model::Upstream) -> Vec<Endpoint> {
        // Without checks nobody would ever say that an endpoint is up: only what traffic shows counts.
        let initial = if written.health.is_some() { Health::Checking } else { Health::Up };
        // Beside endpoints that serve already a new one begins slowly; in a new upstream nobody could take its share.
        let others_serve = self.carried.has_endpoints(&written.name);
        let new = || match (others_serve, health::slow_start(written)) {
            (true, slow_start) => EndpointCell::joining(initial, slow_start),
            (false, _) => EndpointCell::new(initial),
        };
        let mut endpoints = Vec::with_capacity(written.endpoints.len());
        for Place { addr, weight, tier, zone, name } in self.places(written) {
            let carried = self.carried.cell(&written.name, &addr);
            let usable = carried.filter(|cell| written.health.is_some() || cell.health() == Health::Up);
            let cell = usable.unwrap_or_else(|| Arc::new(new()));
            let wish = self.live.wish(&written.name, &addr);
            if let Some(wish) = wish {
                cell.set_service(wish.service);
            }
            endpoints.push(Endpoint {
                id: EndpointId(u32::try_from(endpoints.len()).unwrap_or(u32::MAX)),
                text: addr.to_string().into(),
                weight: wish.and_then(|wish| wish.weight).map_or(weight, u32::from),
                tier,
                zone: zone.map(Box::from),
                cell,
                valve: self.valve(written, &addr),
                tls: tls(self.secrets.connector(&written.name), name, &addr),
                addr,
            });
        }
        endpoints
    }

    /// Where the endpoints are: written addresses in the order of the text, then those that names stand for, each address
    /// once.
    fn places<'w>(&self, written: &'w config::model::Upstream) -> Vec<Place<'w>> {
        let tier = |tier| match tier {
            Tier::Primary => 0,
            Tier::Backup => 1,
        };
        let mut places = Vec::with_capacity(written.endpoints.len());
        for endpoint in &written.endpoints {
            if let Some(fixed) = endpoint.address.address() {
                let (weight, tier) = (endpoint.weight.into(), tier(endpoint.tier));
                let zone = endpoint.zone.as_deref();
                places.push(Place { addr: address(fixed), weight, tier, zone, name: None });
            }
        }
        let named = written.endpoints.iter().filter(|endpoint| endpoint.address.is_name());
        let mut seen: HashSet<Addr> = HashSet::new();
        for endpoint in named {
            if seen.is_empty() {
                seen.extend(places.iter().map(|place| place.addr.clone()));
            }
            for found in self.live.found(&written.name, &endpoint.address) {
                let addr = Addr::Ip(found.addr);
                if seen.insert(addr.clone()) {
                    places.push(Place {
                        addr,
                        weight: u32::from(endpoint.weight).saturating_mul(found.weight),
                        tier: tier(endpoint.tier).saturating_add(found.rank),
                        zone: endpoint.zone.as_deref(),
                        name: endpoint.address.host(),
                    });
                }
            }
        }
        places
    }
}

/// Where an endpoint is and what share it has, before anybody asked for something else.
struct Place<'w> {
    addr: Addr,
    weight: u32,
    tier: u8,
    zone: Option<&'w str>,
    /// The name that stands for it.
    name: Option<&'w str>,
}

/// How TLS is spoken with an endpoint: it must be certified as its name, or as its address where it has none.
fn tls(connector: Option<Arc<Connector>>, name: Option<&str>, addr: &Addr) -> Option<EndpointTls> {
    let connect = connector?;
    let own = || addr.ip().map_or_else(|| "localhost".to_owned(), |addr| addr.ip().to_string());
    let name = name.map_or_else(own, str::to_owned);
    let mut hash = std::hash::DefaultHasher::new();
    (secure::Connect::identity(&*connect), &name).hash(&mut hash);
    Some(EndpointTls { connect, name: name.into(), identity: hash.finish().max(1) })
}

fn algorithm(written: Balance) -> Algorithm {
    match written {
        Balance::RoundRobin => Algorithm::RoundRobin,
        Balance::Random => Algorithm::Random,
        Balance::LeastConnections => Algorithm::LeastConnections,
        Balance::P2cEwma => Algorithm::P2cEwma,
        Balance::RingHash => Algorithm::RingHash,
        Balance::Maglev => Algorithm::Maglev,
    }
}

fn hash_key(written: &HashKey) -> CompiledKey {
    let bytes = |name: &str| Box::from(name.as_bytes());
    match written {
        HashKey::ClientIp => CompiledKey::ClientIp,
        HashKey::ClientIpPort => CompiledKey::ClientIpPort,
        HashKey::Header(name) => CompiledKey::Header(bytes(name)),
        HashKey::Cookie(name) => CompiledKey::Cookie(bytes(name)),
        HashKey::Query(name) => CompiledKey::Query(bytes(name)),
        HashKey::Path => CompiledKey::Path,
    }
}

fn egress(written: &[Source]) -> Option<Egress> {
    let own = |source: &Source| match source {
        Source::Address(ip) => Some(*ip),
        Source::Client => None,
    };
    match written {
        [] => None,
        // Validation has refused it beside addresses.
        _ if written.contains(&Source::Client) => Some(Egress::Client),
        _ => Some(Egress::Own(written.iter().filter_map(own).collect())),
    }
}

fn timeouts(written: &config::model::UpstreamTimeouts) -> UpstreamTimeouts {
    UpstreamTimeouts {
        connect: written.connect,
        response_head: written.response_header.at().unwrap_or(FOREVER),
        body_idle: written.idle.at().unwrap_or(FOREVER),
        pool_idle: written.keep_alive,
        handshake: written.handshake,
    }
}
