//! CRC32C (RFC 3309 appendix B, Castagnoli's polynomial), over a few hundred bytes once per connection: a table will do.

/// The state before the first byte.
pub(super) const BEGIN: u32 = !0;

/// Reversed bits of 0x1EDC6F41.
const POLYNOMIAL: u32 = 0x82F6_3B78;

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256_usize {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The state after `bytes`.
pub(super) fn update(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, &byte| crc >> 8 ^ TABLE[((crc ^ u32::from(byte)) & 0xff) as usize])
}

/// The checksum.
pub(super) fn finish(crc: u32) -> u32 {
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720 appendix B.4, and the check value of the catalogue of CRC algorithms.
    #[test]
    fn known_values() {
        let ascending: Vec<u8> = (0..32).collect();
        let known: [(&[u8], u32); 4] = [
            (&[0; 32], 0x8A91_36AA),
            (&[0xff; 32], 0x62A8_AB43),
            (&ascending, 0x46DD_794E),
            (b"123456789", 0xE306_9283),
        ];
        for (bytes, crc) in known {
            assert_eq!(finish(update(BEGIN, bytes)), crc, "{bytes:?}");
        }
    }
}
