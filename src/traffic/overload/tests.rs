use super::*;
use base::Instant;
use proptest::prelude::*;
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + ms(millis)
}

/// A shedding whose two kinds of pressure have been what they are for a while.
fn under(space: Permille, time: Permille) -> Shedding {
    let mut shedding = Shedding::default();
    shedding.observe(at(0), space, time);
    shedding
}

#[test]
fn each_rung_is_reached_at_its_threshold_and_not_before() {
    for level in Level::ALL {
        assert_eq!(Level::of(level.threshold()), level);
        if level > Level::Calm {
            assert!(Level::of(level.threshold() - 1) < level);
        }
        assert_eq!(Level::from_number(level as u64), level);
    }
    assert_eq!(Level::of(u32::MAX), Level::Evict);
}

#[test]
fn a_rung_is_left_five_points_below_it_after_a_second() {
    let mut ladder = Ladder::default();
    assert_eq!(ladder.observe(at(0), 910), Level::Refuse);
    assert_eq!(ladder.observe(at(5_000), 851), Level::Refuse, "within five points it stays for ever");
    assert_eq!(ladder.observe(at(5_500), 849), Level::Refuse, "not held for a second");
    assert_eq!(ladder.observe(at(6_000), 849), Level::Cut, "as far as 849 and five points reach");
    assert_eq!(ladder.observe(at(6_900), 100), Level::Cut);
    assert_eq!(ladder.observe(at(7_000), 100), Level::Calm, "all of the rest in one step");
}

#[test]
fn idle_time_shrinks_in_a_straight_line_from_seventy_to_ninety_percent() {
    let left = |space| under(space, 0).idle_timeout(ms(75_000));
    assert_eq!(left(699), ms(75_000));
    assert_eq!(left(700), ms(75_000));
    assert_eq!(left(800), ms(41_250));
    assert_eq!(left(900), ms(7_500));
    assert_eq!(left(2_000), ms(7_500));
    assert_eq!(under(0, 2_000).idle_timeout(ms(75_000)), ms(75_000), "an idle connection takes no time");
}

#[test]
fn each_step_begins_where_it_should() {
    let steps = |s: Shedding| {
        (!s.repeats(), s.closes_connections(), s.cuts_stalled(), s.pauses_accepting(), s.evicts_idle())
    };
    assert_eq!(steps(under(799, 0)), (false, false, false, false, false));
    assert_eq!(steps(under(800, 0)), (true, true, false, false, false));
    assert_eq!(steps(under(850, 0)), (true, true, true, false, false));
    assert_eq!(steps(under(950, 0)), (true, true, true, true, false));
    assert_eq!(steps(under(980, 0)), (true, true, true, true, true));
    assert_eq!(steps(under(0, 5_000)), (true, false, false, true, false), "time closes nothing");
}

#[test]
fn space_refuses_everything_in_the_end_and_time_a_third() {
    assert_eq!(under(899, 899).refused(), 0);
    assert_eq!(under(925, 0).refused(), 500);
    assert_eq!(under(950, 0).refused(), 1000);
    assert_eq!(under(0, 925).refused(), REFUSED_FOR_TIME_MAX / 2);
    assert_eq!(under(0, 9_000).refused(), REFUSED_FOR_TIME_MAX);
}

#[test]
fn one_long_wait_is_no_lag_and_a_standing_queue_is() {
    let mut lag = Lag::default();
    lag.sample(at(1_000), ms(900));
    assert_eq!(lag.pressure(at(1_300)), 0, "one sample says nothing");
    assert_eq!(lag.pressure(at(2_000)), 0, "however long one waits for another");
    let mut lag = Lag::default();
    lag.pressure(at(1_300));
    for step in 0..10 {
        lag.sample(at(1_300 + step * 20), if step == 7 { ms(1) } else { ms(80) });
    }
    assert_eq!(lag.standing(at(1_500)), ms(1), "the queue was empty once");
    for step in 0..10 {
        lag.sample(at(1_500 + step * 20), ms(45 + step));
    }
    assert_eq!((lag.standing(at(1_700)), lag.pressure(at(1_700))), (ms(45), 900));
    assert_eq!(lag.pressure(at(1_900)), 0, "nothing waited in the window after it");
}

