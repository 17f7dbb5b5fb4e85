//! A response on its way into the store.

use crate::downstream::Client;
use crate::exchange::Exchange;
use cache::{FieldRef, Freshness, Object, Refused, Store};
use std::sync::Arc;
use wire::http::BodyLength;

/// Bytes of one piece of a kept body.
const SEGMENT: usize = 64 << 10;

/// Name and value of a field.
type Line = (Box<[u8]>, Box<[u8]>);

/// What has come of a response that is to be kept.
pub(super) struct Filling {
    store: Arc<Store>,
    status: u16,
    fields: Vec<Line>,
    freshness: Freshness,
    segments: Vec<Box<[u8]>>,
    last: Vec<u8>,
    bytes: u64,
}

/// Why the response whose head is in `x` is not kept, if it is not.
pub(super) fn refusal(
    x: &Exchange,
    request: &[FieldRef<'_>],
    response: &[FieldRef<'_>],
    (store, identified): (&Store, bool),
    now_s: u64,
) -> Result<(), Refused> {
    // Where only the end of the connection is the end of the body, nobody can tell the whole from a part (X13).
    if x.response.body == BodyLength::UntilClose
        || x.response.content_length.is_some_and(|bytes| bytes > store.object_bytes_max())
    {
        return Err(Refused::Status);
    }
    cache::storable(x.response.status, response, request, identified, now_s)
}

impl Filling {
    /// `None` when there is no room for what is announced.
    pub(super) fn begin(
        conn: &Client,
        x: &Exchange,
        store: &Arc<Store>,
        response: &[FieldRef<'_>],
        (now_s, now_ns, delay_s): (u64, u64, u64),
    ) -> Option<Filling> {
        let status = x.response.status;
        let mut fields: Vec<Line> =
            response.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        if !response.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"Date")) {
            let now = conn.worker.rt.wall_nanos();
            conn.worker.date.with(now, |date| fields.push((b"Date"[..].into(), date.as_bytes().into())));
        }
        Some(Filling {
            store: Arc::clone(store),
            status,
            fields,
            freshness: Freshness::new(status, response, now_s, now_ns, delay_s),
            segments: Vec::new(),
            last: Vec::new(),
            bytes: 0,
        })
    }

    /// Keeps a piece; false when there is no room for it.
    pub(super) fn take(&mut self, mut payload: &[u8]) -> bool {
        let bytes = payload.len() as u64;
        if self.bytes + bytes > self.store.object_bytes_max() || !self.store.take_room(bytes) {
            return false;
        }
        self.bytes += bytes;
        while !payload.is_empty() {
            let (part, rest) = payload.split_at(payload.len().min(SEGMENT - self.last.len()));
            self.last.extend_from_slice(part);
            payload = rest;
            if self.last.len() == SEGMENT {
                self.segments.push(std::mem::take(&mut self.last).into());
            }
        }
        true
    }

    /// The response, when all of it has come.
    pub(super) fn finish(mut self, request: &[FieldRef<'_>], scope: &[u8]) -> Option<Object> {
        if !self.last.is_empty() {
            self.segments.push(std::mem::take(&mut self.last).into());
        }
        let fields: Vec<FieldRef<'_>> = self.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let body = std::mem::take(&mut self.segments);
        Object::new(self.status, &fields, body, self.freshness, (request, scope))
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.store.give_back(self.bytes);
    }
}
