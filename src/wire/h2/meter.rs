//! Budgets over frames: what costs more than it brings must not come without end (R28, R29, R30, R33).
//!
//! ```text
//!   received bytes ─▶ frames ─▶ budgets ─▶ as many bytes as may be read now
//!   sent bytes ─────▶ frames ─▶ budgets (resets that the client made us send; data earns credit)
//! ```
//!
//! A budget is a bucket of tokens that time refills; useful traffic refills it too, so that a busy client is not taken for
//! a hostile one. What the frames say is not judged here.

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, Frames, HEADERS, PING, RST_STREAM, SETTINGS,
};
use base::Instant;
use base::limits::Http2Limits;

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Too many requests were reset, by the client or because of what it sent.
    Resets,
    /// Too many frames that move nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA and unknown ones.
    Frames,
    /// Too many bytes of one encoded head, or frames that continue it.
    Head,
    /// None: the first frame was not SETTINGS (RFC 9113 §3.4).
    NoSettings,
}

/// How far [`Meter::receive`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Bytes from the front of the input that may be read now.
    pub bytes: usize,
    /// They end with the last frame of a head. What the head opens is to be looked at before more is read, so that no
    /// more than one of them is held in its expanded form.
    pub ends_head: bool,
}

/// The frames of one connection.
#[derive(Clone, Debug)]
pub struct Meter {
    limits: Http2Limits,
    received: Frames,
    sent: Frames,
    /// Within a head that has not ended: its bytes so far, and frames that continued it.
    block: Option<(u32, u16)>,
    /// The frame that is passing ends a head.
    ends_head: bool,
    resets: Bucket,
    frames: Bucket,
    /// Payload bytes that have not earned a token yet.
    earned: u32,
    /// The code of a reset that is being sent, as far as it has been seen.
    sending_reset: Option<(u32, u8)>,
    /// The first frame has come.
    has_begun: bool,
    counts: Counts,
}

/// What has passed, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Resets that the client has sent.
    pub resets_received: u64,
    /// Resets that were sent because of what the client had sent.
    pub resets_provoked: u64,
}

impl Meter {
    /// For a connection whose first bytes are the preface.
    pub fn new(limits: &Http2Limits, now: Instant) -> Meter {
        Meter {
            limits: *limits,
            received: Frames::new(24),
            sent: Frames::new(0),
            block: None,
            ends_head: false,
            resets: Bucket::new(limits.resets_burst, limits.resets_per_second, now),
            frames: Bucket::new(limits.idle_frames_burst, limits.idle_frames_per_second, now),
            earned: 0,
            sending_reset: None,
            has_begun: false,
            counts: Counts::default(),
        }
    }

    /// Takes note of received bytes; each is shown once.
    ///
    /// # Errors
    /// When a budget is used up: the connection is to end.
    pub fn receive(&mut self, input: &[u8], now: Instant) -> Result<Taken, Breach> {
        let mut rest = input;
        // What is left of the frame that was passing.
        if self.received.pass(&mut rest) && std::mem::take(&mut self.ends_head) {
            return Ok(Taken { bytes: input.len() - rest.len(), ends_head: true });
        }
        while let Some(head) = self.received.next(&mut rest) {
            self.charge(head, now)?;
            if self.received.pass(&mut rest) && std::mem::take(&mut self.ends_head) {
                return Ok(Taken { bytes: input.len() - rest.len(), ends_head: true });
            }
        }
        Ok(Taken { bytes: input.len() - rest.len(), ends_head: false })
    }

    fn charge(&mut self, head: FrameHead, now: Instant) -> Result<(), Breach> {
        if !std::mem::replace(&mut self.has_begun, true) && (head.kind != SETTINGS || head.has(ACK)) {
            return Err(Breach::NoSettings);
        }
        match head.kind {
            DATA if head.length > 0 || head.has(END_STREAM) => {
                self.earned += head.length;
                self.frames.earn(self.earned >> 10);
                self.earned &= 0x3ff;
            }
            HEADERS => {
                self.block = Some((0, 0));
                self.frames.earn(REQUEST_EARNS);
                return self.continue_block(head);
            }
            CONTINUATION => {
                if let Some((_, frames)) = &mut self.block {
                    *frames += 1;
                }
                return self.continue_block(head);
            }
            RST_STREAM => {
                self.counts.resets_received += 1;
                return self.resets.take(1, now).then_some(()).ok_or(Breach::Resets);
            }
            PING | SETTINGS if head.has(ACK) => {}
            SETTINGS => return self.frames.take(SETTINGS_COST, now).then_some(()).ok_or(Breach::Frames),
            _ => return self.frames.take(1, now).then_some(()).ok_or(Breach::Frames),
        }
        Ok(())
    }

