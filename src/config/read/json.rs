//! JSON to the tree.

use super::Reader;
use crate::document::{Item, Literal, Member, Object, Reference, Scalar};
use crate::grammar::{Kind, Node, ROOT};
use crate::problem::Code;
use crate::source::Span;
use jsonc_parser::ast::{ObjectProp, Value};
use jsonc_parser::common::{Range, Ranged};
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};

/// RFC 8259 and nothing beyond it: what other tools refuse is refused here too.
const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

fn span(source: u32, range: Range) -> Span {
    Span::new(source, range.start, range.end.saturating_sub(range.start))
}

impl Reader<'_> {
    pub(super) fn json(&mut self, source: u32, tree: &mut Object) {
        let text = self.sources.text(source).to_owned();
        let collect = CollectOptions { comments: CommentCollectionStrategy::Off, tokens: false };
        let value = match parse_to_ast(&text, &collect, &STRICT) {
            Ok(result) => result.value,
            Err(error) => {
                self.is_torn = true;
                let what = error.kind().to_string();
                return self.error(Code::Syntax, span(source, error.range()), super::kdl::plain(&what));
            }
        };
        match value {
            Some(Value::Object(object)) => self.members(&object, source, &ROOT, tree),
            Some(other) => {
                self.error(Code::Value, span(source, other.range()), "a configuration is a JSON object")
            }
            None => self.error(
                Code::Syntax,
                Span::new(source, 0, 0),
                "the file is empty; a configuration is a JSON object",
            ),
        }
    }

    fn members(
        &mut self,
        object: &jsonc_parser::ast::Object<'_>,
        source: u32,
        grammar: &'static Node,
        into: &mut Object,
    ) {
        for property in &object.properties {
            let name = property.name.as_str();
            let at = span(source, property.name.range());
            if name == "$schema" && std::ptr::eq(grammar, &ROOT) {
                continue;
            }
            let scalar = grammar.arg(name).or_else(|| grammar.prop(name));
            let key = scalar
                .or(grammar.member(name).map(|child| child.member))
                .or(grammar.rest.filter(|r| *r == name));
            let Some(key) = key else {
                into.is_faulty = true;
                self.unknown_member(name, at, grammar);
                continue;
            };
            if into.get(key).is_some() {
                self.error(Code::Duplicate, at, format!("\"{key}\" stands here twice"));
                continue;
            }
            let item = match grammar.member(name) {
                Some(child) if scalar.is_none() => self.member(property, source, child.kind),
                _ if scalar.is_some() => self.json_scalar(name, &property.value, source).map(Item::Scalar),
                _ => self.scalar_list(name, &property.value, source),
            };
            into.is_faulty |= item.is_none();
            into.members.extend(item.map(|item| Member { key, item }));
        }
    }

    fn unknown_member(&mut self, name: &str, at: Span, grammar: &'static Node) {
        let mut known: Vec<&'static str> = grammar.args.iter().chain(grammar.props).copied().collect();
        known.extend(grammar.rest);
        known.extend(grammar.children.iter().map(|child| child.member));
        self.unknown("member", name, at, grammar, &known);
    }

    fn member(&mut self, property: &ObjectProp<'_>, source: u32, kind: Kind) -> Option<Item> {
        let name = property.name.as_str();
        match kind {
            Kind::Value | Kind::Flag => self.json_scalar(name, &property.value, source).map(Item::Scalar),
            Kind::Values => self.scalar_list(name, &property.value, source),
            Kind::One(grammar) => match &property.value {
                Value::Object(object) => {
                    let at = span(source, property.name.range());
                    let mut into = Object { span: at, ..Object::default() };
                    self.members(object, source, grammar, &mut into);
                    Some(Item::Object(into))
                }
                other => self.wrong(other, source, name, "an object"),
            },
            Kind::Many(grammar) => match &property.value {
                Value::Array(array) => {
                    let mut items = Vec::with_capacity(array.elements.len());
                    for element in &array.elements {
                        let Value::Object(object) = element else {
                            self.wrong(element, source, name, "a list of objects");
                            continue;
                        };
                        let opening = Span::new(source, object.range.start, 1);
                        let mut into = Object { span: opening, ..Object::default() };
                        self.members(object, source, grammar, &mut into);
                        items.push(Item::Object(into));
                    }
                    Some(Item::List(items))
                }
                other => self.wrong(other, source, name, "a list of objects"),
            },
        }
    }

    fn scalar_list(&mut self, name: &str, value: &Value<'_>, source: u32) -> Option<Item> {
        let Value::Array(array) = value else { return self.wrong(value, source, name, "a list") };
        let items = array.elements.iter().filter_map(|element| self.json_scalar(name, element, source));
        Some(Item::List(items.map(Item::Scalar).collect()))
    }

    fn wrong(&mut self, value: &Value<'_>, source: u32, name: &str, expected: &str) -> Option<Item> {
        self.error(Code::Value, span(source, value.range()), format!("\"{name}\" must be {expected}"));
        None
    }

    fn json_scalar(&mut self, name: &str, value: &Value<'_>, source: u32) -> Option<Scalar> {
        let at = span(source, value.range());
        let literal = match value {
            Value::StringLit(text) => Literal::Text(text.value.clone().into_owned()),
            Value::BooleanLit(value) => Literal::Bool(value.value),
            Value::NullKeyword(_) => Literal::Null,
            Value::NumberLit(number) => match number.value.parse::<i128>() {
                Ok(number) => Literal::Integer(number),
                Err(_) => Literal::Fraction(number.value.parse().unwrap_or(f64::NAN)),
            },
            Value::Object(object) => return self.json_reference(name, object, source),
            Value::Array(_) => {
                self.error(Code::Value, at, format!("\"{name}\" must be a single value, not a list"));
                return None;
            }
        };
        Some(Scalar { span: at, value: literal, reference: None })
    }

    /// `{"env": "NAME"}` or `{"file": "path"}` where a string stands.
    fn json_reference(
        &mut self,
        name: &str,
        object: &jsonc_parser::ast::Object<'_>,
        source: u32,
    ) -> Option<Scalar> {
        let at = span(source, object.range);
        if let [property] = &object.properties[..]
            && let Value::StringLit(text) = &property.value
        {
            let text = text.value.clone().into_owned();
            match property.name.as_str() {
                "env" => return Some(self.resolve(Reference::Environment(text), at)),
                "file" => return Some(self.resolve(Reference::File(text), at)),
                _ => {}
            }
        }
        let hint = "a string may be {\"env\": \"NAME\"} or {\"file\": \"path\"}".to_owned();
        self.hinted(Code::Value, at, format!("\"{name}\" must be a single value, not an object"), Some(hint));
        None
    }
}
