//! What concerns the whole process (its descriptors and their limit) is tested in a process of its own.

use super::*;
use std::net::TcpStream;
use std::process::Command;

/// Runs `body` in a child that runs nothing but this test.
fn in_a_process_of_its_own(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "RINGWAY_TEST_INSIDE";
    let name = format!("tests::process::{test}");
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return body();
    }
    let exe = std::env::current_exe().expect("the test knows its own file");
    let output = Command::new(exe).args(["--exact", &name, "--test-threads=1"]).env(INSIDE, &name).output();
    let output = output.expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("there on Linux").count()
}

/// Sets the limit of descriptors so that not one more can be opened; returns the old one.
fn forbid_more_descriptors() -> libc::rlimit {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let next = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").expect("opens"));
    let new = |old: libc::rlimit| libc::rlimit { rlim_cur: u64::from(next.unsigned_abs()), ..old };
    // SAFETY: both limits are valid for the calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut old), 0);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &new(old)), 0);
    }
    old
}

fn allow_descriptors(limit: libc::rlimit) {
    // SAFETY: the limit is valid for the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

#[test]
fn without_descriptors_accept_and_connect_fail_and_recover() {
    in_a_process_of_its_own("without_descriptors_accept_and_connect_fail_and_recover", || {
        on_each_driver(|rt| async move {
            let listener = listen(&rt);
            let addr = listener.addr().ip().expect("ip");
            let clients: Vec<TcpStream> =
                (0..5).map(|_| TcpStream::connect(addr).expect("connected")).collect();
            let limit = forbid_more_descriptors();
            for _ in 0..3 {
                let error = listener.accept().await.err().expect("no descriptor is left");
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            }
            let error = rt.connect(listener.addr(), ConnectOptions::default()).await.err();
            assert_eq!(error.and_then(|e| e.raw_os_error()), Some(libc::EMFILE));
            allow_descriptors(limit);
            for _ in 0..5 {
                listener.accept().await.expect("accepted, now that there are descriptors");
            }
            drop(clients);
        });
    });
}

#[test]
fn every_descriptor_is_closed_in_the_end() {
    in_a_process_of_its_own("every_descriptor_is_closed_in_the_end", || {
        for selection in selections() {
            let before = descriptors();
            let runtime = Runtime::new(&selection, Options::default()).expect("the probe has passed");
            let rt = runtime.clone();
            let held = descriptors();
            runtime
                .block_on(async {
                    let mut rng = base::Rng::new(11);
                    for _ in 0..100 {
                        let listener = listen(&rt);
                        let clients: Vec<_> = (0..rng.below(8))
                            .map(|_| rt.connect(listener.addr(), ConnectOptions::default()))
                            .collect();
                        let accepted = select2(listener.accept(), rt.yield_now()).await;
                        if rng.one_in(2) {
                            rt.yield_now().await;
                        }
                        drop(clients);
                        drop(listener);
                        drop(accepted);
                    }
                })
                .expect("turns");
            runtime.shutdown();
            assert_eq!(descriptors(), held, "{}: {:?}", selection.kind, runtime.gauges());
            drop((rt, runtime));
            assert_eq!(descriptors(), before, "{}", selection.kind);
        }
    });
}
