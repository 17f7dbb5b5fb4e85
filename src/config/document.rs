//! The one tree that both encodings are read into.
//!
//! It has the shape of the JSON encoding: objects with members, lists and scalars, each with its span. The readers have
//! checked it against `grammar` already: every member is a known word and has the shape that the grammar gives it.
//! What values mean is the business of `decode`.

use crate::source::Span;

/// A value of the tree.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Scalar(Scalar),
    List(Vec<Item>),
    Object(Object),
}

/// Members in the order of the text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object {
    /// The word that opens the object.
    pub(crate) span: Span,
    pub(crate) members: Vec<Member>,
    /// Something in it was reported and left out: what is missing now says nothing.
    pub(crate) is_faulty: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// A word of the grammar, in its JSON form.
    pub(crate) key: &'static str,
    pub(crate) item: Item,
}

#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) span: Span,
    pub(crate) value: Literal,
    /// Where the string came from, if it is not in the text itself. Such values are never shown.
    pub(crate) reference: Option<Reference>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Text(String),
    Integer(i128),
    Fraction(f64),
    Bool(bool),
    Null,
    /// A reference that could not be resolved and was reported: stands for any value.
    Unresolved,
}

/// Where a string came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Environment(String),
    File(String),
}

impl Item {
    pub(crate) fn span(&self) -> Span {
        match self {
            Item::Scalar(scalar) => scalar.span,
            Item::List(items) => items.first().map(Item::span).unwrap_or_default(),
            Item::Object(object) => object.span,
        }
    }
}

impl Scalar {
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.value, Literal::Text(_))
    }
}

impl Object {
    pub(crate) fn get(&self, key: &str) -> Option<&Item> {
        self.members.iter().find(|member| member.key == key).map(|member| &member.item)
    }

    /// The list of that name, made when it is not there yet.
    pub(crate) fn list(&mut self, key: &'static str) -> Option<&mut Vec<Item>> {
        let at = match self.members.iter().position(|member| member.key == key) {
            Some(at) => at,
            None => {
                self.members.push(Member { key, item: Item::List(Vec::new()) });
                self.members.len() - 1
            }
        };
        match &mut self.members[at].item {
            Item::List(items) => Some(items),
            Item::Scalar(_) | Item::Object(_) => None,
        }
    }
}
