//! Discovery by name: every name of every upstream is resolved again and again, and what it stands for goes to the
//! deployer when it has changed.
//!
//! ```text
//!   schedule.rs  when to ask again        lookup.rs  one question and its answer
//!   state.rs     what is known, for those who ask us
//! ```
//!
//! A name that cannot be resolved keeps what it stood for last; only an answer changes anything. Every name has a task of
//! its own, and only so many questions are asked at once.

mod lookup;
mod schedule;
mod state;

pub(crate) use schedule::share;
pub(crate) use state::{Key, NameState, Names};

use crate::compile::live::Found;
use crate::deploy::Door;
use crate::node::Node;
use crate::notice::notice;
use base::rng::Rng;
use config::model::{Dns, Upstream};
use config::{Config, Target};
use lookup::ADDRESSES_MAX;
pub(crate) use lookup::Asker;
use schedule::Schedule;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Questions that are asked at the same time; each holds a descriptor or two.
const AT_ONCE_MAX: usize = 64;

/// The names of a configuration: upstream, name, and how it is resolved. The same name in two upstreams is two.
pub(crate) fn of(config: &Config) -> impl Iterator<Item = (&Upstream, &Target, Dns)> {
    config.upstreams.iter().flat_map(move |upstream| {
        let names = upstream.endpoints.iter().map(|endpoint| &endpoint.address).filter(|name| name.is_name());
        names.map(move |name| (upstream, name, config.dns_of(upstream)))
    })
}

/// How the node knows a name.
pub(crate) fn key(upstream: &str, name: &Target) -> Key {
    (upstream.into(), name.to_string().into())
}

/// The names that are resolved now.
pub(crate) struct Resolving {
    tasks: HashMap<Key, (Dns, AbortHandle)>,
    slots: Arc<Semaphore>,
}

impl Default for Resolving {
    fn default() -> Self {
        Resolving { tasks: HashMap::new(), slots: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

impl Resolving {
    /// From now on the names of `config` are resolved and no others; those that go on as before are not disturbed.
    pub(crate) fn follow(&mut self, node: &Arc<Node>, config: &Config, door: &Door) {
        let mut before = std::mem::take(&mut self.tasks);
        let mut seeds = Rng::new(node.now().as_nanos() ^ u64::from(node.facts.pid) << 32);
        for (upstream, name, dns) in of(config) {
            let key = key(&upstream.name, name);
            let kept = before.remove(&key).filter(|(how, task)| *how == dns && !task.is_finished());
            let task = kept.unwrap_or_else(|| {
                // Those of the start are waited for already; a node that serves does not stop to be ready for others.
                node.names.expect(key.clone(), None);
                let task = Task {
                    node: Arc::clone(node),
                    door: door.clone(),
                    upstream: upstream.name.clone(),
                    name: name.clone(),
                    key: key.clone(),
                    slots: Arc::clone(&self.slots),
                };
                let rng = Rng::new(seeds.next_u64());
                (dns.clone(), tokio::spawn(task.run(dns, rng)).abort_handle())
            });
            self.tasks.insert(key, task);
        }
        for (key, (_, task)) in before {
            task.abort();
            node.names.forget(&key);
        }
    }
}

/// One name.
struct Task {
    node: Arc<Node>,
    door: Door,
    upstream: String,
    name: Target,
    key: Key,
    slots: Arc<Semaphore>,
}

impl Task {
    /// Until the process ends or the name is none of the configuration's any more.
    async fn run(self, dns: Dns, mut rng: Rng) {
        let mut schedule = Schedule::new(dns.ttl_min, dns.ttl_max);
        let mut asker = Asker::new(dns, Arc::clone(&self.slots));
        let mut last: Arc<[Found]> = Arc::new([]);
        loop {
            let wait = match asker.ask(&self.name).await {
                Ok(answer) => {
                    let wait = match &answer.failed {
                        None => {
                            self.works_again();
                            schedule.after_answer(answer.ttl, rng.next_u64())
                        }
                        Some(why) => {
                            self.fails(why, last.len());
                            schedule.after_failure(rng.next_u64())
                        }
                    };
                    let valid_until = self.node.now() + schedule.counts(answer.ttl);
                    let changed = *answer.found != *last;
                    self.node.names.note_answer(&self.key, &answer.found, changed, valid_until);
                    if changed {
                        self.announce(&last, &answer.found, answer.left_out);
                        last = answer.found.into();
                        if !self.door.found(self.upstream.clone(), self.name.clone(), Arc::clone(&last)).await
                        {
                            return;
                        }
                    }
                    wait
                }
                Err(error) => {
                    self.fails(error.why(), last.len());
                    // Nothing better is to be expected soon; the node can be ready without.
                    self.node.names.settle(&self.key);
                    schedule.after_failure(rng.next_u64())
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn fails(&self, why: &str, kept: usize) {
        if self.node.names.note_failure(&self.key, why) {
            let (upstream, name) = (&self.upstream, &self.name);
            let kept = match kept {
                0 => "it has no addresses yet".to_owned(),
                1 => "its last address stays in use".to_owned(),
                many => format!("its last {many} addresses stay in use"),
            };
            notice(format_args!("upstream \"{upstream}\": {name} cannot be resolved: {why}; {kept}"));
        }
    }

    fn works_again(&self) {
        if self.node.names.note_success(&self.key) {
            notice(format_args!("upstream \"{}\": {} can be resolved again", self.upstream, self.name));
        }
    }

    /// One line per change; the least lifetime of answers bounds how often that is.
    fn announce(&self, before: &[Found], after: &[Found], left_out: usize) {
        let gone = before.iter().filter(|old| !after.iter().any(|new| new.addr == old.addr));
        let come = after.iter().filter(|new| !before.iter().any(|old| old.addr == new.addr));
        let list = |sign: char, found: &mut dyn Iterator<Item = &Found>| {
            let all: Vec<String> = found.map(|found| format!(" {sign}{}", found.addr)).collect();
            let more = all.len().saturating_sub(SHOWN_MAX);
            let shown = all[..all.len() - more].concat();
            if more > 0 { format!("{shown} and {more} more") } else { shown }
        };
        let beyond = match left_out {
            0 => String::new(),
            more => format!("; {more} beyond the first {ADDRESSES_MAX} are not used"),
        };
        notice(format_args!(
            "upstream \"{}\": {} has {} addresses now:{}{}{beyond}",
            self.upstream,
            self.name,
            after.len(),
            list('+', &mut { come }),
            list('-', &mut { gone }),
        ));
    }
}

/// Addresses that a line of the log names.
const SHOWN_MAX: usize = 8;
