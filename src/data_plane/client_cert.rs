//! The client's certificate as a request carries it to the endpoint (RFC 9440).

use wire::secure::Client;

/// A chain that makes the fields longer than that is left out: the head of a request has its bound at the endpoint, too.
const CHAIN_BYTES_MAX: usize = 12 << 10;

/// Both fields with their line ends: `Client-Cert`, and `Client-Cert-Chain` if the client has shown more than its own.
pub(crate) fn fields(client: &Client) -> Box<[u8]> {
    let mut out = Vec::new();
    let Some((leaf, chain)) = client.chain.split_first() else { return Box::default() };
    out.extend_from_slice(b"Client-Cert: ");
    byte_sequence(leaf, &mut out);
    out.extend_from_slice(b"\r\n");
    let length: usize = chain.iter().map(|certificate| certificate.len().div_ceil(3) * 4 + 4).sum();
    if !chain.is_empty() && length <= CHAIN_BYTES_MAX {
        out.extend_from_slice(b"Client-Cert-Chain: ");
        for (place, certificate) in chain.iter().enumerate() {
            if place > 0 {
                out.extend_from_slice(b", ");
            }
            byte_sequence(certificate, &mut out);
        }
        out.extend_from_slice(b"\r\n");
    }
    out.into()
}

/// Base64 between colons (RFC 8941 §3.3.5).
fn byte_sequence(bytes: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b':');
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= group.len() { letter } else { b'=' });
        }
    }
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(chain: &[&[u8]]) -> String {
        let chain = chain.iter().map(|bytes| Box::from(*bytes)).collect();
        String::from_utf8(fields(&Client { chain, ..Client::default() }).into_vec()).expect("ASCII")
    }

    #[test]
    fn certificates_are_byte_sequences() {
        assert_eq!(text(&[b"f"]), "Client-Cert: :Zg==:\r\n");
        assert_eq!(
            text(&[b"fo", b"foo", b"\xfb\xff"]),
            "Client-Cert: :Zm8=:\r\nClient-Cert-Chain: :Zm9v:, :+/8=:\r\n"
        );
        assert_eq!(text(&[]), "");
    }

    #[test]
    fn a_chain_that_is_too_long_is_left_out() {
        assert_eq!(text(&[b"foo", &[0; 20_000]]), "Client-Cert: :Zm9v:\r\n");
    }
}
