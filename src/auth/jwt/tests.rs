//! Tokens as others make them and as attackers do.

use super::*;
use crate::base64::encode;
use crate::jwk::KeySet;
use crate::jwk::KeyTrouble;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair,
};
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"a secret of at least sixty-four bytes, for each of the three symmetric algorithms";

fn issuer(algorithms: &[Algorithm], keys: KeySet) -> Issuer {
    Issuer {
        issuer: Some("https://id.example".into()),
        audiences: vec!["shop".into(), "stock".into()],
        algorithms: algorithms.to_vec(),
        leeway_s: 30,
        lifetime_max_s: None,
        needs_expiry: true,
        typ: None,
        keys: crate::ring::KeyRing::fixed(keys),
    }
}

fn by_secret() -> Issuer {
    let algorithms = [Algorithm::Hs256];
    issuer(&algorithms, KeySet::of_secrets(&[SECRET], &algorithms).unwrap())
}

fn claims(rest: &str) -> String {
    format!("{{\"iss\":\"https://id.example\",\"aud\":\"shop\",\"exp\":{}{rest}}}", NOW + 60)
}

fn part(text: &str) -> String {
    encode(Alphabet::Url, text.as_bytes())
}

fn signed(header: &str, payload: &str) -> String {
    signed_with(SECRET, header, payload)
}

fn signed_with(secret: &[u8], header: &str, payload: &str) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", encode(Alphabet::Url, tag.as_ref()))
}

const HS256: &str = r#"{"alg":"HS256"}"#;

fn verdict(issuer: &Issuer, token: &str) -> Result<(), TokenError> {
    issuer.verify(token.as_bytes(), NOW).map(|_| ())
}

/// RFC 7515, appendix A.1: the key and the token as printed there.
#[test]
fn j3_the_hs256_example_of_rfc_7515_verifies() {
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                 cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let secret = decode(Alphabet::Url, key.as_bytes()).unwrap();
    let algorithms = [Algorithm::Hs256];
    let keys = KeySet::of_secrets(&[&secret], &algorithms).unwrap();
    let issuer = Issuer { issuer: Some("joe".into()), audiences: Vec::new(), ..issuer(&algorithms, keys) };
    let good = issuer.verify(token.as_bytes(), 1_300_819_379).unwrap();
    assert!(good.claims.get("http://example.com/is_root").unwrap().says("true"));
    assert_eq!(good.expires_s, 1_300_819_380 + 30);
    assert_eq!(issuer.verify(token.as_bytes(), 1_300_819_410), Err(TokenError::Expired));
}

/// RFC 7515, appendices A.2 and A.3, and RFC 8037, appendix A.4.
#[test]
fn j3_the_rs256_es256_and_eddsa_examples_verify_with_their_jwks() {
    let jwks = r#"{"keys":[
        {"kty":"RSA","kid":"r","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"},
        {"kty":"EC","crv":"P-256","kid":"e","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kty":"OKP","crv":"Ed25519","kid":"o","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty":"oct","kid":"s","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"},
        {"kty":"EC","crv":"P-256","kid":"enc","use":"enc","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
        {"kty":"EC","crv":"P-256","kid":"off","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1"}]}"#;
    let algorithms = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
    let (keys, unusable) = KeySet::of_jwks(jwks.as_bytes(), &algorithms).unwrap();
    assert_eq!((keys.kids(), unusable), (vec!["e", "o", "r"], 3));
    let issuer = Issuer { issuer: Some("joe".into()), audiences: Vec::new(), ..issuer(&algorithms, keys) };
    let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let rs256 = format!(
        "eyJhbGciOiJSUzI1NiJ9.{payload}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    let es256 = format!(
        "eyJhbGciOiJFUzI1NiJ9.{payload}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    for token in [&rs256, &es256] {
        assert!(issuer.verify(token.as_bytes(), 1_300_819_379).is_ok(), "{token}");
        // Any change of any part is noticed.
        for at in [30, 60, token.len() - 9] {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            assert!(issuer.verify(&wrong, 1_300_819_379).is_err(), "{at}");
        }
    }
    // The payload of this example is no JSON: the signature is what verifies.
    let eddsa = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(issuer.verify(eddsa, 1), Err(TokenError::Malformed));
    let mut wrong = eddsa.to_vec();
    wrong[60] = b'A';
    assert_eq!(issuer.verify(&wrong, 1), Err(TokenError::Signature));
}

