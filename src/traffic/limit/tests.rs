use super::meter::*;
use super::table::{Charged, Table};
use crate::testing::cases;
use base::Instant;
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn at(nanos: u64) -> Moment {
    Moment { now: Instant::from_nanos(nanos), unix_s: nanos / 1_000_000_000 }
}

fn bucket(count: u32, per: Duration, burst: u32) -> Measure {
    Measure::Bucket(Gcra::new(count, per, burst).expect("a rate"))
}

const SECOND: Duration = Duration::from_secs(1);

/// Steps of time and costs, in the order in which they come.
fn events() -> impl Strategy<Value = Vec<(u64, u32)>> {
    proptest::collection::vec((0u64..400_000_000, 1u32..4), 1..200)
}

proptest! {
    #![proptest_config(cases(300))]

    /// R2: a bucket in fractions that are exact: levels are kept times `count` times a second.
    #[test]
    fn r2_properties_a_bucket_agrees_with_exact_arithmetic(count in 1u32..5000, burst in 1u32..50, events in events()) {
        let measure = bucket(count, SECOND, burst);
        let (mut state, mut now) = (0, 7_000_000_000u64);
        // What the bucket holds, times 10^9.
        let full = u128::from(burst) * 1_000_000_000;
        let (mut level, mut last) = (full, now);
        for (step, cost) in events {
            now += step;
            level = (level + u128::from(now - last) * u128::from(count)).min(full);
            last = now;
            let needs = u128::from(cost) * 1_000_000_000;
            match measure.charge(state, cost, at(now)) {
                Ok((next, told)) => {
                    prop_assert!(needs <= level, "admitted with {level} of {needs}");
                    level -= needs;
                    state = next;
                    prop_assert!(u128::from(told.left) * 1_000_000_000 <= level);
                }
                Err(refusal) => {
                    // The rounding of the interval: below a sixteenth of a nanosecond per request.
                    let rounding = u128::from(burst) * u128::from(count);
                    prop_assert!(needs + rounding > level, "refused with {level} of {needs}");
                    if cost <= burst {
                        let later = now + u64::try_from(refusal.wait.as_nanos()).unwrap();
                        prop_assert!(measure.charge(state, cost, at(later)).is_ok(), "the promise of {:?}", refusal.wait);
                    }
                    // What was refused is not charged; ours may now have a rounding less than the model's.
                }
            }
        }
    }

    /// R2: two windows agree with the same estimate in rational numbers, and what is promised is kept.
    #[test]
    fn r2_properties_a_sliding_window_agrees_with_exact_arithmetic(limit in 1u32..300, events in events()) {
        let sliding = Measure::Sliding(Sliding { limit, window: SECOND });
        let (mut state, mut now) = (0, 7_300_000_000u64);
        let mut counts = std::collections::HashMap::<u64, u128>::new();
        for (step, cost) in events {
            now += step;
            let (window, passed) = (now / 1_000_000_000, u128::from(now % 1_000_000_000));
            let of = |window: u64| counts.get(&window).copied().unwrap_or(0);
            let used = of(window - 1) * (1_000_000_000 - passed) + of(window) * 1_000_000_000;
            let fits = used + u128::from(cost) * 1_000_000_000 <= u128::from(limit) * 1_000_000_000;
            match sliding.charge(state, cost, at(now)) {
                Ok((next, _)) => {
                    prop_assert!(fits);
                    *counts.entry(window).or_default() += u128::from(cost);
                    state = next;
                }
                Err(refusal) => {
                    prop_assert!(!fits);
                    if cost <= limit {
                        let later = now + u64::try_from(refusal.wait.as_nanos()).unwrap();
                        prop_assert!(sliding.charge(state, cost, at(later)).is_ok(), "the promise of {:?}", refusal.wait);
                    }
                }
            }
        }
    }

    /// What is given back leaves the state as it was, for every way to count.
    #[test]
    fn r6_properties_a_charge_that_is_given_back_never_happened(before in 0u32..8, cost in 1u32..4) {
        let measures = [
            bucket(10, SECOND, 12),
            Measure::Sliding(Sliding { limit: 12, window: SECOND }),
            Measure::Periods(Periods { limit: 12, starts: Box::default(), every_s: 60 }),
            Measure::Concurrent(12),
        ];
        for measure in measures {
            let now = at(90_500_000_000);
            let mut state = 0;
            for _ in 0..before {
                state = measure.charge(state, 1, now).unwrap().0;
            }
            let (charged, _) = measure.charge(state, cost, now).unwrap();
            let back = measure.refund(charged, cost, now);
            prop_assert_eq!(measure.consumed(back, now), measure.consumed(state, now), "{:?}", measure);
        }
    }
}

