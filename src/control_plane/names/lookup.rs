//! One look-up of a name: what it stands for now, and how long that counts.
//!
//! The library speaks DNS (UDP with random ids and ports, TCP where an answer is cut, chains of aliases up to a bound,
//! search domains) and reads `/etc/hosts`; this file asks it and decides what counts when only a part could be answered:
//! the rest is what the last look-up said.

use crate::compile::live::Found;
use config::Target;
use config::model::{Addresses, Dns};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Addresses of one name that are used at most.
pub(super) const ADDRESSES_MAX: usize = 128;
/// A source reads `/etc/resolv.conf` and `/etc/hosts` once; it is made anew after so long, and after every failure. What
/// `/etc/hosts` says counts as long.
const SOURCE_AGE_MAX: Duration = Duration::from_secs(60);

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// In order, each address once, at most [`ADDRESSES_MAX`]; never empty.
    pub(crate) found: Vec<Found>,
    /// The shortest lifetime of the records.
    pub(super) ttl: Duration,
    /// Addresses beyond the bound.
    pub(super) left_out: usize,
    /// Why a part of it is what the last look-up said.
    pub(super) failed: Option<String>,
}

/// Why nothing was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// The servers say that there is no such name, or that it has no records of the kind.
    Absent(String),
    /// It is not known: no answer, or an error.
    Failed(String),
}

impl LookupError {
    pub(crate) fn why(&self) -> &str {
        match self {
            LookupError::Absent(why) | LookupError::Failed(why) => why,
        }
    }
}

/// Asks for one name again and again.
pub(crate) struct Asker {
    dns: Dns,
    /// Bounds the questions that are asked at the same time.
    slots: Arc<Semaphore>,
    source: Option<(Source, Instant)>,
    /// Addresses of each host that were found last, for when only a part can be resolved.
    last: HashMap<String, Vec<IpAddr>>,
}

/// Whom to ask, and how.
#[derive(Clone)]
struct Source {
    hosts: Arc<Hosts>,
    resolver: TokioResolver,
    slots: Arc<Semaphore>,
    dns: Dns,
}

/// Addresses of a host.
struct Addressed {
    addresses: Vec<IpAddr>,
    ttl: Duration,
    failed: Option<String>,
}

impl Asker {
    pub(crate) fn new(dns: Dns, slots: Arc<Semaphore>) -> Self {
        Asker { dns, slots, source: None, last: HashMap::new() }
    }

    /// Asks once. An address needs no asking and stands for nothing here.
    pub(crate) async fn ask(&mut self, target: &Target) -> Result<Answer, LookupError> {
        let asked = match target {
            Target::Host { name, port } => self.host(name, *port).await,
            Target::Service { name } => self.service(name).await,
            Target::Address(address) => Err(LookupError::Absent(format!("{address} is no name"))),
        };
        if asked.as_ref().map_or(true, |answer| answer.failed.is_some()) {
            self.source = None;
        }
        asked
    }

    async fn host(&mut self, name: &str, port: u16) -> Result<Answer, LookupError> {
        let source = self.source()?;
        let last = self.last.remove(name).unwrap_or_default();
        let hosts = source.host(name, &last).await;
        let kept = hosts.as_ref().map_or(last, |hosts| hosts.addresses.clone());
        self.last.insert(name.to_owned(), kept);
        let Addressed { addresses, ttl, failed } = hosts?;
        let found =
            addresses.into_iter().map(|ip| Found { rank: 0, addr: SocketAddr::new(ip, port), weight: 1 });
        Ok(answer(found.collect(), ttl, failed))
    }

    async fn service(&mut self, name: &str) -> Result<Answer, LookupError> {
        let source = self.source()?;
        let (mut records, ttl) = source
            .records(name, RecordType::SRV, |data| match data {
                RData::SRV(srv) => Some(Srv::of(srv)),
                _ => None,
            })
            .await?;
        // A single record that names the root says that the service is not offered (RFC 2782).
        records.retain(|record| !record.target.is_empty());
        records.sort();
        records.truncate(ADDRESSES_MAX);
        if records.is_empty() {
            return Err(LookupError::Absent("the service is not offered".to_owned()));
        }
        self.targets(&source, &records, ttl).await
    }

