//! The access-log record: what a worker tells the log writer about a finished exchange, and its compact encoding.
//!
//! Numbers are little-endian, texts carry their length in two bytes. A record is at most [`RECORD_BYTES_MAX`] long: texts
//! are cut at the bounds below and are otherwise kept as they are, whatever bytes they contain. The encoding is private
//! to one process; nothing stores it.

use crate::grpc::Status;
use crate::{Cause, Phase};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::http::{Coding, Version};

/// Bounds of the texts, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
pub const QUERY_BYTES_MAX: usize = 4096;
pub const USER_AGENT_BYTES_MAX: usize = 512;
pub const REFERER_BYTES_MAX: usize = 1024;
/// Hosts, methods, and names of configured objects.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest encoding of a record.
pub const RECORD_BYTES_MAX: usize = FIXED_BYTES_MAX
    + PATH_BYTES_MAX
    + QUERY_BYTES_MAX
    + USER_AGENT_BYTES_MAX
    + REFERER_BYTES_MAX
    + 12 * NAME_BYTES_MAX;
const FIXED_BYTES_MAX: usize = 256;

/// What a record is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Subject {
    /// A request and its response.
    #[default]
    Exchange,
    /// A connection that a TCP listener passed through: it has no request, and its phases are those of the connection.
    Flow,
    /// Datagrams between a client and an endpoint, that a UDP listener passed through.
    Datagrams,
}

/// One finished exchange (or a connection that ended without one), or one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub subject: Subject,
    /// When the exchange ended: nanoseconds since 1970, from the wall clock.
    pub time_unix_ns: u64,
    /// Both halves of the request id.
    pub request_id: (u64, u64),
    pub client: IpAddr,
    pub listener: &'a str,
    pub method: &'a [u8],
    pub host: &'a [u8],
    pub path: &'a [u8],
    /// `None` when the target had no `?`.
    pub query: Option<&'a [u8]>,
    pub version: Version,
    /// As sent to the client; 0 when nothing was sent.
    pub status: u16,
    /// Why Ringway answered by itself or closed the connection; `None` when the endpoint's response went through whole.
    pub cause: Option<Cause>,
    /// How a call of gRPC ended; `None` for other requests, and where nobody has said.
    pub grpc_status: Option<Status>,
    /// Name of the route; empty when none was found.
    pub route: &'a str,
    /// Name of the upstream; empty when none was asked.
    pub upstream: &'a str,
    /// Address of the endpoint of the last attempt; empty when there was none.
    pub endpoint: &'a str,
    /// Who called, as far as the route asked; empty for nobody in particular.
    pub consumer: &'a str,
    /// Which policy accepted or refused the caller, `SCHEME:POLICY`, and why it refused; empty when none was asked.
    pub auth: &'a str,
    /// The limit that was exceeded; empty when none was. One that is not enforced has not stopped the request.
    pub limit: &'a str,
    pub attempts: u8,
    /// Bytes of the request as received, head and body.
    pub bytes_in: u64,
    /// Bytes of the response as sent, head and body.
    pub bytes_out: u64,
    /// The coding that we put the response body into, and its bytes before that; `None`: it went as it came.
    pub coded: Option<(Coding, u64)>,
    /// `None` in plain text.
    pub tls: Option<TlsRecord<'a>>,
    /// Empty when the field is missing.
    pub user_agent: &'a [u8],
    /// Empty when the field is missing.
    pub referer: &'a [u8],
    /// Microseconds by [`Phase`].
    pub phases_us: [u32; Phase::ALL.len()],
    pub total_us: u32,
}

/// What is logged of the client's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsRecord<'a> {
    /// 1.3 rather than 1.2.
    pub is_13: bool,
    pub resumed: bool,
    pub cipher: &'a str,
    /// The name that the client asked for; empty if it named none.
    pub server_name: &'a str,
    /// The name in the client's certificate; empty without one.
    pub client: &'a str,
    /// SHA-256 of the client's certificate.
    pub fingerprint: Option<[u8; 32]>,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// They end too early.
    Truncated,
    /// Bytes follow the record.
    Excess,
    /// A number stands for nothing, or a name is not UTF-8.
    Invalid,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordError::Truncated => "the record ends too early",
            RecordError::Excess => "bytes follow the record",
            RecordError::Invalid => "the record has an invalid field",
        })
    }
}

