//! Asks one issuer for its keys, as long as the configuration has it.

use super::Job;
use super::kept::Kept;
use super::ledger::Ledger;
use crate::node::Node;
use crate::notice::notice;
use crate::probes::Tls;
use crate::service::{Client, Reach};
use auth::KeySet;
use base::rng::Rng;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::{sleep_until, timeout};
use traffic::ask::{Answer, Asked, Question};

/// Bytes of a set.
pub(super) const SET_BYTES_MAX: usize = 512 << 10;

/// See the module.
pub(super) struct Task {
    node: Arc<Node>,
    job: Arc<Job>,
    folder: Option<PathBuf>,
    ledger: Ledger,
    rng: Rng,
    /// The text of the keys in use.
    text: Option<Bytes>,
    /// No attempt for a token before that.
    cooled: tokio::time::Instant,
}

impl Task {
    pub(super) fn new(node: Arc<Node>, job: Arc<Job>, folder: Option<PathBuf>) -> Task {
        let rng = Rng::new(node.now().as_nanos() ^ u64::from(node.facts.pid) << 32);
        Task {
            node,
            job,
            folder,
            ledger: Ledger::default(),
            rng,
            text: None,
            cooled: tokio::time::Instant::now(),
        }
    }

    fn name(&self) -> &str {
        &self.job.policy.name
    }

    /// Until it is aborted.
    pub(super) async fn run(mut self) {
        self.recall();
        let client = match self.client() {
            Ok(client) => client,
            Err(why) => return self.cannot_ask(&why).await,
        };
        let mut next = tokio::time::Instant::now();
        loop {
            let asked = tokio::select! {
                () = sleep_until(next) => None,
                asked = self.job.desk.next() => Some(asked),
            };
            match asked {
                Some(asked) if self.is_in_vain(&asked) => asked.answer(Answer::LookAgain),
                asked => {
                    if asked.is_some() {
                        sleep_until(self.cooled).await;
                    }
                    let wait = self.fetch(&client, asked).await;
                    next = tokio::time::Instant::now() + wait;
                }
            }
        }
    }

    fn client(&self) -> Result<Client, String> {
        let job = &self.job;
        let tls = match job.url.is_https {
            false => None,
            true => {
                let authorities = job.ca.iter().map(PathBuf::as_path).collect();
                let rules = tls::EndpointRules { authorities, ..tls::EndpointRules::default() };
                let connector = tls::Connector::new(&rules).map_err(|error| error.to_string())?;
                Some(Tls::of_upstream(&connector))
            }
        };
        let reach = if job.fetch.allow_private { Reach::Private } else { Reach::Public };
        Ok(Client::new(job.url.clone(), tls, reach, job.dns.clone(), Arc::clone(&self.node)))
    }

    /// Without authorities nobody can be asked; a reload may bring some.
    async fn cannot_ask(&mut self, why: &str) {
        self.fail(why);
        loop {
            self.job.desk.next().await.answer(Answer::Failed);
        }
    }

    /// Takes what was kept of an earlier process.
    fn recall(&mut self) {
        let url = self.job.url.to_string();
        let Some(kept) = self.folder.as_ref().and_then(|folder| Kept::read(folder, &url)) else { return };
        let until = kept.fetched.saturating_add(self.job.fetch.max_stale.as_secs());
        if until <= unix_s() || self.job.policy.issuer.keys.current(unix_s()).is_some() {
            return;
        }
        let fetched = SystemTime::UNIX_EPOCH + Duration::from_secs(kept.fetched);
        let text = Bytes::from(kept.set);
        if let Ok(keys) = self.put(&text, until) {
            self.job.policy.issuer.keys.doubt();
            self.node.issuers.note(self.name(), |state| {
                state.keys = keys;
                state.fetched = Some(fetched);
            });
            self.text = Some(text);
        }
    }

    /// Whether the issuer was asked about the same name, and had no such key.
    fn is_in_vain(&self, asked: &Asked) -> bool {
        match &asked.question {
            Question::Keys { kid: Some(kid) } => self.ledger.is_unknown(kid, Instant::now()),
            _ => false,
        }
    }

