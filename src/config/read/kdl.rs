//! KDL 2 to the tree.

use super::Reader;
use crate::document::{Item, Literal, Member, Object, Reference, Scalar};
use crate::grammar::{Child, Kind, Node, ROOT};
use crate::problem::{Code, Place, Problem};
use crate::source::Span;
use kdl::{KdlDocument, KdlEntry, KdlError, KdlNode, KdlValue};
use std::sync::Arc;

/// The parser's span as ours. A macro because the parser does not export the type of its spans.
macro_rules! span {
    ($source:expr, $of:expr) => {{
        let of = $of;
        $crate::source::Span::new($source, of.offset(), of.len())
    }};
}
pub(super) use span;

impl Reader<'_> {
    pub(super) fn kdl(&mut self, source: u32, tree: &mut Object) {
        let document = match parsed(self.sources.text(source)) {
            Ok(document) => document,
            Err(error) => {
                self.is_torn = true;
                if error.diagnostics.is_empty() {
                    self.error(Code::Syntax, Span::new(source, 0, 0), "not KDL");
                }
                for diagnostic in error.diagnostics {
                    let place = self.place(span!(source, diagnostic.span));
                    let what = diagnostic.message.unwrap_or_else(|| "not KDL".into());
                    let hint = diagnostic.help.or_else(|| keyword(place.as_ref()));
                    let problem = Problem::error(Code::Syntax, place, plain(&what));
                    self.report(Problem { hint: hint.map(|hint| plain(&hint)), ..problem });
                }
                return;
            }
        };
        for node in document.nodes() {
            if node.name().value() == "include" {
                self.include(node, source, tree);
            } else {
                self.child(node, source, &ROOT, tree);
            }
        }
    }

    /// Reads one child node into its parent.
    fn child(&mut self, node: &KdlNode, source: u32, parent: &'static Node, into: &mut Object) {
        let word = node.name().value();
        let at = span!(source, node.name().span());
        if let Some(ty) = node.ty() {
            let what = format!("a type annotation \"({})\" has no meaning on a node", ty.value());
            self.error(Code::Unexpected, span!(source, ty.span()), what);
        }
        let Some(child) = parent.child(word) else {
            into.is_faulty = true;
            return self.unknown_child(word, at, parent);
        };
        let repeats = matches!(child.kind, Kind::Many(_) | Kind::Values);
        if !repeats && into.get(child.member).is_some() {
            return self.error(Code::Duplicate, at, format!("\"{word}\" stands here twice"));
        }
        match child.kind {
            Kind::One(grammar) => {
                let object = self.object(node, source, grammar);
                into.members.push(Member { key: child.member, item: Item::Object(object) });
            }
            Kind::Many(grammar) => {
                let object = self.object(node, source, grammar);
                if let Some(list) = into.list(child.member) {
                    list.push(Item::Object(object));
                }
            }
            Kind::Value | Kind::Values | Kind::Flag => self.scalars(node, source, child, into),
        }
    }

    fn unknown_child(&mut self, word: &str, at: Span, parent: &'static Node) {
        if parent.prop(word).is_some() {
            let hint = format!("write {word}=… on the line of the node itself");
            return self.hinted(
                Code::Unexpected,
                at,
                format!("\"{word}\" is a property, not a child node"),
                Some(hint),
            );
        }
        let candidates: Vec<&'static str> = parent.children.iter().map(|child| child.word).collect();
        let inside = if std::ptr::eq(parent, &ROOT) { "node" } else { "child node" };
        self.unknown(inside, word, at, parent, &candidates);
    }

    /// A child that is a plain value, a list of values or a flag.
    fn scalars(&mut self, node: &KdlNode, source: u32, child: &'static Child, into: &mut Object) {
        let at = span!(source, node.name().span());
        let mut values = Vec::new();
        for entry in node.entries() {
            if let Some(name) = entry.name() {
                self.unknown_property(name.value(), span!(source, name.span()), child);
            } else if let Some(scalar) = self.scalar(entry, source) {
                values.push(scalar);
            }
        }
        if let Some(first) = node.children().and_then(|children| children.nodes().first()) {
            let what = format!("\"{}\" has no child nodes", child.word);
            self.error(Code::Unexpected, span!(source, first.name().span()), what);
        }
        let allowed = if matches!(child.kind, Kind::Values) { usize::MAX } else { 1 };
        if let Some(extra) = values.get(allowed) {
            let what = format!("\"{}\" takes one value", child.word);
            self.error(Code::Unexpected, extra.span, what);
        }
        match child.kind {
            Kind::Values => {
                if values.is_empty() {
                    into.is_faulty = true;
                    self.error(Code::Missing, at, format!("\"{}\" needs at least one value", child.word));
                }
                if let Some(list) = into.list(child.member) {
                    list.extend(values.into_iter().map(Item::Scalar));
                }
            }
            Kind::Flag => {
                let yes = Scalar { span: at, value: Literal::Bool(true), reference: None };
                let item = Item::Scalar(values.into_iter().next().unwrap_or(yes));
                into.members.push(Member { key: child.member, item });
            }
            Kind::Value | Kind::One(_) | Kind::Many(_) => match values.into_iter().next() {
                Some(value) => into.members.push(Member { key: child.member, item: Item::Scalar(value) }),
                None => {
                    into.is_faulty = true;
                    self.error(Code::Missing, at, format!("\"{}\" needs a value", child.word));
                }
            },
        }
    }

    fn unknown_property(&mut self, name: &str, at: Span, child: &'static Child) {
        let what = format!("\"{}\" has no property \"{name}\"", child.word);
        self.error(Code::Unknown, at, what);
    }

    /// A node that becomes an object.
    fn object(&mut self, node: &KdlNode, source: u32, grammar: &'static Node) -> Object {
        let word = node.name().value();
        let mut object = Object { span: span!(source, node.name().span()), ..Object::default() };
        let mut args = grammar.args.iter();
        for entry in node.entries() {
            let Some(name) = entry.name() else {
                let Some(scalar) = self.scalar(entry, source) else {
                    object.is_faulty = true;
                    continue;
                };
                self.argument(scalar, word, grammar, &mut args, &mut object);
                continue;
            };
            let at = span!(source, name.span());
            match grammar.prop(name.value()) {
                Some(key) if object.get(key).is_some() => {
                    self.error(Code::Duplicate, at, format!("\"{key}\" stands here twice"));
                }
                Some(key) => match self.scalar(entry, source) {
                    Some(scalar) => object.members.push(Member { key, item: Item::Scalar(scalar) }),
                    None => object.is_faulty = true,
                },
                None => {
                    object.is_faulty = true;
                    self.misplaced_property(name.value(), at, grammar);
                }
            }
        }
        for child in node.children().map(KdlDocument::nodes).unwrap_or_default() {
            self.child(child, source, grammar, &mut object);
        }
        object
    }

    fn argument(
        &mut self,
        scalar: Scalar,
        word: &str,
        grammar: &'static Node,
        args: &mut std::slice::Iter<'static, &'static str>,
        object: &mut Object,
    ) {
        if let Some(rest) = grammar.rest {
            if let Some(list) = object.list(rest) {
                list.push(Item::Scalar(scalar));
            }
        } else if let Some(key) = args.next() {
            object.members.push(Member { key, item: Item::Scalar(scalar) });
        } else {
            let what = match grammar.args {
                [] => format!("\"{word}\" takes no argument"),
                [only] => format!("\"{word}\" takes one argument, its {only}"),
                many => format!("\"{word}\" takes at most {} arguments: {}", many.len(), many.join(", ")),
            };
            self.error(Code::Unexpected, scalar.span, what);
        }
    }

    fn misplaced_property(&mut self, name: &str, at: Span, grammar: &'static Node) {
        if grammar.child(name).is_some() {
            let hint = format!("write it inside the braces: {{ {name} … }}");
            return self.hinted(
                Code::Unexpected,
                at,
                format!("\"{name}\" is a child node, not a property"),
                Some(hint),
            );
        }
        if grammar.arg(name).is_some() {
            let hint = format!("write its value alone, without {name}=");
            return self.hinted(
                Code::Unexpected,
                at,
                format!("\"{name}\" is an argument, not a property"),
                Some(hint),
            );
        }
        self.unknown("property", name, at, grammar, grammar.props);
    }

    /// The value of an entry; `None` when it was reported as unusable.
    pub(super) fn scalar(&mut self, entry: &KdlEntry, source: u32) -> Option<Scalar> {
        let mut at = self.trimmed(span!(source, entry.span()));
        if let Some(name) = entry.name() {
            at = self.behind_equals(at, span!(source, name.span()));
        }
        if let Some(ty) = entry.ty() {
            let (KdlValue::String(text), kind @ ("env" | "file")) = (entry.value(), ty.value()) else {
                let what = format!("unknown type annotation \"({})\"", ty.value());
                let hint = "a string may be (env)\"NAME\" or (file)\"path\"".to_owned();
                self.hinted(Code::Unknown, at, what, Some(hint));
                return None;
            };
            let reference = match kind {
                "env" => Reference::Environment(text.clone()),
                _ => Reference::File(text.clone()),
            };
            return Some(self.resolve(reference, at));
        }
        let value = match entry.value() {
            KdlValue::String(text) => Literal::Text(text.clone()),
            KdlValue::Integer(number) => Literal::Integer(*number),
            KdlValue::Float(number) => Literal::Fraction(*number),
            KdlValue::Bool(value) => Literal::Bool(*value),
            KdlValue::Null => Literal::Null,
        };
        Some(Scalar { span: at, value, reference: None })
    }

    /// The part of a property behind its name and `=`.
    fn behind_equals(&self, property: Span, name: Span) -> Span {
        let rest = self.sources.text(property.source).get(name.end as usize..property.end as usize);
        match rest.and_then(|rest| rest.find('=')).and_then(|at| u32::try_from(at).ok()) {
            Some(at) => self.trimmed(Span { start: name.end + at + 1, ..property }),
            None => property,
        }
    }

    /// The span without white space at its ends.
    fn trimmed(&self, span: Span) -> Span {
        let Some(text) = self.sources.text(span.source).get(span.start as usize..span.end as usize) else {
            return span;
        };
        let front = u32::try_from(text.len() - text.trim_start().len()).unwrap_or(0);
        let back = u32::try_from(text.len() - text.trim_end().len()).unwrap_or(0);
        Span { start: span.start + front, end: span.end.saturating_sub(back).max(span.start + front), ..span }
    }
}

