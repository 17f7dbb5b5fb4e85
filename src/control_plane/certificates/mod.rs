//! Certificates, keys and authorities: read from the files that the configuration names, and kept for later generations.
//!
//! ```text
//!   configuration ──▶ Secrets::load ──▶ acceptor of each listener, connector of each upstream ──▶ snapshot
//!                        ▲    │ what cannot be read: a problem, or (while running) the old one and an alarm
//!   watch ──files changed┘    └──▶ metrics, status
//! ```
//!
//! Generations come often, certificates rarely: a file is read again only when it has changed.

mod watch;

pub(crate) use watch::{now, watch};

use config::Config;
use config::model::{ClientAuth, ClientAuthMode, ListenerTls, Origin, TlsVersion, UnknownName, UpstreamTls};
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tls::{
    Acceptor, ClientRules, Connector, EndpointRules, MinVersion, Pair, PairError, ServerRules,
    TICKET_KEY_LIFE, TicketKeys,
};
use wire::secure::Accept;

/// Everything of TLS that stands in files, as it was read last.
#[derive(Debug)]
pub struct Secrets {
    listeners: HashMap<String, OfListener>,
    upstreams: HashMap<String, OfUpstream>,
    tickets: TicketKeys,
    tickets_since: Instant,
}

#[derive(Debug)]
struct OfListener {
    written: ListenerTls,
    certificates: Vec<Kept<Pair>>,
    clients: Option<Kept<ClientRules>>,
    acceptor: Arc<dyn Accept>,
}

#[derive(Debug)]
struct OfUpstream {
    written: UpstreamTls,
    /// HTTP/2 is asked for, and nothing else.
    http2: bool,
    connector: Kept<Arc<Connector>>,
    /// When what we show of ourselves ends.
    not_after: Option<i64>,
}

/// What was read from some files, and how that went the last time.
#[derive(Clone, Debug)]
struct Kept<T> {
    value: T,
    /// The files as they were when they were tried last.
    stamp: Stamp,
    /// Why what is in the files now could not be used.
    trouble: Option<Arc<str>>,
}

/// What tells a file from the one that was there before, symbolic links followed.
type Stamp = Vec<Option<(u64, u64, u64, i64, i64)>>;

fn stamp(paths: &[PathBuf]) -> Stamp {
    let of = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
    };
    paths.iter().map(of).collect()
}

/// A place in the configuration and what is wrong with the file that it names.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) origin: Origin,
    pub(crate) what: String,
    pub(crate) hint: String,
}

/// A certificate as it is told to people.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// `listener` or `upstream`.
    pub(crate) of: &'static str,
    pub(crate) name: String,
    pub(crate) file: String,
    /// First second at which it is not valid any more, since 1970.
    pub(crate) not_after: i64,
    /// Why its successor is not in use.
    pub(crate) trouble: Option<Arc<str>>,
}

/// What is done about a file that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// It is a problem of the configuration.
    Refuse,
    /// What was read before stays in use.
    Keep,
}

impl Secrets {
    /// What a node has that speaks no TLS.
    pub(crate) fn none() -> Result<Secrets, Vec<Fault>> {
        let Some(tickets) = TicketKeys::new() else {
            let what = "the system gives no randomness for the keys of sessions".to_owned();
            return Err(vec![Fault { origin: Origin::command_line(), what, hint: String::new() }]);
        };
        Ok(Secrets {
            listeners: HashMap::new(),
            upstreams: HashMap::new(),
            tickets,
            tickets_since: Instant::now(),
        })
    }

    /// Whether there are private keys among them.
    pub fn holds_keys(&self) -> bool {
        !self.listeners.is_empty()
            || self.upstreams.values().any(|of| of.written.client_certificate.is_some())
    }

    /// Whether these are the secrets of that configuration.
    pub(crate) fn are_of(&self, config: &Config) -> bool {
        let listeners =
            config.listeners.iter().filter_map(|listener| Some((&listener.name, listener.tls.as_ref()?)));
        let upstreams =
            config.upstreams.iter().filter_map(|upstream| Some((&upstream.name, upstream.tls.as_ref()?)));
        let (mut of_listeners, mut of_upstreams) = (0, 0);
        listeners
            .inspect(|_| of_listeners += 1)
            .all(|(name, tls)| self.listeners.get(name).is_some_and(|kept| kept.written == *tls))
            && upstreams
                .inspect(|_| of_upstreams += 1)
                .all(|(name, tls)| self.upstreams.get(name).is_some_and(|kept| kept.written == *tls))
            && (of_listeners, of_upstreams) == (self.listeners.len(), self.upstreams.len())
    }

