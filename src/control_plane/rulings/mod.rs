//! Asks services that judge: about requests (forward authentication), about tokens (introspection, RFC 7662).
//!
//! One task per policy takes questions from its desk. Who asks the same at the same moment gets the same answer from one
//! call; calls under way are bounded; connections are kept. What becomes of a request without an answer is decided by the
//! filter that asked.

mod forward;
mod introspect;

use crate::node::Node;
use crate::notice::notice;
use crate::probes::Tls;
use crate::service::{Client, Reach};
use auth::{ForwardPolicy, IntrospectionPolicy};
use config::Config;
use config::model::{Dns, ServiceSettings};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use traffic::Snapshot;
use traffic::ask::{Answer, Asked, Desk, Question};

/// Calls of one policy that are under way at the same time, and connections that are kept for the next ones.
const CALLS_MAX: usize = 64;
const IDLE_MAX: usize = 16;

/// The services that are asked now.
#[derive(Default)]
pub(crate) struct Asking {
    tasks: HashMap<Box<str>, (Arc<Service>, AbortHandle)>,
}

/// One service and what it is asked.
struct Service {
    settings: ServiceSettings,
    /// File of the authorities that certify it.
    ca: Option<PathBuf>,
    dns: Dns,
    desk: Arc<Desk>,
    about: About,
}

enum About {
    Requests(Arc<ForwardPolicy>),
    /// With the value of `Authorization` by which we are known to it.
    Tokens(Arc<IntrospectionPolicy>, Option<Box<str>>),
}

impl PartialEq for Service {
    fn eq(&self, other: &Service) -> bool {
        let same_policy = match (&self.about, &other.about) {
            (About::Requests(own), About::Requests(other)) => Arc::ptr_eq(own, other),
            (About::Tokens(own, _), About::Tokens(other, _)) => Arc::ptr_eq(own, other),
            _ => false,
        };
        same_policy
            && self.settings == other.settings
            && self.ca == other.ca
            && self.dns == other.dns
            && Arc::ptr_eq(&self.desk, &other.desk)
    }
}

impl Asking {
    /// From now on the services of `config` are asked and no others; those that are as before are not disturbed.
    pub(crate) fn follow(&mut self, node: &Arc<Node>, config: &Config, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.tasks);
        for service in services(config, snapshot) {
            let name = service.desk.name.clone();
            let kept = before.remove(&name).filter(|(old, task)| **old == service && !task.is_finished());
            let task = kept.unwrap_or_else(|| {
                let service = Arc::new(service);
                let run = serve(Arc::clone(node), Arc::clone(&service));
                (service, tokio::spawn(run).abort_handle())
            });
            self.tasks.insert(name, task);
        }
        before.into_values().for_each(|(_, task)| task.abort());
    }
}

fn services(config: &Config, snapshot: &Snapshot) -> Vec<Service> {
    let access = &snapshot.access;
    let service =
        |settings: &ServiceSettings, origin: &config::model::Origin, desk: &Arc<Desk>, about| Service {
            settings: settings.clone(),
            ca: settings.ca.as_ref().map(|file| crate::compile::beside(origin, file)),
            dns: config.dns_of_services(),
            desk: Arc::clone(desk),
            about,
        };
    let forward = config.forward_auth.iter().filter_map(|written| {
        let policy = access.forward.iter().find(|policy| *policy.name == *written.name)?;
        let desk = access.desk("forward-auth", &written.name)?;
        Some(service(&written.service, &written.origin, desk, About::Requests(Arc::clone(policy))))
    });
    let introspection = config.introspect.iter().filter_map(|written| {
        let policy = access.introspection.iter().find(|policy| *policy.tokens.name == *written.name)?;
        let desk = access.desk("introspect", &written.name)?;
        let own = introspect::authorization(written);
        Some(service(&written.service, &written.origin, desk, About::Tokens(Arc::clone(policy), own)))
    });
    forward.chain(introspection).collect()
}

/// What makes two questions the same.
type Digest = [u8; 32];

