//! Tasks, wakers and timers.

use super::*;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};

#[test]
fn timers_fire_in_order_and_never_early() {
    on_each_driver(|rt| async move {
        let start = rt.now();
        let (first, second) = (rt.timer(), rt.timer());
        second.set(start + Duration::from_millis(15));
        first.set(start + Duration::from_millis(5));
        assert_eq!(select2(second.wait(), first.wait()).await, Either::Right(()));
        assert!(rt.now() >= start + Duration::from_millis(5) && !second.expired());
        second.wait().await;
        assert!(rt.now() >= start + Duration::from_millis(15) && second.expired());
    });
}

#[test]
fn a_timer_moved_to_a_later_time_does_not_fire_at_the_earlier_one() {
    on_each_driver(|rt| async move {
        let (moved, witness) = (rt.timer(), rt.timer());
        let late = rt.now() + Duration::from_millis(25);
        moved.set(rt.now() + Duration::from_millis(2));
        moved.set(late);
        witness.set(rt.now() + Duration::from_millis(10));
        assert!(race(moved.wait(), &witness).await.is_none());
        moved.wait().await;
        assert!(rt.now() >= late);
        moved.set(rt.now() + Duration::from_secs(100));
        moved.set(rt.now() + Duration::from_millis(1));
        moved.wait().await;
        moved.clear();
        assert!(!moved.expired());
    });
}

#[test]
fn a_result_that_is_there_at_the_deadline_counts() {
    on_each_driver(|rt| async move {
        let timer = rt.timer();
        timer.set(rt.now());
        assert_eq!(race(async { 7 }, &timer).await, Some(7));
    });
}

#[test]
fn other_threads_end_the_wait() {
    on_each_driver(|rt| async move {
        let remote = rt.remote();
        let (send, receive) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for n in 0..100 {
                send.send(n).expect("the worker listens");
                remote.wake();
            }
        });
        // Nothing else wakes this task: `turn` returns because of the remote, and the task looks again.
        let mut got = 0;
        poll_fn(|cx| {
            while receive.try_recv().is_ok() {
                got += 1;
            }
            if got == 100 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        thread.join().expect("ended");
    });
}

#[test]
fn a_remote_wake_returns_from_an_endless_wait() {
    for selection in selections() {
        let rt = Runtime::new(&selection, Options::default()).expect("the probe has passed");
        let remote = rt.remote();
        let thread = std::thread::spawn(move || remote.wake());
        rt.turn(None).expect("woken, although nothing else is to be done");
        thread.join().expect("ended");
    }
}

#[test]
fn a_task_is_woken_from_any_thread_and_none_is_forgotten() {
    on_each_driver(|rt| async move {
        const TASKS: usize = 50;
        let (send, receive) = mpsc::channel::<(usize, Waker)>();
        let fired: Arc<Vec<AtomicBool>> = Arc::new((0..TASKS).map(|_| false.into()).collect());
        let ended = Rc::new(Cell::new(0));
        for n in 0..TASKS {
            let (send, fired, ended) = (send.clone(), fired.clone(), Rc::clone(&ended));
            rt.spawn(async move {
                for _ in 0..20 {
                    let mut asked = false;
                    poll_fn(|cx| {
                        if fired[n].swap(false, Ordering::AcqRel) {
                            return Poll::Ready(());
                        }
                        if !std::mem::replace(&mut asked, true) {
                            send.send((n, cx.waker().clone())).expect("the thread listens");
                        }
                        Poll::Pending
                    })
                    .await;
                }
                ended.set(ended.get() + 1);
            });
        }
        drop(send);
        let receive = Arc::new(Mutex::new(receive));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (receive, fired) = (Arc::clone(&receive), Arc::clone(&fired));
                std::thread::spawn(move || {
                    loop {
                        let next = receive.lock().expect("not poisoned").recv();
                        let Ok((n, waker)) = next else { return };
                        fired[n].store(true, Ordering::Release);
                        waker.wake();
                    }
                })
            })
            .collect();
        until(&rt, || ended.get() == TASKS).await;
        for thread in threads {
            thread.join().expect("ended");
        }
    });
}

#[test]
fn a_waker_that_outlives_its_task_and_its_runtime_is_harmless() {
    let mut kept = Vec::new();
    for selection in selections() {
        let rt = Runtime::new(&selection, Options::default()).expect("the probe has passed");
        for _ in 0..3 {
            let waker = rt.block_on(poll_fn(|cx| Poll::Ready(cx.waker().clone()))).expect("turns");
            kept.push(waker);
        }
        kept.iter().for_each(Waker::wake_by_ref);
        let () = rt.block_on(rt.yield_now()).expect("turns");
    }
    kept.iter().for_each(Waker::wake_by_ref);
    std::thread::spawn(move || kept.into_iter().for_each(Waker::wake)).join().expect("ended");
}

#[test]
fn a_task_that_never_rests_does_not_stop_the_others() {
    on_each_driver(|rt| async move {
        let (stop, stopped) = flag();
        let spinning = rt.clone();
        rt.spawn(async move {
            while !stopped.get() {
                spinning.yield_now().await;
            }
        });
        let (client, server) = pair(&rt).await;
        client.write(|out| out.extend_from_slice(b"still served"));
        assert_eq!(receive(&server, 12).await, b"still served");
        let timer = rt.timer();
        timer.set(rt.now() + Duration::from_millis(3));
        timer.wait().await;
        stop.set(true);
    });
}

#[test]
fn shutting_down_drops_tasks_that_wait_and_closes_what_they_held() {
    for selection in selections() {
        let rt = Runtime::new(&selection, Options::default()).expect("the probe has passed");
        rt.block_on(async {
            for _ in 0..10 {
                let (client, server) = pair(&rt).await;
                rt.spawn(async move { drop(client.recv().await) });
                rt.spawn(async move {
                    server.watch();
                    std::future::pending::<()>().await;
                });
            }
            rt.yield_now().await;
        })
        .expect("turns");
        quiesce(&rt);
    }
}
