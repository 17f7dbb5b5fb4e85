//! The downstream connections of one worker, as seen from outside their tasks: which of them are idle and since when, and
//! which should end.
//!
//! A connection's task notes here when it becomes idle and when it is busy again. Under pressure `overload` picks some and
//! tells them; the task finds out when it is woken, and ends by itself. Nothing is ever taken away from a task.

use base::{Instant, Key, Slab};
use runtime::StreamId;
use std::cell::RefCell;
use std::task::Waker;
use std::time::Duration;

/// All connections of a worker.
#[derive(Default)]
pub(crate) struct Crowd {
    members: RefCell<Slab<Member>>,
}

/// A connection's place in the crowd.
pub(crate) type Place = Key<Member>;

/// What is known about one connection.
pub(crate) struct Member {
    stream: StreamId,
    /// Wakes its task. A task keeps its waker for life.
    waker: Option<Waker>,
    doing: Doing,
    /// It should end.
    told: bool,
}

#[derive(Clone, Copy)]
enum Doing {
    /// Waiting for a request since `since`, for `patience` at most when nothing presses.
    Idle { since: Instant, patience: Duration },
    /// Carrying an exchange. `moved` is what the connection had moved when that was last found to have grown by
    /// [`PROGRESS_BYTES`], at `since`; `holds` is what the exchange keeps besides what is queued for the client.
    Busy { moved: u64, since: Instant, holds: u32 },
}

/// Less than this is no progress: a client that drips moves too.
const PROGRESS_BYTES: u64 = 2048;

/// An exchange that holds memory.
struct Holder {
    place: Place,
    held_bytes: usize,
}

impl Crowd {
    pub(crate) fn join(&self, stream: StreamId, now: Instant) -> Place {
        let doing = Doing::Busy { moved: 0, since: now, holds: 0 };
        self.members.borrow_mut().insert(Member { stream, waker: None, doing, told: false })
    }

    /// Whether the connection is still open.
    pub(crate) fn has(&self, place: Place) -> bool {
        self.members.borrow().contains(place)
    }

    /// The stream of the connection.
    pub(crate) fn stream(&self, place: Place) -> Option<StreamId> {
        self.members.borrow().get(place).map(|member| member.stream)
    }

    pub(crate) fn leave(&self, place: Place) {
        self.members.borrow_mut().remove(place);
    }

    /// The connection waits for its next request.
    pub(crate) fn idle(&self, place: Place, since: Instant, patience: Duration) {
        self.change(place, Doing::Idle { since, patience });
    }

    /// A request has begun.
    pub(crate) fn busy(&self, place: Place, now: Instant) {
        self.change(place, Doing::Busy { moved: 0, since: now, holds: 0 });
    }

    /// The exchange keeps so many bytes: of a head that arrives in pieces, or of a body for another attempt.
    pub(crate) fn holds(&self, place: Place, bytes: u64) {
        let mut members = self.members.borrow_mut();
        if let Some(Member { doing: Doing::Busy { holds, .. }, .. }) = members.get_mut(place) {
            *holds = u32::try_from(bytes).unwrap_or(u32::MAX);
        }
    }

    fn change(&self, place: Place, doing: Doing) {
        if let Some(member) = self.members.borrow_mut().get_mut(place) {
            (member.doing, member.told) = (doing, false);
        }
    }

    /// Whether the connection should end. Its task is woken when it is told.
    pub(crate) fn is_told(&self, place: Place, waker: &Waker) -> bool {
        let mut members = self.members.borrow_mut();
        let Some(member) = members.get_mut(place) else { return false };
        if member.waker.is_none() {
            member.waker = Some(waker.clone());
        }
        member.told
    }

    /// Tells connections that have been idle for longer than `allowed` makes of their patience; how many.
    pub(crate) fn end_idle(&self, now: Instant, allowed: impl Fn(Duration) -> Duration) -> u64 {
        self.tell(|member| match member.doing {
            Doing::Idle { since, patience } => now.since(since) >= allowed(patience),
            Doing::Busy { .. } => false,
        })
    }

    /// Tells the `most` connections that have been idle for longest; how many there were.
    pub(crate) fn end_oldest(&self, most: usize) -> u64 {
        let mut idle: Vec<Instant> = Vec::new();
        for (_, member) in self.members.borrow().iter() {
            if let (Doing::Idle { since, .. }, false) = (member.doing, member.told) {
                idle.push(since);
            }
        }
        if idle.is_empty() || most == 0 {
            return 0;
        }
        let last = most.min(idle.len()) - 1;
        let (_, &mut youngest, _) = idle.select_nth_unstable(last);
        let mut left = most;
        self.tell(|member| {
            let old = matches!(member.doing, Doing::Idle { since, .. } if since <= youngest) && left > 0;
            left -= usize::from(old);
            old
        })
    }

    /// Tells those whose exchange holds at least `least` bytes and has not moved for `stalled`, the largest first, `most`
    /// of them; how many. `queued` gives what a stream holds and has moved.
    pub(crate) fn end_stalled(
        &self,
        now: Instant,
        stalled: Duration,
        (least, most): (usize, usize),
        queued: impl Fn(StreamId) -> Option<(usize, u64)>,
    ) -> u64 {
        let mut holders: Vec<Holder> = Vec::new();
        let mut members = self.members.borrow_mut();
        let places = members.keys();
        for place in places {
            let Some(member) = members.get_mut(place).filter(|member| !member.told) else { continue };
            let Doing::Busy { moved, since, holds } = &mut member.doing else { continue };
            let Some((queued_bytes, moved_now)) = queued(member.stream) else { continue };
            let held_bytes = queued_bytes + *holds as usize;
            if moved_now >= *moved + PROGRESS_BYTES {
                (*moved, *since) = (moved_now, now);
            } else if held_bytes >= least && now.since(*since) >= stalled {
                holders.push(Holder { place, held_bytes });
            }
        }
        drop(members);
        holders.sort_unstable_by_key(|holder| std::cmp::Reverse(holder.held_bytes));
        holders.truncate(most);
        let members = &mut *self.members.borrow_mut();
        for holder in &holders {
            if let Some(member) = members.get_mut(holder.place) {
                member.tell();
            }
        }
        holders.len() as u64
    }

    fn tell(&self, mut whom: impl FnMut(&Member) -> bool) -> u64 {
        let mut told = 0;
        for member in self.members.borrow_mut().values_mut() {
            if !member.told && whom(member) {
                member.tell();
                told += 1;
            }
        }
        told
    }
}

impl Member {
    fn tell(&mut self) {
        self.told = true;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
