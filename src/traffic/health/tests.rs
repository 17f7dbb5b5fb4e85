use super::*;
use base::Instant;
use proptest::prelude::*;
use std::time::Duration;

const SLOW: Duration = Duration::from_secs(10);
const EJECT: EjectionRules =
    EjectionRules { failures_in_a_row: 5, first: SLOW, longest: Duration::from_secs(300), slow_start: SLOW };

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn fail(cell: &EndpointCell, times: u32, now: Instant) {
    (0..times).for_each(|_| cell.observe(now, Duration::ZERO, Outcome::GatewayError, &EJECT));
}

fn succeed(cell: &EndpointCell, now: Instant, millis: u64) {
    cell.observe(now, Duration::from_millis(millis), Outcome::Success, &EJECT);
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
    assert_eq!((cell.failures(), cell.state_name(at(10_003))), (9, "slow-start"));
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
    cell.set_health(Health::Up, at(1), SLOW);
    assert_eq!(
        (cell.is_available(at(1)), cell.ramp_permille(at(1))),
        (true, 1000),
        "the first time at full share"
    );
    cell.set_health(Health::Down, at(2), SLOW);
    assert_eq!((cell.is_available(at(2)), cell.state_name(at(2))), (false, "down"));
    fail(&cell, 5, at(2));
    cell.set_health(Health::Up, at(3), SLOW);
    assert!(cell.is_available(at(3)), "a check that succeeds ends the ejection");
    assert_eq!(cell.failures_in_a_row(), 0);
}

#[test]
fn an_endpoint_that_comes_back_gets_its_share_step_by_step() {
    let cell = EndpointCell::new(Health::Up);
    cell.set_health(Health::Down, at(0), SLOW);
    cell.set_health(Health::Up, at(1000), SLOW);
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
    cell.observe(at(20_000), Duration::ZERO, Outcome::ConnectFailed, &EJECT);
    assert_eq!(cell.ewma(), Duration::from_millis(50));
}

