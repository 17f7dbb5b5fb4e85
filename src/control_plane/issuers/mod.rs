//! Keys of issuers that are fetched: `jwks "https://…"` of the configuration.
//!
//! One task per issuer asks for its keys again and again, before they end to count (K2), and when a token names a key that
//! nobody knows: then all tokens that wait are served by one fetch, and the next one of that kind has to wait for the
//! cool-down, whatever strangers put into their tokens (K3). What was fetched last stays in use while the issuer cannot be
//! reached, also over a restart (K5).
//!
//! ```text
//!   task.rs   one issuer                    ledger.rs  when to ask again, and which names are known to be unknown
//!   kept.rs   the last set, on disk         state.rs   what is known of each issuer, for metrics and status
//! ```

mod kept;
mod ledger;
mod state;
mod task;

pub(crate) use state::{IssuerState, Issuers};

use crate::node::Node;
use config::Config;
use config::Url;
use config::model::{Dns, Jwks, JwksFetch};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use task::Task;
use tokio::task::AbortHandle;
use traffic::Snapshot;
use traffic::ask::Desk;

/// What a task is about: the same means that it goes on.
struct Job {
    url: Url,
    /// Folder of the file that names the authorities.
    ca: Option<PathBuf>,
    fetch: JwksFetch,
    dns: Dns,
    policy: Arc<auth::JwtPolicy>,
    desk: Arc<Desk>,
}

impl PartialEq for Job {
    fn eq(&self, other: &Job) -> bool {
        self.url == other.url
            && self.ca == other.ca
            && self.fetch == other.fetch
            && self.dns == other.dns
            && Arc::ptr_eq(&self.policy, &other.policy)
            && Arc::ptr_eq(&self.desk, &other.desk)
    }
}

/// The issuers that are asked now.
#[derive(Default)]
pub(crate) struct Fetching {
    tasks: HashMap<String, (Arc<Job>, AbortHandle)>,
    /// Where sets are kept over a restart.
    folder: Option<PathBuf>,
}

impl Fetching {
    pub(crate) fn new(folder: Option<PathBuf>) -> Fetching {
        Fetching { tasks: HashMap::new(), folder }
    }

    /// From now on the issuers of `config` are asked and no others; those that are as before are not disturbed.
    pub(crate) fn follow(&mut self, node: &Arc<Node>, config: &Config, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.tasks);
        for written in &config.jwt {
            let (Some(Jwks::Url(url)), Some(fetch)) = (&written.jwks, &written.fetch) else { continue };
            let policy = snapshot.access.jwt.iter().find(|policy| *policy.name == *written.name);
            let desk = snapshot.access.desk("jwt", &written.name);
            let Some((policy, desk)) = policy.zip(desk) else { continue };
            let beside = |file: &String| crate::compile::beside(&written.origin, file);
            let job = Job {
                url: url.clone(),
                ca: fetch.ca.as_ref().map(beside),
                fetch: fetch.clone(),
                dns: config.dns_of_services(),
                policy: Arc::clone(policy),
                desk: Arc::clone(desk),
            };
            let kept = before.remove(&written.name).filter(|(old, task)| **old == job && !task.is_finished());
            let task = kept.unwrap_or_else(|| {
                node.issuers.expect(&written.name, &url.to_string(), fetch.require_at_start);
                let job = Arc::new(job);
                let task = Task::new(Arc::clone(node), Arc::clone(&job), self.folder.clone());
                (job, tokio::spawn(task.run()).abort_handle())
            });
            self.tasks.insert(written.name.clone(), task);
        }
        for (name, (_, task)) in before {
            task.abort();
            if !self.tasks.contains_key(&name) {
                node.issuers.forget(&name);
            }
        }
    }
}