    /// One attempt, for whoever waits at its end; how long to wait for the next one.
    async fn fetch(&mut self, client: &Client, caused_by: Option<Asked>) -> Duration {
        let is_caused = caused_by.is_some();
        self.node.issuers.note(self.name(), |state| match is_caused {
            true => state.caused += 1,
            false => state.refreshes += 1,
        });
        let limit = self.job.fetch.timeout;
        let outcome = match timeout(limit, ask(client)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
        };
        let taken = outcome.and_then(|(text, lifetime)| {
            let lifetime = self.job.fetch.refresh.unwrap_or(lifetime);
            self.take(text, lifetime).map(|()| lifetime)
        });
        let random = self.rng.next_u64();
        let (answer, wait) = match taken {
            Ok(lifetime) => (Answer::LookAgain, self.ledger.after_success(lifetime, random)),
            Err(why) => {
                self.fail(&why);
                (Answer::Failed, self.ledger.after_failure(random))
            }
        };
        // Those who came in the meantime are served by the same attempt. The desk is closed before it is emptied: nobody
        // waits there whom only the next attempt would serve.
        if is_caused || matches!(answer, Answer::Failed) {
            let pause = if matches!(answer, Answer::Failed) { wait } else { self.job.fetch.cooldown };
            self.cooled = tokio::time::Instant::now() + pause;
            self.job.desk.close_until(self.node.now() + pause);
        }
        let waiting = caused_by.into_iter().chain(std::iter::from_fn(|| self.job.desk.take()));
        for asked in waiting.collect::<Vec<_>>() {
            if let (Answer::LookAgain, Question::Keys { kid: Some(kid) }) = (&answer, &asked.question) {
                self.note_unknown(*kid);
            }
            asked.answer(answer.clone());
        }
        wait
    }

    fn note_unknown(&mut self, kid: [u8; 32]) {
        let keys = self.job.policy.issuer.keys.current(unix_s());
        let has = |kids: Vec<&str>| kids.iter().any(|own| auth::fingerprint([own.as_bytes()]) == kid);
        if !keys.is_some_and(|keys| has(keys.kids())) {
            self.ledger.note_unknown(kid, Instant::now());
        }
    }

    /// What the issuer has sent comes into force, if it is a set with at least one usable key.
    fn take(&mut self, text: Bytes, lifetime: Duration) -> Result<(), String> {
        let now_s = unix_s();
        let until = now_s + lifetime.as_secs() + self.job.fetch.max_stale.as_secs();
        let is_same = self.text.as_ref() == Some(&text);
        let keys = if is_same {
            self.job.policy.issuer.keys.confirm(until);
            None
        } else {
            Some(self.put(&text, until)?)
        };
        if let Some(keys) = keys {
            self.ledger.forget_unknown();
            let was = if self.text.is_some() { "has other keys now" } else { "keys fetched" };
            notice(format_args!("jwt \"{}\": {was}: {keys} from {}", self.name(), self.job.url));
        }
        self.keep(&text, now_s);
        let mut recovered = false;
        self.node.issuers.note(self.name(), |state| {
            state.fetched = Some(SystemTime::now());
            recovered = state.failing.take().is_some();
            if let Some(keys) = keys {
                state.changes += 1;
                state.keys = keys;
            }
        });
        if recovered && keys.is_none() {
            notice(format_args!("jwt \"{}\": {} answers again", self.name(), self.job.url));
        }
        self.text = Some(text);
        Ok(())
    }

    /// Exchanges the keys; how many there are.
    fn put(&self, text: &Bytes, until: u64) -> Result<usize, String> {
        let issuer = &self.job.policy.issuer;
        let (set, _) = KeySet::of_jwks(text, &issuer.algorithms).map_err(|trouble| trouble.to_string())?;
        let keys = set.kids().len().max(1);
        issuer.keys.replace(set, until);
        Ok(keys)
    }

    /// Keeps the set for the next start; at most once per change and half of what it may be old.
    fn keep(&mut self, text: &Bytes, now_s: u64) {
        let Some(folder) = self.folder.clone() else { return };
        let Ok(set) = String::from_utf8(text.to_vec()) else { return };
        let kept = Kept { url: self.job.url.to_string(), fetched: now_s, set };
        if let Err(error) = kept.write(&folder) {
            notice(format_args!(
                "jwt \"{}\": its keys cannot be kept in {}: {error}",
                self.name(),
                folder.display()
            ));
            // Once: a disk that is full stays so for a while.
            self.folder = None;
        }
    }

    fn fail(&self, why: &str) {
        self.job.policy.issuer.keys.doubt();
        let mut is_news = false;
        self.node.issuers.note(self.name(), |state| {
            state.failures += 1;
            is_news = state.failing.as_deref() != Some(why);
            state.failing = Some(why.to_owned());
        });
        if is_news {
            let what = match self.job.policy.issuer.keys.current(unix_s()) {
                Some(_) => "the last keys stay in use",
                None => "there are no keys, its tokens are answered 503",
            };
            notice(format_args!("jwt \"{}\": {}: {why}; {what}", self.name(), self.job.url));
        }
    }
}

/// The text of the set, and how long it counts.
async fn ask(client: &Client) -> Result<(Bytes, Duration), String> {
    let request = http::Request::get(&client.url.path)
        .header("Host", &client.url.authority)
        .header("User-Agent", "ringway")
        .header("Accept", "application/jwk-set+json, application/json")
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    let reply = client.call(&request, SET_BYTES_MAX).await.map_err(|error| error.to_string())?;
    if reply.status != 200 {
        return Err(format!(
            "the answer is {}, where 200 is expected; redirects are not followed",
            reply.status
        ));
    }
    let cache_control = reply.fields.get("cache-control").and_then(|value| value.to_str().ok());
    Ok((reply.body, Ledger::lifetime(cache_control)))
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
