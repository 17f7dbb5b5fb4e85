//! Every interleaving of two workers on one cell and one budget (R122). Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p traffic --release loom_tests`.

use super::*;
use crate::retry::RetryBudget;
use base::Instant;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

const NOW: Instant = Instant::from_nanos(5_000_000_000);

const EJECT: EjectionRules = EjectionRules {
    failures_in_a_row: 5,
    first: Duration::from_secs(10),
    longest: Duration::from_secs(300),
    slow_start: Duration::from_secs(10),
};

/// Runs `work` on another thread and here.
fn both<T: Send + Sync + 'static>(shared: &Arc<T>, work: fn(&T)) {
    let theirs = Arc::clone(shared);
    let other = thread::spawn(move || work(&theirs));
    work(shared);
    other.join().unwrap();
}

#[test]
fn no_attempt_is_lost() {
    loom::model(|| {
        let cell = Arc::new(EndpointCell::new(Health::Up));
        both(&cell, |cell| {
            cell.begin();
            assert!((1..=2).contains(&cell.in_flight()));
            cell.end();
        });
        assert_eq!((cell.in_flight(), cell.requests()), (0, 2));
    });
}

#[test]
fn the_slower_of_two_answers_is_never_overwritten_by_the_quicker() {
    loom::model(|| {
        let cell = Arc::new(EndpointCell::new(Health::Up));
        let slower = Arc::clone(&cell);
        let other =
            thread::spawn(move || slower.observe(NOW, Duration::from_millis(90), Outcome::Success, &EJECT));
        cell.observe(NOW, Duration::from_millis(5), Outcome::Success, &EJECT);
        other.join().unwrap();
        assert_eq!(cell.ewma(), Duration::from_millis(90));
    });
}

#[test]
fn failures_that_two_workers_see_at_once_eject_exactly_once() {
    loom::model(|| {
        let cell = Arc::new(EndpointCell::new(Health::Up));
        (0..4).for_each(|_| cell.observe(NOW, Duration::ZERO, Outcome::GatewayError, &EJECT));
        both(&cell, |cell| cell.observe(NOW, Duration::ZERO, Outcome::GatewayError, &EJECT));
        assert_eq!(cell.failures(), 6);
        assert!(!cell.is_available(NOW));
        assert!(cell.is_available(NOW + EJECT.first), "not doubled");
        assert_eq!(cell.ejected_since(NOW), Some(NOW));
    });
}

#[test]
fn an_ejection_is_seen_whole_or_not_at_all() {
    loom::model(|| {
        let cell = Arc::new(EndpointCell::new(Health::Up));
        let theirs = Arc::clone(&cell);
        let reader = thread::spawn(move || {
            if theirs.ejected_since(NOW).is_some() {
                assert_eq!((theirs.ejected_since(NOW), theirs.is_available(NOW)), (Some(NOW), false));
                assert_eq!(theirs.ejected_until(NOW), Some(NOW + EJECT.first));
            }
        });
        assert!(cell.eject(NOW, Why::SuccessRate, &EJECT));
        reader.join().unwrap();
        assert_eq!(cell.ramp_permille(NOW + EJECT.first), 100);
    });
}

#[test]
fn an_ejection_that_meets_a_recovery_leaves_nothing_half_done() {
    loom::model(|| {
        let cell = Arc::new(EndpointCell::new(Health::Down));
        let theirs = Arc::clone(&cell);
        let other = thread::spawn(move || theirs.eject(NOW, Why::FailuresInARow, &EJECT));
        cell.set_health(Health::Up, NOW, EJECT.slow_start);
        other.join().unwrap();
        // Either the recovery came first and the ejection stands, or it came last and there is none.
        let until = cell.ejected_until(NOW);
        assert!(until.is_none() || until == Some(NOW + EJECT.first));
        assert_eq!(cell.is_available(NOW), until.is_none());
        assert!(cell.is_available(NOW + EJECT.first));
        assert_eq!(cell.health(), Health::Up);
    });
}

#[test]
fn a_slow_start_that_waits_for_its_first_request_begins_once() {
    loom::model(|| {
        let cell = Arc::new(EndpointCell::joining(Health::Up, EJECT.slow_start));
        both(&cell, |cell| assert_eq!(cell.ramp_permille(NOW), 100));
        assert_eq!(cell.slow_start_since(NOW), Some(NOW));
        assert_eq!(cell.ramp_permille(NOW + EJECT.slow_start), 1000);
    });
}

#[test]
fn the_end_of_a_slow_start_does_not_end_the_next_one() {
    loom::model(|| {
        let cell = Arc::new(EndpointCell::new(Health::Down));
        let later = NOW + EJECT.slow_start;
        cell.set_health(Health::Up, NOW, EJECT.slow_start);
        cell.set_health(Health::Down, NOW, EJECT.slow_start);
        let theirs = Arc::clone(&cell);
        let other = thread::spawn(move || theirs.ramp_permille(later));
        cell.set_health(Health::Up, later, EJECT.slow_start);
        other.join().unwrap();
        assert_eq!(cell.slow_start_since(later), Some(later));
    });
}

#[test]
fn one_saved_retry_is_given_out_once() {
    loom::model(|| {
        let budget = Arc::new(RetryBudget::new());
        while budget.try_withdraw(NOW) {}
        (0..5).for_each(|_| budget.deposit());
        both(&budget, |budget| {
            budget.try_withdraw(NOW);
        });
        // One refusal ended the loop above; of the two workers one got the retry.
        assert_eq!(budget.refused(), 2);
    });
}

#[test]
fn two_deposits_are_two_deposits() {
    loom::model(|| {
        let budget = Arc::new(RetryBudget::new());
        while budget.try_withdraw(NOW) {}
        (0..3).for_each(|_| budget.deposit());
        both(&budget, RetryBudget::deposit);
        assert!(budget.try_withdraw(NOW));
        assert!(!budget.try_withdraw(NOW));
    });
}
