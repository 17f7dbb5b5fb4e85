//! What is told about a request; JSON for `/v1/explain` and `--json`.

use super::Subject;
use config::EffectiveValue;
use serde::Serialize;
use traffic::Cause;

/// Everything from the listener to the end.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Whether a running node was asked: then the endpoints have their real state.
    pub live: bool,
    pub generation: u64,
    pub listener: Entry,
    /// Who the client is taken for.
    pub client: String,
    /// That stands in a forwarding field of a trusted peer.
    pub client_from_forwarded: bool,
    /// Routes whose site and path fit, in the order in which they were asked; the last one is the one, if it lacks nothing.
    pub considered: Vec<Considered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<OfRoute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_endpoint: Option<ToEndpoint>,
    /// What filters do to the response, as far as it does not depend on what the endpoint says.
    pub response: Edits,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<OfUpstream>,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub name: String,
    /// Where the configuration says so, here and below.
    pub origin: String,
    pub addresses: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Considered {
    pub route: String,
    pub origin: String,
    /// What the request lacks for it; left out for the one that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct OfRoute {
    pub name: String,
    pub origin: String,
    /// Every value in force, and where it comes from.
    pub settings: Vec<EffectiveValue>,
}

/// Fields that are set or added, and names of those that are removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Edits {
    pub set: Vec<(String, String)>,
    pub removed: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ToEndpoint {
    pub target: String,
    pub host: String,
    /// Path or host are other than what the client sent.
    pub rewritten: bool,
    pub fields: Edits,
}

#[derive(Clone, Debug, Serialize)]
pub struct OfUpstream {
    pub name: String,
    pub origin: String,
    /// All upstreams of the route and their shares in per cent; one of them was drawn.
    pub shares: Vec<(String, u32)>,
    pub balance: String,
    /// Whether the same request always leads to the same endpoint while nothing else changes.
    pub is_determined: bool,
    /// What the request's cookie says about a session; left out where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'static str>,
    /// So few endpoints are healthy that all of them count.
    pub panic: bool,
    pub settings: Vec<EffectiveValue>,
    pub endpoints: Vec<Candidate>,
    /// The one that was chosen now; a choice by turns, chance or load may be another one the next time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
}

/// An endpoint and what speaks for and against it.
#[derive(Clone, Debug, Serialize)]
pub struct Candidate {
    pub address: String,
    pub state: &'static str,
    pub service: &'static str,
    pub weight: u32,
    pub tier: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    pub in_flight: u32,
    pub latency_us: u64,
    /// Why it gets nothing now; left out when it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<&'static str>,
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// `forwarded`, or `answered` by Ringway itself.
    pub what: &'static str,
    /// Of an answer of our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// As in the access log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'static str>,
}

impl Outcome {
    pub(super) const FORWARDED: Outcome =
        Outcome { what: "forwarded", status: None, cause: None, title: None };

    pub(super) fn own(cause: Cause, status: u16) -> Outcome {
        let (cause, title) = (Some(cause.name()), Some(cause.title()));
        Outcome { what: "answered", status: Some(status), cause, title }
    }
}

impl Explanation {
    pub(super) fn new(subject: Subject<'_>, listener: Entry) -> Explanation {
        Explanation {
            live: subject.live,
            generation: subject.snapshot.generation,
            listener,
            client: String::new(),
            client_from_forwarded: false,
            considered: Vec::new(),
            route: None,
            to_endpoint: None,
            response: Edits::default(),
            location: None,
            upstream: None,
            outcome: Outcome::FORWARDED,
            notes: Vec::new(),
        }
    }

    pub(super) fn ends(mut self, outcome: Outcome) -> Explanation {
        self.outcome = outcome;
        self
    }

    /// It ends here, with our answer of this cause.
    pub(super) fn refused(self, cause: Cause) -> Explanation {
        self.ends(Outcome::own(cause, cause.status()))
    }
}
