//! One body on its way through one coding.

use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use flate2::{Compress, Compression, FlushCompress};
use std::io::Write;
use wire::http::Coding;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, zstd_sys::ZSTD_EndDirective};

/// How much CPU the bytes are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// The least that there is.
    Fast,
    #[default]
    Balanced,
    /// Two to four times the CPU of [`Effort::Balanced`], for some per cent fewer bytes.
    Small,
}

/// What such a compressor allocates at most, in bytes. Windows are kept small for it (decoders need as much):
/// 32 KiB with gzip, 256 KiB with the others. `tests.rs` measures it.
pub const fn memory_bytes(coding: Coding, effort: Effort) -> usize {
    match (coding, effort) {
        (Coding::Zstd, Effort::Small) => 4 << 20,
        (Coding::Zstd, _) => 2 << 20,
        (Coding::Brotli, _) => 3 << 20,
        (Coding::Gzip, _) => 384 << 10,
    }
}

/// As a power of two; a decoder of `br` and `zstd` keeps as much (RFC 9659 asks for at most 8 MiB).
const WINDOW_BITS: u8 = 18;
const GZIP_WINDOW_BITS: u8 = 15;
/// Room that is made for output at once.
const PIECE: usize = 8 << 10;

/// Codes one body. After [`Compressor::finish`] it is of no use before [`Compressor::restart`].
pub struct Compressor {
    engine: Engine,
    coding: Coding,
    effort: Effort,
    /// Input has been taken in since everything was last handed out.
    holds: bool,
}

enum Engine {
    Gzip(Box<Compress>),
    Zstd(Box<CCtx<'static>>),
    /// `None` once it has ended: it cannot be used again.
    Brotli(Option<Box<CompressorWriter<Vec<u8>>>>),
}

impl Compressor {
    /// Ready for a body.
    pub fn new(coding: Coding, effort: Effort) -> Compressor {
        let engine = match coding {
            Coding::Gzip => Engine::Gzip(Box::new(Compress::new_gzip(gzip_level(effort), GZIP_WINDOW_BITS))),
            Coding::Zstd => Engine::Zstd(Box::new(zstd(effort))),
            Coding::Brotli => Engine::Brotli(Some(Box::new(brotli(effort)))),
        };
        Compressor { engine, coding, effort, holds: false }
    }

    pub fn coding(&self) -> Coding {
        self.coding
    }

    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// Whether input waits that [`Compressor::flush`] would bring out.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Takes `input` in; what comes out at once is appended to `out`.
    ///
    /// # Errors
    /// [`Broken`], after which the body cannot be continued.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        self.holds |= !input.is_empty();
        self.run(input, Step::Run, out)
    }

    /// Appends everything to `out` that a decoder needs to have all the input there was.
    ///
    /// # Errors
    /// As [`Compressor::push`].
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.holds = false;
        self.run(&[], Step::Flush, out)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// As [`Compressor::push`].
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        self.holds = false;
        self.run(&[], Step::Finish, out)
    }

    /// Forgets the body and gets ready for another, with the memory that is there.
    pub fn restart(&mut self, effort: Effort) {
        self.holds = false;
        let is_ready = effort == self.effort
            && match &mut self.engine {
                Engine::Gzip(gzip) => {
                    gzip.reset();
                    true
                }
                Engine::Zstd(context) => context.reset(ResetDirective::SessionOnly).is_ok(),
                Engine::Brotli(_) => false,
            };
        if !is_ready {
            *self = Compressor::new(self.coding, effort);
        }
    }

    fn run(&mut self, input: &[u8], step: Step, out: &mut Vec<u8>) -> Result<(), Broken> {
        match &mut self.engine {
            Engine::Gzip(gzip) => run_gzip(gzip, input, step, out),
            Engine::Zstd(context) => run_zstd(context, input, step, out),
            Engine::Brotli(writer) => run_brotli(writer, input, step, out),
        }
    }
}

/// A compressor says that it cannot go on. None is known to do so as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Run,
    Flush,
    Finish,
}

/// zlib's own levels; the default of most servers is 1 to 6.
fn gzip_level(effort: Effort) -> Compression {
    Compression::new(match effort {
        Effort::Fast => 1,
        Effort::Balanced => 5,
        Effort::Small => 8,
    })
}

fn run_gzip(gzip: &mut Compress, mut input: &[u8], step: Step, out: &mut Vec<u8>) -> Result<(), Broken> {
    let flush = match step {
        Step::Run => FlushCompress::None,
        Step::Flush => FlushCompress::Sync,
        Step::Finish => FlushCompress::Finish,
    };
    loop {
        out.reserve(PIECE);
        let before = gzip.total_in();
        let status = gzip.compress_vec(input, out, flush).map_err(|_| Broken)?;
        let taken = usize::try_from(gzip.total_in() - before).map_err(|_| Broken)?;
        input = input.get(taken..).ok_or(Broken)?;
        let is_done = match step {
            // With room left there is nothing more to come out (zlib.h, deflate).
            Step::Run | Step::Flush => input.is_empty() && out.len() < out.capacity(),
            Step::Finish => status == flate2::Status::StreamEnd,
        };
        if is_done {
            return Ok(());
        }
    }
}

fn zstd(effort: Effort) -> CCtx<'static> {
    let level = match effort {
        Effort::Fast => 1,
        Effort::Balanced => 3,
        Effort::Small => 6,
    };
    let mut context = CCtx::create();
    for parameter in [CParameter::CompressionLevel(level), CParameter::WindowLog(WINDOW_BITS.into())] {
        // Both are within the bounds that the library states; one that it would not take stays at its default.
        let _ = context.set_parameter(parameter);
    }
    context
}

fn run_zstd(context: &mut CCtx<'_>, input: &[u8], step: Step, out: &mut Vec<u8>) -> Result<(), Broken> {
    let directive = match step {
        Step::Run => ZSTD_EndDirective::ZSTD_e_continue,
        Step::Flush => ZSTD_EndDirective::ZSTD_e_flush,
        Step::Finish => ZSTD_EndDirective::ZSTD_e_end,
    };
    let mut source = InBuffer::around(input);
    loop {
        out.reserve(PIECE);
        let at = out.len();
        let mut target = OutBuffer::around_pos(out, at);
        let left = context.compress_stream2(&mut target, &mut source, directive).map_err(|_| Broken)?;
        let is_done = match step {
            Step::Run => source.pos() == input.len(),
            Step::Flush | Step::Finish => left == 0,
        };
        if is_done {
            return Ok(());
        }
    }
}

fn brotli(effort: Effort) -> CompressorWriter<Vec<u8>> {
    let quality = match effort {
        Effort::Fast => 1,
        Effort::Balanced => 4,
        Effort::Small => 5,
    };
    let params = BrotliEncoderParams { quality, lgwin: WINDOW_BITS.into(), ..BrotliEncoderParams::default() };
    CompressorWriter::with_params(Vec::new(), PIECE, &params)
}

fn run_brotli(
    slot: &mut Option<Box<CompressorWriter<Vec<u8>>>>,
    input: &[u8],
    step: Step,
    out: &mut Vec<u8>,
) -> Result<(), Broken> {
    let Some(mut writer) = slot.take() else { return Err(Broken) };
    match step {
        Step::Run => writer.write_all(input).map_err(|_| Broken)?,
        Step::Flush => writer.flush().map_err(|_| Broken)?,
        Step::Finish => {
            let written = writer.into_inner();
            out.extend_from_slice(&written);
            return Ok(());
        }
    }
    out.append(writer.get_mut());
    *slot = Some(writer);
    Ok(())
}
