use super::*;
use base::Instant;
use base::limits::Http2Limits;
use std::time::Duration;

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    bytes.extend_from_slice(payload);
    bytes
}

fn meter() -> Meter {
    let mut meter = Meter::new(&Http2Limits::DEFAULT, Instant::ZERO);
    let taken = meter.receive(PREFACE, Instant::ZERO).expect("the preface costs nothing");
    assert_eq!(taken, Taken { bytes: 24, ends_head: false });
    assert_eq!(receive_all(&mut meter, &frame(4, 0, &[]), Instant::ZERO), Ok(0));
    meter
}

fn receive_all(meter: &mut Meter, mut bytes: &[u8], now: Instant) -> Result<u32, Breach> {
    let mut heads = 0;
    while !bytes.is_empty() {
        let taken = meter.receive(bytes, now)?;
        heads += u32::from(taken.ends_head);
        bytes = &bytes[taken.bytes..];
    }
    Ok(heads)
}

#[test]
fn bytes_are_taken_up_to_the_end_of_a_head() {
    let mut meter = meter();
    let mut bytes = frame(1, 0x4, b"head");
    let first = bytes.len();
    bytes.extend(frame(1, 0x4, b"another"));
    assert_eq!(meter.receive(&bytes, Instant::ZERO), Ok(Taken { bytes: first, ends_head: true }));
}

#[test]
fn any_split_of_the_bytes_is_counted_the_same() {
    let mut bytes = frame(1, 0, b"begin");
    bytes.extend(frame(9, 0, b"middle"));
    bytes.extend(frame(9, 0x4, b""));
    bytes.extend(frame(0, 0x1, b"data"));
    bytes.extend(frame(1, 0x4, b""));
    for split in 0..bytes.len() {
        let mut meter = meter();
        let heads = receive_all(&mut meter, &bytes[..split], Instant::ZERO).expect("allowed")
            + receive_all(&mut meter, &bytes[split..], Instant::ZERO).expect("allowed");
        assert_eq!(heads, 2, "split at {split}");
        assert!(!meter.is_inside_head(), "split at {split}");
    }
}

#[test]
fn r28_resets_have_a_budget_that_time_refills() {
    let mut meter = meter();
    let reset = frame(3, 0, &[0, 0, 0, 8]);
    let burst = Http2Limits::DEFAULT.resets_burst;
    for _ in 0..burst {
        assert_eq!(receive_all(&mut meter, &reset, Instant::ZERO), Ok(0));
    }
    assert_eq!(meter.low(), Some(Breach::Resets));
    assert_eq!(receive_all(&mut meter.clone(), &reset, Instant::ZERO), Err(Breach::Resets));
    let later = Instant::ZERO + Duration::from_secs(1);
    for _ in 0..Http2Limits::DEFAULT.resets_per_second {
        assert_eq!(receive_all(&mut meter, &reset, later), Ok(0));
    }
    assert_eq!(receive_all(&mut meter, &reset, later), Err(Breach::Resets));
    assert_eq!(meter.counts().resets_received, u64::from(burst) + 11);
}

#[test]
fn r29_resets_that_the_client_provokes_come_out_of_the_same_budget() {
    let mut meter = meter();
    let burst = Http2Limits::DEFAULT.resets_burst;
    // What we reset for reasons of our own is not the client's doing.
    let ours = frame(3, 0, &[0, 0, 0, 2]);
    for _ in 0..burst * 2 {
        assert_eq!(meter.send(&ours, Instant::ZERO), Ok(()));
    }
    let provoked = frame(3, 0, &[0, 0, 0, 1]);
    for at in 0..burst {
        let (left, right) = provoked.split_at(at as usize % 14);
        assert_eq!(meter.send(left, Instant::ZERO).and(meter.send(right, Instant::ZERO)), Ok(()));
    }
    assert_eq!(meter.send(&provoked, Instant::ZERO), Err(Breach::Resets));
    assert_eq!(meter.counts().resets_provoked, u64::from(burst) + 1);
}

