//! Stickiness on the wire: what a request says about its session, its other cookies, and the cookie of the response.
//!
//! What the cookie means is decided in `traffic::sticky`, where the request goes in `traffic::balance`.

use crate::downstream::Client;
use crate::exchange::Exchange;
use std::time::Duration;
use traffic::snapshot::Upstream;
use traffic::sticky::{Session, Sticky};
use wire::http::{Known, Request};

/// Reads the session of the request in `x`, whose upstream has been chosen.
pub(crate) fn read(conn: &Client, x: &Exchange, upstream: &Upstream) -> Session {
    let sticky = upstream.sticky.as_ref();
    sticky.map_or(Session::None, |sticky| sticky.session(x.request(), unix(conn)))
}

/// Appends a `Set-Cookie` field when the client has to come back to another endpoint than its cookie says, or the cookie
/// is to be renewed. What the upstream sets itself stays beside it.
pub(crate) fn write_set_cookie(out: &mut Vec<u8>, conn: &Client, x: &Exchange) {
    if let (Some(sticky), Some(endpoint)) = (sticky(x), x.endpoint)
        && x.session.needs_cookie(endpoint)
    {
        sticky.write_set_cookie(out, endpoint, unix(conn));
    }
}

/// Writes the `Cookie` fields that hold our cookie without it; one that holds no other is left out.
pub(crate) fn write_other_cookies(out: &mut Vec<u8>, sticky: &Sticky, request: Request<'_>) {
    for field in &request.head.fields {
        if field.known != Known::Cookie || !sticky.is_in(field.value.of(request.bytes)) {
            continue;
        }
        let mut others = sticky.others(field.value.of(request.bytes)).peekable();
        if others.peek().is_none() {
            continue;
        }
        out.extend_from_slice(b"Cookie: ");
        for (place, pair) in others.enumerate() {
            if place > 0 {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(pair);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The sessions of the upstream that was chosen for `x`.
pub(crate) fn sticky(x: &Exchange) -> Option<&Sticky> {
    x.generation.upstream(x.upstream?).sticky.as_ref()
}

fn unix(conn: &Client) -> Duration {
    Duration::from_nanos(conn.worker.rt.wall_nanos())
}
