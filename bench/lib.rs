//! In-process micro-benchmarks.
