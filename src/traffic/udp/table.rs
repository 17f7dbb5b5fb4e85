//! The table of flows: a place for each, by tuple, by client and by how long it was not used.

#![expect(clippy::cast_possible_truncation, reason = "there are fewer than 2^31 places")]

use super::index::Index;
use super::list::{Link, List};
use super::{Eviction, FlowId, Tuple};
use base::Instant;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How many flows there may be, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// In this table.
    pub flows: u32,
    /// Without a datagram in either direction.
    pub idle: Duration,
}

/// The flows of one worker and entry point. Its size is fixed; every operation takes the same time however full it is.
#[derive(Debug)]
pub struct FlowTable<T> {
    bounds: Bounds,
    /// Secret, so that nobody can choose tuples that meet in one place.
    secret: u64,
    /// Places of flows, used or free; never more than the table was made for.
    places: Vec<Place<T>>,
    free: Vec<u32>,
    tuples: Index,
    /// By age, through all places: of clients that have not proven themselves, and of those that have.
    by_age: [List; 2],
    age_links: Vec<Link>,
    client_links: Vec<Link>,
    clients: Clients,
    len: u32,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    /// None when the place is free.
    flow: Option<Flow<T>>,
}

#[derive(Debug)]
struct Flow<T> {
    tuple: Tuple,
    hash: u32,
    client: u32,
    used: Instant,
    is_proven: bool,
    value: T,
}

/// An established flow that was used within this time is not given up for a new one.
pub(super) const SPARED: Duration = Duration::from_secs(1);

impl<T> FlowTable<T> {
    /// A table for `bounds.flows`. Memory is reserved for all of them, and touched as they come.
    pub fn new(bounds: Bounds, secret: u64) -> FlowTable<T> {
        let capacity = bounds.flows as usize;
        FlowTable {
            bounds,
            secret,
            places: Vec::with_capacity(capacity),
            free: Vec::new(),
            tuples: Index::new(capacity),
            by_age: [List::default(); 2],
            age_links: Vec::with_capacity(capacity),
            client_links: Vec::with_capacity(capacity),
            clients: Clients::new(capacity),
            len: 0,
        }
    }

    /// Bytes that a table of so many flows takes.
    pub fn bytes(flows: u32) -> u64 {
        let each = size_of::<Place<T>>() + 2 * size_of::<Link>() + size_of::<Client>() + size_of::<u32>();
        // Two indices of eight bytes a word, at most four words for each place.
        u64::from(flows) * (each as u64 + 2 * 4 * 8)
    }

