//! Which value stands where in the text, and which strings came from outside it.

use crate::document::{Item, Object, Reference};
use crate::model::Origin;
use crate::problem::Place;
use crate::source::{Sources, Span};
use std::collections::HashMap;
use std::sync::Arc;

/// Kept beside the model, by JSON pointer, so that the model itself stays plain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Provenance {
    sources: Arc<Sources>,
    spans: Arc<HashMap<String, Span>>,
    references: Arc<HashMap<String, Reference>>,
}

/// Where things stand is compared by the origins of the model.
impl PartialEq for Provenance {
    fn eq(&self, other: &Self) -> bool {
        self.references == other.references
    }
}

impl Provenance {
    /// Records every value of the tree.
    pub(crate) fn of(tree: &Object, sources: Sources) -> Provenance {
        let mut collected = Collected::default();
        collected.object(tree, "");
        Provenance {
            sources: Arc::new(sources),
            spans: Arc::new(collected.spans),
            references: Arc::new(collected.references),
        }
    }

    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The place of a member of an object, or of the object itself when the member is not written.
    pub(crate) fn place(&self, origin: &Origin, member: &str) -> Option<Place> {
        let own = || self.spans.get(&*origin.pointer);
        let span = self.spans.get(&format!("{}{member}", origin.pointer)).or_else(own)?;
        self.sources.place(*span)
    }

    /// Where the value of that pointer is written; `None` for a default.
    pub(crate) fn written(&self, pointer: &str) -> Option<Origin> {
        self.spans.get(pointer).map(|span| self.sources.origin(*span, pointer))
    }

    /// Whether the value of that pointer stands in the text.
    pub(crate) fn is_written(&self, pointer: &str) -> bool {
        self.spans.contains_key(pointer)
    }

    /// What the string of that pointer refers to, if it is not in the text.
    pub(crate) fn reference(&self, pointer: &str) -> Option<&Reference> {
        self.references.get(pointer)
    }

    /// Whether any string came from outside the text.
    pub(crate) fn has_references(&self) -> bool {
        !self.references.is_empty()
    }
}

#[derive(Default)]
struct Collected {
    spans: HashMap<String, Span>,
    references: HashMap<String, Reference>,
}

impl Collected {
    fn object(&mut self, object: &Object, pointer: &str) {
        self.spans.insert(pointer.to_owned(), object.span);
        for member in &object.members {
            self.item(&member.item, &format!("{pointer}/{}", member.key));
        }
    }

    fn item(&mut self, item: &Item, pointer: &str) {
        match item {
            Item::Object(object) => self.object(object, pointer),
            Item::List(items) => {
                self.spans.insert(pointer.to_owned(), item.span());
                for (index, item) in items.iter().enumerate() {
                    self.item(item, &format!("{pointer}/{index}"));
                }
            }
            Item::Scalar(scalar) => {
                self.spans.insert(pointer.to_owned(), scalar.span);
                if let Some(reference) = &scalar.reference {
                    self.references.insert(pointer.to_owned(), reference.clone());
                }
            }
        }
    }
}