#[test]
fn attempts_under_way_are_counted_over_all_workers() {
    let cell = EndpointCell::new(Health::Up);
    let work = || {
        for n in 0..1000 {
            cell.begin();
            cell.observe(at(n), Duration::from_micros(n), Outcome::Success, &EJECT);
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
    results.iter().map(|&ok| check.on_result(ok, at(0), 0)).collect()
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

const NOTHING: Evidence = Evidence { answered: false, failed: false };
const ANSWERS: Evidence = Evidence { answered: true, failed: false };
/// Moves an interval by nothing.
const MIDDLE: u64 = u64::MAX / 2;

#[test]
fn the_first_check_is_due_at_once_and_undecided_ones_come_sooner() {
    let mut check = Check::new(RULES, Health::Checking);
    assert_eq!(check.next_due(at(5), NOTHING), at(5));
    check.on_result(false, at(10), u64::MAX);
    assert!(check.next_due(at(10), NOTHING) <= at(10) + RULES.every * 4 / 10);
    assert_eq!((check.health(), check.in_a_row()), (Health::Checking, -1));
}

#[test]
fn a_result_that_contradicts_brings_the_next_check_sooner() {
    let mut check = Check::new(RULES, Health::Up);
    check.on_result(true, at(0), MIDDLE);
    assert_eq!(check.next_due(at(0), NOTHING).as_millis(), 1999);
    check.on_result(false, at(2000), MIDDLE);
    assert_eq!(check.next_due(at(2000), ANSWERS).as_millis(), 2999, "whatever live traffic says");
    check.on_result(true, at(3000), MIDDLE);
    assert_eq!(check.next_due(at(3000), NOTHING).as_millis(), 4999);
}

#[test]
fn live_traffic_that_proves_health_puts_the_check_off_and_its_first_failure_brings_it_back() {
    let mut check = Check::new(RULES, Health::Up);
    check.on_result(true, at(0), MIDDLE);
    let due = at(2000);
    let put_off = check.next_due(due, ANSWERS);
    assert_eq!(put_off.as_millis(), 3999, "one interval later it looks again");
    assert_eq!(check.next_due(put_off, ANSWERS).as_millis(), 4999, "five seconds after the last check");
    assert!(check.next_due(at(5000), ANSWERS) <= at(5000));
    assert!(check.next_due(put_off, Evidence { answered: true, failed: true }) <= put_off);
    assert!(check.next_due(put_off, NOTHING) <= put_off, "silence proves nothing");
}

#[test]
fn rare_checks_are_not_made_more_frequent_by_live_traffic() {
    let mut check = Check::new(CheckRules { every: Duration::from_secs(30), ..RULES }, Health::Up);
    check.on_result(true, at(0), MIDDLE);
    assert!(check.next_due(at(29_000), ANSWERS) > at(29_000));
    assert!(check.next_due(at(30_000), ANSWERS) <= at(30_000));
}

/// Results that take an endpoint from up to down, and from down to up.
fn fall_and_rise(check: &mut Check, now: &mut u64) -> usize {
    let mut risen = 0;
    for _ in 0..3 {
        check.on_result(false, at(*now), MIDDLE);
    }
    while check.health() == Health::Down {
        *now += 1000;
        check.on_result(true, at(*now), MIDDLE);
        risen += 1;
    }
    risen
}

#[test]
fn r118_an_endpoint_that_flaps_must_pass_more_checks_each_time_until_it_stays_up() {
    let (mut check, mut now) = (Check::new(RULES, Health::Up), 0);
    let risen: Vec<usize> = (0..6).map(|_| fall_and_rise(&mut check, &mut now)).collect();
    assert_eq!(risen, [2, 4, 8, 16, 16, 16]);
    now += 60_000;
    assert_eq!(fall_and_rise(&mut check, &mut now), 2, "it was up for a minute");
}

/// What a hostile endpoint can do at most: it knows the rules and answers so that its state changes as often as it can.
#[test]
fn r118_changes_per_minute_are_bounded_whatever_an_endpoint_answers() {
    let (mut check, mut now, mut changes) = (Check::new(RULES, Health::Up), at(0), Vec::new());
    while now < at(30 * 60_000) {
        let ok = check.health() == Health::Down;
        if check.on_result(ok, now, 0).is_some() {
            changes.push(now);
        }
        now = check.next_due(now, ANSWERS).max(now + Duration::from_millis(1));
    }
    let minute = Duration::from_secs(60);
    let most = changes
        .iter()
        .map(|from| changes.iter().filter(|at| *at >= from && at.since(*from) < minute).count());
    assert!(most.max() <= Some(14), "in the first minute");
    let late = changes.iter().filter(|change| **change >= at(5 * 60_000)).count();
    assert!(late <= 25 * 8, "{late} changes in 25 minutes");
}

#[test]
fn an_endpoint_that_was_ejected_comes_back_step_by_step() {
    let cell = EndpointCell::new(Health::Up);
    fail(&cell, 5, at(1000));
    assert_eq!(
        cell.ramp_permille(at(2000)),
        1000,
        "where the ejection is not honoured the endpoint is needed"
    );
    assert_eq!((cell.state_name(at(10_999)), cell.ejected_until(at(10_999))), ("ejected", Some(at(11_000))));
    assert_eq!((cell.state_name(at(11_000)), cell.ramp_permille(at(11_000))), ("slow-start", 100));
    assert_eq!(cell.state_since(at(12_000)), Some(at(11_000)));
    assert_eq!((cell.state_name(at(21_000)), cell.ramp_permille(at(21_000))), ("up", 1000));
}

#[test]
fn an_endpoint_that_joins_others_begins_with_its_first_request() {
    let cell = EndpointCell::joining(Health::Checking, SLOW);
    cell.set_health(Health::Up, at(500), SLOW);
    assert_eq!(cell.state_name(at(90_000)), "up", "nobody has asked for it yet");
    assert_eq!(cell.ramp_permille(at(90_000)), 100);
    assert_eq!((cell.ramp_permille(at(95_000)), cell.state_name(at(95_000))), (550, "slow-start"));
    assert_eq!(cell.ramp_permille(at(100_000)), 1000);
    assert_eq!(EndpointCell::joining(Health::Up, Duration::ZERO).ramp_permille(at(1)), 1000);
}

#[test]
fn an_upstream_may_do_without_ejection_and_slow_start() {
    let never = EjectionRules { failures_in_a_row: 0, slow_start: Duration::ZERO, ..EJECT };
    let cell = EndpointCell::new(Health::Up);
    (0..100).for_each(|_| cell.observe(at(1), Duration::ZERO, Outcome::GatewayError, &never));
    assert_eq!(cell.state_name(at(1)), "up");
    cell.set_health(Health::Down, at(2), Duration::ZERO);
    cell.set_health(Health::Up, at(3), Duration::ZERO);
    assert_eq!((cell.ramp_permille(at(3)), cell.state_since(at(9))), (1000, Some(at(3))));
}

#[test]
fn an_endpoint_is_unchecked_until_any_result_is_there() {
    let cell = EndpointCell::new(Health::Checking);
    assert!(cell.is_unchecked());
    cell.set_checked();
    assert!(!cell.is_unchecked() && cell.health() == Health::Checking);
    assert!(!EndpointCell::new(Health::Up).is_unchecked(), "where there are no checks nobody waits for one");
}

#[test]
fn answers_are_known_to_the_millisecond_and_attempts_by_their_end() {
    let cell = EndpointCell::new(Health::Up);
    assert!(!cell.has_answered_since(at(0)));
    cell.begin();
    cell.begin();
    succeed(&cell, at(1000), 1);
    cell.end();
    assert!(cell.has_answered_since(at(999)) && !cell.has_answered_since(at(1000)));
    assert_eq!((cell.requests(), cell.ended()), (2, 1));
}

#[test]
fn an_attempt_that_another_endpoint_outpaced_proves_nothing() {
    let cell = EndpointCell::new(Health::Up);
    cell.outpaced(at(1000), Duration::from_millis(50));
    assert!(!cell.has_answered_since(at(0)), "it has said nothing");
    succeed(&cell, at(2000), 1);
    assert!(cell.has_answered_since(at(0)));
    cell.outpaced(at(3000), Duration::from_millis(50));
    assert!(!cell.has_answered_since(at(2500)));
}

fn intervals(failed: &[u64]) -> Vec<(usize, Interval)> {
    failed.iter().map(|&failed| Interval { ended: 1000, failed }).enumerate().collect()
}

#[test]
fn the_endpoint_that_fails_far_more_often_than_the_others_is_an_outlier() {
    let rules = SuccessRateRules::default();
    let places = |failed: &[u64]| outliers(&rules, &intervals(failed)).map(|found| found.places);
    assert_eq!(places(&[0, 10, 500, 5, 0, 3]), Some(vec![2]));
    assert_eq!(places(&[0, 0, 0, 0, 0, 0]), Some(vec![]));
    assert_eq!(places(&[1, 0, 2, 0, 30, 0]), Some(vec![]), "less than five of a hundred apart");
    assert_eq!(places(&[500, 500, 500, 0, 0, 0]), Some(vec![]), "half of them: the fault is elsewhere");
    assert_eq!(places(&[1000; 6]), Some(vec![]));
    assert_eq!(places(&[0, 900, 0, 0]), None, "too few to compare");
    let lenient = SuccessRateRules { deviation: 1.0, ..rules };
    let found = outliers(&lenient, &intervals(&[0, 0, 700, 0, 0, 0, 0, 800])).unwrap();
    assert_eq!(found.places, [7, 2], "the worst first");
    assert!((found.mean - 0.8125).abs() < 1e-9);
}

#[test]
fn endpoints_with_few_requests_have_no_rate() {
    let rules = SuccessRateRules::default();
    let mut all = intervals(&[0, 0, 0, 0, 0, 0]);
    all.push((6, Interval { ended: 99, failed: 99 }));
    assert_eq!(outliers(&rules, &all).map(|found| found.places), Some(vec![]));
    all[0].1 = Interval { ended: 0, failed: 0 };
    all[1].1 = Interval { ended: 99, failed: 0 };
    assert_eq!(outliers(&rules, &all), None);
    assert!((Interval::default().success_rate() - 1.0).abs() < 1e-9);
}

proptest! {
    #![proptest_config(crate::testing::cases(256))]

    #[test]
    fn checks_come_within_a_fifth_of_their_interval(jitter in any::<u64>(), last in 0u64..1_000_000) {
        let mut check = Check::new(RULES, Health::Up);
        check.on_result(true, at(last), jitter);
        let due = check.next_due(at(last), NOTHING).since(at(last));
        prop_assert!(due >= RULES.every * 8 / 10 && due <= RULES.every * 12 / 10, "{due:?}");
    }

    /// Whatever the rates are: at most half of the endpoints are outliers, and each is worse than the mean.
    #[test]
    fn outliers_are_few_and_worse_than_the_mean(failed in prop::collection::vec(0u64..=1000, 5..40)) {
        let all = intervals(&failed);
        let found = outliers(&SuccessRateRules::default(), &all).unwrap();
        prop_assert!(found.places.len() * 2 <= all.len());
        prop_assert!(found.places.iter().all(|at| all[*at].1.success_rate() < found.mean - DIFFERENCE_MIN));
    }

    /// The machine against the rule as a sentence: a change needs `rise` or `fall` equal results at the end of the row.
    /// Each result comes a minute after the last one, so that nothing flaps.
    #[test]
    fn a_change_is_always_backed_by_enough_results(results in prop::collection::vec(any::<bool>(), 0..60)) {
        let mut check = Check::new(RULES, Health::Up);
        for at_result in 0..results.len() {
            let before = check.health();
            let changed = check.on_result(results[at_result], at(at_result as u64 * 60_000), 0);
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