impl std::error::Error for RecordError {}

impl<'a> Record<'a> {
    /// A record that says nothing yet.
    pub const EMPTY: Record<'static> = Record {
        subject: Subject::Exchange,
        time_unix_ns: 0,
        request_id: (0, 0),
        client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        listener: "",
        method: b"",
        host: b"",
        path: b"",
        query: None,
        version: Version::Http11,
        status: 0,
        cause: None,
        grpc_status: None,
        route: "",
        upstream: "",
        endpoint: "",
        consumer: "",
        auth: "",
        limit: "",
        attempts: 0,
        bytes_in: 0,
        bytes_out: 0,
        coded: None,
        tls: None,
        user_agent: b"",
        referer: b"",
        phases_us: [0; Phase::ALL.len()],
        total_us: 0,
    };

    /// Appends the encoding to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.bytes_at_most());
        for number in [self.time_unix_ns, self.request_id.0, self.request_id.1, self.bytes_in, self.bytes_out]
        {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for micros in self.phases_us.iter().chain([&self.total_us]) {
            out.extend_from_slice(&micros.to_le_bytes());
        }
        out.extend_from_slice(&self.status.to_le_bytes());
        let cause = self.cause.map_or(0, |cause| cause as u8 + 1);
        out.extend_from_slice(&[self.attempts, self.version as u8, cause, u8::from(self.query.is_some())]);
        out.push(self.subject as u8);
        out.push(self.grpc_status.map_or(0, |status| status.place() + 1));
        match self.client {
            IpAddr::V4(addr) => {
                out.push(4);
                out.extend_from_slice(&addr.octets());
            }
            IpAddr::V6(addr) => {
                out.push(6);
                out.extend_from_slice(&addr.octets());
            }
        }
        for name in
            [self.listener, self.route, self.upstream, self.endpoint, self.consumer, self.auth, self.limit]
        {
            text(out, name.as_bytes(), name.floor_char_boundary(NAME_BYTES_MAX));
        }
        text(out, self.method, NAME_BYTES_MAX);
        text(out, self.host, NAME_BYTES_MAX);
        text(out, self.path, PATH_BYTES_MAX);
        text(out, self.query.unwrap_or_default(), QUERY_BYTES_MAX);
        text(out, self.user_agent, USER_AGENT_BYTES_MAX);
        text(out, self.referer, REFERER_BYTES_MAX);
        match self.coded {
            None => out.push(0),
            Some((coding, bytes)) => {
                out.push(coding as u8 + 1);
                out.extend_from_slice(&bytes.to_le_bytes());
            }
        }
        match &self.tls {
            None => out.push(0),
            Some(tls) => tls.encode(out),
        }
    }

    fn bytes_at_most(&self) -> usize {
        let names = self.listener.len()
            + self.route.len()
            + self.upstream.len()
            + self.endpoint.len()
            + self.consumer.len()
            + self.auth.len()
            + self.limit.len();
        let texts = self.method.len() + self.host.len() + self.path.len() + self.query.map_or(0, <[u8]>::len);
        let tls = self.tls.map_or(0, |tls| tls.cipher.len() + tls.server_name.len() + tls.client.len());
        (FIXED_BYTES_MAX + tls + names + texts + self.user_agent.len() + self.referer.len())
            .min(RECORD_BYTES_MAX)
    }

    /// Reads what [`Record::encode`] wrote.
    pub fn decode(bytes: &'a [u8]) -> Result<Record<'a>, RecordError> {
        let mut reader = Reader(bytes);
        let [time_unix_ns, id_high, id_low, bytes_in, bytes_out] = reader.numbers(u64::from_le_bytes)?;
        let phases_us = reader.numbers(u32::from_le_bytes)?;
        let [total_us] = reader.numbers(u32::from_le_bytes)?;
        let [status] = reader.numbers(u16::from_le_bytes)?;
        let [attempts, version, cause, has_query, subject, grpc_status, family] = reader.array()?;
        let client = match family {
            4 => IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?)),
            _ => return Err(RecordError::Invalid),
        };
        let cause = match cause.checked_sub(1) {
            None => None,
            Some(place) => Some(*Cause::ALL.get(usize::from(place)).ok_or(RecordError::Invalid)?),
        };
        let grpc_status = match grpc_status.checked_sub(1) {
            None => None,
            Some(place) => Some(Status::at(place).ok_or(RecordError::Invalid)?),
        };
        let subjects = [Subject::Exchange, Subject::Flow, Subject::Datagrams];
        let record = Record {
            subject: *subjects.get(usize::from(subject)).ok_or(RecordError::Invalid)?,
            time_unix_ns,
            request_id: (id_high, id_low),
            client,
            listener: reader.name()?,
            route: reader.name()?,
            upstream: reader.name()?,
            endpoint: reader.name()?,
            consumer: reader.name()?,
            auth: reader.name()?,
            limit: reader.name()?,
            method: reader.text()?,
            host: reader.text()?,
            path: reader.text()?,
            query: Some(reader.text()?).filter(|_| has_query != 0),
            version: version_of(version)?,
            status,
            cause,
            grpc_status,
            attempts,
            bytes_in,
            bytes_out,
            user_agent: reader.text()?,
            referer: reader.text()?,
            coded: coded(&mut reader)?,
            tls: TlsRecord::decode(&mut reader)?,
            phases_us,
            total_us,
        };
        if reader.0.is_empty() { Ok(record) } else { Err(RecordError::Excess) }
    }
}

