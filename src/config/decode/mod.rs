//! From tree to model: what each value means, and its default.
//!
//! Every object of the tree becomes an object of the model even when parts of it are wrong, so that `validate` can still
//! report what is wrong between the objects. The wrong parts were reported here, and nobody gets to see the result.

mod access;
mod action;
mod admission;
mod cache;
mod compress;
mod cors;
mod dns;
mod fields;
mod health;
mod hedge;
mod limit;
mod listener;
mod overload;
mod proxy_protocol;
mod route;
mod service;
mod site;
mod sticky;
mod tcp;
mod tls;
mod top;
mod udp;
mod upstream;

use crate::document::{Item, Literal as Raw, Object, Reference, Scalar};
use crate::literal::{Literal, Misread};
use crate::model::{Config, Origin};
use crate::problem::{Code, Problem, nearest};
use crate::provenance::Provenance;
use crate::source::Span;
use std::ops::RangeInclusive;

/// Reads values out of the tree and reports those that it cannot.
pub(crate) struct Decoder<'a> {
    provenance: &'a Provenance,
    problems: &'a mut Vec<Problem>,
}

/// An object of the tree and where it stands.
#[derive(Clone)]
pub(crate) struct Scope<'t> {
    object: &'t Object,
    pointer: String,
}

impl<'t> Scope<'t> {
    fn new(object: &'t Object, pointer: String) -> Self {
        Scope { object, pointer }
    }

