//! What holds for every input, whatever it is: the functions behind the fuzz targets, and behind the tests that replay
//! their corpora. Each panics when its property does not hold. Not part of the product.

use base::limits::HttpLimits;

use super::{BodyReader, HeadError, Progress, RequestReader, ResponseReader, encode};
use crate::http::{BodyLength, Field, Known, Method, Request, RequestHead, Response, ResponseHead, Span};

type Read<T> = Result<Option<(usize, T)>, HeadError>;

/// A request head is read alike whole and byte by byte (R26), and everything it says lies within it.
pub fn request_head(bytes: &[u8]) {
    let whole = read_request(&HttpLimits::DEFAULT, bytes, |reader, bytes, head| reader.read(bytes, head));
    let dripped = read_request(&HttpLimits::DEFAULT, bytes, |reader, bytes, head| {
        drip(bytes, |prefix| reader.read(prefix, head))
    });
    assert_eq!(whole, dripped, "the verdict depends on how the bytes arrive");
    if let Ok(Some((used, head))) = whole {
        assert_eq!(head.head_bytes as usize, used);
        check_request(&head, &bytes[..used]);
    }
}

/// A request head is read alike whole and in two parts, wherever it is cut (R26). Quadratic: for inputs that are short.
pub fn request_head_split_anywhere(bytes: &[u8]) {
    let whole = read_request(&HttpLimits::DEFAULT, bytes, |reader, bytes, head| reader.read(bytes, head));
    for at in 0..bytes.len().min(EVERY_SPLIT_BYTES) {
        let split = read_request(&HttpLimits::DEFAULT, bytes, |reader, bytes, head| {
            match reader.read(&bytes[..at], head)? {
                Progress::Partial => reader.read(bytes, head),
                complete => Ok(complete),
            }
        });
        assert_eq!(whole, split, "the verdict depends on a split at {at}");
    }
}

/// A response head is read alike whole and byte by byte. The first byte chooses the method that it answers.
pub fn response_head(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let method = if choice & 1 == 1 { Method::Head } else { Method::Get };
    let whole = read_response(method, bytes, |reader, bytes, head| reader.read(bytes, head));
    let dripped =
        read_response(method, bytes, |reader, bytes, head| drip(bytes, |prefix| reader.read(prefix, head)));
    assert_eq!(whole, dripped, "the verdict depends on how the bytes arrive");
    if let Ok(Some((used, head))) = whole {
        let bytes = &bytes[..used];
        assert!((100..=599).contains(&head.status));
        check_span(head.reason, bytes);
        check_fields(&head.fields, bytes);
        assert!(!(head.keep_alive && head.body == BodyLength::UntilClose));
        assert!(head.status >= 200 || head.body == BodyLength::None);
        response_round_trip(Response::new(&head, bytes), method);
    }
}

/// What we write of an accepted request reads back as the same request (R27).
pub fn round_trip(bytes: &[u8]) {
    let read = read_request(&HttpLimits::DEFAULT, bytes, |reader, bytes, head| reader.read(bytes, head));
    let Ok(Some((used, head))) = read else { return };
    let first = Request::new(&head, &bytes[..used]);
    let written = write_request(first);
    let read = read_request(&roomier(), &written, |reader, bytes, head| reader.read(bytes, head));
    let (used, again) = read.expect("what we write is well-formed").expect("what we write is complete");
    assert_eq!(used, written.len(), "nothing may follow the head that we wrote");
    let second = Request::new(&again, &written);
    assert_eq!(first.method(), second.method());
    assert_eq!((first.path(), first.query()), (second.path(), second.query()));
    assert!(!again.path_rewritten, "the canonical path is canonical");
    assert_eq!(first.head.body, second.head.body);
    if !first.authority().is_empty() {
        assert_eq!((first.authority(), first.host()), (second.authority(), second.host()));
        assert_eq!(first.head.port, second.head.port);
    }
    let kept = |request: Request<'_>| -> Vec<(Vec<u8>, Vec<u8>)> {
        let kept = request.head.fields.iter().filter(|field| travels(field) && field.known != Known::Host);
        kept.map(|field| (field.name.of(request.bytes).to_vec(), field.value.of(request.bytes).to_vec()))
            .collect()
    };
    assert_eq!(kept(first), kept(second));
}

/// A chunked body is decoded as the plain model decodes it, whole and in pieces. The first byte is the length of the
/// pieces.
pub fn chunked_body(bytes: &[u8]) {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(whole, decode(bytes, usize::from(step).max(1)), "the verdict depends on how the bytes arrive");
    match (whole, model(bytes)) {
        (Decoded::Complete { payload, consumed }, Modelled::Complete { payload: expected, consumed: at }) => {
            assert_eq!((payload, consumed), (expected, at));
        }
        // The decoder does not wait for the end of a line that is wrong already.
        (Decoded::Partial | Decoded::Refused, Modelled::Partial) | (Decoded::Refused, Modelled::Refused) => {}
        (got, expected) => panic!("decoder says {got:?}, model says {expected:?}"),
    }
}