#[test]
fn memory_counts_what_the_kernel_holds_for_sockets() {
    let node = Node::new(Supply { memory: 100 << 20, descriptors: 1000, sheds: true }, 2);
    node.set_resident(50 << 20);
    node.set_open(base::ids::WorkerId(0), 300, 0);
    node.set_open(base::ids::WorkerId(1), 340, 0);
    assert_eq!(node.memory_used(), (50 << 20) + (5 << 20));
    assert_eq!((node.memory(), node.descriptors()), (550, 728));
    node.set_open(base::ids::WorkerId(1), 340, 20);
    assert_eq!((node.memory(), node.descriptors()), (600, 773), "a pipe is a quarter of a mebibyte");
    assert!(node.is_due(at(20), ms(10)) && !node.is_due(at(25), ms(10)) && node.is_due(at(30), ms(10)));
    let unlimited = Node::new(Supply::UNLIMITED, 1);
    unlimited.set_resident(u64::MAX / 2);
    assert_eq!((unlimited.memory(), unlimited.descriptors()), (0, 0));
}

/// Times and pressures as they may be measured: steps of up to half a second.
fn measurements() -> impl Strategy<Value = Vec<(u64, Permille)>> {
    prop::collection::vec((1u64..500, 0u32..1_100), 1..200)
}

proptest! {
    /// Shedding never lags behind the pressure, and never does more than what the pressure was within the last second.
    #[test]
    fn r98_the_level_follows_the_pressure_up_at_once_and_down_after_a_second(steps in measurements()) {
        let mut ladder = Ladder::default();
        let (mut now, mut seen) = (0, Vec::<(u64, Permille)>::new());
        for (step, pressure) in steps {
            now += step;
            seen.push((now, pressure));
            let level = ladder.observe(at(now), pressure);
            prop_assert!(level >= Level::of(pressure), "{level:?} at {pressure}");
            // A second, and at most half a second until somebody looked.
            let recent = seen.iter().rev().take_while(|(when, _)| now - when <= 1_500).map(|(_, p)| *p);
            let most = Level::of(recent.max().unwrap_or(0) + HYSTERESIS);
            prop_assert!(level <= most, "{level:?} although at most {most:?} was asked for");
        }
    }

    /// Pressure that wavers by less than five points never changes the level more than once.
    #[test]
    fn r98_the_level_does_not_flap(around in 0u32..1_000, wavers in prop::collection::vec(0u32..50, 2..100)) {
        let mut ladder = Ladder::default();
        let mut levels: Vec<Level> = Vec::new();
        for (step, waver) in wavers.into_iter().enumerate() {
            let level = ladder.observe(at(step as u64 * 700), around + waver);
            if levels.last() != Some(&level) {
                levels.push(level);
            }
        }
        prop_assert!(levels.is_sorted(), "{levels:?} went down again");
    }

    /// More pressure at every moment never means a lower level.
    #[test]
    fn r98_more_pressure_never_sheds_less(steps in measurements(), more in 0u32..300) {
        let (mut less, mut greater) = (Ladder::default(), Ladder::default());
        let mut now = 0;
        for (step, pressure) in steps {
            now += step;
            prop_assert!(less.observe(at(now), pressure) <= greater.observe(at(now), pressure + more));
        }
    }

    /// Every step is at least as severe at a higher pressure.
    #[test]
    fn r98_every_step_is_monotone(a in 0u32..1_100, more in 0u32..300) {
        let (less, greater) = (under(a, a), under(a + more, a + more));
        prop_assert!(less.refused() <= greater.refused());
        prop_assert!(less.idle_timeout(ms(10_000)) >= greater.idle_timeout(ms(10_000)));
        prop_assert!(less.pauses_accepting() <= greater.pauses_accepting());
        prop_assert!(less.evicts_idle() <= greater.evicts_idle());
        prop_assert!(less.repeats() >= greater.repeats());
    }
}
