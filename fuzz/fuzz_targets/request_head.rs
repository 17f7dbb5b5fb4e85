#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::h1::properties::request_head(data));
