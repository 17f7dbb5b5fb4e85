//! Every fixed bound of the product, with units, in one place.
//!
//! Nothing that traffic can grow is without a field here. Defaults follow the table in `docs/configuration.md`.

/// Bounds of one listener's HTTP messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Request line and all fields of one head together; trailers share it. Default 32 KiB.
    pub header_bytes_max: u32,
    /// One field line. Default 16 KiB.
    pub header_line_bytes_max: u32,
    /// Fields in one head; trailers share it. Default 100.
    pub header_fields_max: u16,
    /// Request target. Default 8 KiB.
    pub uri_bytes_max: u32,
    /// Extensions of one chunk. Default 256 B.
    pub chunk_extension_bytes_max: u32,
    /// Extensions of all chunks of one body. Default 4 KiB.
    pub chunk_extensions_bytes_max: u32,
    /// Request body; `u64::MAX` is unlimited, the default.
    pub body_bytes_max: u64,
    /// Informational responses before the final one. Default 16.
    pub informational_max: u8,
}

impl HttpLimits {
    pub const DEFAULT: HttpLimits = HttpLimits {
        header_bytes_max: 32 << 10,
        header_line_bytes_max: 16 << 10,
        header_fields_max: 100,
        uri_bytes_max: 8 << 10,
        chunk_extension_bytes_max: 256,
        chunk_extensions_bytes_max: 4 << 10,
        body_bytes_max: u64::MAX,
        informational_max: 16,
    };
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bounds of one connection that speaks HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Requests that may be under way at once. Default 100.
    pub streams_max: u32,
    /// Bytes of one request body that the client may send before we have passed them on. Default 256 KiB.
    pub stream_window_bytes: u32,
    /// The same of all bodies together. Default 1 MiB.
    pub connection_window_bytes: u32,
    /// Response bytes of one stream that wait for the connection. Default 64 KiB.
    pub send_buffer_bytes: u32,
    /// Heads of all requests under way, as text. Default 256 KiB.
    pub heads_bytes_max: u32,
    /// One head as it is encoded; a longer one ends the connection. Default 64 KiB, twice what a head may have.
    pub block_bytes_max: u32,
    /// Frames that continue one head. Default 5, which `http2` has as well.
    pub continuations_max: u16,
    /// Requests that may be reset in one go, and per second on the long run. Default 100, and 10.
    pub resets_burst: u32,
    pub resets_per_second: u32,
    /// Frames that move nothing, in one go, and per second on the long run. Default 1000, and 100.
    pub idle_frames_burst: u32,
    pub idle_frames_per_second: u32,
}

impl Http2Limits {
    pub const DEFAULT: Http2Limits = Http2Limits {
        streams_max: 100,
        stream_window_bytes: 256 << 10,
        connection_window_bytes: 1 << 20,
        send_buffer_bytes: 64 << 10,
        heads_bytes_max: 256 << 10,
        block_bytes_max: 64 << 10,
        continuations_max: 5,
        resets_burst: 100,
        resets_per_second: 10,
        idle_frames_burst: 1000,
        idle_frames_per_second: 100,
    };
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bounds of one worker and of its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Downstream connections of one worker; accepting pauses at the bound.
    pub connections_max: u32,
    /// Idle upstream connections per endpoint and worker that are kept for longer than two seconds. Default 256 per
    /// node, shared over the workers.
    pub idle_per_endpoint_max: u32,
    /// Request body kept for a retry. Default 64 KiB.
    pub replay_bytes_max: u32,
    /// Body of a request that is read and thrown away after an early answer, before the connection is closed.
    /// Default 64 KiB.
    pub drain_bytes_max: u32,
    /// Request body bytes relayed in one go, and response bytes likewise. Default 256 KiB.
    pub relay_buffer_bytes_max: u32,
    /// All relay buffers above 16 KiB of one worker together. Default 64 MiB.
    pub relay_buffers_bytes_max: u64,
    /// Pipes of one worker, through which long bodies pass without being copied; each takes two descriptors. Default 64,
    /// fewer when the process has few descriptors.
    pub pipes_max: u32,
    /// What the compressors of one worker that are under way may allocate together. Default 64 MiB.
    pub compression_bytes_max: u64,
    /// One PROXY header that a client of a listener sends. Default 8 KiB.
    pub proxy_header_bytes_max: u32,
    /// Flows of datagrams of one worker, of all its listeners together; each takes a descriptor. As configured, fewer when
    /// the process has few descriptors or little memory.
    pub flows_max: u32,
    /// Access-log records waiting for the writer, per worker. Default 4 MiB.
    pub log_ring_bytes: u32,
    /// Tasks run and completions reaped in one turn of the loop. Default 256.
    pub turn_budget: u32,
}

impl Limits {
    pub const DEFAULT: Limits = Limits {
        connections_max: 65_536,
        idle_per_endpoint_max: 256,
        replay_bytes_max: 64 << 10,
        drain_bytes_max: 64 << 10,
        relay_buffer_bytes_max: 256 << 10,
        relay_buffers_bytes_max: 64 << 20,
        pipes_max: 64,
        compression_bytes_max: 64 << 20,
        proxy_header_bytes_max: 8 << 10,
        flows_max: 0,
        log_ring_bytes: 4 << 20,
        turn_budget: 256,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
