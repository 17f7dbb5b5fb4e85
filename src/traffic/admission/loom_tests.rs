//! Every interleaving of two workers at one gate. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p traffic --release --lib admission::loom_tests`.

use super::*;
use base::Instant;
use base::ids::WorkerId;
use loom::sync::Arc;
use loom::thread;

const NOW: Instant = Instant::from_nanos(5_000_000_000);
const PATIENCE: Duration = Duration::from_millis(500);

/// What a worker does when a place is free again.
fn pass_on(gate: &Gate, worker: WorkerId) {
    if gate.line.is_waited_for()
        && let Some(next) = gate.line.next(worker, NOW, PATIENCE)
    {
        gate.line.call(next);
    }
}

/// A request on `worker`: in at once or after waiting, and out again. Nobody times out, so a lost call never ends.
fn pass(gate: &Gate, worker: WorkerId, inside: &loom::sync::atomic::AtomicU32) {
    use loom::sync::atomic::Ordering::SeqCst;
    let at_once = gate.line.waiting() == 0 && gate.enter(1);
    if !at_once {
        let joined = gate.line.join(worker, Some(NOW), 2).expect("room for both");
        let mut may_try = joined == Joined::Alone;
        while !(may_try && gate.enter(1)) {
            while !gate.line.answer(worker) {
                thread::yield_now();
            }
            may_try = true;
        }
        gate.line.part(worker, None);
        pass_on(gate, worker);
    }
    assert_eq!(inside.fetch_add(1, SeqCst), 0, "one at a time");
    inside.fetch_sub(1, SeqCst);
    gate.leave();
    pass_on(gate, worker);
}

#[test]
fn everybody_gets_in_and_never_two_at_once() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let gate = Arc::new(Gate::new(2));
        let inside = Arc::new(loom::sync::atomic::AtomicU32::new(0));
        let (theirs, others) = (Arc::clone(&gate), Arc::clone(&inside));
        let other = thread::spawn(move || pass(&theirs, WorkerId(1), &others));
        pass(&gate, WorkerId(0), &inside);
        other.join().unwrap();
        assert_eq!((gate.in_flight(), gate.line.waiting()), (0, 0));
    });
}

#[test]
fn one_who_leaves_passes_its_call_on() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        // The place is free and the only waiter was called. It leaves without it while another one comes.
        let gate = Arc::new(Gate::new(2));
        assert_eq!(gate.line.join(WorkerId(1), Some(NOW), 9), Some(Joined::Alone));
        gate.line.call(WorkerId(1));
        let theirs = Arc::clone(&gate);
        let leaves = thread::spawn(move || {
            assert!(theirs.line.answer(WorkerId(1)));
            theirs.line.part(WorkerId(1), None);
            pass_on(&theirs, WorkerId(1));
        });
        let joined = gate.line.join(WorkerId(0), Some(NOW), 9).expect("room");
        if joined == Joined::Behind {
            while !gate.line.answer(WorkerId(0)) {
                thread::yield_now();
            }
        }
        assert!(gate.enter(1), "nobody else wants it");
        gate.line.part(WorkerId(0), None);
        leaves.join().unwrap();
        assert_eq!((gate.in_flight(), gate.line.waiting()), (1, 0));
    });
}

#[test]
fn two_workers_never_take_more_connections_than_there_may_be() {
    loom::model(|| {
        let gate = Arc::new(Gate::new(2));
        let theirs = Arc::clone(&gate);
        let other = thread::spawn(move || theirs.connect(1));
        let ours = gate.connect(1);
        assert!(ours ^ other.join().unwrap(), "one of two");
        assert_eq!(gate.connections(), 1);
    });
}

const RULES: BreakerRules = BreakerRules {
    error_permille: 500,
    requests_min: 2,
    window: Duration::from_secs(10),
    open_for: Duration::from_secs(5),
    probes: 1,
};

#[test]
fn two_failures_at_once_open_a_breaker_once_and_none_is_lost() {
    loom::model(|| {
        let breaker = Arc::new(Breaker::default());
        let fail = |breaker: &Breaker| {
            if let Some(pass) = breaker.admit(&RULES, NOW) {
                breaker.observe(&RULES, pass, Some(true), NOW);
            }
        };
        let theirs = Arc::clone(&breaker);
        let other = thread::spawn(move || fail(&theirs));
        fail(&breaker);
        other.join().unwrap();
        assert_eq!((breaker.opened(), breaker.state(NOW).name()), (1, "open"));
    });
}

#[test]
fn of_two_workers_one_gets_the_probe_and_its_place_is_given_back() {
    loom::model(|| {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..2 {
            let pass = breaker.admit(&RULES, NOW).expect("closed");
            breaker.observe(&RULES, pass, Some(true), NOW);
        }
        let later = NOW + RULES.open_for;
        let theirs = Arc::clone(&breaker);
        let other = thread::spawn(move || theirs.admit(&RULES, later));
        let ours = breaker.admit(&RULES, later);
        let theirs = other.join().unwrap();
        assert!(ours.is_some() ^ theirs.is_some(), "one probe");
        let probe = ours.or(theirs).expect("one of them");
        breaker.observe(&RULES, probe, None, later);
        let again = breaker.admit(&RULES, later).expect("given back");
        breaker.observe(&RULES, again, Some(false), later);
        assert_eq!(breaker.state(later), State::Closed);
    });
}