impl<'a> TlsRecord<'a> {
    const PRESENT: u8 = 1;
    const IS_13: u8 = 2;
    const RESUMED: u8 = 4;
    const CERTIFIED: u8 = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            TlsRecord::PRESENT
                | flag(self.is_13, TlsRecord::IS_13)
                | flag(self.resumed, TlsRecord::RESUMED)
                | flag(self.fingerprint.is_some(), TlsRecord::CERTIFIED),
        );
        for name in [self.cipher, self.server_name, self.client] {
            text(out, name.as_bytes(), name.floor_char_boundary(NAME_BYTES_MAX));
        }
        out.extend_from_slice(self.fingerprint.as_ref().map_or(&[], |fingerprint| &fingerprint[..]));
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Option<TlsRecord<'a>>, RecordError> {
        let [flags] = reader.array()?;
        if flags == 0 {
            return Ok(None);
        }
        let (cipher, server_name, client) = (reader.name()?, reader.name()?, reader.name()?);
        let has = |flag| flags & flag != 0;
        let fingerprint = if has(TlsRecord::CERTIFIED) { Some(reader.array()?) } else { None };
        Ok(Some(TlsRecord {
            is_13: has(TlsRecord::IS_13),
            resumed: has(TlsRecord::RESUMED),
            cipher,
            server_name,
            client,
            fingerprint,
        }))
    }
}

fn coded(reader: &mut Reader<'_>) -> Result<Option<(Coding, u64)>, RecordError> {
    let [place] = reader.array()?;
    let Some(place) = place.checked_sub(1) else { return Ok(None) };
    let coding = *Coding::ALL.get(usize::from(place)).ok_or(RecordError::Invalid)?;
    Ok(Some((coding, u64::from_le_bytes(reader.array()?))))
}

fn version_of(place: u8) -> Result<Version, RecordError> {
    let all = [Version::Http10, Version::Http11, Version::Http2, Version::Http3];
    all.into_iter().find(|&version| version as u8 == place).ok_or(RecordError::Invalid)
}

pub(crate) fn text(out: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    let text = &text[..text.len().min(bytes_max)];
    // All bounds are far below 64 KiB.
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text);
}

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn numbers<T: Default + Copy, const WIDTH: usize, const N: usize>(
        &mut self,
        read: impl Fn([u8; WIDTH]) -> T,
    ) -> Result<[T; N], RecordError> {
        let mut numbers = [T::default(); N];
        for number in &mut numbers {
            *number = read(self.array()?);
        }
        Ok(numbers)
    }

    fn text(&mut self) -> Result<&'a [u8], RecordError> {
        let len = u16::from_le_bytes(self.array()?);
        self.take(usize::from(len))
    }

    pub(crate) fn name(&mut self) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.text()?).map_err(|_| RecordError::Invalid)
    }
}

#[cfg(test)]
mod tests;