/// Takes the questions of one service, until it is aborted.
async fn serve(node: Arc<Node>, service: Arc<Service>) {
    let client = match client(&node, &service) {
        Ok(client) => Arc::new(client),
        Err(why) => {
            notice(format_args!("{}: {}: {why}", service.desk.name, service.settings.url));
            loop {
                service.desk.next().await.answer(Answer::Failed);
            }
        }
    };
    let mut waiting: HashMap<Digest, Vec<Asked>> = HashMap::new();
    let mut calls: JoinSet<(Digest, Result<Answer, String>)> = JoinSet::new();
    let mut failing: Option<String> = None;
    loop {
        tokio::select! {
            asked = service.desk.next(), if calls.len() < CALLS_MAX => {
                let (digest, request) = question(&service, &asked.question);
                let Some(request) = request else { continue };
                let others = waiting.entry(digest).or_default();
                others.push(asked);
                if others.len() == 1 {
                    let (client, service) = (Arc::clone(&client), Arc::clone(&service));
                    calls.spawn(async move { (digest, call(&client, &service, request).await) });
                }
            }
            Some(Ok((digest, outcome))) = calls.join_next() => {
                let answer = match outcome {
                    Ok(answer) => {
                        if failing.take().is_some() {
                            notice(format_args!("{}: {} answers again", service.desk.name, service.settings.url));
                        }
                        answer
                    }
                    Err(why) => {
                        // Once for each reason, however many requests it meets.
                        if failing.as_ref() != Some(&why) {
                            notice(format_args!("{}: {}: {why}", service.desk.name, service.settings.url));
                            failing = Some(why);
                        }
                        Answer::Failed
                    }
                };
                for asked in waiting.remove(&digest).into_iter().flatten() {
                    asked.answer(answer.clone());
                }
            }
        }
    }
}

fn client(node: &Arc<Node>, service: &Service) -> Result<Client, String> {
    let settings = &service.settings;
    let tls = match settings.url.is_https {
        false => None,
        true => {
            let authorities = service.ca.iter().map(PathBuf::as_path).collect();
            let rules = tls::EndpointRules { authorities, ..tls::EndpointRules::default() };
            let connector = tls::Connector::new(&rules).map_err(|error| error.to_string())?;
            Some(Tls::of_upstream(&connector))
        }
    };
    let client =
        Client::new(settings.url.clone(), tls, Reach::Private, service.dns.clone(), Arc::clone(node));
    Ok(client.keeping(IDLE_MAX))
}

/// The request for a question; `None` for one that this service is not asked.
fn question(service: &Service, question: &Question) -> (Digest, Option<http::Request<bytes::Bytes>>) {
    match (&service.about, question) {
        (About::Requests(_), Question::Forward(told)) => {
            let parts = told.iter().flat_map(|(name, value)| [&**name, &**value]);
            (auth::fingerprint(parts), forward::request(&service.settings.url, told))
        }
        (About::Tokens(_, own), Question::Introspect(token)) => {
            let request = introspect::request(&service.settings.url, own.as_deref(), &token.0);
            (auth::fingerprint([&*token.0]), request)
        }
        _ => (Digest::default(), None),
    }
}

/// One call; the error is what an operator reads.
async fn call(
    client: &Client,
    service: &Service,
    request: http::Request<bytes::Bytes>,
) -> Result<Answer, String> {
    let limit = service.settings.timeout;
    let reply = match timeout(limit, client.call(&request, ANSWER_BYTES_MAX)).await {
        Ok(reply) => reply.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer within {} ms", limit.as_millis())),
    };
    match &service.about {
        About::Requests(policy) => forward::answer(policy, reply),
        About::Tokens(policy, _) => introspect::answer(policy, &reply, unix_s()),
    }
}

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Seconds for which a response may be used again (RFC 9111 §5.2.2).
fn max_age(fields: &http::HeaderMap) -> Option<u64> {
    let value = fields.get("cache-control")?.to_str().ok()?;
    let directives = || value.split(',').map(str::trim);
    if directives().any(|one| one.eq_ignore_ascii_case("no-store") || one.eq_ignore_ascii_case("no-cache")) {
        return Some(0);
    }
    directives().find_map(|one| {
        let (name, seconds) = one.split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| seconds.trim_matches('"').parse().ok()).flatten()
    })
}
