//! The TLS check against `openssl s_server`.

use super::{perform, probe};
use base::addr::Addr;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A server with a certificate of its own for `api.internal` and 127.0.0.1; ended when dropped.
struct Server {
    folder: PathBuf,
    addr: Addr,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    /// `None` when this machine has no openssl.
    fn start(options: &[&str]) -> Option<Server> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ringway-tls-check-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-days", "2", "-subj", "/CN=api.internal"])
            .args(["-addext", "subjectAltName=DNS:api.internal,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if made.is_err() {
            println!("openssl is not here: the TLS check was not tried against it");
            return None;
        }
        assert!(made.unwrap().success(), "openssl made no certificate");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-key"])
            .arg(&key)
            .arg("-cert")
            .arg(&cert)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let addr = Addr::Ip(format!("127.0.0.1:{port}").parse().unwrap());
        let server = Server { folder, addr, child };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while perform(&probe(server.addr.clone(), "tcp")).is_err() {
            assert!(std::time::Instant::now() < deadline, "openssl does not listen within 10 s");
            std::thread::yield_now();
        }
        Some(server)
    }

    fn check(&self, written: &str) -> Result<(), String> {
        let written = written.replace("CERT", &self.folder.join("cert.pem").to_string_lossy());
        perform(&probe(self.addr.clone(), &format!("tls every=\"5s\" timeout=\"5s\" {written}")))
    }
}

#[test]
fn a_handshake_with_a_certificate_that_is_believed_passes() {
    let Some(server) = Server::start(&[]) else { return };
    assert_eq!(server.check("server-name=\"api.internal\" ca=\"CERT\""), Ok(()));
    assert_eq!(server.check("ca=\"CERT\""), Ok(()), "the address stands in the certificate");
    let result = server.check("server-name=\"shop.internal\" ca=\"CERT\"");
    assert!(result.as_ref().is_err_and(|found| found.contains("certificate")), "{result:?}");
    let result = server.check("server-name=\"api.internal\"");
    assert!(result.as_ref().is_err_and(|found| found.contains("UnknownIssuer")), "{result:?}");
    assert_eq!(server.check("insecure=#true"), Ok(()));
    assert_eq!(server.check("insecure=#true server-name=\"shop.internal\""), Ok(()));
}

#[test]
fn tls_1_2_is_enough_and_less_is_not() {
    if let Some(server) = Server::start(&["-tls1_2"]) {
        assert_eq!(server.check("server-name=\"api.internal\" ca=\"CERT\""), Ok(()));
    }
}

#[test]
fn whoever_speaks_no_tls_fails_the_check() {
    let addr = super::says("HTTP/1.1 400 Bad Request\r\n\r\n");
    let result = perform(&probe(addr, "tls insecure=#true every=\"5s\" timeout=\"500ms\""));
    assert!(result.is_err(), "{result:?}");
}

#[test]
fn authorities_that_cannot_be_read_are_refused_when_the_configuration_is_compiled() {
    let text = "listener \"web\" { bind \"127.0.0.1:8080\" }\nsite \"*\" { route \"/\" upstream=\"api\" }\n\
                upstream \"api\" { endpoint \"127.0.0.1:1\"; health { tls ca=\"/nowhere/ca.pem\" } }";
    let config = config::parse(text, "test.kdl", config::Format::Kdl, &config::Sealed).unwrap().config;
    let problems = crate::compile(&config, 1, None).unwrap_err();
    assert!(problems[0].what.contains("cannot read the authorities in /nowhere/ca.pem"), "{problems:?}");
}
