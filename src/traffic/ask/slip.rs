//! One question on its way: the half of whoever waits, and the half of whoever works on it.

use super::desk::Desk;
use super::{Answer, Question};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What both halves share.
#[derive(Debug, Default)]
pub(super) struct Slip(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    answer: Option<Answer>,
    /// Nobody waits any more.
    left: bool,
    /// Of whoever waits.
    asker: Option<Waker>,
    /// Of whoever works on it.
    clerk: Option<Waker>,
}

impl Slip {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_left(&self) -> bool {
        self.state().left
    }
}

/// A question that waits for its answer. Dropped, it is taken back.
#[derive(Debug)]
pub struct Pending {
    desk: Arc<Desk>,
    slip: Arc<Slip>,
}

impl Pending {
    pub(super) fn new(desk: Arc<Desk>, slip: Arc<Slip>) -> Pending {
        Pending { desk, slip }
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.slip.state();
        match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.asker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut state = self.slip.state();
        state.left = true;
        let clerk = state.clerk.take();
        drop(state);
        if let Some(clerk) = clerk {
            clerk.wake();
        }
        self.desk.left();
    }
}

/// A question that somebody has taken, and the way back. Dropped without an answer, it counts as failed.
#[derive(Debug)]
pub struct Asked {
    pub question: Question,
    slip: Arc<Slip>,
}

impl Asked {
    pub(super) fn new(question: Question, slip: Arc<Slip>) -> Asked {
        Asked { question, slip }
    }

    /// Hands the answer over and wakes whoever waits for it.
    pub fn answer(self, answer: Answer) {
        self.put(answer);
    }

    /// Whether nobody waits any more.
    pub fn is_left(&self) -> bool {
        self.slip.is_left()
    }

    /// Ready when nobody waits any more.
    pub fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.slip.state();
        if state.left {
            return Poll::Ready(());
        }
        state.clerk = Some(cx.waker().clone());
        Poll::Pending
    }

    fn put(&self, answer: Answer) {
        let mut state = self.slip.state();
        state.answer.get_or_insert(answer);
        let asker = state.asker.take();
        drop(state);
        if let Some(asker) = asker {
            asker.wake();
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Too late after an answer: the first one counts, and one that was taken is not waited for.
        self.put(Answer::Failed);
    }
}
