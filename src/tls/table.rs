//! Which certificate a client gets: by the name that it asks for and by the signatures that it can check.

use crate::hello;
use crate::pair::Pair;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;
use wire::secure::Failure;

/// All certificates of one listener.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    /// Place of the entry by name.
    exact: HashMap<Box<str>, usize>,
    /// The same by what stands behind `*.`.
    wildcard: HashMap<Box<str>, usize>,
    /// Names that nobody has a certificate for get the first entry.
    serves_unknown: bool,
}

/// What serves one name: one certificate, or one of each kind of key.
#[derive(Debug, Default)]
struct Entry {
    /// Better ones first: not RSA, which is slow for us.
    keys: Vec<Arc<CertifiedKey>>,
}

impl Table {
    /// The first pair also serves clients that ask for no name.
    pub(crate) fn new(pairs: &[Pair], serves_unknown: bool) -> Table {
        let mut table = Table {
            entries: vec![Entry::default()],
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            serves_unknown,
        };
        for (place, pair) in pairs.iter().enumerate() {
            if place == 0 {
                table.entries[0].add(pair);
            }
            for name in &pair.names {
                table.add(name, pair);
            }
        }
        // For those without a name as well there may be one of each kind.
        if let Some(first) = pairs.first().and_then(|pair| pair.names.first())
            && let Some(entry) = table.place(first)
        {
            table.entries[0].keys = table.entries[entry].keys.clone();
        }
        table
    }

    fn add(&mut self, name: &str, pair: &Pair) {
        let (map, key) = match name.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, rest),
            None => (&mut self.exact, name),
        };
        let place = *map.entry(key.into()).or_insert_with(|| {
            self.entries.push(Entry::default());
            self.entries.len() - 1
        });
        self.entries[place].add(pair);
    }

    /// The entry for a name in lower case: its own, or that of the wildcard one label above. [RFC 6125 §6.4.3]
    fn place(&self, name: &str) -> Option<usize> {
        if let Some(&place) = self.exact.get(name.strip_prefix("*.").map_or(name, |_| "")) {
            return Some(place);
        }
        let (_, parent) = name.split_once('.')?;
        self.wildcard.get(parent).copied()
    }

    /// The entry that answers a client which asks for `name`; `None` is a refusal.
    fn answer(&self, name: Option<&str>) -> Option<usize> {
        let Some(name) = name else { return Some(0) };
        let place = self.place(name.trim_end_matches('.'));
        if self.serves_unknown { place.or(Some(0)) } else { place }
    }

    /// Whether a client that asks for either gets the same certificate.
    pub(crate) fn is_same(&self, one: Option<&str>, other: &str) -> bool {
        let leaf = |place: usize| self.entries[place].keys.first().and_then(|key| key.cert.first());
        match (self.answer(one), self.place(other).or(self.serves_unknown.then_some(0))) {
            (Some(one), Some(other)) => one == other || leaf(one) == leaf(other),
            // Who asks for no name and comes with an address for a host.
            (Some(0), None) => one.is_none(),
            _ => false,
        }
    }
}

impl Entry {
    /// The first of a kind stays.
    fn add(&mut self, pair: &Pair) {
        if self.keys.iter().any(|key| key.key.algorithm() == pair.key.key.algorithm()) {
            return;
        }
        let at = if pair.is_rsa() { self.keys.len() } else { 0 };
        self.keys.insert(at, Arc::clone(&pair.key));
    }
}

impl ResolvesServerCert for Table {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name: Option<Box<str>> = client.server_name().map(|name| name.to_ascii_lowercase().into());
        let chosen = match self.answer(name.as_deref()) {
            None => Err(Failure::UnknownName),
            Some(place) => {
                let schemes = client.signature_schemes();
                let mut keys = self.entries[place].keys.iter();
                keys.find(|key| key.key.choose_scheme(schemes).is_some()).ok_or(Failure::NothingInCommon)
            }
        };
        hello::note(|heard| {
            heard.server_name = name;
            heard.refusal = chosen.err();
        });
        chosen.ok().cloned()
    }
}
