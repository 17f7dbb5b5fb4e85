//! Both sides against each other, in memory, with certificates that each test makes.

mod pairs;
mod resumption;
mod selection;

use crate::*;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    SignatureAlgorithm,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;
use wire::secure::{Accept, Connect, Engine, Failure, Taken};

/// A folder that is gone when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringway-tls-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An authority of the test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// PEM of a certificate and of its key.
    fn issue(&self, params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> (String, String) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn pair(&self, scratch: &Scratch, names: &[&str]) -> Pair {
        self.pair_of(scratch, names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn pair_of(&self, scratch: &Scratch, names: &[&str], algorithm: &'static SignatureAlgorithm) -> Pair {
        let (cert, key) = self.issue(for_names(names), algorithm);
        let (cert, key) = (scratch.write("cert.pem", cert), scratch.write("key.pem", key));
        Pair::load(&cert, &key, None, SystemTime::now()).unwrap()
    }

    fn file(&self, scratch: &Scratch) -> PathBuf {
        scratch.write("ca.pem", &self.pem)
    }
}

fn for_names(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn rules<'r>(pairs: &'r [Pair], tickets: &'r TicketKeys) -> ServerRules<'r> {
    ServerRules {
        listener: "web",
        pairs,
        serves_unknown: true,
        min_version: MinVersion::Tls12,
        protocols: vec![b"http/1.1".to_vec()],
        clients: None,
        tickets,
    }
}

fn connector(ca: &Path) -> Connector {
    Connector::new(&EndpointRules { authorities: vec![ca], ..EndpointRules::default() }).unwrap()
}

/// Two engines and the bytes on their way.
struct Line {
    client: Box<dyn Engine>,
    server: Box<dyn Engine>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Line {
    fn new(connector: &Connector, name: &str, acceptor: &Acceptor) -> Line {
        Line {
            client: connector.connect(name, "10.0.0.1:443").unwrap(),
            server: acceptor.accept().unwrap(),
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    /// Exchanges bytes until nobody has any more to say; who fails first tells why.
    fn shake(&mut self) -> Result<(), (&'static str, Failure)> {
        let mut plain = Vec::new();
        self.client.receive(&mut [], &mut plain, &mut self.to_server).map_err(|f| ("client", f))?;
        loop {
            let before = (self.to_server.len(), self.to_client.len());
            let served = take(&mut *self.server, &mut self.to_server, &mut plain, &mut self.to_client);
            let answered = take(&mut *self.client, &mut self.to_client, &mut plain, &mut self.to_server);
            served.map_err(|failure| ("server", failure))?;
            answered.map_err(|failure| ("client", failure))?;
            if before == (0, 0) && self.to_server.is_empty() && self.to_client.is_empty() {
                assert!(plain.is_empty());
                return Ok(());
            }
        }
    }

    /// What the server reads of `bytes` of the client, sent in records of `record_max`.
    fn say(&mut self, bytes: &[u8], record_max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        self.client.seal(bytes, record_max, &mut out).unwrap();
        let mut plain = Vec::new();
        take(&mut *self.server, &mut out, &mut plain, &mut self.to_client).unwrap();
        plain
    }
}

fn take(
    engine: &mut dyn Engine,
    input: &mut Vec<u8>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Taken, Failure> {
    let taken = engine.receive(input, plain, out)?;
    input.drain(..taken.bytes);
    Ok(taken)
}

#[test]
fn what_one_side_seals_the_other_reads_and_the_end_is_told() {
    let (scratch, authority, tickets) = (Scratch::new(), Authority::new("ours"), TicketKeys::new().unwrap());
    let pairs = [authority.pair(&scratch, &["a.example"])];
    let acceptor = Acceptor::new(rules(&pairs, &tickets)).unwrap();
    let mut line = Line::new(&connector(&authority.file(&scratch)), "a.example", &acceptor);
    assert!(line.server.is_handshaking() && line.client.is_handshaking());
    line.shake().unwrap();
    assert!(!line.server.is_handshaking() && !line.client.is_handshaking());
    let facts = line.server.facts();
    assert_eq!((facts.version, facts.group), ("TLSv1.3", "X25519MLKEM768"));
    assert_eq!(facts.server_name.as_deref(), Some("a.example"));
    assert!(!facts.resumed && line.server.client().is_none());

    let long: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[0]).collect();
    for record_max in [1400, 16 << 10] {
        assert_eq!(line.say(&long, record_max), long);
    }
    let mut out = Vec::new();
    line.client.close(&mut out);
    let taken = take(&mut *line.server, &mut out, &mut Vec::new(), &mut Vec::new()).unwrap();
    assert!(taken.ended && out.is_empty());
}

#[test]
fn records_of_payload_have_the_size_that_was_asked_for() {
    let (scratch, authority, tickets) = (Scratch::new(), Authority::new("ours"), TicketKeys::new().unwrap());
    let pairs = [authority.pair(&scratch, &["a.example"])];
    let acceptor = Acceptor::new(rules(&pairs, &tickets)).unwrap();
    let mut line = Line::new(&connector(&authority.file(&scratch)), "a.example", &acceptor);
    line.shake().unwrap();
    let mut out = Vec::new();
    line.server.seal(&[b'x'; 3000], 1400, &mut out).unwrap();
    let mut lengths = Vec::new();
    let mut rest = &out[..];
    while let [_, _, _, high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(5 + length);
        rest = &behind[length..];
    }
    assert_eq!(lengths, [1422, 1422, 222], "one TCP segment takes a record of 1400 bytes");
}

#[test]
fn r62_records_without_payload_are_counted() {
    let (scratch, authority, tickets) = (Scratch::new(), Authority::new("ours"), TicketKeys::new().unwrap());
    let pairs = [authority.pair(&scratch, &["a.example"])];
    let acceptor = Acceptor::new(rules(&pairs, &tickets)).unwrap();
    let mut line = Line::new(&connector(&authority.file(&scratch)), "a.example", &acceptor);
    let mut plain = Vec::new();
    line.client.receive(&mut [], &mut plain, &mut line.to_server).unwrap();
    take(&mut *line.server, &mut line.to_server, &mut plain, &mut line.to_client).unwrap();
    take(&mut *line.client, &mut line.to_client, &mut plain, &mut line.to_server).unwrap();
    take(&mut *line.server, &mut line.to_server, &mut plain, &mut line.to_client).unwrap();
    let taken = take(&mut *line.client, &mut line.to_client, &mut plain, &mut line.to_server).unwrap();
    assert_eq!(taken.control_records, 1, "both tickets travel in one record");
}

#[test]
fn what_is_no_tls_is_told_apart() {
    let (scratch, authority, tickets) = (Scratch::new(), Authority::new("ours"), TicketKeys::new().unwrap());
    let pairs = [authority.pair(&scratch, &["a.example"])];
    let acceptor = Acceptor::new(rules(&pairs, &tickets)).unwrap();
    let refused = |bytes: &[u8]| {
        let mut server = acceptor.accept().unwrap();
        server.receive(&mut bytes.to_vec(), &mut Vec::new(), &mut Vec::new())
    };
    assert_eq!(refused(b"GET / HTTP/1.1\r\n"), Err(Failure::NotTls));
    assert_eq!(refused(b"\x16\x02"), Err(Failure::NotTls));
    assert_eq!(refused(b"\x16\x03"), Ok(Taken::default()), "may still become a record");
    assert_eq!(refused(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"), Err(Failure::Misbehaved));
    let mut client = connector(&authority.file(&scratch)).connect("a.example", "x").unwrap();
    let answer = client.receive(&mut b"220 mail ready\r\n".to_vec(), &mut Vec::new(), &mut Vec::new());
    assert_eq!(answer, Err(Failure::NotTls));
}

#[test]
fn r65_clients_show_certificates_of_the_authorities_that_are_asked_for() {
    let (scratch, authority, clients, tickets) =
        (Scratch::new(), Authority::new("ours"), Authority::new("clients"), TicketKeys::new().unwrap());
    let pairs = [authority.pair(&scratch, &["a.example"])];
    let ca = authority.file(&scratch);
    let their_ca = scratch.write("clients.pem", &clients.pem);
    let with = |required| ServerRules {
        clients: Some(ClientRules::load(&[&their_ca], &[], required).unwrap()),
        ..rules(&pairs, &tickets)
    };
    let show = |issuer: &Authority, usage, days: i64| {
        let mut params = for_names(&["billing.example"]);
        params.subject_alt_names.push(SanType::URI("spiffe://example/billing".try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Ours");
        params.extended_key_usages = vec![usage];
        params.not_after = rcgen::date_time_ymd(2020 + i32::try_from(days).unwrap(), 1, 1);
        let (cert, key) = issuer.issue(params, &rcgen::PKCS_ED25519);
        let (cert, key) = (scratch.write("c.pem", cert), scratch.write("c.key", key));
        // As a client without scruples would load it.
        let pair = Pair::load(
            &cert,
            &key,
            None,
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_000),
        );
        EndpointRules { authorities: vec![&ca], pair: Some(pair.unwrap()), ..EndpointRules::default() }
    };
    let shake = |rules: ServerRules<'_>, shown: EndpointRules<'_>| {
        let mut line =
            Line::new(&Connector::new(&shown).unwrap(), "a.example", &Acceptor::new(rules).unwrap());
        line.shake().map(|()| line.server.client())
    };
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    let known = shake(with(true), show(&clients, usage.clone(), 60)).unwrap().expect("a certificate");
    assert_eq!(known.name(), "spiffe://example/billing");
    assert_eq!(known.dns_names, ["billing.example".into()]);
    assert!(known.subject.contains("O=Ours"), "{}", known.subject);
    assert_eq!((known.chain.len(), known.fingerprint.len()), (1, 32));

    let nothing = || EndpointRules { authorities: vec![&ca], ..EndpointRules::default() };
    assert_eq!(shake(with(true), nothing()), Err(("server", Failure::NoCertificate)));
    assert_eq!(shake(with(false), nothing()), Ok(None));
    let foreign = show(&authority, usage.clone(), 60);
    assert_eq!(shake(with(false), foreign), Err(("server", Failure::Untrusted)));
    let other = show(&clients, ExtendedKeyUsagePurpose::ServerAuth, 60);
    assert_eq!(shake(with(true), other), Err(("server", Failure::BadCertificate)));
    let old = show(&clients, usage, 1);
    assert_eq!(shake(with(true), old), Err(("server", Failure::Expired)));
}