    /// Reads what `config` names; what has not changed since `before` is taken from there.
    pub(crate) fn load(
        config: &Config,
        before: Option<&Secrets>,
        otherwise: Otherwise,
    ) -> Result<Secrets, Vec<Fault>> {
        let mut secrets = Secrets::none()?;
        if let Some(before) = before {
            (secrets.tickets, secrets.tickets_since) = (before.tickets.clone(), before.tickets_since);
        }
        let mut loader = Loader { before, otherwise, faults: Vec::new() };
        for listener in &config.listeners {
            if let Some(written) = &listener.tls
                && let Some(of) = loader.listener(&listener.name, written, &secrets.tickets)
            {
                secrets.listeners.insert(listener.name.clone(), of);
            }
        }
        for upstream in &config.upstreams {
            if let Some(written) = &upstream.tls
                && let Some(of) = loader.upstream(&upstream.name, written, upstream.protocol.is_http2())
            {
                secrets.upstreams.insert(upstream.name.clone(), of);
            }
        }
        if loader.faults.is_empty() { Ok(secrets) } else { Err(loader.faults) }
    }

    pub(crate) fn acceptor(&self, listener: &str) -> Option<Arc<dyn Accept>> {
        self.listeners.get(listener).map(|of| Arc::clone(&of.acceptor))
    }

    pub(crate) fn connector(&self, upstream: &str) -> Option<Arc<Connector>> {
        self.upstreams.get(upstream).map(|of| Arc::clone(&of.connector.value))
    }

    /// Every certificate in use, by listener, then by upstream.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let mut shown = Vec::new();
        for (name, of) in &self.listeners {
            for (written, kept) in of.written.certificates.iter().zip(&of.certificates) {
                let file = place(&written.origin, &written.cert).display().to_string();
                let trouble = kept.trouble.clone().or_else(|| of.clients.as_ref()?.trouble.clone());
                let not_after = kept.value.not_after;
                shown.push(Shown { of: "listener", name: name.clone(), file, not_after, trouble });
            }
        }
        for (name, of) in &self.upstreams {
            if let (Some(written), Some(not_after)) = (&of.written.client_certificate, of.not_after) {
                let file = place(&written.origin, &written.cert).display().to_string();
                let trouble = of.connector.trouble.clone();
                shown.push(Shown { of: "upstream", name: name.clone(), file, not_after, trouble });
            }
        }
        shown.sort_by(|one, other| (one.of, &one.name, &one.file).cmp(&(other.of, &other.name, &other.file)));
        shown
    }

    /// Whether a file is not what was tried last, or keys of tickets are due.
    fn is_outdated(&self) -> bool {
        let differs = |stamp_then: &Stamp, paths: Vec<PathBuf>| *stamp_then != stamp(&paths);
        self.tickets_since.elapsed() >= TICKET_KEY_LIFE
            || self.listeners.values().any(|of| {
                let pairs = of.written.certificates.iter().zip(&of.certificates);
                pairs.into_iter().any(|(written, kept)| differs(&kept.stamp, pair_files(written)))
                    || of
                        .written
                        .client_auth
                        .as_ref()
                        .zip(of.clients.as_ref())
                        .is_some_and(|(written, kept)| differs(&kept.stamp, client_files(written)))
            })
            || self.upstreams.values().any(|of| differs(&of.connector.stamp, upstream_files(&of.written)))
    }

    /// With new keys for tickets, if it is time.
    fn rotate(&mut self, config: &Config) {
        if self.tickets_since.elapsed() < TICKET_KEY_LIFE {
            return;
        }
        if let Some(tickets) = self.tickets.rotated() {
            (self.tickets, self.tickets_since) = (tickets, Instant::now());
            for listener in &config.listeners {
                if let Some(of) = self.listeners.get_mut(&listener.name)
                    && let Ok(acceptor) = accept(
                        &listener.name,
                        &of.written,
                        &of.certificates,
                        of.clients.as_ref(),
                        &self.tickets,
                    )
                {
                    of.acceptor = acceptor;
                }
            }
        }
    }
}

