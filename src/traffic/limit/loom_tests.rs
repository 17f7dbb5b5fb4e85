//! Every interleaving of two workers on one group of cells (R1, R6, R11).

use super::meter::{Gcra, Measure, Moment};
use super::table::{Charged, Table};
use base::Instant;
use loom::sync::Arc;
use loom::thread;
use std::time::Duration;

const NOW: Moment = Moment { now: Instant::from_nanos(1_000_000_000), unix_s: 1 };

fn bucket(burst: u32) -> Measure {
    Measure::Bucket(Gcra::new(1, Duration::from_secs(3600), burst).expect("a rate"))
}

fn takes(table: &Table, key: u64, measure: &Measure) -> bool {
    matches!(table.charge(key, measure, 1, NOW).charged, Charged::Yes(_))
}

fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn loom_of_two_requests_at_once_one_gets_the_last_of_a_new_key() {
    bounded(|| {
        let table = Arc::new(Table::with_groups(0));
        let theirs = Arc::clone(&table);
        let other = thread::spawn(move || takes(&theirs, 7, &bucket(1)));
        let mine = takes(&table, 7, &bucket(1));
        assert!(mine != other.join().unwrap(), "exactly one of them");
    });
}

#[test]
fn loom_what_is_given_back_is_there_again_and_no_more() {
    bounded(|| {
        let table = Arc::new(Table::with_groups(0));
        let theirs = Arc::clone(&table);
        let other = thread::spawn(move || {
            if takes(&theirs, 7, &Measure::Concurrent(1)) {
                theirs.refund(7, &Measure::Concurrent(1), 1, NOW);
            }
        });
        if takes(&table, 7, &Measure::Concurrent(1)) {
            table.refund(7, &Measure::Concurrent(1), 1, NOW);
        }
        other.join().unwrap();
        assert_eq!(table.keys(&Measure::Concurrent(1), NOW), 0);
        assert!(takes(&table, 7, &Measure::Concurrent(1)));
    });
}

#[test]
fn loom_another_key_takes_nothing_from_an_exhausted_one() {
    bounded(|| {
        let table = Arc::new(Table::with_groups(0));
        assert!(takes(&table, 7, &bucket(1)));
        let theirs = Arc::clone(&table);
        let other = thread::spawn(move || takes(&theirs, 8, &bucket(1)));
        assert!(!takes(&table, 7, &bucket(1)));
        assert!(other.join().unwrap());
        assert!(!takes(&table, 7, &bucket(1)) && !takes(&table, 8, &bucket(1)));
    });
}
