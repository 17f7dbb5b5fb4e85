//! One part of a store: a table by key, bounded in bytes and in keys. Everything here takes a bounded time.

use crate::FieldRef;
use crate::fill::Fill;
use crate::object::Object;
use crate::queues::{Place, Queues, Tenants, USES_MAX};
use std::collections::HashMap;
use std::sync::Arc;

/// Responses of one key: for different routes, and for requests that differ in what `Vary` names (R85).
pub(crate) const VARIANTS_MAX: usize = 64;
/// Keys under which somebody fetches at one moment, and keys known not to be shared.
pub(crate) const FILLS_MAX: usize = 4096;

/// What a fetch is for: a key and a scope.
pub(crate) type Errand = (Box<[u8]>, Box<[u8]>);

#[derive(Debug)]
struct Slot {
    key: Arc<[u8]>,
    hash: u64,
    generation: u32,
    uses: u8,
    cost: u64,
    /// The newest one last.
    variants: Vec<Arc<Object>>,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<Slot>>,
    generation: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Shard {
    index: HashMap<Arc<[u8]>, u32>,
    table: Table,
    free: Vec<u32>,
    queues: Queues,
    pub(crate) bytes: u64,
    /// Under a key and a scope.
    pub(crate) fills: HashMap<Errand, Arc<Fill>>,
    /// Until when what is asked for there is known not to be shared, in nanoseconds.
    pub(crate) passes: HashMap<Errand, u64>,
}

impl Tenants for Table {
    fn look(&self, (slot, generation): Place) -> Option<(u8, u64)> {
        let slot = self.slots.get(slot as usize)?.as_ref()?;
        (slot.generation == generation).then_some((slot.uses, slot.hash))
    }

    fn set_uses(&mut self, (slot, _): Place, uses: u8) {
        if let Some(Some(slot)) = self.slots.get_mut(slot as usize) {
            slot.uses = uses;
        }
    }
}

impl Shard {
    /// The newest response that stands for the request, and whether there is any under the key.
    pub(crate) fn find(
        &mut self,
        key: &[u8],
        scope: &[u8],
        request: &[FieldRef<'_>],
    ) -> (Option<Arc<Object>>, bool) {
        let Some(slot) = self.index.get(key).and_then(|&at| self.table.slots.get_mut(at as usize)?.as_mut())
        else {
            return (None, false);
        };
        let found = slot.variants.iter().rev().find(|object| object.answers(scope, request));
        if found.is_some() {
            slot.uses = (slot.uses + 1).min(USES_MAX);
        }
        (found.map(Arc::clone), slot.variants.iter().any(|object| *object.scope == *scope))
    }

    /// Keeps `object`; says how many keys had to go.
    pub(crate) fn put(&mut self, key: &[u8], hash: u64, object: Arc<Object>, bytes_max: u64) -> u64 {
        let at = match self.index.get(key) {
            Some(&at) => at,
            None => self.occupy(key, hash),
        };
        let Some(Some(slot)) = self.table.slots.get_mut(at as usize) else { return 0 };
        slot.variants.retain(|other| !object.replaces(other));
        if slot.variants.len() >= VARIANTS_MAX {
            slot.variants.remove(0);
        }
        slot.variants.push(object);
        let cost = slot.key.len() as u64 * 2
            + size_of::<Slot>() as u64
            + slot.variants.iter().map(|object| object.cost()).sum::<u64>();
        self.bytes = self.bytes - slot.cost + cost;
        slot.cost = cost;
        let mut evicted = 0;
        while self.bytes > bytes_max {
            let Some((victim, _)) = self.queues.victim(&mut self.table) else { break };
            self.vacate(victim);
            evicted += 1;
        }
        self.queues.tidy(&self.table, self.index.len());
        evicted
    }

    fn occupy(&mut self, key: &[u8], hash: u64) -> u32 {
        let key: Arc<[u8]> = key.into();
        self.table.generation = self.table.generation.wrapping_add(1);
        let generation = self.table.generation;
        let slot = Slot { key: Arc::clone(&key), hash, generation, uses: 0, cost: 0, variants: Vec::new() };
        let at = self.free.pop().unwrap_or_else(|| {
            self.table.slots.push(None);
            u32::try_from(self.table.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.table.slots[at as usize] = Some(slot);
        self.index.insert(key, at);
        self.queues.enter((at, generation), hash);
        at
    }

    fn vacate(&mut self, at: u32) {
        if let Some(slot) = self.table.slots.get_mut(at as usize).and_then(Option::take) {
            self.index.remove(&slot.key);
            self.bytes -= slot.cost;
            self.free.push(at);
        }
    }

    /// Forgets all responses of a key; true if there were any. What is being fetched is not kept either.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        for ((of, _), fill) in &self.fills {
            if **of == *key {
                fill.doom();
            }
        }
        let Some(&at) = self.index.get(key) else { return false };
        self.vacate(at);
        self.queues.tidy(&self.table, self.index.len());
        true
    }

    /// Forgets everything; says how many keys there were.
    pub(crate) fn clear(&mut self) -> u64 {
        self.fills.values().for_each(|fill| fill.doom());
        let keys = self.index.len() as u64;
        (self.index, self.table.slots, self.free) = Default::default();
        self.queues = Queues::default();
        self.bytes = 0;
        keys
    }

    pub(crate) fn keys(&self) -> usize {
        self.index.len()
    }
}
