//! Latest-value mailbox from the control plane to one worker, with a way back for what the worker no longer needs.
//!
//! Not a queue: a value that was not taken before the next one is published is never seen. The worker asks once per
//! turn of its loop, which costs one load when there is nothing, and it never frees a value: it retires it, and the
//! control plane drops it on its own thread.
//!
//! ```text
//!   Publisher::publish ──▶ slot (newest only) ──▶ Subscriber::take
//!   Publisher::reclaim ◀── stack of retired values ◀── Subscriber::retire
//! ```
//!
//! Values travel in parcels, small boxes that the publisher allocates. The subscriber keeps the empty parcel of each
//! value that it took and sends the value home in it.
#![allow(unsafe_code)] // Boxes cross threads through atomic pointers; every conversion names its single owner.

use crate::cache_padded::CachePadded;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[cfg(loom)]
use loom::sync::{
    Arc as Shared,
    atomic::{AtomicPtr, Ordering},
};
#[cfg(not(loom))]
use std::sync::{
    Arc as Shared,
    atomic::{AtomicPtr, Ordering},
};

/// A mailbox for one worker.
pub fn channel<T>() -> (Publisher<T>, Subscriber<T>) {
    let mailbox = Shared::new(Mailbox {
        newest: CachePadded(AtomicPtr::new(ptr::null_mut())),
        retired: CachePadded(AtomicPtr::new(ptr::null_mut())),
        held: AtomicBool::new(true),
        owns: PhantomData,
    });
    (Publisher { mailbox: Shared::clone(&mailbox) }, Subscriber { mailbox, empty: Vec::with_capacity(4) })
}

/// The control plane's end.
pub struct Publisher<T> {
    mailbox: Shared<Mailbox<T>>,
}

impl<T> Publisher<T> {
    /// Makes `value` the one that the worker takes next. Frees what was retired, and a predecessor never taken.
    pub fn publish(&mut self, value: Arc<T>) {
        self.reclaim();
        let parcel = Box::into_raw(Box::new(Parcel::new(value)));
        let unseen = self.mailbox.newest.swap(parcel, Ordering::AcqRel);
        // SAFETY: a pointer in `newest` came from `Box::into_raw` in this function, and the swap took it out, so
        // nobody else can reach it.
        unsafe { drop_parcels(unseen) };
    }

    /// Drops the values that the worker retired since the last call; returns how many there were.
    pub fn reclaim(&mut self) -> usize {
        let stack = self.mailbox.retired.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: pointers in `retired` came from `Box::into_raw` in `Subscriber::retire`; the swap took the whole
        // stack, so it is ours alone. Taking everything at once also rules out the ABA problem of popping.
        unsafe { drop_parcels(stack) }
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

/// The worker's end.
pub struct Subscriber<T> {
    mailbox: Shared<Mailbox<T>>,
    /// Parcels of values that were taken and not yet retired, for the way home: one per generation in flight here.
    #[expect(clippy::vec_box, reason = "the boxes themselves travel")]
    empty: Vec<Box<Parcel<T>>>,
}

impl<T> Subscriber<T> {
    /// The newest value, if one was published since the last call. One load when there is none.
    #[inline]
    pub fn take(&mut self) -> Option<Arc<T>> {
        if self.mailbox.newest.load(Ordering::Relaxed).is_null() {
            return None;
        }
        self.take_parcel()
    }

    #[cold]
    fn take_parcel(&mut self) -> Option<Arc<T>> {
        let parcel = NonNull::new(self.mailbox.newest.swap(ptr::null_mut(), Ordering::Acquire))?;
        // SAFETY: the pointer came from `Box::into_raw` in `Publisher::publish`; the swap took it out of the only
        // place it was in. Acquire pairs with the release there: the parcel's content is visible.
        let mut parcel = unsafe { Box::from_raw(parcel.as_ptr()) };
        let value = parcel.value.take();
        self.empty.push(parcel);
        value
    }

    /// Hands back a value that the worker no longer uses; it is dropped by [`Publisher::reclaim`], not here.
    pub fn retire(&mut self, value: Arc<T>) {
        let parcel = match self.empty.pop() {
            Some(mut parcel) => {
                parcel.value = Some(value);
                parcel
            }
            // The first value of a worker comes as an argument, not through the mailbox.
            None => Box::new(Parcel::new(value)),
        };
        let parcel = Box::into_raw(parcel);
        let mut top = self.mailbox.retired.load(Ordering::Relaxed);
        loop {
            // SAFETY: `parcel` came from `Box::into_raw` above and is reachable by nobody else until the exchange
            // succeeds, after which this function does not touch it again. `top` is only stored, never read through.
            unsafe { *(*parcel).below.get_mut() = top };
            match self.mailbox.retired.compare_exchange_weak(
                top,
                parcel,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }
}

impl<T> Subscriber<T> {
    /// Whoever goes on in its place once it has been dropped.
    pub fn heir(&self) -> Heir<T> {
        Heir { mailbox: Shared::clone(&self.mailbox) }
    }
}

impl<T> Drop for Subscriber<T> {
    fn drop(&mut self) {
        self.mailbox.held.store(false, Ordering::Release);
    }
}

/// The right to a subscriber's place when its worker has ended: the mailbox outlives it.
pub struct Heir<T> {
    mailbox: Shared<Mailbox<T>>,
}

impl<T> Heir<T> {
    /// A subscriber in place of the one before; `None` while that still exists.
    pub fn inherit(&self) -> Option<Subscriber<T>> {
        let held = self.mailbox.held.swap(true, Ordering::AcqRel);
        (!held).then(|| Subscriber { mailbox: Shared::clone(&self.mailbox), empty: Vec::with_capacity(4) })
    }
}

impl<T> fmt::Debug for Heir<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heir").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").finish_non_exhaustive()
    }
}

struct Mailbox<T> {
    /// Null or the parcel of the newest value.
    newest: CachePadded<AtomicPtr<Parcel<T>>>,
    /// Null or the parcel retired last, linked to the ones before it.
    retired: CachePadded<AtomicPtr<Parcel<T>>>,
    /// There is a subscriber.
    held: AtomicBool,
    /// The pointers stand for values that two threads share: both ends are `Send` only when `Arc<T>` is.
    owns: PhantomData<Arc<T>>,
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        for place in [&self.newest, &self.retired] {
            let parcel = place.swap(ptr::null_mut(), Ordering::Acquire);
            // SAFETY: both ends are gone (`&mut self`), and pointers in either place came from `Box::into_raw`.
            unsafe { drop_parcels(parcel) };
        }
    }
}

