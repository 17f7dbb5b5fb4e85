use super::*;
use proptest::prelude::*;

/// A GET whose pooled connection was closed by the endpoint after the request had gone out.
fn stale() -> Attempt {
    Attempt {
        method: Method::Get,
        idempotency_key: false,
        fresh_connection: false,
        request_bytes_sent: true,
        response_started_downstream: false,
        response_bytes_received: false,
        request_unseen: false,
        body_replayable: true,
        attempts_made: 1,
        failure: Failure::Cause(Cause::UpstreamReset),
        deadline_left: None,
        random: 0,
    }
}

fn retries(rules: &RetryRules, attempt: Attempt) -> bool {
    decide(rules, &attempt, &RetryBudget::new(), Instant::ZERO) != Decision::GiveUp
}

fn by_default(attempt: Attempt) -> bool {
    retries(&RetryRules::default(), attempt)
}

#[test]
fn rule_1_nothing_is_retried_once_the_client_has_seen_a_byte() {
    assert!(by_default(stale()));
    assert!(!by_default(Attempt { response_started_downstream: true, ..stale() }));
}

#[test]
fn rule_2_what_was_never_sent_may_be_sent_again_whatever_the_method() {
    let post = Attempt { method: Method::Post, fresh_connection: true, request_bytes_sent: false, ..stale() };
    for cause in
        [Cause::ConnectRefused, Cause::ConnectTimeout, Cause::ConnectUnreachable, Cause::UpstreamReset]
    {
        assert!(by_default(Attempt { failure: cause.into(), ..post }), "{cause:?}");
    }
    assert!(!by_default(Attempt { attempts_made: 2, ..post }));
    let off = RetryRules { on: RetryOn { connect: false, ..RetryOn::default() }, ..RetryRules::default() };
    assert!(!retries(&off, post));
}

#[test]
fn rule_4_a_connection_that_went_stale_costs_one_retry_without_opt_in() {
    let off = RetryRules {
        attempts: 0,
        on: RetryOn { connect: false, reset: false, timeout: false, statuses: Vec::new() },
        idempotency_key: false,
    };
    assert!(retries(&off, stale()));
    assert!(!retries(&off, Attempt { attempts_made: 2, ..stale() }), "once");
    assert!(!retries(&off, Attempt { fresh_connection: true, ..stale() }));
    assert!(!retries(&off, Attempt { response_bytes_received: true, ..stale() }));
    assert!(!retries(&off, Attempt { body_replayable: false, ..stale() }));
}

#[test]
fn rule_4_a_request_that_came_to_a_closed_connection_may_be_sent_again_whatever_its_method() {
    let post = Attempt { method: Method::Post, request_unseen: true, ..stale() };
    let off = RetryRules { attempts: 0, ..RetryRules::default() };
    assert!(by_default(post) && retries(&off, post), "without opt-in");
    assert!(!by_default(Attempt { request_unseen: false, ..post }));
    assert!(!by_default(Attempt { attempts_made: 2, ..post }), "once");
    assert!(
        !by_default(Attempt { fresh_connection: true, ..post }),
        "a new connection is not closed for idleness"
    );
    assert!(!by_default(Attempt { response_bytes_received: true, ..post }));
    assert!(!by_default(Attempt { body_replayable: false, ..post }));
    assert!(!by_default(Attempt { failure: Cause::UpstreamTimeout.into(), ..post }));
    assert!(!by_default(Attempt { failure: Cause::UpstreamMalformed.into(), ..post }));
}

#[test]
fn rule_5_a_post_that_may_have_been_read_is_never_repeated_without_its_key() {
    let post = Attempt { method: Method::Post, ..stale() };
    assert!(!by_default(post));
    assert!(!by_default(Attempt { idempotency_key: true, ..post }), "the route has to opt in");
    let keyed = RetryRules { idempotency_key: true, ..RetryRules::default() };
    assert!(retries(&keyed, Attempt { idempotency_key: true, ..post }));
    assert!(!retries(&keyed, post));
}

#[test]
fn rule_6_timeouts_and_statuses_are_retried_on_request_and_for_idempotent_methods() {
    let timeout = Attempt { failure: Cause::UpstreamTimeout.into(), fresh_connection: true, ..stale() };
    let status = Attempt { failure: Failure::Status(503), response_bytes_received: true, ..stale() };
    assert!(!by_default(timeout) && !by_default(status));
    let on = RetryOn { timeout: true, statuses: vec![503], ..RetryOn::default() };
    let rules = RetryRules { on, ..RetryRules::default() };
    assert!(retries(&rules, timeout) && retries(&rules, status));
    assert!(!retries(&rules, Attempt { failure: Failure::Status(500), ..status }));
    assert!(!retries(&rules, Attempt { method: Method::Patch, ..status }));
    assert!(!retries(&rules, Attempt { method: Method::Post, ..timeout }));
}