#[test]
fn r2_a_bucket_admits_its_burst_and_then_its_rate() {
    let measure = bucket(50, SECOND, 100);
    assert_eq!((measure.quota(), measure.window()), (100, Some(Duration::from_secs(2))));
    let mut state = 0;
    for left in (0..100).rev() {
        let (next, level) = measure.charge(state, 1, at(5_000_000_000)).unwrap();
        assert_eq!(level.left, left);
        state = next;
    }
    let refusal = measure.charge(state, 1, at(5_000_000_000)).unwrap_err();
    assert_eq!(refusal.wait, Duration::from_millis(20));
    assert_eq!(refusal.level.full_in, Duration::from_secs(2));
    assert!(measure.charge(state, 1, at(5_019_999_999)).is_err());
    assert!(measure.charge(state, 1, at(5_020_000_000)).is_ok());
}

/// R94: a clock that stands or goes back admits nothing more, and nothing overflows at the ends of time.
#[test]
fn r94_clocks_that_stand_or_go_back_give_nothing_away() {
    let measures = [
        bucket(2, SECOND, 2),
        Measure::Sliding(Sliding { limit: 2, window: SECOND }),
        Measure::Periods(Periods { limit: 2, starts: Box::default(), every_s: 1 }),
    ];
    for measure in measures {
        let mut state = 0;
        for _ in 0..2 {
            state = measure.charge(state, 1, at(9_900_000_000)).unwrap().0;
        }
        for earlier in [9_900_000_000, 9_899_999_999, 9_000_000_001, 8_999_999_999, 8_500_000_000] {
            assert!(measure.charge(state, 1, at(earlier)).is_err(), "{measure:?} at {earlier}");
        }
        for end in [0, u64::MAX / 2, u64::MAX] {
            let _ = measure.charge(u64::MAX, 1, at(end));
            let _ = measure.charge(state, u32::MAX, at(end));
            let _ = measure.refund(state, u32::MAX, at(end));
            let _ = measure.add(u64::MAX, u64::MAX, at(end));
        }
    }
}

#[test]
fn r2_rates_that_cannot_be_kept_are_none() {
    assert_eq!(Gcra::new(0, SECOND, 1), None);
    assert_eq!(Gcra::new(1, SECOND, 0), None);
    assert_eq!(Gcra::new(1, Duration::from_secs(86_400), 1_000_000), None);
    assert!(Gcra::new(1_000_000_000, SECOND, 1_000_000_000).is_some());
    assert!(Gcra::new(1, Duration::from_secs(86_400), 366).is_some());
}

