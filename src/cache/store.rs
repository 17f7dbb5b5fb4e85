//! Where responses are kept, for all workers: shards, each behind a lock that is held for a lookup or an insertion and never
//! while anything waits. Bodies are shared, not copied.

use crate::FieldRef;
use crate::fill::{Fill, Leader, Turn};
use crate::key::Key;
use crate::object::Object;
use crate::shard::{FILLS_MAX, Shard};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: u64 = 8;
/// Quarters of the memory that hold what is complete; the rest is for what is being fetched.
const KEPT_QUARTERS: u64 = 3;
/// The largest object takes this part of a shard.
const OBJECT_PART: u64 = 4;

/// What happened in a store; only grows.
#[derive(Debug, Default)]
pub struct Counts {
    pub hits: AtomicU64,
    /// Answered with what was stale, as its origin allows.
    pub stale: AtomicU64,
    pub misses: AtomicU64,
    pub revalidated: AtomicU64,
    /// Waited for another request's fetch and were answered with what it brought.
    pub collapsed: AtomicU64,
    /// Requests that no response may be kept for or found for.
    pub bypassed: AtomicU64,
    pub stored: AtomicU64,
    /// Responses that may not be kept.
    pub refused: AtomicU64,
    /// Keys that had to go because others came.
    pub evicted: AtomicU64,
    /// Keys that were purged or outdated by a request.
    pub removed: AtomicU64,
}

/// What a lookup has brought.
#[derive(Debug)]
pub enum Found {
    Object(Arc<Object>),
    /// There is something under the key, for other requests.
    OtherVariant,
    Nothing,
}

/// The store of one `cache`.
#[derive(Debug)]
pub struct Store {
    pub name: Box<str>,
    pub bytes_max: u64,
    pub counts: Counts,
    /// Of responses that are not complete yet.
    filling: AtomicU64,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

impl Store {
    pub fn new(name: &str, bytes_max: u64) -> Store {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Store {
            name: name.into(),
            bytes_max,
            counts: Counts::default(),
            filling: AtomicU64::new(0),
            hasher: RandomState::new(),
            shards,
        }
    }

    /// Bytes of the largest body that is kept.
    pub fn object_bytes_max(&self) -> u64 {
        self.shard_bytes_max() / OBJECT_PART
    }

    fn shard_bytes_max(&self) -> u64 {
        self.bytes_max / 4 * KEPT_QUARTERS / SHARDS
    }

    /// Takes room for `bytes` of a response that is being fetched; false when there is none. Given back by [`Store::give_back`].
    pub fn take_room(&self, bytes: u64) -> bool {
        let most = self.bytes_max / 4 * (4 - KEPT_QUARTERS);
        let before = self.filling.fetch_add(bytes, Relaxed);
        if before + bytes > most {
            self.filling.fetch_sub(bytes, Relaxed);
        }
        before + bytes <= most
    }

    /// See [`Store::take_room`].
    pub fn give_back(&self, bytes: u64) {
        self.filling.fetch_sub(bytes, Relaxed);
    }

    fn shard(&self, key: &Key) -> (MutexGuard<'_, Shard>, u64) {
        let hash = self.hasher.hash_one(&key.0);
        let at = usize::try_from(hash >> 48).unwrap_or_default() % self.shards.len();
        (self.shards[at].lock().unwrap_or_else(PoisonError::into_inner), hash)
    }

    pub fn find(&self, key: &Key, scope: &[u8], request: &[FieldRef<'_>]) -> Found {
        let (mut shard, _) = self.shard(key);
        match shard.find(&key.0, scope, request) {
            (Some(object), _) => Found::Object(object),
            (None, true) => Found::OtherVariant,
            (None, false) => Found::Nothing,
        }
    }

    /// Keeps `object`; false when it is too large.
    pub fn put(&self, key: &Key, object: Object) -> bool {
        if object.length > self.object_bytes_max() {
            return false;
        }
        let object = Arc::new(object);
        let (mut shard, hash) = self.shard(key);
        let evicted = shard.put(&key.0, hash, object, self.shard_bytes_max());
        drop(shard);
        self.counts.evicted.fetch_add(evicted, Relaxed);
        self.counts.stored.fetch_add(1, Relaxed);
        true
    }

    /// Forgets all responses of a key.
    pub fn remove(&self, key: &Key) -> bool {
        let removed = self.shard(key).0.remove(&key.0);
        self.counts.removed.fetch_add(u64::from(removed), Relaxed);
        removed
    }

    /// Forgets everything; says how many keys there were.
    pub fn clear(&self) -> u64 {
        let clear = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let removed = self.shards.iter().map(clear).sum();
        self.counts.removed.fetch_add(removed, Relaxed);
        removed
    }

    /// Keys and bytes that are kept now.
    pub fn kept(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(keys, bytes), shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            (keys + shard.keys() as u64, bytes + shard.bytes)
        })
    }

    /// Whose turn it is to fetch what is missing.
    pub fn begin(self: &Arc<Self>, key: &Key, scope: &[u8], now_ns: u64) -> Turn {
        let (mut shard, _) = self.shard(key);
        let at = (key.0.clone(), Box::from(scope));
        if let Some(&until) = shard.passes.get(&at) {
            if until > now_ns {
                return Turn::Alone;
            }
            shard.passes.remove(&at);
        }
        if let Some(fill) = shard.fills.get(&at) {
            return fill.wait().map_or(Turn::Alone, Turn::Wait);
        }
        if shard.fills.len() >= FILLS_MAX {
            return Turn::Alone;
        }
        let fill = Arc::new(Fill::default());
        shard.fills.insert(at, Arc::clone(&fill));
        drop(shard);
        Turn::Lead(Leader::new(Arc::clone(self), key.clone(), scope.into(), fill))
    }