#[test]
fn responses_that_end_pay_for_resets() {
    let mut meter = meter();
    let (reset, end) = (frame(3, 0, &[0, 0, 0, 8]), frame(0, 0x1, b"x"));
    for _ in 0..Http2Limits::DEFAULT.resets_burst * 10 {
        assert_eq!(meter.send(&end, Instant::ZERO), Ok(()));
        assert_eq!(receive_all(&mut meter, &reset, Instant::ZERO), Ok(0));
    }
}

#[test]
fn r30_a_head_that_does_not_end_is_cut_off() {
    let mut meter = meter();
    let limits = Http2Limits::DEFAULT;
    assert_eq!(receive_all(&mut meter, &frame(1, 0, b""), Instant::ZERO), Ok(0));
    for _ in 0..limits.continuations_max {
        assert_eq!(receive_all(&mut meter, &frame(9, 0, b""), Instant::ZERO), Ok(0));
        assert!(meter.is_inside_head());
    }
    assert_eq!(receive_all(&mut meter, &frame(9, 0, b""), Instant::ZERO), Err(Breach::Head));
}

#[test]
fn r30_a_long_head_is_refused_when_its_length_is_known() {
    let mut meter = meter();
    let half = vec![0; Http2Limits::DEFAULT.block_bytes_max as usize / 2 + 1];
    assert_eq!(receive_all(&mut meter, &frame(1, 0, &half), Instant::ZERO), Ok(0));
    let last = frame(9, 0x4, &half);
    assert_eq!(receive_all(&mut meter, &last[..9], Instant::ZERO), Err(Breach::Head));
}

#[test]
fn r33_frames_that_move_nothing_have_a_budget() {
    for (kind, flags, payload) in [
        (6, 0, &[0; 8][..]),
        (4, 0, &[]),
        (2, 0, &[0; 5]),
        (8, 0, &[0, 0, 0, 1]),
        (0, 0, &[]),
        (0x42, 0, b"unknown"),
    ] {
        let mut meter = meter();
        let flood = frame(kind, flags, payload);
        let mut sent = 0;
        let excess = loop {
            if let Err(excess) = receive_all(&mut meter, &flood, Instant::ZERO) {
                break excess;
            }
            sent += 1;
            assert!(sent <= Http2Limits::DEFAULT.idle_frames_burst, "kind {kind} is not counted");
        };
        assert_eq!(excess, Breach::Frames, "kind {kind}");
    }
}

#[test]
fn acknowledgements_and_data_cost_nothing() {
    let mut meter = meter();
    for _ in 0..100_000 {
        assert_eq!(receive_all(&mut meter, &frame(6, 0x1, &[0; 8]), Instant::ZERO), Ok(0));
        assert_eq!(receive_all(&mut meter, &frame(0, 0, b"x"), Instant::ZERO), Ok(0));
    }
    assert_eq!(meter.low(), None);
}

#[test]
fn a_download_pays_for_the_updates_of_its_windows() {
    let mut meter = meter();
    let (data, update) = (frame(0, 0, &[0; 1024]), frame(8, 0, &[0, 0, 4, 0]));
    for _ in 0..100_000 {
        assert_eq!(meter.send(&data, Instant::ZERO), Ok(()));
        assert_eq!(receive_all(&mut meter, &update, Instant::ZERO), Ok(0));
        assert_eq!(receive_all(&mut meter, &update, Instant::ZERO), Ok(0));
    }
}

#[test]
fn a_connection_begins_with_settings() {
    for (kind, flags) in [(6, 0), (1, 0x4), (4, 0x1)] {
        let mut meter = Meter::new(&Http2Limits::DEFAULT, Instant::ZERO);
        let bytes = [&PREFACE[..], &frame(kind, flags, &[])].concat();
        assert_eq!(receive_all(&mut meter, &bytes, Instant::ZERO), Err(Breach::NoSettings));
    }
}
