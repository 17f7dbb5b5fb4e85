//! Which responses are compressed.

use config::model::{Compress, CompressCoding, CompressLevel};
use traffic::compression::{Compression, Effort, TypePattern};
use wire::http::Coding;

pub(super) fn rules(written: &Compress) -> Compression {
    let coding = |written: &CompressCoding| match written {
        CompressCoding::Zstd => Some(Coding::Zstd),
        CompressCoding::Brotli => Some(Coding::Brotli),
        CompressCoding::Gzip => Some(Coding::Gzip),
        CompressCoding::Off => None,
    };
    Compression {
        codings: written.codings.iter().filter_map(coding).collect(),
        types: written.types.iter().map(|text| TypePattern::of(text)).collect(),
        bytes_min: written.min_size.0,
        effort: match written.level {
            CompressLevel::Fast => Effort::Fast,
            CompressLevel::Balanced => Effort::Balanced,
            CompressLevel::Small => Effort::Small,
        },
    }
}
