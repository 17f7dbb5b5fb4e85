//! Thread-per-core I/O.
