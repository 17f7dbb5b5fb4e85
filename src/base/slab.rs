//! A table whose keys know when their slot was given to somebody else.
//!
//! Used for sockets, tasks and timers. It does not limit its own size: its callers insert only what another bound
//! (descriptors, connections) already admitted. Slots are reused last-out-first-in, so a quiet table stays small.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// Names one value of one [`Slab<T>`]; a key outlives its value harmlessly.
pub struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// Generations wrap after 2^24 reuses of one slot, so that kind, generation and index fit in 64 bits.
    pub const GENERATION_BITS: u32 = 24;

    const GENERATION_MASK: u32 = (1 << Self::GENERATION_BITS) - 1;

    /// Builds a key from its parts, as they come back from the kernel; `generation` is cut to 24 bits.
    pub fn from_parts(index: u32, generation: u32) -> Self {
        Key { index, generation: generation & Self::GENERATION_MASK, of: PhantomData }
    }

    /// The position of the slot; positions are dense and reused.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How often the slot had been reused when the key was given out, modulo 2^24.
    pub fn generation(self) -> u32 {
        self.generation
    }
}

/// Values in slots, found by [`Key`]; insert, look up and remove take constant time.
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: usize,
}

struct Slot<T> {
    generation: u32,
    /// Next free slot while `value` is None, else meaningless.
    next_free: u32,
    value: Option<T>,
}

/// Ends the list of free slots.
const NONE: u32 = u32::MAX;

impl<T> Slab<T> {
    /// An empty table that owns no memory yet.
    pub const fn new() -> Self {
        Slab { slots: Vec::new(), free: NONE, len: 0 }
    }

    /// Values held now.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Stores `value` in a free slot.
    ///
    /// Panics when 2^32 - 1 values are held, which no bound of the product allows.
    pub fn insert(&mut self, value: T) -> Key<T> {
        self.len += 1;
        if self.free != NONE {
            let index = self.free;
            let slot = &mut self.slots[index as usize];
            self.free = slot.next_free;
            slot.value = Some(value);
            return Key::from_parts(index, slot.generation);
        }
        let index = u32::try_from(self.slots.len()).ok().filter(|&i| i != NONE);
        let index = index.expect("fewer values than descriptors, and those are far below 2^32");
        self.slots.push(Slot { generation: 0, next_free: NONE, value: Some(value) });
        Key::from_parts(index, 0)
    }

    /// None when the key is stale.
    #[inline]
    pub fn get(&self, key: Key<T>) -> Option<&T> {
        self.slots.get(key.index as usize).filter(|slot| slot.generation == key.generation)?.value.as_ref()
    }

    /// None when the key is stale.
    #[inline]
    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        self.slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.generation == key.generation)?
            .value
            .as_mut()
    }

    /// Whether the value of this key is still there.
    pub fn contains(&self, key: Key<T>) -> bool {
        self.get(key).is_some()
    }

    /// Takes the value out and makes the key stale; None when it already was.
    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) & Key::<T>::GENERATION_MASK;
        slot.next_free = self.free;
        self.free = key.index;
        self.len -= 1;
        Some(value)
    }

    /// All values with their keys, by position.
    pub fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> {
        self.slots.iter().zip(0_u32..).filter_map(|(slot, index)| {
            slot.value.as_ref().map(|value| (Key::from_parts(index, slot.generation), value))
        })
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }

    /// The keys of all values, copied out, for callers that change the table while they walk it.
    pub fn keys(&self) -> Vec<Key<T>> {
        self.iter().map(|(key, _)| key).collect()
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self::new()
    }
}

// Derives would ask the same of `T`, which a key does not hold.
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.generation == other.generation
    }
}

impl<T> Eq for Key<T> {}

impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.index, self.generation).hash(state);
    }
}

impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}v{}", self.index, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_never_reaches_the_next_owner_of_its_slot() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index(), first.index(), "the slot is reused");
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn the_last_freed_slot_is_used_first_and_the_table_does_not_grow() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..4).map(|n| slab.insert(n)).collect();
        slab.remove(keys[1]);
        slab.remove(keys[3]);
        assert_eq!(slab.insert(10).index(), 3);
        assert_eq!(slab.insert(11).index(), 1);
        assert_eq!(slab.insert(12).index(), 4);
        assert_eq!(slab.keys().len(), 5);
    }

    #[test]
    fn generations_wrap_at_24_bits_and_still_match() {
        let mut slab = Slab::new();
        let key = slab.insert(0);
        slab.slots[0].generation = Key::<i32>::GENERATION_MASK;
        let key = Key::from_parts(key.index(), u32::MAX);
        assert_eq!(slab.remove(key), Some(0));
        assert_eq!(slab.insert(1).generation(), 0);
    }
}
