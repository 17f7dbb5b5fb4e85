use super::*;
use base::Instant;
use proptest::prelude::*;
use std::time::Duration;

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn fail(cell: &EndpointCell, times: u32, now: Instant) {
    (0..times).for_each(|_| cell.observe(now, Duration::ZERO, Outcome::GatewayError));
}

fn succeed(cell: &EndpointCell, now: Instant, millis: u64) {
    cell.observe(now, Duration::from_millis(millis), Outcome::Success);
}

#[test]
fn five_failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let cell = EndpointCell::new(Health::Up);
    fail(&cell, 4, at(0));
    succeed(&cell, at(1), 1);
    fail(&cell, 4, at(2));
    assert!(cell.is_available(at(2)));
    fail(&cell, 1, at(3));
    assert!(!cell.is_available(at(3)));
    assert_eq!(cell.state_name(at(3)), "ejected");
    assert_eq!(cell.ejected_since(at(4)), Some(at(3)));
    assert!(!cell.is_available(at(10_002)));
    assert!(cell.is_available(at(10_003)), "back after ten seconds");
    assert_eq!((cell.failures(), cell.state_name(at(10_003))), (9, "up"));
}

#[test]
fn each_ejection_doubles_up_to_five_minutes_and_proving_itself_starts_over() {
    let cell = EndpointCell::new(Health::Up);
    let mut now = at(0);
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        fail(&cell, 5, now);
        now = now + Duration::from_secs(seconds);
        assert!(!cell.is_available(now - Duration::from_millis(1)), "{seconds}");
        assert!(cell.is_available(now), "{seconds}");
    }
    succeed(&cell, now, 1);
    fail(&cell, 5, now);
    assert!(!cell.is_available(now + Duration::from_secs(299)), "one success is no proof");
    now = now + Duration::from_secs(601);
    succeed(&cell, now, 1);
    fail(&cell, 5, now);
    assert!(cell.is_available(now + Duration::from_secs(10)));
}

#[test]
fn an_ejected_endpoint_is_not_ejected_again_by_what_was_still_under_way() {
    let cell = EndpointCell::new(Health::Up);
    fail(&cell, 500, at(0));
    assert!(cell.is_available(at(10_000)));
    fail(&cell, 1, at(10_000));
    assert!(!cell.is_available(at(29_999)), "the row goes on: the first failure ejects again");
}

#[test]
fn active_checks_decide_over_ejections() {
    let cell = EndpointCell::new(Health::Checking);
    assert_eq!((cell.is_available(at(0)), cell.state_name(at(0))), (false, "checking"));
    cell.set_health(Health::Up, at(1));
    assert_eq!(
        (cell.is_available(at(1)), cell.ramp_permille(at(1))),
        (true, 1000),
        "the first time at full share"
    );
    cell.set_health(Health::Down, at(2));
    assert_eq!((cell.is_available(at(2)), cell.state_name(at(2))), (false, "down"));
    fail(&cell, 5, at(2));
    cell.set_health(Health::Up, at(3));
    assert!(cell.is_available(at(3)), "a check that succeeds ends the ejection");
    assert_eq!(cell.failures_in_a_row(), 0);
}

#[test]
fn an_endpoint_that_comes_back_gets_its_share_step_by_step() {
    let cell = EndpointCell::new(Health::Up);
    cell.set_health(Health::Down, at(0));
    cell.set_health(Health::Up, at(1000));
    let shares = [1000, 3500, 6000, 10_999, 11_000, 0].map(|millis| cell.ramp_permille(at(millis)));
    assert_eq!(shares, [100, 325, 550, 999, 1000, 1000], "and never loses it again");
}

#[test]
fn a_slow_answer_counts_at_once_and_fades() {
    let cell = EndpointCell::new(Health::Up);
    assert_eq!((cell.ewma(), cell.latency_micros(at(0))), (Duration::ZERO, 0));
    succeed(&cell, at(0), 10);
    succeed(&cell, at(0), 200);
    assert_eq!(cell.ewma(), Duration::from_millis(200));
    succeed(&cell, at(0), 10);
    assert_eq!(cell.ewma(), Duration::from_millis(200), "no time has passed");
    let faded = cell.latency_micros(at(10_000));
    assert!((73_000..74_000).contains(&faded), "{faded}: 1/e after ten seconds");
    succeed(&cell, at(10_000), 10);
    let average = cell.ewma().as_micros();
    assert!((79_000..81_000).contains(&average), "{average}");
    assert_eq!(cell.latency_micros(at(1_000_000_000)), 1, "never unknown again");
}

