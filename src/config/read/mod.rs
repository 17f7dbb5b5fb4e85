//! From text to tree: one reader per encoding, both held to the grammar.

mod guard;
mod include;
mod json;
mod kdl;

pub(crate) use guard::Scan;
pub(crate) use kdl::parsed as parsed_kdl;

use crate::document::{Literal, Object, Reference, Scalar};
use crate::environment::Environment;
use crate::grammar::Node;
use crate::problem::{Code, Place, Problem, Severity, nearest};
use crate::source::{Sources, Span};
use std::io;
use std::path::{Path, PathBuf};

/// How a configuration is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// KDL 2, for people.
    Kdl,
    /// JSON (RFC 8259), for machines.
    Json,
}

impl Format {
    /// JSON when the name ends in `.json`, else KDL.
    pub fn of(path: &Path) -> Format {
        if path.extension().is_some_and(|extension| extension == "json") { Format::Json } else { Format::Kdl }
    }
}

/// One file. Generous: the model of 10,000 endpoints is about 1 MiB.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// All files together.
const TOTAL_BYTES_MAX: u64 = 32 << 20;
const FILES_MAX: usize = 1000;
const INCLUDE_DEPTH_MAX: usize = 8;
/// A `(file)` value.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Problems that are reported; more help nobody.
const PROBLEMS_MAX: usize = 200;

/// What reading collects on its way.
pub(crate) struct Reader<'a> {
    environment: &'a dyn Environment,
    pub(crate) sources: Sources,
    pub(crate) problems: Vec<Problem>,
    /// Files being read, outermost first.
    stack: Vec<PathBuf>,
    bytes: u64,
    files: usize,
    /// Some text could not be read at all: what is missing from the tree says nothing.
    pub(crate) is_torn: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(environment: &'a dyn Environment) -> Self {
        Reader {
            environment,
            sources: Sources::default(),
            problems: Vec::new(),
            stack: Vec::new(),
            bytes: 0,
            files: 0,
            is_torn: false,
        }
    }

    /// Reads the file and what it includes.
    pub(crate) fn file(&mut self, path: &Path, tree: &mut Object) {
        match self.environment.read(path, FILE_BYTES_MAX) {
            Ok(text) => self.text(text, path, Format::of(path), tree),
            Err(error) => {
                self.is_torn = true;
                let what = format!("{}: {}", path.display(), reason(&error));
                self.report(Problem::error(Code::File, None, what));
            }
        }
    }

    /// Reads a text as if it were the file `path`, and what it includes.
    pub(crate) fn text(&mut self, text: String, path: &Path, format: Format, tree: &mut Object) {
        self.files += 1;
        self.bytes += text.len() as u64;
        if self.bytes > TOTAL_BYTES_MAX || self.files > FILES_MAX {
            let what = format!("more than {FILES_MAX} files or {} MiB in all", TOTAL_BYTES_MAX >> 20);
            self.is_torn = true;
            return self.report(Problem::error(Code::Limit, None, what));
        }
        let source = self.sources.add(&path.display().to_string(), text);
        if let Some(refusal) = guard::refuses(self.sources.text(source), format) {
            self.is_torn = true;
            let at = u32::try_from(refusal.at).unwrap_or(u32::MAX);
            return self.error(Code::Limit, Span { source, start: at, end: at + 1 }, refusal.what);
        }
        self.stack.push(path.to_path_buf());
        match format {
            Format::Kdl => self.kdl(source, tree),
            Format::Json => self.json(source, tree),
        }
        self.stack.pop();
    }

    pub(crate) fn report(&mut self, problem: Problem) {
        // Bounded well above what is shown, so that sorting can still choose the first ones.
        if self.problems.len() < PROBLEMS_MAX * 10 {
            self.problems.push(problem);
        }
    }

    fn error(&mut self, code: Code, span: Span, what: impl Into<String>) {
        let place = self.place(span);
        self.report(Problem::error(code, place, what));
    }

    fn hinted(&mut self, code: Code, span: Span, what: impl Into<String>, hint: Option<String>) {
        let place = self.place(span);
        self.report(Problem { hint, ..Problem::error(code, place, what) });
    }

    fn place(&self, span: Span) -> Option<Place> {
        self.sources.place(span)
    }

    /// Reports a word that has no meaning where it stands. `role` is what it was written as.
    fn unknown(
        &mut self,
        role: &str,
        word: &str,
        span: Span,
        grammar: &'static Node,
        candidates: &[&'static str],
    ) {
        if grammar.is_later(word) {
            let hint = "remove it: it would have no effect".to_owned();
            return self.hinted(
                Code::Unsupported,
                span,
                format!("\"{word}\" is not supported by this version"),
                Some(hint),
            );
        }
        let hint = match nearest(word, candidates.iter().copied()) {
            Some(candidate) => Some(format!("did you mean \"{candidate}\"?")),
            None if candidates.is_empty() => None,
            None => Some(format!("known here: {}", candidates.join(", "))),
        };
        self.hinted(Code::Unknown, span, format!("unknown {role} \"{word}\""), hint);
    }

    /// The scalar that a reference stands for.
    fn resolve(&mut self, reference: Reference, span: Span) -> Scalar {
        let value = match &reference {
            Reference::Environment(name) => self
                .environment
                .variable(name)
                .ok_or_else(|| (Code::Environment, format!("the environment variable {name} is not set"))),
            Reference::File(file) => {
                let path = self.relative(file);
                let text = self.environment.read(&path, SECRET_BYTES_MAX);
                // Editors and `echo` end a file with a line feed that is no part of the secret.
                text.map(|text| {
                    text.strip_suffix('\n').map_or(text.clone(), |t| t.trim_end_matches('\r').to_owned())
                })
                .map_err(|error| (Code::File, format!("{}: {}", path.display(), reason(&error))))
            }
        };
        let value = match value {
            Ok(text) => Literal::Text(text),
            Err((code, what)) => {
                self.error(code, span, what);
                Literal::Unresolved
            }
        };
        Scalar { span, value, reference: Some(reference) }
    }

    /// A path of the text, relative to the file that names it.
    fn relative(&self, path: &str) -> PathBuf {
        match self.stack.last().and_then(|file| file.parent()) {
            Some(directory) => directory.join(path),
            None => PathBuf::from(path),
        }
    }
}

/// Why a file could not be read, in words.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "is a directory".into(),
        io::ErrorKind::InvalidData => "is not UTF-8".into(),
        io::ErrorKind::FileTooLarge => "is too large".into(),
        _ => error.to_string(),
    }
}

/// Sorts by place, drops repetitions and bounds the number.
pub(crate) fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.place.as_ref().map(|place| place.order));
    problems.dedup();
    if problems.len() > PROBLEMS_MAX {
        let more = problems.len() - PROBLEMS_MAX;
        // As bad as the worst that is not shown: many warnings alone must not keep a configuration from loading.
        let hidden = &problems[PROBLEMS_MAX..];
        let is_bad = hidden.iter().any(|problem| problem.severity == Severity::Error);
        let severity = if is_bad { Severity::Error } else { Severity::Warning };
        problems.truncate(PROBLEMS_MAX);
        let what = format!("{more} more problems are not shown");
        problems.push(Problem { severity, ..Problem::error(Code::Limit, None, what) });
    }
    problems
}
