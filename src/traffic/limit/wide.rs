//! A key and its state in one atomic word of 128 bits.

#[cfg(loom)]
use loom::sync::Mutex;
#[cfg(not(loom))]
use portable_atomic::{AtomicU128, Ordering};

/// What a cell holds. Key 0 is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) key: u64,
    pub(super) state: u64,
}

impl Word {
    pub(super) const EMPTY: Word = Word { key: 0, state: 0 };

    #[cfg(not(loom))]
    fn pack(self) -> u128 {
        u128::from(self.key) << 64 | u128::from(self.state)
    }

    #[cfg(not(loom))]
    fn unpack(bits: u128) -> Word {
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
        Word { key: half(bits >> 64), state: half(bits) }
    }
}

/// The cell. Relaxed order is enough: nothing else is published through it.
#[cfg(not(loom))]
#[derive(Debug, Default)]
pub(super) struct Wide(AtomicU128);

#[cfg(not(loom))]
impl Wide {
    pub(super) fn load(&self) -> Word {
        Word::unpack(self.0.load(Ordering::Relaxed))
    }

    /// Whether `new` took the place of `seen`.
    pub(super) fn replace(&self, seen: Word, new: Word) -> bool {
        self.0.compare_exchange(seen.pack(), new.pack(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The model checker has no word of this width; each operation is as indivisible under a lock.
#[cfg(loom)]
#[derive(Debug)]
pub(super) struct Wide(Mutex<Word>);

#[cfg(loom)]
impl Default for Wide {
    fn default() -> Self {
        Wide(Mutex::new(Word::EMPTY))
    }
}

#[cfg(loom)]
impl Wide {
    pub(super) fn load(&self) -> Word {
        *self.0.lock().expect("no test panics with it")
    }

    pub(super) fn replace(&self, seen: Word, new: Word) -> bool {
        let mut word = self.0.lock().expect("no test panics with it");
        let same = *word == seen;
        if same {
            *word = new;
        }
        same
    }
}
