//! Trailers: who gets them, and what of them.
//!
//! Towards an endpoint they follow every body that is sent in chunks. Towards a client they follow where it can take
//! them: HTTP/2 always can, a client of HTTP/1.1 says so (`TE: trailers`, RFC 9110 §10.1.4) and gets a body in chunks.
//! Otherwise they are dropped, as a recipient may (RFC 9110 §6.5.1).

use crate::downstream::ClientStream;
use crate::exchange::Exchange;
use traffic::filter::FieldEdits;
use wire::h1::{BodyError, encode, trailer};
use wire::http::{BodyLength, Field, Known, Request, Version};

/// Trailers of one message, as `wire::h1::trailer` writes them; usually none.
#[derive(Debug, Default)]
pub(crate) struct Trailers(Vec<u8>);

impl Trailers {
    pub(crate) const NONE: Trailers = Trailers(Vec::new());

    /// What a reader of HTTP/1.1 found.
    pub(crate) fn read(text: Vec<u8>) -> Trailers {
        Trailers(text)
    }

    /// What came on a stream of HTTP/2, whose parser knows neither our bounds nor our names.
    pub(crate) fn of_stream(text: &[u8], bytes_max: u32, fields_max: u16) -> Result<Trailers, BodyError> {
        if text.is_empty() {
            return Ok(Trailers::NONE);
        }
        trailer::screen(text, bytes_max, fields_max).map(Trailers)
    }

    /// Without those that the route removes from heads.
    pub(crate) fn edited(self, edits: &FieldEdits) -> Trailers {
        if self.0.is_empty() || edits.is_empty() {
            return self;
        }
        let mut kept = Vec::with_capacity(self.0.len());
        for (name, value) in trailer::fields(&self.0).filter(|(name, _)| edits.keeps(name)) {
            trailer::append(&mut kept, name, value);
        }
        Trailers(kept)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.0
    }

    /// Ends a chunked body with them.
    pub(crate) fn write_last_chunk(&self, out: &mut Vec<u8>) {
        encode::last_chunk(out, &self.0);
    }
}

/// Whether the client of `x` can take trailers behind a body that is framed so.
pub(crate) fn are_taken(x: &Exchange, stream: &ClientStream, framing: BodyLength) -> bool {
    stream.is_multiplexed() || (framing == BodyLength::Chunked && are_asked_for(x.request()))
}

/// Passes on which trailers are announced.
pub(crate) fn announce(out: &mut Vec<u8>, bytes: &[u8], fields: &[Field], keeps: impl Fn(&[u8]) -> bool) {
    if !keeps(b"Trailer") {
        return;
    }
    for field in fields.iter().filter(|field| field.known == Known::Trailer && !field.value.is_empty()) {
        encode::field(out, b"Trailer", field.value.of(bytes));
    }
}

/// Whether a request says that whoever sent it takes trailers.
pub(crate) fn are_asked_for(request: Request<'_>) -> bool {
    if request.head.version < Version::Http11 {
        return false;
    }
    let mut fields = request.head.fields.iter().filter(|field| field.known == Known::Te);
    fields.any(|field| {
        let mut codings = field.value.of(request.bytes).split(|&byte| byte == b',');
        codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}
