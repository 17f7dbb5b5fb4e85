//! The steps of an exchange as small repeatable operations, for two measurements: time (`cargo bench -p bench`, by
//! criterion) and instructions (`bench/counts`, by valgrind's callgrind). Both take their operations from [`cases`].
//!
//! Not here: sockets and whole proxies. `bench/baseline` compares runtimes, `perf/` compares Ringway with others.
#![forbid(unsafe_code)]

mod access_log;
mod balance;
mod exchange;
mod heads;
mod routes;
mod sticky;

use std::fmt;

/// One operation, done as many times as asked; what it needs was made before.
pub type Operation = Box<dyn FnMut(u32)>;

/// The operation that does `once` each time.
fn repeated(mut once: impl FnMut() + 'static) -> Operation {
    Box::new(move |times| (0..times).for_each(|_| once()))
}

/// An operation by name.
pub struct Case {
    /// The step of the data path that it belongs to, or `exchange` for all of them together.
    pub step: &'static str,
    /// What is done, unique within the step.
    pub name: String,
    /// False for the few whose preparation takes minutes under valgrind.
    pub is_counted: bool,
    make: Box<dyn Fn() -> Operation>,
}

impl Case {
    fn new(step: &'static str, name: impl Into<String>, make: impl Fn() -> Operation + 'static) -> Case {
        Case { step, name: name.into(), is_counted: true, make: Box::new(make) }
    }

    fn not_counted(self) -> Case {
        Case { is_counted: false, ..self }
    }

    /// Prepares the operation: parses, builds tables, allocates.
    pub fn prepare(&self) -> Operation {
        (self.make)()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.step, self.name)
    }
}

/// Every operation that is measured, in the order of the steps.
pub fn cases() -> Vec<Case> {
    let steps = [
        heads::parsing(),
        routes::finding(),
        balance::picking(),
        balance::building(),
        sticky::sessions(),
        heads::serialising(),
        access_log::logging(),
        exchange::proxying(),
    ];
    steps.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_fit_into_a_table_of_words() {
        let names: Vec<String> = cases().iter().map(Case::to_string).collect();
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|name| !name.contains(char::is_whitespace)));
    }

    /// The operations assert what they find, so that nothing is measured that does not happen.
    #[test]
    fn every_small_operation_can_be_repeated() {
        for case in cases().iter().filter(|case| !case.name.contains("10000")) {
            case.prepare()(200);
        }
    }
}
