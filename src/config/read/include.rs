//! `include "sites/*.kdl"`: other files in place of the node.

use super::kdl::span;
use super::{FILE_BYTES_MAX, INCLUDE_DEPTH_MAX, Reader, reason};
use crate::document::{Literal, Object};
use crate::problem::{Code, Problem};
use crate::source::Span;
use kdl::KdlNode;
use std::path::{Path, PathBuf};

impl Reader<'_> {
    /// Reads the files that an `include` names, in the order of their names.
    pub(super) fn include(&mut self, node: &KdlNode, source: u32, tree: &mut Object) {
        let at = span!(source, node.name().span());
        if node.children().is_some_and(|children| !children.nodes().is_empty()) {
            self.error(Code::Unexpected, at, "\"include\" has no child nodes");
        }
        if node.entries().is_empty() {
            self.error(
                Code::Missing,
                at,
                "\"include\" needs the path of a file, or a pattern such as \"sites/*.kdl\"",
            );
        }
        for entry in node.entries() {
            let Some(scalar) = self.scalar(entry, source) else { continue };
            match (&scalar.value, entry.name()) {
                (Literal::Text(pattern), None) => {
                    for path in self.matching(pattern, scalar.span) {
                        self.included(&path, scalar.span, tree);
                    }
                }
                (Literal::Unresolved, None) => {}
                _ => self.error(Code::Value, scalar.span, "\"include\" takes paths as strings"),
            }
        }
    }

    fn included(&mut self, path: &Path, at: Span, tree: &mut Object) {
        if self.stack.len() > INCLUDE_DEPTH_MAX {
            return self.error(
                Code::Limit,
                at,
                format!("includes nest deeper than {INCLUDE_DEPTH_MAX} files"),
            );
        }
        if self.stack.iter().any(|open| open == path) {
            return self.error(Code::File, at, format!("{} includes itself", path.display()));
        }
        match self.environment.read(path, FILE_BYTES_MAX) {
            Ok(text) => self.text(text, path, super::Format::of(path), tree),
            Err(error) => {
                self.is_torn = true;
                self.error(Code::File, at, format!("{}: {}", path.display(), reason(&error)));
            }
        }
    }

    /// The files of a pattern; `*` and `?` stand in the last part of the path only.
    fn matching(&mut self, pattern: &str, at: Span) -> Vec<PathBuf> {
        let (directory, name) =
            pattern.rsplit_once('/').map_or(("", pattern), |(directory, name)| (directory, name));
        if directory.contains(['*', '?']) {
            self.error(Code::Value, at, "a pattern may have \"*\" and \"?\" in the file name only");
            return Vec::new();
        }
        if !name.contains(['*', '?']) {
            return vec![self.relative(pattern)];
        }
        // An absolute pattern keeps its slash: `rsplit_once` took the only one of "/*.kdl".
        let directory = if pattern.starts_with('/') && directory.is_empty() { "/" } else { directory };
        let directory = self.relative(directory);
        let shown = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
        let mut names = match self.environment.list(shown) {
            Ok(names) => names,
            Err(error) => {
                self.is_torn = true;
                self.error(Code::File, at, format!("{}: {}", shown.display(), reason(&error)));
                return Vec::new();
            }
        };
        names.retain(|candidate| !candidate.starts_with('.') && fits(name.as_bytes(), candidate.as_bytes()));
        names.sort();
        if names.is_empty() {
            let place = self.place(at);
            self.report(Problem::warning(Code::File, place, format!("no file fits \"{pattern}\"")));
        }
        names.into_iter().map(|name| directory.join(name)).collect()
    }
}

/// Whether a name fits a pattern of `*` and `?`; linear in the product of the lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => (p, n) = (p + 1, n + 1),
            // Give the last star one byte more and try again from behind it.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_fit_names_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.kdl", "a.kdl", true),
            ("*.kdl", ".kdl", true),
            ("*.kdl", "a.kdl.bak", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("", "", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