/// Longer inputs are cut within so many bytes only.
const EVERY_SPLIT_BYTES: usize = 256;

fn read_request(
    limits: &HttpLimits,
    bytes: &[u8],
    read: impl FnOnce(&mut RequestReader, &[u8], &mut RequestHead) -> Result<Progress, HeadError>,
) -> Read<RequestHead> {
    let mut head = RequestHead::default();
    Ok(match read(&mut RequestReader::new(limits), bytes, &mut head)? {
        Progress::Complete(used) => Some((used, head)),
        Progress::Partial => None,
    })
}

fn read_response(
    method: Method,
    bytes: &[u8],
    read: impl FnOnce(&mut ResponseReader, &[u8], &mut ResponseHead) -> Result<Progress, HeadError>,
) -> Read<ResponseHead> {
    let mut head = ResponseHead::default();
    Ok(match read(&mut ResponseReader::new(&HttpLimits::DEFAULT, method), bytes, &mut head)? {
        Progress::Complete(used) => Some((used, head)),
        Progress::Partial => None,
    })
}

fn drip(
    bytes: &[u8],
    mut read: impl FnMut(&[u8]) -> Result<Progress, HeadError>,
) -> Result<Progress, HeadError> {
    for end in 0..=bytes.len() {
        let progress = read(&bytes[..end])?;
        if progress != Progress::Partial {
            return Ok(progress);
        }
    }
    Ok(Progress::Partial)
}

/// Limits for heads that we wrote: a space behind each colon may make them longer than what was received.
fn roomier() -> HttpLimits {
    HttpLimits { header_bytes_max: 64 << 10, header_line_bytes_max: 64 << 10, ..HttpLimits::DEFAULT }
}

fn travels(field: &Field) -> bool {
    let framing = matches!(field.known, Known::ContentLength | Known::TransferEncoding);
    !framing && !field.flags.hop_by_hop && !field.flags.look_alike
}

fn write_request(request: Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode::request_line(&mut out, request.method(), request.path(), request.query());
    let authority = request.authority();
    encode::field(&mut out, b"Host", if authority.is_empty() { b"unnamed" } else { authority });
    encode::kept_fields(&mut out, request.bytes, &request.head.fields, |field| field.known != Known::Host);
    encode::request_framing(&mut out, request.head.method, request.head.body);
    encode::end(&mut out);
    out
}

fn response_round_trip(first: Response<'_>, method: Method) {
    let mut out = Vec::new();
    let (head, answers_head) = (first.head, method == Method::Head);
    encode::status_line(&mut out, head.status, first.reason());
    encode::kept_fields(&mut out, first.bytes, &head.fields, |_| true);
    encode::response_framing(&mut out, head.status, answers_head, head.body, head.content_length);
    encode::end(&mut out);
    let mut again = ResponseHead::default();
    let read = ResponseReader::new(&roomier(), method).read(&out, &mut again);
    assert_eq!(read, Ok(Progress::Complete(out.len())), "what we write is well-formed");
    assert_eq!((head.status, head.body), (again.status, again.body));
    let kept = |fields: &[Field], bytes: &[u8]| -> Vec<(Vec<u8>, Vec<u8>)> {
        let kept = fields.iter().filter(|field| travels(field));
        kept.map(|field| (field.name.of(bytes).to_vec(), field.value.of(bytes).to_vec())).collect()
    };
    assert_eq!(kept(&head.fields, first.bytes), kept(&again.fields, &out));
}

fn check_request(head: &RequestHead, bytes: &[u8]) {
    let request = Request::new(head, bytes);
    for span in [head.target, head.authority, head.host] {
        check_span(span, bytes);
    }
    check_span(head.path, if head.path_rewritten { &head.canonical } else { bytes });
    head.query.into_iter().chain(head.upgrade).for_each(|span| check_span(span, bytes));
    check_fields(&head.fields, bytes);
    let path = request.path();
    assert!(path.starts_with(b"/") || path == b"*", "the path is absolute");
    let dots = |segment: &[u8]| matches!(segment, b"." | b"..");
    assert!(!path.split(|&byte| byte == b'/').any(dots), "no dot segment is left");
    assert!(path.iter().chain(request.query().unwrap_or_default()).all(u8::is_ascii_graphic));
    assert_ne!(head.body, BodyLength::UntilClose, "requests have an end");
}

fn check_fields(fields: &[Field], bytes: &[u8]) {
    for field in fields {
        check_span(field.name, bytes);
        check_span(field.value, bytes);
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        assert!(!name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':'));
        assert!(value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)));
        assert_eq!(value.trim_ascii(), value, "no white space around a value");
    }
}

fn check_span(span: Span, bytes: &[u8]) {
    assert!(span.start as usize + span.len as usize <= bytes.len(), "{span:?} leaves {} bytes", bytes.len());
}