/// R2: the quota is whole again with each period, where a calendar says so as well as where it has ended.
#[test]
fn r2_periods_begin_where_the_calendar_says() {
    let day = 86_400;
    // A day of 23 hours and one of 25, as where clocks are changed.
    let starts = [10 * day, 11 * day, 12 * day - 3600, 13 * day].into();
    let measure = Measure::Periods(Periods { limit: 3, starts, every_s: day });
    let second = |unix_s: u32| Moment { now: Instant::ZERO, unix_s: unix_s.into() };
    let mut state = 0;
    for _ in 0..3 {
        state = measure.charge(state, 1, second(11 * day)).unwrap().0;
    }
    let refusal = measure.charge(state, 1, second(12 * day - 3601)).unwrap_err();
    assert_eq!(refusal.wait, Duration::from_secs(1));
    assert!(measure.charge(state, 1, second(12 * day - 3600)).is_ok());
    let Measure::Periods(periods) = &measure else { unreachable!() };
    assert_eq!(periods.around(u64::from(12 * day)), (12 * day - 3600, u64::from(13 * day)));
    assert_eq!(periods.around(u64::from(15 * day + 5)), (15 * day, u64::from(16 * day)), "behind its end");
}

/// R8: another limit counts for keys that are there already, and nobody waits longer than a full bucket takes.
#[test]
fn r8_a_changed_limit_counts_for_existing_keys() {
    let (small, large) = (bucket(1, Duration::from_secs(3600), 1), bucket(1, SECOND, 1));
    let (state, _) = small.charge(0, 1, at(1_000_000_000)).unwrap();
    assert_eq!(small.charge(state, 1, at(1_000_000_000)).unwrap_err().wait, Duration::from_secs(3600));
    assert_eq!(large.charge(state, 1, at(1_000_000_000)).unwrap_err().wait, SECOND);
    // Half of it used is half of it used.
    let (ten, thousand) = (bucket(10, SECOND, 10), bucket(1000, SECOND, 1000));
    let (state, _) = ten.charge(0, 5, at(1_000_000_000)).unwrap();
    assert_eq!(thousand.charge(state, 1, at(1_000_000_000)).unwrap().1.left, 499);
}