/// One run of [`Secrets::load`].
struct Loader<'l> {
    before: Option<&'l Secrets>,
    otherwise: Otherwise,
    faults: Vec<Fault>,
}

impl Loader<'_> {
    fn listener(&mut self, name: &str, written: &ListenerTls, tickets: &TicketKeys) -> Option<OfListener> {
        let before = self.before.and_then(|before| before.listeners.get(name));
        let mut certificates = Vec::with_capacity(written.certificates.len());
        for certificate in &written.certificates {
            let files = pair_files(certificate);
            let kept = before.and_then(|before| {
                let same = |old: &&config::model::Certificate| pair_files(old) == files;
                let at = before.written.certificates.iter().position(|old| same(&old))?;
                before.certificates.get(at)
            });
            let read =
                || Pair::load(&files[0], &files[1], files.get(2).map(PathBuf::as_path), SystemTime::now());
            certificates.extend(self.keep(kept, &files, &certificate.origin, read));
        }
        let clients = match &written.client_auth {
            Some(auth) if auth.mode != ClientAuthMode::None => Some(self.clients(auth, before)?),
            _ => None,
        };
        if certificates.len() < written.certificates.len() || certificates.is_empty() {
            return None;
        }
        let is_same = before.is_some_and(|before| {
            before.written.min_version == written.min_version
                && before.written.http2 == written.http2
                && before.written.unknown_name == written.unknown_name
                && before.certificates.len() == certificates.len()
                && before
                    .certificates
                    .iter()
                    .zip(&certificates)
                    .all(|(old, new)| old.value.is_same(&new.value))
                && before.clients.is_some() == clients.is_some()
                && before.clients.iter().zip(&clients).all(|(old, new)| old.value.is_same(&new.value))
        });
        let acceptor = match before.filter(|_| is_same) {
            Some(before) => Arc::clone(&before.acceptor),
            None => match accept(name, written, &certificates, clients.as_ref(), tickets) {
                Ok(acceptor) => acceptor,
                Err(what) => {
                    self.faults.push(Fault { origin: written.origin.clone(), what, hint: String::new() });
                    return None;
                }
            },
        };
        Some(OfListener { written: written.clone(), certificates, clients, acceptor })
    }

    fn clients(&mut self, auth: &ClientAuth, before: Option<&OfListener>) -> Option<Kept<ClientRules>> {
        let files = client_files(auth);
        let kept = before.and_then(|before| {
            let old = before.written.client_auth.as_ref()?;
            before.clients.as_ref().filter(|_| old.mode == auth.mode && client_files(old) == files)
        });
        let required = auth.mode == ClientAuthMode::Required;
        let (ca, crl) = files.split_at(usize::from(auth.ca.is_some()));
        let (ca, crl) = (paths_of(ca), paths_of(crl));
        self.keep(kept, &files, &auth.origin, || ClientRules::load(&ca, &crl, required))
    }

    fn upstream(&mut self, name: &str, written: &UpstreamTls, http2: bool) -> Option<OfUpstream> {
        let before = self.before.and_then(|before| before.upstreams.get(name));
        let files = upstream_files(written);
        let kept = before.filter(|before| {
            (&before.written.server_name, before.written.insecure, before.http2)
                == (&written.server_name, written.insecure, http2)
                && upstream_files(&before.written) == files
        });
        let mut not_after = None;
        let (authorities, own) = files.split_at(written.ca.len());
        let read = || {
            let pair = match own {
                [cert, key, ..] => Some(Pair::load(cert, key, None, SystemTime::now()).map_err(Wrong::File)?),
                _ => None,
            };
            not_after = pair.as_ref().map(|pair| pair.not_after);
            let rules = EndpointRules {
                authorities: paths_of(authorities),
                server_name: written.server_name.as_deref(),
                pair,
                insecure: written.insecure,
                protocols: vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }],
            };
            Connector::new(&rules).map(Arc::new).map_err(Wrong::Connector)
        };
        let connector = self.keep(kept.map(|kept| &kept.connector), &files, &written.origin, read)?;
        let not_after = not_after.or_else(|| kept?.not_after);
        Some(OfUpstream { written: written.clone(), http2, connector, not_after })
    }

    /// What was kept if its files have not changed, or what they say now; what was kept all the same if that cannot be
    /// used and need not be.
    fn keep<T: Clone, E: Into<Wrong>>(
        &mut self,
        kept: Option<&Kept<T>>,
        files: &[PathBuf],
        origin: &Origin,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Option<Kept<T>> {
        let stamp = stamp(files);
        if let Some(kept) = kept
            && kept.stamp == stamp
            // A configuration is judged by what is in the files now.
            && (kept.trouble.is_none() || self.otherwise == Otherwise::Keep)
        {
            return Some(kept.clone());
        }
        match (read().map_err(Into::into), kept) {
            (Ok(value), _) => Some(Kept { value, stamp, trouble: None }),
            (Err(wrong), Some(kept)) if self.otherwise == Otherwise::Keep => {
                Some(Kept { value: kept.value.clone(), stamp, trouble: Some(wrong.to_string().into()) })
            }
            (Err(wrong), _) => {
                let hint = wrong.hint().to_owned();
                self.faults.push(Fault { origin: origin.clone(), what: wrong.to_string(), hint });
                None
            }
        }
    }
}