    /// Resolves the hosts of a service, all at once.
    async fn targets(
        &mut self,
        source: &Source,
        records: &[Srv],
        mut ttl: Duration,
    ) -> Result<Answer, LookupError> {
        let before = std::mem::take(&mut self.last);
        let mut asking = JoinSet::new();
        let names: std::collections::BTreeSet<&String> =
            records.iter().map(|record| &record.target).collect();
        for name in names {
            let (source, name) = (source.clone(), name.clone());
            let last = before.get(&name).cloned().unwrap_or_default();
            asking.spawn(async move {
                let hosts = source.host(&name, &last).await;
                (name, hosts, last)
            });
        }
        let mut failure = None;
        while let Some(joined) = asking.join_next().await {
            // A task that panicked has said so; its host keeps no addresses.
            let Ok((name, hosts, last)) = joined else { continue };
            match hosts {
                Ok(hosts) => {
                    ttl = ttl.min(hosts.ttl);
                    failure = failure.or_else(|| hosts.failed.map(|why| format!("{name}: {why}")));
                    self.last.insert(name, hosts.addresses);
                }
                Err(error) => {
                    let was_failure = matches!(error, LookupError::Failed(_));
                    failure = failure.or_else(|| Some(format!("{name}: {}", error.why())));
                    self.last.insert(name, if was_failure { last } else { Vec::new() });
                }
            }
        }
        let found = ranked(records, &self.last);
        if found.is_empty() {
            return Err(LookupError::Failed(failure.unwrap_or_else(|| "no host has an address".to_owned())));
        }
        Ok(answer(found, ttl, failure))
    }

    fn source(&mut self) -> Result<Source, LookupError> {
        if let Some((source, made)) = &self.source
            && made.elapsed() < SOURCE_AGE_MAX
        {
            return Ok(source.clone());
        }
        let resolver = build(&self.dns).map_err(|error| LookupError::Failed(error.to_string()))?;
        // Without the file there are no hosts in it.
        let hosts = Arc::new(Hosts::from_system().unwrap_or_default());
        let source = Source { hosts, resolver, slots: Arc::clone(&self.slots), dns: self.dns.clone() };
        self.source = Some((source.clone(), Instant::now()));
        Ok(source)
    }
}

/// A record of a service, ordered by what is used first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Srv {
    priority: u16,
    target: String,
    port: u16,
    weight: u16,
}

impl Srv {
    fn of(record: &hickory_resolver::proto::rr::rdata::SRV) -> Srv {
        // In ASCII: whatever bytes a server puts into a name, none of them can end a line of the log.
        let target = record.target.to_ascii().to_ascii_lowercase();
        // The final dot keeps search domains away; the root alone is no host.
        let target = if target == "." { String::new() } else { target };
        Srv { priority: record.priority, target, port: record.port, weight: record.weight }
    }
}

/// One endpoint per record and address; each priority is one rank further back.
fn ranked(records: &[Srv], hosts: &HashMap<String, Vec<IpAddr>>) -> Vec<Found> {
    let mut ranks: BTreeMap<u16, u8> = BTreeMap::new();
    for record in records {
        let next = u8::try_from(ranks.len()).unwrap_or(u8::MAX);
        ranks.entry(record.priority).or_insert(next);
    }
    let mut found = Vec::new();
    for record in records {
        for ip in hosts.get(&record.target).into_iter().flatten() {
            let rank = ranks.get(&record.priority).copied().unwrap_or(u8::MAX);
            // A weight of 0 means "hardly ever", which is more than never.
            let weight = u32::from(record.weight).max(1);
            found.push(Found { rank, addr: SocketAddr::new(*ip, record.port), weight });
        }
    }
    found
}

/// Orders, removes what stands twice, and keeps to the bound.
fn answer(mut found: Vec<Found>, ttl: Duration, failed: Option<String>) -> Answer {
    found.sort_unstable();
    let mut seen = std::collections::HashSet::new();
    found.retain(|found| seen.insert(found.addr));
    let left_out = found.len().saturating_sub(ADDRESSES_MAX);
    found.truncate(ADDRESSES_MAX);
    Answer { found, ttl, left_out, failed }
}

