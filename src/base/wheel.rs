//! A hierarchical timer wheel with ticks of one millisecond; `now` is always an argument.
//!
//! Six levels of 64 slots. An entry sits in the level where its tick first differs from the current one, so that
//! inserting and cancelling take constant time and an entry moves at most five times. An entry never comes out early:
//! its time is rounded up to a tick. Used by `runtime::timer`; it knows no tasks and no clock.

#![expect(clippy::cast_possible_truncation, reason = "levels and slots are below 64")]

use crate::slab::{Key, Slab};
use crate::time::Instant;

/// Waiting values, each with the time at which it comes out.
pub struct Wheel<T> {
    /// Everything up to and including this tick has been moved to `due`.
    tick: u64,
    levels: [Level; LEVELS],
    /// Entries whose time has come and that `expire` has not handed out yet.
    due: List,
    nodes: Slab<Node<T>>,
}

/// Names one waiting value of a [`Wheel`].
pub type Entry<T> = Key<Node<T>>;

/// One waiting value with its links; only its key is of use to callers.
pub struct Node<T> {
    value: T,
    tick: u64,
    place: Place,
    previous: Option<Key<Node<T>>>,
    next: Option<Key<Node<T>>>,
}

#[derive(Clone, Copy)]
enum Place {
    Due,
    Slot { level: u8, slot: u8 },
}

#[derive(Clone, Copy)]
struct Level {
    /// Bit n is set while slot n holds an entry.
    occupied: u64,
    slots: [List; SLOTS],
}

/// First entry of a list, as index and generation.
type List = Option<(u32, u32)>;

const TICK_NANOS: u64 = 1_000_000;
const LEVELS: usize = 6;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
/// Ticks that the top level spans: about 2.2 years. Later entries wait in its last slot and are placed again.
const SPAN: u64 = 1 << (SLOT_BITS * LEVELS as u32);

impl<T> Wheel<T> {
    /// An empty wheel that has seen all time up to `now`.
    pub fn new(now: Instant) -> Self {
        let level = Level { occupied: 0, slots: [None; SLOTS] };
        Wheel { tick: now.as_nanos() / TICK_NANOS, levels: [level; LEVELS], due: None, nodes: Slab::new() }
    }

    /// Values that wait or are due.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Lets `value` come out of [`Wheel::expire`] at the first tick that is not before `at`.
    pub fn insert(&mut self, at: Instant, value: T) -> Entry<T> {
        let tick = at.as_nanos().div_ceil(TICK_NANOS);
        let node = Node { value, tick, place: Place::Due, previous: None, next: None };
        let key = self.nodes.insert(node);
        self.link(key, tick);
        key
    }

    /// Takes the value out before its time; None when it already came out.
    pub fn cancel(&mut self, entry: Entry<T>) -> Option<T> {
        self.nodes.get(entry)?;
        self.unlink(entry);
        self.nodes.remove(entry).map(|node| node.value)
    }

    /// The next value whose time has come; call until None.
    pub fn expire(&mut self, now: Instant) -> Option<T> {
        let target = now.as_nanos() / TICK_NANOS;
        loop {
            if let Some(first) = self.due {
                return self.cancel(Key::from_parts(first.0, first.1));
            }
            let Some((level, slot, tick)) = self.next_slot().filter(|&(_, _, tick)| tick <= target) else {
                self.tick = self.tick.max(target);
                return None;
            };
            self.tick = tick;
            self.spill(level, slot);
        }
    }

    /// When [`Wheel::expire`] should be called next: never later than the earliest entry, and earlier only when
    /// entries have to move down a level first. None when nothing waits.
    pub fn next(&self) -> Option<Instant> {
        if self.due.is_some() {
            return Some(Instant::from_nanos(self.tick.saturating_mul(TICK_NANOS)));
        }
        self.next_slot().map(|(_, _, tick)| Instant::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// Moves all entries of a slot that the current tick has reached to where they belong now.
    fn spill(&mut self, level: usize, slot: usize) {
        let mut list = self.levels[level].slots[slot].take();
        self.levels[level].occupied &= !(1 << slot);
        while let Some((index, generation)) = list {
            let key = Key::from_parts(index, generation);
            let node = self.nodes.get(key).expect("lists hold live entries only");
            list = node.next.map(|next| (next.index(), next.generation()));
            let tick = node.tick;
            self.link(key, tick);
        }
    }

    /// The occupied slot that is reached first. Lower levels always come before higher ones.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        self.levels.iter().enumerate().find(|(_, level)| level.occupied != 0).map(|(at, level)| {
            let shift = SLOT_BITS * at as u32;
            let current = slot_of(self.tick >> shift) as u32;
            // Only the top level can hold slots behind the current one: they belong to its next turn.
            let ahead = level.occupied.rotate_right(current).trailing_zeros();
            let start = (self.tick >> shift) + u64::from(ahead);
            (at, slot_of(start), start << shift)
        })
    }

    fn link(&mut self, key: Entry<T>, tick: u64) {
        let place = self.place(tick);
        let list = self.list(place);
        let next = list.map(|(index, generation)| Key::from_parts(index, generation));
        *list = Some((key.index(), key.generation()));
        if let Some(next) = next.and_then(|next| self.nodes.get_mut(next)) {
            next.previous = Some(key);
        }
        if let Some(node) = self.nodes.get_mut(key) {
            (node.place, node.previous, node.next) = (place, None, next);
        }
        if let Place::Slot { level, slot } = place {
            self.levels[usize::from(level)].occupied |= 1 << slot;
        }
    }

    fn unlink(&mut self, key: Entry<T>) {
        let Some(node) = self.nodes.get(key) else { return };
        let (place, previous, next) = (node.place, node.previous, node.next);
        if let Some(next) = next.and_then(|next| self.nodes.get_mut(next)) {
            next.previous = previous;
        }
        if let Some(previous) = previous {
            if let Some(previous) = self.nodes.get_mut(previous) {
                previous.next = next;
            }
            return;
        }
        *self.list(place) = next.map(|next| (next.index(), next.generation()));
        if let (Place::Slot { level, slot }, None) = (place, next) {
            self.levels[usize::from(level)].occupied &= !(1 << slot);
        }
    }

    fn list(&mut self, place: Place) -> &mut List {
        match place {
            Place::Due => &mut self.due,
            Place::Slot { level, slot } => &mut self.levels[usize::from(level)].slots[usize::from(slot)],
        }
    }

    fn place(&self, tick: u64) -> Place {
        if tick <= self.tick {
            return Place::Due;
        }
        // One slot short of a full turn, or the last slot would be the current one again.
        let tick = tick.min(self.tick.saturating_add(SPAN - (SPAN >> SLOT_BITS)));
        let differs = (self.tick ^ tick) | (SLOTS as u64 - 1);
        let level = ((63 - differs.leading_zeros()) / SLOT_BITS).min(LEVELS as u32 - 1);
        Place::Slot { level: level as u8, slot: slot_of(tick >> (SLOT_BITS * level)) as u8 }
    }
}

