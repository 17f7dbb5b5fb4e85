//! Changes the path and the host that the endpoint sees. The query is never touched.

use super::{FilterStage, Hooks, HttpFilter, Template, Verdict, Visit};
use crate::Cause;
use crate::route::is_under;
use wire::http::Request;

/// Longest path that a rewrite may produce, in bytes.
pub(super) const PATH_BYTES_MAX: usize = 16 << 10;

/// The rewrite of a route. `path` replaces the whole path; otherwise `strip_prefix` is taken off (where the path lies
/// under it, to a segment border) and `add_prefix` put in front. The result begins with exactly one slash, so that no
/// endpoint can mistake it for `//authority/path`.
#[derive(Debug, Default)]
pub struct Rewrite {
    pub strip_prefix: Option<Box<[u8]>>,
    pub add_prefix: Option<Box<[u8]>>,
    pub path: Option<Template>,
    /// Value of `Host` for the endpoint.
    pub host: Option<Box<[u8]>>,
}

impl Rewrite {
    fn changes_path(&self) -> bool {
        self.path.is_some() || self.strip_prefix.is_some() || self.add_prefix.is_some()
    }

    fn write_path(&self, request: Request<'_>, out: &mut Vec<u8>) {
        if let Some(template) = &self.path {
            // The endpoint's scheme does not depend on the client's; the template of a path has no use for it.
            template.render(request, "http", out);
        } else {
            let mut path = request.path();
            if let Some(prefix) = self.strip_prefix.as_deref().filter(|prefix| is_under(path, prefix)) {
                path = &path[prefix.len()..];
            }
            if let Some(prefix) = self.add_prefix.as_deref() {
                out.extend_from_slice(prefix.strip_suffix(b"/").unwrap_or(prefix));
            }
            if !path.starts_with(b"/") && (!path.is_empty() || out.is_empty()) {
                out.push(b'/');
            }
            out.extend_from_slice(path);
        }
        let slashes = out.iter().take_while(|&&byte| byte == b'/').count();
        match slashes {
            0 => out.insert(0, b'/'),
            1 => {}
            more => drop(out.drain(1..more)),
        }
    }
}

impl HttpFilter for Rewrite {
    const STAGE: FilterStage = FilterStage::Transform;

    fn hooks(&self) -> Hooks {
        Hooks { request_head: self.changes_path() || self.host.is_some(), response_head: false }
    }

    fn on_request_head(&self, visit: &mut Visit<'_, '_>) -> Verdict {
        let (request, outgoing) = (visit.request, &mut *visit.outgoing);
        // `OPTIONS *` has no path that could be rewritten.
        if self.changes_path() && request.path().starts_with(b"/") {
            outgoing.write_path(|out| self.write_path(request, out));
            if outgoing.path().is_some_and(|path| path.len() > PATH_BYTES_MAX) {
                return Verdict::Respond(Cause::UriTooLong);
            }
        }
        if let Some(host) = &self.host {
            outgoing.set_host(host);
        }
        Verdict::Continue
    }
}