impl Source {
    /// The addresses of a host. A family that could not be asked for keeps those of `last`; one that has none has none.
    async fn host(&self, name: &str, last: &[IpAddr]) -> Result<Addressed, LookupError> {
        let (v4, v6) = match self.dns.addresses {
            Addresses::Ipv4 => (true, false),
            Addresses::Ipv6 => (false, true),
            Addresses::Any => (true, true),
        };
        let kinds = [(v4, RecordType::A), (v6, RecordType::AAAA)];
        let kinds = kinds.iter().filter(|(is_asked, _)| *is_asked).map(|(_, kind)| *kind);
        let written: Vec<IpAddr> = kinds.flat_map(|kind| self.in_hosts(name, kind)).collect();
        if !written.is_empty() {
            return Ok(Addressed { addresses: written, ttl: SOURCE_AGE_MAX, failed: None });
        }
        let ask = async |is_asked: bool, kind| match is_asked {
            true => Some(self.records(name, kind, address).await),
            false => None,
        };
        let (v4, v6) = tokio::join!(ask(v4, RecordType::A), ask(v6, RecordType::AAAA));
        combine(v4, v6, last)
    }

    /// What `/etc/hosts` says. Where it says anything nobody else is asked.
    fn in_hosts(&self, name: &str, kind: RecordType) -> Vec<IpAddr> {
        let Ok(name) = Name::from_utf8(name) else { return Vec::new() };
        let lookup = self.hosts.lookup_static_host(&Query::query(name, kind));
        lookup.iter().flat_map(|lookup| lookup.answers()).filter_map(|record| address(&record.data)).collect()
    }