/// What is wrong with files.
enum Wrong {
    File(PairError),
    Connector(tls::ConnectorError),
}

impl From<PairError> for Wrong {
    fn from(error: PairError) -> Wrong {
        Wrong::File(error)
    }
}

impl Wrong {
    fn hint(&self) -> &'static str {
        match self {
            Wrong::File(error) | Wrong::Connector(tls::ConnectorError::File(error)) => error.what.hint(),
            Wrong::Connector(tls::ConnectorError::NoAuthorities) => "name some with ca \"file\"",
            Wrong::Connector(_) => "",
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::File(error) => error.fmt(f),
            Wrong::Connector(error) => error.fmt(f),
        }
    }
}

fn accept(
    listener: &str,
    written: &ListenerTls,
    certificates: &[Kept<Pair>],
    clients: Option<&Kept<ClientRules>>,
    tickets: &TicketKeys,
) -> Result<Arc<dyn Accept>, String> {
    let pairs: Vec<Pair> = certificates.iter().map(|kept| kept.value.clone()).collect();
    let acceptor = Acceptor::new(ServerRules {
        listener,
        pairs: &pairs,
        serves_unknown: written.unknown_name == UnknownName::Default,
        min_version: match written.min_version {
            TlsVersion::V12 => MinVersion::Tls12,
            TlsVersion::V13 => MinVersion::Tls13,
        },
        protocols: if written.http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        },
        clients: clients.map(|kept| kept.value.clone()),
        tickets,
    })?;
    Ok(Arc::new(acceptor))
}

/// Relative paths start at the folder of the file that they stand in.
fn place(origin: &Origin, path: &str) -> PathBuf {
    let folder = if origin.line == 0 { None } else { Path::new(&*origin.file).parent() };
    folder.map_or_else(|| PathBuf::from(path), |folder| folder.join(path))
}

fn pair_files(written: &config::model::Certificate) -> Vec<PathBuf> {
    let files = [Some(&written.cert), Some(&written.key), written.ocsp.as_ref()];
    files.into_iter().flatten().map(|path| place(&written.origin, path)).collect()
}

fn client_files(written: &ClientAuth) -> Vec<PathBuf> {
    [&written.ca, &written.crl].into_iter().flatten().map(|path| place(&written.origin, path)).collect()
}

/// The authorities, then our own certificate and key.
fn upstream_files(written: &UpstreamTls) -> Vec<PathBuf> {
    let mut files: Vec<_> = written.ca.iter().map(|path| place(&written.origin, path)).collect();
    files.extend(written.client_certificate.iter().flat_map(pair_files));
    files
}

fn paths_of(files: &[PathBuf]) -> Vec<&Path> {
    files.iter().map(PathBuf::as_path).collect()
}