    fn continue_block(&mut self, head: FrameHead) -> Result<(), Breach> {
        let Some((bytes, frames)) = &mut self.block else { return Ok(()) };
        *bytes = bytes.saturating_add(head.length);
        if *bytes > self.limits.block_bytes_max || *frames > self.limits.continuations_max {
            return Err(Breach::Head);
        }
        if head.has(END_HEADERS) {
            self.block = None;
            self.ends_head = true;
        }
        Ok(())
    }

    /// Takes note of sent bytes; each is shown once.
    ///
    /// # Errors
    /// When what the client sends makes us reset too many streams.
    pub fn send(&mut self, input: &[u8], now: Instant) -> Result<(), Breach> {
        let mut rest = input;
        loop {
            self.see_reset_code(&mut rest, now)?;
            self.sent.pass(&mut rest);
            let Some(head) = self.sent.next(&mut rest) else { return Ok(()) };
            match head.kind {
                DATA if head.length >= DATA_THAT_COUNTS => self.frames.earn(DATA_EARNS),
                RST_STREAM => self.sending_reset = Some((0, 0)),
                _ => {}
            }
            if matches!(head.kind, DATA | HEADERS) && head.has(END_STREAM) {
                self.resets.earn(1);
            }
        }
    }

    fn see_reset_code(&mut self, rest: &mut &[u8], now: Instant) -> Result<(), Breach> {
        while let (Some((code, bytes)), [byte, ..]) = (&mut self.sending_reset, *rest) {
            *code = *code << 8 | u32::from(*byte);
            *bytes += 1;
            self.sent.pass(&mut &rest[..1]);
            *rest = &rest[1..];
            if *bytes == 4 {
                let is_provoked = PROVOKED.contains(code);
                self.sending_reset = None;
                if is_provoked {
                    self.counts.resets_provoked += 1;
                    return self.resets.take(1, now).then_some(()).ok_or(Breach::Resets);
                }
            }
        }
        Ok(())
    }

    /// Whether a head has begun and not ended: the client owes the rest of it.
    pub fn is_inside_head(&self) -> bool {
        self.block.is_some() || self.ends_head
    }

    /// The budget that is so far used up that the client should be asked to leave, if there is one.
    pub fn low(&self) -> Option<Breach> {
        if self.resets.is_low() {
            Some(Breach::Resets)
        } else {
            self.frames.is_low().then_some(Breach::Frames)
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// Tokens of which time brings new ones, up to a bound.
#[derive(Clone, Debug)]
struct Bucket {
    tokens: u32,
    most: u32,
    per_second: u32,
    since: Instant,
}

impl Bucket {
    fn new(most: u32, per_second: u32, now: Instant) -> Bucket {
        Bucket { tokens: most, most, per_second, since: now }
    }

    /// False when there are not enough, even with what time has brought.
    fn take(&mut self, cost: u32, now: Instant) -> bool {
        let passed = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX);
        let brought = passed.saturating_mul(u64::from(self.per_second)) / 1000;
        if brought > 0 {
            self.earn(u32::try_from(brought).unwrap_or(u32::MAX));
            self.since = now;
        }
        let has = self.tokens >= cost;
        self.tokens = self.tokens.saturating_sub(cost);
        has
    }

    fn earn(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.most);
    }

    /// Three quarters are gone.
    fn is_low(&self) -> bool {
        self.tokens < self.most / 4
    }
}

/// A client that changes its settings makes us change ours with every frame.
const SETTINGS_COST: u32 = 5;
/// A request pays for the frames that come with it.
const REQUEST_EARNS: u32 = 2;
/// Response data of this size is answered by WINDOW_UPDATEs of the stream and of the connection.
const DATA_THAT_COUNTS: u32 = 512;
const DATA_EARNS: u32 = 3;
/// Codes of resets that only a peer's mistakes bring about: PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED,
/// FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM.
const PROVOKED: [u32; 7] = [0x1, 0x3, 0x5, 0x6, 0x7, 0x9, 0xb];
