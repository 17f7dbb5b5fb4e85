//! The `Date` field (RFC 9110 §6.6.1), formatted once per second.

use std::cell::{Cell, RefCell};
use std::time::{Duration, UNIX_EPOCH};

/// The formatted date of the current second.
#[derive(Default)]
pub(crate) struct DateCache {
    second: Cell<u64>,
    text: RefCell<String>,
}

impl DateCache {
    /// Calls `use_it` with the IMF-fixdate of `unix_nanos`.
    pub(crate) fn with<T>(&self, unix_nanos: u64, use_it: impl FnOnce(&str) -> T) -> T {
        let second = unix_nanos / 1_000_000_000;
        if second != self.second.replace(second) || self.text.borrow().is_empty() {
            *self.text.borrow_mut() = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
        use_it(&self.text.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_second() {
        let cache = DateCache::default();
        let nanos = 784_111_777_000_000_000;
        cache.with(nanos, |date| assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT"));
        cache.with(nanos + 1_999_999_999, |date| assert_eq!(date, "Sun, 06 Nov 1994 08:49:38 GMT"));
    }
}