struct Parcel<T> {
    value: Option<Arc<T>>,
    /// In the stack of retired values: the one below, or null. A plain pointer in an atomic's clothes (only
    /// `get_mut` is used), because that keeps the type `Send`.
    below: std::sync::atomic::AtomicPtr<Parcel<T>>,
}

impl<T> Parcel<T> {
    fn new(value: Arc<T>) -> Self {
        Parcel { value: Some(value), below: std::sync::atomic::AtomicPtr::default() }
    }
}

/// Drops the parcel and all that are below it, with their values; returns how many there were.
///
/// # Safety
///
/// `top` is null or came from `Box::into_raw`, as did all below it, and the caller alone can reach them.
unsafe fn drop_parcels<T>(mut top: *mut Parcel<T>) -> usize {
    let mut dropped = 0;
    while !top.is_null() {
        // SAFETY: the caller promises that the pointer came from `Box::into_raw` and is reachable by it alone.
        let mut parcel = unsafe { Box::from_raw(top) };
        top = *parcel.below.get_mut();
        dropped += 1;
    }
    dropped
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_heir_finds_what_was_published_while_nobody_was_there() {
        let (mut publisher, subscriber) = channel();
        let heir = subscriber.heir();
        assert!(heir.inherit().is_none(), "there is one already");
        drop(subscriber);
        publisher.publish(Arc::new(1));
        let mut subscriber = heir.inherit().expect("the place is free");
        assert!(heir.inherit().is_none());
        assert_eq!(subscriber.take().as_deref(), Some(&1));
        subscriber.retire(Arc::new(1));
        assert_eq!(publisher.reclaim(), 1, "the way back is the same as well");
    }

    #[test]
    fn the_newest_value_wins_and_is_taken_once() {
        let (mut publisher, mut subscriber) = channel();
        assert_eq!(subscriber.take(), None);
        let (first, second) = (Arc::new(1), Arc::new(2));
        publisher.publish(Arc::clone(&first));
        publisher.publish(second);
        assert_eq!(Arc::strong_count(&first), 1, "a value never taken is freed by its successor");
        assert_eq!(subscriber.take().as_deref(), Some(&2));
        assert_eq!(subscriber.take(), None);
    }

    #[test]
    fn retired_values_are_dropped_by_the_publisher() {
        let (mut publisher, mut subscriber) = channel();
        let values: Vec<_> = (0..3).map(Arc::new).collect();
        subscriber.retire(Arc::clone(&values[0]));
        for value in &values[1..] {
            publisher.publish(Arc::clone(value));
            let taken = subscriber.take().unwrap();
            subscriber.retire(taken);
            assert_eq!(Arc::strong_count(value), 2, "the worker does not drop it");
        }
        assert_eq!(publisher.reclaim(), 1, "the first two went when the last was published");
        assert!(values.iter().all(|value| Arc::strong_count(value) == 1));
    }

    #[test]
    fn nothing_leaks_when_both_ends_go() {
        let (mut publisher, mut subscriber) = channel();
        let (unseen, kept) = (Arc::new("unseen"), Arc::new("kept"));
        subscriber.retire(Arc::clone(&kept));
        publisher.publish(Arc::clone(&unseen));
        drop((publisher, subscriber));
        assert_eq!((Arc::strong_count(&unseen), Arc::strong_count(&kept)), (1, 1));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;

    /// Loom reports a read of the cell that is not ordered after its construction.
    struct Probe(UnsafeCell<u32>);

    // SAFETY: the cell is only read after construction, and loom checks even that.
    unsafe impl Sync for Probe {}

    impl Probe {
        fn read(&self) -> u32 {
            // SAFETY: nobody writes the cell after construction.
            self.0.with(|cell| unsafe { *cell })
        }
    }

    fn probe(value: u32) -> Arc<Probe> {
        Arc::new(Probe(UnsafeCell::new(value)))
    }

    #[test]
    fn loom_values_are_seen_whole_newest_last_and_freed_once() {
        loom::model(|| {
            let (mut publisher, mut subscriber) = channel::<Probe>();
            let worker = loom::thread::spawn(move || {
                let mut newest = 0;
                let mut current = None;
                for _ in 0..2 {
                    if let Some(value) = subscriber.take() {
                        assert!(value.read() > newest, "values never go backwards");
                        newest = value.read();
                        if let Some(old) = current.replace(value) {
                            subscriber.retire(old);
                        }
                    }
                }
                if let Some(last) = current {
                    subscriber.retire(last);
                }
            });
            let values = [probe(1), probe(2)];
            for value in &values {
                publisher.publish(Arc::clone(value));
            }
            publisher.reclaim();
            worker.join().unwrap();
            drop(publisher);
            assert!(values.iter().all(|value| Arc::strong_count(value) == 1));
        });
    }
}
