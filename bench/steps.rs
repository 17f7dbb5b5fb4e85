//! Times of the steps: `cargo bench -p bench`, or `cargo bench -p bench -- route/exact` for some of them.
//!
//! Short samples on purpose: all of them together take about two minutes. On a shared machine trust `bench/counts` for
//! small differences and this for orders of magnitude.
#![forbid(unsafe_code)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::{Duration, Instant};

fn steps(criterion: &mut Criterion) {
    for case in bench::cases() {
        let mut operation = None;
        criterion.bench_function(&case.to_string(), |bencher| {
            // Prepared only if the filter of the command line asks for it.
            let operation = operation.get_or_insert_with(|| case.prepare());
            bencher.iter_custom(|times| {
                let started = Instant::now();
                operation(u32::try_from(times).expect("a measurement takes a second and a half"));
                started.elapsed()
            });
        });
    }
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .without_plots();
    targets = steps
}
criterion_main!(all);