#[test]
fn j5_j6_good_tokens_are_accepted() {
    let issuer = by_secret();
    for payload in [
        claims(""),
        claims(",\"nbf\":1700000030,\"iat\":1700000030.75,\"sub\":\"é\""),
        claims("").replace("\"shop\"", "[\"other\",\"stock\"]"),
        claims("").replace("1700000060", "1699999971"),
    ] {
        assert_eq!(verdict(&issuer, &signed(HS256, &payload)), Ok(()), "{payload}");
    }
    for header in [
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"typ":"at+jwt","alg":"HS256"}"#,
        r#"{"typ":"application/at+JWT","alg":"HS256","kid":"../../etc/passwd"}"#,
        r#"{"alg":"HS256","jku":"https://evil.example/jwks","x5u":"https://evil.example","jwk":{"kty":"oct","k":"AA"}}"#,
    ] {
        assert_eq!(verdict(&issuer, &signed(header, &claims(""))), Ok(()), "{header}");
    }
}

#[test]
fn j5_j6_claims_decide_to_the_second() {
    let issuer = by_secret();
    let with = |from: &str, to: &str| claims("").replace(from, to);
    let cases = [
        (with("1700000060", "1699999970"), TokenError::Expired),
        (with("1700000060", "0"), TokenError::Expired),
        (with(",\"exp\":1700000060", ""), TokenError::NoExpiry),
        (with("1700000060", "\"1700000060\""), TokenError::Claims),
        (with("1700000060", "-1"), TokenError::Claims),
        (with("1700000060", "1e12"), TokenError::Claims),
        (with("1700000060", "1700000060e0"), TokenError::Claims),
        (with("1700000060", "99999999999999999999999"), TokenError::Claims),
        (with("1700000060", "18446744073709551615"), TokenError::Claims),
        (with("1700000060", "null"), TokenError::Claims),
        (with("1700000060", "[1700000060]"), TokenError::Claims),
        (claims(",\"nbf\":1700000031"), TokenError::NotYet),
        (claims(",\"iat\":1700000031"), TokenError::FromFuture),
        (claims(",\"nbf\":\"x\""), TokenError::Claims),
        (with("https://id.example", "https://id.example/"), TokenError::Issuer),
        (with("https://id.example", "https://ID.example"), TokenError::Issuer),
        (with("\"iss\":\"https://id.example\",", ""), TokenError::Issuer),
        (with("\"https://id.example\"", "[\"https://id.example\"]"), TokenError::Claims),
        (with("\"shop\"", "\"Shop\""), TokenError::Audience),
        (with("\"shop\"", "[]"), TokenError::Audience),
        (with("\"shop\"", "[\"other\"]"), TokenError::Audience),
        (with("\"shop\"", "[[\"shop\"]]"), TokenError::Audience),
        (with("\"shop\"", "{\"shop\":1}"), TokenError::Audience),
        (with("\"shop\"", "[\"shop\",1]"), TokenError::Audience),
        (with(",\"aud\":\"shop\"", ""), TokenError::Audience),
    ];
    for (payload, error) in cases {
        assert_eq!(verdict(&issuer, &signed(HS256, &payload)), Err(error), "{payload}");
    }
    let short = Issuer { lifetime_max_s: Some(100), ..by_secret() };
    assert_eq!(verdict(&short, &signed(HS256, &claims(",\"iat\":1699999960"))), Ok(()));
    assert_eq!(verdict(&short, &signed(HS256, &claims(",\"iat\":1699999959"))), Err(TokenError::Lifetime));
    assert_eq!(verdict(&short, &signed(HS256, &claims(""))), Err(TokenError::Lifetime));
}

