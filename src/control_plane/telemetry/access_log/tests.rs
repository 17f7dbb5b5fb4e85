use super::*;
use base::spsc::{self, Producer};
use std::collections::HashSet;
use std::path::PathBuf;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ringway-log-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn to_file(path: &str) -> LogConfig {
    LogConfig { target: AccessLogTarget::File(path.into()), ..LogConfig::default() }
}

fn push(producer: &mut Producer, number: u64) -> bool {
    let mut bytes = Vec::new();
    Record { request_id: (0, number), path: b"/some/path", status: 200, ..Record::EMPTY }.encode(&mut bytes);
    producer.push(&bytes)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "{what} within 60 s");
        // Gives the processor to the writer, whom we wait for; nobody wakes us earlier.
        thread::park_timeout(Duration::from_micros(200));
    }
}

#[test]
fn no_line_is_lost_or_torn_while_files_are_rotated() {
    const RECORDS: u64 = 6_000;
    let folder = folder("rotation");
    let path = folder.join("access.log");
    let rings = [spsc::channel(64 << 10), spsc::channel(64 << 10)];
    let (producers, consumers): (Vec<_>, Vec<_>) = rings.into_iter().unzip();
    let log = AccessLog::start(&to_file(path.to_str().unwrap()), consumers).unwrap().unwrap();
    let workers: Vec<_> = (0..)
        .zip(producers)
        .map(|(worker, mut producer)| {
            thread::spawn(move || {
                for number in 0..RECORDS / 2 {
                    // The ring is small on purpose; a worker would count a drop where the test waits.
                    until("room", || push(&mut producer, worker * RECORDS + number));
                }
            })
        })
        .collect();
    for rotation in 0..20 {
        let before = log.shared().lines();
        std::fs::rename(&path, folder.join(format!("access.log.{rotation}"))).unwrap();
        log.reopener().reopen();
        until("a new file", || path.exists());
        until("lines", || {
            log.shared().lines() > before || workers.iter().all(thread::JoinHandle::is_finished)
        });
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    log.stop();

    let mut ids = HashSet::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line");
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(ids.insert(value["id"].as_str().unwrap().to_owned()), "{line} stands twice");
        }
    }
    assert_eq!(ids.len() as u64, RECORDS);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_full_disk_drops_the_oldest_records_and_counts_them() {
    let (mut producer, consumer) = spsc::channel(16 << 10);
    let log = AccessLog::start(&to_file("/dev/full"), vec![consumer]).unwrap().unwrap();
    let mut number = 0;
    until("a drop", || {
        number += u64::from(push(&mut producer, number));
        log.shared().dropped() > 0
    });
    assert!(log.shared().is_in_trouble());
    until("room for the newest", || push(&mut producer, number));
    log.stop();
}

#[test]
fn a_log_in_a_folder_that_does_not_exist_is_an_error_at_the_start() {
    let error = AccessLog::start(&to_file("/nonexistent/access.log"), Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with("cannot open the access log /nonexistent/access.log: "), "{error}");
}

#[test]
fn a_log_that_is_off_has_no_thread() {
    assert!(AccessLog::start(&LogConfig::default(), Vec::new()).unwrap().is_none());
}

#[test]
fn the_writer_looks_sooner_when_rings_fill_up() {
    let pauses = [0.0, 0.05, 0.1, 0.3, 1.0].map(pause);
    assert_eq!(pauses[0], PAUSE_MAX);
    assert!(pauses.is_sorted_by(|sooner, later| sooner >= later) && pauses[4] < pauses[0]);
}
