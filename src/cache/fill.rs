//! One request fetches what many ask for (X8, R83). The others wait for the end of its work, and each goes on alone if the
//! response turns out not to be for them.

use crate::key::Key;
use crate::object::Object;
use crate::store::Store;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Requests that wait for one fetch; more go to the upstream.
const WAITING_MAX: usize = 1 << 16;

/// How a fetch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The response is in the store.
    Stored,
    /// The response is not for others.
    Refused,
    /// Nothing came of it: somebody else may try.
    Abandoned,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Waited>,
    doomed: bool,
    waiting: Vec<Option<Waker>>,
}

/// What the fetching and the waiting requests share.
#[derive(Debug, Default)]
pub(crate) struct Fill(Mutex<State>);

impl Fill {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What comes of it is outdated already.
    pub(crate) fn doom(&self) {
        self.state().doomed = true;
    }

    fn end(&self, outcome: Waited) {
        let mut state = self.state();
        if state.outcome.is_some() {
            return;
        }
        state.outcome = Some(outcome);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// A place among those who wait, unless there are too many.
    pub(crate) fn wait(self: &Arc<Self>) -> Option<Waiting> {
        (self.state().waiting.len() < WAITING_MAX).then(|| Waiting { fill: Arc::clone(self), place: None })
    }
}

/// Whose turn it is to ask the upstream.
#[derive(Debug)]
pub enum Turn {
    /// This request's, for all others.
    Lead(Leader),
    /// Another request is at it.
    Wait(Waiting),
    /// Each for itself: it is known not to be shared, or there is no room to keep count.
    Alone,
}

/// The request that fetches. Dropped without a word, it hands over to one of those who wait.
#[derive(Debug)]
pub struct Leader {
    store: Arc<Store>,
    key: Key,
    scope: Box<[u8]>,
    fill: Arc<Fill>,
}

impl Leader {
    pub(crate) fn new(store: Arc<Store>, key: Key, scope: Box<[u8]>, fill: Arc<Fill>) -> Leader {
        Leader { store, key, scope, fill }
    }

    /// What the fetch is for beside the key.
    pub fn scope(&self) -> &[u8] {
        &self.scope
    }

    /// The response is complete; false when it has become outdated meanwhile or is too large.
    pub fn stored(self, object: Object) -> bool {
        let doomed = self.fill.state().doomed;
        let kept = !doomed && self.store.put(&self.key, object);
        self.store.end_fill(&self.key, &self.scope, &self.fill);
        self.fill.end(if kept { Waited::Stored } else { Waited::Refused });
        kept
    }

    /// The response is not for others; until `until_ns` nobody waits for one like it.
    pub fn refused(self, until_ns: u64) {
        self.store.pass(&self.key, &self.scope, until_ns);
        self.store.end_fill(&self.key, &self.scope, &self.fill);
        self.fill.end(Waited::Refused);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.store.end_fill(&self.key, &self.scope, &self.fill);
        self.fill.end(Waited::Abandoned);
    }
}

/// A request that waits for another one's fetch.
#[derive(Debug)]
pub struct Waiting {
    fill: Arc<Fill>,
    place: Option<usize>,
}

impl Future for Waiting {
    type Output = Waited;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited> {
        let fill = Arc::clone(&self.fill);
        let mut state = fill.state();
        if let Some(outcome) = state.outcome {
            return Poll::Ready(outcome);
        }
        let waker = Some(cx.waker().clone());
        match self.place {
            Some(place) => state.waiting[place] = waker,
            None => {
                self.place = Some(state.waiting.len());
                state.waiting.push(waker);
            }
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.fill.state();
        if let Some(place) = self.place
            && let Some(waker) = state.waiting.get_mut(place)
        {
            *waker = None;
        }
    }
}