/// The attacks of RFC 8725 §2, and texts that two parsers would read in two ways (R70).
#[test]
fn r70_j3_j4_j8_hostile_tokens_are_refused() {
    let issuer = by_secret();
    let good = signed(HS256, &claims(""));
    let (header, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let unsigned = |header: &str| format!("{}.{payload}.", part(header));
    let cases = [
        (unsigned(r#"{"alg":"none"}"#), TokenError::Algorithm),
        (unsigned(r#"{"alg":"None"}"#), TokenError::Algorithm),
        (unsigned(r#"{"alg":""}"#), TokenError::Algorithm),
        (unsigned(r#"{}"#), TokenError::Algorithm),
        (unsigned(r#"{"alg":["HS256"]}"#), TokenError::Algorithm),
        (unsigned(HS256), TokenError::Signature),
        (signed(r#"{"alg":"hs256"}"#, &claims("")), TokenError::Algorithm),
        (signed(r#"{"alg":"HS512"}"#, &claims("")), TokenError::Algorithm),
        (signed(r#"{"alg":"RS256"}"#, &claims("")), TokenError::Algorithm),
        (signed(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, &claims("")), TokenError::Critical),
        (signed(r#"{"alg":"HS256","crit":[]}"#, &claims("")), TokenError::Critical),
        (signed(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, &claims("")), TokenError::Critical),
        (signed(r#"{"alg":"HS256","b64":false}"#, &claims("")), TokenError::Critical),
        (signed(r#"{"alg":"HS256","typ":"dpop+jwt"}"#, &claims("")), TokenError::Type),
        (signed(r#"{"alg":"HS256","typ":"logout+jwt"}"#, &claims("")), TokenError::Type),
        (signed(r#"{"alg":"HS256","typ":1}"#, &claims("")), TokenError::Malformed),
        (signed(r#"{"alg":"HS256","kid":["a"]}"#, &claims("")), TokenError::Malformed),
        (signed(r#"{"alg":"HS256","alg":"HS256"}"#, &claims("")), TokenError::Malformed),
        (signed(HS256, &claims(",\"exp\":9999999999")), TokenError::Malformed),
        (signed(HS256, &claims(",\"\\u0065xp\":9999999999")), TokenError::Malformed),
        (
            signed(HS256, &claims(&format!(",\"x\":{}1{}", "[".repeat(9), "]".repeat(9)))),
            TokenError::Malformed,
        ),
        (signed(HS256, "[]"), TokenError::Malformed),
        (signed(HS256, ""), TokenError::Malformed),
        (signed(HS256, &format!("{} ", claims("")).replace(' ', "\u{0}")), TokenError::Malformed),
        (signed_with(b"another secret that is long enough too", HS256, &claims("")), TokenError::Signature),
        (format!("{good}.x"), TokenError::Malformed),
        (format!("{good}="), TokenError::Malformed),
        (format!("{good}\n"), TokenError::Malformed),
        (format!(" {good}"), TokenError::Malformed),
        (format!("{good}{signature}"), TokenError::Signature),
        (format!("{header}.{payload}"), TokenError::Malformed),
        (format!("{header}..{signature}"), TokenError::Signature),
        (format!(".{payload}.{signature}"), TokenError::Malformed),
        ("..".to_owned(), TokenError::Malformed),
        (String::new(), TokenError::Malformed),
        (format!("{header}.{payload}.{}", &signature[..20]), TokenError::Signature),
        (signed(HS256, &claims(&format!(",\"x\":\"{}\"", "y".repeat(13_000)))), TokenError::TooLong),
        ("e".repeat(1 << 20), TokenError::TooLong),
        (".".repeat(10_000), TokenError::Malformed),
        // JWE: five parts.
        (format!("{header}.a.b.c.d"), TokenError::Malformed),
    ];
    for (token, error) in cases {
        assert_eq!(verdict(&issuer, &token), Err(error), "{}", &token[..token.len().min(200)]);
    }
    // The other spellings of the last symbol: 4 bits of it are padding.
    let spare = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let accepted = spare.chars().filter(|symbol| {
        let spelt = format!("{}{symbol}", &good[..good.len() - 1]);
        verdict(&issuer, &spelt).is_ok()
    });
    assert_eq!(accepted.count(), 1, "one text per token");
}

fn rsa() -> (RsaKeyPair, String) {
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der =
        aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(pair.public_key());
    let text = encode(Alphabet::Standard, der.unwrap().as_ref());
    (pair, format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"))
}

fn rsa_signed(pair: &RsaKeyPair, how: &'static dyn RsaEncoding, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(how, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", encode(Alphabet::Url, &signature))
}

#[test]
fn j3_a_public_key_is_no_secret_and_an_algorithm_belongs_to_its_key() {
    let (pair, pem) = rsa();
    let only = [Algorithm::Rs256];
    let issuer_of = |algorithms: &[Algorithm]| issuer(algorithms, KeySet::of_pem(&pem, algorithms).unwrap());
    let rs256 = rsa_signed(&pair, &RSA_PKCS1_SHA256, r#"{"alg":"RS256","kid":"any"}"#, &claims(""));
    let ps256 = rsa_signed(&pair, &RSA_PSS_SHA256, r#"{"alg":"PS256"}"#, &claims(""));
    assert_eq!(verdict(&issuer_of(&only), &rs256), Ok(()));
    assert_eq!(verdict(&issuer_of(&only), &ps256), Err(TokenError::Algorithm));
    let both = issuer_of(&[Algorithm::Rs256, Algorithm::Ps256]);
    assert_eq!((verdict(&both, &rs256), verdict(&both, &ps256)), (Ok(()), Ok(())));
    // A signature of one padding under the name of the other.
    let mixed = rsa_signed(&pair, &RSA_PSS_SHA256, r#"{"alg":"RS256"}"#, &claims(""));
    assert_eq!(verdict(&both, &mixed), Err(TokenError::Signature));
    // The public key, which everybody has, as the secret of HS256: in PEM, in DER, with and without a line feed.
    let der = pem.lines().nth(1).map(|line| decode(Alphabet::Standard, line.as_bytes()).unwrap()).unwrap();
    for secret in [pem.as_bytes(), pem.trim_end().as_bytes(), &der] {
        let forged = signed_with(secret, HS256, &claims(""));
        assert_eq!(verdict(&issuer_of(&only), &forged), Err(TokenError::Algorithm));
    }
    let mixed = [Algorithm::Hs256, Algorithm::Rs256];
    assert_eq!(KeySet::of_secrets(&[pem.as_bytes()], &mixed).err(), Some(KeyTrouble::SecretIsKey));
    assert_eq!(
        KeySet::of_secrets(&[&SECRET[..31]], &mixed).err(),
        Some(KeyTrouble::SecretTooShort { bytes_min: 32 })
    );
    assert_eq!(KeySet::of_pem(&pem, &[Algorithm::Es256]).err(), Some(KeyTrouble::FitsNone));
    let private = pem.replace("PUBLIC", "PRIVATE");
    assert_eq!(KeySet::of_pem(&private, &only).err(), Some(KeyTrouble::Private));
    assert_eq!(KeySet::of_pem("x", &only).err(), Some(KeyTrouble::NotPem));
    assert_eq!(KeySet::of_jwks(b"{\"keys\":[{}]}", &only).err(), Some(KeyTrouble::Empty));
    assert_eq!(KeySet::of_jwks(b"[]", &only).err(), Some(KeyTrouble::NotASet));
}

#[test]
fn j8_ecdsa_signatures_have_one_length_and_curves_do_not_mix() {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = pair.public_key().as_ref();
    let jwk = |kid: &str| {
        let (x, y) = (encode(Alphabet::Url, &point[1..33]), encode(Alphabet::Url, &point[33..]));
        format!(r#"{{"kty":"EC","crv":"P-256","kid":"{kid}","use":"sig","x":"{x}","y":"{y}"}}"#)
    };
    let algorithms = [Algorithm::Es256, Algorithm::Es384];
    let set = |kids: &[&str]| {
        let keys: Vec<String> = kids.iter().map(|kid| jwk(kid)).collect();
        let text = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        issuer(&algorithms, KeySet::of_jwks(text.as_bytes(), &algorithms).unwrap().0)
    };
    let token = |header: &str| {
        let message = format!("{}.{}", part(header), part(&claims("")));
        let signature = pair.sign(&random, message.as_bytes()).unwrap();
        (message, signature.as_ref().to_vec())
    };
    let text =
        |(message, signature): &(String, Vec<u8>)| format!("{message}.{}", encode(Alphabet::Url, signature));
    let good = token(r#"{"alg":"ES256","kid":"a"}"#);
    assert_eq!(verdict(&set(&["a", "b"]), &text(&good)), Ok(()));
    let cut = (good.0.clone(), good.1[..63].to_vec());
    let long = (good.0.clone(), [&good.1[..], &[0]].concat());
    let zero = (good.0.clone(), vec![0; 64]);
    for wrong in [cut, long, zero] {
        assert_eq!(verdict(&set(&["a"]), &text(&wrong)), Err(TokenError::Signature));
    }
    assert_eq!(
        verdict(&set(&["a"]), &text(&token(r#"{"alg":"ES384","kid":"a"}"#))),
        Err(TokenError::UnknownKey)
    );
    assert_eq!(verdict(&set(&["b"]), &text(&good)), Err(TokenError::UnknownKey));
    assert_eq!(
        verdict(&set(&["a"]), &text(&token(r#"{"alg":"ES256","kid":"A"}"#))),
        Err(TokenError::UnknownKey)
    );
    // Without a name: as long as few keys are to be tried.
    let nameless = text(&token(r#"{"alg":"ES256"}"#));
    assert_eq!(verdict(&set(&["a", "b", "c", "d"]), &nameless), Ok(()));
    assert_eq!(verdict(&set(&["a", "b", "c", "d", "e"]), &nameless), Err(TokenError::AmbiguousKey));
}

#[test]
fn j3_ed25519_signs_as_eddsa() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = encode(Alphabet::Url, pair.public_key().as_ref());
    let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}]}}"#);
    let algorithms = [Algorithm::EdDsa];
    let issuer = issuer(&algorithms, KeySet::of_jwks(set.as_bytes(), &algorithms).unwrap().0);
    for alg in ["EdDSA", "Ed25519"] {
        let message = format!("{}.{}", part(&format!(r#"{{"alg":"{alg}"}}"#)), part(&claims("")));
        let signature = encode(Alphabet::Url, pair.sign(message.as_bytes()).as_ref());
        assert_eq!(verdict(&issuer, &format!("{message}.{signature}")), Ok(()), "{alg}");
    }
}

#[test]
fn j7_a_configured_type_is_required() {
    let strict = Issuer { typ: Some("at+jwt".into()), ..by_secret() };
    assert_eq!(verdict(&strict, &signed(HS256, &claims(""))), Err(TokenError::Type));
    assert_eq!(
        verdict(&strict, &signed(r#"{"alg":"HS256","typ":"JWT"}"#, &claims(""))),
        Err(TokenError::Type)
    );
    assert_eq!(verdict(&strict, &signed(r#"{"alg":"HS256","typ":"AT+JWT"}"#, &claims(""))), Ok(()));
}

#[test]
fn the_issuer_of_a_token_can_be_read_before_it_is_verified() {
    assert_eq!(issuer_of(signed(HS256, &claims("")).as_bytes()).as_deref(), Some("https://id.example"));
    for token in ["", "a", "..", "a.b.c", &signed(HS256, "{}"), &signed(HS256, "{\"iss\":1}")] {
        assert_eq!(issuer_of(token.as_bytes()), None, "{token}");
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn r70_no_bytes_are_a_good_token(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[A-Za-z0-9_.-]{0,200}") {
        let issuer = by_secret();
        prop_assert!(issuer.verify(&bytes, NOW).is_err());
        prop_assert!(issuer.verify(text.as_bytes(), NOW).is_err());
        issuer_of(&bytes);
    }

    #[test]
    fn r70_a_token_with_any_byte_changed_is_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let issuer = by_secret();
        let mut token = signed(HS256, &claims(",\"sub\":\"someone\"")).into_bytes();
        let at = at.index(token.len());
        prop_assume!(token[at] != to);
        token[at] = to;
        prop_assert!(issuer.verify(&token, NOW).is_err());
    }
}
