#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::proxy_protocol::properties::header(data));