/// Parses on a stack of its own: the parser recurses, and what `guard` lets through must not meet the end of a small one.
pub(crate) fn parsed(text: &str) -> Result<KdlDocument, KdlError> {
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().stack_size(STACK_BYTES);
        match parser.spawn_scoped(scope, || KdlDocument::parse(text)).map(std::thread::ScopedJoinHandle::join)
        {
            Ok(Ok(result)) => result,
            // A panic in the parser is its answer to the text.
            Ok(Err(_)) => Err(KdlError { input: Arc::default(), diagnostics: Vec::new() }),
            // No thread to be had: a text that is fine can still be read here.
            Err(_) => KdlDocument::parse(text),
        }
    })
}

/// Reserved, not used, until a text needs it.
const STACK_BYTES: usize = 64 << 20;

/// What to write instead of a keyword without its `#`, the most common slip of those who know KDL 1 or JSON.
fn keyword(place: Option<&Place>) -> Option<String> {
    let place = place?;
    let at: String = place.text.chars().skip(place.column as usize - 1).take(place.length as usize).collect();
    ["true", "false", "null"].contains(&at.as_str()).then(|| format!("write #{at}"))
}

/// A message of the parser in our form: lower case, no full stop.
pub(super) fn plain(message: &str) -> String {
    let message = message.trim_end_matches(['.', '!']);
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(message.chars().skip(1)).collect()
        }
        _ => message.to_owned(),
    }
}
