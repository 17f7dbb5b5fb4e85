//! Lists in the order of use, through places of an array.

/// The neighbours of one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    before: u32,
    after: u32,
}

impl Link {
    /// In no list.
    pub(super) const NONE: Link = Link { before: NOWHERE, after: NOWHERE };
}

/// A list: first is what was not used for longest.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
}

const NOWHERE: u32 = u32::MAX;

impl Default for List {
    fn default() -> Self {
        List { first: NOWHERE, last: NOWHERE }
    }
}

impl List {
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NOWHERE).then_some(self.first)
    }

    /// Adds a place that is in no list at the end.
    pub(super) fn push(&mut self, links: &mut [Link], at: u32) {
        links[at as usize] = Link { before: self.last, after: NOWHERE };
        match self.last {
            NOWHERE => self.first = at,
            last => links[last as usize].after = at,
        }
        self.last = at;
    }

    pub(super) fn remove(&mut self, links: &mut [Link], at: u32) {
        let Link { before, after } = links[at as usize];
        match before {
            NOWHERE => self.first = after,
            before => links[before as usize].after = after,
        }
        match after {
            NOWHERE => self.last = before,
            after => links[after as usize].before = before,
        }
        links[at as usize] = Link::NONE;
    }

    /// Moves a place of the list to its end.
    pub(super) fn renew(&mut self, links: &mut [Link], at: u32) {
        if self.last != at {
            self.remove(links, at);
            self.push(links, at);
        }
    }
}