    pub(crate) fn end_fill(&self, key: &Key, scope: &[u8], fill: &Arc<Fill>) {
        let (mut shard, _) = self.shard(key);
        let at = (key.0.clone(), Box::from(scope));
        if shard.fills.get(&at).is_some_and(|known| Arc::ptr_eq(known, fill)) {
            shard.fills.remove(&at);
        }
    }

    pub(crate) fn pass(&self, key: &Key, scope: &[u8], until_ns: u64) {
        let (mut shard, _) = self.shard(key);
        if shard.passes.len() >= FILLS_MAX {
            shard.passes.clear();
        }
        shard.passes.insert((key.0.clone(), scope.into()), until_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::Waited;
    use crate::object::tests::object;
    use crate::shard::VARIANTS_MAX;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn key(path: &str) -> Key {
        Key::new(false, b"x", path.as_bytes(), None)
    }

    fn of_size(bytes: usize) -> Object {
        let mut object = object(&[("Cache-Control", "max-age=9")]);
        object.body = vec![vec![0; bytes].into_boxed_slice()].into();
        object.length = bytes as u64;
        object
    }

    #[test]
    fn r85_a_store_keeps_within_its_bytes_whatever_comes() {
        let store = Store::new("s", 8 << 20);
        for n in 0..20_000 {
            assert!(store.put(&key(&format!("/{n}")), of_size(n % 5_000)));
            if n % 3 == 0 {
                store.remove(&key(&format!("/{}", n / 2)));
            }
        }
        let (keys, bytes) = store.kept();
        assert!(bytes <= 6 << 20 && bytes > 4 << 20 && keys > 1_000, "{keys} keys, {bytes} bytes");
        assert!(!store.put(&key("/large"), of_size(300 << 10)), "larger than a part of the store");
        assert_eq!(store.clear(), keys);
        assert_eq!(store.kept(), (0, 0));
    }

    #[test]
    fn what_is_asked_for_outlives_a_flood_of_what_is_not() {
        let store = Store::new("s", 8 << 20);
        for n in 0..100 {
            store.put(&key(&format!("/hot/{n}")), of_size(1_000));
        }
        for n in 0..100_000 {
            if n % 10 == 0 {
                store.find(&key(&format!("/hot/{}", n / 10 % 100)), b"", &[]);
            }
            store.put(&key(&format!("/cold/{n}")), of_size(1_000));
        }
        let there =
            (0..100).filter(|n| matches!(store.find(&key(&format!("/hot/{n}")), b"", &[]), Found::Object(_)));
        assert!(there.count() >= 95);
    }

    #[test]
    fn r85_variants_of_one_key_are_bounded_and_the_newest_stay() {
        let store = Store::new("s", 64 << 20);
        let fields: [FieldRef<'_>; 2] = [(b"Cache-Control", b"max-age=9"), (b"Vary", b"X")];
        for n in 0..1_000 {
            let value = n.to_string();
            let request: [FieldRef<'_>; 1] = [(b"X", value.as_bytes())];
            let freshness = crate::Freshness::new(200, &fields, 0, 0, 0);
            store.put(&key("/"), Object::new(200, &fields, Vec::new(), freshness, (&request, b"")).unwrap());
        }
        let has = |n: usize| {
            matches!(store.find(&key("/"), b"", &[(b"X", n.to_string().as_bytes())]), Found::Object(_))
        };
        assert_eq!(
            (0..1_000).filter(|&n| has(n)).collect::<Vec<_>>(),
            (1_000 - VARIANTS_MAX..1_000).collect::<Vec<_>>()
        );
        assert!(matches!(store.find(&key("/"), b"", &[]), Found::OtherVariant));
        assert!(matches!(store.find(&key("/"), b"other", &[]), Found::Nothing));
    }

    fn ready(waiting: impl Future<Output = Waited>) -> Option<Waited> {
        match pin!(waiting).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    #[test]
    fn x8_one_fetches_and_the_others_learn_how_it_ended() {
        let store = Arc::new(Store::new("s", 8 << 20));
        let begin = |now| store.begin(&key("/"), b"", now);
        let (Turn::Lead(leader), Turn::Wait(mut waiting)) = (begin(0), begin(0)) else { panic!("one leads") };
        assert_eq!(ready(&mut waiting), None);
        assert!(
            matches!(store.begin(&key("/"), b"other", 0), Turn::Lead(_)),
            "another scope is another fetch"
        );
        assert!(leader.stored(of_size(1)));
        assert_eq!(ready(waiting), Some(Waited::Stored));

        let (Turn::Lead(leader), Turn::Wait(waiting)) = (begin(0), begin(0)) else { panic!("one leads") };
        drop(leader);
        assert_eq!(ready(waiting), Some(Waited::Abandoned));
        let (Turn::Lead(leader), Turn::Wait(waiting)) = (begin(0), begin(0)) else { panic!("handed over") };
        leader.refused(5);
        assert_eq!(ready(waiting), Some(Waited::Refused));
        assert!(matches!(begin(4), Turn::Alone), "what is not shared is not waited for");
        assert!(matches!(begin(5), Turn::Lead(_)));
    }

    #[test]
    fn x9_what_was_being_fetched_when_it_was_outdated_is_not_kept() {
        let store = Arc::new(Store::new("s", 8 << 20));
        let Turn::Lead(leader) = store.begin(&key("/"), b"", 0) else { panic!("nobody else") };
        store.remove(&key("/"));
        assert!(!leader.stored(of_size(1)));
        assert!(matches!(store.find(&key("/"), b"", &[]), Found::Nothing));
    }
}