    /// All records of one kind, with the shortest of their lifetimes.
    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<(Vec<T>, Duration), LookupError> {
        // An error only if the semaphore were closed, which nobody does; then there is no bound to keep.
        let _slot = self.slots.acquire().await;
        let lookup = match tokio::time::timeout(self.dns.timeout, self.resolver.lookup(name, kind)).await {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(error)) => return Err(explain(&error, kind, &self.dns)),
            Err(_) => return Err(LookupError::Failed(no_answer(&self.dns))),
        };
        let records: Vec<T> = lookup.answers().iter().filter_map(|record| read(&record.data)).collect();
        if records.is_empty() {
            return Err(LookupError::Absent(format!("it has no {kind} records")));
        }
        Ok((records, lookup.valid_until().saturating_duration_since(Instant::now())))
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

type OfFamily = Option<Result<(Vec<IpAddr>, Duration), LookupError>>;

fn combine(v4: OfFamily, v6: OfFamily, last: &[IpAddr]) -> Result<Addressed, LookupError> {
    let (mut addresses, mut ttl, mut error) = (Vec::new(), None::<Duration>, None);
    for (family, is_v4) in [(v4, true), (v6, false)] {
        match family {
            None => {}
            Some(Ok((mut found, lives))) => {
                addresses.append(&mut found);
                ttl = Some(ttl.map_or(lives, |ttl| ttl.min(lives)));
            }
            Some(Err(LookupError::Failed(why))) => {
                addresses.extend(last.iter().filter(|ip| ip.is_ipv4() == is_v4));
                error = Some(LookupError::Failed(why));
            }
            // Most hosts have addresses of one family only.
            Some(Err(absent)) => error = error.or(Some(absent)),
        }
    }
    match (ttl, error) {
        (Some(ttl), error) => {
            let failed = error.filter(|error| matches!(error, LookupError::Failed(_)));
            Ok(Addressed { addresses, ttl, failed: failed.map(|error| error.why().to_owned()) })
        }
        (None, Some(error)) => Err(error),
        (None, None) => Err(LookupError::Absent("it has no addresses".to_owned())),
    }
}

/// What an operator reads.
fn explain(error: &NetError, kind: RecordType, dns: &Dns) -> LookupError {
    match error {
        error if error.is_nx_domain() => LookupError::Absent("no such name (NXDOMAIN)".to_owned()),
        error if error.is_no_records_found() => LookupError::Absent(format!("it has no {kind} records")),
        NetError::Timeout => LookupError::Failed(no_answer(dns)),
        NetError::Dns(DnsError::ResponseCode(code)) => {
            LookupError::Failed(format!("the DNS server answered with an error ({code})"))
        }
        error => LookupError::Failed(error.to_string()),
    }
}

fn no_answer(dns: &Dns) -> String {
    let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
    let from =
        if servers.is_empty() { "the servers of /etc/resolv.conf".to_owned() } else { servers.join(", ") };
    format!("no answer from {from} within {} ms", dns.timeout.as_millis())
}

fn build(dns: &Dns) -> Result<TokioResolver, NetError> {
    let mut builder = if dns.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = dns.servers.iter().map(|server| {
            let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
            (udp.port, tcp.port) = (server.0.port(), server.0.port());
            NameServerConfig::new(server.0.ip(), true, vec![udp, tcp])
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    // Half of the time for each of two tries: packets get lost.
    (options.timeout, options.attempts) = (dns.timeout / 2, 1);
    // `/etc/hosts` is looked into here, whatever the search domains; how long an answer counts is decided by the schedule.
    options.use_hosts_file = ResolveHosts::Never;
    options.cache_size = 0;
    options.edns0 = true;
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn ip6(last: u16) -> IpAddr {
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])
    }

    fn failed() -> LookupError {
        LookupError::Failed("no answer".to_owned())
    }

    fn absent() -> LookupError {
        LookupError::Absent("no such name".to_owned())
    }

    #[test]
    fn r116_a_family_that_cannot_be_asked_for_keeps_its_last_addresses() {
        let last = [ip(1), ip6(1)];
        let hosts = combine(Some(Ok((vec![ip(2)], SECOND))), Some(Err(failed())), &last).ok();
        let hosts = hosts.expect("half of it is known");
        assert_eq!((hosts.addresses, hosts.failed.as_deref()), (vec![ip(2), ip6(1)], Some("no answer")));
        let hosts = combine(Some(Ok((vec![ip(2)], SECOND))), Some(Err(absent())), &last).ok();
        assert_eq!(hosts.map(|hosts| (hosts.addresses, hosts.failed)), Some((vec![ip(2)], None)));
        let nothing = combine(Some(Err(absent())), Some(Err(failed())), &last).err();
        assert_eq!(nothing, Some(failed()), "what is not known may be there");
    }

    #[test]
    fn each_priority_of_a_service_is_a_rank_and_an_address_counts_once() {
        let srv = |priority, target: &str, weight| Srv { priority, target: target.into(), port: 80, weight };
        let records = [srv(10, "a.", 5), srv(10, "b.", 0), srv(20, "c.", 7), srv(20, "a.", 9)];
        let hosts = HashMap::from([
            ("a.".to_owned(), vec![ip(1), ip(2)]),
            ("b.".to_owned(), vec![ip(3)]),
            ("c.".to_owned(), vec![ip(4)]),
        ]);
        let found = answer(ranked(&records, &hosts), SECOND, None).found;
        let expected = [(0, 1, 5), (0, 2, 5), (0, 3, 1), (1, 4, 7)];
        let read = found.iter().map(|found| (found.rank, found.addr.ip(), found.weight));
        assert_eq!(read.collect::<Vec<_>>(), expected.map(|(rank, last, weight)| (rank, ip(last), weight)));
    }

    #[test]
    fn a_target_cannot_end_a_line_of_the_log() {
        let labels: [&[u8]; 2] = [b"a\nupstream \"x\": is up", b"Internal"];
        let target = Name::from_labels(labels).expect("labels may have any bytes");
        let srv = hickory_resolver::proto::rr::rdata::SRV::new(1, 2, 80, target);
        let read = Srv::of(&srv).target;
        assert!(read.bytes().all(|byte| byte.is_ascii_graphic()) && read.ends_with(".internal."), "{read}");
        let root = hickory_resolver::proto::rr::rdata::SRV::new(0, 0, 0, Name::root());
        assert_eq!(Srv::of(&root).target, "", "the service is not offered");
    }

    #[test]
    fn r116_only_so_many_addresses_are_used_and_always_the_same_ones() {
        let of = |order: &mut dyn Iterator<Item = u16>| {
            let found = order.map(|n| Found { rank: 0, addr: SocketAddr::new(ip6(n), 80), weight: 1 });
            answer(found.collect(), SECOND, None)
        };
        let (up, down) = (of(&mut (0..1000)), of(&mut (0..1000).rev()));
        assert_eq!((up.found.len(), up.left_out), (ADDRESSES_MAX, 872));
        assert_eq!(up, down);
    }
}
