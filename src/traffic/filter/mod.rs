//! Filters: what happens to a request before it is forwarded and to a response before it is handed back.
//!
//! The set is closed. A filter is a small struct with synchronous hooks; it decides and never does I/O. One whose
//! decision needs I/O returns the question as data ([`Verdict::Suspend`]), the data plane performs it and asks the same
//! filter again. Requests pass a [`Chain`] from its first filter to its last, responses from the last to the first.
//!
//! Adding a filter touches: its file, one line in `filters!`, its stage, its configuration and one arm where the control
//! plane compiles it.

mod anonymize;
mod authenticate;
mod authorize;
mod caller;
mod cors;
mod credentials;
mod edits;
mod headers;
mod limit;
mod outgoing;
mod rewrite;
mod services;
mod template;

pub use anonymize::Anonymize;
pub use authenticate::{Authenticate, Check, Method, Mode};
pub use authorize::{Authorize, Rule};
pub use caller::{Caller, Refused, Unjudged};
pub use cors::{Cors, Wildcard};
pub use credentials::Source;
pub use edits::{FieldEdits, ResponseEdits};
pub use headers::{FieldRule, Headers};
pub use limit::{EarlyLimit, LateLimit};
pub use outgoing::Outgoing;
pub use rewrite::Rewrite;
pub use template::{Template, TemplateError};

use crate::Cause;
use crate::ask::Ask;
use crate::limit::Tally;
use auth::{Memory, Ruling};
use base::Instant;
use base::ids::RouteId;
use std::net::IpAddr;
use std::sync::Arc;
use wire::http::Request;
use wire::secure::Client as Certificate;

/// Filters that one chain may have; the position in it is a byte.
pub const FILTERS_PER_CHAIN_MAX: usize = 32;

/// What a filter decided.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On to the next filter, and after the last one to the route's action.
    Continue,
    /// The exchange ends here with the response of this cause.
    Respond(Cause),
    /// The exchange ends here with what a service said.
    Ruled(Arc<Ruling>),
    /// The filter needs I/O first, and finds what came of it in `Caller::answered`.
    Suspend(Ask),
}

/// In which order filters run, whatever their order in the configuration (G6): what is cheap and needs nobody's name
/// comes first, then who calls, whether they may, and how often; what transforms comes last. A stage without filters
/// in this version keeps its place for those to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterStage {
    /// Drops what only we may say.
    Anonymize,
    /// Limits that need no caller.
    EarlyLimit,
    /// Preflights are answered here, without asking who sends them.
    Cors,
    Authenticate,
    Authorize,
    /// Limits by caller.
    Limit,
    Validate,
    Cache,
    /// Edits of what is sent upstream and handed back.
    Transform,
}

/// What a filter sees of one request, and where it writes what it found out.
#[derive(Debug)]
pub struct Visit<'r, 'x> {
    pub request: Request<'r>,
    /// The address of the client, after trusted proxies.
    pub client: IpAddr,
    /// The client's connection is encrypted, as far as we or a trusted proxy know.
    pub is_secure: bool,
    /// The certificate that the client's connection has shown, if it is believed.
    pub certificate: Option<&'r Certificate>,
    /// Seconds since 1970.
    pub unix_s: u64,
    /// The clock of the worker.
    pub now: Instant,
    /// What goes upstream.
    pub outgoing: &'x mut Outgoing,
    /// What is said to the client on whatever response it gets.
    pub response: &'x mut ResponseEdits,
    pub caller: &'x mut Caller,
    /// The rule that the chain belongs to.
    pub route: RouteId,
    /// What limits have charged.
    pub tally: &'x mut Tally,
    /// What this worker remembers of credentials.
    pub memory: &'x mut Memory,
}

/// Which hooks a filter has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    pub request_head: bool,
    pub response_head: bool,
}

impl Hooks {
    const NONE: Hooks = Hooks { request_head: false, response_head: false };

    const fn or(self, other: Hooks) -> Hooks {
        Hooks {
            request_head: self.request_head || other.request_head,
            response_head: self.response_head || other.response_head,
        }
    }
}

/// What every filter has; never called through `dyn`.
trait HttpFilter {
    const STAGE: FilterStage;

    /// The hooks that this value of the filter uses.
    fn hooks(&self) -> Hooks;

    fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict;

    fn on_response_head(&self, _status: u16, _response: &mut ResponseEdits) {}
}

macro_rules! filters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The closed set of filters.
        #[derive(Debug)]
        pub enum Filter { $($(#[$doc])* $name($name),)* }

        impl Filter {
            fn stage(&self) -> FilterStage {
                match self { $(Filter::$name(_) => <$name as HttpFilter>::STAGE,)* }
            }

            fn hooks(&self) -> Hooks {
                match self { $(Filter::$name(filter) => filter.hooks(),)* }
            }

            fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict {
                match self { $(Filter::$name(filter) => filter.on_request_head(visit),)* }
            }

            fn on_response_head(&self, status: u16, response: &mut ResponseEdits) {
                match self { $(Filter::$name(filter) => filter.on_response_head(status, response),)* }
            }
        }
    };
}

filters! {
    /// Drops fields that only we may write.
    Anonymize,
    /// Lets pages of other origins in.
    Cors,
    /// Limits that need no caller.
    EarlyLimit,
    /// Finds out who calls.
    Authenticate,
    /// Decides whether they may.
    Authorize,
    /// Limits by caller.
    LateLimit,
    /// Sets, adds and removes fields of requests and responses.
    Headers,
    /// Changes the path and the host that the endpoint sees.
    Rewrite,
}

/// The filters of one route in the order in which they run.
#[derive(Debug, Default)]
pub struct Chain {
    filters: Vec<Filter>,
    hooks: Hooks,
}

impl Chain {
    /// The chain of `filters`: by stage, and within a stage as given. `None` if there are more than
    /// [`FILTERS_PER_CHAIN_MAX`].
    pub fn new(mut filters: Vec<Filter>) -> Option<Chain> {
        if filters.len() > FILTERS_PER_CHAIN_MAX {
            return None;
        }
        filters.sort_by_key(Filter::stage);
        let hooks = filters.iter().map(Filter::hooks).fold(Hooks::NONE, Hooks::or);
        Some(Chain { filters, hooks })
    }

    /// Whether no filter does anything.
    pub fn is_empty(&self) -> bool {
        self.hooks == Hooks::NONE
    }

    /// What the route asks of its callers, if anything.
    pub fn authentication(&self) -> Option<&Authenticate> {
        self.filters.iter().find_map(|filter| match filter {
            Filter::Authenticate(filter) => Some(filter),
            _ => None,
        })
    }

    /// What the route says to pages of other origins.
    pub fn cors(&self) -> Option<&Cors> {
        self.filters.iter().find_map(|filter| match filter {
            Filter::Cors(filter) => Some(filter),
            _ => None,
        })
    }

    /// The scopes that the route asks for, by spaces.
    pub fn scopes(&self) -> String {
        let of = |filter: &Filter| match filter {
            Filter::Authorize(filter) => filter.scopes.iter().map(|scope| scope.to_string()).collect(),
            _ => Vec::new(),
        };
        self.filters.iter().flat_map(of).collect::<Vec<_>>().join(" ")
    }

    /// The hooks that any of the filters has.
    pub fn hooks(&self) -> Hooks {
        self.hooks
    }
}

/// The position of one request in its chain.
#[derive(Debug, Default)]
pub struct Walk {
    next: usize,
}

impl Walk {
    /// Runs filters until one does not continue or the last one has. After [`Verdict::Suspend`] the same filter is asked
    /// again.
    pub fn advance(&mut self, chain: &Chain, visit: &mut Visit<'_, '_>) -> Verdict {
        if !chain.hooks.request_head {
            return Verdict::Continue;
        }
        while let Some(filter) = chain.filters.get(self.next) {
            match filter.on_request_head(visit) {
                Verdict::Continue => self.next += 1,
                stop => return stop,
            }
        }
        Verdict::Continue
    }
}

/// Runs the response hooks, the last filter first. Called once per response, for those that Ringway makes too.
pub fn on_response(chain: &Chain, status: u16, response: &mut ResponseEdits) {
    if !chain.hooks.response_head {
        return;
    }
    for filter in chain.filters.iter().rev() {
        filter.on_response_head(status, response);
    }
}

#[cfg(test)]
mod tests;