/// R1: many threads on one key take exactly what there is.
#[test]
fn r1_threads_on_one_key_take_exactly_what_there_is() {
    let (table, measure) = (Table::new(1024), bucket(1, Duration::from_secs(86_400), 300));
    let taken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    if let Charged::Yes(_) = table.charge(42, &measure, 1, at(1_000_000_000)).charged {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(taken.load(Ordering::Relaxed), 300);
    assert_eq!(table.keys(&measure, at(1_000_000_000)), 1);
}

/// R11: what is counted at once comes back exactly, however many threads come and go on however few cells.
#[test]
fn r11_what_is_held_comes_back_exactly_once() {
    let (table, measure) = (Table::with_groups(0), Measure::Concurrent(3));
    let most = AtomicU64::new(0);
    let held: [AtomicU64; 4] = Default::default();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (table, measure, held, most) = (&table, &measure, &held, &most);
            let place = |key: u64| usize::try_from(key).expect("a small number") - 1;
            scope.spawn(move || {
                for round in 0..3000u64 {
                    let key = 1 + (round + thread) % 4;
                    if let Charged::Yes(_) = table.charge(key, measure, 1, at(0)).charged {
                        let now = held[place(key)].fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        held[place(key)].fetch_sub(1, Ordering::SeqCst);
                        table.refund(key, measure, 1, at(0));
                    }
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 3);
    assert_eq!(table.keys(&measure, at(0)), 0);
}

/// R5, R94: a million keys take no more memory, and nobody who is exhausted is forgiven.
#[test]
fn r5_r94_a_flood_of_keys_forgives_nobody_who_is_exhausted() {
    let (table, measure) = (Table::new(4096), bucket(1, Duration::from_secs(3600), 2));
    let now = at(1_000_000_000);
    let mix = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let exhausted: Vec<u64> = (0..500).map(mix).collect();
    for &key in &exhausted {
        table.charge(key, &measure, 2, now);
    }
    let (mut uncounted, mut forgot) = (0, 0);
    for key in (1000..1_001_000).map(mix) {
        let outcome = table.charge(key, &measure, 1, now);
        uncounted += u64::from(matches!(outcome.charged, Charged::Uncounted(_)));
        forgot += u64::from(outcome.forgot);
    }
    assert!(forgot > 900_000 && uncounted == 0, "{forgot} {uncounted}");
    let refused = exhausted
        .iter()
        .filter(|&&key| matches!(table.charge(key, &measure, 1, now).charged, Charged::No(_)));
    assert_eq!(refused.count(), 500);
    assert_eq!(table.bytes(), 8192 * 16);
    // A flood of keys that are all exhausted: there is nobody to forget, and that is said.
    let outcomes: Vec<_> =
        (2_000_000..2_100_000).map(|n| table.charge(mix(n), &measure, 2, now).charged).collect();
    assert!(outcomes.iter().any(|charged| matches!(charged, Charged::Uncounted(_))));
    let refused = exhausted
        .iter()
        .filter(|&&key| matches!(table.charge(key, &measure, 1, now).charged, Charged::No(_)));
    assert_eq!(refused.count(), 500);
}

mod filters {
    use super::*;
    use crate::filter::{
        Caller, EarlyLimit, Filter, LateLimit, Outgoing, ResponseEdits, Verdict, Visit, Walk,
    };
    use crate::limit::{Absent, FieldSet, Key, KeyPart, LimitStats, Limiter, Prefixes, Tally, policy};
    use crate::testing::{Parsed, get, parse};
    use crate::{Cause, filter::Chain};
    use std::hash::RandomState;

    fn limiter(name: &str, measure: Measure, parts: Vec<KeyPart>) -> Limiter {
        Limiter {
            policy: policy(name, &measure).into(),
            name: name.into(),
            measure,
            cost: 1,
            key: Key {
                parts,
                prefixes: Prefixes { v4: 32, v6: 64 },
                absent: Absent::Shared,
                secret: RandomState::new(),
            },
            enforces: true,
            fields: FieldSet::Standard,
            table: Arc::new(Table::new(1024)),
            stats: Arc::new(LimitStats::default()),
        }
    }

    fn early(limits: Vec<Limiter>) -> Chain {
        let limits = limits.into_iter().map(Arc::new).collect();
        Chain::new(vec![Filter::EarlyLimit(EarlyLimit { limits, tells: true })]).expect("few filters")
    }

    /// What becomes of a request, and the fields that its response gets.
    fn ask(
        chain: &Chain,
        parsed: &Parsed,
        from: &str,
        tally: &mut Tally,
    ) -> (Verdict, Vec<(String, String)>) {
        let mut response = ResponseEdits::default();
        let mut visit = Visit {
            request: parsed.request(),
            client: from.parse().expect("an address"),
            unix_s: 1000,
            is_secure: false,
            certificate: None,
            now: Instant::from_nanos(5_000_000_000),
            outgoing: &mut Outgoing::default(),
            response: &mut response,
            caller: &mut Caller::default(),
            route: base::ids::RouteId(0),
            tally,
            memory: &mut auth::Memory::default(),
        };
        let verdict = Walk::default().advance(chain, &mut visit);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (verdict, response.additions().map(|(name, value)| (text(name), text(value))).collect())
    }

    /// R3, R4: the fields, nearest to its end first; whole seconds, at least one.
    #[test]
    fn r3_r4_clients_are_told_where_they_stand() {
        let chain = early(vec![
            limiter("burst", bucket(50, SECOND, 100), vec![KeyPart::ClientIp]),
            limiter("tight", bucket(1, Duration::from_secs(60), 2), vec![KeyPart::ClientIp]),
        ]);
        let (request, mut tally) = (get("a", "/"), Tally::default());
        let (verdict, fields) = ask(&chain, &request, "192.0.2.1", &mut tally);
        assert_eq!(verdict, Verdict::Continue);
        let value = |fields: &[(String, String)], name: &str| {
            fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        assert_eq!(value(&fields, "RateLimit-Policy"), "\"tight\";q=2;w=120, \"burst\";q=100;w=2");
        assert_eq!(value(&fields, "RateLimit"), "\"tight\";r=1;t=60, \"burst\";r=99;t=1");
        tally.clear();
        ask(&chain, &request, "192.0.2.1", &mut tally);
        tally.clear();
        let (verdict, fields) = ask(&chain, &request, "192.0.2.1", &mut tally);
        assert_eq!(verdict, Verdict::Respond(Cause::RateLimited));
        assert_eq!((tally.retry_after_s(), tally.names()), (60, "tight"));
        assert!(value(&fields, "RateLimit").contains("\"tight\";r=0;t=60"));
        let (verdict, _) = ask(&chain, &request, "192.0.2.2", &mut Tally::default());
        assert_eq!(verdict, Verdict::Continue, "somebody else");
    }

    /// R6: all of them or none; what is refused charges nobody, early limits included.
    #[test]
    fn r2_r6_refused_requests_are_not_charged() {
        let wide =
            Arc::new(limiter("wide", bucket(1, Duration::from_secs(3600), 10), vec![KeyPart::Everyone]));
        let tight =
            Arc::new(limiter("tight", bucket(1, Duration::from_secs(3600), 3), vec![KeyPart::Everyone]));
        let chain = Chain::new(vec![
            Filter::LateLimit(LateLimit { limits: vec![Arc::clone(&tight)] }),
            Filter::EarlyLimit(EarlyLimit { limits: vec![Arc::clone(&wide)], tells: false }),
        ])
        .unwrap();
        let mut admitted = 0;
        for _ in 0..20 {
            let (verdict, fields) = ask(&chain, &get("a", "/"), "192.0.2.1", &mut Tally::default());
            admitted += u32::from(verdict == Verdict::Continue);
            assert_eq!(fields.len(), 2, "told once");
        }
        assert_eq!(admitted, 3);
        assert_eq!(
            (wide.stats.admitted.get(), wide.stats.returned.get(), tight.stats.refused.get()),
            (20, 17, 17)
        );
        let (verdict, _) = ask(&early(Vec::new()), &get("a", "/"), "192.0.2.1", &mut Tally::default());
        assert_eq!(verdict, Verdict::Continue);
        let mut looking = Tally::looking();
        ask(&chain, &get("a", "/"), "192.0.2.1", &mut looking);
        assert_eq!(looking.names(), "tight");
        assert_eq!(tight.stats.refused.get(), 17, "who looks counts nothing");
    }

    /// R12: a shadow counts, is named, and neither refuses nor speaks.
    #[test]
    fn r12_a_shadow_refuses_nobody() {
        let shadow = limiter("shadow", bucket(1, Duration::from_secs(3600), 1), vec![KeyPart::Everyone]);
        let shadow = Arc::new(Limiter { enforces: false, ..shadow });
        let chain = Chain::new(vec![Filter::EarlyLimit(EarlyLimit {
            limits: vec![Arc::clone(&shadow)],
            tells: true,
        })])
        .unwrap();
        for round in 0..3 {
            let mut tally = Tally::default();
            let (verdict, fields) = ask(&chain, &get("a", "/"), "192.0.2.1", &mut tally);
            assert_eq!(verdict, Verdict::Continue);
            assert!(fields.is_empty());
            assert_eq!(tally.names(), if round == 0 { "" } else { "shadow" });
            assert_eq!(tally.retry_after_s(), 0);
        }
        assert_eq!((shadow.stats.shadowed.get(), shadow.stats.refused.get()), (2, 0));
    }

    /// R5: which requests have the same key.
    #[test]
    fn r5_keys_are_made_of_parts() {
        let same = |parts: Vec<KeyPart>, a: (&Parsed, &str), b: (&Parsed, &str)| {
            let chain = early(vec![limiter("one", bucket(1, Duration::from_secs(3600), 1), parts)]);
            ask(&chain, a.0, a.1, &mut Tally::default());
            ask(&chain, b.0, b.1, &mut Tally::default()).0 != Verdict::Continue
        };
        let header = || vec![KeyPart::Header(b"X-Tenant".as_slice().into())];
        let (a, b) =
            (parse("GET", "a", "/", &[("X-Tenant", "a")]), parse("GET", "a", "/", &[("x-tenant", "b")]));
        let none = get("a", "/");
        assert!(same(vec![KeyPart::ClientIp], (&a, "192.0.2.1"), (&b, "::ffff:192.0.2.1")));
        assert!(!same(vec![KeyPart::ClientIp], (&a, "192.0.2.1"), (&a, "192.0.2.2")));
        assert!(same(vec![KeyPart::ClientIp], (&a, "2001:db8::1"), (&a, "2001:db8::ffff:0:1")), "one /64");
        assert!(!same(vec![KeyPart::ClientIp], (&a, "2001:db8::1"), (&a, "2001:db8:0:1::1")));
        assert!(same(header(), (&a, "192.0.2.1"), (&a, "192.0.2.2")));
        assert!(!same(header(), (&a, "192.0.2.1"), (&b, "192.0.2.1")));
        assert!(same(header(), (&none, "192.0.2.1"), (&none, "192.0.2.2")), "those without it share");
        assert!(!same(header(), (&none, "192.0.2.1"), (&a, "192.0.2.1")));
        assert!(same(
            vec![KeyPart::Host],
            (&get("A.example", "/"), "192.0.2.1"),
            (&get("a.EXAMPLE", "/x"), "192.0.2.2")
        ));
        assert!(!same(vec![KeyPart::Path], (&get("a", "/"), "192.0.2.1"), (&get("a", "/x"), "192.0.2.1")));
        let both = [header(), vec![KeyPart::ClientIp]].concat();
        assert!(!same(both.clone(), (&a, "192.0.2.1"), (&a, "192.0.2.2")));
        assert!(same(both, (&a, "192.0.2.1"), (&a, "192.0.2.1")));
        for (absent, expected) in
            [(Absent::Skip, Verdict::Continue), (Absent::Deny, Verdict::Respond(Cause::LimitKeyMissing))]
        {
            let mut limit = limiter("one", bucket(1, Duration::from_secs(3600), 1), header());
            limit.key.absent = absent;
            let chain = early(vec![limit]);
            ask(&chain, &none, "192.0.2.1", &mut Tally::default());
            assert_eq!(ask(&chain, &none, "192.0.2.1", &mut Tally::default()).0, expected);
        }
    }

    /// R11: held until the tally goes, whichever way.
    #[test]
    fn r11_a_place_is_given_back_when_the_exchange_ends() {
        let chain = early(vec![limiter("two", Measure::Concurrent(2), vec![KeyPart::ClientIp])]);
        let request = get("a", "/");
        let (mut first, mut second) = (Tally::default(), Tally::default());
        ask(&chain, &request, "192.0.2.1", &mut first);
        let (_, fields) = ask(&chain, &request, "192.0.2.1", &mut second);
        assert_eq!(fields[0].1, "\"two\";q=2;qu=\"concurrent-requests\"");
        assert_eq!(fields[1].1, "\"two\";r=0");
        let refused = |from| ask(&chain, &request, from, &mut Tally::default()).0;
        assert_eq!(refused("192.0.2.1"), Verdict::Respond(Cause::ConcurrencyLimited));
        assert_eq!(refused("192.0.2.9"), Verdict::Continue);
        first.clear();
        first.clear();
        assert_eq!(refused("192.0.2.1"), Verdict::Continue, "and that one has gone too");
        drop(second);
        let mut again = [Tally::default(), Tally::default(), Tally::default()];
        let verdicts: Vec<_> =
            again.iter_mut().map(|tally| ask(&chain, &request, "192.0.2.1", tally).0).collect();
        assert_eq!(
            verdicts,
            [Verdict::Continue, Verdict::Continue, Verdict::Respond(Cause::ConcurrencyLimited)]
        );
    }
}
