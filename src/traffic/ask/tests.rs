use super::*;
use crate::admission::BreakerRules;
use base::Instant;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn rules(waiting_max: u32, breaker: Option<BreakerRules>) -> DeskRules {
    DeskRules { waiting_max, timeout: Duration::from_secs(1), breaker }
}

fn question() -> Question {
    Question::Keys { kid: None }
}

#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_answer_wakes_whoever_asked() {
    let desk = Arc::new(Desk::new("jwt:corp", rules(4, None)));
    let (pending, _) = desk.ask(question(), Instant::ZERO).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let mut pending = pin!(pending);
    assert!(pending.as_mut().poll(&mut cx).is_pending());
    let asked = desk.take().unwrap();
    assert!(desk.take().is_none() && !asked.is_left());
    asked.answer(Answer::LookAgain);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(matches!(pending.as_mut().poll(&mut cx), Poll::Ready(Answer::LookAgain)));
}

#[test]
fn a_question_that_somebody_drops_has_failed() {
    let desk = Arc::new(Desk::new("jwt:corp", rules(4, None)));
    let (pending, _) = desk.ask(question(), Instant::ZERO).unwrap();
    drop(desk.take().unwrap());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(pin!(pending).poll(&mut cx), Poll::Ready(Answer::Failed)));
}

#[test]
fn no_more_wait_than_may_and_those_who_leave_make_room() {
    let desk = Arc::new(Desk::new("jwt:corp", rules(2, None)));
    let first = desk.ask(question(), Instant::ZERO).unwrap();
    let second = desk.ask(question(), Instant::ZERO).unwrap();
    assert_eq!(desk.ask(question(), Instant::ZERO).err(), Some(Unanswered::Full));
    assert_eq!((desk.waiting(), desk.counts.full.load(Ordering::Relaxed)), (2, 1));
    // Nobody takes anything, and askers come and go: neither the count nor the queue grows.
    drop(first);
    for _ in 0..1000 {
        drop(desk.ask(question(), Instant::ZERO).unwrap());
    }
    assert_eq!(desk.waiting(), 1);
    let taken = desk.take().unwrap();
    assert!(!taken.is_left(), "the second one is the only one that still waits");
    assert!(desk.take().is_none());
    // Whoever works on it is told when its asker leaves.
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(taken.poll_left(&mut Context::from_waker(&waker)).is_pending());
    drop(second);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(taken.poll_left(&mut Context::from_waker(&waker)).is_ready());
    assert_eq!(desk.waiting(), 0);
}

#[test]
fn the_clerk_is_woken_by_a_question() {
    let desk = Arc::new(Desk::new("jwt:corp", rules(2, None)));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    let mut next = pin!(desk.next());
    assert!(next.as_mut().poll(&mut cx).is_pending());
    let _pending = desk.ask(question(), Instant::ZERO).unwrap();
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(next.as_mut().poll(&mut cx).is_ready());
}

#[test]
fn g8_a_breaker_keeps_questions_away_until_one_is_answered_again() {
    let breaker = BreakerRules {
        error_permille: 500,
        requests_min: 4,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(5),
        probes: 1,
    };
    let desk = Arc::new(Desk::new("forward-auth:sso", rules(8, Some(breaker))));
    let at = |seconds: u64| Instant::from_nanos((100 + seconds) * 1_000_000_000);
    for _ in 0..4 {
        let (_pending, ticket) = desk.ask(question(), at(0)).unwrap();
        desk.settle(ticket, Some(Err(Unanswered::Timeout)), at(0));
    }
    assert_eq!(desk.ask(question(), at(1)).err(), Some(Unanswered::Open));
    assert_eq!(desk.waiting(), 0);
    // An asker that leaves says nothing about the service.
    let (pending, ticket) = desk.ask(question(), at(6)).unwrap();
    desk.settle(ticket, None, at(6));
    drop(pending);
    let (_pending, ticket) = desk.ask(question(), at(6)).unwrap();
    desk.settle(ticket, Some(Ok(())), at(6));
    assert!(desk.ask(question(), at(6)).is_ok());
    let read: Vec<(&str, u64)> = desk.counts.read().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(read, [("answered", 1), ("timeout", 4), ("open", 1), ("left", 1)]);
}

#[test]
fn a_desk_can_be_closed_for_a_while() {
    let desk = Desk::new("jwt:corp", rules(1, None));
    let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
    assert!(desk.is_open(at(1)));
    desk.close_until(at(30_000));
    assert!(!desk.is_open(at(29_000)) && desk.is_open(at(30_000)));
    assert!(desk.is_open(at(29_500)), "half of the time that a request waits anyway");
}
