//! How bodies of responses are made smaller.

use super::fields::is_token;
use super::{Decoder, Scope};
use crate::literal::Bytes;
use crate::model::{Compress, CompressCoding, CompressLevel};
use crate::problem::Code;

/// What is text in some way; pictures, archives and films are compressed already.
const TYPES: [&str; 12] = [
    "text/*",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/x-ndjson",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "image/svg+xml",
    "*+json",
    "*+xml",
];
/// The head of a coded response alone costs as much as would be gained below it.
const MIN_SIZE: Bytes = Bytes(1 << 10);
const MIN_SIZE_MAX: Bytes = Bytes(1 << 30);

impl Decoder<'_> {
    pub(super) fn compress(&mut self, scope: &Scope<'_>) -> Option<Compress> {
        let scope = scope.member("compress")?;
        if !scope.has("codings") {
            self.missing(&scope, "no coding is named", "write compress \"zstd\" \"br\" \"gzip\", or \"off\"");
        }
        let mut codings: Vec<CompressCoding> = Vec::new();
        for scalar in scope.scalars("codings") {
            let Some(coding) = self.read("codings", scalar) else { continue };
            if codings.contains(&coding) {
                let what = format!("the coding \"{coding}\" stands twice");
                self.error(Code::Contradiction, scalar.span, what, Some("remove one of them".to_owned()));
            }
            codings.push(coding);
        }
        if codings.contains(&CompressCoding::Off) && codings.len() > 1 {
            let hint = Some("remove \"off\" or the others".to_owned());
            self.error(Code::Contradiction, scope.object.span, "\"off\" stands alone", hint);
        }
        let mut types = Vec::new();
        for scalar in scope.scalars("types") {
            let Some(text) = self.as_text("types", scalar) else { continue };
            if is_pattern(&text) {
                types.push(text.to_ascii_lowercase());
            } else {
                self.wrong("types", scalar, "a content type such as \"text/html\", \"text/*\" or \"*+json\"");
            }
        }
        if !scope.has("types") {
            types = TYPES.map(str::to_owned).to_vec();
        }
        Some(Compress {
            codings,
            types,
            min_size: self.size(&scope, "min-size", Bytes(0), MIN_SIZE_MAX, MIN_SIZE),
            level: self.literal_or(&scope, "level", CompressLevel::Balanced),
            origin: self.origin(&scope),
        })
    }
}

/// `a/b`, `a/*` or `*+c`, without parameters. Not `*/*`: most of what is compressed already would be done again.
fn is_pattern(text: &str) -> bool {
    if let Some(suffix) = text.strip_prefix("*+") {
        return is_token(suffix) && !suffix.contains('*');
    }
    match text.split_once('/') {
        Some((kind, "*")) => is_token(kind) && !kind.contains('*'),
        Some((kind, name)) => is_token(kind) && is_token(name) && !text.contains('*'),
        None => false,
    }
}