/// The slot of a tick that was already shifted to its level.
fn slot_of(shifted: u64) -> usize {
    (shifted % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn ms(millis: u64) -> Instant {
        Instant::from_nanos(millis * TICK_NANOS)
    }

    fn drain(wheel: &mut Wheel<u32>, now: Instant) -> Vec<u32> {
        let mut out: Vec<u32> = std::iter::from_fn(|| wheel.expire(now)).collect();
        out.sort_unstable();
        out
    }

    #[test]
    fn an_entry_never_comes_out_early_and_is_rounded_up_to_a_tick() {
        let mut wheel = Wheel::new(ms(5));
        wheel.insert(ms(10) + Duration::from_nanos(1), 1);
        assert_eq!(drain(&mut wheel, ms(10) + Duration::from_micros(999)), []);
        assert_eq!(drain(&mut wheel, ms(11)), [1]);
        assert!(wheel.is_empty());
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn entries_of_the_past_are_due_at_once() {
        let mut wheel = Wheel::new(ms(100));
        wheel.insert(ms(3), 1);
        assert!(wheel.next().is_some_and(|at| at <= ms(100)));
        assert_eq!(drain(&mut wheel, ms(100)), [1]);
    }

    #[test]
    fn an_entry_beyond_the_span_is_placed_again_until_its_time() {
        let mut wheel = Wheel::new(ms(1));
        let far = SPAN * 3 + 17;
        wheel.insert(ms(far), 1);
        wheel.insert(Instant::NEVER, 2);
        assert_eq!(drain(&mut wheel, ms(far - 1)), []);
        assert_eq!(drain(&mut wheel, ms(far)), [1]);
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn a_cancelled_entry_is_gone_and_its_key_is_stale() {
        let mut wheel = Wheel::new(ms(0));
        let entry = wheel.insert(ms(70), 1);
        assert_eq!(wheel.cancel(entry), Some(1));
        assert_eq!(wheel.cancel(entry), None);
        assert_eq!(drain(&mut wheel, ms(1000)), []);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Cancel(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0..70_u64, 0..5_000_u64, 0..300_000_u64, 0..(1_u64 << 38)];
        prop_oneof![
            4 => span.clone().prop_map(Step::Insert),
            1 => any::<usize>().prop_map(Step::Cancel),
            3 => span.prop_map(Step::Advance),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        #[test]
        fn the_wheel_agrees_with_a_sorted_map(start in 0..1_u64 << 40, steps in prop::collection::vec(step(), 1..80)) {
            let mut now = start;
            let mut wheel = Wheel::new(ms(now));
            let mut model: BTreeMap<(u64, u32), Entry<u32>> = BTreeMap::new();
            let mut id = 0;
            for step in steps {
                match step {
                    Step::Insert(after) => {
                        model.insert((now + after, id), wheel.insert(ms(now + after), id));
                        id += 1;
                    }
                    Step::Cancel(pick) if !model.is_empty() => {
                        let at = *model.keys().nth(pick % model.len()).expect("in range");
                        let entry = model.remove(&at).expect("listed");
                        prop_assert_eq!(wheel.cancel(entry), Some(at.1));
                    }
                    Step::Cancel(_) => {}
                    Step::Advance(by) => {
                        now += by;
                        let mut expected: Vec<u32> = model.range(..(now + 1, 0)).map(|(at, _)| at.1).collect();
                        expected.sort_unstable();
                        model.retain(|at, _| at.0 > now);
                        prop_assert_eq!(drain(&mut wheel, ms(now)), expected);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                match (wheel.next(), model.keys().next()) {
                    (Some(next), Some(first)) => prop_assert!(next <= ms(first.0.max(now))),
                    (next, first) => prop_assert_eq!(next.is_none(), first.is_none()),
                }
            }
        }
    }
}