    /// Other bounds from here on. Where more flows are allowed than the table was made for, it becomes larger.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        if bounds.flows as usize > self.places.capacity() {
            let more = bounds.flows as usize - self.places.len();
            self.places.reserve_exact(more);
            self.age_links.reserve_exact(more);
            self.client_links.reserve_exact(more);
            self.tuples = Index::new(bounds.flows as usize);
            for (at, place) in self.places.iter().enumerate() {
                if let Some(flow) = &place.flow {
                    self.tuples.insert(flow.hash, at as u32);
                }
            }
            self.clients.grow(bounds.flows as usize);
        }
        self.bounds = bounds;
    }

    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The flow of these addresses.
    pub fn find(&self, tuple: &Tuple) -> Option<FlowId> {
        let is_it = |at: u32| self.places[at as usize].flow.as_ref().is_some_and(|flow| flow.tuple == *tuple);
        self.tuples.find(self.hash(tuple), is_it).map(|at| self.id(at))
    }

    /// What has to go before another flow of `client` can be added; `Err` when nothing can. A client has `quota` flows
    /// at most; IPv6 clients are networks of 64 bits.
    ///
    /// A client that has as many as one may gives up its own oldest. In a full table the oldest flow goes whose client
    /// has not proven that it is there, so that forged addresses only drive each other out; established flows go if
    /// they were not used for a second.
    pub fn admit(
        &self,
        client: IpAddr,
        quota: u32,
        now: Instant,
    ) -> Result<Option<(FlowId, Eviction)>, Full> {
        let own = self.clients.find(network_of(client), self.secret);
        if let Some(own) = own.filter(|own| self.clients.entries[*own as usize].count >= quota) {
            let oldest = self.clients.entries[own as usize].flows.first();
            return Ok(oldest.map(|at| (self.id(at), Eviction::ClientQuota)));
        }
        if self.len < self.bounds.flows {
            return Ok(None);
        }
        let [unproven, proven] = self.by_age.map(|list| list.first());
        let spared = |at: &u32| self.flow(*at).is_some_and(|flow| now.since(flow.used) < SPARED);
        let oldest = unproven.or_else(|| proven.filter(|at| !spared(at)));
        oldest.map(|at| Some((self.id(at), Eviction::TableFull))).ok_or(Full)
    }

    /// Adds a flow. Where [`FlowTable::admit`] has named one that must go, it is gone; the tuple has none.
    ///
    /// Gives the value back when there is no room all the same.
    pub fn insert(&mut self, tuple: Tuple, now: Instant, value: T) -> Result<FlowId, T> {
        if self.len >= self.bounds.flows {
            return Err(value);
        }
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.places.push(Place { generation: 0, flow: None });
                self.age_links.push(Link::NONE);
                self.client_links.push(Link::NONE);
                self.places.len() as u32 - 1
            }
        };
        let hash = self.hash(&tuple);
        let client = self.clients.enter(network_of(tuple.client.ip()), self.secret);
        self.clients.entries[client as usize].flows.push(&mut self.client_links, at);
        self.tuples.insert(hash, at);
        self.by_age[0].push(&mut self.age_links, at);
        let flow = Flow { tuple, hash, client, used: now, is_proven: false, value };
        self.places[at as usize].flow = Some(flow);
        self.len += 1;
        Ok(self.id(at))
    }

    /// The flow was used.
    pub fn touch(&mut self, id: FlowId, now: Instant) {
        let Some(at) = self.place(id) else { return };
        let Some(flow) = self.places[at as usize].flow.as_mut() else { return };
        // Within one turn nothing moves: all of it happens at one moment.
        if flow.used == now {
            return;
        }
        flow.used = now;
        let (client, age) = (flow.client, usize::from(flow.is_proven));
        self.by_age[age].renew(&mut self.age_links, at);
        self.clients.entries[client as usize].flows.renew(&mut self.client_links, at);
    }

    /// The client of the flow has proven that it receives what is sent to it.
    pub fn prove(&mut self, id: FlowId) {
        let Some(at) = self.place(id) else { return };
        let Some(flow) = self.places[at as usize].flow.as_mut() else { return };
        if !std::mem::replace(&mut flow.is_proven, true) {
            self.by_age[0].remove(&mut self.age_links, at);
            // It has just been used, so it is the youngest there as well.
            self.by_age[1].push(&mut self.age_links, at);
        }
    }

    pub fn remove(&mut self, id: FlowId) -> Option<(Tuple, T)> {
        let at = self.place(id)?;
        let place = &mut self.places[at as usize];
        let flow = place.flow.take()?;
        place.generation = place.generation.wrapping_add(1) & super::GENERATION_MASK;
        self.tuples.remove(flow.hash, at);
        self.by_age[usize::from(flow.is_proven)].remove(&mut self.age_links, at);
        self.clients.entries[flow.client as usize].flows.remove(&mut self.client_links, at);
        self.clients.leave(flow.client);
        self.free.push(at);
        self.len -= 1;
        Some((flow.tuple, flow.value))
    }

    /// A flow that was idle for too long; call until None.
    pub fn expired(&self, now: Instant) -> Option<FlowId> {
        let oldest = self.oldest()?;
        (oldest.1 + self.bounds.idle <= now).then(|| self.id(oldest.0))
    }

    /// When [`FlowTable::expired`] has to be asked again.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.oldest().map(|(_, used)| used + self.bounds.idle)
    }

    /// Any flow, for taking all of them out.
    pub fn any(&self) -> Option<FlowId> {
        self.oldest().map(|(at, _)| self.id(at))
    }

    fn oldest(&self) -> Option<(u32, Instant)> {
        let firsts = self.by_age.iter().filter_map(List::first);
        firsts.filter_map(|at| Some((at, self.flow(at)?.used))).min_by_key(|(_, used)| *used)
    }

    pub fn get(&self, id: FlowId) -> Option<&T> {
        self.flow(self.place(id)?).map(|flow| &flow.value)
    }

    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut T> {
        let at = self.place(id)?;
        self.places[at as usize].flow.as_mut().map(|flow| &mut flow.value)
    }

    pub fn tuple(&self, id: FlowId) -> Option<&Tuple> {
        self.flow(self.place(id)?).map(|flow| &flow.tuple)
    }

    fn flow(&self, at: u32) -> Option<&Flow<T>> {
        self.places[at as usize].flow.as_ref()
    }

    fn id(&self, at: u32) -> FlowId {
        FlowId::new(at, self.places[at as usize].generation)
    }

    fn place(&self, id: FlowId) -> Option<u32> {
        let place = self.places.get(id.place() as usize)?;
        (place.generation == id.generation()).then_some(id.place())
    }

    fn hash(&self, tuple: &Tuple) -> u32 {
        hash(self.secret, tuple)
    }
}

/// The table is full of flows that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Client addresses, each with its flows. No more than flows, for each has one at least.
#[derive(Debug)]
struct Clients {
    entries: Vec<Client>,
    free: Vec<u32>,
    index: Index,
}

#[derive(Debug)]
struct Client {
    address: IpAddr,
    hash: u32,
    count: u32,
    flows: List,
}

impl Clients {
    fn new(capacity: usize) -> Clients {
        Clients { entries: Vec::with_capacity(capacity), free: Vec::new(), index: Index::new(capacity) }
    }

    fn grow(&mut self, capacity: usize) {
        self.entries.reserve_exact(capacity - self.entries.len());
        self.index = Index::new(capacity);
        for (at, client) in self.entries.iter().enumerate().filter(|(_, client)| client.count > 0) {
            self.index.insert(client.hash, at as u32);
        }
    }

    fn find(&self, address: IpAddr, secret: u64) -> Option<u32> {
        self.index.find(hash(secret, &address), |at| self.entries[at as usize].address == address)
    }

    /// Counts one more flow of the address.
    fn enter(&mut self, address: IpAddr, secret: u64) -> u32 {
        if let Some(at) = self.find(address, secret) {
            self.entries[at as usize].count += 1;
            return at;
        }
        let hash = hash(secret, &address);
        let client = Client { address, hash, count: 1, flows: List::default() };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = client;
                at
            }
            None => {
                self.entries.push(client);
                self.entries.len() as u32 - 1
            }
        };
        self.index.insert(hash, at);
        at
    }

    fn leave(&mut self, at: u32) {
        let client = &mut self.entries[at as usize];
        client.count -= 1;
        if client.count == 0 {
            self.index.remove(client.hash, at);
            self.free.push(at);
        }
    }
}

/// What counts as one client: an IPv4 address, or the network of an IPv6 address that one customer gets.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn hash(secret: u64, value: &impl Hash) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(secret);
    value.hash(&mut hasher);
    hasher.finish() as u32
}
