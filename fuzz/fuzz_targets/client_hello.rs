#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::client_hello::properties::client_hello(data));
