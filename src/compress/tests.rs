use super::*;
use proptest::prelude::*;
use std::io::Read;
use std::rc::Rc;
use wire::http::Coding;

const EFFORTS: [Effort; 3] = [Effort::Fast, Effort::Balanced, Effort::Small];

/// What a decoder of `coding` makes of `bytes`, which may lack their end.
fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // A body that goes on ends in an error for some decoders; what came before it counts.
    let _ = match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
        Coding::Zstd => return decoded_zstd(bytes),
    };
    out
}

fn decoded_zstd(bytes: &[u8]) -> Vec<u8> {
    let mut context = zstd_safe::DCtx::create();
    let mut source = zstd_safe::InBuffer::around(bytes);
    let mut out = Vec::new();
    loop {
        out.reserve(64 << 10);
        let at = out.len();
        let mut target = zstd_safe::OutBuffer::around_pos(&mut out, at);
        context.decompress_stream(&mut target, &mut source).expect("it is what we wrote");
        let brought = target.pos() - at;
        if brought == 0 && source.pos() == bytes.len() {
            return out;
        }
    }
}

/// Text that repeats itself as pages do, and bytes that nothing makes smaller.
fn mixed(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..len)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at / 4096 % 2 == 0 { b"<li class=\"item\">"[at % 17] } else { state.to_be_bytes()[0] }
        })
        .collect()
}

#[test]
fn whole_bodies_come_back_with_every_coding_and_effort() {
    for coding in Coding::ALL {
        for effort in EFFORTS {
            for len in [0, 1, 100, 300_000] {
                let body = mixed(len);
                let mut out = Vec::new();
                let mut compressor = Compressor::new(coding, effort);
                compressor.push(&body, &mut out).unwrap();
                compressor.finish(&mut out).unwrap();
                assert!(decoded(coding, &out) == body, "{coding:?} {effort:?} {len}");
            }
        }
    }
}

#[test]
fn text_gets_smaller() {
    let body = b"{\"name\":\"Ada\",\"born\":1815}, ".repeat(2000);
    for coding in Coding::ALL {
        let mut out = Vec::new();
        let mut compressor = Compressor::new(coding, Effort::Fast);
        compressor.push(&body, &mut out).unwrap();
        compressor.finish(&mut out).unwrap();
        assert!(out.len() < body.len() / 50, "{coding:?}: {} of {}", out.len(), body.len());
    }
}

#[test]
fn a_compressor_that_ended_early_starts_again_clean() {
    for coding in Coding::ALL {
        let pool = Rc::new(Pool::default());
        let mut first = pool.borrow(coding, Effort::Balanced, usize::MAX).unwrap();
        first.push(&mixed(50_000), &mut Vec::new()).unwrap();
        drop(first);
        for effort in EFFORTS {
            let mut out = Vec::new();
            let mut next = pool.borrow(coding, effort, usize::MAX).unwrap();
            assert!(!next.holds());
            next.push(b"hello", &mut out).unwrap();
            assert!(next.holds());
            next.finish(&mut out).unwrap();
            assert_eq!(decoded(coding, &out), b"hello", "{coding:?} {effort:?}");
        }
    }
}

#[test]
fn a_brotli_compressor_that_has_ended_says_so() {
    let mut compressor = Compressor::new(Coding::Brotli, Effort::Fast);
    compressor.finish(&mut Vec::new()).unwrap();
    assert!(compressor.push(b"more", &mut Vec::new()).is_err());
}

#[test]
fn the_pool_lends_no_more_than_its_bound_and_takes_back_what_ends() {
    let pool = Rc::new(Pool::default());
    let bound = memory_bytes(Coding::Zstd, Effort::Fast) + memory_bytes(Coding::Gzip, Effort::Fast);
    let zstd = pool.borrow(Coding::Zstd, Effort::Fast, bound).unwrap();
    assert!(pool.borrow(Coding::Zstd, Effort::Fast, bound).is_none());
    let gzip = pool.borrow(Coding::Gzip, Effort::Fast, bound).unwrap();
    assert_eq!(pool.lent_bytes(), bound);
    assert!(pool.borrow(Coding::Gzip, Effort::Fast, bound).is_none());
    drop(zstd);
    assert!(pool.borrow(Coding::Zstd, Effort::Fast, bound).is_some());
    drop(gzip);
    assert_eq!(pool.lent_bytes(), 0);
    pool.trim();
}

#[test]
fn zstd_takes_no_more_memory_than_is_reckoned() {
    for (level, effort) in [(1, Effort::Fast), (3, Effort::Balanced), (6, Effort::Small)] {
        let mut context = zstd_safe::CCtx::create();
        context.set_parameter(zstd_safe::CParameter::CompressionLevel(level)).unwrap();
        context.set_parameter(zstd_safe::CParameter::WindowLog(18)).unwrap();
        let body = mixed(2 << 20);
        let mut source = zstd_safe::InBuffer::around(&body);
        let mut out = Vec::with_capacity(4 << 20);
        let mut target = zstd_safe::OutBuffer::around(&mut out);
        context
            .compress_stream2(
                &mut target,
                &mut source,
                zstd_safe::zstd_sys::ZSTD_EndDirective::ZSTD_e_continue,
            )
            .unwrap();
        let reckoned = memory_bytes(Coding::Zstd, effort);
        assert!(context.sizeof() <= reckoned, "level {level}: {} bytes", context.sizeof());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However a body is cut, and wherever it is flushed, it comes back, and what was flushed can be read at once.
    #[test]
    fn x3_every_split_of_a_body_comes_back(
        body in proptest::collection::vec(any::<u8>(), 0..3000),
        repeats in 1_usize..8,
        cuts in proptest::collection::vec((1_usize..5000, any::<bool>()), 0..8),
        coding in 0_usize..3,
        effort in 0_usize..3,
    ) {
        let (coding, effort) = (Coding::ALL[coding], EFFORTS[effort]);
        let body = body.repeat(repeats);
        let (mut out, mut rest, mut taken) = (Vec::new(), &body[..], 0);
        let mut compressor = Compressor::new(coding, effort);
        for (len, flushes) in cuts {
            let (piece, behind) = rest.split_at(len.min(rest.len()));
            compressor.push(piece, &mut out).unwrap();
            (rest, taken) = (behind, taken + piece.len());
            if flushes {
                compressor.flush(&mut out).unwrap();
                prop_assert!(!compressor.holds());
                prop_assert!(decoded(coding, &out) == body[..taken], "{coding:?} after a flush");
            }
        }
        compressor.push(rest, &mut out).unwrap();
        compressor.finish(&mut out).unwrap();
        prop_assert!(decoded(coding, &out) == body);
    }
}