#[derive(Debug, PartialEq, Eq)]
enum Decoded {
    Complete { payload: Vec<u8>, consumed: usize },
    Partial,
    Refused,
}

/// Decodes with our reader, in pieces of `step` bytes.
fn decode(bytes: &[u8], step: usize) -> Decoded {
    let mut reader = BodyReader::new(BodyLength::Chunked, &HttpLimits::DEFAULT);
    let (mut payload, mut consumed) = (Vec::new(), 0);
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        let Ok(part) = reader.read(&mut piece) else { return Decoded::Refused };
        assert!(part.consumed <= piece.len() && part.payload.end <= part.consumed);
        assert!(part.done || part.consumed == piece.len(), "what is not consumed would come again");
        payload.extend_from_slice(&piece[part.payload]);
        consumed += part.consumed;
        assert_eq!(reader.payload_bytes(), payload.len() as u64);
        if part.done {
            assert!(reader.is_done() && reader.on_eof().is_ok());
            return Decoded::Complete { payload, consumed };
        }
    }
    assert!(reader.on_eof().is_err());
    Decoded::Partial
}

#[derive(Debug, PartialEq, Eq)]
enum Modelled {
    Complete { payload: Vec<u8>, consumed: usize },
    Partial,
    Refused,
}

/// The plainest decoder that could be right: whole lines, no state.
fn model(bytes: &[u8]) -> Modelled {
    let limits = HttpLimits::DEFAULT;
    let (mut at, mut payload, mut extensions) = (0, Vec::new(), 0);
    loop {
        let line = match line(&bytes[at..]) {
            Ok(line) => line,
            Err(outcome) => return outcome,
        };
        at += line.len() + 2;
        let text = String::from_utf8_lossy(line).into_owned();
        let digits = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
        let extension = &line[digits..];
        extensions += extension.len();
        let size = u64::from_str_radix(&text[..digits], 16).ok().filter(|&size| i64::try_from(size).is_ok());
        let too_long = extension.len() > limits.chunk_extension_bytes_max as usize
            || extensions > limits.chunk_extensions_bytes_max as usize;
        let (Some(size), 1..=16, true, false) = (size, digits, is_extension(extension), too_long) else {
            return Modelled::Refused;
        };
        if size == 0 {
            return model_trailers(bytes, at, payload);
        }
        let data = &bytes[at..];
        if (data.len() as u64) < size {
            return Modelled::Partial;
        }
        let (data, rest) = data.split_at(usize::try_from(size).expect("it fits into the data"));
        payload.extend_from_slice(data);
        at += data.len() + 2;
        match rest {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Modelled::Partial,
            _ => return Modelled::Refused,
        }
    }
}

fn model_trailers(bytes: &[u8], start: usize, payload: Vec<u8>) -> Modelled {
    let limits = HttpLimits::DEFAULT;
    let (mut at, mut fields) = (start, 0);
    loop {
        let line = match line(&bytes[at..]) {
            Ok(line) => line,
            Err(outcome) => return outcome,
        };
        at += line.len() + 2;
        if at - start > limits.header_bytes_max as usize {
            return Modelled::Refused;
        }
        if line.is_empty() {
            return Modelled::Complete { payload, consumed: at };
        }
        fields += 1;
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { return Modelled::Refused };
        let is_name = colon > 0 && line[..colon].iter().all(|&byte| is_tchar(byte));
        if !is_name || !line[colon..].iter().all(|&byte| is_text(byte)) || fields > limits.header_fields_max {
            return Modelled::Refused;
        }
    }
}

/// The line at the start of `bytes`, without its CRLF.
fn line(bytes: &[u8]) -> Result<&[u8], Modelled> {
    match bytes.iter().position(|&byte| byte == b'\n') {
        None => Err(Modelled::Partial),
        Some(lf) => match bytes[..lf].strip_suffix(b"\r") {
            Some(line) if !line.contains(&b'\r') => Ok(line),
            _ => Err(Modelled::Refused),
        },
    }
}

fn is_extension(text: &[u8]) -> bool {
    let [b';', rest @ ..] = text else { return text.is_empty() };
    let name = rest.iter().take_while(|&&byte| is_tchar(byte)).count();
    let (name, rest) = rest.split_at(name);
    let [b'=', value @ ..] = rest else { return !name.is_empty() && is_extension(rest) };
    if let [b'"', quoted @ ..] = value {
        let mut escaped = false;
        for (at, &byte) in quoted.iter().enumerate() {
            if !is_text(byte) {
                return false;
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return !name.is_empty() && is_extension(&quoted[at + 1..]),
                _ => {}
            }
        }
        return false;
    }
    let token = value.iter().take_while(|&&byte| is_tchar(byte)).count();
    !name.is_empty() && token > 0 && is_extension(&value[token..])
}

/// Written again from the RFC, so that a slip in the parser's table does not hide.
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}
