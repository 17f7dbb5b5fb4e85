//! Content codings, and which of them a client takes (RFC 9110 §8.4.1, §12.5.3).

/// A content coding that Ringway can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// All of them.
    pub const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    /// As in `Content-Encoding`, `Accept-Encoding`, the configuration and the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }

    /// The coding of that name, ignoring case. `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    pub fn named(name: &[u8]) -> Option<Coding> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Coding::Gzip);
        }
        Coding::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }
}

/// The one of `offered` that the client likes best; the first among equals. `None`: it likes the body better as it is, or
/// takes none of them.
///
/// `fields` are the values of all its `Accept-Encoding` fields. Without one anything would be allowed (§12.5.3), but who
/// says nothing gets nothing that has to be decoded. Members that are no member, or whose weight is none, count for nothing.
pub fn preferred<'a>(fields: impl Iterator<Item = &'a [u8]>, offered: &[Coding]) -> Option<Coding> {
    let mut said = Weights::default();
    fields.for_each(|value| said.read(value));
    // What nobody names is taken as well, but only by those who get nothing they like better.
    let identity = said.identity.or(said.any).unwrap_or(0);
    let mut best = None;
    let mut weight_of_best = 0;
    for &coding in offered {
        let weight = said.codings[coding as usize].or(said.any).unwrap_or(0);
        if weight > weight_of_best {
            (best, weight_of_best) = (Some(coding), weight);
        }
    }
    best.filter(|_| weight_of_best >= identity)
}

/// Weights in thousandths.
#[derive(Default)]
struct Weights {
    codings: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    /// `*`
    any: Option<u16>,
}

impl Weights {
    fn read(&mut self, value: &[u8]) {
        for member in value.split(|&byte| byte == b',') {
            let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let weight = match (parts.next(), parts.next()) {
                (None, _) => Some(1000),
                (Some(parameter), None) => weight(parameter),
                _ => None,
            };
            let Some(weight) = weight else { continue };
            let place = match Coding::named(name) {
                Some(coding) => &mut self.codings[coding as usize],
                None if name == b"*" => &mut self.any,
                None if name.eq_ignore_ascii_case(b"identity") => &mut self.identity,
                None => continue,
            };
            // Said twice, the smaller counts: nobody gets what they refused.
            *place = Some(place.map_or(weight, |said| said.min(weight)));
        }
    }
}

/// `q=` and at most three decimals (RFC 9110 §12.4.2), in thousandths.
fn weight(parameter: &[u8]) -> Option<u16> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (whole, decimals) = match value.split_first()? {
        (b'0', rest) => (0, rest),
        (b'1', rest) => (1000, rest),
        _ => return None,
    };
    let digits = match decimals {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut thousandths = 0;
    for place in 0..3 {
        let digit = digits.get(place).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths = thousandths * 10 + u16::from(digit - b'0');
    }
    Some(whole + thousandths).filter(|&weight| weight <= 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    fn chosen(fields: &[&str]) -> &'static str {
        preferred(fields.iter().map(|value| value.as_bytes()), &OURS).map_or("-", Coding::as_str)
    }

    #[test]
    fn x3_the_client_weighs_and_our_order_decides_among_equals() {
        for (fields, expected) in [
            (&["gzip, deflate, br, zstd"][..], "zstd"),
            (&["gzip, br"], "br"),
            (&["br;q=0.9, gzip"], "gzip"),
            (&["br;q=0.9", "gzip;q=0.95"], "gzip"),
            (&["GZIP"], "gzip"),
            (&["x-gzip"], "gzip"),
            (&["zstd;q=0, br;q=0.001"], "br"),
            (&["gzip ; q=1.000 ,br;Q=0.999"], "gzip"),
            (&["*"], "zstd"),
            (&["zstd;q=0, *;q=0.5"], "br"),
            (&["*;q=0.1, gzip;q=0.5"], "gzip"),
            (&["identity;q=0, gzip;q=0.1"], "gzip"),
            (&["identity;q=0.5, gzip;q=0.5"], "gzip"),
            (&["*;q=0, gzip"], "gzip"),
            (&[",, ,gzip,"], "gzip"),
        ] {
            assert_eq!(chosen(fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn x3_the_body_stays_as_it_is_unless_the_client_asks_for_more() {
        for fields in [
            &[][..],
            &[""],
            &["identity"],
            &["deflate"],
            &["gzip;q=0"],
            &["gzip;q=0.0, br;q=0.00, zstd;q=0.000"],
            &["*;q=0"],
            &["gzip;q=0.5, identity"],
            &["gzip;q=0.5, identity;q=0.501"],
            &["gzip;q=0, gzip;q=1"],
            &["identity;q=0"],
        ] {
            assert_eq!(chosen(fields), "-", "{fields:?}");
        }
    }

    #[test]
    fn what_is_no_member_counts_for_nothing() {
        for hostile in [
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.0001",
            "gzip;q=",
            "gzip;q=-1",
            "gzip;q=1;q=1",
            "gzip;level=9",
            "gz ip",
            "gzip;q=1e0",
            "gzip;q=.5",
            "gzip;q=0.5x",
            ";",
            ";q=1",
            "q=1",
            "\u{ff}gzip",
        ] {
            assert_eq!(chosen(&[hostile]), "-", "{hostile}");
        }
    }
}
