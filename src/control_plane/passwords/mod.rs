//! Compares passwords with their hashes, which takes a tenth of a second each by design.
//!
//! A few threads of their own do that, which stand back behind everything else on the machine: however many guesses
//! come, requests that need no password hardly notice (B1). A question is taken when a thread is free and its asker
//! still waits.

mod compare;

pub(crate) use compare::check_hash;

use auth::{BasicPolicy, Users};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use traffic::Snapshot;
use traffic::ask::{Answer, Asked, Desk, Question};

/// Threads of a machine with many workers; others have one per two workers.
const THREADS_MAX: usize = 4;

/// The files of users that are in use, and the threads.
pub(crate) struct Passwords {
    tasks: HashMap<Arc<str>, (Arc<BasicPolicy>, Arc<Desk>, AbortHandle)>,
    threads: usize,
    /// Makes the calling thread stand back.
    stand_back: fn(),
    pool: Option<Pool>,
}

/// Threads that have been started.
#[derive(Clone)]
struct Pool {
    work: SyncSender<Work>,
    slots: Arc<Semaphore>,
}

/// One comparison.
struct Work {
    asked: Asked,
    policy: Arc<BasicPolicy>,
    /// A free thread, until this is dropped.
    _slot: OwnedSemaphorePermit,
}

impl Passwords {
    pub(crate) fn new(workers: usize, stand_back: fn()) -> Passwords {
        let threads = (workers / 2).clamp(1, THREADS_MAX);
        Passwords { tasks: HashMap::new(), threads, stand_back, pool: None }
    }

    /// From now on passwords of these users are compared and no others.
    pub(crate) fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.tasks);
        for policy in &snapshot.access.basic {
            let Some(desk) = snapshot.access.desk("basic", &policy.name) else { continue };
            let kept = before.remove(&policy.name).filter(|(old, at, task)| {
                Arc::ptr_eq(old, policy) && Arc::ptr_eq(at, desk) && !task.is_finished()
            });
            let task = kept.unwrap_or_else(|| {
                let run = serve(self.pool(), Arc::clone(policy), Arc::clone(desk));
                (Arc::clone(policy), Arc::clone(desk), tokio::spawn(run).abort_handle())
            });
            self.tasks.insert(Arc::clone(&policy.name), task);
        }
        before.into_values().for_each(|(.., task)| task.abort());
    }

    /// The threads, which begin with the first file of users.
    fn pool(&mut self) -> Pool {
        let (threads, stand_back) = (self.threads, self.stand_back);
        let start = || {
            let (work, waiting) = sync_channel(threads);
            let waiting = Arc::new(Mutex::new(waiting));
            for _ in 0..threads {
                let waiting = Arc::clone(&waiting);
                let run = move || {
                    stand_back();
                    compare_all(&waiting);
                };
                if let Err(error) = thread::Builder::new().name("passwords".into()).spawn(run) {
                    crate::notice::notice(format_args!("no thread for passwords: {error}"));
                }
            }
            Pool { work, slots: Arc::new(Semaphore::new(threads)) }
        };
        self.pool.get_or_insert_with(start).clone()
    }
}

/// Hands the questions of one policy to free threads.
async fn serve(pool: Pool, policy: Arc<BasicPolicy>, desk: Arc<Desk>) {
    loop {
        let asked = desk.next().await;
        let Ok(slot) = Arc::clone(&pool.slots).acquire_owned().await else { return };
        if asked.is_left() {
            continue;
        }
        // As many fit as there are threads, and each holds a slot: there is room, unless the threads are gone.
        let work = Work { asked, policy: Arc::clone(&policy), _slot: slot };
        if pool.work.try_send(work).is_err() {
            crate::notice::notice(format_args!("basic \"{}\": no thread compares passwords", policy.name));
        }
    }
}

/// One thread: until nobody hands out work any more.
fn compare_all(waiting: &Mutex<Receiver<Work>>) {
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Work { asked, policy, _slot }) = next else { return };
        let Question::Password(shown) = &asked.question else { continue };
        let verdict = match is_right(&policy.users, &shown.user, &shown.password) {
            true => Ok(policy.identity(&shown.user)),
            false => Err("password"),
        };
        asked.answer(Answer::Who { verdict, until_s: u64::MAX });
    }
}

/// Whether it is the password of the user. Takes as long for users who do not exist.
fn is_right(users: &Users, user: &str, password: &[u8]) -> bool {
    users.hash_of(user).is_some_and(|(hash, counts)| compare::is_of(password, hash) && counts)
}
