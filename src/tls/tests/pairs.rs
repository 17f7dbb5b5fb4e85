//! Pairs that must not be used, each with its reason (R63).

use super::*;
use std::time::{Duration, UNIX_EPOCH};

fn load(cert: &Path, key: &Path) -> String {
    match Pair::load(cert, key, None, SystemTime::now()) {
        Ok(_) => "good".to_owned(),
        Err(error) => {
            let text = error.to_string();
            let from = text.find('"').map_or(0, |at| at + 1);
            let end = text[from..].find('"').map_or(0, |at| from + at);
            format!(
                "{}<{}>{}",
                &text[..from - 1],
                Path::new(&text[from..end]).file_name().unwrap().display(),
                &text[end + 1..]
            )
        }
    }
}

#[test]
fn r63_bad_pairs_are_told_apart_and_name_their_file() {
    let scratch = Scratch::new();
    let authority = Authority::new("ours");
    let (cert, key) = authority.issue(for_names(&["a.example"]), &rcgen::PKCS_ECDSA_P256_SHA256);
    let (_, other_key) = authority.issue(for_names(&["b.example"]), &rcgen::PKCS_ECDSA_P256_SHA256);
    let dated = |from, until| {
        let mut params = for_names(&["a.example"]);
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        authority.issue(params, &rcgen::PKCS_ECDSA_P256_SHA256)
    };
    let (expired, expired_key) = dated(2019, 2020);
    let (early, early_key) = dated(2090, 2091);
    let mut as_ca = for_names(&["a.example"]);
    as_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (ca_cert, ca_key) = authority.issue(as_ca, &rcgen::PKCS_ECDSA_P256_SHA256);
    let stranger = Authority::new("stranger");
    let broken = cert.replacen("MII", "!!!", 1);
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let odd_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let large = "x".repeat((1 << 20) + 1);

    let file = |name: &str, text: &str| scratch.write(name, text);
    let good_key = file("good.key", &key);
    let matrix: [(&str, PathBuf, PathBuf); 16] = [
        (
            "cannot read <none.pem>: No such file or directory (os error 2)",
            scratch.0.join("none.pem"),
            good_key.clone(),
        ),
        (
            "cannot read <none.key>: No such file or directory (os error 2)",
            file("1.pem", &cert),
            scratch.0.join("none.key"),
        ),
        ("<empty.pem> is not valid PEM", file("empty.pem", ""), good_key.clone()),
        ("<noise.pem> is not valid PEM", file("noise.pem", "\0\u{1}junk"), good_key.clone()),
        ("<broken.pem> is not valid PEM", file("broken.pem", &broken), good_key.clone()),
        ("<keys.pem> holds no certificate", file("keys.pem", &key), good_key.clone()),
        ("certificate 1 of <noder.pem> cannot be read", file("noder.pem", no_der), good_key.clone()),
        ("<large.pem> is larger than 1 MiB", file("large.pem", &large), good_key.clone()),
        ("<certs.key> holds no private key", file("2.pem", &cert), file("certs.key", &cert)),
        (
            "the private key in <encrypted.key> is encrypted",
            file("3.pem", &cert),
            file("encrypted.key", encrypted),
        ),
        (
            "the private key in <odd.key> is of no kind that can be used",
            file("4.pem", &cert),
            file("odd.key", odd_key),
        ),
        (
            "the private key in <other.key> does not belong to the certificate",
            file("5.pem", &cert),
            file("other.key", &other_key),
        ),
        (
            "the certificate in <expired.pem> has expired on 2020-01-01",
            file("expired.pem", &expired),
            file("6.key", &expired_key),
        ),
        (
            "the certificate in <early.pem> is not valid before 2090-01-01",
            file("early.pem", &early),
            file("7.key", &early_key),
        ),
        (
            "the first certificate of <ca.pem> is that of an authority",
            file("ca.pem", &ca_cert),
            file("8.key", &ca_key),
        ),
        (
            "certificate 1 of <order.pem> was not issued by the one behind it",
            file("order.pem", &format!("{cert}{}", stranger.pem)),
            good_key.clone(),
        ),
    ];
    for (expected, cert, key) in matrix {
        assert_eq!(load(&cert, &key), expected);
    }
    assert_eq!(load(&file("good.pem", &format!("{cert}{}", authority.pem)), &good_key), "good");
}

#[test]
fn a_good_pair_tells_its_names_and_its_end() {
    let scratch = Scratch::new();
    let mut params = for_names(&["Shop.Example", "*.shop.example"]);
    params.not_after = rcgen::date_time_ymd(2091, 2, 3);
    let (cert, key) = Authority::new("ours").issue(params, &rcgen::PKCS_ED25519);
    let (cert, key) = (scratch.write("a.pem", cert), scratch.write("a.key", key));
    let pair = Pair::load(&cert, &key, None, UNIX_EPOCH + Duration::from_secs(2_000_000_000)).unwrap();
    assert_eq!(pair.names, ["shop.example".into(), "*.shop.example".into()]);
    assert_eq!(pair.not_after, 3_821_299_200);
}