#[test]
fn failures_do_not_make_an_endpoint_look_quick() {
    let cell = EndpointCell::new(Health::Up);
    succeed(&cell, at(0), 50);
    cell.observe(at(20_000), Duration::ZERO, Outcome::ConnectFailed);
    assert_eq!(cell.ewma(), Duration::from_millis(50));
}

#[test]
fn attempts_under_way_are_counted_over_all_workers() {
    let cell = EndpointCell::new(Health::Up);
    let work = || {
        for n in 0..1000 {
            cell.begin();
            cell.observe(at(n), Duration::from_micros(n), Outcome::Success);
            cell.end();
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    assert_eq!((cell.in_flight(), cell.requests(), cell.failures()), (0, 4000, 0));
    assert!(align_of::<EndpointCell>() == 128 && size_of::<EndpointCell>() == 128);
}

const RULES: CheckRules = CheckRules { every: Duration::from_secs(2), rise: 2, fall: 3 };

fn transitions(initial: Health, results: &[bool]) -> Vec<Option<Health>> {
    let mut check = Check::new(RULES, initial);
    results.iter().map(|&ok| check.on_result(ok, at(0))).collect()
}

#[test]
fn r118_rise_and_fall_need_results_in_a_row() {
    use Health::*;
    let none = None;
    assert_eq!(
        transitions(Up, &[false, false, true, false, false, false]),
        [none, none, none, none, none, Some(Down)]
    );
    assert_eq!(transitions(Down, &[true, false, true, true]), [none, none, none, Some(Up)]);
    assert_eq!(transitions(Checking, &[true]), [Some(Up)]);
    assert_eq!(transitions(Checking, &[false, false, false]), [none, none, Some(Down)]);
    assert_eq!(transitions(Checking, &[false, false, true]), [none, none, Some(Up)]);
}

#[test]
fn r118_an_endpoint_that_flaps_with_every_check_never_changes_state() {
    let results: Vec<bool> = (0..1000).map(|n| n % 2 == 0).collect();
    assert!(transitions(Health::Up, &results).iter().all(Option::is_none));
    assert!(transitions(Health::Down, &results).iter().all(Option::is_none));
}

#[test]
fn the_first_check_is_due_at_once_and_undecided_ones_come_sooner() {
    let mut check = Check::new(RULES, Health::Checking);
    assert_eq!(check.next_due(at(5), 0), at(5));
    check.on_result(false, at(10));
    assert!(check.next_due(at(10), u64::MAX) <= at(10) + RULES.every * 4 / 10);
    assert_eq!(check.health(), Health::Checking);
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn checks_come_within_a_fifth_of_their_interval(jitter in any::<u64>(), last in 0u64..1_000_000) {
        let mut check = Check::new(RULES, Health::Up);
        check.on_result(true, at(last));
        let due = check.next_due(at(last), jitter).since(at(last));
        prop_assert!(due >= RULES.every * 8 / 10 && due <= RULES.every * 12 / 10, "{due:?}");
    }

    /// The machine against the rule as a sentence: a change needs `rise` or `fall` equal results at the end of the row.
    #[test]
    fn a_change_is_always_backed_by_enough_results(results in prop::collection::vec(any::<bool>(), 0..60)) {
        let mut check = Check::new(RULES, Health::Up);
        for at_result in 0..results.len() {
            let before = check.health();
            let changed = check.on_result(results[at_result], at(0));
            let row = results[..=at_result].iter().rev().take_while(|&&ok| ok == results[at_result]).count();
            let expected = match (before, results[at_result]) {
                (Health::Up, false) if row >= 3 => Some(Health::Down),
                (Health::Down, true) if row >= 2 => Some(Health::Up),
                _ => None,
            };
            prop_assert_eq!(changed, expected);
        }
    }
}
