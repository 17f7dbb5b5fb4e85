//! Waiting for the first of two things without a box: `select2`, and `race` against a timer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use crate::timer::Timer;

/// Which of two futures ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    Left(A),
    Right(B),
}

/// Runs `future` until it ends or `timer` expires; None when the timer was first.
///
/// The future is polled first, so a result that is there at the deadline still counts.
pub async fn race<F: Future>(future: F, timer: &Timer) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        timer.poll_expired(cx).map(|()| None)
    })
    .await
}

/// Runs both until one ends and drops the other; `a` is polled first and wins a tie.
pub async fn select2<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| {
        if let Poll::Ready(output) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::Left(output));
        }
        b.as_mut().poll(cx).map(Either::Right)
    })
    .await
}