    /// The member object of that name.
    fn member(&self, key: &str) -> Option<Scope<'t>> {
        match self.object.get(key)? {
            Item::Object(object) => Some(Scope::new(object, format!("{}/{key}", self.pointer))),
            Item::Scalar(_) | Item::List(_) => None,
        }
    }

    /// The objects of the member list of that name; empty when it is left out.
    fn members(&self, key: &str) -> Vec<Scope<'t>> {
        let Some(Item::List(items)) = self.object.get(key) else { return Vec::new() };
        let mut scopes = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Item::Object(object) = item {
                scopes.push(Scope::new(object, format!("{}/{key}/{index}", self.pointer)));
            }
        }
        scopes
    }

    /// The scalars of the member list of that name.
    fn scalars(&self, key: &str) -> impl Iterator<Item = &'t Scalar> + use<'t> {
        let items = match self.object.get(key) {
            Some(Item::List(items)) => &items[..],
            _ => &[],
        };
        items.iter().filter_map(|item| match item {
            Item::Scalar(scalar) => Some(scalar),
            Item::List(_) | Item::Object(_) => None,
        })
    }

    fn scalar(&self, key: &str) -> Option<&'t Scalar> {
        match self.object.get(key)? {
            Item::Scalar(scalar) => Some(scalar),
            Item::List(_) | Item::Object(_) => None,
        }
    }

    /// Whether the member is written; an empty list is as good as none.
    fn has(&self, key: &str) -> bool {
        match self.object.get(key) {
            Some(Item::List(items)) => !items.is_empty(),
            other => other.is_some(),
        }
    }
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(provenance: &'a Provenance, problems: &'a mut Vec<Problem>) -> Self {
        Decoder { provenance, problems }
    }

    /// The whole configuration.
    pub(crate) fn config(&mut self, tree: &Object) -> Config {
        self.top(&Scope::new(tree, String::new()))
    }

    fn origin(&self, scope: &Scope<'_>) -> Origin {
        self.provenance.sources().origin(scope.object.span, &scope.pointer)
    }

    fn error(&mut self, code: Code, span: Span, what: impl Into<String>, hint: Option<String>) {
        let place = self.provenance.sources().place(span);
        self.problems.push(Problem { hint, ..Problem::error(code, place, what) });
    }

    /// Reports a member that has no default, unless it may be among those that were reported and left out.
    fn missing(&mut self, scope: &Scope<'_>, what: &str, hint: &str) {
        if scope.object.is_faulty {
            return;
        }
        self.error(Code::Missing, scope.object.span, what, Some(hint.to_owned()));
    }

    /// A literal; the default when it is left out or wrong.
    fn literal_or<T: Literal>(&mut self, scope: &Scope<'_>, key: &str, default: T) -> T {
        self.literal(scope, key).unwrap_or(default)
    }

    /// A literal; `None` when it is left out or wrong.
    fn literal<T: Literal>(&mut self, scope: &Scope<'_>, key: &str) -> Option<T> {
        self.read(key, scope.scalar(key)?)
    }

    /// All literals of a list; the wrong ones are left out.
    fn literals<T: Literal>(&mut self, scope: &Scope<'_>, key: &str) -> Vec<T> {
        scope.scalars(key).filter_map(|scalar| self.read(key, scalar)).collect()
    }

    /// Reads one scalar as a literal.
    fn read<T: Literal>(&mut self, key: &str, scalar: &Scalar) -> Option<T> {
        let Raw::Text(text) = &scalar.value else {
            self.wrong(key, scalar, T::EXPECTED);
            return None;
        };
        let misread = match T::read(text) {
            Ok(value) => return Some(value),
            Err(misread) => misread,
        };
        let shown = shown(scalar);
        match misread {
            Misread::Form => self.wrong(key, scalar, T::EXPECTED),
            Misread::Because(why) => {
                let hint = format!("expected {}", T::EXPECTED);
                self.error(
                    Code::Value,
                    scalar.span,
                    format!("\"{key}\" cannot be {shown}: {why}"),
                    Some(hint),
                );
            }
            Misread::Later => {
                let what = format!("\"{key}\" cannot be {shown}: not supported by this version");
                self.error(Code::Unsupported, scalar.span, what, Some(format!("use {}", T::EXPECTED)));
            }
            Misread::Word(words) => {
                let near = nearest(text, words.iter().copied()).filter(|_| scalar.reference.is_none());
                let hint = near
                    .map_or(format!("expected {}", T::EXPECTED), |near| format!("did you mean \"{near}\"?"));
                self.error(Code::Value, scalar.span, format!("\"{key}\" cannot be {shown}"), Some(hint));
            }
        }
        None
    }

    /// A string, whatever it says.
    fn text(&mut self, scope: &Scope<'_>, key: &str) -> Option<String> {
        self.as_text(key, scope.scalar(key)?)
    }

    /// All strings of a list.
    fn texts(&mut self, scope: &Scope<'_>, key: &str) -> Vec<String> {
        scope.scalars(key).filter_map(|scalar| self.as_text(key, scalar)).collect()
    }

    fn as_text(&mut self, key: &str, scalar: &Scalar) -> Option<String> {
        match &scalar.value {
            Raw::Text(text) => Some(text.clone()),
            _ => {
                self.wrong(key, scalar, "a string");
                None
            }
        }
    }

    /// A boolean; false when it is left out or wrong.
    fn flag(&mut self, scope: &Scope<'_>, key: &str) -> bool {
        let Some(scalar) = scope.scalar(key) else { return false };
        match scalar.value {
            Raw::Bool(value) => value,
            _ => {
                self.wrong(key, scalar, "a boolean: #true or #false in KDL, true or false in JSON");
                false
            }
        }
    }

    /// A whole number in a range; the default when it is left out or wrong.
    fn number<T>(&mut self, scope: &Scope<'_>, key: &str, range: RangeInclusive<T>, default: T) -> T
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        scope.scalar(key).and_then(|scalar| self.as_number(key, scalar, range)).unwrap_or(default)
    }

    fn as_number<T>(&mut self, key: &str, scalar: &Scalar, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        let (first, last): (i128, i128) = ((*range.start()).into(), (*range.end()).into());
        let number = match &scalar.value {
            Raw::Integer(number) => *number,
            // From outside the text a number can only come as a string.
            Raw::Text(text) if scalar.reference.is_some() && text.parse::<i128>().is_ok() => {
                text.parse().unwrap_or_default()
            }
            _ => {
                self.wrong(key, scalar, &format!("a whole number from {first} to {last}"));
                return None;
            }
        };
        if !(first..=last).contains(&number) {
            let what = format!("\"{key}\" cannot be {}", shown(scalar));
            let hint = format!("expected a whole number from {first} to {last}");
            self.error(Code::Value, scalar.span, what, Some(hint));
            return None;
        }
        T::try_from(number).ok()
    }

    /// Reports a value of the wrong type or form.
    fn wrong(&mut self, key: &str, scalar: &Scalar, expected: &str) {
        if scalar.value != Raw::Unresolved {
            let what = format!("\"{key}\" must be {expected}, not {}", shown(scalar));
            self.error(Code::Value, scalar.span, what, None);
        }
    }
}

/// A value as a message may show it: what came from outside the text may be a secret.
fn shown(scalar: &Scalar) -> String {
    match (&scalar.reference, &scalar.value) {
        (Some(Reference::Environment(name)), _) => format!("the value of the environment variable {name}"),
        (Some(Reference::File(path)), _) => format!("the content of the file {path}"),
        (None, Raw::Text(text)) if text.chars().count() > SHOWN_CHARS_MAX => {
            let head: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            format!("{head:?}…")
        }
        (None, Raw::Text(text)) => format!("{text:?}"),
        (None, Raw::Integer(number)) => number.to_string(),
        (None, Raw::Fraction(number)) => number.to_string(),
        (None, Raw::Bool(value)) => value.to_string(),
        (None, Raw::Null | Raw::Unresolved) => "null".to_owned(),
    }
}

const SHOWN_CHARS_MAX: usize = 80;