#[test]
fn rule_7_attempts_time_and_budget_are_limits() {
    let rules = RetryRules { attempts: 9, ..RetryRules::default() };
    let refused = Attempt { failure: Cause::ConnectRefused.into(), request_bytes_sent: false, ..stale() };
    assert!(retries(&rules, Attempt { attempts_made: 2, ..refused }));
    assert!(!retries(&rules, Attempt { attempts_made: 3, ..refused }), "never more than two");
    assert!(!by_default(Attempt { deadline_left: Some(Duration::ZERO), ..refused }));
    let reset = Attempt { fresh_connection: true, ..stale() };
    assert!(!by_default(Attempt { deadline_left: Some(Duration::from_millis(25)), ..reset }));
    let budget = RetryBudget::new();
    while budget.try_withdraw(Instant::ZERO) {}
    assert_eq!(decide(&rules, &refused, &budget, Instant::ZERO), Decision::GiveUp);
    assert_eq!(budget.refused(), 2);
}

#[test]
fn causes_that_are_not_the_connections_are_final() {
    for &cause in Cause::ALL {
        let attempt = Attempt { failure: cause.into(), request_bytes_sent: false, ..stale() };
        let on = RetryOn { timeout: true, ..RetryOn::default() };
        let retried = retries(&RetryRules { on, ..RetryRules::default() }, attempt);
        let about_the_connection = matches!(
            cause,
            Cause::ConnectRefused
                | Cause::ConnectUnreachable
                | Cause::ConnectTimeout
                | Cause::UpstreamTlsTimeout
                | Cause::UpstreamTlsClosed
                | Cause::PortsExhausted
                | Cause::SourceUnavailable
                | Cause::UpstreamResources
                | Cause::UpstreamReset
                | Cause::UpstreamTimeout
        );
        assert_eq!(retried, about_the_connection, "{cause:?}");
    }
}

#[test]
fn pauses_grow_are_spread_and_end_at_250_ms() {
    let at = |attempts_made, random| pause(&Attempt { attempts_made, random, ..stale() }).as_millis();
    assert_eq!([at(1, 0), at(2, 0), at(3, 0), at(4, 0), at(200, 0)], [25, 50, 100, 200, 250]);
    assert_eq!([at(1, u32::MAX), at(2, u32::MAX), at(4, u32::MAX)], [49, 99, 250]);
}

#[test]
fn a_fifth_of_the_requests_may_be_retried_and_three_a_second() {
    let budget = RetryBudget::new();
    let now = Instant::from_nanos(1);
    let reserve = std::iter::from_fn(|| budget.try_withdraw(now).then_some(())).count();
    assert_eq!(reserve, 30);
    (0..1000).for_each(|_| budget.deposit());
    let granted = std::iter::from_fn(|| budget.try_withdraw(now).then_some(())).count();
    assert_eq!(granted, 200);
    let later = now + Duration::from_secs(2);
    let granted = std::iter::from_fn(|| budget.try_withdraw(later).then_some(())).count();
    assert_eq!(granted, 6);
    let much_later = later + Duration::from_secs(3600);
    let granted = std::iter::from_fn(|| budget.try_withdraw(much_later).then_some(())).count();
    assert_eq!(granted, 30, "the reserve does not grow for ever");
}

#[test]
fn saved_retries_have_a_bound() {
    let budget = RetryBudget::new();
    (0..1_000_000).for_each(|_| budget.deposit());
    let granted = std::iter::from_fn(|| budget.try_withdraw(Instant::ZERO).then_some(())).count();
    assert_eq!(granted, 10_030);
}

#[test]
fn workers_together_do_not_take_more_than_there_is() {
    let budget = RetryBudget::new();
    (0..5000).for_each(|_| budget.deposit());
    let take = || (0..2000).filter(|_| budget.try_withdraw(Instant::from_nanos(7))).count();
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 1000 + 30);
}

