//! Upstreams: endpoints with their shared cells, and the balancer over them.

use super::health;
use super::listener::address;
use super::{Compiler, FOREVER, Problem, origin};
use base::ids::{EndpointId, UpstreamId};
use base::limits::HttpLimits;
use config::model::{Balance, HashKey, Tier};
use std::sync::Arc;
use traffic::balance::{Algorithm, Balancer, HashKey as CompiledKey};
use traffic::health::{EndpointCell, Health};
use traffic::snapshot::{Endpoint, Upstream, UpstreamTimeouts};

impl Compiler<'_> {
    pub(super) fn upstreams(&mut self) -> Vec<Upstream> {
        let mut upstreams = Vec::with_capacity(self.config.upstreams.len());
        for (place, written) in self.config.upstreams.iter().enumerate() {
            self.warn_of_limits(written);
            self.check_can_be_performed(written);
            let endpoints = self.endpoints(written);
            let balancer =
                Balancer::build(algorithm(written.balance), Some(hash_key(&written.hash_key)), &endpoints)
                    .with_thresholds(health::thresholds(written));
            upstreams.push(Upstream {
                id: UpstreamId(u32::try_from(place).unwrap_or(u32::MAX)),
                name: written.name.as_str().into(),
                origin: origin(&written.origin),
                endpoints,
                unresolved: false,
                balancer,
                timeouts: timeouts(&written.timeouts),
                ejection: health::ejection(written),
                success_rate: health::success_rate(&written.outlier),
                budget: self.carried.budget(&written.name).unwrap_or_default(),
                http: HttpLimits::DEFAULT,
            });
        }
        upstreams
    }

    fn endpoints(&self, written: &config::model::Upstream) -> Vec<Endpoint> {
        // Without checks nobody would ever say that an endpoint is up: only what traffic shows counts.
        let initial = if written.health.is_some() { Health::Checking } else { Health::Up };
        // Beside endpoints that serve already a new one begins slowly; in a new upstream nobody could take its share.
        let others_serve = self.carried.has_upstream(&written.name);
        let new = || match (others_serve, health::slow_start(written)) {
            (true, slow_start) => EndpointCell::joining(initial, slow_start),
            (false, _) => EndpointCell::new(initial),
        };
        let endpoints = written.endpoints.iter().enumerate().map(|(place, endpoint)| {
            let addr = address(&endpoint.address);
            let carried = self.carried.cell(&written.name, &addr);
            let usable = carried.filter(|cell| written.health.is_some() || cell.health() == Health::Up);
            Endpoint {
                id: EndpointId(u32::try_from(place).unwrap_or(u32::MAX)),
                text: addr.to_string().into(),
                weight: endpoint.weight.into(),
                tier: match endpoint.tier {
                    Tier::Primary => 0,
                    Tier::Backup => 1,
                },
                cell: usable.unwrap_or_else(|| Arc::new(new())),
                addr,
            }
        });
        endpoints.collect()
    }

    /// These limits belong to the model already, but no worker enforces them yet; nobody should think otherwise.
    fn warn_of_limits(&mut self, written: &config::model::Upstream) {
        let limits = &written.limits;
        let names =
            [("connections", limits.connections), ("requests", limits.requests), ("queue", limits.queue)];
        for (name, _) in names.into_iter().filter(|(_, limit)| limit.is_some()) {
            let what =
                format!("limit `{name}` of upstream \"{}\" is not enforced by this version", written.name);
            self.warnings.push(Problem::new(&written.origin, what).hint("limit it at the endpoints for now"));
        }
    }
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
        HashKey::Header(name) => CompiledKey::Header(bytes(name)),
        HashKey::Cookie(name) => CompiledKey::Cookie(bytes(name)),
        HashKey::Query(name) => CompiledKey::Query(bytes(name)),
        HashKey::Path => CompiledKey::Path,
    }
}

fn timeouts(written: &config::model::UpstreamTimeouts) -> UpstreamTimeouts {
    UpstreamTimeouts {
        connect: written.connect,
        response_head: written.response_header.at().unwrap_or(FOREVER),
        body_idle: written.idle.at().unwrap_or(FOREVER),
        pool_idle: written.keep_alive,
    }
}