fn any_attempt() -> impl Strategy<Value = Attempt> {
    let methods = vec![Method::Get, Method::Head, Method::Post, Method::Put, Method::Patch, Method::Delete];
    let failure = prop_oneof![
        prop::sample::select(Cause::ALL).prop_map(Failure::Cause),
        (500u16..505).prop_map(Failure::Status)
    ];
    let flags = any::<[bool; 7]>();
    let left = prop::option::of((0u64..400).prop_map(Duration::from_millis));
    (prop::sample::select(methods), flags, 1u8..5, failure, left, any::<u32>()).prop_map(
        |(method, flags, attempts_made, failure, deadline_left, random)| Attempt {
            method,
            idempotency_key: flags[0],
            fresh_connection: flags[1],
            request_bytes_sent: flags[2],
            response_started_downstream: flags[3],
            response_bytes_received: flags[4],
            body_replayable: flags[5],
            request_unseen: flags[6],
            attempts_made,
            failure,
            deadline_left,
            random,
        },
    )
}

fn any_rules() -> impl Strategy<Value = RetryRules> {
    let statuses = prop::collection::vec(500u16..505, 0..3);
    (0u8..5, any::<[bool; 4]>(), statuses).prop_map(|(attempts, flags, statuses)| RetryRules {
        attempts,
        on: RetryOn { connect: flags[0], reset: flags[1], timeout: flags[2], statuses },
        idempotency_key: flags[3],
    })
}

proptest! {
    #![proptest_config(crate::testing::cases(2000))]

    #[test]
    fn no_rules_and_no_attempt_allow_an_unsafe_retry(rules in any_rules(), attempt in any_attempt()) {
        let budget = RetryBudget::new();
        let Decision::Retry { pause } = decide(&rules, &attempt, &budget, Instant::ZERO) else { return Ok(()) };
        prop_assert!(!attempt.response_started_downstream);
        prop_assert!(attempt.body_replayable);
        prop_assert!(attempt.attempts_made <= RETRIES_MAX);
        prop_assert!(attempt.deadline_left.is_none_or(|left| left > pause));
        let connected = !matches!(
            attempt.failure,
            Failure::Cause(Cause::ConnectRefused | Cause::ConnectUnreachable | Cause::ConnectTimeout
                | Cause::UpstreamTlsTimeout | Cause::UpstreamTlsClosed | Cause::PortsExhausted
                | Cause::SourceUnavailable | Cause::UpstreamResources)
        );
        let proven_unseen = attempt.request_unseen
            && !attempt.fresh_connection
            && !attempt.response_bytes_received
            && attempt.failure == Failure::Cause(Cause::UpstreamReset);
        let may_have_been_read = connected && attempt.request_bytes_sent && !proven_unseen;
        let idempotent = attempt.method.is_idempotent() || (attempt.idempotency_key && rules.idempotency_key);
        prop_assert!(idempotent || !may_have_been_read, "rule 5");
    }

    #[test]
    fn an_empty_budget_stops_every_retry(rules in any_rules(), attempt in any_attempt()) {
        let budget = RetryBudget::new();
        while budget.try_withdraw(Instant::ZERO) {}
        prop_assert_eq!(decide(&rules, &attempt, &budget, Instant::ZERO), Decision::GiveUp);
    }

    #[test]
    fn a_decision_to_give_up_costs_nothing(rules in any_rules(), attempt in any_attempt()) {
        let budget = RetryBudget::new();
        let retried = decide(&rules, &attempt, &budget, Instant::ZERO) != Decision::GiveUp;
        let left = std::iter::from_fn(|| budget.try_withdraw(Instant::ZERO).then_some(())).count();
        prop_assert_eq!(left, 30 - usize::from(retried));
    }
}

#[test]
fn a_budget_of_an_upstream_says_how_many_retries_there_are() {
    let now = Instant::from_nanos(1);
    let none = RetryBudget::with(BudgetRules { permille: 0, per_second: 0 });
    (0..100).for_each(|_| none.deposit());
    assert!(!none.try_withdraw(now) && !none.try_withdraw(now + Duration::from_secs(60)));
    let half = RetryBudget::with(BudgetRules { permille: 500, per_second: 0 });
    (0..100).for_each(|_| half.deposit());
    assert_eq!((0..100).filter(|_| half.try_withdraw(now)).count(), 50);
    let steady = RetryBudget::with(BudgetRules { permille: 0, per_second: 7 });
    while steady.try_withdraw(now) {}
    let later = now + Duration::from_secs(1);
    assert_eq!((0..100).filter(|_| steady.try_withdraw(later)).count(), 7);
}
